"""A side that is told once for two things: "left hydronephrosis and hydroureter"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.nodes import Node
from textseg3d.text.grammar.placing import said
from textseg3d.text.grammar.refine import Refiner
from textseg3d.text.knowledge import Concept, Side

_EVERYWHERE = ("emphysema", "tissue change")
_TRUNK = {"abdomen", "pelvis"}
_JOINED: tuple[set[str], ...] = ({"and"}, {"with"}, {"comma"})


def with_told_side(found: Sequence[Node], refiner: Refiner) -> None:
    """Gives a finding without any place the side of the one before it, where both lie as one.

    Both must be of one region and of paired places ("right effusion and atelectasis"), or the
    second one's usual place is where the first one was said to lie ("effusion of the left knee,
    and a Baker cyst").
    """
    for one, node in pairwise(found):
        if not (one.finding and node.finding and one.negated == node.negated):
            continue
        joined = node.links in _JOINED or (node.negated and node.links == {"or"})
        if not joined or not _placeless(node) or not node.mention.forms:
            continue
        own = refiner.concept(node.mention.forms[0])
        side = _adjective(one) if node.links != {"comma"} else None
        named = (*one.mention.forms[:1], *(m.forms[0] for m in one.before))[:1]
        first = refiner.concept(named[0]) if named else None  # "left ureteral stone"
        new = node.words.determiner or node.words.sizes or node.words.count
        if side is None or new or first is None:
            side = _of_same_place(one, own, refiner)
        elif not (_of_pairs(own, refiner) and _alike(first, own, refiner)):
            side = None
        elif own.category in _EVERYWHERE or (
            _names_place(node, own, refiner) and not {*own.containers} & {*first.containers}
        ):
            side = None  # "left adrenal nodule and renal cyst" leaves the other kidney open
        if side is not None:
            node.words.sides = [side]
            refiner.notes.append(f"{side!r} is taken for {node.mention.text!r} too")


def share_side(anchor: Node, node: Node, refiner: Refiner) -> None:
    """Reads "right putamen and globus pallidus" as the right one of both."""
    words, own = node.words, said(anchor)
    sides = anchor.words.sides or ([own] if own is not None else [])
    bare = not (words.sides or words.determiner or words.definite or node.before)
    form, one = node.mention.forms[0], refiner.concept(node.mention.forms[0])
    first = refiner.concept(anchor.mention.forms[0])
    alike = form.side is None and not node.mention.plural
    alike |= node.mention.plural and first.category == one.category  # "… and cephalic veins"
    paired = one.side_rule == "paired" and alike and form.side in (None, "both")
    bare = bare and paired and not node.mention.sides
    row = one.category == first.category == "muscle" and one.region == first.region
    if (
        node.links in ({"and"}, {"comma"} if row else {"and"})
        and bare
        and len(sides) == 1
        and sides[0] != "both"
    ):
        words.sides = list(sides)
        refiner.notes.append(f"{sides[0]!r} is taken for {node.mention.text!r} too")


def _placeless(node: Node) -> bool:
    bare = not (node.words.sides or node.before or node.containers or node.near)
    return bare and said(node) is None


def _adjective(node: Node) -> Side | None:
    """The side that stands before a finding: "left hydronephrosis"."""
    mentions = (*node.before, node.mention)
    said_by = [side for m in mentions for side in (*m.sides, *(f.side for f in m.forms[:1]))]
    named = [side for side in said_by if side is not None]
    sides = node.words.sides or named
    alone = len(sides) == 1 and sides[0] in ("left", "right") and not node.words.trailing
    return sides[0] if alone and not node.containers else None


def _of_pairs(concept: Concept, refiner: Refiner) -> bool:
    tree = refiner.tree
    places = [tree.concept(name) for name in concept.containers if name in tree]
    return bool(places) and all(place.side_rule == "paired" for place in places)


def _names_place(node: Node, own: Concept, refiner: Refiner) -> bool:
    """Whether the name of a finding says which organ it is in."""
    words = {canon.root(word) for word in node.mention.surface.split(" ")}
    places = [refiner.tree.concept(name) for name in own.containers if name in refiner.tree]
    names = [name for place in places for name in (place.name, *place.adjectives)]
    return bool(words & {canon.root(word) for name in names for word in name.lower().split(" ")})


def _alike(one: Concept, own: Concept, refiner: Refiner) -> bool:
    anywhere = one.region == "whole body"  # "right nodule and effusion"
    near = one.region == own.region or {one.region, own.region} <= _TRUNK
    paired = one.side_rule == "paired" if one.kind == "anatomy" else _of_pairs(one, refiner)
    return anywhere or (near and paired)


def _of_same_place(one: Node, own: Concept, refiner: Refiner) -> Side | None:
    """The side of where the finding before lies, if this one lies just there."""
    if len(one.containers) != 1 or len(one.containers[0]) != 1 or one.before:
        return None
    place = one.containers[0][0]
    side = said(place)
    if side not in ("left", "right") or not place.mention.forms:
        return None
    there = refiner.concept(place.mention.forms[0])
    tree = refiner.tree
    usual = [tree.concept(name) for name in own.containers if name in tree]
    usual = [place for place in usual if place.side_rule in ("paired", "any")]  # no liver cyst
    near = {there.name, *there.adjacent_to, *there.part_of}
    return side if any(near & {*refiner.family(c)[:3]} for c in usual) else None
