"""The training texts of the text tower, read from the knowledge tree."""

from __future__ import annotations

from collections import defaultdict

from textseg3d.text.corpus import Corpus, Entry, make_corpus
from textseg3d.text.knowledge import Concept, KnowledgeTree, Side, Target, load_tree

_MOST_NEAR = 24


def corpus_from_tree(tree: KnowledgeTree | None = None) -> Corpus:
    """Every concept on every side that it can have, with wordings, statements and near misses.

    "kidney" without a side and "kidneys" are one target, since both ask for the pair.

    Args:
        tree: the knowledge tree; None loads the bundled one.
    """
    tree = load_tree() if tree is None else tree
    family = _families(tree)
    return make_corpus(
        _entry(tree, concept, side, family[concept.name])
        for concept in tree
        for side in _sides(concept)
    )


def _sides(concept: Concept) -> tuple[Side | None, ...]:
    if concept.side_rule == "paired":
        return ("left", "right", "both")
    if concept.side_rule == "any":
        return (None, "left", "right", "both")
    return (concept.fixed_side,)


def _entry(tree: KnowledgeTree, concept: Concept, side: Side | None, family: list[str]) -> Entry:
    target = Target(concept.name, side)
    key = tree.canonical_name(target)
    wordings = tree.wordings(target)
    if concept.side_rule == "paired" and side == "both":
        wordings += tree.wordings(Target(concept.name, None))
    if side not in ("left", "right") or concept.fixed_side:
        wordings += [concept.latin] if concept.latin else []
        wordings += [name for names in concept.translations.values() for name in names]
    others = [s for s in _sides(concept) if s != side]
    others.sort(key=lambda s: {side, s} != {"left", "right"})  # the mirror image comes first
    near = [tree.canonical_name(Target(concept.name, s)) for s in others]
    near += [_on_side(tree, name, side) for name in family]
    return Entry(
        key=key,
        concept=concept.name,
        side=side,
        short=tuple(wordings),
        long=tuple(_statements(tree, concept, side)),
        near=tuple(dict.fromkeys(name for name in near if name != key)),
    )


def _families(tree: KnowledgeTree) -> dict[str, list[str]]:
    """For each concept its neighbours, parts, wholes and siblings, nearest kin first."""
    children: defaultdict[str, list[str]] = defaultdict(list)
    for concept in tree:
        for whole in concept.part_of:
            children[whole].append(concept.name)
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for concept in tree:
        alike[concept.category, concept.region].append(concept.name)
    family = {}
    for concept in tree:
        siblings = [name for whole in concept.part_of for name in children[whole]]
        kin = [*concept.adjacent_to, *siblings, *concept.contains, *concept.part_of]
        kin += alike[concept.category, concept.region]
        names = [name for name in dict.fromkeys(kin) if name in tree and name != concept.name]
        family[concept.name] = names[:_MOST_NEAR]
    return family


def _on_side(tree: KnowledgeTree, name: str, side: Side | None) -> str:
    """Canonical name of ``name`` on ``side``, or of the pair where the side does not apply."""
    concept = tree.concept(name)
    if concept.side_rule == "paired":
        return tree.canonical_name(Target(name, side if side in ("left", "right") else "both"))
    return tree.canonical_name(Target(name, concept.fixed_side))


def _statements(tree: KnowledgeTree, concept: Concept, side: Side | None) -> list[str]:
    """Definition, relations and visible attributes in sentences; the side is said first."""
    start = {"left": "left side: ", "right": "right side: ", "both": "both sides: "}
    prefix = start.get(side or "", "")
    wholes = [_on_side(tree, name, side) for name in concept.part_of if name in tree]
    neighbours = [_on_side(tree, name, side) for name in concept.adjacent_to if name in tree]
    statements = [prefix + concept.definition]
    kind = f"{concept.category} of the {concept.region}"
    for whole in wholes[:3]:
        statements.append(f"{prefix}{concept.name}, part of {whole}")
        for neighbour in neighbours[:4]:
            statements.append(f"{prefix}{kind}, part of {whole}, next to {neighbour}")
    for neighbour in neighbours[:6]:
        statements.append(f"{prefix}{concept.name} next to {neighbour}")
    if concept.containers:
        statements += [f"{prefix}{concept.name} in the {name}" for name in concept.containers[:6]]
    if concept.hu is not None:
        low, high = concept.hu
        statements.append(f"{prefix}{concept.name}, {kind}, {low:g} to {high:g} HU on CT")
    return statements
