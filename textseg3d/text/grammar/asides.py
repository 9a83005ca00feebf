"""What a report says beside its findings: "fed by an artery", "none on the left"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import CLAUSE_ENDS, Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon

_FED = ("fed by", "supplied by", "drained by", "draining into", "feeding from")
_NAMES = ("mention", "generic", "tail")
_EMPTY = ("filler", "unknown")
_KEPT = (["loss"], ["preservation"], ["effacement"], ["absence"])
_SYMPTOMS = frozenset(("pain", "painful", "swelling", "swollen", "tender", "tenderness", "fever"))
_SYMPTOMS |= {"cough", "fall", "fell", "trauma", "bleeding", "sciatica", "sciatic", "dimple"}
_SYMPTOMS |= {"test", "vomiting", "weakness", "numbness", "punched", "hit", "kicked", "accident"}
_SYMPTOMS |= {"headache", "jaundice", "dyspnea", "hematuria", "limp", "lump", "claudication"}
_ADVISED = ("advised", "recommended", "suggested", "planned", "requested", "scheduled", "awaited")
_DONE = ("device", "postoperative")
_QUIET = ("filler", "determiner", "in", "side", "be", "unknown")


def without_asides(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text without what only tells about its findings."""
    result = list(items)
    named = False
    for at, item in enumerate(result):
        text = item.text.lower()
        named |= at > 0 and result[at - 1].kind in _NAMES
        if text in _FED and named:
            blank(result, at, end_of(result, at))
        elif item.kind == "with" and _is_level(result[at + 1 : at + 3]):
            blank(result, at, at + 3)  # "abscess with an air-fluid level in the left lung"
        elif item.kind == "with" and [i.text.lower() for i in result[at + 1 : at + 2]] in _KEPT:
            blank(result, at, end_of(result, at))  # "with loss of the fatty hilum"
        elif text in ("left of", "right of") and [i.kind for i in result[at + 1 : at + 2]] == [
            "size"
        ]:
            result[at] = Item("side", text.split(" ")[0], item.text)  # "on the left of up to 7 mm"
        elif text == "(":
            _bracketed(result, at)
            _placed(result, at, lexicon)
        elif text == "clock" and at > 1 and result[at - 1].text.lower() == "o":
            blank(result, at - 2, at + 1)  # "2 o'clock"
        elif text == "dome" and [i.text for i in result[at + 1 : at + 3]] == ["to", "neck"]:
            whole = at > 0 and result[at - 1].text.lower() == "from"
            blank(result, at, at if whole else at + 3)  # "dome-to-neck ratio 1.8"
        elif item.kind.startswith("neg_") and named:
            _not_then(result, at)
            _none_there(result, at)
        elif text == "involving" and named and _is_number(result[at + 1 : at + 2]):
            blank(result, at, end_of(result, at))  # "involving 60 % of the cortex"
        elif text in ("below", "above") and named and _is_number(result[at - 1 : at]):
            _other_side(result, at)
        elif item.kind == "mention" and text.endswith("ed") and lexicon.is_finding(item.value):
            before = [i.text.lower() for i in result[max(0, at - 2) : at]]
            if before[-1:] == ["them"] or before == ["of", "which"]:
                blank(result, at, at + 1)  # "plaques, some of them calcified"
        elif item.kind == "unc_any" and text == "suspected" and named:
            behind = result[at + 1].kind if at + 1 < len(result) else "stop"
            if behind in ("near", "in", "comma", "stop"):
                result[at] = replace(item, kind="unc_post")
        elif item.kind == "question_mark":
            _indication(result, at)
        elif text == "both" and item.kind == "side":
            _two_things(result, at)
        elif text == "exclude" and item.kind == "unknown":
            _exclude(result, at, lexicon, named)
        elif item.kind == "filler" and text.split(" ")[-1] in _ADVISED and named:
            _to_do(result, at, lexicon)
    return result


def _is_level(items: Sequence[Item]) -> bool:
    return len(items) == 2 and items[1].kind == "filler" and items[1].text.endswith("level")


def _indication(items: list[Item], at: int) -> None:
    """Leaves out why something is looked for: "calf swelling, ?DVT", "fall, fracture?"."""
    cut = at - 1
    while cut >= 0 and items[cut].kind not in ("comma", "stop", "but"):
        cut -= 1
    start = cut - 1
    while start >= 0 and items[start].kind != "stop":
        start -= 1
    if any(i.kind == "question" for i in items[start + 1 : at]):
        return  # "She has pain - can I have a contour of the fibroid, 4 cm?"
    words = {word for i in items[start + 1 : max(cut, 0)] for word in i.text.lower().split(" ")}
    if cut > 0 and items[cut].kind == "comma" and words & _SYMPTOMS:
        blank(items, start + 1, cut + 1)


def _two_things(items: list[Item], at: int) -> None:
    """Leaves out the "both" of "both a cyst and a stone" and "left cyst, right stone, both new".

    Likewise of "two nodules, both in the right breast".
    """
    behind = [item.kind for item in items[at + 1 : end_of(items, at)] if item.kind != "filler"]
    following = items[at + 1] if at + 1 < len(items) else items[at]
    single = following.text.lower() in ("a", "an")
    single |= following.kind == "in" and at > 0 and items[at - 1].kind == "comma"
    sides = {item.value for item in items[:at] if item.kind == "side"}
    names = sum(item.kind in _NAMES for item in items[:at])
    rest = items[at + 2 : end_of(items, at)]
    pair = [n for n, i in enumerate(rest) if i.kind == "mention"]
    linked = len(pair) > 1 and any(i.kind == "and" for i in rest[pair[0] : pair[1]])
    single |= linked and items[at + 1].text.lower() == "the" and pair[:1] == [0]
    told = at > 0 and items[at - 1].kind == "comma" and set(behind) <= {"attr", "unknown", "change"}
    if single or (told and names > 1 and sides):
        items[at] = replace(items[at], kind="filler", value=None)


def _exclude(items: list[Item], at: int, lexicon: Lexicon, named: bool) -> None:
    """Reads ", exclude the aorta" as what is left out, and "exclude a fracture" as a doubt."""
    behind = [i for i in items[at + 1 :] if i.kind in _NAMES][:1]
    if not behind:
        return
    finding = behind[0].kind != "mention" or lexicon.is_finding(behind[0].value)
    if finding or named:
        items[at] = replace(items[at], kind="unc_pre" if finding else "exclude")


def _to_do(items: list[Item], at: int, lexicon: Lexicon) -> None:
    """Leaves out the clause of what is to be done: "abscess of the liver, drainage advised"."""
    start = at
    while start > 0 and items[start - 1].kind not in CLAUSE_ENDS:
        start -= 1
    names = [item for item in items[start:at] if item.kind in _NAMES]
    others = [item for item in items[:start] if item.kind in _NAMES]
    concepts = [
        lexicon.tree.concept(i.value.forms[0].concept) for i in names if i.kind == "mention"
    ]
    done = len(concepts) == len(names) > 0 and all(c.category in _DONE for c in concepts)
    if done and others:
        blank(items, start, at)


def _bracketed(items: list[Item], at: int) -> None:
    """Leaves out brackets that name nothing: "fat (-95 HU) and calcification"."""
    end = at + 1
    while end < len(items) and (items[end].kind in _EMPTY or items[end].text == "-"):
        end += 1
    if at + 1 < end < len(items) and items[end].text == ")":
        blank(items, at, end + 1)


def _placed(items: list[Item], at: int, lexicon: Lexicon) -> None:
    """Reads "hemangioma (left rectus femoris)" as the finding in that muscle."""
    before = [i for i in items[:at] if i.kind not in ("filler", "size", "attr")][-1:]
    place = at + 1
    while place < len(items) and items[place].kind in ("filler", "determiner", "side"):
        place += 1
    if not before or place + 1 >= len(items) or items[place].kind != "mention":
        return
    finding = before[0].kind == "generic" or (
        before[0].kind == "mention" and lexicon.is_finding(before[0].value)
    )
    ends = items[place + 1].kind == "comma"
    if finding and ends and not lexicon.is_finding(items[place].value):
        items[at] = replace(items[at], kind="in", value=None)


def _is_number(items: Sequence[Item]) -> bool:
    return bool(items) and items[0].text.isdigit()


_EARLIER = frozenset(("previous", "prior", "earlier", "last", "old", "baseline", "comparison"))


def _not_then(items: list[Item], at: int) -> None:
    """Leaves out the "not seen in 2017", or "on the previous study", of something new."""
    behind = items[at + 1 : at + 3]
    study = behind[0].text.lower().split(" ") if behind else []
    if study[:1] and study[0] in ("on", "in", "at") and _EARLIER & set(study):
        blank(items, at, at + 2)
        return
    year = len(behind) == 2 and behind[0].kind == "in" and behind[1].text[:2] in ("19", "20")
    if year and len(behind[1].text) == 4 and behind[1].text.isdigit():
        blank(items, at, at + 3)


def _none_there(items: list[Item], at: int) -> None:
    """Leaves out the clause "none on the left", which denies a second one."""
    end = end_of(items, at)
    clause = items[at + 1 : end]
    begins = at > 0 and items[at - 1].kind in (*CLAUSE_ENDS, "and")
    text = items[at].text.lower()
    none = text.split(" ")[0] == "none"
    whole = text.split(" ")[-1] in ("left", "right")  # "none left"
    if begins and none and (clause or whole) and all(i.kind in _QUIET for i in clause):
        blank(items, at, end)


def _other_side(items: list[Item], at: int) -> None:
    """Leaves out "30 % below the left side"."""
    end = at + 1
    while end < len(items) and items[end].kind in ("filler", "determiner"):
        end += 1
    if end < len(items) and items[end].kind == "side":
        blank(items, at - 1, end + 1)
