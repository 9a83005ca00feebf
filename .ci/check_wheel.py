"""Run from outside the checkout, with the wheel's folder on PYTHONPATH: is the wheel whole?

Usage: check_wheel.py CHECKOUT SITE
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Compare the wheel's data with the checkout's, then predict with both and compare masks."""
    checkout, site = (Path(p).resolve() for p in sys.argv[1:3])
    import textseg3d_kernels

    import textseg3d
    from textseg3d.resources import data_folder

    for module in (textseg3d, textseg3d_kernels):
        place = Path(str(module.__file__)).resolve()
        if site not in place.parents:
            sys.exit(f"{module.__name__} was imported from {place}, not from the wheel")
    for name in ("plans", "model_zoo"):
        carried, expected = data_folder(name), checkout / name
        if site not in carried.resolve().parents:
            sys.exit(f"{name} was found in {carried}, not in the wheel")
        for path in sorted(p for p in expected.rglob("*") if p.is_file()):
            copy = carried / path.relative_to(expected)
            if not copy.is_file() or copy.read_bytes() != path.read_bytes():
                sys.exit(f"the wheel lacks {path.relative_to(checkout)}, or has another")
    print("the wheel carries the package, the kernels, the plans and the models")

    if not (data_folder("model_zoo") / textseg3d_default() / "card.json").is_file():
        print("no bundled model in this checkout: no prediction to compare")
        return
    scan = checkout / "examples" / "chest_ct.nii.gz"
    folders = []
    for label, search in (("wheel", [site]), ("checkout", [checkout, checkout / "kernels"])):
        folder = Path.cwd() / label
        command = ["predict", "-i", str(scan), "-p", "left lung", "liver", "-o", str(folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search))}
        subprocess.run([sys.executable, "-m", "textseg3d", *command], env=environment, check=True)
        folders.append(folder)
    compare(*folders)


def textseg3d_default() -> str:
    """Name of the default model of the wheel."""
    from textseg3d.zoo import default_model

    return default_model()


def compare(first: Path, second: Path) -> None:
    """Exit unless both folders hold the same masks, voxel by voxel, and none is empty."""
    import nibabel
    import numpy as np

    masks = sorted(path.name for path in first.glob("*.nii.gz"))
    if len(masks) != 2 or masks != sorted(path.name for path in second.glob("*.nii.gz")):
        sys.exit(f"expected the same two masks in {first} and {second}, got {masks}")
    for name in masks:
        a, b = (np.asarray(nibabel.load(folder / name).dataobj) for folder in (first, second))
        if not np.array_equal(a, b) or not a.any():
            sys.exit(f"{name}: {int((a != b).sum())} voxels differ, {int(a.sum())} are set")
    print(f"the wheel and the checkout give the same masks: {', '.join(masks)}")


if __name__ == "__main__":
    main()
