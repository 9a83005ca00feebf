"""From planes of logits on the network's grid to a label map on the scan's, as nnU-Net does.

Logits are interpolated and only then compared, one plane of the scan at a time, so that the
logits of all classes never exist on the scan's grid at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.closed.prepare import ClosedImage, thick_axis, to_canonical
from textseg3d.inference.closed.spec import ClosedSpec
from textseg3d.inference.masks import Box, PackedMask
from textseg3d.preprocessing.cubic import resample_image, spline_operator

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What the network says about a scan.

    Attributes:
        values: [D, H, W] in canonical order.
        presence: per head, the largest probability of any voxel of the network's grid.
        logits: head → float32 [D, H, W], log odds against everything else, of heads kept.
    """

    values: NDArray[Any]
    presence: tuple[float, ...]
    logits: dict[int, NDArray[np.float32]]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.values.nbytes + sum(kept.nbytes for kept in self.logits.values())

    def boxes(self) -> list[Box | None]:
        """Bounding box of each value from 1 on."""
        from scipy.ndimage import find_objects

        return list(find_objects(self.values))

    def mask(self, values: Sequence[int], boxes: Sequence[Box | None]) -> PackedMask:
        """Where the label map has any of ``values``; ``boxes`` are those of :meth:`boxes`."""
        shape = self.values.shape
        found = [boxes[v - 1] for v in values if 0 < v <= len(boxes)]
        inside = [box for box in found if box is not None]
        if not inside:
            return PackedMask.empty((shape[0], shape[1], shape[2]))
        z, y, x = (
            slice(min(b[a].start for b in inside), max(b[a].stop for b in inside)) for a in range(3)
        )
        crop = np.isin(self.values[z, y, x], list(values))
        return PackedMask.pack((shape[0], shape[1], shape[2]), (z, y, x), crop)


def axis_operators(spec: ClosedSpec, image: ClosedImage) -> list[NDArray[np.float64]]:
    """Per axis, the matrix [scan, network] that brings logits to the cropped scan's grid."""
    rule = spec.logits_resampling
    apart = thick_axis(rule, spec.spacing, image.spacing_mm)
    shape = [s.stop - s.start for s in image.crop]
    operators: list[NDArray[np.float64]] = []
    for axis, (n, m) in enumerate(zip(image.inputs.shape[1:], shape)):
        if axis == apart:  # nearest slice
            unit = np.eye(n)[None, :, :, None]
            operators.append(resample_image(unit, (m, n, 1), order=0, axis=0)[0, :, :, 0].numpy())
        else:
            operators.append(spline_operator(n, m, rule.order))
    return operators


def label_scan(
    planes: Iterable[Tensor], spec: ClosedSpec, image: ClosedImage, keep: Iterable[int] = ()
) -> LabelMap:
    """Label every voxel of the scan.

    Args:
        planes: logits [heads, b, c] of the network's grid, first axis in order.
        spec: the model.
        image: the scan.
        keep: heads whose log odds are wanted too.
    """
    import torch

    dtype = np.uint8 if max(spec.labels) < 256 else np.uint16
    labels = np.zeros(image.shape, dtype=dtype)
    kept = {head: np.full(image.shape, OUTSIDE_LOGIT, np.float32) for head in dict.fromkeys(keep)}
    values = np.array(spec.labels, dtype=dtype)
    to_first, to_second, to_third = axis_operators(spec, image)
    best: Tensor | None = None
    near: dict[int, Tensor] = {}  # planes of the network's grid, interpolated in plane
    source = enumerate(planes)
    newest = -1
    sides: list[Tensor] = []
    for row, weights in enumerate(to_first):
        needed = np.flatnonzero(weights)
        near = {z: plane for z, plane in near.items() if z >= needed[0]}
        while newest < needed[-1]:
            newest, plane = next(source)
            best = _largest(plane, best, regions=spec.regions)
            if not sides:
                sides = [_as_tensor(m, plane) for m in (to_second, to_third)]
            if newest >= needed[0]:
                near[newest] = sides[0] @ plane @ sides[1].T
        logits = sum((near[z] * float(weights[z]) for z in needed[1:]), near[needed[0]] * float(
            weights[needed[0]]
        ))  # fmt: skip
        index = (image.crop[0].start + row, *image.crop[1:])
        if spec.regions:
            for head, value in enumerate(spec.labels):
                labels[index][(logits[head] > 0).cpu().numpy()] = value
        else:
            labels[index] = values[logits.argmax(dim=0).cpu().numpy()]
        for head, volume in kept.items():
            volume[index] = _odds(logits, head, regions=spec.regions).cpu().numpy()
    for _, plane in source:  # planes that no voxel of the scan looks at
        best = _largest(plane, best, regions=spec.regions)
    presence = torch.zeros(len(spec.labels)) if best is None else best
    return LabelMap(
        to_canonical(labels, image.volume, spec),
        tuple(presence.tolist()),
        {head: to_canonical(v, image.volume, spec) for head, v in kept.items()},
    )


def _as_tensor(matrix: NDArray[np.float64], like: Tensor) -> Tensor:
    import torch

    return torch.tensor(matrix, dtype=torch.float32, device=like.device)


def _largest(plane: Tensor, best: Tensor | None, *, regions: bool) -> Tensor:
    """Largest probability per head so far."""
    probability = plane.sigmoid() if regions else plane.softmax(dim=0)
    here = probability.amax(dim=(1, 2))
    return here if best is None else here.maximum(best)


def _odds(logits: Tensor, head: int, *, regions: bool) -> Tensor:
    """Log odds of one head against all others together."""
    import torch

    if regions or len(logits) == 1:
        return logits[head]
    others = torch.cat([logits[:head], logits[head + 1 :]])
    return logits[head] - others.logsumexp(dim=0)
