"""Samples of a cascade's stage: crops of an organ, positions relative to its box."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textseg3d.plans.schema import Architecture, Configuration, Intensity
from textseg3d.preprocessing.body import window_position
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays
from textseg3d.training.crops import CropDataset

LUNG, TUMOUR, NODULE = 1, 100, 200
SPACING = (1.5, 1.5, 1.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CropDataset:
    folder = tmp_path_factory.mktemp("crops")
    labels = np.zeros((60, 56, 52), np.uint8)
    labels[8:52, 6:50, 4:48] = LUNG
    labels[20:26, 20:26, 20:26] = NODULE
    labels[30:44, 30:44, 30:44] = TUMOUR
    image = np.where(labels == LUNG, -850, 40).astype(np.int16)
    save_case_arrays(folder, "scan", labels, image)
    case = TrainingCase(
        "scan", "scan", 1.0, {"pulmonary nodule": (NODULE,)},
        insert={"pulmonary nodule": (LUNG, NODULE)}, unknown=(TUMOUR,),
    )  # fmt: skip
    data = TrainingSet(SPACING, (TargetEntry("pulmonary nodule", ("lung nodule",)),), (case,))
    configuration = Configuration(
        SPACING, (32, 32, 32), Architecture("PromptUNet", {}),
        intensity=(Intensity("windows", ((-1000.0, 400.0),)),),
    )  # fmt: skip
    return CropDataset(folder, data, configuration, seed=3, prompts=2, fine_crop=32)


def test_a_position_is_that_of_the_window_in_the_organ_box(dataset: CropDataset) -> None:
    case = dataset.set.cases[0]
    labels, _ = dataset._load("scan")
    start, size = (5, 20, 11), (32, 32, 32)
    axes = [torch.arange(n, dtype=torch.float32) + s for n, s in zip(size, start)]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    found = dataset._position(case, labels, [LUNG, NODULE], coordinates)
    box = np.array([[8.0, 51.0], [6.0, 49.0], [4.0, 47.0]])
    np.testing.assert_allclose(found, window_position(box, start, size), atol=1e-6)


def test_samples_show_findings_and_leave_out_what_is_unknown(dataset: CropDataset) -> None:
    present, unknown = [], 0
    for index in range(16):
        sample = dataset[index]
        assert sample.x.shape == (1, 32, 32, 32)
        voxels = float(sample.masks[0].sum()) * 8
        truth = float(sample.presence[0])
        assert truth == (1 if voxels > dataset.present_voxels else 0) or 0 < voxels < 21
        present.append(truth)
        if sample.known is not None:
            sure = sample.known[1].float()
            unknown += 1
            assert 0 <= float(sure.min()) < 1
            # Never scored and target at once, but for cells that both share.
            assert not ((sample.masks[0] == 1) & (sure == 0)).any()
    assert 0 < sum(p == 1 for p in present) < 16
    assert unknown > 3


def test_a_sample_depends_on_its_number_alone(dataset: CropDataset) -> None:
    one, again, other = dataset[7], dataset[7], dataset[8]
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.position, again.position)
    assert not torch.equal(one.x, other.x)
