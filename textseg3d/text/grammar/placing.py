"""Whether a finding may lie where a name beside it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.nodes import Node, is_level
from textseg3d.text.grammar.refine import Refiner
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Concept, Side

_HEALTHY = frozenset(("normal", "unremarkable", "intact", "preserved"))
_AREAS = frozenset(("eye", "orbit", "breast", "lung", "kidney", "cerebral hemisphere"))
_AREAS |= {"chest wall"}
_LIMBS = frozenset(("upper limb", "lower limb"))


def said(node: Node) -> Side | None:
    """The one side that a node names."""
    own = [*node.words.sides, *node.mention.sides, *(f.side for f in node.mention.forms[:1])]
    return next((side for side in own if side is not None), None)


def plausible(finding: Node, place: Node, refiner: Refiner) -> bool:
    """Whether a finding may lie at a place that only stands beside it."""
    concept = refiner.concept(place.mention.forms[0])
    forms = finding.mention.forms
    if not forms:
        return True
    usual_ones = [refiner.concept(form) for form in forms]
    return refiner.composed(finding.mention, concept) is not None or any(
        refiner.fits(own, concept)
        or not own.containers
        or _beside(own, concept, refiner)
        or _airway(own, concept)
        for own in usual_ones
    )


def _beside(finding: Concept, place: Concept, refiner: Refiner) -> bool:
    """Whether a part tells where a finding next to its organ lies ("effusion, left lobe")."""
    wholes = refiner.family(place)[1:3]
    tree = refiner.tree
    return any(
        whole in tree.concept(name).adjacent_to or name in tree.concept(whole).adjacent_to
        for name in finding.containers
        if name in tree
        for whole in wholes
    )


def _airway(finding: Concept, place: Concept) -> bool:
    """Whether a lobe tells in which bronchi a finding lies: "valves, left upper lobe"."""
    return place.name.endswith("lobe of lung") and any(
        name.endswith("bronchus") for name in finding.containers
    )


def _towards(finding: Concept, place: Concept, refiner: Refiner) -> bool:
    """Whether the vessels of a finding run to a limb: "thoracic outlet syndrome, left arm"."""
    trunk = {"upper limb": "thorax", "lower limb": "pelvis"}.get(place.name)
    tree = refiner.tree
    vessels = [tree.concept(name) for name in finding.containers[:1] if name in tree]
    return trunk == finding.region and any(v.category in ("artery", "vein") for v in vessels)


def usual(finding: Node, place: Node, refiner: Refiner) -> bool:
    """Whether a finding lies beside what it is a usual finding of: "cyst next to the ovary"."""
    forms = [*finding.mention.forms[:1], *place.mention.forms[:1]]
    vague = read_tables("closed")["generic"]
    if len(forms) < 2 or place.finding or forms[0].concept in vague:
        return False
    return refiner.fits(*map(refiner.concept, forms))


def in_limb(finding: Node, place: Node, refiner: Refiner) -> bool:
    """Whether a place only tells which limb: "slipped femoral epiphysis, left hip"."""
    concept = refiner.concept(place.mention.forms[0])
    tree = refiner.tree
    own = [refiner.concept(form) for form in finding.mention.forms]
    regions = {c.region for c in own}
    regions |= {tree.concept(n).region for c in own for n in c.containers if n in tree}
    around = {concept.region, *(tree.concept(n).region for n in concept.adjacent_to)}
    sided = said(place) in ("left", "right") and said(finding) is None
    anywhere = "whole body" in regions and concept.category in ("region", "limb", "joint")
    anywhere |= any(_towards(c, concept, refiner) for c in own)
    return sided and (anywhere or bool(around & regions & _LIMBS))


def apposed(anchor: Node, node: Node) -> bool:
    """Whether a finding says what was told of a structure: "…, a retrocaval ureter"."""
    forms, own = anchor.mention.forms, node.mention.forms
    if anchor.finding or not (node.finding and forms and own and node.words.determiner):
        return False
    nouns = {anchor.mention.surface.split(" ")[-1], forms[0].concept.split(" ")[-1]}
    named = " " in own[0].concept and own[0].concept.split(" ")[-1] in nouns
    return named and node.links == {"comma"} and not (node.before or node.words.sides)


def made_of(anchor: Node, node: Node, refiner: Refiner) -> bool:
    """Whether a growth is told by its size: "hematopoiesis with masses up to 5 cm"."""
    forms = anchor.mention.forms
    told = node.mention.surface in ("mass", "masses") and node.words.sizes
    kind = refiner.concept(forms[0]).category if forms else ""
    return bool(told) and kind in ("tissue change", "mass") and not anchor.words.sizes


def sound_together(found: Sequence[Node]) -> int:
    """How many structures are called normal together: "Rectum and anal canal unremarkable"."""
    count = 1
    while count < len(found) and found[count].links == {"and"} and not found[count].finding:
        count += 1
    last = found[count - 1].words.attributes if found else []
    return count if any(attribute.value in _HEALTHY for attribute in last) else 1


def bare(target: Node) -> bool:
    """Whether nothing says yet where a target lies."""
    placed = target.containers or target.before or target.words.sides
    return not placed and said(target) in (None, "both")


def ends_clause(nodes: Sequence[Node], node: Node) -> bool:
    """Whether a node is the last one of its clause."""
    at = next(at for at, other in enumerate(nodes) if other is node)
    return not nodes[at + 1 :] or "but" in nodes[at + 1].links


def listed(nodes: Sequence[Node], anchor: Node, node: Node) -> bool:
    """Whether two structures are not all of a list: "brain, cerebellum and brain stem"."""
    at = next(at for at, other in enumerate(nodes) if other is node)
    following = nodes[at + 1] if at + 1 < len(nodes) else None
    if anchor.words.sides or anchor.finding:
        return False
    later = anchor.links if at > 1 else set()
    more = following.links if following is not None and not following.finding else set()
    return any(links and links <= {"and", "or", "comma"} for links in (later, more))


def more_denied(nodes: Sequence[Node], node: Node, previous: Node) -> bool:
    """Whether a list of denied findings goes on: "without ascites or varices"."""
    if not (previous.negated and "without" in previous.links and node.finding):
        return False
    own = node.words.determiner or node.words.sizes or node.words.sides or node.words.count
    at = next(at for at, other in enumerate(nodes) if other is node)
    links = node.links
    while links == {"comma"} and at + 1 < len(nodes):
        at += 1
        links = nodes[at].links
    return links in ({"or"}, {"comma", "or"}) or (node.links == {"and"} and not own)


def again(anchor: Node, node: Node) -> bool:
    """Whether "stroke with restricted diffusion" names the same thing twice."""
    own, one = node.mention.forms, anchor.mention.forms
    same = bool(own and one) and own[0].concept == one[0].concept
    return same and node.links == {"with"} and not (node.words or node.before or node.negated)


def is_artifact(node: Node) -> bool:
    """Whether a node is an artifact, which is not asked for beside other things."""
    return bool(node.mention.forms) and node.mention.forms[0].concept == "artifact"


def sided_place(anchor: Node, node: Node, nodes: Sequence[Node], refiner: Refiner) -> bool:
    """Whether a finding and a sided structure of its region are all: "infarct, left thalamus"."""
    if len(nodes) != 2 or not anchor.mention.forms or said(anchor) is not None:
        return False
    own = refiner.concept(anchor.mention.forms[0])
    place = refiner.concept(node.mention.forms[0])
    near = own.region == place.region and own.side_rule == "any"
    return near and said(node) in ("left", "right") and not node.mention.adjective


def usual_region(anchor: Node, node: Node, refiner: Refiner) -> bool:
    """Whether a finding stands before a region that lies around its usual place."""
    forms = anchor.mention.forms
    sided = said(node) in ("left", "right") and said(anchor) is None
    if not (forms and sided and is_region(anchor, node, refiner)):
        return False
    tree, own = refiner.tree, refiner.concept(forms[0])
    region = refiner.concept(node.mention.forms[0])
    usual_ones = [tree.concept(name) for name in own.containers if name in tree]
    return own.side_rule == "any" and any(
        refiner.narrower(place, region) or place.region == region.region for place in usual_ones
    )


def narrow(anchor: Node, node: Node, refiner: Refiner, *, swap: bool = False) -> None:
    """Reads "left lung, lower lobe" as the lobe of that lung; ``swap``: the second is the part."""
    node.role = "container"
    concept = refiner.concept(node.mention.forms[0])
    if swap or refiner.narrower(concept, refiner.concept(anchor.mention.forms[0])):
        anchor.mention, node.mention = node.mention, anchor.mention
        node.words, anchor.words = anchor.words, node.words
    anchor.containers.append([node])


def part(one: Node, other: Node, refiner: Refiner) -> bool:
    """Whether one structure is a part of another: "greater tuberosity, right humerus"."""
    inner, outer = (refiner.concept(node.mention.forms[0]) for node in (one, other))
    return inner.name != outer.name and refiner.narrower(inner, outer)


def unsided_pair(node: Node, refiner: Refiner) -> bool:
    """Whether a paired structure was named without its side: "acetabular labrum left hip"."""
    form = node.mention.forms[0]
    paired = refiner.concept(form).side_rule == "paired"
    return paired and not node.words.sides and not node.mention.sides and form.side is None


def related(one: Node, other: Node, refiner: Refiner) -> bool:
    """Whether one of two different structures is a part of the other, or near it in the tree."""
    if not (one.mention.forms and other.mention.forms):
        return False
    first, second = (refiner.concept(node.mention.forms[0]) for node in (one, other))
    return refiner.related(first, second) and first.name != second.name


def is_region(anchor: Node, node: Node, refiner: Refiner) -> bool:
    """Whether a name is that of a region of the body, or of an organ that one looks into."""
    concept = refiner.concept(node.mention.forms[0])
    if concept.category in ("region", "joint", "limb"):
        return True
    return concept.name in _AREAS and related(anchor, node, refiner)


def made_part(node: Node, heading: Node, refiner: Refiner) -> bool:
    """Reads the "neck" of "Gallbladder: stone in the neck" as that of the gallbladder."""
    whole = refiner.concept(heading.mention.forms[0]).name
    forms = refiner.lexicon.named(f"{node.mention.surface} of {whole}")
    if forms:
        node.mention = replace(node.mention, forms=forms)
    return bool(forms)


def row_in_place(previous: Node, node: Node, owners: Sequence[Node]) -> bool:
    """Whether levels only tell where in a place: "the left paravertebral region at T8-T10"."""
    row = is_level(previous.mention) and is_level(node.mention)
    return row and bool(owners) and len(owners[0].containers[-1]) > 1
