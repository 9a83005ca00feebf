"""The number of threads changes no voxel on a CPU (rule R3)."""

from __future__ import annotations

import numpy as np
import torch

from tests.model_factory import make_model


def test_one_thread_or_two(tmp_path):
    from textseg3d import Segmenter

    segmenter = Segmenter(make_model(tmp_path / "tiny"), "cpu")
    array = np.random.default_rng(0).normal(0, 400, (70, 40, 36)).astype(np.int16)
    before = torch.get_num_threads()
    try:
        masks = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found = segmenter.predict(array, ["liver", "heart"], spacing_mm=(3, 3, 3))
            masks.append(np.stack([found[text].array for text in found]))
    finally:
        torch.set_num_threads(before)
    assert masks[0].any()
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[1], masks[2])
