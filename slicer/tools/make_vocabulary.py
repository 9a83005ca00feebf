"""Writes the phrases that the prompt box completes to, from the knowledge tree.

After the tree has changed, with textseg3d installed: ``python slicer/tools/make_vocabulary.py``.
"""

from pathlib import Path

from textseg3d.text.knowledge import Target, load_tree

TARGET = Path(__file__).resolve().parents[1] / "TextSeg3D" / "Resources" / "vocabulary.txt"


def phrases() -> list[str]:
    """Canonical names of all concepts, those with sides once per side, in the tree's order."""
    tree = load_tree()
    found = []
    for concept in tree:
        sides = ("left", "right") if concept.side_rule == "paired" else (None,)
        found += [tree.canonical_name(Target(concept.name, side)) for side in sides]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    TARGET.write_text("\n".join(phrases()) + "\n", encoding="utf-8")
