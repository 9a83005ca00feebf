"""From the words of a prompt to what the model is asked, before any weight is loaded.

A prompt becomes one or more concepts that the model knows, each under its canonical name, so
that every wording of a thing gives the same mask; what it says beyond names (place, side, size,
order, count, exclusions) becomes the recipe by which `compose` makes the mask.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from textseg3d.errors import PromptError
from textseg3d.inference.compose import Area, Choice, Recipe
from textseg3d.text.normalise import normalise_text

if TYPE_CHECKING:
    from textseg3d.text.grammar import ParsedPrompt, Place, PromptTarget
    from textseg3d.text.knowledge import Concept, KnowledgeTree, Side
    from textseg3d.zoo import ModelCard

MAX_PROMPTS = 1000
ANYTHING = "*"
"""In a card's concepts: the model takes any text, and is asked with the prompt's own words."""
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
        parts: the things asked for, united; empty unless the status is "ok".
        recipes: how the mask of each target is made; the union of these is the answer.
        alternative: another way to the same mask, to compare with where its parts are known.
        codes: codes of the concepts, ``{"scheme", "value", "meaning"}``.
        warnings: one line each.
    """

    text: str
    status: Literal["ok", "negated", "unknown"]
    parts: tuple[Part, ...] = ()
    codes: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    alternative: Recipe | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the network is asked for this prompt, each name once."""
        recipes = list(self.recipes)
        other = self.alternative
        if other is not None and (other.within or other.areas or other.without):
            recipes.append(other)  # the words name two things; both are looked at
        return tuple(dict.fromkeys(name for recipe in recipes for name in recipe.names))


class Vocabulary:
    """What a model knows, found by concept and side.

    Args:
        names: canonical names of the model's card; :data:`ANYTHING` stands for any text.
        tree: knowledge tree; None loads the bundled one.
        wordings: name → more texts that mean it; they join the bundled tree.
    """

    def __init__(
        self,
        names: Iterable[str],
        tree: KnowledgeTree | None = None,
        wordings: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        from textseg3d.text.grammar.lexicon import lexicon_of
        from textseg3d.text.knowledge.own import with_own_words

        given = tuple(names)
        self.anything = ANYTHING in given
        self.names = tuple(name for name in given if name != ANYTHING)
        self.wordings = dict(wordings or {})
        self.tree = with_own_words(self.wordings) if tree is None else tree
        lexicon_of(self.tree)  # kept on disk with the names that are looked up here
        self._by_text = {normalise_text(name): name for name in self.names}
        for name, texts in self.wordings.items():
            for text in texts:
                self._by_text.setdefault(normalise_text(text), name)
        self._by_key: dict[_Key, str] = {}
        for name in self.names:
            for concept, side in self._lookup(name):
                self._by_key.setdefault(self._key(concept.name, side), name)

    @classmethod
    def of(cls, card: ModelCard) -> Vocabulary:
        """What the model of a card knows."""
        return cls(card.concepts, wordings=card.wordings)

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
            recipe = Recipe(named, (named,))
            other = self._alternative(parsed, named)
            parts = (self._part(named),)
            return PromptRequest(text, "ok", parts, _codes(parsed), (), (recipe,), other)
        if parsed.status in ("empty", "contradiction"):
            hint = f"; {parsed.hint}" if parsed.hint else ""
            what = "is empty" if parsed.status == "empty" else "contradicts itself"
            raise PromptError(f"the prompt {text[:80]!r} {what}{hint}")
        codes = _codes(parsed)
        if parsed.status == "negated":
            name = " and ".join(t.concept for t in parsed.targets) or text
            warning = f"{text!r} says that there is none; to segment it, ask for {name!r}"
            return PromptRequest(text, "negated", (), codes, (warning,))
        if self.anything:
            sides = {target.side for target in parsed.targets}
            side = sides.pop() if len(sides) == 1 else None
            part = Part(text, side) if side in ("left", "right") else Part(text)
            return PromptRequest(text, "ok", (part,), codes, (), (Recipe(text, (text,)),))
        recipes: list[Recipe] = []
        ignored: list[tuple[PromptTarget, list[str]]] = []
        for target in self._merged(parsed.targets):
            made = self._recipe(target)
            if made is None:
                return self._unknown(text, parsed, target.concept, target.side)
            recipes.append(made[0])
            ignored.append((target, made[1]))
        if not recipes:
            return self._unknown(text, parsed, None, None)
        names = dict.fromkeys(name for recipe in recipes for name in recipe.parts)
        return PromptRequest(
            text,
            "ok",
            tuple(self._part(name) for name in names),
            codes,
            tuple(_warnings(parsed, ignored)),
            tuple(dict.fromkeys(recipes)),
            self._sided_alternative(parsed, recipes),
        )

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

    def _merged(self, targets: Sequence[PromptTarget]) -> Sequence[PromptTarget]:
        """Both sides in place of left and right of one thing, where the model knows the pair."""
        if len(targets) != 2 or {target.side for target in targets} != {"left", "right"}:
            return targets
        first, second = (replace(target, side="both", codes=()) for target in targets)
        known = first.concept in self.tree and self._key(first.concept, "both") in self._by_key
        return (first,) if first == second and known else targets

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

    def _recipe(
        self, target: PromptTarget, skip: str | None = None
    ) -> tuple[Recipe, list[str]] | None:
        """How to make a target's mask, and what could not be taken into account.

        Args:
            target: what is asked.
            skip: a name that may not be used.

        Returns:
            None if the model does not know the thing itself.
        """
        found, side = self._find(target.concept, target.side, skip)
        attributes = [f"{a.kind} {a.value!r}" for a in target.attributes]
        if target.broader is not None:
            if found:  # the model knows the thing together with what describes it
                attributes = []
            else:
                found, side = self._find(target.broader, target.side, skip)
        together = None
        if not found:
            together = self._together(target.concept, skip)
            if together is None:
                return None
            found = [together]
        if target.order is not None and side is None and len(found) == 1 and found[0].side is None:
            found = self._halves(target.concept, target.side, skip) or found
        finding = (
            target.concept in self.tree and self.tree.concept(target.concept).kind == "finding"
        )
        ignored: list[str] = []
        if together is not None:
            ignored.append(f"where it ends inside {together.name!r}, which the model knows whole")
        within: list[Part] = []
        areas: tuple[Area, ...] = ()
        place = target.container_place
        if target.further_places:
            areas, unknown = self._areas(target.places, skip)
            ignored += unknown
            if areas and all(place.side == side for place in target.places):
                side = None  # every place has the side already
        elif place is not None and not self._implied(target):
            within, place_side = self._find(place.concept, place.side, skip)
            if not within:
                within, wider = self._wider_place(place, skip)
                ignored.append(f"place {place.name!r}" + (f" (only {wider!r})" if wider else ""))
                place_side = None
            if place_side is not None:
                side = place_side
            elif within and all(part.side == side for part in within):
                side = None  # the place has the side already
        without: list[Part] = []
        for other in target.exclusions:
            parts, cut = self._find(other.concept, other.side, skip)
            if cut is not None or not parts:
                ignored.append(f"exclusion of {other.name!r}")
            else:
                without += parts
        ignored += [*attributes, *(f"neighbour {near.name!r}" for near in target.near)]
        order = target.order
        recipe = Recipe(
            target=self._name(target.concept, target.side),
            parts=_names(found),
            finding=finding,
            within=_names(within),
            areas=areas,
            side=side,
            size_mm=target.size_mm,
            volume_ml=target.volume_ml,
            order=Choice(order.by, order.rank, order.count) if order else None,
            count=target.count if target.side != "both" else None,
            without=_names(without),
        )
        return recipe, ignored

    def _together(self, concept: str, skip: str | None) -> Part | None:
        """What the model knows only together with a neighbour: "portal vein and splenic vein"."""
        if concept not in self.tree:
            return None
        for whole in self.tree.concept(concept).part_of:
            known = self._by_key.get(self._key(whole, None))
            if known is not None and known != skip and concept in whole.split(" and "):
                return self._part(known)
        return None

    def _find(
        self, concept: str, side: str | None, skip: str | None
    ) -> tuple[list[Part], Literal["left", "right"] | None]:
        """Parts of a concept, and the side that still has to be cut out of them."""
        found = self._resolve(concept, side, skip)
        wanted: Literal["left", "right"] = "left" if side == "left" else "right"
        if side not in ("left", "right"):
            return found, None
        if found:
            return found, wanted if any(part.side != wanted for part in found) else None
        if concept in self.tree and self.tree.concept(concept).side_rule == "paired":
            whole = self._by_key.get(self._key(concept, "both"))
            found = [self._part(whole)] if whole is not None and whole != skip else []
        return found, wanted if found else None

    def _halves(self, concept: str, side: str | None, skip: str | None) -> list[Part]:
        """Left and right part of a pair, so that an order can choose; nothing if unknown."""
        if concept not in self.tree or self.tree.concept(concept).side_rule != "paired":
            return []
        if side not in (None, "both"):
            return []
        sides = [self._resolve(concept, one, skip) for one in ("left", "right")]
        return sides[0] + sides[1] if all(sides) else []

    def _wider_place(self, place: Place, skip: str | None) -> tuple[list[Part], str | None]:
        """The nearest whole of an unknown place that the model knows, and its name."""
        from textseg3d.text.knowledge import Target

        if place.concept not in self.tree:
            return [], None
        for whole in self.tree.ancestors(Target(place.concept, place.side)):
            found, side = self._find(whole.concept, whole.side, skip)
            if found and side is None:
                return found, self._name(whole.concept, whole.side)
        return [], None

    def _areas(
        self, places: Sequence[Place], skip: str | None
    ) -> tuple[tuple[Area, ...], list[str]]:
        """Several places as the model can make them, and what it does not know of them.

        No area at all where one place is unknown together with all wholes of it: a mask without
        that place would miss what was asked for.
        """
        areas: list[Area] = []
        ignored: list[str] = []
        for place in places:
            found = self._find(place.concept, place.side, skip)[0]
            if not found:
                found, wider = self._wider_place(place, skip)
                ignored.append(f"place {place.name!r}" + (f" (only {wider!r})" if wider else ""))
            if not found:
                return (), [f"place {place.name!r}" for place in places]
            side = place.side if place.side in ("left", "right") else None
            cut = side is not None and any(part.side != side for part in found)
            areas.append(Area(_names(found), side if cut else None))
        return tuple(dict.fromkeys(areas)), ignored

    def _implied(self, target: PromptTarget) -> bool:
        """Whether the place says nothing new: a whole that the structure is a part of."""
        place = target.container_place
        if place is None or target.concept not in self.tree:
            return False
        from textseg3d.text.knowledge import Target

        if self.tree.concept(target.concept).kind == "finding":
            return False
        wholes = self.tree.ancestors(Target(target.concept, target.side))
        return any(whole.concept == place.concept for whole in wholes)

    def _alternative(self, parsed: ParsedPrompt, named: str) -> Recipe | None:
        """Another way to make what the model knows as ``named``."""
        if parsed.status != "ok" or len(parsed.targets) != 1:
            return None
        made = self._recipe(parsed.targets[0], skip=named)
        return made[0] if made is not None and not made[1] else None

    def _sided_alternative(self, parsed: ParsedPrompt, recipes: list[Recipe]) -> Recipe | None:
        """The same for a synonym of one name that the model knows."""
        if len(recipes) != 1 or not recipes[0].plain or len(recipes[0].parts) != 1:
            return None
        return self._alternative(parsed, recipes[0].parts[0])

    def _resolve(self, concept: str, side: str | None, skip: str | None = None) -> list[Part]:
        """Known parts whose union is the whole of a target, or nothing; ``skip`` is not used."""
        from textseg3d.text.knowledge import Target

        if concept not in self.tree:
            return []

        def known(concept: str, side: str | None) -> str | None:
            name = self._by_key.get(self._key(concept, side))
            return None if name == skip else name

        whole = known(concept, side)
        if whole is not None:
            return [self._part(whole)]
        if self.tree.concept(concept).side_rule == "any":  # a finding, known without a side
            bare = self._by_key.get((concept, None))
            return [self._part(bare)] if bare and bare != skip else []
        parts = self.tree.parts(Target(concept, side))  # type: ignore[arg-type]
        names = [known(p.concept, p.side) for p in parts]
        if parts and all(names):
            return [self._part(name) for name in names if name]
        if self.tree.concept(concept).side_rule == "paired" and side in (None, "both"):
            sides = [self._resolve(concept, one, skip) for one in ("left", "right")]
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


def _names(parts: Iterable[Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.name for part in parts))


def _warnings(
    parsed: ParsedPrompt, ignored: Iterable[tuple[PromptTarget, list[str]]]
) -> Iterable[str]:
    """What is not taken into account, so that nobody believes that it was."""
    if parsed.status == "uncertain":
        yield f"{parsed.text!r} is said with doubt; it is segmented as if it were certain"
    for correction in parsed.corrections:
        yield f"{correction.got!r} was read as {correction.read_as!r}"
    for target, left_out in ignored:
        if left_out:
            yield (
                f"the mask of {target.concept!r} is wider than asked; not taken into account: "
                f"{', '.join(left_out)}"
            )
    if parsed.negated and parsed.status != "negated":
        names = ", ".join(target.concept for target in parsed.negated)
        yield f"the text denies {names}; this is left out"
    if parsed.hint:
        yield parsed.hint
