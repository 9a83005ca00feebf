"""What a prediction gives: one result per prompt, and the facts of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import UsageError
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import MAX_INSTANCES, Instance, Instances, voxel_ml
from textseg3d.inference.regrid import logits_to_probability
from textseg3d.io.volume import LPS_FROM_RAS, Volume
from textseg3d.suggest import did_you_mean

if TYPE_CHECKING:
    import nibabel as nib

Status = Literal["ok", "empty", "negated", "unknown"]
Exporter = Callable[..., list[Path]]


@dataclass(frozen=True, eq=False)
class PromptResult:
    """The answer to one prompt.

    Attributes:
        text: the prompt.
        status: "ok"; "empty" (looked for and not there); "negated" (the text denies it) or
            "unknown" (to the model), both without a mask.
        presence: 0 to 1, the model's score that it is there at all; None without a mask.
        packed: the mask, bit-packed; None for "negated" and "unknown".
        instances: connected components, largest first; measured when first looked at.
        codes: of the concepts, ``{"scheme", "value", "meaning"}``.
        warnings: one line each.
        volume: the scan.
        logits: float32 [d, h, w] on the network's grid (on the scan's, if a stage of the model
            answered), one per known part of the prompt, if they were asked to be kept; they know
            nothing of ``composed``.
        composed: what was done to the network's masks to get this one, one object per operation
            ("within", "without", "side", "size", "volume", "order", "count", "compare").
        findings: descriptions of the instances, if they were asked for.
    """

    text: str
    status: Status
    presence: float | None
    packed: PackedMask | None
    instances: Sequence[Instance]
    codes: tuple[dict[str, str], ...]
    warnings: tuple[str, ...]
    volume: Volume = field(repr=False)
    logits: tuple[NDArray[np.float32], ...] = field(default=(), repr=False)
    composed: tuple[dict[str, Any], ...] = ()
    findings: tuple[dict[str, Any], ...] = ()

    @property
    def array(self) -> NDArray[np.bool_]:
        """The mask as bool [z, y, x] in canonical order, which is that of ``volume.array``.

        x grows to the patient's Left, y to Posterior, z to Superior, whatever the file's order;
        :attr:`mask` and :attr:`source_array` follow the file.

        Raises:
            UsageError: if the prompt has no mask.
        """
        return self._mask().array()

    @property
    def source_array(self) -> NDArray[np.uint8]:
        """The mask, 0 or 1, in the order of the input file: [i, j, k], as nibabel has it.

        For a prediction from an array [z, y, x] its transpose is on that array's own grid.
        """
        return self.volume.to_source(self.array.view(np.uint8))

    @cached_property
    def mask(self) -> nib.Nifti1Image:
        """The mask as a nibabel image (uint8, 0 or 1) on the input grid."""
        import nibabel as nib

        affine = LPS_FROM_RAS @ self.volume.source.affine_lps
        image = nib.Nifti1Image(self.source_array, affine)
        image.header.set_xyzt_units("mm")
        return image

    @cached_property
    def voxels(self) -> int:
        """Number of voxels of the mask; 0 without one."""
        return self.packed.voxels if self.packed is not None else 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """The warnings, and what there is to say about the instances."""
        found = self.instances
        if isinstance(found, Instances) and found.total > len(found):
            listed = f"{found.total} components; the {MAX_INSTANCES} largest are listed"
            return (*self.warnings, listed)
        return self.warnings

    @property
    def volume_ml(self) -> float:
        """Volume of the mask."""
        return self.voxels * voxel_ml(self.volume)

    def probability(self) -> NDArray[np.float32]:
        """Probability per voxel, float32 [z, y, x] in canonical order; largest over the parts.

        Raises:
            UsageError: if the prediction was made without ``keep_logits=True``.
        """
        if not self.logits:
            raise UsageError(
                f"no probabilities of {self.text!r} were kept; predict with keep_logits=True "
                "(and a prompt that the model knows)"
            )
        shape = self.volume.shape
        result = logits_to_probability(self.logits[0], shape)
        for logits in self.logits[1:]:
            np.maximum(result, logits_to_probability(logits, shape), out=result)
        return result

    def _mask(self) -> PackedMask:
        if self.packed is None:
            raise UsageError(f"the prompt {self.text!r} is {self.status} and has no mask")
        return self.packed


@dataclass(frozen=True)
class StageRun:
    """What a stage of a model did on a scan.

    Attributes:
        name: of its configuration.
        sha256: hash of its weights.
        within: names of what it looked into.
        answered: names that it was asked.
        box: the part of the scan that it looked at, as [first, end) along z, y, x in voxels; None
            if there was nothing to look into.
        windows_run, windows_total, windows, memory: as of :class:`Prediction`, in that part.
        seconds: in all.
    """

    name: str
    sha256: str
    within: tuple[str, ...]
    answered: tuple[str, ...]
    box: tuple[tuple[int, int], ...] | None
    windows_run: int
    windows_total: int
    windows: tuple[dict[str, Any], ...]
    seconds: float
    memory: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The object of `<case>.json`."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "within": list(self.within),
            "answered": list(self.answered),
            "box": None if self.box is None else [list(ends) for ends in self.box],
            "windows": {
                "run": self.windows_run,
                "total": self.windows_total,
                "list": list(self.windows),
            },
            "seconds": round(self.seconds, 3),
            **({"memory": dict(self.memory)} if self.memory else {}),
        }


@dataclass(frozen=True, eq=False)
class Prediction(Mapping[str, PromptResult]):
    """Results by prompt text, in the order asked.

    Attributes:
        results: text → result.
        volume: the scan, in canonical order.
        model: name of the model.
        model_sha256: hash of its weights.
        windows_run, windows_total: windows that the network saw, and those that an exact run
            over the whole volume sees.
        exact: whether shortcuts were off.
        seconds: per step ("read", "preprocess", "network", "export", and "network (NAME)" of each
            stage of the model that was needed).
        warnings: about the scan and the run.
        exporter: writes the files of :meth:`save`.
        midline: x of the body's midline in voxels, per slice [D]; None if it was not found.
        windows: every window: "start" (z, y, x on the network's grid), "run", and "why" not.
        memory: what was planned: "needed_mb", "available_mb", "features", "slab_planes".
        computed: "device", "precision" and, on a CPU, "threads": with the same ones the same
            scan gives the same bits, with other ones the borders of masks may move by a voxel.
        stages: what the model's stages did, of those that were needed.
    """

    results: Mapping[str, PromptResult]
    volume: Volume = field(repr=False)
    model: str
    model_sha256: str
    windows_run: int
    windows_total: int
    exact: bool
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    exporter: Exporter | None = field(default=None, repr=False)
    midline: NDArray[np.float64] | None = field(default=None, repr=False)
    windows: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    memory: Mapping[str, Any] | None = None
    computed: Mapping[str, Any] | None = None
    stages: tuple[StageRun, ...] = ()

    def __getitem__(self, text: str) -> PromptResult:
        try:
            return self.results[text]
        except KeyError:
            raise KeyError(f"{text!r} was not asked{did_you_mean(text, self.results)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def view(self, prompts: Sequence[str] | None = None, **options: Any) -> Any:
        """The scan and its masks in a notebook, as a widget of ipyniivue.

        Args:
            prompts: whose masks; None shows all that are not empty.
            options: of :func:`textseg3d.inference.view.view_prediction`.

        Raises:
            UsageError: for a prompt that has no mask.
            MissingDependencyError: without ipyniivue.
        """
        from textseg3d.inference.view import view_prediction

        return view_prediction(self, prompts, **options)

    def save(self, output: str | Path, **options: Any) -> list[Path]:
        """Write the files that the command line writes.

        Args:
            output: a folder, or a file name for one prompt.
            options: of :func:`textseg3d.export.save_prediction`.

        Returns:
            The paths written; the last is the JSON record.

        Raises:
            UsageError: if the segmenter was made without an exporter.
        """
        if self.exporter is None:
            raise UsageError(
                "this segmenter has no exporter; use textseg3d.Segmenter, or call "
                "textseg3d.export.save_prediction"
            )
        return self.exporter(self, output, **options)
