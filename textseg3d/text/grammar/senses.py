"""What a short form of two meanings means here: "LAD" is an artery, or lymphadenopathy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Form, KnowledgeTree


def by_context(
    forms: tuple[Form, ...], surface: str, around: Iterable[str], denied: bool, tree: KnowledgeTree
) -> tuple[Form, ...]:
    """``forms``, the meaning that the words around speak for first.

    Args:
        forms: what the short form may stand for.
        surface: the short form.
        around: the other words of the sentence, lower case.
        denied: whether the sentence denies it, as it does with findings.
        tree: the tree of the forms.
    """
    senses: dict[str, Any] = read_tables("closed")["senses"]
    kinds = {tree.concept(form.concept).kind for form in forms}
    if len(kinds) < 2 or surface not in senses["default"]:
        return forms
    words = set(around)
    kind = str(senses["default"][surface])
    other = "finding" if kind == "anatomy" else "anatomy"
    against = len(words & set(senses.get(f"{surface} {other}", ())))
    against += denied and other == "finding"
    if against > len(words & set(senses.get(f"{surface} {kind}", ()))):
        kind = other
    return tuple(sorted(forms, key=lambda form: tree.concept(form.concept).kind != kind))


def by_neighbours(
    forms: tuple[Form, ...], others: Iterable[str], tree: KnowledgeTree
) -> tuple[Form, ...]:
    """``forms`` of an abbreviation, the meaning of the region that the sentence is about first.

    "CPA" beside an epidermoid cyst is the cerebellopontine angle, and not the costophrenic one.

    Args:
        forms: what the abbreviation may stand for.
        others: the concepts that the rest of the sentence names.
        tree: the tree of both.
    """
    if any(form.source != "abbreviation" for form in forms):
        return forms
    about = {_region(name, tree) for name in others}
    return tuple(sorted(forms, key=lambda form: _region(form.concept, tree) not in about))


def _region(name: str, tree: KnowledgeTree) -> str:
    region = tree.concept(name).region
    return "head" if region == "brain" else region
