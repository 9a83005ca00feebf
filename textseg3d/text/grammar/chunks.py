"""Items to phrases: a name with its describing words, its negation and how it is connected.

A sentence is read once from left to right. Words that describe ("left", "6 mm", "solid") are
kept pending until the name that they precede appears, or until a connector or the end shows that
they follow theirs ("kidney, left"). Negation and uncertainty hold from their cue to a word that
ends them, as in NegEx.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, on_topic
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.measures import with_measures
from textseg3d.text.grammar.model import Attribute
from textseg3d.text.grammar.nodes import is_level
from textseg3d.text.grammar.parts import Mention, Phrase, Sentence, Words
from textseg3d.text.grammar.relations import with_relations
from textseg3d.text.grammar.scopes import Scopes
from textseg3d.text.grammar.senses import by_context, by_neighbours
from textseg3d.text.grammar.words import is_everyday
from textseg3d.text.knowledge import Side, normalise

_MODIFIERS = frozenset(("side", "size", "volume", "count", "order", "rank", "attr", "determiner"))
_BESIDE = frozenset(("anterior to", "posterior to", "lateral to", "medial to", "behind"))
_BESIDE |= {"ventral to", "dorsal to", "in front of", "just behind", "superficial to"}
_TOUCHING = frozenset(("adjacent to", "next to", "beside", "close to", "abutting", "bordering"))
_TOUCHING |= {"touching", "contacting", "immediately adjacent to", "directly adjacent to"}
_SPREADING = frozenset(("involving", "affecting", "traversing"))
_PARTS = frozenset(("part", "portion", "segment", "division", "third", "section", "half"))
_ADJECTIVAL = ("al", "lar", "nar", "ic", "ous", "ary", "oid", "ative", "eal")
_ACROSS = frozenset(("wide", "deep", "thick", "in width", "in depth", "in thickness", "width"))
_MORE = frozenset(("worse", "greater", "larger", "bigger", "more", "most", "predominantly"))
_MORE |= {"largest", "biggest", "dominant", "greatest"}
_MORE |= {"mainly", "especially", "particularly", "predominant", "marked", "pronounced", "severe"}
_SOUND = frozenset(("normal", "unremarkable", "intact", "preserved"))
_PLACING = frozenset(("in", "near", "with", "has", "colon"))


class _Chunker(Scopes):
    """Reads the items of one sentence."""

    def __init__(self, items: Sequence[Item], lexicon: Lexicon) -> None:
        self.items = list(items)
        self.lexicon = lexicon
        self.tree = lexicon.tree
        self.phrases: list[Phrase] = []
        self.pending = Words()
        self.links: set[str] = set()
        self.connected = True  # whether a connector came after the last name
        self.negation = self.uncertainty = self.historical = False
        self.fresh = False  # whether no name came since the last cue
        self.be = self.question = self.not_next = False
        self.not_side = False  # whether the next side word is denied
        self.stranger = False  # whether an unknown word stands where a name was due
        self.ignored: list[str] = []

    def read(self) -> Sentence:
        for at in range(len(self.items)):  # items may be replaced while they are read
            item = self.items[at]
            handler = getattr(self, f"_on_{item.kind}", None)
            if handler is not None:
                handler(item, at)
        self._flush(final=True)
        return Sentence(self.phrases, self.pending, self.ignored)

    # names

    def _on_mention(self, item: Item, at: int) -> None:
        match: Match = item.value
        forms = match.forms
        if len(forms) > 1:
            around = (word for other in self.items for word in other.text.lower().split(" "))
            forms = by_context(forms, match.surface, around, self.negation, self.tree)
            forms = by_neighbours(forms, self._others(item), self.tree)
        if len(forms) > 1 and self.pending.sides:  # "right PCA" is the artery
            said = self.pending.sides[-1]
            forms = tuple(f for f in forms if self.tree.concept(f.concept).allows(said)) or forms
        mention = Mention(
            forms,
            match.surface,
            self.tree.concept(forms[0].concept).kind == "finding",
            list(match.sides),
            adjective=all(form.source == "adjective" for form in forms),
            plural=forms[0].source == "plural",
            text=item.text,
            specific=item.specific,
        )
        links = set(self.links)
        self._name(mention)
        if len(set(match.sides)) == 1 and links <= {"and", "or", "comma"} and links:
            self._share_back(match.sides)

    def _others(self, item: Item) -> Iterator[str]:
        """The concepts that the rest of the sentence names."""
        for other in self.items:
            if other.kind == "mention" and other is not item:
                yield other.value.forms[0].concept

    def _on_generic(self, item: Item, at: int) -> None:
        following = self._next(at, ())
        if following is not None and following.kind == "colon" and not self.phrases:
            return  # "structure: fibula"
        self._name(Mention((), item.value, True, text=item.text))

    def _on_tail(self, item: Item, at: int) -> None:
        """A word that names a finding together with a place ("hyperplasia")."""
        if "in" in self.links and self.phrases and self._head().finding:
            self._on_unknown(item, at)  # a mass "in the first web space of the foot"
            return
        self._name(Mention((), normalise(item.text), True, text=item.text, tail=True))

    def _name(self, mention: Mention) -> None:
        last = self.phrases[-1] if self.phrases else None
        extends = last is not None and not self.connected and not self.pending.sides
        if last is not None and extends and not last.mentions[-1].finding:
            last.unknown_head = None
            last.mentions.append(mention)
            last.words.add(self.pending)
        else:
            if last is not None and last.finding and not mention.finding and not self.connected:
                last.words.sizes += self.pending.sizes  # "nodule 11 mm left lung"
                self.pending.sizes = []
            self._end_scopes()
            phrase = Phrase([mention], self.links, self.pending)
            phrase.negated, phrase.uncertain = self.negation, self.uncertainty
            phrase.historical, phrase.cued = self.historical, self.fresh
            self.phrases.append(phrase)
        self.pending, self.links = Words(), set()
        self.connected = self.fresh = self.be = self.not_next = self.stranger = False

    def _end_scopes(self) -> None:
        """Ends negation and uncertainty where the coming name no longer belongs to them."""
        if self.fresh or not (self.negation or self.uncertainty or self.historical):
            return
        links, words = self.links, self.pending
        if links & {"or", "in", "with", "near", "has"} and "but" not in links:
            return
        own = bool(words.determiner or words.sizes or words.count or words.order)
        own = own or bool(words.sides and not self._list_ahead())
        if "and" in links and not own:
            return
        if "comma" in links and not own and (self._list_ahead() or not self.uncertainty):
            return
        if not links:
            return
        self.negation = self.uncertainty = self.historical = False

    # describing words

    def _on_side(self, item: Item, at: int) -> None:
        following = self._next(at, ("filler",))
        kind = following.kind if following is not None else ""
        if item.text.lower() == "both" and kind in ("size", "compare", "be"):
            return  # "two nodules, both under 5 mm"
        if self.phrases and not self._name_follows(at) and self._sound_follows(at):
            return  # "fracture of the left clavicle; the right one is normal"
        if self.not_side:  # "the left one only, not the right one"
            self.not_side = False
            return
        before = [i for i in self.items[:at] if i.text.lower() not in ("the", "")]
        kinds = [other.kind for other in before]
        if kinds[-2:] == ["side", "compare"]:
            if self.pending.sides:  # "right greater than left" is both
                self.pending.sides.pop()
            earlier = "side" in kinds[:-2]
            self.pending.sides += [] if earlier else ["both"]
            return
        if not self._compared(at):  # "bilateral effusions, larger on the right"
            self.pending.sides.append(item.value)

    def _compared(self, at: int) -> bool:
        """Whether a side only says where of both sides there is more."""
        both = any(i.kind == "side" and i.value == "both" for i in self.items)
        both = both or any("both" in phrase.words.sides for phrase in self.phrases)
        told = [
            i for i in self.items[max(0, at - 4) : at] if i.kind != "size"
        ]  # "larger than 6 mm"
        words = [word for i in told for word in i.text.lower().split()]
        return both and not _MORE.isdisjoint(words)

    def _on_size(self, item: Item, at: int) -> None:
        following = self._next(at, ())
        if "with" in self.links and following is not None and following.text.lower() == "of":
            named = self._next(at + 1, ("filler", "attr", "determiner"))
            if named is None or named.kind not in ("mention", "generic"):
                return  # "with 5 mm of depression"
        earlier = (other.kind for other in reversed(self.items[:at]))
        second = next((kind for kind in earlier if kind in ("size", "mention", "generic")), "")
        if second == "size" and following is not None and following.text.lower() in _ACROSS:
            return  # "9 cm long, 4 cm wide"
        self.pending.sizes.append(item.value)

    def _on_volume(self, item: Item, at: int) -> None:
        self.pending.volumes.append(item.value.bounds)

    def _on_count(self, item: Item, at: int) -> None:
        self.pending.count = item.value

    def _on_order(self, item: Item, at: int) -> None:
        self.pending.order = item.value

    def _on_rank(self, item: Item, at: int) -> None:
        self.pending.rank = item.value

    def _on_attr(self, item: Item, at: int) -> None:
        self._attribute(*item.value)

    def _on_determiner(self, item: Item, at: int) -> None:
        self.pending.determiner = True

    def _on_filler(self, item: Item, at: int) -> None:
        self.pending.definite |= item.text.lower() == "the"

    def _attribute(self, kind: str, value: str) -> None:
        self.pending.attributes.append(Attribute(kind, value, self.not_next))
        self.pending.denied |= self.not_next and self.be
        self.not_next = False

    # connectors

    def _connect(self, kind: str, at: int) -> None:
        following = self._next(at, ("filler",))
        described = following is not None and following.kind == "attr"
        if kind in ("comma", "and") and self.links == {"in"} and self.pending.sides:
            described &= not self._finding_follows(at)  # "hernia on the left, large cyst …"
        self._flush(final=False, attribute_next=described)
        if kind == "in" and self.pending.order and self.phrases and self._head().finding:
            self._head().words.add(Words(order=self.pending.order, rank=self.pending.rank))
            self.pending.order = self.pending.rank = None  # "the largest in the left one"
        if self.stranger and not self.phrases and kind == "comma":
            self.pending = Words()  # "status post left pneumonectomy - the remaining right lung"
        if self.stranger and not self.phrases and kind == "in":
            self.links.add("stranger")
        elif self.stranger and kind != "in":
            self.stranger = False
            self.links.discard("stranger")
        if kind == "colon":  # "after a fall: no fracture"
            self.links.discard("after")
        self.links.add(kind)
        self.connected = True
        self.be &= kind not in ("and", "but")

    def _on_comma(self, item: Item, at: int) -> None:
        listed = self.items[at + 1 : at + 4] if not self.phrases else []
        other = [i.value for i in listed if i.kind == "side" and i.value not in self.pending.sides]
        if other and self.pending.sides and {i.kind for i in listed[:2]} <= {"attr", "side"}:
            self.pending.listed = True  # "trace right, moderate left pleural effusion"
            return
        self._connect(item.kind, at)

    def _on_with(self, item: Item, at: int) -> None:
        self._connect(item.kind, at)

    _on_after = _on_has = _on_with

    def _on_in(self, item: Item, at: int) -> None:
        before = [other.kind for other in self.items[max(0, at - 2) : at]]
        following = self._next(at, ("filler", "attr", "determiner", "unknown"))
        own = following is not None and following.kind in ("mention", "generic", "tail")
        if own and before[-1:] == ["size"] and before[:1] != ["in"] and item.text.lower() == "of":
            kind = following.kind if following is not None else ""
            if kind != "mention" or self.lexicon.is_finding(following.value):  # type: ignore[union-attr]
                return  # "causing 6 mm of midline shift"
        if item.text.lower() in _SPREADING and self.phrases and self._head().finding:
            self._head().words.spread = True
        self._connect(item.kind, at)

    def _on_near(self, item: Item, at: int) -> None:
        self._connect("near", at)
        if item.text.lower() in _BESIDE:  # what lies there lies on that side too
            self.links.add("around")
        elif item.text.lower() in _TOUCHING:
            self.links.add("beside")

    def _on_reading(self, item: Item, at: int) -> None:
        """What a finding is taken for: "opacity, consistent with pneumonia"."""
        told = bool(self.phrases) and self._head().finding
        placed = bool(self.phrases) and not told and self.phrases[0].links == {"in"}
        self._connect("reading" if told else "described" if placed else "with", at)

    def _on_around(self, item: Item, at: int) -> None:
        self._connect("near", at)
        self.links.add("around")

    def _on_colon(self, item: Item, at: int) -> None:
        if self.phrases or self.pending:
            self._connect("colon", at)

    def _on_and(self, item: Item, at: int) -> None:
        self._join("and", at)

    def _on_or(self, item: Item, at: int) -> None:
        self._join("or", at)

    def _join(self, kind: str, at: int) -> None:
        following = self._next(at, ("determiner", "filler", "in"))
        if following is not None and self.pending.sides:
            described = self._next(at, ("determiner", "filler", "in", "attr"))
            told = bool(self.phrases) and self.links == {"in"} and self._finding_follows(at)
            if described is not None and described.kind == "side" and not told:
                self.pending.listed = True
                return  # but not "cyst on the left and large right stone"
            named = described if described is not None else following
            word = named.value.surface.split(" ")[0] if named.kind == "mention" else ""
            other = word in ("left", "right") and word not in self.pending.sides
            if other and not told and self._shared_side(named):
                return
        self._connect(kind, at)

    def _shared_side(self, item: Item) -> bool:
        """Reads "left and right atrium" as "left atrium and right atrium".

        One structure that there is twice is asked for on both sides; then the result is true.
        """
        match: Match = item.value
        side = self.pending.sides[-1]
        _, _, rest = match.surface.partition(" ")
        forms = self.lexicon.get(f"{side} {rest}")
        if match.forms[0].side in ("left", "right"):
            same = {form.concept for form in forms} or {match.forms[0].concept}
            if match.forms[0].concept in same:
                pair = tuple(f._replace(side=None) for f in match.forms if f.concept in same)
                whole = replace(item, value=match._replace(forms=pair, surface=rest))
                self.items = [whole if other is item else other for other in self.items]
                self.pending.sides[-1] = "both"
                return True
        if forms:
            self.pending.sides.pop()
            finding = self.tree.concept(forms[0].concept).kind == "finding"
            self._name(Mention(forms, f"{side} {rest}", finding, text=f"{side} {rest}"))
        return False

    def _on_but(self, item: Item, at: int) -> None:
        self._connect("but", at)
        self.negation = self.uncertainty = self.historical = False

    def _on_exclude(self, item: Item, at: int) -> None:
        following = self._next(at, ("filler", "determiner"))
        if following is not None and following.kind == "side" and not self._name_follows(at):
            self.not_side = True  # "but not the right"
            return
        self._connect("but" if self.negation else "exclude", at)
        self.negation = self.uncertainty = False

    def _on_be(self, item: Item, at: int) -> None:
        self.be = True
        if not self.connected:
            self._flush(final=False)
            self.connected = True

    def _on_unknown(self, item: Item, at: int) -> None:
        self.ignored.append(item.text)
        following = self._next(at, ())
        part = following is not None and following.text.lower().split(" ")[0] in _PARTS
        if part or not any(c.isalpha() for c in item.text):
            return  # "the pterygopalatine part of the maxillary artery"
        plain = is_everyday(item.text.lower()) or item.text.lower().endswith(_ADJECTIVAL)
        sided = self.pending.sides and not item.text.lower().endswith(("ly", *_ADJECTIVAL))
        if self.connected and plain and not sided:  # the side of "left mastectomy" is its own
            return
        if self.connected:
            if "in" in self.links and self.pending.sides:
                self._flush(final=True)  # "in the right foobar" still says right
            self.stranger = True
        elif self.phrases[-1].unknown_head is None and not self._is_far(at):
            adjective = self.phrases[-1].mentions[-1].adjective
            if not plain or (adjective and not item.text.lower().endswith("ly")):
                self.phrases[-1].unknown_head = item.text

    def _is_far(self, at: int) -> bool:
        """Whether an unknown word stands apart from the name before: "on this enterography"."""
        return at > 0 and self.items[at - 1].kind in ("filler", "question_mark")

    def _flush(self, *, final: bool, attribute_next: bool = False) -> None:
        """Gives pending describing words to the name before them, where they follow it."""
        if self.stranger and self.connected and self.phrases:
            sizes = self.pending.sizes if self.links <= {"in"} and self._head().finding else []
            self._head().words.sizes += sizes  # "over the left foobar, 9 mm in thickness"
            self.pending = Words()  # they describe a word that is not known
        if not self.pending or not self.phrases:
            return
        placed = self.links and (self.pending.sides or self.pending.sizes)
        sized = "in" in self.links and self.pending.sizes  # "thickening to 6 mm, mild stranding"
        sound = self.be and any(a.value in _SOUND for a in self.pending.attributes)
        told = self.be and (sound or self.pending.denied)  # "is not dilated, no …"
        told = told and not attribute_next
        behind = told or (placed and not attribute_next)
        if self.connected and not final and not sized and not behind:
            return
        last = self.phrases[-1]
        if "without" in last.links and "comma" in self.links and self.phrases[1:]:
            last = self.phrases[-2]  # "pneumothorax without effusion, right"
        own, rest = Words(sides=self.pending.sides, listed=self.pending.listed), self.pending
        if own.sides and self.links & {"and", "or"}:
            own.listed = True
        rest.sides, rest.listed, rest.determiner = [], False, False
        if not (rest.sizes or rest.order):
            rest.count = None
        if own.sides and (final or self.links) and self.links <= {"in", "comma"}:
            self._share_back(own.sides)
        own.trailing = bool(own.sides) and "comma" in self.links
        last.words.add(own)
        self._head().words.add(rest)
        self.pending = Words()
        self.links -= {"in"}

    def _share_back(self, sides: Sequence[Side]) -> None:
        """Reads "putamen and thalamus on the right" as the right one of both."""
        for at in range(len(self.phrases) - 1, 0, -1):
            words, links = self.phrases[at - 1].words, self.phrases[at].links
            forms = self.phrases[at - 1].mentions[-1].forms
            later = at < len(self.phrases) - 1  # "common, external and internal nodes, left"
            joined = bool(links & {"and", "or"} or (later and links))
            joined &= links <= {"and", "or", "comma"}
            own = self.phrases[at].words.sides not in ([], list(sides))
            if not joined or words.sides or len(set(sides)) > 1 or own:
                return
            if self.phrases[at - 1].mentions[-1].sides:
                return
            if not forms or not self.tree.concept(forms[0].concept).allows(sides[0]):
                return
            if forms[0].side in (None, "both"):
                words.sides = list(sides)

    def _head(self) -> Phrase:
        for at in range(len(self.phrases) - 1, -1, -1):
            phrase = self.phrases[at]
            if "after" in phrase.links:
                continue
            if at and "comma" in self.links and phrase.links & {"without", "near", "around"}:
                continue  # "aneurysm without rupture, 5 cm"
            if phrase.finding:
                return phrase
            row = is_level(phrase.mentions[-1]) and "in" not in phrase.links
            if (row or "comma" in self.links) and self._more_places(at):
                continue  # "cyst in the liver and the spleen, 12 mm"
            beside = phrase.links == {"comma"} and not self.connected
            if beside or phrase.links & {"and", "or", "but", "exclude", "without"}:
                break  # "cyst in the liver and a spleen of 12 cm" is about the spleen
        for phrase in reversed(self.phrases):
            if phrase.finding or not phrase.links & _PLACING:
                return phrase
        return self.phrases[-1]

    def _more_places(self, at: int) -> bool:
        """Whether a name ends a list of places that begins behind a finding with "in"."""
        while at > 0 and self.phrases[at].links and self.phrases[at].links <= {"and", "or"}:
            words = self.phrases[at].words
            if words.determiner or words.attributes or words.sizes or self.phrases[at].finding:
                return False
            at -= 1
        return at > 0 and "in" in self.phrases[at].links and self.phrases[at - 1].finding


def chunk(items: Sequence[Item], lexicon: Lexicon) -> list[Sentence]:
    """The sentences of a text as phrases."""
    sentences: list[tuple[list[Item], list[bool]]] = [([], [])]
    for item in items:
        if item.kind == "stop":
            sentences[-1][1].append(item.text == ".")
            sentences.append(([], []))
        else:
            sentences[-1][0].append(item)
    found = []
    for items, stops in sentences:
        if items:
            own = with_relations(on_topic(with_measures(items)), lexicon)
            read = _Chunker(own, lexicon).read()
            found.append(replace(read, closed=any(stops), items=own))
    return found
