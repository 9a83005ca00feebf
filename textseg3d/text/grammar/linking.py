"""Which phrase is a target, which one says where it lies, and which one is left out."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from textseg3d.text.grammar import placing
from textseg3d.text.grammar.assemble import change
from textseg3d.text.grammar.nodes import Node, is_level
from textseg3d.text.grammar.oneside import share_side, with_told_side
from textseg3d.text.grammar.parts import abnormal
from textseg3d.text.grammar.placing import (
    again,
    apposed,
    bare,
    ends_clause,
    in_limb,
    is_artifact,
    is_region,
    listed,
    made_of,
    made_part,
    more_denied,
    narrow,
    part,
    plausible,
    related,
    row_in_place,
    said,
    sided_place,
    unsided_pair,
    usual,
    usual_region,
)
from textseg3d.text.grammar.refine import Refiner
from textseg3d.text.grammar.sharing import distributed
from textseg3d.text.grammar.words import read_tables
from textseg3d.text.knowledge import normalise

_LIST = {"and", "or", "comma"}
_TREES = ("artery", "vein", "nerve")  # a branch is no place of its trunk
_OPERATIONS = ("ectomy", "otomy", "resection", "amputation", "repair", "surgery", "closure")
_PAST = ("status post", "post ", "s/p", "s / p", "after ")


@lru_cache(maxsize=1)
def signs() -> frozenset[str]:
    """Findings that, behind another one, only tell how that one looks."""
    return frozenset(read_tables("describing")["signs"]["sign"])


class Linker:
    """Gives every node of a sentence its role.

    Args:
        nodes: the nodes, in order.
        refiner: chooses concepts.
        closed: whether the sentence ends in a full stop, as those of reports do.
    """

    def __init__(self, nodes: list[Node], refiner: Refiner, closed: bool = False) -> None:
        self.nodes = nodes
        self.refiner = refiner
        self.closed = closed
        self.anchor: Node | None = None
        self.owners: list[Node] = []
        self.subject: Node | None = None
        self.header: Node | None = None
        self._previous_role = ""

    def link(self) -> list[Node]:
        """The targets of the sentence."""
        targets: list[Node] = []
        previous: Node | None = None
        for node in self._without_past():
            self._previous_role = previous.role if previous is not None else ""
            self._role(node, previous, targets)
            if node.role == "target":
                targets.append(node)
                self.anchor = node
            previous = node
        if not targets:  # "mass effect on the ventricle from a meningioma"
            targets = [replace(node, role="target") for node in self.nodes if node.finding]
        found = [node for node in distributed(targets, self.refiner) if node.role == "target"]
        found = self._without_subject(found)
        with_told_side(found, self.refiner)
        for node in found:
            node.words.denied &= self.closed or any(other.negated for other in found)
        return [node for node in found if not is_artifact(node)] or found

    def _without_subject(self, found: list[Node]) -> list[Node]:
        """Reads "Pancreas perfused, without evidence of necrosis." as the denial alone.

        The same for a doubt: "Swollen epiglottis, ? epiglottitis".
        """
        count = placing.sound_together(found)
        subject, denied = found[:count], found[count:]
        if not (subject and denied) or subject[0].finding or subject[0].negated:
            return found
        doubted = all(node.uncertain and node.cued for node in denied)
        if not (self.closed or doubted) or subject[0].uncertain:
            return found
        lies = any(plausible(node, one, self.refiner) for node in denied for one in subject)
        for node in denied:
            linked = bool(node.links & {"comma", "without"}) or doubted
            linked |= node is not denied[0] and node.links <= {"or", "and"}
            linked |= not (node.links or self._abnormal(subject[0]) or self._abnormal(node))
            if not (node.finding and (node.negated or doubted) and lies and linked):
                return found
        for node in denied:
            if not node.containers and not node.before:
                lying = [one for one in subject if plausible(node, one, self.refiner)]
                node.containers += [[one] for one in lying[:1] or subject[:1]]
        return denied

    def _abnormal(self, node: Node) -> bool:
        """Whether anything is said of a structure that it is not normal: "dilated"."""
        return any(map(abnormal, node.words.attributes))

    def _without_past(self) -> list[Node]:
        """The nodes without what only says since when: "sternal wires after bypass surgery"."""
        kept: list[Node] = []
        past = False
        left = self._without_operations()
        if left is not self.nodes and "without" in left[0].links:
            left[0].negated = True  # "status post nephrectomy without residual mass"
        for node in left:
            more = past and node.links in ({"and"}, {"or"}, {"in"})
            past = more or (node.finding and "after" in node.links)
            if not past:
                kept.append(node)
        return kept or self.nodes

    def _without_operations(self) -> list[Node]:
        """The nodes without states after surgery that only tell about another finding."""
        operated = [self._operated(node) for node in self.nodes]
        if not any(operated) or all(operated):
            return self.nodes
        others = [node for node, state in zip(self.nodes, operated) if not state]
        listed = {"and", "comma", "but"}  # "s/p lobectomy; pleurodesis"
        if all(node.links <= listed and self._after_surgery(node) for node in others):
            return self.nodes  # "status post splenectomy and fundoplication"
        sides = {said(node) for node, state in zip(self.nodes, operated) if state} - {None}
        apart = any(
            node.links <= {"comma", "colon"} and sides and said(node) not in (None, *sides)
            for node in others  # "status post left pneumonectomy - the remaining right lung"
        )
        named = any(node.finding and not node.mention.tail for node in others)
        for one, node in zip(self.nodes, self.nodes[1:]):
            past = one.historical or one.mention.surface.startswith(_PAST)
            node.historical |= past and node.finding and node.links == {"in"}  # "for cancer"
        return others if apart or named else self.nodes

    def _after_surgery(self, node: Node) -> bool:
        forms = node.mention.forms
        return bool(forms) and self.refiner.concept(forms[0]).category == "postoperative"

    def _operated(self, node: Node) -> bool:
        forms = node.mention.forms
        concept = self.refiner.concept(forms[0]) if forms else None
        state = concept is not None and concept.category == "postoperative"
        names = (node.mention.surface, concept.name if concept is not None else "")
        state = state and any(name.endswith(_OPERATIONS) for name in names)
        return state and not node.negated and not node.uncertain

    def _role(self, node: Node, previous: Node | None, targets: list[Node]) -> None:
        links, anchor = node.links, self.anchor
        if anchor is None or previous is None:
            if "near" in links:
                node.role = "near"
            return
        if links & {"exclude", "without"}:
            sound = self.closed and not self._abnormal(anchor)
            if "without" in links and node.finding and (anchor.finding or sound):
                node.negated = True
            else:
                node.role = "excluded"
                anchor.exclusions.append(node)
        elif more_denied(self.nodes, node, previous):
            node.negated = True
            node.links = {*links, "without"}
        elif self._more_excluded(node, previous):
            node.role = "excluded"
            anchor.exclusions.append(node)
        elif "but" in links:
            return
        elif "after" in links and "in" not in links and anchor.finding and not node.finding:
            node.role = "near"  # "following the spleen on all phases"
            anchor.near.append(node)
        elif "near" in links or self._more_near(node, previous):
            node.role = "near"
            anchor.near.append(node)
            around = "around" in links or (
                "beside" in links and self._placeless(anchor) and usual(anchor, node, self.refiner)
            )
            free = anchor.finding or unsided_pair(anchor, self.refiner)
            if around and free and not (anchor.words.sides or anchor.containers):
                own = [*node.mention.sides, *(f.side for f in node.mention.forms[:1])]
                own = [side for side in own if side in ("left", "right")]
                anchor.words.sides = [*(node.words.sides or own)]  # "fluid around the left kidney"
        elif self._reading(node):
            node.role = "reading"
            anchor.readings.append(node)
            names = [form.concept for n in (node, anchor) for form in n.mention.forms[:1]]
            if len(names) == 2 and names[0] == names[1] and not anchor.negated:
                anchor.uncertain |= node.uncertain  # "ribboning, suspicious for CJD"
        elif "described" in links and not anchor.finding:
            anchor.role = "container"  # "hyperintensity along the tract, representing …"
            node.containers.append([anchor])
        elif apposed(anchor, node):
            anchor.role = "container"  # "the ureter passes behind …, a retrocaval ureter"
            node.containers.append([anchor])
        elif not node.finding:
            self._place(node, previous, targets)
        elif links == {"in"} and anchor.finding and node.negated == anchor.negated:
            self._within(node)
        elif self._sign(node):
            node.role = "sign"
            if anchor.words.sizes == [] and not {"and", "or"} & links:
                anchor.words.sizes += node.words.sizes
        else:
            self._headed(node, previous)
            self._subject(node, previous)

    def _within(self, node: Node) -> None:
        """A finding in or on another one: "clip on the left aneurysm", "gas in the abscess"."""
        anchor = self.anchor
        if anchor is None or not node.mention.forms:
            return
        node.role = "sign"
        own = [side for m in node.before for side in (*m.sides, m.forms[0].side) if side]
        anchor.words.sides = anchor.words.sides or [*(node.words.sides or own[:1])]
        noun = node.mention.forms[0].concept.split(" ")[-1]
        forms = self.refiner.lexicon.named(f"{noun} {anchor.mention.surface}")
        if forms and self.refiner.concept(forms[0]).kind == "finding":
            anchor.mention = replace(anchor.mention, forms=forms, specific=None)

    def _sign(self, node: Node) -> bool:
        """Whether a finding only tells how the one before it looks: "with surrounding edema"."""
        anchor, links = self.anchor, node.links
        apart = node.negated and node.cued  # "Gallbladder: no stones, no wall thickening."
        if anchor is None or not anchor.finding or node.negated != anchor.negated or apart:
            return False
        behind = bool(links & {"with", "has"}) or (self.closed and links == {"comma"})
        own = node.before or node.words.count or any(s != "both" for s in node.words.sides)
        names = {normalise(node.mention.surface), *(f.concept for f in node.mention.forms[:1])}
        made = "with" in links and made_of(anchor, node, self.refiner)
        return behind and not own and (bool(names & signs()) or made)

    def _reading(self, node: Node) -> bool:
        """Whether a node says what the finding before it is taken for."""
        anchor, words = self.anchor, node.words
        if anchor is None or not (node.finding and anchor.finding):
            return False
        if "reading" in node.links or again(anchor, node):
            return True
        if not node.uncertain:
            return False
        own = words.sides or words.count or node.before or (words.sizes and anchor.words.sizes)
        follows = node.cued and node.links <= {"comma"} and not anchor.negated
        if not follows or anchor.uncertain or own:
            return False
        anchor.words.sizes += words.sizes  # "mass, most likely a meningioma, 31 mm"
        return True

    def _more_excluded(self, node: Node, previous: Node) -> bool:
        listed = bool(node.links) and node.links <= _LIST
        return listed and previous.role == "excluded" and (node.finding or not previous.finding)

    def _more_near(self, node: Node, previous: Node) -> bool:
        row = bool(node.before) and is_level(node.before[0]) and is_level(previous.mention)
        joined = bool(node.links & {"and", "or"}) and (row or not node.finding)
        return joined and previous.role == "near"  # "above the L4-S1 fusion"

    def _place(self, node: Node, previous: Node, targets: list[Node]) -> None:
        """An anatomical name behind a target: does it say where the target lies?"""
        links, anchor = node.links, self.anchor
        if anchor is None:
            return
        if self._described(node):
            node.role = "sign"
            anchor.words.sizes = anchor.words.sizes or node.words.sizes
            return
        if "colon" in links and previous is anchor and self._heading(anchor, node):
            anchor.role = "heading"
            self.header = anchor
        if self.header is not None and links and links <= {*_LIST, "colon"}:
            self._under_header(node)
            return
        if not links and previous.role in ("near", "sign", "reading"):
            node.role = previous.role  # "distal to the embolized segmental artery"
            return
        if "in" in links:
            chained = previous.role == "container" and not links & _LIST
            if chained and self.owners:
                for owner in self.owners:
                    owner.containers[-1].append(node)
            else:
                self._contain(node, targets)
        elif previous.role == "container" and (not links or links <= _LIST):
            limb = is_region(anchor, node, self.refiner) and said(previous) is None
            limb = limb and said(node) in ("left", "right")  # "fifth metatarsal, right foot"
            if not links or (
                links <= {"comma"} and (limb or related(previous, node, self.refiner))
            ):
                for owner in self.owners:
                    owner.containers[-1].append(node)
                node.role = "container"
            elif row_in_place(previous, node, self.owners):
                node.role = "container"
                for owner in self.owners:
                    owner.containers[-1].append(node)
            elif anchor.finding and self.owners:
                share_side(previous, node, self.refiner)
                self._contain(node, targets)
            return
        elif not anchor.finding and previous is anchor:
            apart = not links or (links == {"comma"} and not anchor.words.sides)
            named = links and node.mention.surface.split(" ")[-1] in ("vertebra", "disc", "disk")
            beside = links <= {"comma"} and not is_level(anchor.mention) and not named
            if beside and is_level(node.mention):
                self._contain(node, targets)  # "neural foramen L4-5 left"
                anchor.words.sides = anchor.words.sides or node.words.sides
                node.words.sides = []
                return
            if not links and is_level(anchor.mention) and node.words.sides:
                narrow(anchor, node, self.refiner, swap=True)  # "L4 left pedicle"
                return
            region = is_region(anchor, node, self.refiner)
            region |= unsided_pair(anchor, self.refiner) and (
                not links or part(anchor, node, self.refiner)
            )
            if apart and node.words.sides and region and ends_clause(self.nodes, node):
                self._contain(node, targets)  # "popliteal vein left leg"
                return
            share_side(anchor, node, self.refiner)
            alone = not links or (links == {"comma"} and not node.words.sides)
            alone &= not links or self.refiner.concept(node.mention.forms[0]).category not in _TREES
            alone &= not (links == {"comma"} and listed(self.nodes, anchor, node))
            if alone and related(anchor, node, self.refiner) and not anchor.before:
                narrow(anchor, node, self.refiner)
            return
        elif anchor.finding and self._placeless(anchor) and previous is anchor:
            region = self.closed and is_region(anchor, node, self.refiner)
            likely = (
                region
                or plausible(anchor, node, self.refiner)
                or (node is self.nodes[-1] and in_limb(anchor, node, self.refiner))
                or (links == {"comma"} and usual_region(anchor, node, self.refiner))
                or (links == {"comma"} and sided_place(anchor, node, self.nodes, self.refiner))
            )
            if not links or (links <= {"comma", "colon"} and likely):
                self._contain(node, targets)
            return
        else:
            return
        node.role = "container"

    def _placeless(self, anchor: Node) -> bool:
        """Whether no place of a finding was named, save in a heading ("Lungs: nodule LLL")."""
        own = [chain for chain in anchor.containers if chain[0] is not self.subject]
        return not own and not anchor.before

    def _heading(self, anchor: Node, node: Node) -> bool:
        """Whether a name only says what kind of things follow: "wrist bones: lunate, hamate"."""
        if anchor.finding or anchor.containers:
            return False
        kind = self.refiner.concept(anchor.mention.forms[0])
        one = self.refiner.concept(node.mention.forms[0])
        if kind.category in ("region", "joint", "limb") and said(anchor) is not None:
            return kind.name != one.name  # "left foot: calcaneus, talus"
        return self.refiner.narrower(one, kind) and one.name != kind.name

    def _under_header(self, node: Node) -> None:
        """Gives a structure the side of the heading that it is listed under."""
        side = said(self.header) if self.header is not None else None
        own = self.refiner.concept(node.mention.forms[0])
        sided = side in ("left", "right") and own.side_rule == "paired"
        if side is not None and sided and said(node) in (None, "both"):
            node.words.sides = [side]
        elif self.header is not None and own.category == "lymph nodes":
            node.containers.append([self.header])

    def _described(self, node: Node) -> bool:
        """Whether a structure only tells about the finding before it: "hernia with colon"."""
        anchor, links = self.anchor, node.links
        if anchor is None or not anchor.finding or anchor.negated:
            return False
        if links & {"with", "has"} and "but" not in links:
            sides = {*anchor.words.sides, *node.words.sides}  # "left mass with right nodes"
            return not (node.words.sides and sides >= {"left", "right"})
        if links and links <= _LIST and self._previous_role == "sign" and not node.words.sides:
            return True
        listed = links == {"comma"}
        own = node.words.attributes or node.words.sides == []
        return self.closed and listed and bool(own) and not plausible(anchor, node, self.refiner)

    def _contain(self, node: Node, targets: list[Node]) -> None:
        """Makes ``node`` a container of the anchor and of the bare findings listed before it."""
        node.role = "container"
        anchor = self.anchor
        if anchor is None:
            return
        whole = targets[-2] if len(targets) > 1 and "without" in anchor.links else None
        if whole and anchor.negated and whole.finding and not whole.negated:
            anchor = whole if bare(whole) else anchor  # "nodule without fat in the right lung"
        owners = [anchor]
        listed = bool(anchor.links & _LIST) and (anchor.finding or bool(node.words.sides))
        listed = listed and "but" not in anchor.links
        for target in reversed(targets[:-1]):
            if not (listed and target.finding == anchor.finding and bare(target)):
                break
            near = is_region(target, node, self.refiner) or plausible(target, node, self.refiner)
            near |= node.words.sides != [] and not plausible(anchor, node, self.refiner)
            if target.finding and not near:
                break  # "left-sided IVC and retroaortic course of the renal vein"
            owners.append(target)
            listed = bool(target.links & _LIST)
        if not any(anchor is owner for owner in self.owners):
            self.owners = owners
        for owner in self.owners:
            self._instead_of_heading(owner, node)
            owner.containers.append([node])

    def _instead_of_heading(self, owner: Node, node: Node) -> None:
        """Reads "right leg: occlusion of the popliteal artery" as that of the right artery."""
        heading = self.subject
        if heading is None or owner.containers != [[heading]]:
            return
        if made_part(node, heading, self.refiner) or related(heading, node, self.refiner):
            return
        side = said(heading)
        owner.containers.clear()
        if side is not None and said(node) is None and said(owner) is None:
            owner.words.sides = [side]

    def _headed(self, node: Node, previous: Node) -> None:
        """Reads "left lower lobe, 5 mm nodule" as a place and what is found there."""
        alone = len(self.nodes) == 2 and node.links == {"comma"} and not previous.finding
        if alone and "in" in previous.links and not previous.negated:
            node.links = {"colon"}  # "in the left kidney, a stone"
            if is_level(previous.mention):  # "At S2 on the left, a cyst"
                node.words.sides = node.words.sides or previous.words.sides
                previous.words.sides = []
            return
        told = node.before or node.words.sides or previous.negated
        if not alone or told or not node.mention.forms:
            return
        place = self.refiner.concept(previous.mention.forms[0])
        if self.refiner.composed(node.mention, place) is not None:
            node.links = {"colon"}

    def _subject(self, node: Node, previous: Node) -> None:
        """A finding behind an anatomical subject: "the left kidney shows a cyst"."""
        links, anchor = node.links, self.anchor
        if previous.role == "near" and "colon" in links and anchor and not anchor.finding:
            previous = anchor  # "left breast, 5 cm from the nipple: mass"
        level = not links and is_level(previous.mention)  # "L5-S1 left paracentral protrusion"
        if (level or links & {"colon", "has", "with"}) and not previous.finding:
            place = self.refiner.concept(previous.mention.forms[0])
            own = "with" in links and change(previous, place, self.refiner) is not None
            if previous.role == "target":
                previous.role = "target" if own else "container"  # "dilated duct with a stone"
                self.subject = previous
                self._listed_subjects(node, previous)
        elif self.subject is not None and links == {"with"} and said(node) is None:
            node.words.sides = [s for s in [said(self.subject)] if s in ("left", "right")]
            return  # "left hip: labral tear with a paralabral cyst"
        elif not (self.subject is not None and links <= _LIST and not node.before):
            self.subject = None
        if self.subject is not None and not node.before:
            node.containers.append([self.subject])

    def _listed_subjects(self, node: Node, last: Node) -> None:
        """Reads "Liver and spleen: no lesion" as the lesions of both."""
        at = next(at for at, other in enumerate(self.nodes) if other is last)
        while at > 0 and self.nodes[at].links and self.nodes[at].links <= _LIST:
            at -= 1
            one = self.nodes[at]
            if one.finding or one.role != "target" or one.containers:
                return
            one.role = "container"
            node.containers.append([one])
