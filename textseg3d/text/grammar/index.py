"""The names of a tree by their canonical keys: the same thing said in other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.stored import Content
from textseg3d.text.grammar.tokens import fold
from textseg3d.text.knowledge import Form, KnowledgeTree, Side
from textseg3d.text.knowledge.forms import SOURCES

NO_NAME = canon.PLACING | canon.ARTICLES
_JOINING = NO_NAME | canon.joining_words()


class CanonicalIndex:
    """The names of a tree by their canonical keys (see ``canon``)."""

    def __init__(self, tree: KnowledgeTree, forms: dict[str, tuple[Form, ...]]) -> None:
        self.tree = tree
        self._forms: dict[str, tuple[Form, ...]] = {}
        self._bags: dict[frozenset[str], dict[str, Form]] = {}
        self._first: set[str] = set()
        self._adjectives: set[str] = set()
        for text, meant in forms.items():
            if any(form.source == "adjective" for form in meant):
                self._adjectives.add(text)
            named = tuple(form for form in meant if form.source in ("name", "synonym", "latin"))
            parts = fold(text).split(" ")
            if not named or not text.isascii():
                continue
            self._first.update(canon.root(part) for part in parts)
            key = canon.canonical(parts)
            self._add(key, named)
            self._bags.setdefault(frozenset(key.split(" ")), {}).update(
                {form.concept: form for form in reversed(named)}
            )
        self._tails = self._find_tails()

    @classmethod
    def of_content(
        cls,
        tree: KnowledgeTree,
        tables: Mapping[str, dict[Any, tuple[Form, ...]]],
        content: Content,
    ) -> CanonicalIndex:
        """The index whose tables and sets were stored."""
        index = cls.__new__(cls)
        index.tree, index._forms = tree, tables["canonical"]
        index._bags = {
            bag: {form.concept: form for form in named} for bag, named in tables["bags"].items()
        }
        index._first, index._adjectives, index._tails = content["canonical"]
        return index

    def tables(self) -> dict[str, dict[Any, tuple[Form, ...]]]:
        """Its tables of forms."""
        bags = {bag: tuple(named.values()) for bag, named in self._bags.items()}
        return {"canonical": self._forms, "bags": bags}

    def content(self) -> Content:
        """Its sets of words."""
        return {"canonical": (self._first, self._adjectives, self._tails)}

    def _add(self, key: str, named: tuple[Form, ...]) -> None:
        before = self._forms.get(key, ())
        known = {form.concept for form in before}
        fresh = tuple(form for form in named if form.concept not in known)
        merged = sorted((*before, *fresh), key=lambda form: SOURCES.index(form.source))
        self._forms[key] = tuple(merged)

    def _find_tails(self) -> frozenset[str]:
        tails = set()
        for key, forms in self._forms.items():
            place, _, tail = key.rpartition(" ")
            if place in self._forms and self.tree.concept(forms[0].concept).kind == "finding":
                where = self._forms[place][0].concept
                if self.tree.concept(where).kind == "anatomy":
                    tails.add(tail)
        return frozenset(tails)

    def begins(self, word: str) -> bool:
        """Whether a name can begin with ``word``."""
        return word not in NO_NAME and canon.root(word) in self._first

    def knows(self, word: str) -> bool:
        """Whether a name, or one in other words, can have ``word`` in it."""
        return word in _JOINING or canon.root(word) in self._first

    def is_tail(self, word: str) -> bool:
        """Whether ``word`` ends a finding's name that begins with a place."""
        return canon.root(word) in self._tails

    def get(self, words: Sequence[str]) -> tuple[Form, ...]:
        """The forms whose names say the same as ``words``."""
        words = [word for word in words if word]
        key = canon.canonical(words)
        forms = self._forms.get(key, ())
        turned = key.count(" ") == 1 and not canon.PLACING.isdisjoint(words)
        if not forms and (key.count(" ") > 1 or turned):
            named = self._bags.get(frozenset(key.split(" ")), {})
            forms = tuple(named.values()) if len(named) == 1 else ()
        if not forms:
            return ()
        head = next((words[at - 1] for at, w in enumerate(words) if at and w in canon.PLACING), "")
        head = head or words[-1]
        if head in self._adjectives:  # a "small splenic" contusion is no small spleen
            own = [form for form in forms if self.tree.concept(form.concept).kind != "finding"]
            return tuple(form._replace(source="adjective") for form in own)
        if canon.is_plural(head):
            return tuple(
                form._replace(source="plural", side=form.side or both_if_paired(self.tree, form))
                for form in forms
            )
        return forms


def both_if_paired(tree: KnowledgeTree, form: Form) -> Side | None:
    """The side of a plural."""
    return "both" if tree.concept(form.concept).side_rule == "paired" else None
