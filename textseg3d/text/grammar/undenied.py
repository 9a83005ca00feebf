"""Words that deny, but not what is named: "I am not a doctor", "our data set lacks the spleen"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon

_NAMES = ("mention", "generic", "tail", "side", "size")
_ENDS = ("comma", "but", "stop", "colon", "question_mark")
_LACKS = frozenset(("lack", "lacks", "lacking", "miss", "misses", "missing"))
_OWNERS = frozenset(("we", "i", "our", "my", "set", "dataset", "folder", "board", "plan", "team"))
_OWNERS |= {"file", "list", "atlas", "annotation", "annotations", "segmentation", "collection"}
_OWNERS |= {"surgeon", "physicist", "planner", "student", "resident", "still", "labels", "masks"}
_TOLD = frozenset(("said", "written", "mentioned", "told", "reported", "stated", "noted"))
_SEEKING = frozenset(("find", "locate", "see", "identify", "spot", "recognise", "recognize"))
_CORRECTING = frozenset(("sorry", "no wait", "wait", "scratch that", "correction", "oops"))
_SOUND = frozenset(("normal", "healthy", "intact", "unremarkable", "clear"))
_AFFIRMING = frozenset(("positive for", "presence of", "new", "persistent", "persisting"))
_AFFIRMING |= {"increasing", "worsening", "progressive", "residual", "positive"}
_ABLE = frozenset(("can", "could", "may"))
_BOTH = {"left", "right"}
_TRIED = ("can't", "cannot", "can not", "couldn't", "could not", "unable to", "do not", "don't")


def without_denials(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, the cues of denial that hold for nothing that is asked for made fillers."""
    items = _not_calcified(_spelled_out(items, lexicon), lexicon)
    result = list(items)
    denied = False
    for at, item in enumerate(items):
        denied = (denied or item.kind == "neg_pre") and item.kind != "stop"
        following = items[at + 1].text.lower().split(" ")[0] if at + 1 < len(items) else ""
        if denied and item.kind == "comma" and following in ("just", "only", "merely"):
            result[at] = replace(item, kind="but")  # "no teeth, just the mandible"
        if item.text.lower() == "lack" and _words(items[max(0, at - 2) : at]) & {
            "i",
            "we",
            "still",
        }:
            result[at] = replace(item, kind="filler", value=None)  # "I still lack the parotid"
        if item.text.lower() == "broken" and at and items[at - 1].kind == "be":
            result[at] = replace(item, kind="filler")  # "the left scapula looks broken"
        if item.kind == "unc_pre" and _is_ruled_out(items, at):
            result[at] = replace(item, kind="neg_pre")
        meant = at > 1 and f"{items[at - 1].text} {item.text}".lower() == "i mean"
        meant = meant and items[at - 2].kind in _ENDS and _named(items[at:])
        corrects = meant or (item.text.lower() in _CORRECTING and _cuts(items, at))
        if corrects and _named(items[:at]):
            blank(result, 0, at + 1)  # "left kidney, sorry, right kidney"
        if not item.kind.startswith("neg_"):
            continue
        if _is_nothing_there(items, at):
            start = max((n for n in range(at) if items[n].kind in _ENDS), default=-1) + 1
            blank(result, start, end_of(items, at, _ENDS))
            continue
        other = _other_side(items, at) or _not_there(items, at)
        if other:
            blank(result, at, other)
            continue
        start = max((n for n in range(at) if items[n].kind in _ENDS), default=-1) + 1
        end = end_of(items, at, _ENDS)
        if (
            _is_of_nothing(items, start, at, end)
            or _is_lacking(items, start, at)
            or _is_sought(items, start, at, lexicon)
            or _is_unsaid(items, at, end)
            or _is_of_another(items, start, at, end)
            or _is_ill(items, at, end, lexicon)
        ):
            result[at] = replace(item, kind="filler", value=None)
    return result


def _not_calcified(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "non-calcified nodule" as a nodule that is not calcified, not as none that is."""
    result: list[Item] = []
    for at, item in enumerate(items):
        first, _, rest = item.text.partition(" ")
        non = at > 0 and items[at - 1].kind == "neg_attr" and items[at - 1].text.lower() == "non"
        forms = lexicon.named(rest.lower()) if non and first.lower() == "calcified" else ()
        if item.kind == "mention" and forms:
            result.append(Item("attr", ("density", "calcified"), first))
            match = item.value._replace(forms=forms, surface=rest.lower())
            item = replace(item, value=match, text=rest, attr=None, specific=None)
        result.append(item)
    return result


def _is_ruled_out(items: Sequence[Item], at: int) -> bool:
    """Whether somebody tells that a finding is ruled out: "we can rule out a fracture"."""
    said = [item.text.lower() for item in items[max(0, at - 2) : at]]
    told = len(said) == 2 and said[0] in ("we", "i", "you", "one") and said[1] in _ABLE
    asked = end_of(items, at, ("question_mark", "stop"))
    asks = asked < len(items) and items[asked].kind == "question_mark"
    return told and not asks and items[at].text.lower().startswith(("rule out", "exclude"))


def _spelled_out(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, with what denies and what affirms again told apart.

    "Ascites but no cyst", "cyst: no, ascites: yes", "negative for a cyst, positive for ascites".
    """
    result: list[Item] = []
    denied = False
    for at, item in enumerate(items):
        following = items[at + 1 : at + 2]
        closed = not following or following[0].kind in _ENDS
        if item.kind == "exclude" and item.text.lower() == "but no":
            before = next((i for i in reversed(result) if i.kind in _NAMES), None)
            behind = next((i for i in items[at + 1 :] if i.kind in ("mention", "generic")), None)
            if _is_finding(before, lexicon) and _is_finding(behind, lexicon):
                result.append(Item("but", None, "but"))
                item = Item("neg_pre", None, "no")
        elif item.kind == "neg_pre" and item.text.lower() == "no" and closed and result:
            if result[-1].kind == "mention":
                item = replace(item, kind="neg_post")  # "cyst no, ascites yes"
        elif item.kind == "comma" and denied and _affirms(items[at + 1 : at + 20]):
            item = Item("but", None, item.text)
        denied = (denied or item.kind == "neg_pre") and item.kind not in ("stop", "but")
        result.append(item)
    return result


def _affirms(items: Sequence[Item]) -> bool:
    """Whether "positive for ascites" or "new ascites", which ends no list, begins here."""
    if not items or items[0].text.lower() not in _AFFIRMING:
        return False
    end = next((n for n, item in enumerate(items) if item.kind == "stop"), len(items))
    listed = any(item.kind in ("or", "comma") or item.text in ("or", "nor") for item in items[:end])
    return _named(items[:end]) and not (listed and items[0].kind == "attr")


def _is_finding(item: Item | None, lexicon: Lexicon) -> bool:
    if item is None:
        return False
    return item.kind == "generic" or (item.kind == "mention" and lexicon.is_finding(item.value))


def _cuts(items: Sequence[Item], at: int) -> bool:
    """Whether a word stands between marks and a name comes later."""
    behind = at + 1 < len(items) and items[at + 1].kind in _ENDS
    return at > 0 and items[at - 1].kind in _ENDS and behind and _named(items[at:])


def _words(items: Sequence[Item]) -> set[str]:
    return {word for item in items for word in item.text.lower().split(" ")}


def _named(items: Sequence[Item]) -> bool:
    return any(item.kind in _NAMES for item in items)


def _is_nothing_there(items: Sequence[Item], at: int) -> bool:
    """Whether "; on the right nothing" is told behind what the left has."""
    start = max((n for n in range(at) if items[n].kind in _ENDS), default=-1) + 1
    part = items[start : end_of(items, at, _ENDS)]
    sided = any(i.kind == "side" for i in items[start:at]) and any(i.kind == "in" for i in part)
    bare = not any(i.kind in ("mention", "generic", "tail") for i in part)
    return (
        sided and bare and items[at].text.lower() in ("nothing", "none") and _named(items[:start])
    )


def _other_side(items: Sequence[Item], at: int) -> int:
    """Where "instead of the left one" ends; 0 if it does not begin at ``at``."""
    if items[at].text.lower() not in ("instead of", "rather than", "in place of") or not at:
        return 0
    side = next((n for n in range(at + 1, len(items)) if items[n].kind != "filler"), at)
    if items[side].kind != "side":
        return 0
    one = side + 1 < len(items) and items[side + 1].text.lower() in ("one", "side", "ones")
    closed = side + 1 + one
    ends = closed == len(items) or items[closed].kind in _ENDS
    return closed if ends else 0


def _not_there(items: Sequence[Item], at: int) -> int:
    """Where ", not on the right" ends behind what lies on the left; 0 if it does not begin here."""
    end = end_of(items, at, _ENDS)
    part = [item for item in items[at + 1 : end] if item.kind not in ("filler", "determiner")]
    start = max((n for n in range(at - 1) if items[n].kind in _ENDS), default=-1) + 1
    sides = {item.value for item in items[start:at] if item.kind == "side"}
    comma = at > 0 and items[at - 1].kind == "comma"
    there = [item.kind for item in part] == ["in", "side"] and sides | {part[1].value} == _BOTH
    named = any(item.kind == "mention" for item in items[start:at])
    return end if comma and there and named and len(sides) == 1 else 0


def _is_of_nothing(items: Sequence[Item], start: int, at: int, end: int) -> bool:
    """Whether the clause "not a doctor:" names nothing, before anything is named."""
    tells = any(item.kind == "unknown" for item in items[start:end])
    if items[start].text.lower() in ("which", "that", "who") and not _named(items[start:end]):
        return _named(items[:start]) and items[at].text.lower().startswith("never")
    listed = end < len(items) and items[end].kind == "comma"  # "no sonographic, CT or MR evidence"
    if listed and not items[at].text.lower().startswith("not a"):
        return False
    return tells and not _named(items[:end]) and _named(items[end:])


def _is_of_another(items: Sequence[Item], start: int, at: int, end: int) -> bool:
    """Whether ", the paperwork is not of interest" has a subject that nothing names."""
    if not start or _named(items[start:end]) or not _named(items[:start]):
        return False
    be = next((n for n in range(start, at) if items[n].kind == "be"), start)
    definite = items[start].text.lower() in ("the", "this", "that", "his", "her", "my", "our")
    return definite and any(item.kind == "unknown" for item in items[start:be])


def _is_lacking(items: Sequence[Item], start: int, at: int) -> bool:
    """Whether "our data set lacks" stands at ``at``."""
    return bool(_words(items[at : at + 1]) & _LACKS and _words(items[start:at]) & _OWNERS)


def _is_sought(items: Sequence[Item], start: int, at: int, lexicon: Lexicon) -> bool:
    """Whether someone cannot find a structure: "I can't find the right ovary"."""
    words = _words(items[start : at + 3])
    text = " ".join(item.text.lower() for item in items[at : at + 3])
    tried = words & {"i", "we"} and words & _SEEKING and text.startswith(_TRIED)
    name = next((i for i in items[at:] if i.kind == "mention"), None)
    return bool(tried and name is not None and not lexicon.is_finding(name.value))


def _is_unsaid(items: Sequence[Item], at: int, end: int) -> bool:
    """Whether "nothing was said about" stands at ``at``."""
    said = _words(items[at : min(end, at + 5)])
    return bool({"nothing", "not"} & said and _TOLD & said and {"about", "on", "of"} & said)


def _is_ill(items: Sequence[Item], at: int, end: int, lexicon: Lexicon) -> bool:
    """Whether "neither kidney is normal" stands at ``at``."""
    part = items[at:end]
    named = [item for item in part if item.kind == "mention"]
    sound = bool(_words(part) & _SOUND) and any(item.kind == "be" for item in part)
    return (
        sound
        and items[at].kind == "neg_pre"
        and not any(lexicon.is_finding(item.value) for item in named)
    )
