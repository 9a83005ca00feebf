"""Clauses that only say what is well, as in "Left pneumothorax. Right lung is clear".

Beside a finding such a clause asks for nothing, so it is left out; what is denied behind it lies in
what it names ("Liver and spleen unremarkable, no lesion").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.sound import only_sound

_SOUND = frozenset(("normal", "unremarkable", "intact", "preserved", "patent", "clear"))
_SOUND |= {"normally", "unaffected", "spared", "uninvolved", "within normal limits"}
_SOUND |= {"nothing of note", "nothing abnormal", "healthy", "normal in size", "normal sized"}
_SOUND |= {
    "of normal size",
    "of normal caliber",
    "of normal calibre",
    "of normal appearance",
    "normal size",
    "unobstructed",
    "well aerated",
    "aerated",
    "well pneumatized",
    "uneventful",
}
_SOUND |= {"normal caliber", "normal calibre", "clear bilaterally", "normal bilaterally"}
_UNCHANGED = ("enlarged", "narrowed", "displaced", "compressed", "involved", "affected", "deviated")
_NAMES = ("mention", "generic", "tail")
_HARMLESS = frozenset(("mention", "side", "filler", "determiner", "attr", "unknown", "be", "and"))
_HARMLESS |= {"in", "colon", "has", "count", "comma", "or"}
_SETTING = ("leave", "keep")
_ASKING = frozenset(("segment", "outline", "contour", "delineate", "label", "mask", "annotate"))
_MILD = ("position", "aspect", "chronicity")
_DENYING = ("neg_pre", "without", "neg_any")


def without_sound_clauses(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text, clauses that only call a structure normal made fillers.

    Those before a denial become its subject: "Aorta of normal calibre with no dissection".
    """
    result = _exceptions(items, lexicon)
    found = any(_finding(item, lexicon) for item in result)
    spans = _spans(result)
    for number, (start, end) in enumerate(spans):
        clause = result[start:end]
        others = [*result[:start], *result[end:]]
        aside = _set_aside(clause) and any(item.kind == "mention" for item in others)
        beside = found and any(_finding(i, lexicon) for i in others)
        sound = beside and (_sound(clause, lexicon) or only_sound(clause, lexicon))
        sound |= _beside_large(result, start, end) and _sound(clause, lexicon)
        sound |= _beside_request(result, spans, number) and _sound(clause, lexicon)
        if not aside and not sound:
            continue
        named = number + 1 < len(spans) and any(item.kind == "mention" for item in clause)
        if named and _denied(result, end, spans[number + 1], lexicon):
            _as_subject(result, start, end)
            continue
        for at in range(start if aside else _listed_from(result, spans, number, lexicon), end):
            result[at] = replace(result[at], kind="filler", value=None, text="")
    return result


def _listed_from(
    items: Sequence[Item], spans: Sequence[tuple[int, int]], number: int, lexicon: Lexicon
) -> int:
    """Where the list begins that a clause ends: "Liver, spleen and kidneys are normal"."""
    if not any(item.kind == "be" for item in items[slice(*spans[number])]):
        return spans[number][0]
    while number > 0 and items[spans[number][0] - 1].text == ",":
        before = items[slice(*spans[number - 1])]
        kinds = {item.kind for item in before}
        plain = "mention" in kinds and kinds <= {"mention", "side", "filler", "determiner", "and"}
        if not plain or any(_finding(item, lexicon) for item in before):
            break
        number -= 1
    return spans[number][0]


def _beside_request(items: Sequence[Item], spans: Sequence[tuple[int, int]], number: int) -> bool:
    """Whether a clause states something and another one asks: "Segment the liver. Spleen is …"."""
    clauses = [items[start:end] for start, end in spans]
    stated = any(item.kind == "be" for item in clauses[number])
    if not stated or _asks(clauses[number]):
        return False
    return any(_asks(clause) for at, clause in enumerate(clauses) if at != number)


def _beside_large(items: Sequence[Item], start: int, end: int) -> bool:
    """Whether another sentence calls a structure large: "Spleen is enlarged. Liver normal."."""
    if start and items[start - 1].kind != "stop":
        return False
    if end < len(items) and items[end].kind != "stop":
        return False
    others = [*items[:start], *items[end:]]
    stated = any(one.kind == "be" and _changed(other) for one, other in pairwise(others))
    return stated and any(item.kind == "mention" for item in others)


def _changed(item: Item) -> bool:
    words = ("enlarged", "dilated", "atrophic", "thickened", "small", "swollen", "irregular")
    return item.kind == "attr" and item.text.lower() in words


def _asks(clause: Sequence[Item]) -> bool:
    words = [word for item in clause[:2] for word in item.text.lower().split(" ")]
    named = any(item.kind == "mention" for item in clause)
    return named and not _ASKING.isdisjoint(words[:2])


def _exceptions(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "spleen is normal except for a cyst" as the cyst in the spleen."""
    result = list(items)
    for at, item in enumerate(result):
        if item.kind != "exclude":
            continue
        behind = [i for i in result[at + 1 :] if i.kind in (*_NAMES, "but", "stop")]
        if not behind or not _finding(behind[0], lexicon):
            continue
        start = at
        while start > 0 and result[start - 1].kind not in ("but", "stop"):
            start -= 1
        sound = [place for place in range(start, at) if _well(result[place])]
        named = [i for i in result[start:at] if i.kind in _NAMES]
        if not (sound and named) or any(_finding(i, lexicon) for i in named):
            continue
        for place in sound:
            result[place] = replace(result[place], kind="filler", value=None, text="")
        result[at] = replace(item, kind="has")
    return result


def _finding(item: Item, lexicon: Lexicon) -> bool:
    return item.kind in ("generic", "tail") or (
        item.kind == "mention" and lexicon.is_finding(item.value)
    )


def _ill(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item is a finding that cannot be well; "the implant is intact"."""
    if not _finding(item, lexicon) or item.kind != "mention":
        return _finding(item, lexicon)
    return lexicon.tree.concept(item.value.forms[0].concept).category != "device"


def _spans(items: Sequence[Item]) -> list[tuple[int, int]]:
    """The clauses as (first, behind the last); "with no" and "and no" begin one, too."""
    spans, start = [], 0
    for at, item in enumerate(items):
        bracket = item.text == "(" and not _well_inside(items, at)
        if item.kind in ("but", "stop") or (item.kind == "comma" and not bracket):
            spans.append((start, at))
            start = at + 1
        elif item.kind in _DENYING and at > start and item.text.lower().split(" ")[0] != "without":
            joined = items[at - 1].kind == "and"
            spans.append((start, at - joined))
            start = at
    spans.append((start, len(items)))
    return spans


def _well_inside(items: Sequence[Item], at: int) -> bool:
    """Whether a bracket calls something normal: "(right lung clear)"."""
    inside = takewhile(lambda item: item.text != ")", items[at + 1 :])
    return any(map(_well, inside))


def _sound(clause: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a clause names structures or a side and says nothing but that they are normal."""
    if clause and clause[0].text.lower().split(" ")[0] in ("compared", "unlike"):
        clause = [item for item in clause if item.kind != "with"]
    if _unenlarged(clause):
        clause = [i for i in clause if i.kind != "neg_attr" and i.text.lower() not in _UNCHANGED]
        return all(i.kind in _HARMLESS and not _finding(i, lexicon) for i in clause)
    named = [item for item in clause if item.kind in ("mention", "side")]
    if [item.kind for item in clause if item.kind != "filler"][-1:] == ["neg_post"]:
        plain = [item for item in clause if item.kind not in ("filler", "determiner", "be", "side")]
        unseen = len(plain) == 2 and plain[0].kind == "mention" and not _finding(plain[0], lexicon)
        return unseen  # "right kidney not visualised"
    stated = any(item.kind == "be" for item in clause)
    ill = _ill if stated else _finding
    if not named or any(item.kind not in _HARMLESS or ill(item, lexicon) for item in clause):
        return False
    if any(
        item.kind == "attr" and not _well(item) and item.value[0] not in _MILD for item in clause
    ):
        return False
    words = {word for item in clause for word in item.text.lower().split(" ")}
    return any(map(_well, clause)) and "otherwise" not in words


def _unenlarged(clause: Sequence[Item]) -> bool:
    """Whether a clause says "not enlarged", which names no finding."""
    pairs = pairwise(clause)
    return any(one.kind == "neg_attr" and i.text.lower() in _UNCHANGED for one, i in pairs)


def _well(item: Item) -> bool:
    return item.kind in ("attr", "unknown", "filler") and item.text.lower() in _SOUND


def _set_aside(clause: Sequence[Item]) -> bool:
    """Whether a clause says what is not asked for: "leave the left knee alone"."""
    words = [item.text.lower() for item in clause]
    return bool(words) and words[0] in _SETTING and words[-1] in ("alone", "out", "untouched")


def _denied(items: Sequence[Item], at: int, span: tuple[int, int], lexicon: Lexicon) -> bool:
    """Whether the next clause denies a finding and names no place of its own."""
    if at < len(items) and items[at].kind == "stop":
        return False
    clause = items[span[0] : span[1]]
    told = [item for item in clause if item.kind not in ("filler", "determiner", "be")]
    if not told or told[0].kind not in _DENYING:
        return False
    names = [item for item in clause if item.kind in _NAMES]
    return bool(names) and all(_finding(item, lexicon) for item in names)


def _as_subject(items: list[Item], start: int, end: int) -> None:
    """Makes a clause the heading of the next one: "Liver and spleen: no lesion"."""
    last = max(at for at in range(start, end) if items[at].kind == "mention")
    for at in range(start, end):
        if items[at].kind not in ("mention", "side", "and", "determiner") or at > last:
            items[at] = replace(items[at], kind="filler", value=None)
    place = end if end < len(items) and items[end].kind in ("comma", "but", "and") else end - 1
    items[place] = replace(items[place], kind="colon", value=None)
