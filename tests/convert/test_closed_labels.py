"""Labelling block by block, the head apart from the network, windows over the body alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.convert.nnunet_factory import make_nnunet, write_scan
from textseg3d.convert import convert_nnunet
from textseg3d.inference.closed import cells as cells_module
from textseg3d.inference.closed import labels as labels_module
from textseg3d.inference.closed.labels import label_scan
from textseg3d.inference.closed.network import LinearHead
from textseg3d.inference.closed.windows import PlaneSum, importance, window_grid
from textseg3d.inference.windows import WindowGrid
from textseg3d.preprocessing.cubic import spline_operator

SPEC: dict[str, Any] = {"background": 0, **{f"vertebrae_T{i}": i for i in range(1, 13)}}


class Image:
    """What `label_scan` looks at, of a scan in the network's own axes."""

    def __init__(self, grid_shape: tuple[int, ...], shape: tuple[int, ...], grid: WindowGrid):
        self.inputs = torch.zeros((1, *grid_shape))
        self.spacing_mm = (1.0, 1.0, 1.0)
        self.crop = tuple(slice(1, n - 1) for n in shape)
        self.shape, self.grid, self.volume, self.operators = shape, grid, None, None


def dense(logits: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """The same by torch's own trilinear interpolation of everything."""
    fine = torch.nn.functional.interpolate(
        logits[None].double(), shape, mode="trilinear", align_corners=False
    )
    return fine[0].numpy()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("smooth", [1, 6])
def test_blocks_equal_interpolation_of_everything(
    regions: bool, smooth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.ndimage import gaussian_filter

    from textseg3d.inference.closed.spec import ClosedSpec

    monkeypatch.setattr(labels_module, "BLOCK", 16)
    monkeypatch.setattr(labels_module, "to_canonical", lambda array, volume, spec: array)
    source = make_nnunet(tmp_path / "source")
    spec = ClosedSpec.load(convert_nnunet(source, tmp_path / "model"))
    if regions:
        spec = replace(
            spec, regions=True, labels=(1, 2, 3), classes=(replace(spec.classes[2], head=2),)
        )
    rng = np.random.default_rng(smooth)
    heads = len(spec.labels)
    features = rng.normal(size=(2, 20, 23, 19))
    features = np.stack([gaussian_filter(f, smooth) for f in features])
    features = features / features.std(axis=(1, 2, 3), keepdims=True) * 5
    weight, bias = rng.normal(size=(heads, 2)), rng.normal(size=heads) * 0.1
    head = LinearHead(*(torch.tensor(a, dtype=torch.float32) for a in (weight, bias)))
    planes = torch.tensor(features, dtype=torch.float32)
    logits = head(planes)
    grid = window_grid((20, 23, 19), (16, 16, 16), exact=True)
    image: Any = Image((20, 23, 19), (42, 50, 22), grid)
    found = label_scan(planes.unbind(1), spec, image, [1], head=head)
    also = label_scan(logits.unbind(1), spec, image)
    fine = dense(logits, (40, 48, 20))
    if regions:
        expected = np.zeros(fine.shape[1:])
        for value, part in zip(spec.labels, fine):
            expected[part > 0] = value
    else:
        expected = fine.argmax(axis=0)
    inside = found.values[1:-1, 1:-1, 1:-1]
    assert len(np.unique(expected)) >= 2
    assert (inside != expected).mean() < 1e-4
    np.testing.assert_array_equal(found.values, also.values)
    others = np.delete(fine, 1, axis=0)
    odds = fine[1] if regions else fine[1] - np.log(np.exp(others).sum(axis=0))
    np.testing.assert_allclose(found.logits[1][1:-1, 1:-1, 1:-1], odds, atol=2e-3)


@pytest.mark.parametrize("regions", [False, True])
def test_threads_do_not_change_a_voxel(regions: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts and chunks in two threads, beside one thread that does all at once."""
    from types import SimpleNamespace

    monkeypatch.setattr(labels_module, "to_canonical", lambda array, volume, spec: array)
    monkeypatch.setattr(labels_module, "axis_operators", lambda spec, image: image.operators)
    rng = np.random.default_rng(0)
    head = LinearHead(*(torch.tensor(rng.normal(size=n), dtype=torch.float32) for n in ((9, 3), 9)))
    planes = torch.tensor(rng.normal(size=(3, 20, 23, 19)), dtype=torch.float32)
    grid = window_grid((20, 23, 19), (16, 16, 16), exact=True)
    image: Any = Image((20, 23, 19), (42, 50, 22), grid)
    image.operators = [
        spline_operator(n, m, 1) for n, m in ((20, 40), (23, 48), (19, 20))
    ]  # the crop
    spec: Any = SimpleNamespace(regions=regions, labels=tuple(range(9)))
    before, found = torch.get_num_threads(), []
    try:
        for threads, part, values in ((1, 2**20, 2**21), (2, 50, 2**9), (2, 2**14, 2**18)):
            torch.set_num_threads(threads)
            for name, value in (
                ("_PART_CELLS", part),
                ("_CORNER_VALUES", values),
                ("_FINE_VALUES", values),
            ):
                monkeypatch.setattr(cells_module, name, value)
            monkeypatch.setattr(labels_module, "_LOOK_VALUES", values)
            found.append(label_scan(planes.unbind(1), spec, image, head=head))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(np.unique(found[0].values)) > 5
    for other in found[1:]:
        np.testing.assert_array_equal(other.values, found[0].values)
        np.testing.assert_allclose(other.presence, found[0].presence, rtol=1e-6)


def test_windows_over_a_box_give_planes_of_the_whole_grid() -> None:
    shape, size = (50, 40, 30), (16, 16, 32)
    box = np.array([[20.0, 44.0], [3.0, 20.0], [0.0, 29.0]])
    grid = window_grid(shape, size, exact=False, box=box)
    assert len(grid) < len(window_grid(shape, size, exact=False))
    sums = PlaneSum(grid, 2, importance(size))
    planes, per_row = [], len(grid) // len(grid.starts[0])
    for number, start in enumerate(grid):
        place = torch.arange(start[0], start[0] + 16.0)[:, None, None].expand(size)
        sums.add(start, torch.stack([place, place + 1]))
        if (number + 1) % per_row == 0:
            row = (number + 1) // per_row
            planes += list(sums.take(grid.starts[0][row] if row < len(grid.starts[0]) else None))
    assert len(planes) == shape[0]
    z, y, x = grid.region
    assert z.start <= 20 < 45 <= z.stop
    assert y.stop >= 21
    assert (x.start, x.stop) == (0, 30)
    for number, plane in enumerate(planes):
        expected = torch.zeros(2, *shape[1:])
        if z.start <= number < z.stop:
            expected[0, y, x], expected[1, y, x] = number, number + 1
        torch.testing.assert_close(plane, expected)


def test_many_classes_are_summed_as_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 classes on 4 features, two folds: the same logits as nnunetv2's predictor."""
    pytest.importorskip("nnunetv2")
    from tests.convert.test_parity import reference
    from textseg3d.inference.closed.engine import ClosedEngine, load_closed
    from textseg3d.inference.device import choose_runtime
    from textseg3d.inference.progress import Progress
    from textseg3d.io import read_volume

    source = make_nnunet(tmp_path / "source", labels=SPEC, folds=2)
    scans = write_scan(tmp_path / "scan", shape=(30, 26, 20))
    monkeypatch.setattr(torch, "half", torch.float32)
    logits, labels = reference(source, scans, mirror=False)
    engine = ClosedEngine(
        load_closed(convert_nnunet(source, tmp_path / "model")), choose_runtime("cpu", "fp32")
    )
    assert engine.head is not None
    assert engine.head.weight.shape == (13, 8)
    volume = read_volume(scans[0])
    image = engine.prepare(volume, exact=True)
    raw = list(engine.raw_planes(image, Progress(None)))
    ours = torch.stack([engine.head(plane) for plane in raw], dim=1).numpy()
    assert np.abs(ours - logits).max() < 1e-3
    found = label_scan(raw, engine.configuration, image, head=engine.head)
    in_file_order = volume.to_source(found.values).transpose(2, 1, 0)
    assert (in_file_order == labels).mean() >= 0.9999


def test_seconds_inside_a_stage_can_belong_to_another() -> None:
    from textseg3d.inference.progress import Progress

    progress = Progress()
    with progress.stage("network"):
        progress.move(0.25, "network", "export")
    assert progress.seconds["export"] == 0.25
    assert -0.25 <= progress.seconds["network"] < 0


def test_norms_of_a_large_window_keep_float32() -> None:
    """Against float64; torch's group norm in this layout is off by a thousand times as much."""
    from textseg3d.inference.closed.norm import ChannelNorm

    x = torch.randn((1, 4, 48, 64, 64), generator=torch.Generator().manual_seed(0)) + 3
    norm = ChannelNorm(4, 4)
    torch.nn.init.uniform_(norm.weight)
    found = norm(x.contiguous(memory_format=torch.channels_last_3d))
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    expected = torch.nn.functional.instance_norm(x.double(), weight=norm.weight.double())
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=2e-6)
