"""BIDS datasets: which files are scans, and what a folder of derivatives needs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import textseg3d
from textseg3d.errors import InputError
from textseg3d.io.atomic import atomic_path

DESCRIPTION = "dataset_description.json"
DERIVATIVES = Path("derivatives") / "textseg3d"
# Folders of scans, and the suffixes of each modality. CT is BIDS extension proposal 24.
_DATATYPES = ("anat", "ct", "pet")
_SUFFIXES = {
    "CT": ("ct",),
    "MR": ("T1w", "T2w", "PDw", "PDT2", "FLAIR", "T2starw", "inplaneT1", "inplaneT2", "UNIT1"),
    "PT": ("pet",),
    "PET": ("pet",),
}
_NAME = re.compile(r"sub-[0-9A-Za-z]+(?:_[a-z]+-[0-9A-Za-z+]+)*_([0-9A-Za-z]+)\.nii(?:\.gz)?")


def is_bids(path: Path) -> bool:
    """Whether a folder is a BIDS dataset."""
    return path.is_dir() and (path / DESCRIPTION).is_file()


def bids_scans(root: Path, modalities: Sequence[str] = ()) -> list[Path]:
    """The scans of the dataset's subjects and sessions, without derivatives and source data.

    Args:
        modalities: "CT", "MR", "PET"; none for all.

    Raises:
        InputError: if there are none, saying which others there are.
    """
    wanted = {suffix for name in modalities for suffix in _SUFFIXES.get(name.upper(), ())}
    if not wanted:
        wanted = {suffix for suffixes in _SUFFIXES.values() for suffix in suffixes}
    found, others = [], Counter[str]()
    for subject in sorted(root.glob("sub-*")):
        for pattern in ("", "ses-*/"):
            for datatype in _DATATYPES:
                for path in sorted(subject.glob(f"{pattern}{datatype}/*.nii*")):
                    match = _NAME.fullmatch(path.name)
                    if match is None or not path.is_file():
                        continue
                    if match.group(1) in wanted:
                        found.append(path)
                    else:
                        others[match.group(1)] += 1
    if not found:
        there = ", ".join(f"{n} with suffix {suffix}" for suffix, n in others.most_common(4))
        raise InputError(
            f"{root}: the BIDS dataset holds no scan with suffix {' or '.join(sorted(wanted))}, "
            f"which the model is for (found: {there or 'none at all'}); name scans by --jobs"
        )
    return sorted(found)


def describe_derivatives(folder: Path, dataset: Path) -> None:
    """Write the `dataset_description.json` that makes ``folder`` a BIDS derivative.

    One that is there stays.

    Raises:
        UsageError: if it cannot be written.
    """
    path = folder / DESCRIPTION
    if path.exists():
        return
    try:
        source = json.loads((dataset / DESCRIPTION).read_text(encoding="utf-8"))
        name = str(source.get("Name", "")) if isinstance(source, dict) else ""
    except (OSError, ValueError):
        name = ""
    content = {
        "Name": f"textseg3d on {name}".removesuffix(" on "),
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "textseg3d", "Version": textseg3d.__version__}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
