"""Heads that several findings share: "left and right nodules", "hepatic and renal cysts"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.nodes import Node, is_level
from textseg3d.text.grammar.parts import Words
from textseg3d.text.grammar.phrases import cue_table
from textseg3d.text.grammar.refine import Refiner

_LIST = {"and", "or", "comma"}


def distributed(targets: list[Node], refiner: Refiner) -> list[Node]:
    """Reads "left and right upper lobe nodules" and "hepatic and renal cysts" as two each."""
    result: list[Node] = []
    for node in targets:
        last = result[-1] if result else None
        joined = last is not None and node.links & {"and", "or"}
        if joined and last is not None and last.mention.adjective and not node.before:
            _share_head(last, node, refiner)
            _share_further(result, node, refiner)
            result.append(node)
            continue
        if last is None or not node.before or not joined:
            result.append(node)
            continue
        both = (*last.mention.forms[:1], *node.before[0].forms[:1])
        same = len(both) == 2 and both[0].concept == both[1].concept
        if _levels(result, node):
            result.append(node)
            continue
        if not last.finding and node.finding and _headless(last):
            result[-1] = _in_both(last, node)
            continue
        if not last.finding and (same or last.mention.adjective or node.mention.plural):
            result[-1] = replace(node, before=[], containers=[[last]], words=_rest(node.words))
            last.role = "container"
        result.append(node)
    return result


def _headless(place: Node) -> bool:
    """Whether a place is named by the front of its name alone: the "middle" of "… lower lobe"."""
    text, surface = place.mention.text.lower(), place.mention.surface
    return " " in surface and not text.endswith(surface.split(" ")[-1])


def _in_both(place: Node, node: Node) -> Node:
    """Reads "right middle and lower lobe atelectasis" as the one finding of both lobes."""
    place.role = "container"
    own = replace(node, mention=node.before[0], before=[], words=Words(sides=node.words.sides))
    node.containers += [[replace(place, words=Words(sides=place.words.sides))], [own]]
    node.before, node.links, node.words.sides = [], {*place.links}, []
    node.words.add(replace(place.words, sides=[]))
    return node


def _levels(listed: list[Node], node: Node) -> bool:
    """Reads "C5-C7 fusion" and "L1 and L2 metastases" as a finding of all these levels."""
    behind, count = node, 0
    while count < len(listed) and behind.links and behind.links <= _LIST:
        place = listed[-1 - count]
        if place.finding or not is_level(place.mention) or place.containers:
            break
        behind, count = place, count + 1
    if not (count and is_level(node.before[0]) and node.finding):
        return False
    for place in listed[-count:]:
        place.role = "container"
        node.containers.append([replace(place, words=Words())])
    node.containers.append([replace(behind, mention=node.before[0], before=[], words=Words())])
    node.before, node.links = [], {*behind.links}
    node.words.add(behind.words)
    del listed[-count:]
    return True


def _share_further(listed: Sequence[Node], node: Node, refiner: Refiner) -> None:
    """Shares the head with all of "mediastinal, hilar or axillary lymphadenopathy"."""
    for place, behind in zip(listed[-2::-1], listed[:0:-1]):
        if not (behind.links and behind.links <= _LIST and place.mention.adjective):
            return
        _share_head(place, node, refiner)


def _share_head(place: Node, node: Node, refiner: Refiner) -> None:
    """Reads "hepatic and renal cysts" as "hepatic cysts and renal cysts"."""
    _, _, head = node.mention.surface.partition(" ")
    if not (node.finding and head):
        return
    form = next(iter(refiner.lexicon.get(f"{place.mention.surface} {head}")), None)
    if form is None or refiner.concept(form).kind != "finding":
        form = refiner.composed(
            replace(node.mention, surface=head, forms=()),
            refiner.concept(place.mention.forms[0]),
        )
    generic = cue_table().values.get((head,))
    if form is not None:
        place.mention = replace(
            node.mention, forms=(form,), surface=head, plural=False, specific=None
        )
    elif generic is not None and generic.kind == "generic":
        place.containers.append([replace(place, containers=[], words=Words())])
        place.mention = replace(
            node.mention, forms=(), surface=generic.value, plural=False, specific=None
        )
    else:
        return
    place.words.add(_rest(node.words))
    place.negated, place.uncertain = node.negated, node.uncertain


def _rest(words: Words) -> Words:
    return replace(words, sides=[], listed=False)
