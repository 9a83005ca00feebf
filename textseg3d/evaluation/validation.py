"""The default mapping: what the label names of the public validation scans mean.

Only what means the same thing as a prompt is scored; everything else is listed with its reason.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from textseg3d.evaluation.mapping import LabelMapping

_LUNG_IGNORES = ["vessel", "airway", "lung tumour", "GTV-2", "GTV-3", "primary tumour (GTV)"]
_LIVER_LESIONS = ["liver cyst", *(f"liver tumour {n}" for n in range(1, 8))]

# Head, pelvis and legs; no public validation scan reaches them.
_NEVER_IN_VIEW = [
    *("urinary bladder", "prostate", "uterus", "rectum", "seminal vesicles", "vagina"),
    *("left ovary", "right ovary", "left testis", "left femur", "right femur", "left tibia"),
    *("right fibula", "left patella", "brain", "cerebellum", "brain stem", "skull", "mandible"),
    *("left eye", "tongue"),
]
_BELOW_THE_CHEST = ["left hip bone", "right hip bone", "sacrum", "appendix"]

_MAPPING: dict[str, Any] = {
    "labels": {
        "left lung": {"ignore": _LUNG_IGNORES},
        "right lung": {"ignore": _LUNG_IGNORES},
        "bone": {"name": "bones", "prompts": ["bones"]},
        "liver": {
            "add": _LIVER_LESIONS,
            "ignore": ["portal vein", "venous system (IVC, hepatic veins)"],
        },
        "arteries (aorta)": {"name": "aorta with arteries", "prompts": ["aorta"]},
        "airway": {"skip": "trachea and bronchi in one label, a few 4 mm voxels wide"},
        "vessel": {
            "skip": "lung vessels, found semi-automatically; not scored, and ignored in lungs"
        },
        "portal vein": {
            "skip": "with its branches inside the liver, which other sources leave out"
        },
        "venous system (IVC, hepatic veins)": {"skip": "vena cava and hepatic veins in one label"},
        "body (skin envelope)": {"skip": "the rest of the body, without all other labels"},
        "GTV-2": {"skip": "a target volume without a stated anatomy"},
        "GTV-3": {"skip": "a target volume without a stated anatomy"},
        "primary tumour (GTV)": {"skip": "a target volume without a stated anatomy"},
        "lung tumour": {"name": "lung tumour", "prompts": ["lung mass"]},
        "stomach+duodenum": {"skip": "two structures, drawn only near the target"},
        "small bowel (bag)": {"skip": "a bag around the bowel, drawn only near the target"},
        **{name: {"skip": "scored together as liver lesions"} for name in _LIVER_LESIONS},
    },
    "unions": {
        "lungs": {
            "labels": ["left lung", "right lung"],
            "prompts": ["left lung", "right lung"],
            "ignore": _LUNG_IGNORES,
        },
        "lungs from five lobes": {
            "labels": ["left lung", "right lung"],
            "prompts": [
                "upper lobe of left lung",
                "lower lobe of left lung",
                "upper lobe of right lung",
                "middle lobe of right lung",
                "lower lobe of right lung",
            ],
            "ignore": _LUNG_IGNORES,
        },
        "kidneys": {
            "labels": ["left kidney", "right kidney"],
            "prompts": ["left kidney", "right kidney"],
        },
        "pericardium (truth: clinical heart contour)": {
            "labels": ["heart"],
            "prompts": ["pericardium"],
        },
        "liver lesions": {"add": _LIVER_LESIONS, "prompts": ["liver lesion"]},
    },
    "absent": {
        "cip_ct64": _NEVER_IN_VIEW + _BELOW_THE_CHEST,
        "lung1_003": _NEVER_IN_VIEW + _BELOW_THE_CHEST,
        "onko_thorax": _NEVER_IN_VIEW + _BELOW_THE_CHEST,
        "ircad_01": [*_NEVER_IN_VIEW, "trachea", "thyroid gland", "left clavicle", "left humerus"],
    },
}


@lru_cache(maxsize=1)
def default_mapping() -> LabelMapping:
    """Rules for the public validation scans; names that they do not use are no matter."""
    return LabelMapping.from_json(_MAPPING, "the default mapping")
