"""From names to concepts: which concept a name means here, and which side it is on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.model import Attribute, Place
from textseg3d.text.grammar.parts import Mention
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import Concept, Form, Side, Target, normalise

_CLOTS = frozenset(("thrombus", "thrombi", "clot", "clots"))
_KINDS = {"artery": ("artery", "arterial"), "bone": ("bone",)}
_KINDS |= {"vertebra": ("vertebra", "bone"), "muscle": ("muscle",), "joint": ("joint",)}
_KINDS |= {"tooth": ("tooth",), "ligament": ("ligament",), "tendon": ("tendon",)}
_KINDS |= {"rib": ("rib", "bone"), "cartilage": ("cartilage",), "nerve": ("nerve",)}
_SORTS = {"bone part": "bone", "sulcus": "nervous tissue", "cavity": "region", "vessel": "region"}
_SORTS |= dict.fromkeys(("fluid space", "membrane", "opening", "junction", "skin"), "region")
_SORTS |= dict.fromkeys(
    ("organ part", "hollow organ", "lobe", "lung segment", "heart chamber", "heart part", "airway"),
    "organ",
)
_SORTS |= dict.fromkeys(("heart valve", "gland", "duct", "serous space", "tissue"), "organ")
_SORTS |= dict.fromkeys(("fissure", "lymphatic organ", "disc"), "organ")
_OPPOSITE: dict[str, str] = {"left": "right", "right": "left"}


class Contradiction(Exception):  # noqa: N818 - internal signal, its text becomes the hint
    """The prompt says two things that cannot both hold."""


@dataclass(frozen=True)
class Spot:
    """A concept with its side, and whether words (not only a plural) gave the side."""

    concept: Concept
    side: Side | None
    said: bool


def spreads(concept: Concept) -> bool:
    """Whether a concept without sides can lie on one ("left lymph nodes", "left bladder stone")."""
    if concept.fixed_side is not None:
        return False
    wide = concept.kind == "finding" or concept.category in ("region", "lymph nodes", "tissue")
    return wide or concept.plural == concept.name


def side_of_region(concept: Concept) -> Side | None:
    """The side that is part of a region's name ("left upper quadrant")."""
    if concept.category != "region":
        return None
    words = concept.name.split(" ")
    return "left" if "left" in words else "right" if "right" in words else None


def _is_mass(form: Form, concept: Concept) -> bool:
    """Whether a name is no plural ("perirenal fat"), so that it does not say both sides."""
    return form.source != "plural" and not canon.is_plural(concept.name.split(" ")[-1])


def conflict(one: str | None, other: str | None) -> bool:
    """Whether two sides cannot both hold; None holds with everything."""
    return one is not None and other is not None and one != other


def one_side(sides: Sequence[Side], listed: bool, what: str) -> list[Side | None]:
    """The side that side words ask for: "both" for "left and right", None for no word.

    Raises:
        Contradiction: for left and right without "and".
    """
    unique = list(dict.fromkeys(sides))
    if not unique:
        return [None]
    if "left" in unique and "right" in unique:
        if not listed:
            raise Contradiction(
                f"{what!r} is said to be both left and right; name one side, or write "
                f"'left and right {what}'"
            )
        return ["both"]
    if len(unique) > 1:
        if "both" in unique and listed:
            return ["both"]
        raise Contradiction(
            f"{what!r} is said to be {unique[0]} and {unique[1]} at once; name one side"
        )
    return [unique[0]]


class Refiner:
    """Chooses concepts with the help of the tree."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.tree = lexicon.tree
        self.notes: list[str] = []

    def concept(self, form: Form) -> Concept:
        """The concept that a form belongs to."""
        return self.tree.concept(form.concept)

    def family(self, concept: Concept) -> list[str]:
        """A concept and the wholes that it is part of, nearest first."""
        return [concept.name, *(whole.concept for whole in self.tree.ancestors(concept.name))]

    def related(self, one: Concept, other: Concept) -> bool:
        """Whether one of two concepts is part of the other (or they are the same)."""
        return other.name in self.family(one) or one.name in self.family(other)

    def narrower(self, one: Concept, other: Concept) -> bool:
        """Whether ``one`` is part of ``other``, or the same."""
        return other.name in self.family(one)

    def fits(self, finding: Concept, place: Concept) -> bool:
        """Whether a finding usually lies at a place."""
        family = set(self.family(place))
        return any(
            name in family or (name in self.tree and place.name in self.family_of(name))
            for name in finding.containers
        )

    def family_of(self, name: str) -> list[str]:
        """As ``family``, by name."""
        return self.family(self.tree.concept(name))

    def choose(self, mention: Mention, places: Sequence[Concept]) -> Form:
        """What a name means, given where it lies ("nodule" in a lung: pulmonary nodule)."""
        forms = mention.forms
        for place in places:
            composed = self.composed(mention, place)
            fitting = [form for form in forms if self.fits(self.concept(form), place)]
            if fitting and (len(forms) > 1 or not composed):
                return fitting[0]
            if composed:
                return composed
        plain = self._plain(mention, places)
        if plain is not None:
            return plain
        if len(forms) > 1 and forms[0].source == forms[1].source:
            others = [form for form in forms[1:] if form.source == forms[0].source]
            names = ", ".join(repr(form.concept) for form in others)
            self.notes.append(
                f"{mention.text!r} is read as {forms[0].concept!r}; it could also mean {names}"
            )
        return forms[0]

    def _plain(self, mention: Mention, places: Sequence[Concept]) -> Form | None:
        """The plain finding of a synonym that cannot lie there: "urothelial carcinoma" of a ureter.

        None if the name itself, and not only a synonym of it, stands in the text.
        """
        form = mention.forms[0]
        own = self.concept(form)
        last = mention.surface.split(" ")[-1]
        if not places or form.source not in ("synonym", "plural") or last == mention.surface:
            return None
        words = {canon.root(word) for word in mention.surface.split(" ")}
        usual = {canon.root(word) for place in own.containers for word in place.split(" ")}
        named = normalise(own.name) in (mention.surface, canon.singular(mention.surface))
        named |= own.region == "whole body"  # "FAPI-positive lesion" of the liver
        if named or words & usual or any(self._near(own, place) for place in places):
            return None
        generic = read_tables("closed")["generic"]
        plain = next((head for head, said in generic.items() if last in said), "")
        forms = self.lexicon.get(plain) if plain else ()
        found = [one for one in forms if self.concept(one).kind == "finding"]
        return found[0] if found else None

    def _near(self, finding: Concept, place: Concept) -> bool:
        """Whether a finding lies at a place, or at a part or the whole of it, or beside it."""
        if self.fits(finding, place) or not finding.containers:
            return True
        around = {*self.family(place), *place.adjacent_to}
        return any(
            name in around or self.tree.concept(name).category in ("region", "fluid space")
            for name in finding.containers
            if name in self.tree
        )

    def composed(self, mention: Mention, place: Concept) -> Form | None:
        """The finding that a place and a name make together: "liver" and "lesion"."""
        own = {form.concept for form in mention.forms}
        if place.category == "artery" and mention.surface in _CLOTS:
            return None  # a clot need not close an artery, as an arterial thrombosis does
        surfaces = list(dict.fromkeys((mention.surface, canon.singular(mention.surface), *own)))
        first, _, head = mention.surface.partition(" ")
        doubled = bool(head) and place.name.endswith(f" {first}")
        surfaces += [head] if doubled else []  # "joint effusion" of a joint
        for concept in self._wholes(place):
            for prefix in (concept.name, *concept.adjectives, *concept.synonyms):
                name = prefix.lower()
                for surface in surfaces:
                    together = (f"{name} {surface}", f"{surface} in {name}", f"{surface} of {name}")
                    for text in together:
                        for form in self.lexicon.get(text):
                            said = concept is place and prefix not in concept.adjectives
                            if self._occurs(form, concept, place) or (said and self._found(form)):
                                return form
            if " " in mention.surface:
                continue
            for form in self.lexicon.same_as(f"{concept.name} {mention.surface}"):
                if self._occurs(form, concept, place):
                    return form
        for word in _KINDS.get(place.category, ()):
            for surface in surfaces:
                for form in self.lexicon.named(f"{word} {surface}"):
                    if self._found(form):
                        return form
        return None

    def _wholes(self, place: Concept) -> list[Concept]:
        """A place and what it is a piece of: a lobe of an organ, but not an organ of a region."""
        wholes = [self.tree.concept(name) for name in self.family(place)[1:8]]
        sort = _SORTS.get(place.category, place.category)
        alike = [
            c
            for c in wholes
            if (_SORTS.get(c.category, c.category) == sort != "region")
            or place.name.endswith(f" {c.name}")  # "anterior mediastinum"
        ]
        barred = {"body"} if place.region in ("upper limb", "lower limb") else {"body", "veins"}
        aortic = "aort" in place.name  # an artery is no piece of the aorta that it comes from
        return [
            place,
            *(c for c in alike if c.name not in barred and (aortic or "aort" not in c.name)),
        ]

    def _found(self, form: Form) -> bool:
        return self.concept(form).kind == "finding" and form.source != "adjective"

    def _occurs(self, form: Form, whole: Concept | None, place: Concept) -> bool:
        """Whether a composed name is that of a finding of the place itself."""
        finding = self.concept(form)
        if finding.kind != "finding" or form.source == "adjective" or place.name == "body":
            return False
        if place.side_rule == "paired" and finding.side_rule in ("unpaired", "midline"):
            return False  # the side of an "abscess in the left psoas" would be lost
        part = whole is not None and place.category == "bone part"
        if (
            part and whole is not None and whole.name not in finding.containers
        ):  # the radial head is not the wrist
            return self.fits(finding, place)
        return self.fits(finding, place) or (whole is not None and self.fits(finding, whole))

    def changed(self, word: str, name: str, concept: Concept) -> tuple[Form, ...]:
        """The finding that a describing word makes of a structure ("dilated" and "ureter")."""
        forms = self.lexicon.named(f"{word} {name}".lower())
        own = (concept.name, concept.category)
        return tuple(
            form
            for form in forms
            if self.concept(form).kind == "finding"
            and (name in own or self.fits(self.concept(form), concept))
        )

    def described(
        self,
        mention: Mention,
        concept: Concept,
        attributes: Sequence[Attribute],
        places: Sequence[Concept],
    ) -> Concept | None:
        """The kind of a finding that its describing words name: "calcified pulmonary nodule".

        The kind must be called what the text calls it ("spiculated mass" is no nodule), and must
        occur at the place.
        """
        if any(attribute.negated for attribute in attributes):
            return None
        heads = {canon.root(words.split(" ")[-1]) for words in (mention.surface, concept.name)}
        short = any(form.source == "abbreviation" for form in mention.forms[:1])  # "chronic PE"
        written = concept.name.lower() if short else mention.surface
        said = {canon.root(word) for word in written.split(" ")}
        taken_apart = mention.specific not in (None, *(form.concept for form in mention.forms[:1]))
        found = [mention.specific] if mention.specific and taken_apart else []
        for attribute in attributes:
            if attribute.kind not in ("interpretation", "consistency", "position"):
                forms = self.lexicon.named(f"{attribute.value} {concept.name}".lower())
                found += [form.concept for form in forms[:1]]
        for name in found:
            kind = self.tree.concept(name)
            named = {canon.root(word) for word in name.lower().split(" ")}
            plain = name in read_tables("closed")["generic"]
            fits = not places or any(self.fits(kind, place) for place in places)
            fits |= any(place.category == "fissure" for place in places)  # "along a fissure"
            named |= {canon.root(word) for place in kind.containers for word in place.split(" ")}
            fits &= said <= named  # an "old lacunar infarct" is a lacunar infarct
            other = name != concept.name and not concept.name.endswith(name)
            if kind.kind == "finding" and other and heads & named and not plain and fits:
                return kind
        return None

    def spots(
        self, mention: Mention, sides: Sequence[Side], listed: bool, form: Form | None = None
    ) -> list[Spot]:
        """The concept of an anatomical name on each side that is asked for.

        Raises:
            Contradiction: if the sides exclude each other or the concept does not have them.
        """
        form = form or mention.forms[0]
        concept = self.concept(form)
        words = [*mention.sides, *sides]
        if form.side == "both" and concept.plural == concept.name and _is_mass(form, concept):
            form = form._replace(side=None)
        found = []
        for side in one_side(words, listed or len(mention.sides) > 1, concept.name):
            form_side = None if side is not None and form.side == "both" else form.side
            if conflict(side, form_side):
                raise Contradiction(self._no_such_side(concept, side, form_side, mention.text))
            said = side is not None or form.side in ("left", "right")
            found.append(Spot(concept, side or form_side, said))
        return found

    def checked(self, spot: Spot, text: str) -> Spot:
        """A spot whose side its concept really has.

        Raises:
            Contradiction: for "left middle lobe" or "left liver".
        """
        concept, side = spot.concept, spot.side
        if side is None or concept.allows(side) or spreads(concept):
            return spot
        if side == "both" and concept.side_rule in ("unpaired", "midline") and not spot.said:
            return Spot(concept, None, False)
        raise Contradiction(self._no_such_side(concept, side, concept.fixed_side, text))

    def _no_such_side(
        self, concept: Concept, side: str | None, fixed: str | None, text: str
    ) -> str:
        if fixed in ("left", "right") and concept.fixed_side:
            return f"{concept.name!r} exists only on the {fixed}; leave {side!r} out or change it"
        if fixed in ("left", "right"):
            return f"{text!r} is on the {fixed}, but the prompt says {side}; name one side"
        near = [
            name
            for name in (f"{side} lobe of {concept.name}", f"{side} {concept.name} lobe")
            if self.lexicon.get(name)
        ]
        instead = f", or {near[0]!r}" if near else ""
        return f"{concept.name!r} is a single structure without a {side} one; write " + (
            f"{concept.name!r}{instead}"
        )

    def place(self, spot: Spot, position: str = "") -> Place:
        """How a container is written, with its side."""
        concept, side = spot.concept, spot.side
        if concept.allows(side):
            name = self.tree.canonical_name(Target(concept.name, side))
        else:
            name = " ".join(part for part in (side or "", position, concept.name) if part)
        return Place(concept.name, side, name)

    def merge(self, spots: Iterable[Spot], others: Iterable[Spot]) -> list[Spot]:
        """The narrower of two related places, with the side that either gives.

        Raises:
            Contradiction: if they are on different sides.
        """
        merged = []
        for one in spots:
            for other in others:
                inner, outer = one, other
                if not self.narrower(one.concept, other.concept):
                    inner, outer = other, one
                side, said = inner.side, inner.said
                lies = outer.concept.side_rule == "paired" or inner.concept.side_rule == "paired"
                if not inner.said and lies and outer.said:
                    side, said = outer.side, True
                elif outer.said and outer.side != "both" and conflict(inner.side, outer.side):
                    raise Contradiction(
                        f"{inner.concept.name!r} is said to be {inner.side} and "
                        f"{outer.concept.name!r} {outer.side}; name one side"
                    )
                merged.append(Spot(inner.concept, side, said))
        return merged
