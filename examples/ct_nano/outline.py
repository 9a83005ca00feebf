"""Outlines organs in training scans that nobody labelled: sharpens a model's masks on the image.

    python examples/ct_nano/outline.py --data ../shared/data --out runs/ct-nano/outlines

The masks of a first model only seed a watershed (Meyer, Signal Processing 38, 1994; scikit-image):
what lies deep inside a mask and has its usual HU belongs to the organ, what lies far from every
mask, or is fat, gas or bowel full of contrast medium, does not; the border falls where the image
changes most. A picture per scan is for the eye, and `ORGANS` lists only what passed it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cc3d
import edt
import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from textseg3d import Segmenter
from textseg3d.io import read_volume

matplotlib.use("Agg")
Masks = dict[str, NDArray[np.bool_]]
Slices = tuple[int, int]
SEEDED = ("liver", "spleen", "left kidney", "right kidney", "heart", "aorta")
OTHERS = ("stomach", "pancreas", "esophagus", "spinal cord", "bones")
# HU around the organ's median that a seed may have; vessels and cortex need more room.
TOLERANCE = {"left kidney": 70, "right kidney": 70, "heart": 80, "aorta": 60}
ABDOMEN = ("liver", "spleen", "left kidney", "right kidney")
# scan → organs whose outline was looked at slice by slice and is right (2026-11-22).
ORGANS = {
    "crlm_1004": ABDOMEN,
    "crlm_1006": (*ABDOMEN, "aorta"),
    "pancreas_cb_001": ABDOMEN,
    "4dlung_113": ("liver",),
}

# scan → masks of the model that were right as they are (2026-11-22). The heart's reach up into the
# great vessels: from the first to the last slice that shows it.
LUNGS: dict[str, Slices | None] = {"left lung": None, "right lung": None}
CORD: dict[str, Slices | None] = {"spinal cord": None}
ADOPTED: dict[str, dict[str, Slices | None]] = {
    "nsclc_rg_r01_001": {**LUNGS, **CORD, "liver": None, "spleen": None, "heart": (50, 124)},
    "4dlung_113": {"heart": (38, 67), "spinal cord": (84, 98)},
    "pyrad_lung1": {**LUNGS, **CORD, "heart": (0, 16)},
    "pyrad_lung2": {**CORD, "right lung": None, "spleen": None, "heart": (17, 36)},
    "lidc_0314": {**CORD, "left lung": None, "heart": (57, 112)},
}


def adopt(
    hu: NDArray[np.int16], mask: NDArray[np.bool_], organ: str, slices: Slices | None
) -> NDArray[np.bool_]:
    """The largest piece of a mask [D, H, W], smoothed and filled; a heart without rims of lung."""
    if slices is not None:
        mask = mask.copy()
        mask[: slices[0]] = mask[slices[1] + 1 :] = False
    if organ == "heart":
        mask = np.stack([ndimage.binary_closing(s, iterations=4) for s in mask])
        mask &= hu > -200
    mask = np.stack([ndimage.binary_opening(s, np.ones((3, 3))) for s in mask])
    mask = np.stack([ndimage.binary_fill_holes(s) for s in mask])
    return cc3d.largest_k(mask, k=1, connectivity=6) > 0


def seeds(
    hu: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
    spacing: tuple[float, float, float],
) -> NDArray[np.int32]:
    """Markers [D, H, W]: 1… per organ of ``SEEDED``, the next number for everything else."""
    rest = len(SEEDED) + 1
    markers = np.zeros(hu.shape, np.int32)
    organs = np.zeros(hu.shape, bool)
    for i, name in enumerate(SEEDED, 1):
        mask = cc3d.largest_k(masks[name], k=1, connectivity=6) > 0
        depth = edt.edt(mask, anisotropy=spacing)
        usual = np.median(hu[depth > 3]) if (depth > 3).any() else np.median(hu[mask])
        deep = depth > (3 if name == "aorta" else 5)
        near_usual = np.abs(hu - usual) < TOLERANCE.get(name, 30)
        markers[deep & near_usual] = i
        organs |= masks[name]
        if "kidney" in name:  # bowel with contrast medium is brighter, and big
            bright = cc3d.dust(hu > usual + 70, threshold=round(1000 / np.prod(spacing)))
            markers[(bright > 0) & ~(deep & near_usual)] = rest
    for name in OTHERS:
        inside = edt.edt(masks[name] & ~organs, anisotropy=spacing) > 5
        markers[inside & (markers == 0)] = rest
    far = edt.edt(~organs, anisotropy=spacing) > 9
    markers[far & (markers == 0)] = rest
    markers[(hu < -20) | ((hu > 330) & masks["bones"])] = rest
    return markers


def outline(hu: NDArray[np.int16], masks: Masks, spacing: tuple[float, float, float]) -> Masks:
    """Sharpened masks [D, H, W] of ``SEEDED``; spacing (z, y, x) in mm."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), (0, 0.8, 0.8))
    window = np.clip(smooth, -100, 250)
    slopes = [ndimage.sobel(window, axis=a) * (min(spacing) / s) for a, s in enumerate(spacing)]
    regions = watershed(np.sqrt(sum(s**2 for s in slopes)), seeds(smooth, masks, spacing))
    result: Masks = {}
    for name in sorted(SEEDED, key=lambda n: "kidney" not in n):  # a kidney keeps its hollow
        i = SEEDED.index(name) + 1
        mask = (regions == i) & ~np.any(
            [m for m in result.values()] or [np.zeros(hu.shape)], axis=0
        )
        if "kidney" in name:
            mask &= smooth > 60
        mask = np.stack([ndimage.binary_opening(s, np.ones((3, 3))) for s in mask])
        mask = np.stack([ndimage.binary_fill_holes(s) for s in mask])
        result[name] = cc3d.largest_k(mask, k=1, connectivity=6) > 0
    return result


def picture(path: Path, hu: NDArray[np.int16], masks: Masks) -> None:
    """Twenty slices with the outlines."""
    import matplotlib.pyplot as plt

    rows = np.flatnonzero(np.any([m.any((1, 2)) for m in masks.values()], axis=0))
    figure, axes = plt.subplots(4, 5, figsize=(22, 17))
    for axis, z in zip(axes.ravel(), np.linspace(rows[0], rows[-1], 20).astype(int), strict=True):
        axis.imshow(hu[z], cmap="gray", vmin=-160, vmax=240)
        for i, mask in enumerate(masks.values()):
            if mask[z].any():
                axis.contour(mask[z], [0.5], colors=[plt.cm.tab10(i)], linewidths=1.2)
        axis.set_title(f"{z}")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=55)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", default="ct-nano")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(args.model)
    for scan in dict.fromkeys((*ORGANS, *ADOPTED)):
        volume = read_volume(args.data / "train" / scan / "ct.nii.gz")
        hu, adopted = volume.array[0], ADOPTED.get(scan, {})
        names = dict.fromkeys((*SEEDED, *OTHERS, *adopted))
        answers = segmenter.predict(volume, list(names))
        masks = {name: answers[name].array for name in names}
        kept: Masks = {}
        if scan in ORGANS:
            found = outline(hu, masks, volume.spacing_mm)
            kept = {name: found[name] for name in ORGANS[scan]}
        kept |= {name: adopt(hu, masks[name], name, s) for name, s in adopted.items()}
        np.savez_compressed(args.out / f"{scan}.npz", **kept)  # type: ignore[arg-type]
        picture(args.out / f"{scan}.png", hu, kept)
        for name, mask in kept.items():
            print(f"{scan} {name}: {mask.sum() * np.prod(volume.spacing_mm) / 1000:.0f} ml")


if __name__ == "__main__":
    main()
