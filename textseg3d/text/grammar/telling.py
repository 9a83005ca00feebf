"""How report sentences tell what they tell: "On the right there is …", "…, i.e. cardiomegaly"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.asides import without_asides
from textseg3d.text.grammar.items import CLAUSE_ENDS, Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.sizing import own_sizes
from textseg3d.text.knowledge import normalise

_LOOSE = ("filler", "determiner", "attr", "count", "unknown", "order", "size")
_ROOTS = {"stone": ("stone", "lith", "calcul"), "cyst": ("cyst",), "nodule": ("nodul",)}
_ROOTS |= {"aneurysm": ("aneurysm",), "fracture": ("fractur",), "mass": ("mass",)}
_ROOTS |= {"thrombus": ("thromb", "embol"), "metastasis": ("metasta",)}
_LINKING = ("filler", "question", "be", "comma", "attr")
_OF_ANOTHER = ("filler", "determiner", "count", "in")
_EFFECTS = ("indentation", "impression", "elevation", "upward displacement")
_MEANING = ("which means", "meaning", "that is", "in other words", "this means", "i e")
_THERE: tuple[str, ...] = (
    "there is",
    "there are",
    "there was",
    "there were",
    "there ought to be",
    "there must be",
)
_THERE += ("there should be", "there has to be", "there sits", "there lies", "there has been")
_FREE = ("free of", "free from", "clear of", "devoid of")


def told(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text, its way of telling made plain."""
    result = _two_sides(without_asides(own_sizes(items, lexicon), lexicon), lexicon)
    result = _that_is(_two_names(result, lexicon))
    result = _on_the_side(result, lexicon)
    result = _there(result, lexicon)
    result = _as_is(_again(result, lexicon))
    result = _beside(result, lexicon)
    result = _effects(_compared(_more_on_one(_other_side(_away(result, lexicon)))))
    result = _earlier_sizes(result)
    result = _relative(result, lexicon)
    return _nothing(_free(_nor(result), lexicon), lexicon)


def _nor(items: list[Item]) -> list[Item]:
    """Reads "a cyst was not seen, nor was a stone" as two denials."""
    result: list[Item] = []
    denied = False
    for item in items:
        denied = (denied or item.kind == "neg_post") and item.kind not in ("but", "stop")
        again = denied and item.kind == "or" and item.text.lower() == "nor"
        verb = item.kind == "be" and bool(result) and result[-1].text.lower() == "nor"
        if not (verb and denied):
            result.append(replace(item, kind="neg_pre", value=None) if again else item)
    return result


def _free(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "left ureter free of stones" as "the ureter is free of stones"."""
    result: list[Item] = []
    for at, item in enumerate(items):
        before = items[at - 1] if at else item
        free = item.kind == "neg_pre" and item.text.lower() in _FREE and before.kind == "mention"
        result += [Item("be", None, "is")] if free and not _finding(before, lexicon) else []
        result.append(item)
    return result


def _finding(item: Item, lexicon: Lexicon) -> bool:
    if item.kind in ("generic", "tail"):
        return True
    return item.kind == "mention" and lexicon.is_finding(item.value)


def _two_sides(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "femoral heads L + R" as both: the first side is no part of the name."""
    result: list[Item] = []
    for at, item in enumerate(items):
        name, _, last = item.text.rpartition(" ")
        said = lexicon.side_of(last.lower()) if item.kind == "mention" and name else None
        behind = items[at + 1 : at + 3]
        listed = len(behind) == 2 and behind[0].kind == "and" and behind[1].kind == "side"
        forms = lexicon.named(normalise(name)) if said and listed else ()
        if forms and listed and said != behind[1].value:
            match = item.value._replace(forms=forms, sides=(), surface=normalise(name))
            result += [replace(item, value=match, text=name), Item("side", said, last)]
        else:
            result.append(item)
    return result


def _two_names(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "atlas and axis" as the two bones, not as a name in other words of their joint."""
    result: list[Item] = []
    for item in items:
        one, _, other = item.text.lower().partition(" and ")
        if item.kind != "mention" or not other or lexicon.get(item.value.surface):
            result.append(item)
            continue
        pair = [lexicon.get(name) for name in (one, other)]
        kinds = {lexicon.tree.concept(f.concept).kind for forms in pair for f in forms[:1]}
        if all(pair) and kinds == {"anatomy"} and all(f[0].source != "adjective" for f in pair):
            first, second = (
                replace(item, value=item.value._replace(forms=f, sides=(), surface=n), text=n)
                for f, n in zip(pair, (one, other))
            )
            result += [first, Item("and", None, "and"), second]
        else:
            result.append(item)
    return result


def _that_is(items: list[Item]) -> list[Item]:
    """Reads "i.e.", "which means" and "LI-RADS 5:" as what the finding before is taken for."""
    result: list[Item] = []
    at = 0
    while at < len(items):
        part = items[at : at + 4]
        texts = [item.text.lower() for item in part]
        pair = " ".join(texts[:2])
        if texts in (["i", ".", "e", "."], ["d", ".", "h", "."]):
            result.append(Item("reading", None, "i.e."))
            at += 4
        elif pair in _MEANING or (texts[0] in _MEANING and part[0].kind in ("unknown", "filler")):
            result.append(Item("reading", None, pair))
            at += 2 if pair in _MEANING else 1
        elif len(part) > 1 and "rads" in texts[0].split(" ") and part[1].kind == "colon":
            result.append(Item("reading", None, texts[0]))
            at += 2
        else:
            result.append(items[at])
            at += 1
    return result


def _on_the_side(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "on the right there are a cyst and a stone" as a right cyst and a right stone."""
    shared: dict[int, Item] = {}
    for at, item in enumerate(items):
        if item.kind != "in" or item.text.lower() not in ("on", "to"):
            continue
        if at and items[at - 1].kind not in (*CLAUSE_ENDS, "and"):
            continue
        place = at + 1
        while place < len(items) and items[place].kind == "filler":
            place += 1
        following = items[place + 1] if place + 1 < len(items) else None
        if following is None or items[place].kind != "side" or items[place].value == "both":
            continue
        if following.kind not in ("filler", "determiner"):
            continue
        items[at] = replace(item, kind="filler", value=None)
        end = end_of(items, place)
        names = [n for n in range(place + 1, end) if items[n].kind == "mention"]
        if any(
            i.kind == "side" or (i.kind == "mention" and i.value.sides)
            for i in items[place + 1 : end]
        ):
            continue
        for name in names[1:]:
            joined = _finding(items[name], lexicon) and _finding(items[names[0]], lexicon)
            if joined and items[name - 1].kind in ("and", "determiner", "attr", "size"):
                shared[name] = items[place]
    result: list[Item] = []
    for at, item in enumerate(items):
        result += [shared[at]] if at in shared else []
        result.append(item)
    return result


def _there(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "Within the left psoas muscle there is an abscess" as "the muscle has an abscess"."""
    result: list[Item] = []
    start = 0
    for at, item in enumerate(items):
        text = item.text.lower()
        if item.kind == "stop":
            start = at + 1
        there = text.startswith(_THERE)
        clause = items[start:at] if there else []
        there &= any(i.kind == "mention" for i in clause)
        if (
            there and clause[0].kind == "in" and not any(_finding(i, lexicon) for i in clause)
        ) and (not {i.kind for i in clause} & {"comma", "but", "and", "or"}):
            result.append(Item("has", None, "has"))
            first = len(result) - 1 - len(clause)
            result[first] = replace(result[first], kind="filler", value=None)
        result.append(item)
    return result


def _again(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "cholelithiasis with a 6 mm stone" as the one finding of 6 mm."""
    last: Item | None = None
    for at, item in enumerate(items):
        if item.kind == "stop":
            last = None
        if item.kind == "mention":
            last = item if lexicon.is_finding(item.value) else None
        roots = _ROOTS.get(str(item.value), ()) if item.kind == "generic" else ()
        if last is None or not roots:
            continue
        name = last.value.forms[0].concept
        start = at
        while start > 0 and items[start - 1].kind in _LOOSE:
            start -= 1
        with_it = start > 0 and items[start - 1].kind == "with"
        sized = any(i.kind == "size" for i in items[start : end_of(items, at)])
        if with_it and sized and any(root in name for root in roots) and last.value.forms:
            items[at] = replace(item, kind="filler", value=None)
            items[start - 1] = replace(items[start - 1], kind="filler", value=None)
            if start > 1 and items[start - 2].kind == "comma":
                items[start - 2] = replace(items[start - 2], kind="filler", value=None)
    return items


def _as_is(items: list[Item]) -> list[Item]:
    """Reads "X is absent, as is Y" as the denial of both."""
    result: list[Item] = []
    denied: Item | None = None
    open_end = False
    for at, item in enumerate(items):
        if item.kind == "neg_post":
            denied = item
        behind = [i.text.lower() for i in items[at : at + 2]]
        if denied is not None and behind in (["as", "is"], ["as", "are"]):
            if result and result[-1].kind == "comma":
                result[-1] = Item("stop", None, ".")
            open_end = True
        elif open_end and item.kind in CLAUSE_ENDS and denied is not None:
            result.append(denied)
            open_end, denied = False, None
        result.append(item)
        denied = None if item.kind == "stop" else denied
    return [*result, denied] if open_end and denied is not None else result


def _beside(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads findings behind "surrounded by" and "accompanied by" as second ones."""
    for at, item in enumerate(items):
        text = item.text.lower()
        if text not in ("surrounded by", "accompanied by"):
            continue
        place = at + 1
        while place < len(items) and items[place].kind in _LOOSE:
            place += 1
        if place < len(items) and _finding(items[place], lexicon):
            items[at] = replace(item, kind="and")
    return items


def _away(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Leaves out "distal to the L4-S1 fusion," before the finding that lies there."""
    comma = end_of(items, 0)
    opens = bool(items) and items[0].kind == "near" and comma < len(items)
    if (
        opens and items[comma].kind == "comma" and any(_finding(i, lexicon) for i in items[:comma])
    ) and (any(_finding(i, lexicon) for i in items[comma:])):
        blank(items, 0, comma + 1)
    return items


def _other_side(items: list[Item]) -> list[Item]:
    """Leaves out "than the one on the left" behind what is compared, but not "right > left"."""
    for at, item in enumerate(items):
        if item.kind != "compare" or not item.text.lower().endswith("than"):
            continue
        before = [i.kind for i in items[:at] if i.kind not in _LINKING]
        end = at + 1
        while end < len(items) and items[end].kind in (*_OF_ANOTHER, "side", "mention"):
            end += 1
            if items[end - 1].kind == "mention":
                break
        another = any(i.kind == "side" for i in items[at:end])
        if another and before and before[-1] in ("mention", "generic", "tail", "size"):
            blank(items, at, end)
    return items


def _more_on_one(items: list[Item]) -> list[Item]:
    """Reads "larger on the right than on the left" as both."""
    for at, item in enumerate(items):
        if item.text.lower() != "than" or not at or items[at - 1].kind != "side":
            continue
        end = at + 1
        while end < len(items) and items[end].kind in _OF_ANOTHER:
            end += 1
        if end == len(items) or items[end].kind != "side":
            continue
        items[at - 1] = Item("side", "both", items[at - 1].text)
        blank(items, at, end + 1)
    return items


def _compared(items: list[Item]) -> list[Item]:
    """Reads "relative to the spleen" as a comparison and "with cutoff of the duct" as a look."""
    for at, item in enumerate(items[:-1]):
        following = items[at + 1]
        if item.text.lower() == "relative" and following.text.lower() == "to":
            items[at] = replace(item, kind="filler", value=None)
            items[at + 1] = replace(following, kind="near", value=None)
        if item.kind != "with":
            continue
        end = end_of(items, at)
        kinds = [i.kind for i in items[at + 1 : end]]
        looks = "tail" in kinds and "in" in kinds and kinds[-1:] == ["unknown"]
        if (looks and set(kinds) <= {"unknown", "tail", "in", "filler", "determiner", "attr"}) and (
            any(i.kind == "mention" for i in items[:at])
        ):
            blank(items, at, end)
    return items


def _effects(items: list[Item]) -> list[Item]:
    """Leaves out what a finding does: "with indentation of the bladder floor"."""
    for at, item in enumerate(items):
        if item.text.lower() not in _EFFECTS or item.kind not in ("tail", "unknown"):
            continue
        before = [i for i in items[:at] if i.kind == "mention"]
        start = at
        while start > 0 and items[start - 1].kind in ("determiner", "attr", "filler", "unknown"):
            start -= 1
        if before and start > 0 and items[start - 1].kind == "with":
            blank(items, start - 1, end_of(items, at))
    return items


def _earlier_sizes(items: list[Item]) -> list[Item]:
    """Leaves out "it was 4.9 cm a year ago" and "from dome to neck"."""
    for at, item in enumerate(items):
        texts = [i.text.lower() for i in items[at : at + 4]]
        if item.kind == "size" and "ago" in [i.text.lower() for i in items[at : at + 5]]:
            span = items[at : at + 5]
            until = [i.text.lower() for i in span].index("ago")
            if not any(i.kind in (*CLAUSE_ENDS, "mention") for i in span[:until]):
                items[at] = replace(item, kind="filler", value=None, text="")
        kinds = [i.kind for i in items[at : at + 4]]
        if texts[:1] == ["from"] and texts[2:3] == ["to"] and kinds[1] in ("unknown", "attr"):
            sized = at > 0 and items[at - 1].kind == "size"
            blank(items, at, at + 4) if sized else None
    return items


def _relative(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "with same-side nodes" as a second target; "is distended and without" as a denial."""
    for at, item in enumerate(items[:-1]):
        following = items[at + 1]
        named = [i for i in items[at + 2 : at + 4] if i.kind == "mention"]
        plain = bool(named) and not any(_finding(i, lexicon) for i in named)
        if item.kind == "with" and following.kind == "relative" and plain:
            items[at] = replace(item, kind="and")
        if item.kind == "and" and following.kind == "without":
            start = at
            while start > 0 and items[start - 1].kind not in CLAUSE_ENDS:
                start -= 1
            clause = items[start:at]
            states = any(i.kind == "be" for i in clause)
            if states and not any(_finding(i, lexicon) for i in clause):
                items[at] = replace(item, kind="comma", text=",")
    return items


def _nothing(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "nothing suspicious in the left breast" as the denial of a lesion there."""
    result: list[Item] = []
    for at, item in enumerate(items):
        result.append(item)
        if item.kind != "attr":
            continue
        before = [i for i in items[:at] if i.kind not in ("filler",)]
        after = items[at + 1 :]
        if before and before[-1].text.lower() == "nothing":
            placed = len(after) > 1 and after[0].kind == "in"
            if (
                placed
                and before[-1].kind == "neg_pre"
                and not any(_finding(i, lexicon) for i in after)
            ):
                result.append(Item("generic", "lesion", "lesion"))
    return result
