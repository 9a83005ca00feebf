"""Phrases to nodes: one per thing that is named, with everything that belongs to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from textseg3d.text.grammar.parts import Mention, Phrase, Words
from textseg3d.text.grammar.refine import Refiner
from textseg3d.text.grammar.words import is_everyday

_PIECES = frozenset(("tail", "head", "body", "neck", "tip", "dome", "mucosa", "stump", "bed"))
_PIECES |= {"origin", "ostium", "stalk", "capsule", "territory", "margin", "tissue", "hilum"}


@dataclass
class Node:
    """A name with everything that belongs to it.

    Attributes:
        mention: the name itself.
        before: anatomical names directly before it ("left lower lobe" in "… nodule").
        words: describing words.
        links: connectors before it.
        role: "target", "container", "near", "reading", "sign" or "excluded".
        containers: places, each a chain from the narrowest outwards.
        near: neighbours.
        readings: what a finding is taken for ("mass, suspicious for cancer").
        exclusions: what is to be left out.
    """

    mention: Mention
    before: list[Mention]
    words: Words
    links: set[str]
    negated: bool = False
    uncertain: bool = False
    historical: bool = False
    cued: bool = False
    role: str = "target"
    containers: list[list[Node]] = field(default_factory=list)
    near: list[Node] = field(default_factory=list)
    readings: list[Node] = field(default_factory=list)
    exclusions: list[Node] = field(default_factory=list)

    @property
    def finding(self) -> bool:
        """Whether the node is a finding or a generic head."""
        return self.mention.finding


def nodes_of(phrases: Sequence[Phrase], refiner: Refiner) -> tuple[list[Node], list[str]]:
    """One node per head; names that only describe an unknown word are returned apart."""
    nodes: list[Node] = []
    unknown = []
    stranger: Phrase | None = None  # the place of a word that is not known
    for phrase in phrases:
        head = phrase.mentions[-1]
        if phrase.unknown_head is not None and not head.finding and not _piece(phrase, nodes):
            unknown.append(head.text)  # "renal foobar" is not the kidney
            if nodes and "in" in phrase.links and not nodes[-1].words.sides:
                nodes[-1].words.add(Words(sides=phrase.words.sides, listed=phrase.words.listed))
            continue
        if "stranger" in phrase.links:
            unknown.append(head.text)  # nor is "foobar of the kidney"
            stranger = None if head.finding else phrase
            continue
        groups: list[list[Mention]] = [[]]
        for mention in phrase.mentions:
            group = groups[-1]
            if group and not mention.finding and not _belongs(group[-1], mention, refiner):
                groups.append([])
            groups[-1].append(mention)
        for group in groups:
            nodes.append(_node(group, phrase, refiner, first=group is groups[0]))
        if stranger is not None and _reads(nodes[-1], stranger, refiner):
            nodes[-1].containers.append([_node(stranger.mentions, stranger, refiner, first=True)])
            unknown.remove(stranger.mentions[-1].text)
        stranger = None
    return nodes, unknown


def _piece(phrase: Phrase, nodes: Sequence[Node]) -> bool:
    """Whether a place ends in a word for a piece of it: a mass "in the parotid tail"."""
    word = (phrase.unknown_head or "").lower()
    return bool(nodes and nodes[-1].finding and "in" in phrase.links) and (
        word in _PIECES or is_everyday(word)
    )


def _reads(node: Node, stranger: Phrase, refiner: Refiner) -> bool:
    """Whether a finding names an unknown word: "foobar in the spleen, possibly an infarct"."""
    if not (node.finding and node.uncertain and node.cued and node.links <= {"comma"}):
        return False
    place = refiner.concept(stranger.mentions[-1].forms[0])
    return not node.before and refiner.composed(node.mention, place) is not None


_LEVEL = re.compile(r"[CTLS]\d{1,2}( vertebra|-[CTLS]\d{1,2} disc)")


def is_level(mention: Mention) -> bool:
    """Whether a name is a level of the spine, which places what it stands beside."""
    return bool(mention.forms) and _LEVEL.fullmatch(mention.forms[0].concept) is not None


def _belongs(one: Mention, other: Mention, refiner: Refiner) -> bool:
    if is_level(one) and not is_level(other):
        return True
    related = refiner.related(refiner.concept(one.forms[0]), refiner.concept(other.forms[0]))
    return related or one.adjective


def _node(group: list[Mention], phrase: Phrase, refiner: Refiner, *, first: bool) -> Node:
    *before, head = group
    if not head.finding:
        # "lung, lower lobe" and "lower lobe lung" are about the lobe
        for index, mention in enumerate(before):
            concept, own = refiner.concept(head.forms[0]), refiner.concept(mention.forms[0])
            if own.name != concept.name and refiner.narrower(own, concept):
                before[index], head = head, mention
    words = phrase.words if first else Words()
    return Node(
        head,
        before,
        words,
        set(phrase.links) if first else set() if "in" in phrase.links else {"comma"},
        phrase.negated,
        phrase.uncertain,
        phrase.historical,
        phrase.cued,
    )
