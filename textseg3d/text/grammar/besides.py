"""What a request says besides what it asks for: why, as what, up to where, with what in it.

"Outline the disc so that I can judge it", "as one mask", "before the biopsy", "the gland, isthmus
included", "nothing above it": none of that is a target, and none of it denies one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.naming import by_name
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Target

WORDS = {kind: frozenset(words) for kind, words in read_tables("besides").items()}
_ENDS = ("comma", "but", "stop", "colon", "question_mark")
_NAMES = ("mention", "generic", "tail")
_FILLING = ("filler", "determiner")
_EXTENT = ("mention", "and", "in", "filler", "unknown")
_LEFT_OUT: tuple[str, ...] = (" excluded", " left out", " omitted", " should not", " need not")
_LEFT_OUT += (" not included", " must not", " stay out", " be spared", " not needed", " left aside")


def without_besides(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, those that only go with a request made fillers."""
    items = by_name(items, _introduces)
    result = list(items)
    ends = [len(items)] * len(items)
    for at in range(len(items) - 2, -1, -1):
        ends[at] = at + 1 if items[at + 1].kind in _ENDS else ends[at + 1]
    for at, end in enumerate(ends):
        aim = items[at].kind == "generic" and _introduces(result, at)
        blank(result, at, _beside(_Place(result, at, end, lexicon)))
        if aim:
            result[at] = Item("filler", None, "target is")
        if _is_spot(items, at):
            result[at] = replace(items[at], kind="generic", value="lesion")
    return result


@dataclass(frozen=True)
class _Place:
    """An item, what surrounds it, and its clause, ``end`` being the item after the last."""

    items: Sequence[Item]
    at: int
    end: int
    lexicon: Lexicon

    @property
    def item(self) -> Item:
        return self.items[self.at]

    @property
    def text(self) -> str:
        return self.item.text.lower()

    @property
    def before(self) -> Item | None:
        return self.items[self.at - 1] if self.at else None

    @property
    def head(self) -> list[str]:
        """The first words of the clause from here on."""
        return _words(self.items[self.at : min(self.at + 5, self.end)])

    @property
    def words(self) -> list[str]:
        """All of them."""
        return _words(self.items[self.at : self.end])

    def of_structures_only(self) -> bool:
        """Whether all that is named from here on is a structure."""
        names = [item for item in self.items[self.at : self.end] if item.kind in _NAMES]
        return all(_is_structure(item, self.lexicon) for item in names if item.kind != "tail")

    @property
    def sized(self) -> bool:
        """Whether a size is told in the clause."""
        return any(item.kind == "size" for item in self.items[self.at : self.end])

    def follows(self, *texts: str) -> bool:
        """Whether the item before is one of some texts."""
        return self.before is not None and self.before.text.lower() in texts

    def of_structure(self) -> bool:
        """Whether a structure stands before, or before the comma there."""
        place = (
            self.at - 2 if self.at > 1 and self.items[self.at - 1].kind == "comma" else self.at - 1
        )
        return place >= 0 and _is_structure(self.items[place], self.lexicon)


def _beside(place: _Place) -> int:
    """Where what begins here and tells no target ends; here, if it tells one."""
    items, at = place.items, place.at
    if place.head[:3] == ["as", "far", "as"] and place.of_structure():
        return place.end if place.of_structures_only() and not place.sized else at
    if place.text == "as":
        end = end_of(items, at + 1, (*_ENDS, "in", "and"))
        words = _words(items[at:end])  # not "as well as the whole right kidney"
        return end if set(words[1:2]) & WORDS["one"] and set(words) & WORDS["results"] else at
    if _fills_the_clause(place):
        return place.end
    return at + _length(place)


def _fills_the_clause(place: _Place) -> bool:
    """Whether all from here to the end of the clause only goes with a request."""
    text, item, items, at = place.text, place.item, place.items, place.at
    words = place.head
    second = set(words[1:2])
    if item.kind == "comma":
        return _is_included(place) or _is_one_mask(place) or _is_left_out(place)
    if item.kind == "colon":
        return _is_one_mask(place)
    if item.kind == "exclude" and at == 0 and text.startswith("not"):  # "not the … but the"
        apart = place.end < len(items) and items[place.end].kind == "but"
        return apart and _named(items[place.end :]) and not _sided(items[:at])
    if text == "so":
        return _is_purpose(words) or _is_refusal(place)
    if text in ("drop", "omit", "skip", "ignore", "exclude", "remove"):
        cut = place.before is not None and place.before.kind in _ENDS
        return cut and bool(WORDS["rests"] & set(words[1:4])) and _named(items[:at])
    if text == "for" and second == {"each"}:
        return _named(items[:at])
    if item.kind == "size":
        return place.follows(*WORDS["on"]) and bool(set(place.words[-1:]) & WORDS["slices"])
    if text == "before" and _named(items[:at]):
        done = {"is", "are", "gets", "was"} & set(words[2:5]) and not place.sized
        return bool(set(place.words) & WORDS["procedures"]) or bool(done)
    if text in ("until", "till", "by"):
        return bool(second & WORDS["times"])
    if text == "if":
        return len(place.words) < 5 and place.words[-1] in ("possible", "feasible")
    if text == "all":
        return "way" in words[1:3]
    if text == "where" and place.follows("is"):
        return _named(items[:at])
    if text == "where":
        return bool(second & WORDS["who"]) or place.follows("to", "up to")
    if text == "without":
        return bool(set(words[1:3]) & WORDS["delays"])
    if text in ("nothing", "whatever"):
        return not _named(items[at + 1 : place.end])
    if text == "than":
        return "rather" in _words(items[:at])
    if text == "never":
        return second == {"mind"}
    if text == "with":
        drawn = second == {"a"} and place.words[-1] in WORDS["drawn"]
        if place.words[-1] in WORDS["taken"] and _named(items[:at]):
            return True  # "with all the teeth removed"
        if second & {"its", "their"} and place.of_structure() and place.of_structures_only():
            return True  # "the eyeball with its lens"
        return drawn or (second == {"all"} and place.of_structure())
    if text == "the":
        return second == {"way"} and bool(set(words[2:3]) & WORDS["who"])
    if text == "at" and item.kind == "in":
        return _is_resolution(place)
    if text in ("in", "for"):
        return bool(WORDS["people"] & set(words[1:5])) and _named(items[:at])
    if text == "from" and place.follows("it", "them", "this"):
        return all(i.kind in _EXTENT for i in items[at : place.end])
    if text == "between" and place.follows(",") and place.of_structure():
        return not place.sized and place.of_structures_only()
    upto = text in ("up to", "down to") or (text in ("up", "down") and second == {"to"})
    if upto and place.of_structure():
        return not place.sized and place.of_structures_only()
    if text == "from" and place.of_structure() and "to" in place.words:
        return not place.sized and place.of_structures_only()
    if text == "from" and at == 0 and "to" in place.words:
        return place.end < len(items) and _named(items[place.end :]) and not place.sized
    if text == "from":
        return "end" in words[1:3] and "to" in words[2:4]
    if text == "to" and second == {"within"}:
        return place.items[place.end - 1].kind == "size"
    if text == "to" and second & WORDS["plans"]:
        return _named(items[:at])
    if text in WORDS["including"]:
        return (bool(WORDS["tissues"] & set(place.words)) and _named(items[:at])) or _are_parts(
            place
        )
    return text in WORDS["despite"]


def _length(place: _Place) -> int:
    """How many items from here on say nothing of a target."""
    text, item, items, at = place.text, place.item, place.items, place.at
    words = place.head
    second = set(words[1:2])
    if item.kind == "in" and second & WORDS["units"]:
        return 2
    if text == "how many" and set(words[2:3]) & WORDS["units"]:
        return 2
    if item.value == "structure" and place.follows("the") and _named(items[:at]):
        return int(items[at - 2].kind == "be")  # "the labrum is the structure I'd like to see"
    if item.kind == "in" and _asks_behind(items, at):
        return 1
    told = place.follows("a", "the", "draw a", "put a", "trace a") or place.follows("draw", "put")
    if text in WORDS["drawn"] and second == {"around"} and (told or not _named(items[:at])):
        return 1 if items[at + 1].kind == "size" else 2
    if text == "right" and item.kind == "side":
        return _no_side(items, at)
    if text == "both" and item.kind == "side":
        return int(_is_asked_twice(items, at) or _are_two(items, at) or _are_told(items, at))
    if text == "another" and words[1:3] in (["one", "for"], ["one", "of"]):
        return 3
    if text == "another" and second == {"for"}:
        return 2
    if text == "everything" and words[1:3] == ["that", "is"]:
        return 3
    if text == "everything" and second & {"looks", "is", "seems", "appears"}:
        return place.end - at
    if text in ("thin", "thick"):
        return 2 if second & WORDS["slices"] else 0
    if text == "to":
        return 3 if second == {"be"} and set(words[2:3]) & WORDS["planned"] else 0
    if text == "(" and _are_pieces(items, at):
        return next(n for n in range(at, len(items)) if items[n].text == ")") - at
    enclosed = item.kind == "comma" and [i.kind for i in items[at + 2 : at + 3]] == ["comma"]
    if enclosed and items[at + 1].text.lower() in WORDS["asides"]:
        return 3  # "what I want, though, is"
    if item.kind == "comma" and _without_structure(place):
        return next(n for n in range(at, len(items)) if items[n].kind == "without") - at
    if item.kind == "comma":
        return 3 if _are_counted(items, at) or _is_weighting(items, at) else 0
    if item.kind == "unc_pre":
        return int(_is_polite(words))
    if text == "everything" and second in ({"else"}, {"around"}):
        return 2 if _named(items[:at]) else 0
    if at == 0 and _prepares(place):
        return place.end
    if item.kind == "generic":
        return int(text == "whatever") or _introduces(items, at)
    if item.kind == "mention":
        return int(_is_again(items, at, place.lexicon))
    return int(text in ("even", "drawn"))


def _is_spot(items: Sequence[Item], at: int) -> bool:
    """Whether "the 4 mm spot in" or "a dark spot in" is told."""
    told = at > 0 and items[at - 1].kind in ("size", "attr") and at + 1 < len(items)
    return (
        told and items[at].text.lower() in ("spot", "dot", "speck") and items[at + 1].kind == "in"
    )


def _no_side(items: Sequence[Item], at: int) -> int:
    """The length of the "right" of "all right" and "right, so"; that of ", right?" may be one."""
    opens = at == 0 and len(items) > 2 and items[1].kind == "comma"
    if opens and items[2].text.lower().split(" ")[0] in WORDS["talking"]:
        return 2  # "right, so what I need is"
    named = at + 1 < len(items) and items[at + 1].kind in _NAMES  # "all right ribs"
    if at == 0 or items[at - 1].text.lower() != "all" or named:
        return 0
    return 2 if at + 1 < len(items) and items[at + 1].kind == "question_mark" else 1


def _is_resolution(place: _Place) -> bool:
    """Whether "at 1 mm" after a structure is the resolution that is wanted."""
    told = place.end == place.at + 2 and place.items[place.at + 1].kind == "size"
    return told and _is_structure(place.before, place.lexicon)


def _words(items: Sequence[Item]) -> list[str]:
    return [word for item in items for word in item.text.lower().split(" ")]


def _named(items: Sequence[Item]) -> bool:
    return any(item.kind in _NAMES for item in items)


def _asks_behind(items: Sequence[Item], at: int) -> bool:
    """Whether "glad of an outline of" is all that was told up to here."""
    place = at + 2 if at + 1 < len(items) and items[at + 1].kind == "determiner" else at + 1
    asks = place < len(items) and items[place].kind == "filler"
    first = items[place].text.lower().split(" ")[0] if asks else ""
    return first in WORDS["masks"] and not _named(items[:at])


def _prepares(place: _Place) -> bool:
    """Whether a text begins as "In preparation for surgery, outline the …"."""
    rest = place.items[place.end :]
    leads = place.item.kind in ("in", "filler") and place.text in WORDS["leads"]
    return (
        leads
        and rest[:1] != []
        and rest[0].kind == "comma"
        and bool(set(place.words) & WORDS["procedures"])
        and _named(rest)
    )


def _is_weighting(items: Sequence[Item], at: int) -> bool:
    """Whether "(T2)" stands here, after what was named."""
    told = [item.text.lower() for item in items[at : at + 3]]
    return (
        told[:1] == ["("] and told[2:] == [")"] and told[1] in ("t1", "t2") and _named(items[:at])
    )


def _is_polite(words: Sequence[str]) -> bool:
    """Whether words begin as "wonder if you could" or "I wonder whether the software can"."""
    place = next((n for n, word in enumerate(words) if word in ("if", "whether")), len(words))
    wonders = bool({"wonder", "wondering"} & set(words[:place]))
    rest = [word for word in words[place + 1 :] if word not in ("the", "your", "this", "is")]
    asked = rest[:1] != [] and rest[0] in WORDS["asked"]
    return wonders and asked and bool((WORDS["able"] | {"able"}) & set(rest[1:2]))


def _introduces(items: Sequence[Item], at: int) -> int:
    """The length of "structure that I need is" or "my target:" at a clause's beginning."""
    start = max((n for n in range(at) if items[n].kind in _ENDS), default=-1) + 1
    fore = [
        i for i in items[start:at] if i.kind != "filler" and i.text.lower() not in WORDS["hence"]
    ]
    if items[at].text.lower() not in WORDS["objects"] or fore:
        return 0
    said = next(
        (n for n in range(at + 1, min(at + 6, len(items))) if items[n].kind in ("be", "colon")), at
    )
    behind = items[said + 1 : said + 2]
    told = said > at and not _named(items[at + 1 : said]) and bool(behind)
    return said + 1 - at if told and behind[0].kind != "in" else 0


def _is_purpose(words: Sequence[str]) -> bool:
    """Whether words begin as "so that I can"."""
    rest = [word for word in words[1:4] if word != "that"]
    if words[:2] == ["so", "that"] and words[2:3] == ["the"] and WORDS["able"] & set(words[4:6]):
        return True  # "so that the drain can be planned"
    able = rest[:1] != [] and rest[0] in WORDS["who"] and bool(WORDS["able"] & set(rest[1:2]))
    return able and "like" not in words[:5]  # "so we would like to have the liver"


def _is_structure(item: Item | None, lexicon: Lexicon) -> bool:
    return item is not None and item.kind == "mention" and not lexicon.is_finding(item.value)


def _is_one_mask(place: _Place) -> bool:
    """Whether ": one clean bone mask" or ", separate contours" begins here, after a name."""
    told = place.words[1:] if place.words[:1] != [""] else place.words
    mask = bool(told[-1:]) and told[-1] in WORDS["results"] | WORDS["masks"]
    return mask and told[0] in WORDS["one"] and len(told) > 2 and _named(place.items[: place.at])


def _is_left_out(place: _Place) -> bool:
    """Whether ", stalk excluded" or ", with the sinus left out" begins here, or a reason."""
    if not _named(place.items[: place.at]):
        return False
    part = place.items[place.at + 1 : place.end]
    told = " ".join(item.text.lower() for item in part)
    reason = bool(part) and told.split(" ")[0].endswith("ing") and part[0].kind == "unknown"
    if told.endswith(_LEFT_OUT) and "not be " not in told and "cannot" not in told:
        names = [item for item in part if item.kind in _NAMES]
        plain = (i.kind == "tail" or _is_structure(i, place.lexicon) for i in names)
        return names != [] and all(plain)
    return reason and not _named(part)


def _is_refusal(place: _Place) -> bool:
    """Whether "so do not draw anything" begins here."""
    end = place.items[place.at : place.end]
    denied = any(item.kind.startswith("neg_") for item in end)
    return denied and "do" in place.words[1:3] and place.words[-1] in ("anything", "it", "them")


def _is_included(place: _Place) -> bool:
    """Whether ", isthmus included" begins here."""
    tissue = bool(WORDS["tissues"] & set(place.words)) and _named(place.items[: place.at])
    return (
        len(place.head) > 2
        and place.words[-1] in WORDS["included"]
        and (tissue or _are_parts(place))
    )


def _are_parts(place: _Place) -> bool:
    """Whether the structures from here on are parts or tissues of the one before."""
    if not _is_structure(place.before, place.lexicon):
        return False
    tree, whole = place.lexicon.tree, place.items[place.at - 1].value.forms[0].concept
    for item in place.items[place.at : place.end]:
        if _is_structure(item, place.lexicon):
            part = item.value.forms[0].concept
            wholes = {target.concept for target in tree.ancestors(Target(part, None))}
            if whole not in wholes and tree.concept(part).category != "nervous tissue":
                return False
    return True


def _are_pieces(items: Sequence[Item], at: int) -> bool:
    """Whether "(head, body and tail)" stands behind a name."""
    end = next((n for n in range(at, len(items)) if items[n].text == ")"), at)
    told = [i for i in items[at + 1 : end] if i.kind not in ("comma", "and", "filler")]
    return (
        len(told) > 1 and _named(items[:at]) and {i.text.lower() for i in told} <= WORDS["pieces"]
    )


def _without_structure(place: _Place) -> bool:
    """Whether ", without the pelvis" or ", please, without the pelvis" begins here."""
    told = [i for i in place.items[place.at + 1 : place.at + 7] if i.kind not in _FILLING]
    told = told[1:] if [i.kind for i in told[:2]] == ["comma", "without"] else told
    left_out = [i.kind for i in told[:1]] == ["without"]
    return (
        left_out
        and place.of_structure()
        and _is_structure(next(iter(told[1:]), None), place.lexicon)
    )


def _are_counted(items: Sequence[Item], at: int) -> bool:
    """Whether ", two structures" or ", whole organ" stands at ``at``."""
    told = items[at + 1 : at + 3]
    if at == 0 or len(told) < 2 or told[1].text.lower() not in WORDS["things"]:
        return False
    closed = at + 3 == len(items) or items[at + 3].kind in (*_ENDS, "with", "in")
    return closed and (told[0].kind == "count" or told[0].text.lower() in ("whole", "entire"))


def _is_asked_twice(items: Sequence[Item], at: int) -> bool:
    """Whether ", outline both" comes after what was told on the left and on the right."""
    asked = at > 1 and items[at - 1].kind == "filler" and items[at - 2].kind in _ENDS
    closed = at + 1 == len(items) or items[at + 1].kind in _ENDS
    told = {i.text.lower() for i in items[:at] if i.kind == "side"}
    return asked and closed and {"left", "right"} <= told


def _are_told(items: Sequence[Item], at: int) -> bool:
    """Whether "both the left and the right" begins here."""
    told = [i for i in items[at + 1 : at + 7] if i.kind not in _FILLING][:3]
    sides = {item.text.lower().split(" ")[0] for item in told[::2]}
    return [i.kind for i in told[:2]] == ["side", "and"] and sides == {"left", "right"}


def _are_two(items: Sequence[Item], at: int) -> bool:
    """Whether "I want both" comes after "of the duodenum and the jejunum"."""
    names = [n for n in range(at) if items[n].kind == "mention"]
    listed = len(names) == 2 and any(i.kind == "and" for i in items[names[0] : names[1]])
    closed = at + 1 == len(items) or items[at + 1].kind in _ENDS
    listed |= not names and closed and _named(items[at + 1 :]) and items[at + 1].kind == "colon"
    return listed and closed and items[at - 1].kind == "filler" and not _sided(items[:at])


def _sided(items: Sequence[Item]) -> bool:
    return any(item.kind == "side" for item in items)


def _is_again(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    """Whether "the vein" is the subclavian vein of before, "the fatty mass" the lipoma."""
    word = items[at].text.lower()
    if word in WORDS["lumps"]:
        first = at - 1 if at and items[at - 1].kind == "attr" else at
        definite = first > 0 and items[first - 1].text.lower() in ("the", "this", "mask of the")
        closed = at + 1 == len(items) or items[at + 1].kind in ("stop", "but")
        return (
            definite
            and closed
            and any(i.kind == "mention" and lexicon.is_finding(i.value) for i in items[:at])
        )
    definite = at > 0 and items[at - 1].text.lower() in ("the", "that", "this")
    if not definite or not (word in WORDS["devices"] or _is_structure(items[at], lexicon)):
        return False
    told = max((n for n in range(at) if items[n].kind in _ENDS[1:]), default=0)  # not in a list
    earlier = [i.text.lower() for i in items[:told] if i.kind == "mention"]
    return any(name.split(" of ")[0].endswith(f" {word}") for name in earlier)


def as_statements(items: Sequence[Item]) -> list[Item]:
    """A question of where or what something is, with a request behind it, doubts nothing."""
    result = list(items)
    for at, item in enumerate(items[:-1]):
        polite = item.kind == "question" and item.text.lower().split(" ")[0] in WORDS["able"]
        if polite and items[at + 1].kind == "comma":  # "could you, for each side, give me"
            end = next((n for n in range(at, len(items)) if items[n].kind == "question_mark"), at)
            result[end] = Item("stop", None, ".")
            result[at] = replace(item, kind="filler", value=None)
    for at, item in enumerate(items):
        if item.kind != "question_mark" or not _named(items[at + 1 :]):
            continue
        start = max(
            (n for n in range(at) if items[n].kind in ("stop", "question_mark")), default=-1
        )
        first = result[start + 1]
        if first.kind == "question" and first.text.lower().split(" ")[0] in (
            "what",
            "where",
            "how",
        ):
            result[start + 1] = replace(first, kind="filler", value=None)
            result[at] = replace(item, kind="stop", text=".", value=None)
    return result
