"""Structures that a network is to learn, what their masks look like, and that it learns them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from textseg3d.benchmark import fitting
from textseg3d.benchmark.weights import NnunetDesign, first_network


def box(*sides: slice) -> np.ndarray:
    mask = np.zeros((8, 8, 8), bool)
    mask[sides] = True
    return mask


def test_smaller_structures_lie_over_larger_ones_and_wholes_are_left_out() -> None:
    half = box(slice(0, 4))
    other = box(slice(4, 8))
    whole = box()
    small = box(slice(0, 2), slice(0, 2), slice(0, 2))
    labels = fitting.structures([small, whole, half, other], np.zeros((8, 8, 8)))
    assert labels.max() == 3  # the whole is all taken by its halves
    assert (labels[0:2, 0:2, 0:2] == 3).all()
    assert (labels[half & ~small] == 2).all()
    assert (labels[other] == 1).all()


def test_without_masks_the_body_is_the_structure() -> None:
    scan = np.where(box(slice(2, 6)), 40, -1000)
    assert np.array_equal(fitting.structures([], scan), box(slice(2, 6)).astype(int))


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_pieces_of_structures(count: int) -> None:
    labels = fitting.structures([box(slice(0, 6)), box(slice(7, 8))], np.zeros((8, 8, 8)))
    pieces = fitting.cut(labels, count)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    assert len(sizes) == count + 1
    assert sizes.min() > 0
    if count > 1:
        assert np.array_equal(pieces > 0, labels > 0)
        assert all(len(np.unique(labels[pieces == n])) == 1 for n in range(1, count + 1))
    else:
        assert np.array_equal(pieces == 1, labels == 1)


def test_figures_of_masks_by_hand() -> None:
    cube = box(slice(1, 5), slice(1, 5), slice(1, 5))  # 64 voxels, 8 of them inside
    two = box(slice(0, 1), slice(0, 1), slice(0, 1)) | box(slice(4, 5), slice(4, 5), slice(4, 5))
    found = fitting.mask_figures([cube, two, np.zeros_like(cube)])
    assert found["masks"] == 2
    assert found["pieces"] == 1.5
    assert found["surface"] == pytest.approx((56 + 2) / 66)
    # Of 7×7×7 cells those whose corners differ lie around the faces: 5³ touch it, 3³ are inside.
    assert fitting.mixed_cells(cube) == pytest.approx((5**3 - 3**3) / 7**3)


def test_a_network_learns_what_the_scan_shows() -> None:
    """Two bright shapes in air, told apart by their density."""
    pytest.importorskip("nnunetv2")
    scan = np.full((24, 24, 24), -1000.0)
    truth = np.zeros(scan.shape, np.int64)
    for value, hu, where in ((1, 0, np.s_[2:12, 2:22, 2:22]), (2, 600, np.s_[14:22, 2:22, 2:22])):
        scan[where], truth[where] = hu, value
    design = NnunetDesign(2, (4, 6, 8), (32, 32, 32))
    network = first_network(design)
    made = fitting.fit(network, fitting.normalised(scan), [truth], [(16, 20), (32, 40)])
    assert made[0]["decoder.seg_layers.1.weight"].shape == (3, 4, 1, 1, 1)
    assert set(made[0]) <= set(first_network(design).state_dict())
    whole: Any = first_network(design)
    whole.load_state_dict(made[0], strict=False)
    whole.decoder.deep_supervision = False
    with torch.inference_mode():
        x = torch.from_numpy(fitting.normalised(scan))[None, None]
        found = whole(x)[0].argmax(0).numpy()
    assert np.mean(found == truth) > 0.9
