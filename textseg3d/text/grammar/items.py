"""Tagged stretches of text, and heads that several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Form, normalise

_TOPICS = frozenset(("learn", "learning", "study", "studying", "teaching", "anatomy", "mode"))
_TOPICS |= {"course", "exam", "project", "task", "homework", "lecture", "quiz", "batch", "student"}
_LOOKS = frozenset(("signal", "intensity", "density", "attenuation", "content", "uptake", "kernel"))
_LOOKS |= {"window", "windows", "algorithm", "sequence", "sequences", "settings", "suppression"}
_LOOKS |= {"saturation", "saturated", "suppressed", "setting", "filter", "involvement", "levels"}
_PURPOSES = frozenset(("planning", "patients", "patient", "study", "studies", "project", "work"))
_PURPOSES |= {"measure", "measurement", "measurements", "analysis", "research", "paper", "thesis"}
_PURPOSES |= {"trial", "cohort", "course", "exam", "training", "teaching", "lecture", "anatomy"}
_PURPOSES |= {"print", "printing", "workflow", "protocol", "screening", "surgery", "treatment"}
_PURPOSES |= {"therapy", "radiotherapy", "simulation", "volumetry", "quantification", "score"}
_PURPOSES |= {
    "scoring",
    "task",
    "challenge",
    "dataset",
    "model",
    "project",
    "staging",
    "sizing",
    "mr",
    "mri",
    "ct",
}
_PURPOSES |= {
    "scan",
    "scans",
    "scintigraphy",
    "radiograph",
    "radiographs",
    "xray",
    "x-ray",
    "grading",
}
_SYMPTOMS = frozenset(("pain", "pains", "tenderness", "discomfort", "ache", "complaints", "trauma"))
_PURPOSES |= {"cta", "mra", "ultrasound", "biopsy", "endoscopy", "angiography", "imaging"}
_PURPOSES |= {"mapping", "series", "workup", "board", "conference", "rounds", "clinic"}

_TREES = ("artery", "vein", "nerve", "muscle", "ligament", "bone")

CLAUSE_ENDS = ("comma", "but", "stop")


@dataclass(frozen=True)
class Item:
    """A tagged stretch of tokens.

    Attributes:
        kind: "mention", "generic", "side", "size", "volume", "count", "order", "rank", "attr",
            a kind of cue or connector, "comma", "colon", "stop", "question_mark", "filler",
            "determiner" or "unknown".
        value: what it says: a ``Match`` for mentions, a side, a ``Quantity``, ….
        text: the words as written.
        attr: for a mention that is also a describing word ("calcified"), that reading.
        specific: for a mention that was taken apart, the concept of the whole.
    """

    kind: str
    value: Any
    text: str
    attr: tuple[str, str] | None = None
    specific: str | None = None


def blank(items: list[Item], start: int, end: int) -> None:
    """Makes items ``start`` to ``end`` fillers that say nothing, in place."""
    for at in range(start, end):
        items[at] = replace(items[at], kind="filler", value=None, text="", attr=None)


def end_of(items: Sequence[Item], at: int, kinds: Sequence[str] = CLAUSE_ENDS) -> int:
    """The first item from ``at`` on that is one of ``kinds``, or the number of items."""
    while at < len(items) and items[at].kind not in kinds:
        at += 1
    return at


@lru_cache(maxsize=1)
def _ordering_words() -> frozenset[str]:
    tables = read_tables("describing")
    ranks = [phrase for phrases in tables["ranks"].values() for phrase in phrases]
    return frozenset([*tables["attributes"]["position"], *ranks])


def shared_heads(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "left upper and lower lobes" as "left upper lobes and left lower lobes".

    The same for "6th and 7th ribs". A side before the first one holds for all that have none.
    """
    items = _plural_heads(_double_fronts(items, lexicon), lexicon)
    result: list[Item] = []
    at = 0
    while at < len(items):
        told = at > 0 and items[at - 1].kind == "be"  # "is shrunken and the right kidney normal"
        shares = not told and _shares(items[at], lexicon)
        end = _head_behind(items, at, lexicon) if shares else None
        shared = _spelled_out(items[at:end], result, lexicon) if end is not None else None
        if shared is None or end is None:
            result.append(items[at])
            at += 1
        else:
            result = [*result[:-1], *_each_its_side([*result[-1:], *shared])]
            at = end
    return result


def _each_its_side(items: Sequence[Item]) -> list[Item]:
    """A plural head shared by places of one side each: "right upper and left lower lobes"."""
    result = list(items)
    for at, (before, item) in enumerate(pairwise(items), 1):
        one = before.kind == "side" and before.value in ("left", "right")
        if one and item.kind == "mention" and item.value.forms[0].side == "both":
            forms = tuple(form._replace(side=None) for form in item.value.forms)
            result[at] = replace(item, value=item.value._replace(forms=forms))
    return result


def _plural_heads(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads the "subclavian" of "subclavian and brachiocephalic veins" as that vein."""
    result = list(items)
    for at in range(len(result) - 2):
        first, joined, head = result[at : at + 3]
        if first.kind != "mention" or joined.kind not in ("and", "or") or head.kind != "mention":
            continue
        noun = head.value.surface.split(" ")[-1]
        kind = first.value.forms[0].concept.split(" ")[-1]
        short = kind in _TREES and kind not in first.text.lower().split(" ")
        if not short or not canon.is_plural(noun) or canon.singular(noun) in ("", kind):
            continue
        forms = lexicon.named(f"{unsided(first.value.surface).rsplit(f' {kind}', 1)[0]} {noun}")
        if forms and lexicon.tree.concept(forms[0].concept).kind == "anatomy":
            forms = tuple(form._replace(side=None) for form in forms)
            result[at] = replace(first, value=first.value._replace(forms=forms))
    return result


def _double_fronts(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "middle colic and right colic arteries" as the two arteries."""
    result = list(items)
    for at in range(len(result) - 4, -1, -1):
        first, place, joined, head = result[at : at + 4]
        if (
            joined.kind not in ("and", "or")
            or head.kind != "mention"
            or not _shares(place, lexicon)
        ):
            continue
        noun = head.value.surface.split(" ")[-1]
        own = first.kind in ("attr", "unknown") and place.kind == "mention"
        if not own or lexicon.is_finding(head.value) or not canon.is_plural(noun):
            continue
        name = normalise(f"{first.text} {place.text} {noun}")
        forms = tuple(f for f in lexicon.named(name) if f.source != "adjective")
        forms = tuple(f for f in forms if lexicon.tree.concept(f.concept).kind == "anatomy")
        if forms and {f.concept for f in forms} != {f.concept for f in head.value.forms}:
            match = Match(place.value.end, forms, (), name)
            text = f"{first.text} {place.text}"
            result[at : at + 2] = [Item("mention", match, text)]
    return result


def shared_fronts(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "proximal phalanges of the thumb and index finger" as those of both fingers."""
    result = list(items)
    front = concept = ""
    for at, item in enumerate(result):
        if item.kind == "mention":
            first, _, whole = item.value.surface.partition(" of ")
            if whole:
                front = first if canon.is_plural(first.split(" ")[-1]) else ""
                concept = item.value.forms[0].concept
                continue
            joined = at and result[at - 1].kind in ("and", "comma", "side", "filler", "determiner")
            name = f"{front} of {unsided(item.value.surface)}"
            forms = lexicon.named(name) if front and joined else ()
            forms = tuple(f for f in forms if lexicon.tree.concept(f.concept).kind == "anatomy")
            again = forms and forms[0].concept == concept  # "lens of eye and eyeball"
            if not forms or again or lexicon.is_finding(item.value):
                front = ""
                continue
            own = [form.side for form in item.value.forms[:1] if form.side in ("left", "right")]
            sides = tuple(dict.fromkeys((*item.value.sides, *own)))
            match = Match(item.value.end, forms, sides, name)  # type: ignore[arg-type]
            result[at] = replace(item, value=match)
        elif item.kind not in ("and", "comma", "side", "filler", "determiner"):
            front = ""
    return result


def _orders(item: Item) -> bool:
    return item.kind == "rank" or (item.kind == "attr" and item.value[0] == "position")


def unsided(name: str) -> str:
    """A name without the side at its beginning ("right lower lobe")."""
    first, _, rest = name.partition(" ")
    return rest if first in ("left", "right") else name


def _shares(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item may be the front of a name whose head comes later."""
    if _orders(item) or item.kind in ("attr", "unknown", "order"):
        return item.text.replace(" ", "").replace("-", "").isalpha() or _orders(item)
    if item.kind != "mention" or lexicon.is_finding(item.value):
        return False
    return all(form.source == "adjective" for form in item.value.forms)


def _head_behind(items: Sequence[Item], at: int, lexicon: Lexicon) -> int | None:
    """Index behind the name whose head the word at ``at`` shares, if there is one."""
    joined = False
    for place in range(at + 1, len(items)):
        item = items[place]
        shares = _shares(item, lexicon)
        if item.kind == "mention" and not (shares and joined and _joins_next(items, place)):
            first, _, rest = unsided(item.value.surface).partition(" ")
            return place + 1 if joined and rest and first else None
        if not _is_apart(item) and not shares:
            return None
        joined |= item.kind in ("and", "or", "comma")
    return None


def _joins_next(items: Sequence[Item], at: int) -> bool:
    return at + 1 < len(items) and items[at + 1].kind in ("and", "or", "comma")


def _spelled_out(
    group: Sequence[Item], before: Sequence[Item], lexicon: Lexicon
) -> list[Item] | None:
    """The group with the shared head and side at each of its members; None if a name is new."""
    lead: list[Item] = []
    for item in reversed(before):
        if item.kind not in ("side", "and", "or"):
            break
        lead.insert(0, item)
    while lead and lead[0].kind != "side":
        lead.pop(0)
    head: Match = group[-1].value
    if lexicon.is_finding(head) and not all(map(_orders, _members(group))):
        members = _members(group)
        listed = all(item.kind == "attr" for item in members)
        several = canon.is_plural(head.surface.split(" ")[-1]) and listed
        several |= all(item.kind == "unknown" for item in members)  # "retrocrural and …"
        if not several and "lumen" not in head.surface.split(" "):  # "true and false lumen"
            return None  # "lytic and sclerotic lesions" are of two kinds
    words = unsided(head.surface).split(" ")
    for first in range(1, len(words)):
        rest = " ".join(words[first:])
        found = _with_head(group, rest, lead, lexicon)
        if found is not None:
            return found
    return None


def _of_kind(forms: Sequence[Form], lexicon: Lexicon) -> bool:
    return lexicon.tree.concept(forms[0].concept).kind == "finding"


def _members(group: Sequence[Item]) -> list[Item]:
    return [item for item in group[:-1] if not _is_apart(item)]


def _is_apart(item: Item) -> bool:
    """Whether an item stands between members: "the medial and the lateral meniscus"."""
    article = item.kind == "filler" and item.text.lower() == "the"
    return article or item.kind in ("and", "or", "comma", "side", "determiner")


def _with_head(
    group: Sequence[Item], rest: str, lead: Sequence[Item], lexicon: Lexicon
) -> list[Item] | None:
    head: Match = group[-1].value
    members = _members(group)
    result: list[Item] = []
    sided = True
    for item in group:
        if item.kind == "side":
            sided = True
        named = item is group[-1] and unsided(head.surface) != head.surface
        member = any(item is one for one in members)
        if member or item is group[-1]:
            result += [] if sided or named else lead
            sided = False
        if member:
            words = normalise(item.text)
            if unsided(words) != words:  # "right hilar and subcarinal nodes"
                result.append(Item("side", words.split(" ")[0], words.split(" ")[0]))
                words = unsided(words)
            first, _, noun = words.partition(" ")  # "upper pole and lower pole of"
            name = f"{first} {rest}" if rest.startswith(noun) else f"{first} {noun} {rest}"
            forms = lexicon.get(name) or lexicon.named(name)
            if not forms or (lexicon.is_finding(head) and not _of_kind(forms, lexicon)):
                return None
            item = Item("mention", Match(head.end, forms, head.sides, name), item.text)
        result.append(item)
    return [
        item
        for item, behind in zip(result, [*result[1:], item])
        if not (any(item is one for one in lead) and _is_single(behind, lexicon))
    ]


def _is_single(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item names a structure that is there once: no "left occipital bone"."""
    if item.kind != "mention" or lexicon.is_finding(item.value):
        return False
    return lexicon.tree.concept(item.value.forms[0].concept).side_rule in ("unpaired", "midline")


def on_topic(items: Sequence[Item]) -> list[Item]:
    """The items without names that only say what for ("for transplant planning") or how."""
    named = [at for at, item in enumerate(items) if item.kind in ("mention", "generic", "tail")]
    colon = next((at for at, item in enumerate(items) if item.kind == "colon"), 0)
    topic = any(item.text.lower() in _TOPICS for item in items[:colon])
    dropped = {at for at in named if topic and at < colon}
    for at in named:
        following = items[at + 1].text.lower().split(" ")[0] if at + 1 < len(items) else ""
        changes = following in ("change", "changes") and items[at].kind == "mention"
        if following.startswith("patient") and " in " in f" {items[at].text.lower()} ":
            continue  # "pituitary adenoma in this patient"
        if following in _PURPOSES | _LOOKS | _SYMPTOMS or changes:
            dropped.add(at)
        if following in _SYMPTOMS and at and items[at - 1].kind == "side":
            dropped.add(at - 1)
    if dropped.issuperset(named):
        return list(items)
    return [
        replace(item, kind="filler") if at in dropped else item for at, item in enumerate(items)
    ]
