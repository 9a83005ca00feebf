"""What a request says beside its names: what to hide, what for, what is missing from a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.besides import as_statements, without_besides
from textseg3d.text.grammar.examination import without_examination
from textseg3d.text.grammar.items import CLAUSE_ENDS, Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.predicates import as_findings
from textseg3d.text.grammar.twoplaces import with_both_places
from textseg3d.text.grammar.undenied import without_denials
from textseg3d.text.grammar.wholes import through_wholes

_HIDING = frozenset(("hide", "remove", "suppress", "delete", "erase", "drop", "blank", "clear"))
_HIDING |= {"ignore", "disregard", "discard"}
_HIDING |= {"crop", "mask out", "hiding", "removing", "discard", "leave out", "strip", "mute"}
_MASKS: tuple[str, ...] = (
    "mask",
    "masks",
    "label",
    "labels",
    "contour",
    "contours",
    "segmentation",
    "outline",
)
_MASKS += ("segmentations", "outlines", "mask for", "masks for", "segmentation for", "mask of")
_MASKS += ("masks of", "segmentation of", "segmentations of", "outline of", "contour of")
_TOPIC = frozenset(("study", "studies", "project", "paper", "research", "thesis", "planning"))
_TOPIC |= {"trial", "review", "talk", "lecture", "cohort", "survey", "manuscript", "article"}
_UNWANTED = frozenset(("interest", "use", "relevance", "importance", "concern", "value"))
_STORES = frozenset(("set", "dataset", "list", "annotation", "annotations", "labels", "masks"))
_STORES |= {"segmentation", "export", "file", "files", "folder", "batch", "output", "labelmap"}
_STORES |= {"results", "result", "delivery", "atlas", "database", "collection", "map"}
_NEEDED = (
    "needed",
    "required",
    "wanted",
    "necessary",
    "requested",
    "relevant",
    "asked",
    "of interest",
)
_LOOSE = ("filler", "determiner", "attr", "count", "unknown", "side")
_UNITS = frozenset(("years", "year", "months", "month", "weeks", "week", "days", "day", "hours"))
_TIMES = frozenset(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"))
_TIMES |= {"tomorrow", "tonight", "noon", "today", "next", "then", "evening", "lunch", "end"}
_SLICES = frozenset(("slice", "slices", "section", "spacing", "increment", "gap", "reconstruction"))
_EYES = {"OD": "right", "OS": "left", "OU": "both"}
_MEASURES = frozenset(("displacement", "depression", "separation", "diastasis", "distraction"))
_MEASURES |= {"retropulsion", "subsidence", "thickness", "depth", "length", "widening", "gap"}
_PARTS_OF_ARTERIES = tuple(f"{letter}{n}" for letter in "vmap" for n in range(1, 5))
_COLORS = frozenset(
    ("red", "green", "blue", "yellow", "orange", "purple", "pink", "cyan", "magenta")
)
_COLORS |= {"brown", "gray", "grey", "violet", "turquoise", "gold"}
_SKIPPED = ("ignore", "skip", "disregard", "forget", "omit", "never mind", "forget about")


def asked_for(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text, those of a request that ask for nothing made fillers."""
    items = as_findings(with_both_places(items, lexicon), lexicon)
    result = without_denials(as_statements(items), lexicon)
    result = without_besides(result, lexicon)
    result = _before_a_procedure(_imperative(without_examination(result, lexicon), lexicon))
    result = _listed_organs(result)
    result = _only_these(result)
    result = _set_aside(result)
    result = _missing(result)
    result = _purposes(result, lexicon)
    result = _in_colors(_masks(result))
    result = _technique(result)
    result = _eyes(result, lexicon)
    result = _measured(_repeated_heads(result, lexicon))
    result = _own_parts(through_wholes(result, lexicon), lexicon)
    result = _of_these(result, lexicon)
    return _each(result, lexicon)


def _begins(items: Sequence[Item], at: int) -> bool:
    """Whether a clause begins at ``at``, polite words passed over."""
    while at > 0 and items[at - 1].kind in ("filler", "question"):
        at -= 1
    return at == 0 or items[at - 1].kind in (*CLAUSE_ENDS, "colon")


def _named(items: Sequence[Item]) -> bool:
    return any(item.kind == "mention" for item in items)


def _structure(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "mention" and not lexicon.is_finding(item.value)


def _imperative(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "CT thorax, segment airways" as the verb, not as segmental airways."""
    for at, item in enumerate(items):
        if item.kind == "attr" and item.text.lower() == "segment" and _begins(items, at):
            items[at] = replace(item, kind="filler", value=None)
        first, _, rest = item.text.lower().partition(" ")
        if item.kind == "mention" and first == "segment" and rest and _begins(items, at):
            forms = tuple(f for f in lexicon.named(rest) if f.source != "adjective")
            if forms:
                items[at] = replace(item, value=Match(item.value.end, forms, (), rest), text=rest)
    return items


def _before_a_procedure(items: list[Item]) -> list[Item]:
    """Passes over "before embolisation" and "prior to her transplant", whatever they are called."""
    for at, item in enumerate(items):
        if item.kind == "filler" and item.text.lower() in ("before", "prior to", "ahead of"):
            end = end_of(items, at + 1, (*CLAUSE_ENDS, "colon", "and"))
            if all(i.kind in ("tail", "attr", *_LOOSE) for i in items[at + 1 : end]):
                colon = items[end : end + 1] and items[end].kind == "colon"
                blank(items, at, end + 1 if colon and not _named(items[:at]) else end)
    return items


def _listed_organs(items: list[Item]) -> list[Item]:
    """Passes over "organs needed:" and the numbers of a list: "1) stomach 2) duodenum"."""
    colon = end_of(items, 0, ("colon",))
    head = items[:colon] if colon < len(items) else []
    kinds = {item.kind for item in head}
    if ("generic" in kinds and kinds <= {"generic", "filler", "unknown", "be", "determiner"}) and (
        any(item.text.lower() in ("organ", "organs", "structures", "structure") for item in head)
    ):
        blank(items, 0, colon + 1)
    for at, item in enumerate(items[:-2]):
        if item.kind == "count" and items[at + 1].text == ")":
            listed = at == 0 or items[at - 1].kind in (
                "mention",
                "colon",
                *CLAUSE_ENDS,
                "filler",
                "and",
            )
            opened = any(other.text == "(" for other in items[:at])
            if listed and not opened:
                items[at] = replace(item, kind="filler", value=None, text="")
                items[at + 1] = replace(items[at + 1], text=",")
    return items


def _only_these(items: list[Item]) -> list[Item]:
    """Reads "hide everything but the femur" and "anything other than it is of no interest"."""
    for at, item in enumerate(items):
        if (item.kind == "neg_pre" and at + 1 < len(items)) and (
            items[at + 1].text.lower() in _UNWANTED
        ):
            items[at] = replace(item, kind="unwanted")
    for at, item in enumerate(items):
        if item.kind != "generic" or item.value != "structure" or at + 1 >= len(items):
            continue
        place = at + 1
        while place < len(items) and items[place].kind == "filler":
            place += 1
        if place >= len(items) or items[place].kind not in ("but", "exclude"):
            continue
        start = at
        while start > 0 and items[start - 1].kind not in (*CLAUSE_ENDS, "colon"):
            start -= 1
        end = end_of(items, place + 1, ("but", "stop"))
        said = " ".join(other.text.lower() for other in items[start:at])
        hidden = bool(_HIDING & {said, *said.split(" ")})
        unwanted = [n for n in range(place, end) if _unimportant(items[n])]
        if not _named(items[place:end]) or not (hidden or unwanted):
            continue
        blank(items, start, place + 1)
        for first in unwanted[:1]:
            while first > 0 and items[first - 1].kind in ("in", "be", "filler"):
                first -= items[first - 1].kind != "side"
            blank(items, first, end)
    return [replace(i, kind="neg_pre") if i.kind == "unwanted" else i for i in items]


def _unimportant(item: Item) -> bool:
    words = {"irrelevant", "unimportant", "unneeded", "superfluous", "unwanted", "uninteresting"}
    words |= {"blank", "hidden", "black", "zero", "background", "invisible", "gone"}
    return item.kind == "unwanted" or item.text.lower() in words


def _set_aside(items: list[Item]) -> list[Item]:
    """Leaves out "Ignore the bones;" and "Do not touch the other labels," before a request."""
    start = 0
    while start < len(items):
        end = end_of(items, start)
        clause = items[start:end]
        told = [item for item in clause if item.text.lower() not in ("please", "")]
        first = told[0] if told else Item("", None, "")
        skips = first.kind == "exclude" and first.text.lower() in _SKIPPED
        skips &= end < len(items) and items[end].kind in ("but", "stop")
        kinds = [item.kind for item in told[:3]]
        spares = kinds[:2] == ["filler", "neg_attr"] or kinds[:1] == ["neg_attr"]
        spares &= first.text.lower() in ("do", "not", "please do", "do not") and not _named(clause)
        if (skips or spares) and _named(items[end:]) and not _named(items[:start]):
            blank(items, start, end + 1)
        _not_needed(items, start, end)
        start = end + 1
    return items


def _not_needed(items: list[Item], start: int, end: int) -> None:
    """Leaves out the clause "spleen not required" beside what is asked for."""
    for at in range(start, end - 1):
        refused = items[at].kind == "neg_attr" and items[at].text.lower().split(" ")[-1] == "not"
        if not (refused and items[at + 1].text.lower() in _NEEDED):
            continue
        if _named([*items[:start], *items[end:]]):
            blank(items, start, end)
        else:
            items[at] = replace(items[at], kind="neg_post")


def _missing(items: list[Item]) -> list[Item]:
    """Reads "missing: right kidney" and "hyoid bone missing from the set" as requests."""
    for at, item in enumerate(items):
        words = item.text.lower().split(" ")
        following = items[at + 1] if at + 1 < len(items) else Item("", None, "")
        if "missing" not in words or item.kind == "filler":
            continue
        if following.kind == "colon" and not _named(items[:at]):
            blank(items, at, at + 2)
        elif following.kind == "in" and following.text.lower() in ("from", "in"):
            end = end_of(items, at)
            end = next((n for n in range(at, end) if items[n].kind == "colon"), end)
            if _STORES & {word for i in items[at:end] for word in i.text.lower().split(" ")}:
                blank(items, at, end)
    return items


def _purposes(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Leaves out what a study is on: "for our study on sarcopenia we need the psoas muscle"."""
    findings = {at for at, i in enumerate(items) if i.kind == "mention"}
    for at, item in enumerate(items):
        if item.text.lower().split(" ")[-1] not in _TOPIC or item.kind not in ("filler", "unknown"):
            continue
        place = at + 1
        if place >= len(items) or items[place].kind != "in":
            continue
        place += 1
        while place < len(items) and items[place].kind in _LOOSE:
            place += 1
        if (place < len(items) and items[place].kind == "mention" and findings - {place}) and (
            lexicon.is_finding(items[place].value)
        ):
            blank(items, at + 1, place + 1)
            findings.discard(place)
    return items


def _in_colors(items: list[Item]) -> list[Item]:
    """Leaves out how a mask is to be drawn: "the left kidney in red"."""
    for at in range(1, len(items)):
        if items[at].text.lower() in _COLORS and items[at - 1].text.lower() == "in":
            blank(items, at - 1, at + 1)
    return items


def _masks(items: list[Item]) -> list[Item]:
    """Reads "any chance of a mask", "we lack masks for", "a separate label for" as asking."""
    for at, item in enumerate(items):
        text = item.text.lower()
        if (item.kind == "filler" and text.split(" ")[-1] in _MASKS and at + 1 < len(items)) and (
            items[at + 1].kind == "in" and items[at + 1].text.lower() in ("for", "of")
        ):
            items[at + 1] = replace(items[at + 1], kind="filler", value=None)
        if item.kind not in ("unc_pre", "tail", "unknown", "neg_pre"):
            continue
        place = at + 1
        while place < len(items) and items[place].kind in ("determiner",):
            place += 1
        asks = place < len(items) and items[place].kind == "filler"
        lacking = text in ("lack", "lacking", "miss", "missing")
        word = items[place].text.lower().removesuffix(" for").removesuffix(" of") if asks else ""
        if word.split(" ")[-1] in _MASKS and (item.kind == "unc_pre" or lacking):
            blank(items, at, place)
    return items


def _technique(items: list[Item]) -> list[Item]:
    """Leaves out "Slice thickness: 3 mm", "(female pelvis, T2)" and "unchanged for six years"."""
    for at, item in enumerate(items):
        words = item.text.lower().split(" ")
        if item.kind in ("filler", "unknown") and _SLICES & set(words):
            place = at + 1
            while place < len(items) and items[place].kind in ("filler", "colon", "be"):
                place += 1
            if place < len(items) and items[place].kind == "size":
                blank(items, at, place + 1)
        if item.text == "(":
            end = next((n for n in range(at, len(items)) if items[n].text == ")"), at)
            inside = items[at + 1 : end]
            if {i.text.lower() for i in inside} & {"female", "male"}:
                blank(items, at + 1, end)
        if item.kind == "unknown" and item.text.lower() in _UNITS:
            start = at
            while start > 0 and items[start - 1].kind in ("count", "filler", "determiner"):
                start -= 1
            if start > 0 and items[start - 1].kind == "in":
                blank(items, start - 1, at + 1)
        later = items[at + 1].text.lower() if at + 1 < len(items) else ""
        if item.text.lower() == "by" and later in _TIMES:
            blank(items, at, at + 1)
    said = {word for item in items for word in item.text.lower().split(" ")}
    if said & {"vertebral", "mca", "aca", "pca"} or {"cerebral", "artery"} <= said:
        for at, item in enumerate(items):  # V1 to V4 of the vertebral artery, M1 of the middle one
            if item.text.lower() in _PARTS_OF_ARTERIES:
                items[at] = replace(item, kind="filler", value=None)
    return items


def _repeated_heads(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Passes over "artery" in "AComm artery": the short name has it."""
    for at, item in enumerate(items[1:], 1):
        before = items[at - 1]
        if item.kind != "mention" or not _structure(before, lexicon) or " " in before.text:
            continue
        names = {form.concept.rpartition(" ")[2] for form in before.value.forms}
        if names == {item.text.lower()} and before.text.lower() != item.text.lower():
            blank(items, at, at + 1)
    return items


def _eyes(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "OD", "OS" and "OU" beside something of the head as the right, left and both eyes."""
    values = [item.value for item in items if item.kind == "mention"]
    if any(lexicon.tree.concept(v.forms[0].concept).region == "head" for v in values):
        for at, item in enumerate(items):
            if item.text in _EYES:
                items[at] = replace(item, kind="side", value=_EYES[item.text])
    return items


def _measured(items: list[Item]) -> list[Item]:
    """Reads "with 5 mm of displacement" as a size of the finding before."""
    for at in range(len(items) - 3):
        kinds = [item.kind for item in items[at : at + 3]]
        if kinds == ["with", "size", "in"] and items[at + 3].text.lower() in _MEASURES:
            blank(items, at, at + 1)
            blank(items, at + 2, at + 4)
    return items


def _own_parts(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the pacemaker and its leads" as the pacemaker and the pacemaker leads."""
    last: Item | None = None
    for at, item in enumerate(items):
        if last is not None and at and items[at - 1].text.lower() == "its":
            word = item.text.lower()
            whole = last.value.surface
            names = (f"{whole} {word}", f"{word} of {whole}", f"{word} of the {whole}")
            found = (lexicon.named(name) for name in names)
            forms = next((f for f in found if f), ())
            if forms and item.kind in ("tail", "unknown", "mention", "generic"):
                items[at] = Item("mention", Match(at + 1, forms, (), names[0]), item.text)
        if item.kind == "mention":
            last = item
    return items


def _of_these(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "of the left ribs only the eleventh" as the left eleventh rib."""
    if not items or items[0].text.lower() not in ("of", "out of", "among", "from"):
        return items
    named = [at for at, item in enumerate(items) if item.kind == "mention"]
    ranks = [at for at, item in enumerate(items) if item.kind == "rank"]
    if len(named) != 1 or not ranks or ranks[0] < named[0]:
        return items
    match: Match = items[named[0]].value
    for at in ranks:
        for form in match.forms[:1]:
            single = form.concept
            for name in (f"{items[at].text} {single}", f"{items[at].text} {match.surface}"):
                forms = lexicon.named(name.lower())
                if forms and forms[0].concept != form.concept:
                    items[at] = replace(
                        items[at], kind="mention", value=match._replace(forms=forms, surface=name)
                    )
                    break
    if all(items[at].kind == "mention" for at in ranks):
        blank(items, 0, 1)
        blank(items, named[0], named[0] + 1)
    return items


def _each(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "each hippocampus" as both of them."""
    result: list[Item] = []
    if any(item.kind == "side" for item in items):
        return items  # "every rib on the left"
    for at, item in enumerate(items):
        following = items[at + 1] if at + 1 < len(items) else None
        each = item.text.lower() in ("each", "each of the", "every") and following is not None
        if each and following is not None and _structure(following, lexicon):
            form = following.value.forms[0]
            paired = lexicon.tree.concept(form.concept).side_rule == "paired"
            if paired and form.side is None and not following.value.sides:
                item = Item("side", "both", item.text)
        result.append(item)
    return result
