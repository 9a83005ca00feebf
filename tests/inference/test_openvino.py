"""OpenVINO as runtime: parity with torch, what it refuses, and the error without the package."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.conftest import SPACING
from tests.model_factory import CONCEPTS
from textseg3d import Segmenter
from textseg3d.errors import MissingDependencyError, UsageError

ROOT = Path(__file__).resolve().parents[2]
needed = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


def test_without_the_package_one_line_says_what_to_install(model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textseg3d\[openvino\]'") as it:
        Segmenter(model_folder, "openvino")
    assert it.value.exit_code == 4
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("device", "precision"),
    [("openvino:fp64", "auto"), ("openvino:int8", "fp32"), ("openvin", "auto")],
)
def test_other_words_are_refused(model_folder, device, precision):
    with pytest.raises(UsageError, match="openvino"):
        Segmenter(model_folder, device, precision=precision)


@needed
def test_logits_are_those_of_torch(model_folder, phantom):
    prompts = list(CONCEPTS)
    ask = {"spacing_mm": SPACING, "keep_logits": True}
    plain = Segmenter(model_folder, "cpu", precision="fp32").predict(phantom, prompts, **ask)
    other = Segmenter(model_folder, "openvino:fp32")
    found = other.predict(phantom, prompts, **ask)
    assert other.device == "cpu (OpenVINO, fp32)"
    assert found.computed["runtime"].startswith("OpenVINO 20")
    assert found.computed["precision"] == "fp32"
    assert "runtime" not in plain.computed
    for text in prompts:
        assert found[text].presence == pytest.approx(plain[text].presence, abs=1e-4)
        assert np.abs(found[text].logits[0] - plain[text].logits[0]).max() < 1e-3


@needed
def test_head_in_8_bits_is_near_and_never_exact(model_folder, phantom):
    from textseg3d.networks.openvino_unet import by_openvino
    from textseg3d.networks.prompt_unet import PromptUNet

    torch.manual_seed(0)
    network = PromptUNet(2, (8, 8, 8, 8, 8), (1,) * 5, 8, 16, 16, 2, 1).eval().requires_grad_(False)
    half, x = torch.randn(1, 8, 16, 16, 16), torch.rand(1, 2, 32, 32, 32) * 2 - 1
    whole = network.fine_features(half, x)
    size = whole.square().mean().sqrt()
    for int8, low, high in ((False, 0.0, 1e-5), (True, 1e-5, 0.05)):
        found = by_openvino(network, int8=int8).fine_features(half, x)
        assert low <= (found - whole).square().mean().sqrt() / size < high
    segmenter = Segmenter(model_folder, "openvino:int8")
    found = segmenter.predict(phantom, "liver", spacing_mm=SPACING)
    assert found.computed["precision"] == "int8"
    with pytest.raises(UsageError, match="int8"):
        segmenter.predict(phantom, "liver", spacing_mm=SPACING, exact=True)


@needed
def test_masks_of_the_bundled_model():
    prompts = ["left lung", "liver", "aorta", "bones"]
    masks = [
        Segmenter("ct-nano", device, precision=precision).predict(
            ROOT / "examples" / "chest_ct.nii.gz", prompts
        )
        for device, precision in (("cpu", "fp32"), ("openvino", "fp32"))
    ]
    for text in prompts:
        a, b = (np.asarray(one[text].array, bool) for one in masks)
        assert a.any()
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.999
