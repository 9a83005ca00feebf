"""What is told through a whole: "the aorta, but only its abdominal part", "not all of the liver".

Also the vessel of an organ: "the vein that drains the left kidney".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.knowledge import Target

_ENDS = ("comma", "but", "stop", "colon", "question_mark")
_LINKS = frozenset(("that", "which", "supplies", "supplying", "feeds", "feeding", "drains"))
_LINKS |= {"draining", "innervates", "innervating", "serves", "serving", "the", "vein that"}
_LINKS |= {"artery that", "artery which", "vein which", "nerve that", "nerve which"}
_VESSELS = ("vein", "artery", "nerve")
_DOING = ("suppl", "feed", "drain", "innervat", "serv")
_PIECES = frozenset(("head", "body", "tail", "neck", "apex", "base", "arch", "root", "tip"))
_PIECES |= {"fundus", "antrum", "trunk", "wall", "lumen", "lobe", "pole", "cortex", "capsule"}
_COMPARED = {"larger": "largest", "bigger": "largest", "smaller": "smallest"}
_ONLY = frozenset(("just", "only", "merely"))


def through_wholes(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, what is told through a whole as what it is."""
    result = _tendons(_described(_vessels(list(items), lexicon), lexicon), lexicon)
    result = _own_part(_only_part(_of_several(result), lexicon), lexicon)
    return _not_all(_without_extents(result, lexicon), lexicon)


def _of_several(items: list[Item]) -> list[Item]:
    """Reads "the largest of the three" and "the larger of the two" as the largest one."""
    for at, item in enumerate(items[:-2]):
        place = at + 2 + (items[at + 2].kind == "filler")
        counted = place < len(items) and items[place].kind == "count"
        if items[at + 1].text.lower() != "of" or not counted:
            continue
        text = item.text.lower()
        if text in _COMPARED:
            items[at] = Item("order", _COMPARED[text], item.text)
        if items[at].kind == "order":
            blank(items, place, place + 1)
    for at in range(len(items) - 2):
        measure = items[at + 2].text.lower() in ("largest diameter", "greatest diameter")
        sized = any(item.kind == "size" for item in items[at + 3 : at + 6])
        if (
            items[at].kind == "with"
            and items[at + 1].text.lower() == "the"
            and measure
            and not sized
        ):
            blank(items, at, at + 2)  # "the nodule with the largest diameter"
            items[at + 2] = Item("order", "largest", "largest")
    return items


def _without_extents(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """The items without "from T4 to T8" behind a structure that runs along the spine."""
    for at in range(1, len(items) - 1):
        if items[at].text.lower() != "from" or not _is_along(items[at - 1], lexicon):
            continue
        end = at + 1
        while end < len(items) and (_level(items[end], lexicon) or items[end].kind == "and"):
            end += 1
        if sum(_level(item, lexicon) for item in items[at:end]) > 1:
            blank(items, at, end)
    return items


def _is_along(item: Item, lexicon: Lexicon) -> bool:
    if item.kind != "mention" or lexicon.is_finding(item.value) or _level(item, lexicon):
        return False
    concept = lexicon.tree.concept(item.value.forms[0].concept)
    return concept.category != "region" and concept.name not in ("spine", "ribs")


def _level(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item is a vertebra, or vertebrae."""
    if item.kind != "mention" or lexicon.is_finding(item.value):
        return False
    name = item.value.forms[0].concept
    ancestors = lexicon.tree.ancestors(Target(name, None))
    return name == "vertebrae" or any(target.concept == "vertebrae" for target in ancestors)


def _mention(item: Item, lexicon: Lexicon, name: str) -> Item | None:
    forms = lexicon.named(name)
    if not forms:
        return None
    return Item("mention", Match(0, forms, (), name), item.text)


def _vessels(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the vein that drains the left kidney" as the left renal vein."""
    for at, item in enumerate(items):
        kind = item.text.lower().split(" ")[0]
        if item.kind != "mention" or kind not in _VESSELS:
            continue
        place = at + 1
        while place < len(items) and items[place].text.lower() in _LINKS:
            place += 1
        linked = any(i.text.lower().startswith(_DOING) for i in items[at + 1 : place])
        side = place if place < len(items) and items[place].kind == "side" else None
        place += side is not None
        if not linked or place >= len(items) or items[place].kind != "mention":
            continue
        organ = lexicon.tree.concept(items[place].value.forms[0].concept)
        names = (f"{adjective} {kind}" for adjective in organ.adjectives)
        found = next((m for n in names if (m := _mention(item, lexicon, n)) is not None), None)
        if found is not None:
            lead = [items[side]] if side is not None else []
            rest = [replace(i, kind="filler", value=None) for i in items[at + 1 : place + 1]]
            return [*items[:at], *lead, found, *rest, *items[place + 1 :]]
    return items


def _described(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "calcified 5 mm nodule" as "5 mm calcified nodule", where that is a name."""
    for at in range(len(items) - 2):
        word, size, name = items[at : at + 3]
        if size.kind != "size" or name.kind != "mention" or " " in word.text:
            continue
        one = word.kind == "attr" or (word.kind == "mention" and word.value.forms)
        found = _mention(name, lexicon, f"{word.text} {name.text}".lower()) if one else None
        if found is not None:
            return [*items[:at], size, found, *items[at + 3 :]]
    return items


def _tendons(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "tear of the peroneus brevis tendon", of a muscle, as a tendon tear there."""
    for at in range(1, len(items)):
        muscle = items[at - 1]
        if items[at].text.lower() not in ("tendon", "tendons") or muscle.kind != "mention":
            continue
        if lexicon.tree.concept(muscle.value.forms[0].concept).category != "muscle":
            continue
        torn = next((n for n in range(at) if items[n].text.lower() in ("tear", "rupture")), None)
        found = None if torn is None else _mention(items[torn], lexicon, "tendon tear")
        if torn is not None and found is not None:
            items[torn] = found
            blank(items, at, at + 1)
    return items


def _only_part(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "as for the pancreas, only the head" as the head of the pancreas."""
    for at, item in enumerate(items):
        only = at > 0 and items[at - 1].text.lower().split(" ")[0] in _ONLY
        if not only or item.text.lower() not in _PIECES:
            continue
        before = [n for n in range(at) if items[n].kind == "mention"]
        if len(before) != 1 or lexicon.is_finding(items[before[0]].value):
            continue
        name = f"{item.text.lower()} of {items[before[0]].value.surface}"
        found = _mention(item, lexicon, name)
        if found is not None:
            blank(items, before[0], before[0] + 1)
            items[at] = found
    return items


def _own_part(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the aorta, but only its abdominal part" as the abdominal aorta."""
    for at, item in enumerate(items):
        if item.text.lower() != "its" or at + 1 >= len(items):
            continue
        before = [n for n in range(at) if items[n].kind == "mention"]
        if not before:
            continue
        only = any(i.text.lower() in _ONLY for i in items[before[-1] : at])
        whole = items[before[-1]]
        name = f"{items[at + 1].text} {whole.value.surface}".lower()
        found = _mention(items[at + 1], lexicon, name) if only else None
        if found is not None and not lexicon.is_finding(whole.value):
            blank(items, before[-1], at + 1)
            items[at + 1] = found
    return items


def _not_all(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "not all of the liver, just the left lobe" as "just the left lobe of the liver"."""
    for at, item in enumerate(items[:-1]):
        entire = items[at + 1].text.lower() in ("all of", "whole", "all", "the whole", "entire")
        if not item.kind.startswith(("neg_", "exclude")) or not entire:
            continue
        end = end_of(items, at, _ENDS)
        told = items[at + 2 : end]
        if not any(i.kind == "mention" for i in told):
            if any(i.kind == "mention" for i in items[:at]):
                blank(items, at, end)  # "…, not all of it"
            continue
        following = items[end + 1].text.lower().split(" ")[0] if end + 1 < len(items) else ""
        if following in _ONLY:
            last = end_of(items, end + 1, _ENDS)
            part = [i for i in items[end + 1 : last] if i.text.lower().split(" ")[0] not in _ONLY]
            whole = next(i for i in told if i.kind == "mention")
            name = " ".join([i.text.lower() for i in part if i.text] + ["of", whole.value.surface])
            found = _mention(whole, lexicon, name)
            full = [found] if found is not None else [*part, Item("in", None, "of"), *told]
            return [*items[:at], *full, *items[last:]]
    return items
