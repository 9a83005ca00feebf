"""What a text asks for beside what it tells: "He has a TIPS. Outline the liver." asks for a liver.

A text is cut into segments at its punctuation. Where one of them asks for something by name, what
others only tell is no target; it gives its side to what is asked for, if that lies there and says
none: "MRI of the left knee; I need the meniscus".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon

_NAMES = ("mention", "generic", "tail")
_SEPARATORS = ("comma", "but", "stop", "colon", "question_mark")
_CLOSING = ("stop", "question_mark")
_DOING = frozenset(("outline", "segment", "mask", "mark", "delineate", "contour", "trace", "draw"))
_DOING |= {"highlight", "label", "give", "get", "extract", "annotate", "locate", "localise"}
_DOING |= {"localize", "isolate", "paint", "colour", "color", "provide", "generate", "create"}
_DOING |= {"produce", "make", "return", "find", "show", "pick", "pinpoint", "circle", "encircle"}
_DOING |= {"measure", "display", "fetch", "grab", "select", "add", "include", "identify", "detect"}
_DOING |= {"visualise", "visualize", "deliver", "render", "compute", "want", "need", "interested"}
_DOING |= {
    "indicate",
    "shade",
    "tag",
    "demarcate",
    "map",
    "export",
    "do",
    "send",
    "supply",
    "cover",
}
_DOING |= {
    "like",
    "asked",
    "wants",
    "requested",
    "requires",
    "redo",
    "repeat",
    "correct",
    "improve",
    "update",
    "replace",
    "prepare",
    "separate",
    "crop",
    "cut",
    "point",
    "looking",
    "put",
    "let",
    "fill",
}
_WISHED = frozenset(("outlined", "segmented", "masked", "marked", "contoured", "delineated"))
_WISHED |= {"traced", "drawn", "highlighted", "labelled", "labeled", "annotated", "isolated"}
_WISHED |= {"shown", "extracted", "found", "located", "measured", "coloured", "colored"}
_NEEDED = frozenset(("wanted", "needed", "required", "requested", "want", "need", "require"))
_NEEDED |= {"counts", "matters", "desired"}
_REQUESTED = frozenset(("asked", "wants", "wanted", "needs", "needed", "requested", "asks"))
_GOING = frozenset(("look", "looking", "go", "open", "navigate", "scroll", "take", "start"))
_NOUNS = frozenset(("label", "mask", "outline", "contour", "map", "tag", "mark", "cut", "point"))
_NOUNS |= {"cover", "trace", "like", "put", "crop", "circle", "measure", "display", "do", "return"}
_POLITE = frozenset(
    ("please", "now", "then", "so", "and", "also", "just", "kindly", "can", "could")
)
_POLITE |= {"you", "would", "will", "therefore", "pls", "first", "next", "finally", "i", "we", "a"}
_POLITE |= {"may", "let", "us", "to", "want", "need", "have", "get", "only", "should", "must", "an"}
_PHRASES = ("focus on", "concentrate on", "work on", "zoom in on", "go for", "i am after")
_PHRASES += ("i'm after", "we are after", "turn to", "continue with", "proceed with")
_IMPERATIVES = frozenset(("give", "outline", "segment", "draw", "show", "find", "highlight"))
_IMPERATIVES |= {"delineate", "extract", "isolate", "mask", "mark", "locate", "contour", "please"}
_AIMS = frozenset(
    ("where", "target", "next", "structure", "object", "thing", "aim", "task", "request", "goal")
)
_PLEASE = frozenset(("please", "pls", "thanks", "thank", "thx", "bitte"))
_UNWANTED = frozenset(("interest", "relevance", "importance", "use", "interested", "need", "want"))
_UNWANTED |= {"needed", "wanted", "relevant", "required", "matter", "care", "concern", "bother"}
_ROOTS = {"stone": ("stone", "lith", "calcul"), "cyst": ("cyst",), "nodule": ("nodul",)}
_ROOTS |= {"aneurysm": ("aneurysm",), "fracture": ("fractur",), "clot": ("thromb", "embol")}
_FORE = frozenset(("filler", "unknown", "determiner", "question", "be", "side", "attr", "size"))
_FORE |= {"attr", "count", "order", "rank", "in", "comma", "has"}
_NOT_ASKING = frozenset(("not", "no", "never", "cannot", "was", "were", "had", "has", "already"))
_NOT_ASKING |= {"been", "did", "he", "she", "they", "patient", "radiologist", "who", "which"}
_NOT_ASKING |= {"without", "unable", "failed", "don't", "can't", "won't"}
_FURTHER = frozenset(("also", "too", "additionally", "plus", "besides", "well", "addition"))
_SAYING = frozenset(
    ("patient", "he", "she", "his", "her", "my", "our", "man", "woman", "girl", "boy")
)
_SAYING |= {"they", "there", "known", "history", "hx", "post", "since", "because", "after", "given"}
_SAYING |= {
    "although",
    "while",
    "as",
    "despite",
    "however",
    "underwent",
    "had",
    "was",
    "were",
    "lost",
}
_SAYING |= {"i", "we", "already", "previous", "previously", "year-old", "yo", "ct", "mri", "cta"}
_SAYING |= {
    "mra",
    "pet",
    "scan",
    "follow-up",
    "follow",
    "sees",
    "saw",
    "seen",
    "noted",
    "reported",
    "though",
}
_OPENING = frozenset(("because", "because of", "since", "for", "with", "given", "after", "in"))
_OPENING |= {
    "from",
    "of",
    "on",
    "within",
    "at",
    "inside",
    "as",
    "due to",
    "owing to",
    "despite",
    "following",
    "although",
    "though",
}
_PERSONS = frozenset(("i", "we", "you", "please", "give", "kindly"))
_NEAR = (frozenset(("pelvis", "lower limb")), frozenset(("thorax", "upper limb")))
_NEAR += (frozenset(("head", "brain", "neck")),)
_SKIPPED: tuple[str, ...] = ("instead of", "rather than", "in place of")
_SKIPPED += ("ignore", "skip", "disregard", "forget", "omit", "never mind", "forget about")
_LUMPS = frozenset(("lesion", "mass", "finding", "abnormality", "growth", "tumor", "tumour"))
_KINDS = {"vessel": frozenset(("artery", "vein", "vessel")), "organ": frozenset(("organ", "gland"))}
_KINDS |= {kind: frozenset((kind,)) for kind in ("bone", "muscle", "nerve", "joint", "artery")}
_KINDS |= {kind: frozenset((kind,)) for kind in ("vein", "tendon", "ligament", "gland", "tooth")}
_SCANS = frozenset(("ct", "mri", "mr", "cta", "mra", "pet", "scan", "study", "image", "images"))
_GONE = frozenset(("resected", "removed", "excised", "amputated", "operated", "treated"))
_BACK = frozenset(("it", "its", "this", "they", "these", "one", "them", "those", "that"))


@dataclass(frozen=True)
class _Segment:
    """Items ``start`` to ``end``; ``closed`` by the kind of what follows ("" at the end)."""

    start: int
    end: int
    closed: str
    asks: bool
    says: bool


def only_asked(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, those that are only told beside a request made fillers."""
    items = _other_one(_parted(items), lexicon)
    segments = list(_segments(items))
    asking = [s for s in segments if s.asks and _object(items, s) is not None]
    further = (_words(items[s.start : s.end]) & _FURTHER for s in segments if s.asks)
    if not asking or any(further):
        return items
    context = [s for s in segments if _is_told(s, segments, items, lexicon)]
    if not context:
        return items
    result = list(items)
    told = [at for s in context for at in range(s.start, s.end) if items[at].kind == "mention"]
    asked = [at for s in asking for at in range(s.start, s.end) if items[at].kind in _NAMES]
    kept = _meant_again(result, told, asked, lexicon)
    if not kept and result[asked[0]].kind == "tail":
        return items
    sides = [] if kept else _sides(result, context, told, asked, lexicon)
    for segment in context:
        span = range(segment.start, segment.end)
        others = any(_is_finding(result[at], lexicon) for at in told if at in span)
        if not kept or (others and not any(at in span for at in kept)):
            blank(result, segment.start, segment.end)
        if segment.closed == "question_mark":
            result[segment.end] = Item("stop", None, ".")
    for at, side in reversed(sides):
        result.insert(at, Item("side", side, side))
    return result


def _parted(items: Sequence[Item]) -> list[Item]:
    """The items with a comma where "because of the pacemaker" ends and "I want" begins."""
    result: list[Item] = []
    opens = False
    for at, item in enumerate(items):
        if not result or item.kind in _SEPARATORS:
            opens = not result and item.text.lower().split(" ")[0] in _OPENING
        words = _words(items[at : at + 2])
        if (opens and result and result[-1].kind not in _SEPARATORS and words & _PERSONS) and (
            words & _DOING and any(i.kind in _NAMES for i in result)
        ):
            result.append(Item("comma", None, ","))
            opens = False
        if item.text.lower() == "who" and _words(items[at + 1 : at + 2]) & _REQUESTED:
            item = Item("comma", None, ",")  # "from a colleague who asked for the psoas"
        result.append(item)
    return result


def _other_one(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the left kidney is gone; outline the right one" as the right kidney."""
    if items[:1] and items[0].text.lower() in ("of", "out of", "among", "from"):
        return items
    for at in range(1, len(items) - 1):
        side, one = items[at], items[at + 1]
        if side.kind != "side" or one.text.lower() not in ("one", "ones"):
            continue
        start = max((n for n in range(at) if items[n].kind in _SEPARATORS), default=-1) + 1
        before = [i for i in items[:start] if i.kind == "mention"]
        said = " ".join(item.text.lower() for item in items[start:at])
        asked = _words(items[start:at]) & _DOING or any(phrase in said for phrase in _PHRASES)
        if not before or not asked:
            continue
        plain = [i for i in before if not lexicon.is_finding(i.value)] or before
        match = plain[-1].value
        forms = tuple(form._replace(side=None) for form in match.forms)
        items[at + 1] = replace(plain[-1], value=match._replace(forms=forms, sides=()))
    return items


def _words(items: Sequence[Item]) -> set[str]:
    return {word for item in items for word in item.text.lower().split(" ")}


def _segments(items: Sequence[Item]) -> Iterator[_Segment]:
    """The segments; what names nothing behind a comma belongs to the one before."""
    cuts = [at for at in range(len(items)) if _cuts(items, at)]
    start = 0
    for at, end in zip(cuts, [*cuts[1:], len(items)]):
        apart = items[at].kind != "comma" or _names_any(items[at:end])
        if apart and at > start:
            yield _segment(items, start, at)
        start = at + 1 if apart else start
    if start < len(items):
        yield _segment(items, start, len(items))


def _segment(items: Sequence[Item], start: int, end: int) -> _Segment:
    part = items[start:end]
    asks = _asks(part)
    closed = items[end].kind if end < len(items) else ""
    return _Segment(start, end, closed, asks, not asks and _says(part))


def _names_any(items: Sequence[Item]) -> bool:
    return any(item.kind in _NAMES for item in items)


def _cuts(items: Sequence[Item], at: int) -> bool:
    """Whether a segment ends at ``at``; the "I" of "what I need" joins its own."""
    item = items[at]
    if item.kind in ("and", "filler", "unknown") and item.text.lower() in ("and", "then", "so"):
        following = items[at + 1].text.lower().split(" ")[0] if at + 1 < len(items) else ""
        return following in _IMPERATIVES  # "skip the cortex and give me the marrow"
    joins = item.text == "I" and at > 0 and items[at - 1].kind == "question"
    return item.kind in _SEPARATORS and not joins


def _asks(items: Sequence[Item]) -> bool:
    """Whether a segment begins as "please outline the" or ends as "should be outlined"."""
    first = next((at for at, item in enumerate(items) if item.kind in _NAMES), len(items))
    head, said = items[:first], " ".join(item.text.lower() for item in items)
    fore, behind = _words(head), _words(items[first + 1 :])
    words = fore | behind
    barred = _NOT_ASKING - {"has", "had"} if "to be" in said else _NOT_ASKING
    if fore & barred or fore == {"trace"}:  # "trace ascites"
        return False
    doing = fore & _DOING
    if doing and doing <= _NOUNS and not _is_told_to(head):
        return False  # "the label of the colon is wrong", "smooth contour of the liver"
    aim = fore & _AIMS and fore & {"is", "are", "be"}
    aim = aim or (fore & {"what", "how"} and fore & {"does", "do"})  # "what does it look like?"
    aim = aim or any(phrase in said for phrase in _PHRASES)
    if said.startswith(("only ", "just ")) and " about " not in said:
        aim = aim or _is_alone(items)  # "…, only the scaphoid itself"
    if aim or ({item.kind for item in head} <= _FORE and doing) or words & _PLEASE:
        return True
    wished = words & _NEEDED and words & {"is", "are", "be", "i", "we", "what"}
    done = behind & _WISHED and words & {"be", "have", "get"}
    return bool(wished or done) and not words & barred


def _is_alone(items: Sequence[Item]) -> bool:
    """Whether a segment ends as "only the scaphoid itself"."""
    return bool(_words(items[-2:]) & {"itself", "alone", "please", "proper"})


def _is_told_to(head: Sequence[Item]) -> bool:
    """Whether the first word that says anything is a verb such as "mask"."""
    said = [word for item in head for word in item.text.lower().split(" ")]
    while said and said[0] in _POLITE:
        said.pop(0)
    return bool(said) and said[0] in _NOUNS


def _says(items: Sequence[Item]) -> bool:
    """Whether a segment tells something: that it is, who has it, or when."""
    kinds = {item.kind for item in items}
    if _words(items[:1]) & _GOING:
        return True
    return bool(kinds & {"be", "has", "unknown"} or _words(items) & _SAYING)


def _object(items: Sequence[Item], segment: _Segment) -> int | None:
    """The first name of a segment that says more than "two things"."""
    named = [at for at in range(segment.start, segment.end) if items[at].kind in _NAMES]
    return next((at for at in named if items[at].value != "structure"), None)


def _is_told(
    segment: _Segment, segments: Sequence[_Segment], items: Sequence[Item], lexicon: Lexicon
) -> bool:
    """Whether a segment is beside what the text asks for."""
    part = items[segment.start : segment.end]
    denied = any(item.kind.startswith("neg_") for item in part)
    skipped = part[0].text.lower() in _SKIPPED
    unwanted = bool(_words(part) & (_UNWANTED | _GONE))
    skipped |= part[0].kind == "without" and part[1:2] != [] and part[1].text.endswith("ing")
    if segment.asks or (denied and not unwanted and not skipped and _names_any(part)):
        return False
    if any(item.kind == "exclude" for item in part) and not skipped:
        return False
    at = segments.index(segment)
    later = [s for s in segments[at + 1 :] if s.asks and _object(items, s) is not None]
    if not later:
        tells = any(item.kind in (*_NAMES, "side") for item in part)
        back = _words(part[:2]) & _BACK and not _words(part) & _SCANS
        return segment.says and not back and tells
    closed = any(s.closed in _CLOSING for s in segments[at : segments.index(later[0])])
    if all(item.kind not in (*_NAMES, "side", "size", "order") for item in part):
        return True  # strange words say nothing of what is asked for
    wanted = items[_object(items, later[0])]  # type: ignore[index]
    whole = _is_whole(wanted, part, lexicon)
    finding = wanted.kind != "mention" or lexicon.is_finding(wanted.value)
    told = [item for item in part if item.kind in _NAMES]
    place = bool(told) and not any(_is_finding(item, lexicon) for item in told)
    opens = place and part[0].text.lower().split(" ")[0] in _OPENING  # "in the hip, find the head"
    if opens and not finding:
        return True
    if not (closed or segment.says or skipped or whole or denied):
        return False
    return segment.says or skipped or not (place and finding)


def _is_whole(wanted: Item, part: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether what is wanted was told, or is its place: "stone in the kidney; the kidney"."""
    if _is_finding(wanted, lexicon):
        found = [i for i in part if i.kind == "mention" and lexicon.is_finding(i.value)]
        return len(found) > 0 and any(_is_named(i, wanted) for i in found)
    name = wanted.value.forms[0].concept
    found = [i for i in part if i.kind in _NAMES]
    places = [i.value.forms[0].concept for i in found if not _is_finding(i, lexicon)]
    return name in places and len(places) < len(found)


def _is_finding(item: Item, lexicon: Lexicon) -> bool:
    return item.kind != "mention" or lexicon.is_finding(item.value)


def _meant_again(
    items: list[Item], told: Sequence[int], asked: Sequence[int], lexicon: Lexicon
) -> list[int]:
    """What is told and asked for in other words: "a TIPS; outline the shunt"."""
    first = asked[0]
    item = items[first]
    if any(i.kind == "side" for i in items[max(0, first - 3) : first]):
        return []
    findings = [at for at in told if lexicon.is_finding(items[at].value)]
    word = item.text.lower()
    whole = not _is_finding(item, lexicon)  # "fatty liver; outline the liver"
    exact = [at for at in (told if whole else findings) if _is_named(items[at], item)]
    if whole:
        exact = [at for at in exact if _stands_alone(items, at, findings, item)]
    roots = _ROOTS.get(word.removesuffix("s"), (word,))
    alike = [at for at in findings if any(r in items[at].value.forms[0].concept for r in roots)]
    vague = findings if word in _LUMPS else alike if item.kind == "generic" else []
    if _has_place(items, asked, lexicon):
        return []
    again = exact or vague
    if again:
        blank(items, first, first + 1)
        end = end_of(items, first, (*_SEPARATORS, "exclude"))
        while end < len(items) and not _closes(items[end]):  # "…, not the pancreas"
            following = items[end + 1 : end + 2]
            if following and following[0].kind.startswith(("neg_", "exclude")):
                blank(items, end, end_of(items, end + 1, _SEPARATORS))
            end = end_of(items, end + 1, _SEPARATORS)
    spans = [range(at, end_of(items, at, _SEPARATORS)) for at in exact]
    for at in (at for span in spans for at in span if at not in exact):
        if items[at].kind in _NAMES and _is_finding(items[at], lexicon):
            blank(items, at, at + 1)  # "phleboliths mimic stones; outline the phleboliths"
    categories = _KINDS.get(word.removesuffix("s"), frozenset())
    for at in [] if again else told:
        form = items[at].value.forms[0]
        if not lexicon.is_finding(items[at].value) and (
            lexicon.tree.concept(form.concept).category in categories
        ):
            items[first] = items[at]  # "a stent in the artery; outline the vessel"
    return again


def _stands_alone(items: Sequence[Item], at: int, findings: Sequence[int], item: Item) -> bool:
    """Whether a structure is told with its size and no finding, and then asked for again."""
    start = max((n for n in range(at) if items[n].kind in _SEPARATORS), default=-1)
    span = range(start + 1, end_of(items, at, _SEPARATORS))
    same = items[at].kind == item.kind and (
        items[at].value.forms[0].concept == item.value.forms[0].concept
    )
    sized = any(items[n].kind == "size" for n in span)
    return same and sized and not any(n in span for n in findings)


def _has_place(items: Sequence[Item], asked: Sequence[int], lexicon: Lexicon) -> bool:
    """Whether what is asked for is told with the place where it is."""
    return any(
        at > asked[0]
        and not _is_finding(items[at], lexicon)
        and items[at].kind == "mention"
        and any(i.kind == "in" for i in items[asked[0] : at])
        for at in asked[:2]
    )


def _is_named(told: Item, item: Item) -> bool:
    name = told.value.forms[0].concept
    same = item.kind == "mention" and item.value.forms[0].concept == name
    word = item.text.lower().removesuffix("s")
    return same or word in (name.split(" ")[-1], told.text.lower().split(" ")[-1].removesuffix("s"))


def _closes(item: Item) -> bool:
    return item.kind in ("stop", "but", "question_mark")


def _sides(
    items: Sequence[Item],
    context: Sequence[_Segment],
    told: Sequence[int],
    asked: Sequence[int],
    lexicon: Lexicon,
) -> list[tuple[int, str]]:
    """Where a side is to be put before what is asked for, in the order of the text."""
    said = {s for part in context for i in items[part.start : part.end] for s in _said(i)}
    if len(said) != 1 or any(_said(items[at]) for at in asked):
        return []
    (side,) = said
    regions = {lexicon.tree.concept(items[at].value.forms[0].concept).region for at in told}
    if not any(lexicon.is_finding(items[at].value) for at in told):
        regions |= {near for pair in _NEAR for near in pair if regions & pair}
    anywhere = not told  # "left knee MRI, mark the patella"
    result = []
    for at in asked:
        if items[at].kind != "mention" or any(i.kind == "side" for i in items[max(0, at - 3) : at]):
            continue
        form = items[at].value.forms[0]
        concept = lexicon.tree.concept(form.concept)
        free = form.side is None and concept.side_rule in ("paired", "any")
        if free and (anywhere or concept.region in {*regions, "whole body"}):
            result.append((at, side))
    return result


def _said(item: Item) -> list[str]:
    if item.kind == "side":
        return [item.value]
    if item.kind != "mention":
        return []
    return [s for s in (*item.value.sides, item.value.forms[0].side) if s]
