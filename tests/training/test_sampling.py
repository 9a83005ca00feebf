"""Samples: a function of seed and step, partial labels respected, masks true at every scale."""

import dataclasses

import pytest
import torch

from tests.training.toy import configuration, write_training_set
from textseg3d.errors import InputError
from textseg3d.training.cases import TrainingSet
from textseg3d.training.sampling import WindowDataset


@pytest.fixture
def dataset(tmp_path):
    return WindowDataset(tmp_path, write_training_set(tmp_path), configuration(), seed=0, prompts=4)


def test_the_same_step_gives_the_same_sample(dataset, tmp_path):
    again = WindowDataset(tmp_path, dataset.set, configuration(), seed=0, prompts=4)
    a, b, other = dataset[5], again[5], dataset[6]
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.prompts, b.prompts)
    assert torch.equal(a.fine_mask, b.fine_mask)
    assert not torch.equal(a.x, other.x)


def test_coarse_masks_are_means_of_the_fine_one(dataset):
    """With a crop as large as the window, stride 2 must be the mean of 2×2×2 voxels."""
    for step in range(4):
        s = dataset[step]
        assert s.fine_start == (0, 0, 0)
        blocks = s.fine_mask.float().unfold(1, 2, 2).unfold(2, 2, 2).unfold(3, 2, 2)
        torch.testing.assert_close(blocks.mean((-1, -2, -3)), s.masks[0].float())


def test_presence_says_what_the_masks_show(dataset):
    for step in range(8):
        s = dataset[step]
        voxels = s.fine_mask.flatten(1).sum(1)
        for there, n in zip(s.presence.tolist(), voxels.tolist()):
            assert there == (1.0 if n >= 20 else 0.0 if n == 0 else -1.0)


def test_sides_are_never_swapped(dataset):
    """The block called right lies at smaller x than the one called left, in every sample."""
    right, left = dataset.index["right block"], dataset.index["left block"]
    seen = 0
    for step in range(12):
        s = dataset[step]
        rows = {int(p): row for row, p in enumerate(s.prompts)}
        if right in rows and left in rows:
            centres = []
            for target in (right, left):
                x = torch.nonzero(s.fine_mask[rows[target]])[:, 2].float()
                centres.append(x.mean())
            if not any(torch.isnan(c) for c in centres):
                seen += 1
                assert centres[0] < centres[1]
    assert seen >= 4


def test_unknown_targets_are_never_asked(tmp_path):
    full = write_training_set(tmp_path)
    partial = tuple(
        dataclasses.replace(case, targets={"left block": (3,), "cone": ()}) for case in full.cases
    )
    dataset = WindowDataset(
        tmp_path, dataclasses.replace(full, cases=partial), configuration(), seed=1, prompts=4
    )
    asked = {int(p) for step in range(10) for p in dataset[step].prompts}
    assert asked <= {dataset.index["left block"], dataset.index["cone"]}


def test_training_set_round_trip_and_faults(tmp_path):
    written = write_training_set(tmp_path)
    assert TrainingSet.load(tmp_path) == written
    with pytest.raises(InputError, match=r"no training\.json"):
        TrainingSet.load(tmp_path / "nowhere")
    text = (tmp_path / "training.json").read_text().replace('"cone": []', '"cube": []')
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(InputError, match="unknown target 'cube'"):
        TrainingSet.load(tmp_path)
