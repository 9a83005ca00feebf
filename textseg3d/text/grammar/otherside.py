"""One name for two sides of which one is denied: "effusion on the left but not on the right"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon

_OPPOSITE = {"left": "right", "right": "left"}
_DENYING = ("neg_pre", "neg_post", "neg_any", "neg_attr")
_DOING = ("persists", "remains", "remained", "persisted", "measures", "shows", "appears")
_COMPARED = ("larger", "smaller", "bigger", "less", "more", "worse", "better")
_WELL = frozenset(
    ("clear", "normal", "unremarkable", "intact", "spared", "unaffected", "preserved")
)
_WELL |= {"limits", "uninvolved", "healthy", "patent", "fine", "negative", "absent", "free"}
_SEPARATING = ("and", "but", "comma", "exclude")


def with_both_named(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text, with the name repeated where one side has it and the other has not."""
    result: list[Item] = []
    sentence: list[Item] = []
    for item in items:
        if item.kind == "stop":
            result += [*_apart(sentence, lexicon), item]
            sentence = []
        else:
            sentence.append(item)
    return [*result, *_apart(sentence, lexicon)]


def _apart(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """A sentence, as two where each says something of its own side."""
    sides = [at for at, item in enumerate(items) if item.kind == "side"]
    findings = [item for item in items if _is_finding(item, lexicon)]
    if len(sides) != 2 or len(findings) != 1:
        return items
    first, second = sides
    if _OPPOSITE.get(items[first].value) != items[second].value:
        return items
    cuts = [at for at in range(first, second) if items[at].kind in _SEPARATING]
    if not cuts:
        return items
    before, cut, after = items[: cuts[-1]], items[cuts[-1]], items[cuts[-1] + 1 :]
    if cut.kind == "exclude":
        after = [Item("neg_pre", None, "no"), *after]
    denied = [any(i.kind in _DENYING for i in part) for part in (before, after)]
    named = [
        [i for i in part if i.kind in ("mention", "generic", "tail")] for part in (before, after)
    ]
    if bool(named[0]) == bool(named[1]):
        return items
    same = _of_the_other(after) or _is_parallel(before, after)
    if denied[0] == denied[1] and not (named[0] and not denied[0] and same):
        return items
    if named[0]:
        after = _told(after, findings[0], _place(before))
    else:
        before = [*before, findings[0]]
    return [*before, Item("stop", None, "."), *after]


def _of_the_other(items: Sequence[Item]) -> bool:
    """Whether a clause tells how the other one does: "the right one is unchanged"."""
    at = next(at for at, item in enumerate(items) if item.kind == "side")
    if any(item.kind not in ("filler", "determiner") for item in items[:at]):
        return False
    behind = items[at + 1 :]
    one = bool(behind) and behind[0].text.lower() == "one"
    rest = [item for item in behind[one:] if item.kind != "filler"]
    if not rest or any(item.kind in ("near", "compare", "with", "without") for item in rest):
        return False
    if any(item.text.lower().split(" ")[-1] in _WELL for item in rest):
        return False  # "pneumothorax on the left, the right is clear"
    verb = rest[0].kind in ("be", "has", "change") or rest[0].text.lower() in _DOING
    told = rest[0].kind in ("attr", "size") or rest[0].text.lower() in _COMPARED
    return verb or (one and told) or rest[0].text.lower().startswith(("has ", "is "))


def _is_parallel(before: Sequence[Item], after: Sequence[Item]) -> bool:
    """Whether "left effusion small" goes on as ", right moderate"."""
    told = {"attr", "size"}
    rest = [item.kind for item in after if item.kind not in ("filler", "determiner")]
    return (
        before[-1].kind in told and rest[:1] == ["side"] and bool(rest[1:]) and {*rest[1:]} <= told
    )


def _is_finding(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "generic" or (item.kind == "mention" and lexicon.is_finding(item.value))


def _place(items: Sequence[Item]) -> list[Item]:
    """The paired structure that the side of the first part stands before."""
    pairs = pairwise(items)
    return [place for side, place in pairs if side.kind == "side" and place.kind == "mention"][-1:]


def _told(items: Sequence[Item], finding: Item, place: list[Item]) -> list[Item]:
    """The second part with the name of the finding, and of its place, where they are left out."""
    at = next(at for at, item in enumerate(items) if item.kind == "side")
    placed = any(item.kind == "in" for item in items[:at])
    if not placed:
        return [*items[: at + 1], finding, *items[at + 1 :]]
    start = max(n for n in range(at) if items[n].kind == "in")
    head = [replace(i, kind="neg_pre") if i.kind == "neg_attr" else i for i in items[:start]]
    own = [one for one in place if one is not finding]
    return [*head, finding, *items[start : at + 1], *own, *items[at + 1 :]]
