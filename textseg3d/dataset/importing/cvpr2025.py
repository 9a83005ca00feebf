"""CVPR-2025 text challenge: npz files with ``imgs``, ``gts`` and ``spacing``, prompts as JSON.

The files state no orientation, so the user has to. ``imgs`` were windowed to 0–255: no HU. The
pickled prompts inside some files are never loaded.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.case_notes import CaseNotes, Finding
from textseg3d.dataset.importing.files import save_like, save_nifti, whole_numbers
from textseg3d.dataset.importing.session import Progress, Source, SourceCase, Target, import_source
from textseg3d.errors import InputError, UsageError
from textseg3d.suggest import did_you_mean

INSTANCES = "instance_label"
_AXES = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "S": (2, 1), "I": (2, -1)}  # in RAS


def import_cvpr2025(
    source_folder: Path,
    prompts: Path,
    folder: Path,
    *,
    orientation: str,
    dataset: str | None = None,
    spacing_order: Literal["zyx", "xyz"] = "zyx",
    on_progress: Progress | None = None,
) -> Path:
    """Import the files of one dataset of the challenge; those without ``gts`` go to imagesTs.

    Args:
        source_folder: with the npz files, at any depth.
        prompts: JSON, dataset (a file's folder, or how its name begins) or file name →
            ``{"1": text or texts, "instance_label": 0 or 1}``.
        folder, on_progress: see :func:`import_source`.
        orientation: where x, y and z of the arrays (their last, second and first axis) point to,
            such as "LPS".
        dataset: key of ``prompts``; needed if the files are of several.
        spacing_order: axes that ``spacing`` lists; "zyx" is that of the arrays, as the
            challenge's scorer takes it.

    Raises:
        InputError: for foreign files, or files that no prompts belong to.
        UsageError: for an orientation that is none, or a dataset that is not named or there.
    """
    to_ras = _directions(orientation)
    table = _read(Path(prompts))
    files = sorted(Path(source_folder).rglob("*.npz")) if Path(source_folder).is_dir() else []
    if not files:
        raise InputError(f"{source_folder} has no npz file; check the folder")
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(_group(path, table, Path(prompts)), []).append(path)
    if dataset is None and len(groups) > 1:
        raise UsageError(
            f"{source_folder} holds {len(groups)} datasets, name one with --dataset: "
            f"{', '.join(sorted(groups))}"
        )
    chosen = dataset if dataset is not None else next(iter(groups))
    if chosen not in groups:
        raise UsageError(f"{source_folder} has no dataset {chosen!r}{did_you_mean(chosen, groups)}")
    asked = table[chosen]
    texts = {int(key): _texts(value) for key, value in asked.items() if key != INSTANCES}
    if sorted(texts) != list(range(1, len(texts) + 1)) or not all(texts.values()):
        raise InputError(f"{prompts}: {chosen} has the classes {sorted(texts)}, expected 1, 2, 3 …")
    instances = int(asked.get(INSTANCES, 0)) == 1
    if instances and len(texts) != 1:
        raise InputError(f"{prompts}: {chosen} asks for instances of {len(texts)} classes, not 1")
    names = _names([texts[number][0] for number in sorted(texts)])
    found = groups[chosen]
    write = partial(
        _write, names=names, instances=instances, to_ras=to_ras, reverse=spacing_order == "xyz"
    )
    cases = [
        SourceCase(path.stem, (path,), partial(write, path=path), test=not _has(path, "gts"))
        for path in found
    ]
    source = Source(
        kind="cvpr2025",
        labels=names,
        channel_names=(f"{found[0].stem.split('_')[0]} (0 to 255)",),
        prompts={name: texts[number] for number, name in enumerate(names, start=1)},
        cases=tuple(cases),
        settings={
            "dataset": chosen,
            "orientation": orientation,
            "spacing_order": spacing_order,
            "instances": instances,
        },
        about={"name": chosen},
    )
    return import_source(source, folder, on_progress=on_progress)


def _write(
    target: Target,
    *,
    path: Path,
    names: tuple[str, ...],
    instances: bool,
    to_ras: NDArray[np.float64],
    reverse: bool,
) -> CaseNotes | None:
    import nibabel

    image = _array(path, "imgs")
    spacing = np.asarray(_array(path, "spacing"), dtype=np.float64).ravel()
    if image.ndim != 3 or spacing.shape != (3,) or not (spacing > 0).all():
        raise InputError(
            f"{path} has imgs of shape {image.shape} and spacing {spacing.tolist()}, expected "
            "three axes and three positive numbers"
        )
    affine = np.eye(4)
    affine[:3, :3] = to_ras * (spacing if reverse else spacing[::-1])
    scan = nibabel.Nifti1Image(np.ascontiguousarray(image.transpose(2, 1, 0)), affine)
    scan.set_sform(affine, 1)
    scan.set_qform(affine, 1)
    scan.header.set_xyzt_units("mm")
    notes = None
    if not target.test:
        truth = whole_numbers(_array(path, "gts"), str(path))
        if truth.shape != image.shape:
            raise InputError(f"{path}: gts has shape {truth.shape}, imgs {image.shape}")
        truth = truth.transpose(2, 1, 0)
        findings: tuple[Finding, ...] = ()
        if instances:
            where = target.finding(0)
            save_like(where, truth.astype(np.uint8 if truth.max() < 256 else np.int16), scan)
            count = int(np.count_nonzero(np.unique(truth)))
            name = where.relative_to(target.folder).as_posix()
            findings = (Finding(names[0], name, names[0], count),)
            truth = (truth != 0).astype(np.uint8)
        elif truth.max() > len(names):
            raise InputError(f"{path} holds the class {truth.max()}, its prompts name {len(names)}")
        save_like(target.label(), truth.astype(np.uint8 if len(names) < 256 else np.int16), scan)
        notes = CaseNotes(names, findings)
    save_nifti(target.image(0), scan)
    return notes


def _directions(orientation: str) -> NDArray[np.float64]:
    """Columns: where x, y and z of the arrays point to, in RAS."""
    letters = orientation.upper()
    found = [_AXES[letter] for letter in letters if letter in _AXES]
    if len(letters) != 3 or len(found) != 3 or {axis for axis, _ in found} != {0, 1, 2}:
        raise UsageError(
            f"orientation is {orientation!r}, expected three letters that say where x, y and z "
            "point to, such as LPS"
        )
    result = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(found):
        result[axis, column] = sign
    return result


def _group(path: Path, table: dict[str, Any], listing: Path) -> str:
    """The key of the prompts that a file belongs to: the most specific one."""
    fitting = [
        key
        for key in table
        if path.stem.startswith(key.removesuffix(".npz")) or path.parent.name == key
    ]
    if not fitting:
        raise InputError(
            f"{listing} has no prompts for {path.name}{did_you_mean(path.stem, table)}"
        )
    return max(fitting, key=len)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    for key, value in data.items() if isinstance(data, dict) else [("", data)]:
        classes = [k for k in value if k != INSTANCES] if isinstance(value, dict) else []
        if not classes or not all(k.isdigit() and _texts(value[k]) for k in classes):
            raise InputError(
                f'{path}: {key!r} is {value!r:.60}, expected {{"1": "text", "instance_label": 0}}'
            )
    return data


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    good = isinstance(texts, list) and all(isinstance(t, str) and t.strip() for t in texts)
    return list(dict.fromkeys(t.strip() for t in texts)) if good else []


def _names(texts: list[str]) -> tuple[str, ...]:
    """Label names: the first wording, numbered where two classes share it."""
    names: list[str] = []
    for number, text in enumerate(texts, start=1):
        short = text if text not in ("background", "ignore", *names) else f"{text} ({number})"
        names.append(short)
    return tuple(names)


def _has(path: Path, name: str) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return name in archive.files
    except Exception as error:
        raise InputError(f"{path} cannot be read as npz ({error})") from None


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found: NDArray[Any] = archive[name]
            return found
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: {name} cannot be read without pickle ({reason})") from None
