"""Linked nodes to targets: concept, side, container and size of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.model import Attribute, Certainty, Place, PromptTarget, Range
from textseg3d.text.grammar.nodes import Node
from textseg3d.text.grammar.numbers import combine
from textseg3d.text.grammar.parts import Mention
from textseg3d.text.grammar.refine import (
    Contradiction,
    Refiner,
    Spot,
    conflict,
    one_side,
    side_of_region,
    spreads,
)
from textseg3d.text.grammar.several import together
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Concept, Form, Side

_CHANGES = frozenset(("density", "shape", "extent", "chronicity"))
_MERE_SIZES = frozenset(("enlarged", "large", "small", "big", "huge", "tiny", "giant", "normal"))
_MERE_SIZES |= {"prominent", "bulky", "swollen", "massive", "unenlarged", "sized", "extensive"}
_MERE_SIZES |= {"lytic", "sclerotic"}


_VAGUE = frozenset(
    ("lesion", "mass", "nodule", "tumor", "cancer", "structure", "organ", "infection")
)
_NODES = "lymph nodes"
_LOCAL = frozenset(("mass", "cyst", "fluid", "hemorrhage", "calcification", "injury", "ischemia"))
_LOCAL |= {"vascular lesion", "stone", "infection", "thrombus"}  # may lie on one side of an organ
_MASSES = frozenset(("lesion", "mass", "nodule", "collection", "tumor", "cyst", "opacity"))
_LOOKS = frozenset(("enhancement", "hyperintensity", "hypointensity", "uptake", "signal"))
_MASSES |= {
    "hemorrhage",
    "haemorrhage",
    "thickening",
    "swelling",
    "dilatation",
    "stenosis",
    "consolidation",
    "infiltrate",
}


def targets_of(node: Node, refiner: Refiner) -> list[PromptTarget]:
    """The targets that one node asks for (two for "left and right kidney").

    Raises:
        Contradiction: if sides or sizes exclude each other.
    """
    if not node.finding:
        return _anatomy(node, refiner)
    meant = _meant(node, refiner)
    if meant is not None:
        return targets_of(meant, refiner)
    sides: Sequence[Side] = node.words.sides
    spots = _container_spots(node, refiner)
    if [spot.side for spot in spots] == ["both"] and _of_joints(node, spots[0]):
        spots = [replace(spots[0], said=True)]  # "chondrocalcinosis of the knees"
    if node.before and sides and _takes_side(node, refiner):
        sides = ()
    name = node.mention.surface
    spread = node.words.spread and not node.mention.plural
    apart = [refiner.place(spot) for spot in spots]
    common = _in_common(spots, refiner) if spread else None
    if common is not None:
        spots = [common]  # names the finding; where it lies is said below
    if node.words.order and "both" in sides:
        spots = []  # "bilateral nodules, the largest in the right lower lobe"
    pairs: list[tuple[Side | None, Spot | None]] = []
    clash: Contradiction | None = None
    for own in one_side(sides, node.words.listed, name):
        for spot in spots or (None,):
            try:
                pairs.append(_sided(own, spot, name))
            except Contradiction as error:
                clash = error
    if not pairs and clash is not None:
        raise clash
    targets = [_finding(node, side, spot, refiner) for side, spot in pairs]
    named = [target for target in targets if target is not None]
    if named and _suspected(node, named):
        named = []  # "mass along the sciatic nerve, suspicious for schwannoma"
    if named or not node.readings:
        if common is not None:
            named = [target.lying_in(apart) for target in named]
        return together(named, refiner, spread)
    reading = node.readings[0]  # "hypodensity in the spleen, possibly an infarct"
    reading.containers += node.containers if not reading.before else []
    reading.words.add(node.words)
    return targets_of(reading, refiner)


def _of_joints(node: Node, spot: Spot) -> bool:
    """Whether a finding is said to lie in the joints or bones of limbs on both sides."""
    placed = len(node.containers) == 1 and "in" in node.containers[0][0].links and not node.before
    limb = spot.concept.region in ("upper limb", "lower limb") or spot.concept.name == "hip bone"
    return placed and limb


def _meant(node: Node, refiner: Refiner) -> Node | None:
    """What a vague word is said to be: "cystic lesion, consistent with a branchial cleft cyst"."""
    vague = read_tables("closed")["generic"]
    forms = node.mention.forms
    plain = not forms or forms[0].concept in vague
    plain = plain or canon.singular(forms[0].concept).split(" ")[-1] in _MASSES
    plain = plain or node.mention.surface.split(" ")[-1] in _LOOKS
    for reading in node.readings:
        own = reading.mention.forms
        named = own and own[0].concept not in _VAGUE
        if plain and named and not reading.uncertain and not reading.before:
            reading.readings = [other for other in node.readings if other is not reading]
            reading.containers += node.containers
            reading.before = [*node.before]
            reading.near += node.near
            reading.exclusions += node.exclusions
            reading.words.add(node.words)
            reading.negated, reading.uncertain = node.negated, node.uncertain
            reading.historical = node.historical
            return reading
    return None


def _suspected(node: Node, named: Sequence[PromptTarget]) -> bool:
    """Whether a finding that is nothing but a mass is taken for something that has a name."""
    vague = all(target.concept in ("mass", "lesion", "abnormality") for target in named)
    forms = node.readings[0].mention.forms if node.readings else ()
    known = bool(forms) and forms[0].concept not in _VAGUE and not node.negated
    return vague and known and node.readings[0].uncertain and not node.readings[0].before


def _sided(own: Side | None, spot: Spot | None, name: str) -> tuple[Side | None, Spot | None]:
    """The side of a finding and its container, each helping the other."""
    if spot is None:
        return own, None
    there = spot.side if spot.said else side_of_region(spot.concept)
    narrower = there == "both"  # "both kidneys are normal but for a cyst on the left"
    if own is not None and (narrower or not spot.said) and spot.concept.side_rule == "paired":
        spot = Spot(spot.concept, own, True)
    elif conflict(own, there):
        raise Contradiction(
            f"{name!r} is said to be {own}, but it is placed on the {there}; name one side"
        )
    return own or there, spot


def _takes_side(node: Node, refiner: Refiner) -> bool:
    """Whether side words before "left lower lobe nodule" belong to the place."""
    concept = refiner.concept(node.before[0].forms[0])
    return concept.side_rule == "paired" or concept.fixed_side is not None


def _container_spots(node: Node, refiner: Refiner) -> list[Spot]:
    spots: list[Spot] = []
    if node.before:
        sides = node.words.sides if _takes_side(node, refiner) or not node.finding else []
        for index, mention in enumerate(node.before):
            own = refiner.spots(mention, sides if index == 0 else (), node.words.listed)
            related = spots and refiner.related(spots[0].concept, own[0].concept)
            spots = refiner.merge(spots, own) if related else own
    chains = [_chain(chain, refiner) for chain in node.containers]
    if spots and chains:
        merged: list[Spot] = []
        for chain in chains:
            if refiner.related(spots[0].concept, chain[0].concept):
                merged += refiner.merge(spots, chain)
            else:
                merged += spots
        return merged
    return spots or _narrowest(chains, refiner, bool(node.words.order))


def _narrowest(chains: Sequence[list[Spot]], refiner: Refiner, ordered: bool = False) -> list[Spot]:
    """The places of several chains; of two related ones the narrower: "Liver: … in segment 7".

    Where an order chooses ("in both lungs, the largest in the right one") the first place stays.
    """
    kept: list[list[Spot]] = []
    for chain in chains:
        if ordered and kept and kept[0] and kept[0][0].side == "both":
            break
        for at, other in enumerate(kept):
            if not (chain and other) or not refiner.related(chain[0].concept, other[0].concept):
                continue
            if chain[0].concept.name != other[0].concept.name:
                kept[at] = refiner.merge(chain, other)
                break
        else:
            kept.append(chain)
    return [spot for chain in kept for spot in chain]


def _in_common(spots: Sequence[Spot], refiner: Refiner) -> Spot | None:
    """What unsided places are parts of, if that is no mere region: two parts of the colon."""
    if len(spots) < 2 or any(spot.side is not None for spot in spots):
        return None
    for name in refiner.family(spots[0].concept):
        whole = refiner.tree.concept(name)
        if all(refiner.narrower(spot.concept, whole) for spot in spots):
            return None if whole.category == "region" else Spot(whole, None, False)
    return None


def _chain(chain: Sequence[Node], refiner: Refiner) -> list[Spot]:
    """The spots of a container, narrowed by the containers around it."""
    spots = _place_spots(chain[0], refiner)
    for node in chain[1:]:
        outer = _place_spots(node, refiner)
        if refiner.related(spots[0].concept, outer[0].concept):
            spots = refiner.merge(spots, outer)
        else:
            spots = [_with_side(spot, outer[0]) for spot in spots]
    return spots


def _with_side(spot: Spot, outer: Spot) -> Spot:
    if outer.said and not spot.said and spot.concept.side_rule == "paired":
        return Spot(spot.concept, outer.side, True)
    if outer.said and spot.said and conflict(spot.side, outer.side):
        raise Contradiction(
            f"{spot.concept.name!r} is said to be {spot.side}, {outer.concept.name!r} "
            f"{outer.side}; name one side"
        )
    return spot


def _place_spots(node: Node, refiner: Refiner) -> list[Spot]:
    spots = refiner.spots(node.mention, node.words.sides, node.words.listed)
    for mention in node.before:
        spots = refiner.merge(spots, refiner.spots(mention, (), False))
    return spots


def _anatomy(node: Node, refiner: Refiner) -> list[PromptTarget]:
    form = refiner.choose(node.mention, [])
    sides = node.words.sides
    if node.words.trailing and node.mention.plural and {"left", "right"} <= {*sides}:
        sides = ["both"]  # "crura of the diaphragm, right and left"
    spots = refiner.spots(node.mention, sides, node.words.listed, form)
    places: list[Spot | None] = []
    for mention in node.before:
        outer = refiner.spots(mention, (), False)
        if refiner.related(spots[0].concept, outer[0].concept):
            spots = refiner.merge(spots, outer)
        else:
            places += outer
    for chain in node.containers:
        outer = _chain(chain, refiner)
        if refiner.narrower(spots[0].concept, outer[0].concept):
            spots = refiner.merge(spots, outer)
        elif refiner.narrower(outer[0].concept, spots[0].concept):
            spots = refiner.merge(outer, spots)  # "nodes at station 3P"
        else:
            places += outer
    targets = []
    for spot in spots:
        specific = node.mention.specific
        if specific and not spot.concept.allows(spot.side) and not spreads(spot.concept):
            spot = Spot(refiner.tree.concept(specific), spot.side, spot.said)
        spot = refiner.checked(spot, node.mention.text)
        for place in places or [None]:
            side = spot.side
            if place is not None and place.said and spot.concept.side_rule in ("paired", "any"):
                if conflict(side if spot.said else None, place.side):
                    raise Contradiction(
                        f"{spot.concept.name!r} is said to be {side}, but it is placed on the "
                        f"{place.side}; name one side"
                    )
                side = place.side
            target = _target(node, spot.concept, spot.concept.name, side, place, refiner)
            targets.append(_changed(target, node, refiner, spot, place))
    return targets


def _changed(
    target: PromptTarget, node: Node, refiner: Refiner, spot: Spot, place: Spot | None
) -> PromptTarget:
    """The finding that a describing word makes of a structure: "the duct is dilated".

    A mere size ("enlarged spleen") leaves it the structure, save for lymph nodes.
    """
    finding = change(node, spot.concept, refiner)
    if finding is None and node.words.denied:
        finding = change(node, spot.concept, refiner, denied=True)
        target = replace(target, certainty="negated") if finding is not None else target
    if finding is None:
        return target
    side = target.side
    if spot.concept.category == _NODES:
        side = side if spot.said or (place is not None and place.said) else None
        if place is not None:  # "left axilla: no enlarged lymph nodes"
            form = Form(finding.name, None, "name")
            there = refiner.composed(Mention((form,), finding.name, True), place.concept)
            finding = refiner.concept(there) if there is not None else finding
            side = side or (place.side if place.said else None)
    return replace(
        target,
        concept=finding.name,
        broader=target.concept,
        side=finding.fixed_side or (side if finding.allows(side) else None),
        codes=finding.codes,
    )


def change(node: Node, concept: Concept, refiner: Refiner, denied: bool = False) -> Concept | None:
    """The finding that the describing words of a structure name, if they do.

    Args:
        node: the structure with its describing words.
        concept: what it is.
        refiner: chooses concepts.
        denied: asks for what the words deny ("the duct is not dilated") instead.
    """
    for attribute in node.words.attributes:
        last = attribute.value.split(" ")[-1]
        if last == "enlarged" and concept.category == _NODES and attribute.negated == denied:
            for name in refiner.family(concept):
                forms = refiner.changed(last, name, refiner.tree.concept(name))
                if forms:
                    return refiner.concept(forms[0])
        if attribute.negated != denied or last in _MERE_SIZES or attribute.kind not in _CHANGES:
            continue
        noun = concept.name.split(" ")[-1]
        for name in dict.fromkeys((node.mention.surface, concept.name, noun, concept.category)):
            forms = refiner.changed(attribute.value, name, concept)
            if forms:
                return refiner.concept(forms[0])
    return None


def _finding(
    node: Node, side: Side | None, spot: Spot | None, refiner: Refiner
) -> PromptTarget | None:
    places = [spot.concept] if spot else []
    if not node.mention.forms:
        composed = refiner.composed(node.mention, places[0]) if places else None
        if composed is None and node.mention.tail:
            refiner.notes.append(f"not understood and left out: {node.mention.text!r}")
            return None
        if composed is None:
            return _target(node, None, node.mention.surface, side, spot, refiner)
        form = composed
    else:
        form = refiner.choose(node.mention, places)
    concept = refiner.concept(form)
    if form.side in ("left", "right") and side is None:
        side = form.side
    if concept.side_rule in ("unpaired", "midline") or concept.name == "midline shift":
        told = node.words.sides == [side] != ["both"] and not node.containers
        told |= spot is not None and spot.concept.side_rule == "midline"  # "left half of the pons"
        if not (told and concept.category in _LOCAL):
            side = None  # what is there once takes no side from its place
    checked = refiner.checked(Spot(concept, side, side is not None), node.mention.text)
    if conflict(form.side if form.source != "plural" else None, side):
        raise Contradiction(
            f"{node.mention.text!r} is on the {form.side}, but the prompt says {side}; name one"
        )
    target = _target(node, concept, concept.name, checked.side, spot, refiner)
    narrow = refiner.described(node.mention, concept, node.words.attributes, places)
    if narrow is None:
        return target
    return replace(
        target, concept=narrow.name, broader=concept.name, specific=None, codes=narrow.codes
    )


def _target(
    node: Node,
    concept: Concept | None,
    name: str,
    side: Side | None,
    spot: Spot | None,
    refiner: Refiner,
) -> PromptTarget:
    container = _place(spot, _position(node), refiner) if spot else None
    size, dimensions = _sizes(node, name)
    attributes = list(dict.fromkeys(node.words.attributes))
    for reading in node.readings:
        forms = reading.mention.forms
        meant = forms[0].concept if forms else reading.mention.surface
        kind = "interpretation" if reading.uncertain else "consistency"
        attributes.append(Attribute(kind, meant))
    if node.historical:
        attributes.append(Attribute("chronicity", "historical"))
    certainty: Certainty = "affirmed"
    if node.negated:
        certainty = "negated"
    elif node.uncertain:
        certainty = "uncertain"
    volume = combine(node.words.volumes)[0] if node.words.volumes else None
    order = node.words.ordering()
    return PromptTarget(
        concept=name,
        side=side,
        container=container.name if container else None,
        container_place=container,
        size_mm=size,
        dimensions_mm=dimensions,
        volume_ml=volume,
        order=order,
        count=None if order else node.words.count,
        certainty=certainty,
        attributes=tuple(attributes),
        near=tuple(place for other in node.near for place in _places(other, None, refiner)),
        exclusions=tuple(
            place for other in node.exclusions for place in _places(other, concept, refiner)
        ),
        specific=_specific(node, name),
        codes=concept.codes if concept else (),
    )


def _specific(node: Node, name: str) -> str | None:
    whole = node.mention.specific
    return whole if whole != name else None


def _position(node: Node) -> str:
    words = [
        attribute.value
        for chain in node.containers
        for attribute in chain[0].words.attributes
        if attribute.kind == "position" and not attribute.negated
    ]
    return " ".join(words)


def _place(spot: Spot, position: str, refiner: Refiner) -> Place:
    return refiner.place(spot, position)


def _places(node: Node, whole: Concept | None, refiner: Refiner) -> list[Place]:
    """A neighbour or an exclusion as places; "lesions" left out of a liver are liver lesions."""
    mention = node.mention
    places = [whole] if whole is not None and node.finding else []
    if not mention.forms:
        form = refiner.composed(mention, places[0]) if places else None
        if form is None:
            return [Place(mention.surface, None, mention.surface)]
    else:
        form = refiner.choose(mention, places)
    words = node.words
    return [refiner.place(spot) for spot in refiner.spots(mention, words.sides, words.listed, form)]


def _sizes(node: Node, name: str) -> tuple[Range | None, tuple[float, ...]]:
    sizes = node.words.sizes
    if not sizes:
        return None, ()
    bounds, empty = combine([size.bounds for size in sizes])
    if empty:
        raise Contradiction(
            f"no {name} can be larger than {bounds[0]:g} mm and smaller than {bounds[1]:g} mm; "
            f"swap the bounds or drop one"
        )
    return bounds, next((size.extents for size in sizes if size.extents), ())
