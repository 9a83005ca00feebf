"""The same scan twice gives the same bits (rule R3)."""

from __future__ import annotations

import numpy as np

from tests.model_factory import make_model


def test_the_same_scan_twice(tmp_path):
    from textseg3d import Segmenter

    model = make_model(tmp_path / "tiny")
    array = np.random.default_rng(0).normal(0, 400, (70, 40, 36)).astype(np.int16)
    masks = []
    for _ in range(2):
        found = Segmenter(model, "cpu").predict(array, ["liver", "heart"], spacing_mm=(3, 3, 3))
        masks.append(np.stack([found[text].array for text in found]))
    assert masks[0].any()
    assert np.array_equal(masks[0], masks[1])
