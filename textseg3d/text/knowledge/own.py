"""A dataset's own words for things, put into the knowledge tree of one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import lru_cache

from textseg3d.errors import PromptError
from textseg3d.text.knowledge.concept import Concept, Side
from textseg3d.text.knowledge.forms import normalise, split_sides
from textseg3d.text.knowledge.tree import KnowledgeTree, load_tree

_Words = tuple[tuple[str, tuple[str, ...]], ...]


def with_own_words(wordings: Mapping[str, Iterable[str]]) -> KnowledgeTree:
    """The bundled tree, with more words for some names, and with the names that it lacks.

    A name that the tree has gets the words on its side; one that it lacks becomes a concept that
    may lie on any side and in any place. Words that the tree knows already keep their meaning.

    Args:
        wordings: name of a target, as a model's card spells it → texts.
    """
    words = tuple((name, tuple(texts)) for name, texts in wordings.items())
    return _extended(words) if words else load_tree()


@lru_cache(maxsize=8)
def _extended(words: _Words) -> KnowledgeTree:
    tree = load_tree()
    concepts = {concept.name: concept for concept in tree}
    for name, texts in words:
        own = tuple(dict.fromkeys(text for text in texts if not _known(text, tree)))
        try:
            found = tree.lookup(name)[:1]
            said = split_sides(normalise(name))[0]
        except PromptError:  # left and right in one name: no phrase can mean it
            continue
        if found:
            concept, side = found[0]
            concepts[concept.name] = _more_words(concepts[concept.name], side, own)
        elif name not in concepts:
            concepts[name] = Concept(
                name=name,
                kind="finding",
                category="own",
                region="whole body",
                definition=f"What a dataset calls {name!r}.",
                side_rule=said if said in ("left", "right") else "any",
                synonyms=own,
            )
    return KnowledgeTree(concepts.values())


def _more_words(concept: Concept, side: Side | None, texts: tuple[str, ...]) -> Concept:
    if side in ("left", "right") and concept.fixed_side is None:
        forms = {**concept.sided_forms, side: (*concept.sided_forms.get(side, ()), *texts)}
        return dataclasses.replace(concept, sided_forms=forms)
    return dataclasses.replace(concept, synonyms=(*concept.synonyms, *texts))


def _known(text: str, tree: KnowledgeTree) -> bool:
    try:
        return bool(tree.lookup(text))
    except PromptError:
        return True
