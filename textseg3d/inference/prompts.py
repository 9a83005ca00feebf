"""From the words of a prompt to what the model is asked, before any weight is loaded.

A prompt becomes the union of one or more concepts that the model knows, each under its
canonical name, so that every wording of a thing gives the same mask.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from textseg3d.errors import PromptError
from textseg3d.text.normalise import normalise_text

if TYPE_CHECKING:
    from textseg3d.text.grammar import ParsedPrompt, PromptTarget
    from textseg3d.text.knowledge import Concept, KnowledgeTree, Side

MAX_PROMPTS = 1000
_Key = tuple[str, "str | None"]


@dataclass(frozen=True)
class Part:
    """One thing that the model is asked for.

    Attributes:
        name: as the model's card spells it.
        side: "left" or "right" if it must lie on one side, else None.
    """

    name: str
    side: Literal["left", "right"] | None = None


@dataclass(frozen=True)
class PromptRequest:
    """A prompt, understood.

    Attributes:
        text: as the user wrote it.
        status: "ok", "negated" (the text denies what it names) or "unknown" (to the model).
        parts: their union is the mask; empty unless the status is "ok".
        codes: codes of the concepts, ``{"scheme", "value", "meaning"}``.
        warnings: one line each.
    """

    text: str
    status: Literal["ok", "negated", "unknown"]
    parts: tuple[Part, ...] = ()
    codes: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class Vocabulary:
    """What a model knows, found by concept and side.

    Args:
        names: canonical names of the model's card.
        tree: knowledge tree; None loads the bundled one.
    """

    def __init__(self, names: Iterable[str], tree: KnowledgeTree | None = None) -> None:
        from textseg3d.text.knowledge import load_tree

        self.names = tuple(names)
        self.tree = load_tree() if tree is None else tree
        self._by_text = {normalise_text(name): name for name in self.names}
        self._by_key: dict[_Key, str] = {}
        for name in self.names:
            for concept, side in self._lookup(name):
                self._by_key.setdefault(self._key(concept.name, side), name)

    def understand(self, text: str) -> PromptRequest:
        """Parse one prompt and find what it asks of this model.

        Raises:
            PromptError: if it is empty, too long or contradicts itself.
        """
        from textseg3d.text.grammar import check_prompt, parse_prompt

        check_prompt(text)
        parsed = parse_prompt(text, self.tree)
        named = self._by_text.get(normalise_text(text))
        if named is not None:  # the model's own name for it needs no interpretation
            return PromptRequest(text, "ok", (self._part(named),), _codes(parsed))
        if parsed.status in ("empty", "contradiction"):
            hint = f"; {parsed.hint}" if parsed.hint else ""
            what = "is empty" if parsed.status == "empty" else "contradicts itself"
            raise PromptError(f"the prompt {text[:80]!r} {what}{hint}")
        codes = _codes(parsed)
        if parsed.status == "negated":
            name = " and ".join(t.concept for t in parsed.targets) or text
            warning = f"{text!r} says that there is none; to segment it, ask for {name!r}"
            return PromptRequest(text, "negated", (), codes, (warning,))
        parts: list[Part] = []
        sided: list[PromptTarget] = []  # asked on a side that the model does not tell apart
        for target in parsed.targets:
            found = self._resolve(target.concept, target.side)
            if not found:
                return self._unknown(text, parsed, target.concept, target.side)
            parts += found
            if target.side in ("left", "right") and any(part.side is None for part in found):
                sided.append(target)
        if not parts:
            return self._unknown(text, parsed, None, None)
        warnings = tuple(_warnings(parsed, sided))
        return PromptRequest(text, "ok", tuple(dict.fromkeys(parts)), codes, warnings)

    def understand_all(self, texts: Sequence[str]) -> list[PromptRequest]:
        """Every prompt once, in the order given.

        Raises:
            PromptError: if one cannot be meant, or there are none, or more than 1000.
        """
        unique = list(dict.fromkeys(texts))
        if not unique:
            raise PromptError("there is no prompt; say what to segment, for example 'liver'")
        if len(unique) > MAX_PROMPTS:
            raise PromptError(f"{len(unique)} prompts, more than {MAX_PROMPTS}; use several runs")
        return [self.understand(text) for text in unique]

    def _key(self, concept: str, side: str | None) -> _Key:
        """One key for all ways of saying the same: the only side, or no side, is left out."""
        entry = self.tree.concept(concept)
        if entry.side_rule in ("unpaired", "midline", "left", "right"):
            return concept, None
        return concept, "both" if side is None and entry.side_rule == "paired" else side

    def _lookup(self, name: str) -> list[tuple[Concept, Side | None]]:
        """The concept of a card's name with its side, or nothing if the tree lacks it."""
        try:
            return self.tree.lookup(name)[:1]
        except PromptError:
            return []

    def _part(self, name: str) -> Part:
        from textseg3d.text.knowledge import normalise, split_sides

        found = self._lookup(name)
        side = found[0][0].fixed_side or found[0][1] if found else split_sides(normalise(name))[0]
        return Part(name, side) if side in ("left", "right") else Part(name)

    def _resolve(self, concept: str, side: str | None) -> list[Part]:
        """Known parts whose union is the whole of a target, or nothing."""
        from textseg3d.text.knowledge import Target

        if concept not in self.tree:
            return []
        known = self._by_key.get(self._key(concept, side))
        if known is not None:
            return [self._part(known)]
        if self.tree.concept(concept).side_rule == "any":  # a finding, known without a side
            known = self._by_key.get((concept, None))
            return [self._part(known)] if known else []
        parts = self.tree.parts(Target(concept, side))  # type: ignore[arg-type]
        names = [self._by_key.get(self._key(p.concept, p.side)) for p in parts]
        if parts and all(names):
            return [self._part(name) for name in names if name]
        if self.tree.concept(concept).side_rule == "paired" and side in (None, "both"):
            sides = [self._resolve(concept, "left"), self._resolve(concept, "right")]
            return sides[0] + sides[1] if all(sides) else []
        return []

    def _unknown(
        self, text: str, parsed: ParsedPrompt, concept: str | None, side: str | None
    ) -> PromptRequest:
        near = self._nearest(text, concept, side)
        subject = "no concept was recognised"
        if concept is not None:
            subject = f"the model does not know {self._name(concept, side)!r}"
        tail = f"nearest that it knows: {', '.join(near)}"
        if not near:
            tail = f"it knows {len(self.names)} concepts, for example {', '.join(self.names[:3])}"
        warnings = [f"{text!r}: {subject}; {tail}"]
        if parsed.hint:
            warnings.append(parsed.hint)
        return PromptRequest(text, "unknown", (), _codes(parsed), tuple(warnings))

    def _name(self, concept: str, side: str | None) -> str:
        from textseg3d.text.knowledge import Target

        if concept not in self.tree:
            return concept
        return self.tree.canonical_name(Target(concept, side))  # type: ignore[arg-type]

    def _nearest(self, text: str, concept: str | None, side: str | None) -> list[str]:
        """Up to three known names: wholes of the concept first, then similar spellings."""
        from textseg3d.text.knowledge import Target

        near: list[str] = []
        if concept is not None and concept in self.tree:
            for whole in self.tree.ancestors(Target(concept, side)):  # type: ignore[arg-type]
                name = self._by_key.get(self._key(whole.concept, whole.side))
                near += [name] if name else []
        wanted = normalise_text(text)
        similar = difflib.get_close_matches(wanted, list(self._by_text), n=3, cutoff=0.6)
        near += [self._by_text[match] for match in similar]
        return list(dict.fromkeys(near))[:3]


def _codes(parsed: ParsedPrompt) -> tuple[dict[str, str], ...]:
    codes = [code._asdict() for target in parsed.targets for code in target.codes]
    return tuple({tuple(code.items()): code for code in codes}.values())


def _warnings(parsed: ParsedPrompt, sided: Sequence[PromptTarget]) -> Iterable[str]:
    """What the model does not take into account, so that nobody believes that it did."""
    if parsed.status == "uncertain":
        yield f"{parsed.text!r} is said with doubt; it is segmented as if it were certain"
    for correction in parsed.corrections:
        yield f"{correction.got!r} was read as {correction.read_as!r}"
    for target in parsed.targets:
        ignored: list[Any] = []
        ignored += [f"place {target.container!r}"] if target.container else []
        ignored += [f"side {target.side!r}"] if target in sided else []
        ignored += ["size"] if target.size_mm or target.volume_ml else []
        ignored += [f"order {target.order.by!r}"] if target.order else []
        ignored += ["count"] if target.count and target.side != "both" else []
        ignored += [f"{a.kind} {a.value!r}" for a in target.attributes]
        ignored += [f"neighbour {place.name!r}" for place in target.near]
        ignored += [f"exclusion of {place.name!r}" for place in target.exclusions]
        if ignored:
            yield (
                f"the model segments all of {target.concept!r}; not taken into account: "
                f"{', '.join(ignored)}"
            )
    if parsed.negated and parsed.status != "negated":
        names = ", ".join(target.concept for target in parsed.negated)
        yield f"the text denies {names}; this is left out"
    if parsed.hint:
        yield parsed.hint
