"""The categories of ReXGroundingCT, 1a to 2h, by concept of the knowledge tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textseg3d.text.knowledge import Concept

NAMES = {
    "1a": "bronchial wall thickening",
    "1b": "bronchiectasis",
    "1c": "emphysema",
    "1d": "septal thickening",
    "1e": "micronodules",
    "1f": "other diffuse",
    "2a": "linear opacity",
    "2b": "atelectasis or consolidation",
    "2c": "ground-glass opacity",
    "2d": "nodule or mass",
    "2e": "pleural effusion or thickening",
    "2f": "honeycombing",
    "2g": "pneumothorax",
    "2h": "other focal",
}
_BY_NAME = {
    "bronchial wall thickening": "1a",
    "bronchiectasis": "1b",
    "emphysema": "1c",
    "bulla": "1c",
    "septal thickening": "1d",
    "crazy paving": "1d",
    "pulmonary micronodule": "1e",
    "tree-in-bud opacities": "1e",
    "mosaic attenuation": "1f",
    "pulmonary edema": "1f",
    "pulmonary fibrosis": "1f",
    "interstitial lung disease": "1f",
    "linear atelectasis": "2a",
    "atelectasis": "2b",
    "round atelectasis": "2b",
    "consolidation": "2b",
    "pneumonia": "2b",
    "aspiration pneumonia": "2b",
    "pulmonary infiltrate": "2b",
    "pulmonary contusion": "2b",
    "pulmonary infarction": "2b",
    "ground-glass opacity": "2c",
    "COVID-19 lung infiltrate": "2c",
    "nodule": "2d",
    "mass": "2d",
    "metastasis": "2d",
    "pleural effusion": "2e",
    "loculated pleural effusion": "2e",
    "hemothorax": "2e",
    "pleural empyema": "2e",
    "pleural thickening": "2e",
    "pleural plaque": "2e",
    "honeycombing": "2f",
    "pneumothorax": "2g",
    "tension pneumothorax": "2g",
    "hydropneumothorax": "2g",
}


def category_of(concept: Concept) -> str:
    """The category of a finding: masses of the lung and pleura are 2d, what fits nowhere is 2h."""
    known = _BY_NAME.get(concept.name)
    if known is not None:
        return known
    lung = any(place in ("lung", "pleura") for place in concept.containers)
    return "2d" if concept.category == "mass" and lung else "2h"
