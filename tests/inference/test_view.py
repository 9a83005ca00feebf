"""`Prediction.view`: what the widget holds is the scan and the masks, each on the scan's grid."""

import nibabel as nib
import numpy as np
import pytest

from tests.model_factory import make_model
from textseg3d import Segmenter
from textseg3d.errors import UsageError

ipyniivue = pytest.importorskip("ipyniivue")


@pytest.fixture(scope="module")
def prediction(tmp_path_factory):
    segmenter = Segmenter(make_model(tmp_path_factory.mktemp("models") / "tiny"))
    array = np.random.default_rng(0).integers(-900, 300, (20, 24, 22)).astype(np.int64)
    turned = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    return segmenter.predict(
        array, ["liver", "no spleen", "heart"], spacing_mm=(4, 3, 3), direction=turned
    )


def test_the_widget_holds_scan_and_masks(prediction):
    widget = prediction.view(opacity=0.25, window=(-100, 100))
    asked = [text for text in ("liver", "heart") if prediction[text].voxels]
    assert asked
    scan, *masks = widget.volumes
    assert len(masks) == len(asked)
    assert (scan.cal_min, scan.cal_max, scan.opacity) == (-100, 100, 1.0)
    image = nib.Nifti1Image.from_bytes(scan.data)
    volume = prediction.volume
    assert np.array_equal(np.asarray(image.dataobj), volume.to_source(volume.array[0]))
    for text, mask in zip(asked, masks):
        shown = nib.Nifti1Image.from_bytes(mask.data)
        assert np.array_equal(shown.affine, image.affine)
        assert np.array_equal(np.asarray(shown.dataobj), prediction[text].source_array)
        assert mask.opacity == 0.25
    assert len({mask.colormap for mask in masks}) == len(masks)
    assert widget.opts.is_radiological_convention
    (_, only) = prediction.view(["heart"], window=None).volumes
    assert (
        np.asarray(nib.Nifti1Image.from_bytes(only.data).dataobj).sum()
        == prediction["heart"].voxels
    )


def test_what_cannot_be_shown(prediction):
    for prompts in (["spleen"], ["no spleen"]):
        with pytest.raises(UsageError, match="no mask"):
            prediction.view(prompts)
    with pytest.raises(UsageError, match="opacity"):
        prediction.view(opacity=2)
