"""The knowledge tree: what a concept is called, where it lies, what it consists of.

Data lies in ``data/*.jsonl``, one concept a line, split by body region. Importing this package
costs no torch; ``load_tree()`` reads the data once per process.

The rule for sides. ``Concept.name`` is unsided wherever left and right are the two mirror images
of one structure ("kidney", "lower lobe of lung", "6th rib"); the side then stands in
``Target.side``. Where the words left and right tell two *different* structures apart, they belong
to the name and the side is None: heart chambers ("left atrium") and their valves and appendages,
coronary arteries, hepatic lobes, veins and ducts, gastric, colic and gastro-omental vessels,
colic flexures. A structure that exists on one side only has that side as its rule and always
carries it ("middle lobe of lung" is right, "lingula of lung" is left). Organs that lie on one
side but are single ("spleen", "liver") are unpaired: a side asked of them is an error.
"""

from __future__ import annotations

from textseg3d.text.knowledge.concept import Code, Concept, Side, Target
from textseg3d.text.knowledge.forms import Form, normalise, split_sides
from textseg3d.text.knowledge.tree import KnowledgeTree, load_tree

__all__ = [
    "Code",
    "Concept",
    "Form",
    "KnowledgeTree",
    "Side",
    "Target",
    "load_tree",
    "normalise",
    "split_sides",
]
