"""What is told of one side, then of the other: "a cyst in the left kidney, a stone in the right".

The structure is named once; here it is named at the other side, too. "Unlike the right kidney"
says nothing, and "in the left but not in the right kidney" is the left one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, blank, end_of, unsided
from textseg3d.text.grammar.lexicon import Lexicon, Match

_OTHER = {"left": "right", "right": "left"}
_COMPARED = (
    ("unlike",), ("compared", "with"), ("compared", "to"), ("in", "contrast", "to"),
    ("in", "comparison", "with"), ("in", "comparison", "to"), ("contrary", "to"),
    ("as", "opposed", "to"), ("as", "compared", "with"), ("as", "compared", "to"),
)  # fmt: skip
_BREAKS = ("comma", "and", "but", "stop")
_LEADING = ("filler", "in", "determiner")
_FINE = frozenset(("fine", "ok", "okay", "good", "alright"))
_NONE = frozenset(("none", "nothing", "not", "absent", "normal"))
_HEADS = ("colon", "with")
_BEFORE = frozenset(("before", "previously", "last", "earlier", "then", "initially"))
_VERBS = ("has", "be")


def with_both_places(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items; what is told of two sides or two structures is told in full."""
    items = _both_of_two(_besides(_exceptions(_not_before(_sound(items)))), lexicon)
    items = _its_place(items, lexicon)
    result = [part for item in items for part in _side_and_name(item, lexicon)]
    sides = {item.value for item in result if item.kind == "side"}
    if {"left", "right"} <= sides:
        result = _in_full(_one_of_two(_without_comparisons(result, lexicon)), lexicon)
    elif sum(_is_structure(item, lexicon) for item in items) < 2:
        return _told_apart(items, lexicon)
    else:
        result = _one_of_two(_without_comparisons(items, lexicon))
    result = _one_of_these(_without_none(_spared(_now(result)), lexicon), lexicon)
    return _told_apart(result, lexicon)


def _is_structure(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "mention" and not lexicon.is_finding(item.value)


def _now(items: Sequence[Item]) -> list[Item]:
    """The items without "there was a cyst in the spleen;" before "now there is"."""
    result = list(items)
    start = 0
    for at, item in enumerate(items):
        was = items[start].text.lower() in ("there was", "there were", "previously")
        now = at + 1 < len(items) and items[at + 1].text.lower() == "now"
        if item.kind in _BREAKS and was and now:
            blank(result, start, at + 1)
        start = at + 1 if item.kind == "stop" else start
    return result


def _spared(items: Sequence[Item]) -> list[Item]:
    """Reads ", which spares the spleen" as ", sparing the spleen"."""
    result = list(items)
    for at in range(1, len(items)):
        if items[at].text.lower() in ("spares", "spared") and items[at].kind == "unknown":
            result[at] = Item("unknown", None, "sparing")
            if items[at - 1].text.lower() in ("which", "that"):
                blank(result, at - 1, at)
    return result


def _without_none(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items without "; none in the spleen", "the spleen has none", "the right does not"."""
    result = list(items)
    for at, item in enumerate(items):
        if item.kind not in _BREAKS or not any(_finds(i, lexicon) for i in items[:at]):
            continue
        end = end_of(items, at + 1, (*_BREAKS, "question_mark"))
        part = [i for i in items[at + 1 : end] if i.kind not in ("filler", "determiner")]
        words = [i.text.lower() for i in part]
        placed = any(i.kind == "side" or _is_structure(i, lexicon) for i in part)
        if not placed or any(_finds(i, lexicon) for i in part):
            continue
        first = words[0] == "none" and words[1:2] in (["in"], ["on"])
        last = words[-1] == "none" and part[-2].kind == "has"
        does = words[-2:] in (["does", "not"], ["do", "not"], ["did", "not"])
        if first or last or does or words[-2:] == ["does not have", "one"]:
            blank(result, at, end)
    return result


def _side_and_name(item: Item, lexicon: Lexicon) -> list[Item]:
    """Splits "left thyroid lobe", if that is a name of its own, into the side and the rest."""
    if item.kind != "mention" or item.value.forms[0].side not in _OTHER:
        return [item]
    concept, side = item.value.forms[0].concept, item.value.forms[0].side
    rest = unsided(item.value.surface)
    forms = tuple(form for form in lexicon.named(rest) if form.concept == concept)
    plain = rest != item.value.surface and lexicon.tree.concept(concept).side_rule == "paired"
    if not forms or not plain or lexicon.is_finding(item.value):
        return [item]
    match = Match(item.value.end, forms, (), rest)
    return [Item("side", side, side), replace(item, value=match, text=unsided(item.text))]


def _sound(items: Sequence[Item]) -> list[Item]:
    """Reads "looks fine" as "is normal"."""
    result = list(items)
    for at in range(1, len(items)):
        if items[at - 1].kind == "be" and items[at].text.lower() in _FINE:
            result[at] = Item("attr", ("extent", "normal"), "normal")
    return result


def _not_before(items: Sequence[Item]) -> list[Item]:
    """The items without "not seen before" and "was not there last year", which deny nothing."""
    result = list(items)
    for at, item in enumerate(items[:-1]):
        then = items[at + 1].text.lower().split(" ")[0] in _BEFORE
        if item.kind == "neg_post" and item.text.lower().startswith("not ") and then:
            be = at - 1 if at and items[at - 1].kind == "be" else at
            blank(result, be, _behind(items, at + 1, ("filler", "unknown", "in")))
    return result


def _exceptions(items: Sequence[Item]) -> list[Item]:
    """Reads "is normal but for a cyst" as "is normal except for a cyst"."""
    result: list[Item] = []
    for item in items:
        verb, _, cue = item.text.partition(" ")
        if item.kind == "neg_pre" and cue.lower() == "negative for":
            result.append(Item("be", None, verb))
            item = replace(item, text=cue)
        result.append(item)
    items = list(result)
    for at in range(len(items) - 1):
        if items[at].kind == "but" and items[at + 1].text.lower() == "for":
            result[at : at + 2] = [Item("exclude", None, "except for"), Item("filler", None, "")]
    return result


def _besides(items: Sequence[Item]) -> list[Item]:
    """Reads "in addition to the kidney, the spleen" and "the neighbouring spleen" as a list."""
    result = list(items)
    if items and items[0].text.lower() == "in addition to":
        end = end_of(items, 0, ("comma", "stop"))
        result[0] = Item("filler", None, "outline")
        if end < len(items) and items[end].kind == "comma":
            result[end] = Item("and", None, "and")
    for at in range(2, len(items) - 1):
        beside = items[at].kind == "near" and items[at].text.lower().startswith("neighbo")
        if beside and items[at - 2].kind == "and" and items[at + 1].kind in ("mention", "side"):
            blank(result, at, at + 1)
    return result


def _both_of_two(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "both the left kidney and the spleen", two structures, as a list of them."""
    result = list(items)
    for at, item in enumerate(items):
        if item.kind != "side" or item.text.lower() != "both":
            continue
        first = _behind(items, at + 1, ("filler", "side"))
        joined = first + 1 < len(items) and items[first + 1].kind == "and"
        other = _behind(items, first + 2, ("filler", "side")) if joined else first
        pair = [items[n] for n in (first, other) if _is_structure(items[n], lexicon)]
        pair = [i for i in pair if i.value.forms[0].source != "plural"]  # "both upper lobes and"
        if joined and len({i.value.forms[0].concept for i in pair}) == 2:
            blank(result, at, at + 1)
    return result


def _its_place(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Gives a finding the place that is told with another one, which is not there.

    "A cyst rather than a stone in the left kidney", "no stone in the left kidney, only a cyst".
    """
    result: list[Item] = []
    for at, item in enumerate(items):
        end = _behind(items, at + 1, ("filler", "determiner", "attr", "size"))
        rather = item.text.lower() in ("rather than", "instead of")
        rather = rather and bool(result) and _finds(result[-1], lexicon)
        if rather and _found_in(items, end, lexicon):
            return [*result, *items[end + 1 :]]
        result.append(item)
        only = item.kind in ("comma", "but") and items[at + 1 : at + 2] != []
        if not only or items[at + 1].text.lower().split(" ")[0] not in ("only", "just", "merely"):
            continue
        start = next((n for n in range(at) if _found_in(items, n, lexicon)), None)
        alone = end + 1 == len(items) or items[end + 1].kind in ("stop", "comma")
        if start is not None and _denies(items[:at]) and _finds(items[end], lexicon) and alone:
            return [*result, *items[at + 1 : end + 1], *items[start + 1 : at], *items[end + 1 :]]
    return result


def _found_in(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    """Whether a finding with its place stands here."""
    placed = items[at + 1 : at + 2] != [] and items[at + 1].kind == "in"
    return placed and _finds(items[at], lexicon)


def _without_comparisons(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items without "unlike the right one," at the beginning of a clause or within it."""
    result = list(items)
    for at in range(len(items)):
        end = end_of(items, at, ("comma", "stop", "but"))
        words = [w for item in items[at:end] for w in item.text.lower().split(" ") if w]
        cue = any(tuple(words[: len(cue)]) == cue for cue in _COMPARED)
        first = at == 0 or items[at - 1].kind in ("comma", "stop", "but")
        closed = end < len(items) and items[end].kind == "comma"
        told = items[at:end]
        placed = any(item.kind == "side" or _is_structure(item, lexicon) for item in told)
        if cue and first and closed and placed and not any(_finds(i, lexicon) for i in told):
            within = at > 0 and items[at - 1].kind == "comma"
            blank(result, at - within, end + 1)
    return result


def _one_of_two(items: Sequence[Item]) -> list[Item]:
    """Reads "in the left but not in the right kidney" as "in the left kidney".

    And "not in the spleen but in the liver" as "in the liver".
    """
    result = list(items)
    for at, item in enumerate(items):
        denies = item.kind in ("exclude", "neg_attr") and at > 0
        if denies and items[at - 1].kind in ("side", "comma"):
            side = items[at - 1 - (items[at - 1].kind == "comma")]
            other = _behind(items, at + 1, ("filler", "in", "determiner"))
            named = (
                other
                + 1
                + (items[other + 1 : other + 2] != [] and items[other + 1].kind == "comma")
            )
            opposite = side.kind == items[other].kind == "side"
            opposite = opposite and items[other].value == _OTHER.get(side.value)
            if opposite and named < len(items) and items[named].kind == "mention":
                blank(result, at - (items[at - 1].kind == "comma"), named)
        if item.kind == "neg_attr" and [i.kind for i in items[at + 1 : at + 2]] == ["in"]:
            end = _behind(items, at + 1, ("filler", "in", "determiner", "side", "mention"))
            if items[end].kind == "but" and [i.kind for i in items[end + 1 : end + 2]] == ["in"]:
                blank(result, at, end + 1)
    return result


def _behind(items: Sequence[Item], at: int, kinds: Sequence[str]) -> int:
    """The first item from ``at`` on that is none of ``kinds``, or the last one."""
    while at < len(items) - 1 and items[at].kind in kinds:
        at += 1
    return min(at, len(items) - 1)


def _in_full(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Names the structure at a side that stands for it: "stone in the right", "the right has"."""
    result: list[Item] = []
    last: tuple[str, Item] | None = None
    has = passed = False
    for at, item in enumerate(items):
        if passed:  # the "one" of "the right one"
            passed = False
            continue
        result.append(item)
        has |= item.kind == "has"
        if item.kind == "mention" and at and items[at - 1].kind == "side":
            last = (items[at - 1].value, item) if not lexicon.is_finding(item.value) else last
        if item.kind != "side" or last is None or _OTHER.get(item.value) != last[0]:
            continue
        start = at
        while start and items[start - 1].kind == "filler":
            start -= 1
        lead = items[start - 1] if start else None
        inside = lead is not None and lead.text.lower() in ("in", "of")
        inside = inside and not (start > 1 and items[start - 2].text.lower() in _NONE)
        opens = lead is None or lead.kind in _BREAKS
        behind = items[at + 1 : at + 2]
        passed = bool(behind) and behind[0].text.lower() == "one"
        after = items[at + 1 + passed : at + 2 + passed]
        ends = not after or after[0].kind in (*_BREAKS, "size")
        told = opens and bool(after) and after[0].kind in ("has", "colon")
        if (inside and ends) or told:
            result.append(last[1])
        elif opens and has and after and after[0].kind == "determiner" and not passed:
            result += [last[1], Item("has", None, "has")]
        else:
            passed = False
    return result


def _one_of_these(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Names the finding of "one": "no cyst in the left kidney but one in the right"."""
    result = list(items)
    last: Item | None = None
    for at, item in enumerate(items):
        finding = item.kind == "generic" or (
            item.kind == "mention" and lexicon.is_finding(item.value)
        )
        last = item if finding else last
        ends = at + 1 == len(items) or items[at + 1].kind in (*_BREAKS, "in")
        led = at > 0 and items[at - 1].kind in (*_BREAKS, "has", "filler")
        if last is not None and item.text.lower() in ("one", "that") and ends and led:
            if item.text.lower() == "that" and items[at - 1].kind not in _BREAKS:
                continue
            result[at] = last
    return result


def _told_apart(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Puts a full stop between what is told of two structures, or of one on either side."""
    result: list[Item] = []
    start = 0
    for at, item in enumerate(items):
        result.append(item)
        start = len(result) if item.kind == "stop" else start
        if item.kind not in (*_BREAKS[:3], "question_mark") or at + 2 >= len(items):
            continue
        end = end_of(items, at + 1, (*_BREAKS, "question_mark"))
        before, after = result[start:-1], items[at + 1 : end]
        elsewhere = item.kind == "comma" and _denies(before)
        elsewhere = elsewhere and _lies_elsewhere(items[at + 1 :], lexicon)
        says = _says(after, lexicon) and any(i.kind in _VERBS for i in before)
        says |= _is_sized(before, lexicon) and _is_sized(after, lexicon)
        sides = item.kind != "and" and _are_of_two_sides(before, after, lexicon)
        head = _heading(after, lexicon)
        heads = head != "" and any(i.kind == head for i in before)
        if item.kind == "question_mark":
            result += [Item("stop", None, ".")] * _says(after, lexicon)
        elif says or sides or elsewhere or (heads and item.kind == "comma"):
            result[-1] = Item("stop", None, ".")
        start = len(result) if result[-1].kind == "stop" else start
    return result


def _says(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a clause has a structure for its subject: "the spleen has a cyst"."""
    at = _behind(items, 0, ("filler", "determiner", "side")) if items else 0
    named = at + 1 < len(items) and _is_structure(items[at], lexicon)
    return named and items[at + 1].kind in _VERBS


def _heading(items: Sequence[Item], lexicon: Lexicon) -> str:
    """How a part begins: "colon" for "left lower lobe:", "with" for "left lower lobe with"."""
    at = _behind(items, 0, ("filler", "side")) if items else 0
    named = at + 1 < len(items) and _is_structure(items[at], lexicon)
    return items[at + 1].kind if named and items[at + 1].kind in _HEADS else ""


def _is_sized(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a clause is a finding and its size: "the stone is 4 mm"."""
    sized = any(item.kind == "size" for item in items) and any(i.kind == "be" for i in items)
    return sized and any(_finds(item, lexicon) for item in items)


def _are_of_two_sides(before: Sequence[Item], after: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether two clauses tell of findings in one structure on either side."""
    one, other = _sided(before, lexicon), _sided(after, lexicon)
    if one is None or other is None or one[1] != other[1] or other[0] != _OTHER.get(one[0]):
        return False
    return all(any(_finds(item, lexicon) for item in part) for part in (before, after))


def _denies(items: Sequence[Item]) -> bool:
    return any(item.kind == "neg_pre" for item in items)


def _lies_elsewhere(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether all that follows is a finding with its place: ", abscess in the spleen"."""
    items = items[: end_of(items, 0, ("stop", "but"))]
    kinds = [
        i.kind for i in items if i.kind not in ("filler", "determiner", "side", "size", "attr")
    ]
    found = bool(items) and any(_finds(item, lexicon) for item in items)
    return found and kinds[1:3] == ["in", "mention"] and len(kinds) == 3


def _finds(item: Item, lexicon: Lexicon) -> bool:
    named = item.kind == "mention" and lexicon.is_finding(item.value)
    return named or item.kind == "generic"


def _sided(items: Sequence[Item], lexicon: Lexicon) -> tuple[str, str] | None:
    """Side and concept of the last structure that has a side."""
    for at in range(len(items) - 1, 0, -1):
        item, side = items[at], items[at - 1]
        if side.kind == "side" and _is_structure(item, lexicon):
            return side.value, item.value.forms[0].concept
    return None
