"""Uploaded scans are decoded in a child process: what they hold cannot harm the server.

The child reads the file strictly, within a limit of memory and time, and leaves plain voxels and
a JSON description in the image's folder. The server reads nothing but these two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.errors import InputError

if TYPE_CHECKING:
    from textseg3d.io import Volume

VOXELS, FACTS = "voxels.npy", "volume.json"
POLL_SECONDS = 0.05
MIB = 1 << 20


class RefusedScanError(InputError):
    """A rule of the readers rejects an uploaded scan.

    Attributes:
        rule: its name, such as "N5".
        expected: what the rule asks of every scan; says nothing of this one.
    """

    def __init__(self, message: str, rule: str, expected: str) -> None:
        super().__init__(message)
        self.rule, self.expected = rule, expected


@dataclass(frozen=True)
class DecodeLimits:
    """What the child may take.

    Attributes:
        seconds: after which it is killed.
        memory_bytes: of its address space.
    """

    seconds: float = 300.0
    memory_bytes: int = 16 << 30


def decode(
    scan: Path, folder: Path, limits: DecodeLimits, check: Callable[[], None] | None = None
) -> Volume:
    """The scan, decoded in a child unless that was done before.

    Args:
        scan: the uploaded file.
        folder: gets the voxels and their description.
        limits: of the child.
        check: called while the child works; what it raises ends the child.

    Raises:
        RefusedScanError: if a rule rejects the scan, or the child died on it (D12).
    """
    if not (folder / FACTS).is_file():
        _run_child(scan, folder, limits, check)
    return _load(scan, folder)


def _run_child(
    scan: Path, folder: Path, limits: DecodeLimits, check: Callable[[], None] | None
) -> None:
    root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    request = {"scan": str(scan), "folder": str(folder), "memory_bytes": limits.memory_bytes}
    child = subprocess.Popen(
        [sys.executable, "-m", "textseg3d.server.decode"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root + (os.pathsep + known if known else "")},
    )
    deadline = time.monotonic() + limits.seconds
    data: bytes | None = json.dumps(request).encode()
    try:
        while True:
            try:
                output, _ = child.communicate(data, timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                data = None  # it was taken over by the first call
            if check is not None:
                check()
            if time.monotonic() > deadline:
                raise _broken(scan, f"decoding took more than {limits.seconds:g} s")
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    _judge(scan, child.returncode, output, limits)


def _judge(scan: Path, code: int, output: bytes, limits: DecodeLimits) -> None:
    """Raise what the child found wrong."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        raise _broken(scan, f"the decoder crashed ({name})")
    try:
        answer = json.loads(output)
    except ValueError:
        raise _broken(scan, f"the decoder failed (exit code {code})") from None
    if "memory" in answer:
        raise _broken(scan, f"decoding needs more than {limits.memory_bytes // MIB} MiB")
    if "message" in answer:
        raise RefusedScanError(answer["message"], answer["rule"], answer["expected"])


def _broken(scan: Path, what: str) -> RefusedScanError:
    message = f"{scan}: D12: {what}; do not use this scan"
    return RefusedScanError(message, "D12", "the scan can be decoded")


def _load(scan: Path, folder: Path) -> Volume:
    """The volume that the child wrote."""
    from textseg3d.io import SourceGrid, Volume

    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    source = facts["source"]
    return Volume(
        array=np.load(folder / VOXELS, allow_pickle=False),
        spacing_mm=tuple(facts["spacing_mm"]),
        origin_mm=tuple(facts["origin_mm"]),
        direction=np.array(facts["direction"]),
        source=SourceGrid(
            shape=tuple(source["shape"]),
            affine_lps=np.array(source["affine_lps"]),
            permutation=tuple(source["permutation"]),
            flips=tuple(source["flips"]),
            path=scan,
            format=source["format"],
            header=_header(source["header"]),
        ),
        warnings=tuple(facts["warnings"]),
    )


def _header(text: dict[str, Any] | None) -> Any:
    """What a writer of the scan's format needs; of DICOM nothing, as no DICOM is written."""
    if text is None or "nifti" not in text:
        return text
    import nibabel as nib

    block = bytes.fromhex(text["nifti"])
    kind = nib.Nifti2Header if len(block) == nib.Nifti2Header.sizeof_hdr else nib.Nifti1Header
    return kind(block, endianness="<", check=False)


def _store(volume: Volume, folder: Path) -> None:
    """Child side: voxels first, then the facts by which they count as complete."""
    source = volume.source
    header: dict[str, Any] | None = None
    if source.format == "nifti" and source.header is not None:
        header = {"nifti": source.header.as_byteswapped("<").binaryblock.hex()}
    elif source.format == "nrrd" and source.header is not None:
        header = {"space": str(source.header["space"])}
    facts = {
        "spacing_mm": volume.spacing_mm,
        "origin_mm": volume.origin_mm,
        "direction": volume.direction.tolist(),
        "warnings": volume.warnings,
        "source": {
            "shape": source.shape,
            "affine_lps": source.affine_lps.tolist(),
            "permutation": source.permutation,
            "flips": source.flips,
            "format": source.format,
            "header": header,
        },
    }
    np.save(folder / VOXELS, volume.array, allow_pickle=False)
    part = folder / f".{FACTS}.part"
    part.write_text(json.dumps(facts), encoding="utf-8")
    part.replace(folder / FACTS)


def _read(scan: Path) -> Volume:
    """Child side: a scan in any format that is uploaded."""
    from textseg3d.io.findings import FindingLog
    from textseg3d.io.options import ReadOptions
    from textseg3d.io.reader import read_logged
    from textseg3d.server.arrays import is_array, read_array

    if is_array(scan):
        return read_array(scan, ReadOptions().max_voxels)
    log = FindingLog(scan)
    try:
        volume = read_logged(scan, log, ReadOptions())
        about_names = ("N4:",)  # the file's name is the server's
        kept = tuple(text for text in volume.warnings if not text.startswith(about_names))
        return replace(volume, warnings=kept)
    except InputError as error:
        rule = next((f.rule for f in log.findings if f.verdict == "reject"), "N9")
        raise RefusedScanError(str(error), rule, _title(rule)) from None


def _title(name: str) -> str:
    """What a rule asks of every scan."""
    from textseg3d.io.findings import RULES

    return next((rule.title for rule in RULES.values() if rule.name == name), "a usable scan")


def main() -> int:
    """Child side: request as JSON on standard input, the refusal, if any, on standard output."""
    from textseg3d.io.isolated import limit_memory

    request = json.load(sys.stdin)
    limit_memory(int(request["memory_bytes"]))
    answer: dict[str, Any] = {}
    try:
        _store(_read(Path(request["scan"])), Path(request["folder"]))
    except RefusedScanError as error:
        answer = {"message": str(error), "rule": error.rule, "expected": error.expected}
    except InputError as error:
        answer = {"message": str(error), "rule": "N9", "expected": _title("N9")}
    except MemoryError:
        answer = {"memory": True}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
