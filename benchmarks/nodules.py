"""Lung nodules: how many of those inserted into real lungs are found, and on which side.

    python benchmarks/nodules.py --data ../shared/data           # prints
    python benchmarks/nodules.py --data ../shared/data --write   # and rewrites docs/accuracy.md

1. Nodules of 6 to 20 mm (textseg3d.synthesis.findings, seeds that no training uses) in the lungs
   of the validation scans, whose lungs people drew. Found: the mask touches it. A false positive:
   a component of the mask that touches neither an inserted nodule nor a drawn tumour.
2. Counterfactual pairs: two alike, one in each lung, mirrored in the lungs' box; "left lower lobe
   nodule" must find the one and not its twin. The lobe is one that the place leaves no doubt of:
   the lowest quarter of a lung's height and its back half is lower lobe, the top quarter upper.
3. Real nodules: the 135 patches of 50 mm (LIDC-IDRI), outlined by radiologists. A patch shows
   nothing around it; a model that reads position from the body has little to go by.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
from datetime import date
from pathlib import Path

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from textseg3d import Segmenter
from textseg3d.io import Volume, read_volume
from textseg3d.synthesis.findings import FINDINGS, Finding, draw_centre, insert
from textseg3d.synthesis.noise import uniform

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"
MARKS = ("<!-- nodules -->", "<!-- /nodules -->")
SEED = 1_000_000
DIAMETERS_MM = (6.0, 20.0)
NODULE = FINDINGS["pulmonary nodule"]
PER_SCAN = 4  # nodules per volume
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Chest:
    """A validation scan: volume, lungs by side, and what may look like a nodule for good reason."""

    name: str
    volume: Volume
    lungs: dict[str, Bools]
    tumours: Bools


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="ct-nano")
    parser.add_argument("--volumes", type=int, default=8, help="per scan, with 4 nodules each")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    segmenter = Segmenter(args.model)
    chests = [load(p.parent) for p in sorted(args.data.glob("val/*/seg.nii.gz"))]
    lines = [f"Model: {segmenter.card.name} {segmenter.card.version}; {date.today()}.", ""]
    lines += inserted(segmenter, chests, args.volumes)
    lines += ["", *pairs(segmenter, chests, args.pairs)]
    lines += ["", *patches(segmenter, args.data / "val" / "nodule_patches")]
    lines += ["", f"On {platform.machine()}, torch {torch.__version__}, seed {SEED}."]
    print("\n".join(lines))
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        table = f"{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}"
        pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
        PAGE.write_text(re.sub(pattern, lambda _: table, page, flags=re.S), encoding="utf-8")


def load(folder: Path) -> Chest:
    """Read a scan and its labels."""
    volume, labels = read_volume(folder / "ct.nii.gz"), read_volume(folder / "seg.nii.gz").array[0]
    names = {int(k): v for k, v in json.loads((folder / "info.json").read_text())["labels"].items()}
    sides = {"left lung": "left", "right lung": "right"}
    lungs = {sides[n]: labels == i for i, n in names.items() if n in sides}
    tumours = [i for i, n in names.items() if "tumour" in n or "GTV" in n]
    return Chest(folder.name, volume, lungs, np.isin(labels, tumours))


def with_array(volume: Volume, hu: torch.Tensor) -> Volume:
    """The same scan with other voxels."""
    array = hu.numpy()[None].round().astype(volume.array.dtype)
    return dataclasses.replace(volume, array=array)


def inserted(segmenter: Segmenter, chests: list[Chest], volumes: int) -> list[str]:
    """Sensitivity by size, false positives per scan."""
    rows = [
        "| scan | nodules, 6–20 mm | found | 6–10 mm | 10–15 mm | 15–20 mm | false positives |",
        "|---|---|---|---|---|---|---|",
    ]
    everything: list[tuple[float, bool]] = []
    false_all = []
    for number, chest in enumerate(chests):
        found: list[tuple[float, bool]] = []
        wrong = []
        lungs = torch.from_numpy(chest.lungs["left"] | chest.lungs["right"])
        for i in range(volumes):
            rng = torch.Generator().manual_seed(SEED + 1000 * number + i)
            hu = torch.from_numpy(chest.volume.array[0].astype(np.float32))
            nodules = []
            for _ in range(PER_SCAN):
                centre = draw_centre(rng, lungs, hu)
                assert centre is not None
                size, kind = uniform(rng, *DIAMETERS_MM), NODULE.kind(rng)
                one = insert(rng, hu, lungs, chest.volume.spacing_mm, kind, size, centre)
                nodules += [one] if one is not None else []
            mask = segmenter.predict(with_array(chest.volume, hu), ["pulmonary nodule"])[
                "pulmonary nodule"
            ].array
            found += [(n.diameter_mm, bool((mask[n.box] & n.mask.numpy()).any())) for n in nodules]
            wrong.append(false_positives(mask, nodules, chest.tumours))
        rows.append(row(chest.name, found, wrong))
        everything, false_all = everything + found, false_all + wrong
        print(rows[-1], flush=True)
    return [
        "Made by our generator in lungs that people drew; no weight learnt from these scans.",
        "",
        *rows,
        row("all", everything, false_all),
    ]


def row(name: str, found: list[tuple[float, bool]], wrong: list[int]) -> str:
    """One line of the table."""
    cells = [name, str(len(found))]
    for low, high in ((0, 99), (0, 10), (10, 15), (15, 99)):
        hits = [hit for size, hit in found if low <= size < high]
        cells.append(f"{np.mean(hits):.2f}" if hits else "–")
    return "| " + " | ".join([*cells, f"{np.mean(wrong):.2f}"]) + " |"


def false_positives(mask: Bools, nodules: list[Finding], tumours: Bools) -> int:
    """Components of a mask that touch nothing that is there."""
    components = cc3d.connected_components(mask, connectivity=26)
    right = set(np.unique(components[tumours]).tolist())
    for n in nodules:
        right |= set(np.unique(components[n.box][n.mask.numpy()]).tolist())
    return len(set(np.unique(components).tolist()) - right - {0})


def zone(lung: Bools, lobe: str) -> Bools:
    """The part of a lung [D, H, W] that certainly belongs to its upper or lower lobe.

    Nothing where the scan cuts that end of the lung off: what is left may be the other lobe.
    """
    if lung[-1 if lobe == "upper" else 0].any():
        return np.zeros_like(lung)
    z, y, _ = (np.flatnonzero(lung.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1)))
    depth, height = z[-1] - z[0] + 1, y[-1] - y[0] + 1
    part = np.zeros_like(lung)
    if lobe == "lower":
        part[z[0] : z[0] + depth // 4, y[0] + height // 2 :] = True
    else:
        part[z[-1] - depth // 4 : z[-1] + 1] = True
    return lung & part


def pairs(segmenter: Segmenter, chests: list[Chest], wanted: int) -> list[str]:
    """Share of prompts with side and lobe that find their nodule and not its twin."""
    counts = {"right": 0, "missed": 0, "twin only": 0, "both": 0}
    done, attempt = 0, 0
    while done < wanted:
        chest = chests[attempt % len(chests)]
        lobe = ("lower", "upper")[attempt // len(chests) % 2]
        rng = torch.Generator().manual_seed(SEED * 2 + attempt)
        attempt += 1
        hu = torch.from_numpy(chest.volume.array[0].astype(np.float32))
        size, kind = uniform(rng, 10.0, 20.0), NODULE.kind(rng)
        twins: dict[str, Finding] = {}
        for side, lung in chest.lungs.items():
            centre = draw_centre(rng, torch.from_numpy(zone(lung, lobe)), hu)
            if centre is None:
                continue
            organ = torch.from_numpy(lung)
            one = insert(rng, hu, organ, chest.volume.spacing_mm, kind, size, centre)
            if one is not None:
                twins[side] = one
        if len(twins) < 2:
            continue
        prompts = {side: f"{side} {lobe} lobe nodule" for side in twins}
        answers = segmenter.predict(with_array(chest.volume, hu), list(prompts.values()))
        for side, other in (("left", "right"), ("right", "left")):
            mask = answers[prompts[side]].array
            own, twin = (
                bool((mask[n.box] & n.mask.numpy()).any()) for n in (twins[side], twins[other])
            )
            key = {(1, 0): "right", (0, 0): "missed", (0, 1): "twin only", (1, 1): "both"}
            counts[key[own, twin]] += 1
            done += 1
    answered = done - counts["missed"]
    return [
        f"{done} prompts such as “left lower lobe nodule”, each on a scan with that nodule and its "
        f"twin on the other side (10–20 mm): {counts['right']} found the nodule and not the twin, "
        f"{counts['missed']} found neither, {counts['twin only']} the twin alone, "
        f"{counts['both']} both. Right side and lobe: {counts['right'] / done:.0%} of all, "
        f"{counts['right'] / max(1, answered):.0%} of those that found anything.",
    ]


def patches(segmenter: Segmenter, folder: Path) -> list[str]:
    """Sensitivity on real nodules, each alone in a cube of 50 mm."""
    hits: list[tuple[float, bool]] = []
    for path in sorted(folder.glob("patch_*_ct.nii.gz")):
        truth = read_volume(path.with_name(path.name.replace("_ct", "_seg"))).array[0] > 0
        answer = segmenter.predict(read_volume(path), ["pulmonary nodule"])["pulmonary nodule"]
        diameter = (6 / np.pi * truth.sum()) ** (1 / 3)
        hits.append((float(diameter), bool((answer.array & truth).any())))
    cells = []
    for low, high in ((0, 6), (6, 10), (10, 99)):
        part = [hit for size, hit in hits if low <= size < high]
        cells.append(f"{sum(part)} of {len(part)} of {low} to {high} mm")
    cells[-1] = cells[-1].replace("of 10 to 99 mm", "of 10 mm and more")
    return [
        f"Real nodules, {len(hits)} patches of 50 mm: {sum(h for _, h in hits)} touched "
        f"({'; '.join(cells)})."
    ]


if __name__ == "__main__":
    main()
