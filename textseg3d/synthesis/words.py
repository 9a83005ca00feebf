"""What findings of each kind are called in sentences; the one place for these words."""

from __future__ import annotations

from dataclasses import dataclass

from textseg3d.synthesis.findings import Kind

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Words:
    """How a finding of one kind is called.

    Attributes:
        one, many: noun phrase.
        concept: of the knowledge tree.
        density: in a word.
    """

    one: str
    many: str
    concept: str
    density: str | None = None


# Finding → kind → words; None where no kind is said.
WORDS: dict[str, dict[Kind | None, Words]] = {
    "pulmonary nodule": {
        None: Words("nodule", "nodules", "pulmonary nodule"),
        "solid nodule": Words("solid nodule", "solid nodules", "solid pulmonary nodule", "solid"),
        "part-solid nodule": Words(
            "part-solid nodule", "part-solid nodules", "subsolid pulmonary nodule", "part-solid"
        ),
        "ground-glass nodule": Words(
            "ground-glass nodule", "ground-glass nodules", "ground-glass nodule", "ground-glass"
        ),
        "calcified nodule": Words(
            "calcified nodule", "calcified nodules", "calcified pulmonary nodule", "calcified"
        ),
    },
    "liver lesion": {
        None: Words("lesion", "lesions", "liver lesion"),
        "hypodense lesion": Words(
            "hypodense lesion", "hypodense lesions", "liver lesion", "hypodense"
        ),
        "hyperdense lesion": Words(
            "hyperdense lesion", "hyperdense lesions", "liver lesion", "hyperdense"
        ),
        "cyst": Words("cyst", "cysts", "hepatic cyst", "fluid"),
    },
    "renal cyst": {
        None: Words("cyst", "cysts", "renal cyst"),
        "cyst": Words("cyst", "cysts", "renal cyst", "fluid"),
    },
}
# Kinds that a reader could take for each other: a calcified nodule is solid, a cyst is dark.
ALIKE: tuple[frozenset[Kind], ...] = (
    frozenset({"solid nodule", "calcified nodule"}),
    frozenset({"hypodense lesion", "cyst"}),
)
