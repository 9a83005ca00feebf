"""The same scan twice gives the same bits on a CPU with as many threads, and says so (rule R3)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.model_factory import make_model
from textseg3d import Segmenter

PROMPTS = ["liver", "heart"]


@pytest.fixture
def threads():
    """Sets the number of threads; what it was comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_same_scan_twice(tmp_path, threads):
    model = make_model(tmp_path / "tiny")
    array = np.random.default_rng(0).normal(0, 400, (70, 40, 36)).astype(np.int16)
    masks = {}
    for count in (1, 1, 2, 2):
        threads(count)
        segmenter = Segmenter(model, "cpu")
        found = segmenter.predict(array, PROMPTS, spacing_mm=(3, 3, 3))
        assert found.computed["device"] == "cpu"
        assert found.computed["threads"] == count
        assert f"({found.computed['precision']})" in segmenter.device
        masks.setdefault(count, []).append(np.stack([found[text].array for text in PROMPTS]))
    *_, path = found.save(tmp_path / "out")
    assert json.loads(path.read_text())["computed"] == found.computed
    for one, other in masks.values():
        assert one.any()
        assert np.array_equal(one, other)
    # Sums in another order: random weights leave most voxels near 0, where a last bit decides.
    assert (masks[1][0] != masks[2][0]).mean() < 0.01
