"""A prediction in a notebook: the scan and its masks in ipyniivue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.errors import MissingDependencyError, UsageError
from textseg3d.io.volume import LPS_FROM_RAS, Volume

if TYPE_CHECKING:
    from textseg3d.inference.result import Prediction

# Names of NiiVue's own colour tables; they are there before the page is.
COLOURS = ("red", "green", "blue", "violet", "warm", "cool", "copper", "winter")


def view_prediction(
    prediction: Prediction,
    prompts: Sequence[str] | None = None,
    *,
    opacity: float = 0.5,
    window: tuple[float, float] | None = (-160.0, 240.0),
    height: int = 480,
) -> Any:
    """A widget with the scan in three planes and 3-D, and the masks over it.

    Args:
        prediction: what to show.
        prompts: whose masks; None shows all that are not empty.
        opacity: of the masks, 0 to 1.
        window: values that are black and white; None shows the whole range.
        height: in pixels.

    Returns:
        An ``ipyniivue.NiiVue``. The patient's left is on the right, as radiologists have it.

    Raises:
        UsageError: for a prompt that was not asked or has no mask.
        MissingDependencyError: without ipyniivue.
    """
    try:
        from ipyniivue import NiiVue, ShowRender, SliceType
        from ipyniivue import Volume as Shown
    except ImportError:
        raise MissingDependencyError("view needs ipyniivue; install textseg3d[notebook]") from None
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity is {opacity}; expected 0 to 1")
    if prompts is None:
        prompts = [text for text, result in prediction.items() if result.voxels]
    for text in prompts:
        if text not in prediction or prediction[text].packed is None:
            raise UsageError(f"there is no mask of {text!r}; it is one of {list(prediction)}")
    low, high = window if window is not None else (None, None)
    scan = {"name": "scan.nii", "data": _scan_bytes(prediction.volume), "colormap": "gray"}
    shown = [Shown(**scan, opacity=1.0, cal_min=low, cal_max=high, colorbar_visible=False)]
    for number, text in enumerate(prompts):
        shown.append(
            Shown(
                name=f"mask-{number}.nii",
                data=prediction[text].mask.to_bytes(),
                colormap=COLOURS[number % len(COLOURS)],
                opacity=opacity,
                cal_min=0.0,
                cal_max=1.0,
                colorbar_visible=False,
            )
        )
    widget = NiiVue(
        height=height,
        is_radiological_convention=True,
        is_orientation_text_visible=True,
        multiplanar_show_render=ShowRender.ALWAYS,
        slice_type=SliceType.MULTIPLANAR,
    )
    widget.load_volumes(shown)
    return widget


def _scan_bytes(volume: Volume) -> bytes:
    """The scan's first channel as a NIfTI file on its own grid."""
    import nibabel as nib

    array = volume.to_source(volume.array[0])
    if array.dtype.kind == "b" or array.dtype.itemsize == 8:
        array = array.astype(np.float32)
    image = nib.Nifti1Image(array, LPS_FROM_RAS @ volume.source.affine_lps)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())
