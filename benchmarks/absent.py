"""Structures that a scan cannot show: presence below 0.5 and an empty mask is right.

    python benchmarks/absent.py --data ../shared/data           # prints
    python benchmarks/absent.py --data ../shared/data --write   # and rewrites docs/accuracy.md

Scan–prompt pairs of the validation scans, whole and cut: what lies outside the field of view was
decided by anatomy and by looking at the scans' first and last slices, not by any model. Prompts
that the model answers with "unknown" are not counted.
"""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path

from textseg3d import Segmenter
from textseg3d.io import Volume, read_volume, volume_from_array

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"
MARKS = ("<!-- absent -->", "<!-- /absent -->")


def sided(*names: str) -> tuple[str, ...]:
    """Each name with both sides."""
    return tuple(f"{side} {name}" for name in names for side in ("left", "right"))


PELVIS = (
    "urinary bladder", "prostate", "sacrum",
    *sided("femur", "hip bone", "gluteus maximus muscle", "gluteus medius muscle"),
)  # fmt: skip
ABDOMEN = (
    "liver", "spleen", "stomach", "pancreas", "gallbladder", "duodenum", "small bowel", "colon",
    "portal and splenic vein", *sided("kidney", "adrenal gland", "iliopsoas muscle"),
)  # fmt: skip
NECK = ("trachea", "thyroid gland", *sided("clavicle", "humerus"))
# scan, (first, last share of its slices, from the feet up), what this part cannot show
PARTS: tuple[tuple[str, tuple[float, float], tuple[str, ...]], ...] = (
    ("cip_ct64", (0.0, 1.0), PELVIS),
    ("lung1_003", (0.0, 1.0), PELVIS),
    ("onko_thorax", (0.0, 1.0), PELVIS),
    ("ircad_01", (0.0, 1.0), ("urinary bladder", "prostate", *sided("femur"), *NECK)),
    ("lung1_003", (0.7, 1.0), (*PELVIS, *ABDOMEN)),
    ("onko_thorax", (0.7, 1.0), (*PELVIS, *ABDOMEN)),
    ("cip_ct64", (0.7, 1.0), (*PELVIS, *ABDOMEN)),
)  # fmt: skip


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="ct-nano")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    segmenter = Segmenter(args.model)
    lines = [
        f"Model: {segmenter.card.name} {segmenter.card.version}; {date.today()}.",
        "",
        "| scan | part, from below | pairs | presence below 0.5 and no voxel | not so |",
        "|---|---|---|---|---|",
    ]
    total = right_total = 0
    for name, (low, high), prompts in PARTS:
        volume = read_volume(args.data / "val" / name / "ct.nii.gz")
        if (low, high) != (0.0, 1.0):
            volume = cut(volume, low, high)
        answers = segmenter.predict(volume, list(prompts))
        known = [p for p in prompts if answers[p].status != "unknown"]
        wrong = [p for p in known if (answers[p].presence or 0.0) >= 0.5 or answers[p].array.any()]
        total, right_total = total + len(known), right_total + len(known) - len(wrong)
        part = "all" if (low, high) == (0.0, 1.0) else f"{low:.0%} to {high:.0%}"
        cells = (name, part, str(len(known)), str(len(known) - len(wrong)), ", ".join(wrong) or "–")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    lines.append(f"| all | | {total} | {right_total} ({right_total / total:.1%}) | |")
    print(lines[-1])
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        table = f"{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}"
        pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
        PAGE.write_text(re.sub(pattern, lambda _: table, page, flags=re.S), encoding="utf-8")


def cut(volume: Volume, low: float, high: float) -> Volume:
    """Some of the slices of a scan, at their place in the world."""
    first, last = (round(share * volume.shape[0]) for share in (low, high))
    affine = volume.affine_lps.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return volume_from_array(volume.array[0, first:last].transpose(2, 1, 0), affine)


if __name__ == "__main__":
    main()
