"""What a text asks for beside what it tells: "He has a TIPS. Outline the liver." asks for a liver.

Where a segment of a text asks for something by name, what others only tell is no target; it gives
its side to what is asked for, if that lies there and says none: "MRI of the left knee; I need the
meniscus".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.asking import (
    NAMES,
    SEPARATORS,
    WORDS,
    Segment,
    any_named,
    asks_for_it,
    object_of,
    said_words,
    segments_of,
)
from textseg3d.text.grammar.counterpart import is_of_a_pair, last_word
from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.pronouns import other_one, parted

_CUTTING = ("stop", "but", "question_mark")
_THAT = frozenset(("it", "this", "that", "which", "its"))
_REASONS = tuple(
    f"{who} {wish} to {verb} "
    for who in ("i", "we")
    for wish in ("want", "need", "have", "would like", "wish")
    for verb in ("measure", "compare", "check", "calculate", "quantify", "know", "assess")
)
_REASONS += tuple(
    f"{who} {wish} to {verb} "
    for who in ("i", "we")
    for wish in ("want", "need", "have", "would like", "wish")
    for verb in ("rule out", "see if", "see whether", "find out", "decide", "make sure")
)
_THERE = ("there is", "there are", "there's", "there is also", "there are also")
_CLOSING = ("stop", "question_mark")
_NEAR = ({"pelvis", "lower limb"}, {"thorax", "upper limb"}, {"head", "brain", "neck"})
_ROOTS = {"stone": ("stone", "lith", "calcul"), "cyst": ("cyst",), "nodule": ("nodul",)}
_ROOTS |= {"aneurysm": ("aneurysm",), "fracture": ("fractur",), "clot": ("thromb", "embol")}
_ROOTS |= {"blood": ("hematoma", "hemorrhage"), "thrombu": ("embol", "thromb")}
_KINDS = {"vessel": frozenset(("artery", "vein", "vessel")), "organ": frozenset(("organ", "gland"))}
_KINDS |= {kind: frozenset((kind,)) for kind in ("bone", "muscle", "nerve", "joint", "artery")}
_KINDS |= {kind: frozenset((kind,)) for kind in ("vein", "tendon", "ligament", "gland", "tooth")}


def only_asked(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, those that are only told beside a request made fillers."""
    items = _left_out(other_one(parted(_without_more(items)), lexicon), lexicon)
    segments = list(segments_of(items))
    asking = [s for s in segments if s.asks and object_of(items, s) is not None]
    further = (said_words(items[s.start : s.end]) & WORDS["further"] for s in segments if s.asks)
    if any(further):
        return items
    if not asking:
        return _the_latest(items, segments, lexicon)
    context = [s for s in segments if _is_told(s, segments, items, lexicon)]
    if not context:
        return items
    result = list(items)
    told = [at for s in context for at in range(s.start, s.end) if items[at].kind == "mention"]
    asked = [at for s in asking for at in range(s.start, s.end) if items[at].kind in NAMES]
    before = [at for at in told if at < asked[0]]
    kept = _meant_again(result, before, asked, lexicon)
    if not kept and result[asked[0]].kind == "tail":
        return items
    sides = [] if kept else _sides(result, context, told, asked, lexicon)
    sides += [] if kept else _sizes(result, context, asked)
    sentences = {_sentence(items, at) for at in kept}
    for segment in context:
        span = range(segment.start, segment.end)
        others = any(_is_finding(result[at], lexicon) for at in told if at in span)
        others |= _sentence(items, segment.start) not in sentences and any_named(
            items[span.start : span.stop]
        )
        if not kept or (others and not any(at in span for at in kept)):
            blank(result, segment.start, segment.end)
        if segment.closed == "question_mark":
            result[segment.end] = Item("stop", None, ".")
    for at, item in sorted(sides, key=lambda pair: pair[0], reverse=True):
        result.insert(at, item)
    return result


def _without_more(items: Sequence[Item]) -> Sequence[Item]:
    """The items without "there is some on the left as well" behind what is asked for."""
    result = list(items)
    for at, item in enumerate(items):
        there = items[at + 1 : at + 2] and items[at + 1].text.lower() in _THERE
        before = items[max(0, at - 20) : at] if there and item.kind in SEPARATORS else ()
        if not any_named(before) or not said_words(before) & WORDS["verbs"]:
            continue
        end = end_of(items, at + 1, SEPARATORS)
        part = items[at + 1 : end]
        if not any_named(part) and any(i.kind == "side" for i in part):
            blank(result, at + 1, end)
    return result


def _left_out(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "outline the liver without the lesions." as a request, which denies no lesions.

    Likewise "… and leave the lesions out": they are cut out of the liver's mask.
    """
    organ = False
    asked = False
    for segment in segments_of(items):
        part = [i for i in items[segment.start : segment.end] if i.kind not in ("and", "filler")]
        if asked and items[segment.start - 1].kind in ("stop", "and") and _excludes(part, lexicon):
            blank(items, segment.start, segment.end)  # "outline the liver. Not the stomach."
        at = object_of(items, segment) if segment.asks else None
        asked |= at is not None
        organ |= at is not None and not _is_finding(items[at], lexicon)
        for place in range(segment.start, segment.end) if organ else ():
            names = [i for i in items[place : segment.end] if i.kind in NAMES]
            findings = names != [] and all(_is_finding(i, lexicon) for i in names)
            leaves = place == segment.start and said_words([items[place]]) & WORDS["leaving"]
            without = items[place].kind == "without"
            if findings and (leaves or without):
                items[place] = replace(items[place], kind="exclude", value=None)
        organ &= segment.closed != "stop"
    return items


def _excludes(part: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a sentence says no more than "but not the stomach"."""
    named = [item for item in part if item.kind in NAMES]
    first = [item.kind for item in part[:1]]
    plain = {item.kind for item in part[1:]} <= {"mention", "side", "determiner", "comma", "or"}
    structures = named != [] and not any(_is_finding(item, lexicon) for item in named)
    device = named != [] and all(_is_device(item, lexicon) for item in named)
    return first == ["exclude"] and plain and (structures or device)


def _is_device(item: Item, lexicon: Lexicon) -> bool:
    if item.kind != "mention":
        return False
    return lexicon.tree.concept(item.value.forms[0].concept).category == "device"


def _sentence(items: Sequence[Item], at: int) -> int:
    """Where the sentence of an item begins."""
    return max((n for n in range(at) if items[n].kind in _CUTTING), default=-1) + 1


def _the_latest(items: list[Item], segments: Sequence[Segment], lexicon: Lexicon) -> list[Item]:
    """The items, where "it" is asked for without what was told before the last finding."""
    asks = next((s for s in segments if s.asks), None)
    if asks is None:
        return items
    told = [at for at in range(asks.start) if items[at].kind in ("mention", "generic")]
    findings = [at for at in told if _is_finding(items[at], lexicon)] or told
    result = list(items)
    for segment in segments:  # "outline it, but not the clip"
        part = items[segment.start : segment.end]
        apart = part[0].kind in ("exclude", "without", "neg_attr")
        apart |= bool(said_words(part[:1]) & WORDS["leaving"])
        meant = segment.asks and asks_for_it(items, segment)
        if (segment.start > asks.start and apart) or meant:
            blank(result, segment.start, segment.end)
        if meant and segment.closed == "question_mark":
            result[segment.end] = Item("stop", None, ".")
    if not findings or not said_words(items[asks.start : asks.end]) & _THAT:
        return result
    start = _sentence(items, findings[-1])
    colon = next((n for n in range(findings[-1]) if items[n].kind == "colon"), 0)
    if colon > start and any(start <= at < colon for at in findings):
        start = colon + 1  # "swelling since Monday: a stone of 6 mm lies in the duct"
    while start > 0 and said_words(items[start : start + 1]) & WORDS["back"]:
        start = _sentence(items, start - 1)
    dropped = [at for at in told if at < start]
    if not dropped or any(items[at].kind.startswith(("neg_", "unc_")) for at in range(start)):
        return result
    context = [s for s in segments if s.end <= start]
    asked = [at for at in findings if at >= start]
    named = [at for at in dropped if items[at].kind == "mention"]
    sides = _sides(result, context, named, asked, lexicon)
    blank(result, 0, start)
    for at, item in reversed(sides):
        result.insert(at, item)
    return result


def _sizes(
    items: Sequence[Item], context: Sequence[Segment], asked: Sequence[int]
) -> list[tuple[int, Item]]:
    """The one size that is told of "this empyema", where it is to be put."""
    first = asked[0]
    told = [i for s in context for i in items[s.start : s.end] if i.kind == "size"]
    this = said_words(items[max(0, first - 2) : first]) & {"this", "that", "these", "those"}
    own = any(item.kind == "size" for item in items[first - 3 :])
    return [(first, told[0])] if len(told) == 1 and this and not own else []


def _is_told(
    segment: Segment, segments: Sequence[Segment], items: Sequence[Item], lexicon: Lexicon
) -> bool:
    """Whether a segment is beside what the text asks for."""
    part = items[segment.start : segment.end]
    denied = any(item.kind.startswith("neg_") for item in part)
    told = [item for item in part if item.kind not in ("filler", "question")] or part
    said = " ".join(item.text.lower() for item in part)
    skipped = told[0].text.lower() in WORDS["skipped"]
    unwanted = said.endswith(("not be included", "must not", "should not", "be left out"))
    unwanted |= bool(said_words(part) & (WORDS["unwanted"] | WORDS["gone"]))
    skipped |= bool(said_words(told[:1]) & WORDS["leaving"])
    skipped |= "never" in said_words(part)
    skipped |= said.endswith((" out", " out of it")) and said.startswith("keep")
    skipped |= part[0].kind == "without" and part[1:2] != [] and part[1].text.endswith("ing")
    first = part[0].text.lower().split(" ")[0]
    wonders = segment.closed == "question_mark" and first in ("how", "what", "does", "is", "has")
    told_before = any(s.asks and s.end <= segment.start for s in segments)
    reason = told_before and said.startswith(_REASONS)  # "I want to measure its fat fraction"
    skipped |= reason
    asks = segment.asks and not wonders and not reason
    if asks or (denied and not unwanted and not skipped and any_named(part)):
        return False
    if any(item.kind == "exclude" for item in part) and not skipped:
        return False
    at = segments.index(segment)
    later = [s for s in segments[at + 1 :] if s.asks and object_of(items, s) is not None]
    if not later:
        asked = next((n for s in segments if s.asks for n in [object_of(items, s)] if n), None)
        organ = asked is not None and not _is_finding(items[asked], lexicon)
        named = [item for item in part if item.kind in NAMES]
        if (
            skipped
            and not reason
            and organ
            and named
            and all(_is_finding(i, lexicon) for i in named)
        ):
            return False  # "the liver, and ignore the lesions" leaves them out of the mask
        tells = any(item.kind in (*NAMES, "side") for item in part)
        begin = part[:2] if part[1:2] and part[1].kind != "mention" else part[:1]
        back = said_words(begin) & WORDS["back"] and not said_words(part) & WORDS["scans"]
        return (segment.says or skipped) and not back and tells
    finding = any(_is_finding(i, lexicon) for i in part if i.kind in NAMES)
    closed = finding and segment.closed == "colon"  # "proptosis on the left: outline the mass"
    closed |= any(s.closed in _CLOSING for s in segments[at : segments.index(later[0])])
    closed |= finding and _is_operated(part, lexicon)  # "right nephrectomy; outline the …"
    sided = said_words(part) & {"each", "both", "either", "every"}
    if not sided and all(i.kind not in (*NAMES, "side", "size", "order") for i in part):
        return True  # strange words say nothing of what is asked for
    wanted = next(items[n] for n in [object_of(items, later[0])] if n is not None)
    whole = _is_whole(wanted, part, lexicon)
    finding = wanted.kind != "mention" or lexicon.is_finding(wanted.value)
    named = [item for item in part if item.kind in NAMES]
    place = bool(named) and not any(_is_finding(item, lexicon) for item in named)
    opens = place and bool(said_words(part[:1]) & WORDS["opening"])  # "in the hip, find …"
    place &= not any(_is_finding(i, lexicon) for i in items[: segment.start] if i.kind in NAMES)
    if (opens and not finding) or said_words(part[:1]) & {"before", "prior", "ahead"}:
        return True
    if not (closed or segment.says or skipped or whole or denied):
        return False
    return segment.says or skipped or not (place and finding)


def _is_operated(part: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether all that a segment names are states after surgery."""
    names = [item for item in part if item.kind in NAMES]
    return all(
        item.kind == "mention"
        and lexicon.tree.concept(item.value.forms[0].concept).category == "postoperative"
        for item in names
    )


def _is_whole(wanted: Item, part: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether what is wanted was told, or is its place: "stone in the kidney; the kidney"."""
    blood = wanted.text.lower() in _ROOTS
    if _is_finding(wanted, lexicon) or blood:
        found = [i for i in part if i.kind == "mention" and lexicon.is_finding(i.value)]
        return any(_is_named(i, wanted) or _is_alike(i, wanted) for i in found)
    name = wanted.value.forms[0].concept
    found = [i for i in part if i.kind in NAMES]
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
    own = items[max(0, first - 3) : end_of(items, first, ("stop", "but", "question_mark"))]
    if any(i.kind in ("side", "size", "order", "rank") for i in own):
        return []
    findings = [at for at in told if lexicon.is_finding(items[at].value)]
    word = item.text.lower()
    whole = not _is_finding(item, lexicon)  # "fatty liver; outline the liver"
    exact = [at for at in (told if whole else findings) if _is_named(items[at], item)]
    if whole:
        exact = [at for at in exact if _stands_alone(items, at, findings, item)]
    alike = [at for at in findings if _is_alike(items[at], item)]
    vague = findings if word in WORDS["lumps"] else alike
    if _has_place(items, asked, lexicon):
        return []
    again = exact or vague
    if again:
        this = first > 0 and items[first - 1].text.lower() in ("this", "that", "these")
        blank(items, first - this, first + 1)
        end = end_of(items, first, SEPARATORS)
        while end < len(items) and not _closes(items[end]):  # "…, not the pancreas"
            following = items[end + 1 : end + 2]
            if following and following[0].kind.startswith(("neg_", "exclude")):
                blank(items, end, end_of(items, end + 1, SEPARATORS))
            end = end_of(items, end + 1, SEPARATORS)
    spans = [range(at, end_of(items, at, SEPARATORS)) for at in exact]
    for at in (at for span in spans for at in span if at not in exact):
        if items[at].kind in NAMES and _is_finding(items[at], lexicon):
            blank(items, at, at + 1)  # "phleboliths mimic stones; outline the phleboliths"
    categories = _KINDS.get(word.removesuffix("s"), frozenset())
    for at in [] if again else told:
        form = items[at].value.forms[0]
        same = whole and form.concept.split(" ")[-1] == word.removesuffix("s")
        kind = lexicon.tree.concept(form.concept).category in categories
        if not lexicon.is_finding(items[at].value) and (kind or same):
            items[first] = items[at]  # "a stent in the artery; outline the vessel"
    return again


def _stands_alone(items: Sequence[Item], at: int, findings: Sequence[int], item: Item) -> bool:
    """Whether a structure is told with its size and no finding, and then asked for again."""
    start = max((n for n in range(at) if items[n].kind in SEPARATORS), default=-1)
    span = range(start + 1, end_of(items, at, SEPARATORS))
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
        and not said_words(items[asked[0] : at]) & WORDS["scans"]
        for at in asked[:2]
    )


def _is_alike(told: Item, item: Item) -> bool:
    """Whether "the clot" is the embolism that was told, "the stone" the rhinolith."""
    word = item.text.lower().removesuffix("s")
    name = told.value.forms[0].concept
    own = item.kind == "generic" and word in name
    return own or any(root in name for root in _ROOTS.get(word, ()))


def _is_named(told: Item, item: Item) -> bool:
    name = told.value.forms[0].concept
    same = item.kind == "mention" and item.value.forms[0].concept == name
    word = item.text.lower().removesuffix("s")
    if item.kind == "mention":
        same |= item.value.forms[0].concept.split(" ")[-1] == name.split(" ")[-1]
    return same or word in (name.split(" ")[-1], told.text.lower().split(" ")[-1].removesuffix("s"))


def _closes(item: Item) -> bool:
    return item.kind in ("stop", "but", "question_mark")


def _sides(
    items: Sequence[Item],
    context: Sequence[Segment],
    told: Sequence[int],
    asked: Sequence[int],
    lexicon: Lexicon,
) -> list[tuple[int, Item]]:
    """Where a side is to be put before what is asked for, in the order of the text."""
    said = {s for part in context for i in items[part.start : part.end] for s in _said(i)}
    if len(said) != 1 or any(_said(items[at]) for at in asked):
        return []
    (side,) = said
    clause = items[max(0, asked[0] - 3) : end_of(items, asked[-1], ("stop",))]
    if any(item.kind == "side" or last_word(item) == "other" for item in clause):
        return []  # "… the scaphoid of the other hand"
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
        if concept.side_rule == "paired" and at and is_of_a_pair(items[at - 1]):
            continue  # "the tumor is on the left; the other kidney"
        free = form.side is None and concept.side_rule in ("paired", "any")
        if free and (anywhere or concept.region in {*regions, "whole body"}):
            result.append((at, Item("side", side, side)))
    return result


def _said(item: Item) -> list[str]:
    if item.kind == "side":
        return [item.value]
    if item.kind != "mention":
        return []
    return [s for s in (*item.value.sides, item.value.forms[0].side) if s in ("left", "right")]
