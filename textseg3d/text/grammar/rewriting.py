"""What a text says in a short way, said in full: "stones: right 4 mm, left 7 mm"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.otherside import with_both_named
from textseg3d.text.grammar.ownclause import without_other_sides
from textseg3d.text.knowledge import normalise

_SIDES = ("left", "right")
_BETWEEN = frozenset(("filler", "determiner", "attr", "count", "order", "rank"))
_MOVED = frozenset(("displaced", "deviated", "shifted", "pushed", "displaces", "displacing"))
_MOVED |= {"deviates", "deviating", "shifts", "shifting", "pushes", "pushing", "bowed", "drawn"}
_MOVED |= {"deviation", "shift", "displacement"}
_MOVED |= {"displace", "deviate", "pulled", "pulls", "pulling", "rotated", "bowing"}
_DONE = frozenset(("displaced", "deviated", "shifted", "pushed", "compressed", "effaced", "by"))
_DONE |= {"indented", "encased", "surrounded", "abutted", "distorted", "bowed", "elevated"}
_QUALIFYING = frozenset(("filler", "determiner", "side", "attr", "size", "count"))
_TOWARDS = frozenset(("to", "towards", "toward"))
_ABSENT = frozenset(("absent", "missing", "removed"))
_LATER = frozenset(("after", "following", "status post", "post", "s / p"))
_PLACES = frozenset(("where", "which", "what", "how"))
_THIRDS = ("apex", "base")
_REPEATED = frozenset(("comma", "and", "but", "colon", "filler", "unknown", "be", "determiner"))
_REPEATED |= {"side", "size", "count", "in", "attr", "tail", "mention"}


def said_in_full(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text with its short ways of saying things spelled out."""
    items = without_other_sides(_places_first(items), lexicon)
    result = _named_again(with_both_named(items, lexicon), lexicon)
    result = _alternatives(result, lexicon)
    result = _without_directions(result, lexicon)
    result = _moved_by(result, lexicon)
    result = _neither(result, lexicon)
    result = _causes(result, lexicon)
    result = _removed(_of_prostate(result, lexicon), lexicon)
    return _each_side(result, lexicon)


def _places_first(items: Sequence[Item]) -> list[Item]:
    """Reads "in the left kidney is a cyst" as "in the left kidney, a cyst".

    So is "Where in the left kidney is the cyst?".
    """
    result = list(items)
    opens = True  # a sentence begins here
    asked = place = False  # it began with "where", with "in"; it has named one thing since
    for at, item in enumerate(items):
        if opens or (asked and not place):
            question = item.text.lower().split(" ")[0] in _PLACES and item.kind == "question"
            place = item.kind == "in"
            asked = (opens and question) or (asked and item.kind in ("filler", "tail", "in"))
        elif place and item.kind == "be" and at + 1 < len(items):
            behind = items[at + 1]
            told = behind.kind in ("determiner", "size", "count") or behind.text.lower() == "a"
            told |= asked and behind.kind in ("filler", "mention", "generic", "tail")
            if told and any(i.kind == "mention" for i in items[max(0, at - 4) : at]):
                result[at] = replace(item, kind="comma", text=",", value=None)
            place = asked = False
        elif item.kind not in ("filler", "side", "mention", "attr", "in", "determiner"):
            place = asked = False
        opens = item.kind in ("stop", "but")
    return result


def _finding(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "generic" or (item.kind == "mention" and lexicon.is_finding(item.value))


def _named_again(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "its right counterpart" and "the right one shows" as the structure named before."""
    result = list(items)
    last: Item | None = None
    finding: Item | None = None
    for at, item in enumerate(result):
        if item.kind == "mention" and not lexicon.is_finding(item.value):
            last = item
        elif _finding(item, lexicon):
            finding = item
        sized = at > 0 and result[at - 1].kind in ("size", "attr")
        sized = sized and item.text.lower() in ("one", "another")
        if sized and finding is not None and [i.kind for i in result[at + 1 : at + 2]] == ["in"]:
            result[at] = replace(finding, text=item.text)  # "and a 15 mm one in the left lobe"
            continue
        before = result[at - 1].kind if at else ""
        behind = result[at + 1].kind if at + 1 < len(result) else ""
        again = item.text.lower() in ("counterpart", "counterparts")
        again |= item.text.lower() in ("one", "ones") and behind in ("has", "with")
        if last is None or not again or before != "side":
            continue
        match: Match = last.value
        if all(form.side in (None, "both") for form in match.forms):
            forms = tuple(form._replace(side=None) for form in match.forms)
            result[at] = replace(last, value=match._replace(forms=forms, sides=()))
    return result


def _alternatives(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "either a lipoma or a liposarcoma" as a doubt about both."""
    result = list(items)
    for at, item in enumerate(result):
        if item.kind != "side" or item.text.lower() != "either":
            continue
        behind = [i for i in result[at + 1 :] if i.kind not in _BETWEEN]
        stops = (n for n, i in enumerate(behind) if i.kind in ("stop", "but"))
        joined = any(i.kind == "or" for i in behind[: next(stops, len(behind))])
        if joined and behind and _finding(behind[0], lexicon):
            result[at] = replace(item, kind="unc_pre", value=None)
    return result


def _without_directions(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Leaves out where something is moved to: "trachea displaced to the left by a goiter"."""
    result = list(items)
    for at, item in enumerate(result):
        if item.text.lower() not in _TOWARDS or item.kind not in ("in", "near", "filler"):
            continue
        place = at + 1
        while place < len(result) and result[place].kind in ("filler", "determiner"):
            place += 1
        if place >= len(result) or result[place].kind != "side":
            continue
        following = result[place + 1 : place + 2]
        named = bool(following) and following[0].kind in ("mention", "generic", "attr", "unknown")
        words = {word for i in result[max(0, at - 6) : at] for word in i.text.lower().split(" ")}
        others = any(_finding(i, lexicon) for i in result)
        if named or not others or _MOVED.isdisjoint(words):
            continue
        for moved in range(at, place + 1):
            result[moved] = replace(result[moved], kind="filler", value=None)
    return result


def _moved_by(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Leaves out what a finding moves: "trachea displaced by a goiter" asks for the goiter."""
    result = list(items)
    for at, item in enumerate(result):
        if item.text.lower().split(" ")[-1] not in _DONE:
            continue
        behind = at + 1
        while behind < len(result) and result[behind].kind in _QUALIFYING:
            behind += 1
        words = {i.text.lower() for i in result[at:behind]}
        by = "by" in words or item.text.lower().endswith(" by")
        before = at - 1
        while before > 0 and result[before].kind in ("be", "filler", "attr", "unknown"):
            before -= 1
        thing = result[before] if before >= 0 else item
        told = behind < len(result) and _finding(result[behind], lexicon)
        if not (by and told) or thing.kind != "mention" or lexicon.is_finding(thing.value):
            continue
        start = before
        while start > 0 and result[start - 1].kind in ("side", "attr", "determiner", "filler"):
            start -= 1
        if any(i.kind != "filler" for i in result[max(0, start - 1) : start] if i.kind != "stop"):
            continue  # "cyst of the kidney displaced by …"
        for moved in range(start, at + 1):
            result[moved] = replace(result[moved], kind="filler", value=None, text="")
    return result


def _neither(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "neither kidney" as both, and "neither grown nor shrunk" as no denial."""
    result: list[Item] = []
    for at, item in enumerate(items):
        result.append(item)
        if item.text.lower() not in ("neither", "neither of"):
            continue
        behind = [i for i in items[at + 1 :] if i.kind not in ("filler", "determiner")]
        first = behind[0] if behind else None
        if first is None:
            continue
        if first.kind == "change" or (first.kind == "attr" and first.value[0] == "chronicity"):
            result[-1] = replace(item, kind="filler")
        elif first.kind == "mention" and not lexicon.is_finding(first.value):
            form = first.value.forms[0]
            paired = lexicon.tree.concept(form.concept).side_rule == "paired"
            listed = len(behind) > 1 and behind[1].kind in ("or", "and", "comma")
            if paired and form.side is None and not first.value.sides and not listed:
                result.append(Item("side", "both", item.text))
    return result


def _causes(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "shift from a right pneumothorax" as two findings, the second one with its side."""
    result = list(items)
    earlier = False
    for at, item in enumerate(result):
        if item.kind in ("stop", "but"):
            earlier = False
        if _finding(item, lexicon):
            name = item.value.forms[0].concept if item.kind == "mention" else item.value
            earlier = "metasta" not in name
        if not earlier or item.kind != "in" or item.text.lower() != "from":
            continue
        place = at + 1
        while place < len(result) and result[place].kind in ("determiner", "side", *_BETWEEN):
            place += 1
        told = {i.kind for i in result[at + 1 : place]} & {"determiner", "side"}
        if told and place < len(result) and _finding(result[place], lexicon):
            result[at] = replace(item, kind="with")
    return result


def _of_prostate(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "prostate MRI: apex, midgland, base" as parts of the prostate."""
    words = {word for item in items for word in item.text.lower().split(" ")}
    if words.isdisjoint(("prostate", "prostatic", "midgland")):
        return list(items)
    if not words.isdisjoint(("lung", "lungs", "pulmonary", "heart", "cardiac", "skull")):
        return list(items)
    result = list(items)
    for at, item in enumerate(result):
        forms = lexicon.get(f"{item.text.lower()} of prostate")
        beside = {i.kind for i in result[max(0, at - 1) : at] + result[at + 1 : at + 2]}
        alone = not beside & {"mention", "side", "in", "generic", "attr"}
        if item.text.lower() in _THIRDS and item.kind != "in" and alone and forms:
            result[at] = replace(
                item, kind="mention", value=Match(at + 1, forms, (), forms[0].concept)
            )
    return result


def _removed(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the right ovary is absent after oophorectomy" as a right oophorectomy."""
    result = list(items)
    for at, item in enumerate(result):
        if item.text.lower() not in _LATER or at + 1 >= len(result):
            continue
        behind = result[at + 1]
        if behind.kind != "mention" or not lexicon.is_finding(behind.value):
            continue
        if lexicon.tree.concept(behind.value.forms[0].concept).category != "postoperative":
            continue
        start = at - 1
        while start > 0 and result[start].kind not in ("mention", "stop", "comma", "and"):
            start -= 1
        words = {word for i in result[max(0, start) : at] for word in i.text.lower().split(" ")}
        thing = result[max(0, start)]
        if thing.kind != "mention" or lexicon.is_finding(thing.value) or not words & _ABSENT:
            continue
        for place in range(start, at + 1):
            result[place] = replace(result[place], kind="filler", value=None, text="")
    return result


def _each_side(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "stones: right 4 mm, left 7 mm" as a right one and a left one; the same for places."""
    result: list[Item] = []
    at = 0
    while at < len(items):
        item = items[at]
        result.append(item)
        at += 1
        own: tuple[str, ...] = item.value.sides if item.kind == "mention" else ()
        if item.kind not in ("mention", "generic") or (own and not _finding(item, lexicon)):
            continue
        if _finding(item, lexicon):
            result = _sized_before(result, item)
        end = at
        while end < len(items) and items[end].kind in _REPEATED:
            if items[end].kind == "mention" and lexicon.is_finding(items[end].value):
                break
            end += 1
        if end < len(items) and items[end].kind != "stop":
            continue
        before = [i for i in result[-3:-1] if i.kind in ("side", "mention")]
        first = before[0] if before and before[0].kind == "side" else None
        name, taken = [*before[1:], item], 0
        if before:  # with what stands between them
            taken = next(n for n in (2, 1) if result[-1 - n :][:1] == before[:1])
        if first is None and len(own) == 1 and own[0] in _SIDES:  # "cyst right kidney"
            plain = replace(item, value=item.value._replace(sides=()))
            first, name, taken = Item("side", own[0], ""), [plain], 0
        elif own:
            continue
        if first is None and _own_side(item) is not None:
            first, name, taken = Item("side", _own_side(item), ""), [_unsided(item, lexicon)], 0
        if first is not None and first.value != "both":
            groups = _groups([first, *items[at:end]])
        else:
            groups = _groups(items[at:end])
        placed = any(i.kind == "mention" for keys, _ in groups for i in keys)
        if not _finding(item, lexicon):
            if groups and first is not None and first.value != "both" and not placed:
                sizes = [size for _, size in groups]
                del result[-1 - taken :]
                result += [Item("side", "both", "both"), *name, sizes[0]]
                result += [one for size in sizes[1:] for one in (Item("and", None, "and"), size)]
                at = end
        elif groups and (
            not placed or item.text.lower().endswith(("s", "ae")) or all(map(_sided, groups))
        ):
            del result[-1 - taken :]
            for number, (keys, size) in enumerate(groups):
                alone = keys[0].kind == "side" and not keys[1:]
                place = [] if alone else [Item("in", None, "in"), *keys]
                result += [Item("and", None, "and")] if number else []
                result += [*(keys if alone else ()), *name, size, *place]
            at = end
        elif first is None and _on_both(items[at:end]):
            result[-1:] = [Item("side", "both", "both"), item]
            at = end
    return result


def _sized_before(result: list[Item], item: Item) -> list[Item]:
    """Reads "RLL 5 mm and LUL 7 mm nodules" as a nodule of each size in each of them."""
    start = len(result) - 1
    while start > 0 and result[start - 1].kind in ("mention", "side", "size", "and", "comma"):
        start -= 1
    groups = _groups(result[start:-1]) if canon.is_plural(item.text.lower()) else []
    placed = [key[-1].kind == "mention" for key, _ in groups]
    if not groups or any(placed) != all(placed):
        return result
    made: list[Item] = []
    for number, (key, size) in enumerate(groups):
        made += [Item("and", None, "and")] if number else []
        made += [item, size, Item("in", None, "in"), *key] if placed[0] else [*key, item, size]
    return [*result[:start], *made]


def _sided(group: tuple[list[Item], Item]) -> bool:
    """Whether a place lies on one side: the "LUL" of "nodule LUL 5 mm, RLL 8 mm"."""
    place = group[0][-1]
    if place.kind == "side":
        return place.value in _SIDES
    return len(group[0]) > 1 or place.value.forms[0].side in _SIDES or bool(place.value.sides)


def _own_side(item: Item) -> str | None:
    """The side inside a name: "right renal cyst", "cyst right kidney"."""
    side = item.value.forms[0].side if item.kind == "mention" else None
    words = item.text.lower().split(" ")
    return side if side in _SIDES and side in words and words[1:] else None


def _unsided(item: Item, lexicon: Lexicon) -> Item:
    """The item without the side inside its name."""
    words = [word for word in item.text.split(" ") if word.lower() not in _SIDES]
    text = " ".join(words)
    own = tuple(form._replace(side=None) for form in item.value.forms)
    forms = lexicon.named(normalise(text)) or own
    return replace(item, value=item.value._replace(forms=forms), text=text)


def _on_both(items: Sequence[Item]) -> bool:
    """Whether both sides are listed with no more than how it looks there: "R large, L small"."""
    sides = [item.value for item in items if item.kind == "side"]
    begins = bool(items) and items[0].kind in ("colon", "comma")
    plain = all(i.kind in ("comma", "but", "colon", "filler", "attr", "side") for i in items)
    return begins and plain and sorted(map(str, sides)) == ["left", "right"]


def _groups(items: Sequence[Item]) -> list[tuple[list[Item], Item]]:
    """Sides or places with one size each; none if the words are no such list."""
    keys: list[list[Item]] = []
    sizes: list[Item] = []
    kinds: list[str] = []
    for item in items:
        if item.kind == "size":
            sizes.append(item)
            kinds.append("size")
        elif item.kind in ("side", "mention"):
            if kinds[-1:] == ["key"] and keys[-1][-1].kind == "side" and item.kind == "mention":
                keys[-1].append(item)
            else:
                keys.append([item])
                kinds.append("key")
    count = len(sizes)
    if count < 2 or kinds not in (["key", "size"] * count, ["size", "key"] * count):
        return []
    sides = [key[0].value for key in keys if key[0].kind == "side" and not key[1:]]
    if len(set(sides)) != len(sides) or not set(sides) <= set(_SIDES):
        return []
    told = all(key[0].kind == "side" or key[0].value.forms[0].side for key in keys)
    return [] if 0 < len(sides) < count and not told else list(zip(keys, sizes))
