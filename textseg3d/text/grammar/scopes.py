"""What negation, doubt and history are about in a sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from textseg3d.text.grammar.ahead import Ahead
from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.parts import Phrase, Words, abnormal

_POLITE = ("please", "could", "would", "can", "may", "might i", "shall", "will", "should")


_DOUBTED = frozenset(("possible", "probable", "likely", "questionable", "suspected"))
_PROVEN = frozenset(("confirmed", "proven", "established", "verified"))
_AGAINST = frozenset(("versus", "vs", "over", "than"))
_NONE_OF = ("none of", "none of the", "none of them", "none of which", "none of these")
_HAVING = frozenset(("show", "contain", "have", "demonstrate", "reveal", "exhibit", "harbor"))
_HAVING |= {"harbour", "display", "lacks", "shows", "contains", "showing", "containing"}


class Scopes(Ahead, ABC):
    """Reads the cues of one sentence.

    Attributes:
        pending: describing words whose name is not known yet.
        links: connectors since the last name.
        connected: whether a connector came after the last name.
        negation: whether names are denied here.
        uncertainty: whether they are doubted.
        historical: whether they belong to the past.
        fresh: whether no name came since the last cue.
        be: whether "is" came since the last name.
        question: whether the sentence asks.
        not_next: whether the next describing word is denied.
        not_side: whether the next side word is denied.
        stranger: whether an unknown word stands where a name was due.
    """

    pending: Words
    links: set[str]
    connected: bool
    negation: bool
    uncertainty: bool
    historical: bool
    fresh: bool
    be: bool
    question: bool
    not_next: bool
    not_side: bool
    stranger: bool

    @abstractmethod
    def _flush(self, *, final: bool, attribute_next: bool = False) -> None:
        """End the name that the pending words belong to."""

    @abstractmethod
    def _connect(self, kind: str, at: int) -> None:
        """Take a connector for what links the next name to those before."""

    def _on_without(self, item: Item, at: int) -> None:
        if self._change_follows(at):
            return
        excludes = self.phrases and not self.negation and not self.be
        if excludes and not self.links & {"comma", "and", "or", "but", "has", "colon"}:
            self._connect("without", at)
            return
        self._negate(at)

    def _on_neg_pre(self, item: Item, at: int) -> None:
        text = item.text.lower()
        following = self._next(at, ())
        if following is not None and (
            following.kind == "compare" or "than" in following.text.lower().split(" ")
        ):
            return  # "no smaller than before"
        if text in _NONE_OF and not self._name_follows(at) and self.phrases:
            if self._only_size_follows(at):
                self._invert_size(at)
            self.not_next = True  # "none of which is calcified"
            return
        if text in ("free of", "clear of", "free from") and not self.connected:
            self._on_without(item, at)
        elif text == "none" and self._next(at, ()) is not None and self._only_size_follows(at):
            self._invert_size(at)
        elif not self._change_follows(at):
            self._negate(at)

    def _negate(self, at: int) -> None:
        if not self._name_follows(at):
            following = self._next(at, ("filler", "attr"))
            if following is None or following.kind != "unknown":  # "pancreas (no duct)"
                self._on_neg_post(self.items[at], at)
            return
        having = not _HAVING.isdisjoint(self.items[at].text.lower().split(" "))
        subject = (self.be or having) and self.phrases and not self.phrases[-1].finding
        subject = subject and not any(map(abnormal, self.pending.attributes))
        self._flush(final=False)
        if subject:
            self.links.add("has")
        self.connected = self.negation = self.fresh = True
        self.uncertainty = False

    def _on_neg_any(self, item: Item, at: int) -> None:
        following = self._next(at, ("filler",))
        names = ("mention", "generic", "side", "attr")
        if following is not None and following.kind in names and not self.be:
            self._negate(at)
        else:
            self._on_neg_post(item, at)

    def _on_neg_post(self, item: Item, at: int) -> None:
        self._flush(final=False)
        if self._name_follows(at) and self._next(at, ()) is not None and not self.phrases:
            self._negate(at)
            return
        if _unseen(item.text) and self._before_follows(at):
            return  # "not seen previously" is there now
        if item.text.lower() == "none" and self.phrases and self._next(at, ()) is not None:
            if self._only_size_follows(at):
                self._invert_size(at)
                return
            last = self.phrases[-1]
            other_side = any(other.kind == "side" for other in self.items[at + 1 :])
            if other_side and (last.words.sides or last.own_sides() or last.words.sizes):
                self.stranger = self.connected = True  # "nodule on the right, none on the left"
                return
        for phrase in self._segment(self._apart(at)):
            if phrase.uncertain and item.text.lower().split(" ")[-1] in _PROVEN:
                continue  # "suspected, not confirmed"
            phrase.negated, phrase.uncertain = True, False
        self.connected = True

    def _on_neg_attr(self, item: Item, at: int) -> None:
        following = self._next(at, ("filler",))
        if following is not None and following.kind == "side" and self.phrases:
            rest = self.items[self.items.index(following) + 1 :]
            if not any(other.kind in ("mention", "generic", "tail") for other in rest):
                self.not_side = True
                return
        if item.text.lower() == "non" and following is not None and following.kind == "unknown":
            return  # "non-dedicated examination"
        if following is not None and following.kind == "attr":
            self.not_next = True
        elif following is not None and following.kind == "in" and self.phrases and not self.be:
            self._connect("exclude", at)
        elif following is not None:
            self._negate(at)
        else:
            self._on_neg_post(item, at)

    def _told_apart(self) -> bool:
        """Whether the last phrase begins what a lesion may be: "cystic lesion, cyst versus …"."""
        if len(self.phrases) < 2 or "comma" not in self.phrases[-1].links:
            return False
        head = self.phrases[-2].mentions[-1].text.lower().split(" ")[-1]
        return head in ("lesion", "lesions", "mass", "opacity", "abnormality", "focus")

    def _on_unc_pre(self, item: Item, at: int) -> None:
        if self.negation and self.fresh and not self.links & {"comma", "but"}:
            return  # "nothing that looks like a fracture"
        if item.text.lower().split(" ")[-1] in _AGAINST:
            if not self._name_follows(at):
                return  # "22 mm versus 20 mm"
            self._flush(final=False)
            for phrase in self.phrases[-1 - self._told_apart() :]:
                phrase.uncertain = not phrase.negated  # "left atelectasis versus pneumonia"
                self.connected = True
                if any(other.kind == "side" for other in self.items[at:]):
                    self.links.add("or")
                else:
                    self.pending.sides = list(phrase.words.sides or phrase.own_sides())
        if item.text.lower() in _DOUBTED and self._placed(at):
            self._on_unc_any(item, at)  # "pneumonia possible in the right lower lobe"
        elif self._name_follows(at):
            self._flush(final=False)
            self.uncertainty = self.fresh = self.connected = True
            self.negation = False
        elif self._next(at, ("filler", "question_mark")) is None or self._sides_follow(item, at):
            self._on_unc_post(item, at)

    def _sides_follow(self, item: Item, at: int) -> bool:
        """Whether nothing but a side follows "possible": "polycystic ovaries possible on both"."""
        rest = {other.kind for other in self.items[at + 1 :]} - {"filler", "determiner", "in"}
        return bool(self.phrases) and rest == {"side"} and not item.text.lower().endswith("ly")

    def _on_unc_any(self, item: Item, at: int) -> None:
        if self._placed(at):
            self._on_unc_post(item, at)  # "impingement suspected in the right shoulder"
            self.connected = False
        elif self._name_follows(at) and not self.be:
            self._on_unc_pre(item, at)
        else:
            self._on_unc_post(item, at)

    def _placed(self, at: int) -> bool:
        """Whether a doubt stands between a finding and its place."""
        following = self._next(at, ())
        placed = following is not None and following.kind == "in" and not self.connected
        return placed and bool(self.phrases) and self.phrases[-1].finding

    def _on_unc_cannot(self, item: Item, at: int) -> None:
        if self.phrases and "but" not in self.links:
            self._on_unc_post(item, at)
        else:
            self._on_unc_pre(item, at)

    def _on_unc_post(self, item: Item, at: int) -> None:
        self._flush(final=False)
        for phrase in self._segment(self._apart(at)):
            phrase.uncertain, phrase.negated = True, False
        self.connected = True

    def _on_question(self, item: Item, at: int) -> None:
        self.question = True

    def _on_question_mark(self, item: Item, at: int) -> None:
        told = bool(self.phrases) and self.phrases[-1].finding  # "polyp? ascending colon"
        if self._name_follows(at) and not (told and not self._finding_follows(at)):
            self._on_unc_pre(item, at)
        elif not self.question and not any(_asks(item) for item in self.items):
            self._flush(final=True)
            doubted = [phrase for phrase in self.phrases if phrase.finding]
            apart = doubted and any(p.links & {"comma"} for p in doubted) and not doubted[0].words
            for phrase in self.phrases:
                phrase.uncertain = not phrase.negated
                phrase.cued |= bool(apart) and phrase.finding  # "soft tissue, lymphoma?"

    def _on_historical(self, item: Item, at: int) -> None:
        if self._name_follows(at):
            self._flush(final=False)
            self.historical = self.fresh = self.connected = True

    def _invert_size(self, at: int) -> None:
        """Reads "none larger than 2 cm" as "up to 2 cm"."""
        for place in range(at + 1, len(self.items)):
            item = self.items[place]
            if item.kind == "size":
                low, high = item.value.bounds
                self.items[place] = replace(item, value=item.value._replace(bounds=(high, low)))
                return

    def _apart(self, at: int) -> bool:
        """Whether a cue begins a clause: "lymphocele, left pelvic side wall, no longer seen"."""
        before = [item.kind for item in self.items[:at] if item.kind not in ("filler", "be")]
        return before[-1:] == ["comma"]

    def _segment(self, apart: bool = False) -> list[Phrase]:
        """The phrases that a cue behind them is about: back to the last comma or "but".

        Where the cue stands ``apart``, places are passed over to the finding that lies there.
        """
        found: list[Phrase] = []
        for phrase in reversed(self.phrases):
            found.append(phrase)
            comma = "comma" in phrase.links and "in" not in phrase.links  # "(5 mm) in the liver"
            if "but" in phrase.links or (
                comma
                and not self._has_list()
                and not (apart and not phrase.finding and any(p.finding for p in self.phrases))
            ):
                break
        return found

    def _has_list(self) -> bool:
        return any(phrase.links & {"and", "or"} for phrase in self.phrases)


def _unseen(text: str) -> bool:
    words = set(text.lower().split(" "))
    return bool(words & {"not", "absent", "invisible"}) and "longer" not in words


def _asks(item: Item) -> bool:
    if item.kind in ("filler", "question") and item.text.lower().startswith(_POLITE):
        return True
    if item.kind == "filler" and item.text.lower().endswith(("volume of", "size of", "length of")):
        return True
    return item.kind == "be" or item.text.lower() in ("can", "could", "does", "do", "did", "has")
