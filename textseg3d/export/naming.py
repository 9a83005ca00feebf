"""What the output files are called: one rule for the command line and for Python."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from textseg3d.errors import UsageError
from textseg3d.text.slug import slugify

SCAN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".zip")
# Formats with a file for each mask, and formats that hold all masks of a scan in one file.
FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd"}
JOINT_FORMATS = {"seg.nrrd": ".seg.nrrd", "dicom-seg": ".seg.dcm"}
OUTPUT_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
JOINT_SUFFIXES = {".seg.nrrd": "seg.nrrd", ".seg.dcm": "dicom-seg", ".dcm": "dicom-seg"}


def strip_suffix(name: str, suffixes: tuple[str, ...] = SCAN_SUFFIXES) -> str:
    """``name`` without the first of ``suffixes`` that it ends with (in any case of letters)."""
    for suffix in suffixes:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def case_name(path: Path | None) -> str:
    """The name of a case: the scan's file name without its suffix, or the folder's name."""
    if path is None:
        return "scan"
    name = path.name or path.resolve().name
    return strip_suffix(name) if not path.is_dir() else name


@dataclass(frozen=True)
class OutputNames:
    """Names of the outputs of one case. Nothing but slugs follows ``__``.

    Attributes:
        folder: where they go.
        case: first part of each name.
        suffix: of volumes, ".nii.gz", ".nii" or ".nrrd".
        single: name of the mask where a file was asked for, else None.
        joint: name of the one file that holds all masks, in a format that does, else None.
    """

    folder: Path
    case: str
    suffix: str
    single: str | None = None
    joint: str | None = None

    def renamed(self, case: str) -> OutputNames:
        """The names of the same outputs under another case name."""
        joint = self.joint
        if joint is not None and joint.startswith(self.case):
            joint = case + joint[len(self.case) :]
        return replace(self, case=case, joint=joint)

    def mask(self, prompt: str) -> str:
        """`<case>__<slug>.nii.gz`, or the file of all masks, or the name that was asked for."""
        return self.joint or self.single or f"{self.case}__{slugify(prompt)}{self.suffix}"

    def probability(self, prompt: str) -> str:
        """`<case>__<slug>.probability.nii.gz`."""
        stem = self.case if self.single else f"{self.case}__{slugify(prompt)}"
        return f"{stem}.probability{self.suffix}"

    @property
    def labels(self) -> str:
        """The combined label map."""
        return f"{self.case}.labels{self.suffix}"

    @property
    def legend(self) -> str:
        """What the values of the label map mean."""
        return f"{self.case}.labels.json"

    @property
    def report(self) -> str:
        """The DICOM structured report."""
        return f"{self.case}.sr.dcm"

    @property
    def preview(self) -> str:
        """The picture."""
        return f"{self.case}.preview.png"

    @property
    def thumbnail(self) -> str:
        """The small picture."""
        return f"{self.case}.thumbnail.png"

    def statistics(self, kind: str) -> str:
        """The table, "csv" or "json"."""
        return f"{self.case}.statistics.{kind}"

    @property
    def record(self) -> str:
        """The JSON record; it is written last."""
        return f"{self.case}.json"


def output_names(
    output: str | Path | None, scan: Path | None, prompts: int, format: str | None = None
) -> OutputNames:
    """Where the outputs of one scan go.

    Args:
        output: a folder; or, for one prompt, a file ending in .nii.gz, .nii or .nrrd; or a file
            ending in .seg.nrrd or .dcm; or None: next to the scan.
        scan: file or folder that was read, None for an array.
        prompts: how many there are.
        format: "nifti", "nrrd", "seg.nrrd" or "dicom-seg"; None takes the suffix of ``output``,
            else NIfTI.

    Raises:
        UsageError: if these do not go together.
    """
    known = {**FORMATS, **JOINT_FORMATS}
    if format is not None and format not in known:
        raise UsageError(f"format {format!r} is not one of {', '.join(known)}")
    case = case_name(scan)
    if output is None:
        if scan is None:
            raise UsageError("an array lies in no folder; say where to save")
        return _in_folder(scan.resolve().parent, case, format, scan)
    target = Path(output)
    joint = next((s for s in JOINT_SUFFIXES if target.name.lower().endswith(s)), None)
    if joint is not None and not target.is_dir():
        if format not in (None, JOINT_SUFFIXES[joint]):
            raise UsageError(f"the output {target.name} does not end as format {format!r} does")
        refuse_format(JOINT_SUFFIXES[joint], scan)
        stem = strip_suffix(target.name, tuple(JOINT_SUFFIXES))
        return OutputNames(target.parent, stem, FORMATS["nifti"], joint=target.name)
    suffix = next((s for s in OUTPUT_SUFFIXES if target.name.lower().endswith(s)), None)
    if suffix is None or target.is_dir():
        _refuse_other_file(target)
        return _in_folder(target, case, format, scan)
    if prompts != 1:
        raise UsageError(f"the output {target} is one file, but {prompts} prompts need a folder")
    if format is not None and (suffix == ".nrrd") != (format == "nrrd"):
        raise UsageError(f"the output {target.name} does not end as format {format!r} does")
    return OutputNames(target.parent, strip_suffix(target.name), suffix, target.name)


def refuse_format(format: str | None, scan: Path | None) -> None:
    """Raise, before anything is read, if a scan cannot be segmented into a format.

    Raises:
        UsageError: for a DICOM segmentation of what is no DICOM series, by its name.
    """
    if format != "dicom-seg":
        return
    name = "an array" if scan is None else scan.name
    others = tuple(s for s in SCAN_SUFFIXES if s != ".dcm")
    if scan is None or (name.lower().endswith(others) and not scan.is_dir()):
        raise UsageError(
            f"--format dicom-seg needs a folder or file of a DICOM series, got {name}; use "
            "--format seg.nrrd or nifti"
        )


def _in_folder(folder: Path, case: str, format: str | None, scan: Path | None) -> OutputNames:
    """Names under a folder."""
    refuse_format(format, scan)
    if format in JOINT_FORMATS:
        return OutputNames(folder, case, FORMATS["nifti"], joint=f"{case}{JOINT_FORMATS[format]}")
    return OutputNames(folder, case, FORMATS[format or "nifti"])


def _refuse_other_file(target: Path) -> None:
    """A name that looks like a file of a format that is not written is no folder."""
    known = (*SCAN_SUFFIXES, ".png", ".json", ".gz")
    if target.is_file() or (not target.is_dir() and target.name.lower().endswith(known)):
        raise UsageError(
            f"the output {target} is neither a folder nor a file that can be written "
            f"({', '.join((*OUTPUT_SUFFIXES, *JOINT_SUFFIXES))})"
        )
