"""A mask overrules its presence score where enough of it is sure."""

import dataclasses
from copy import copy
from functools import partial

import numpy as np
import pytest
import torch

from tests.inference.conftest import SPACING
from textseg3d.inference.accumulate import SharesAccumulator
from textseg3d.inference.postprocess import Postprocessing
from textseg3d.inference.presence import PRESENT, PresenceScores, SureMask
from textseg3d.inference.progress import Progress
from textseg3d.inference.regrid import logits_to_mask
from textseg3d.io import volume_from_array
from textseg3d.text.types import TextFeatures

SURE = SureMask(volume_ml=2.0, probability=0.9, presence=0.1)


def scores(windows, planes, *, by_voxels=False, sure=SURE):
    """Of one prompt, at 0.5 ml a voxel."""
    found = PresenceScores(1, 0.5, by_voxels=by_voxels, sure=sure)
    for probability in windows:
        found.hear(torch.tensor([probability]).logit())
    for plane in planes:
        found.see(0, None if plane is None else np.array(plane, np.float32))
    return found


@pytest.mark.parametrize(
    ("windows", "planes", "expected"),
    [
        ([0.3, 0.2], [[2.3, 2.3, 0.0], None, [2.3, 9.0]], 0.5),  # four voxels of 0.9 or more
        ([0.3, 0.2], [[2.3, 2.3, 0.0], [2.3, 2.1]], 0.3),  # three: 1.5 ml
        ([0.09], [[9.0] * 10], 0.09),  # as good as excluded
        ([0.7], [[9.0] * 10], 0.7),  # never less than the windows say
        ([0.7], [None], 0.7),
    ],
)
def test_two_ml_of_sure_voxels_overrule_a_doubt(windows, planes, expected):
    assert scores(windows, planes).result() == pytest.approx([expected])


def test_without_the_rule_windows_alone_decide():
    assert scores([0.3], [[9.0] * 10], sure=None).result() == pytest.approx([0.3])


def test_of_a_stage_the_most_certain_voxel_decides():
    found = scores([0.9], [[-2.0, 1.0], [0.5]], by_voxels=True)
    assert found.result() == pytest.approx([1 / (1 + np.exp(-1.0))])


def test_masks_are_made_of_what_can_still_be_there():
    found = PresenceScores(4, 0.5, by_voxels=False, sure=SURE)
    found.hear(torch.tensor([0.05, 0.2, 0.4, 0.8]).logit())
    assert found.possible().tolist() == [1, 2, 3]
    found = PresenceScores(4, 0.5, by_voxels=False)
    found.hear(torch.tensor([0.05, 0.2, 0.4, 0.8]).logit())
    assert found.possible().tolist() == [3]


@pytest.mark.parametrize("planes", [None, 8])
def test_the_engine_counts_every_voxel_once(segmenter, phantom, planes):
    """In one slab and in many, beside what the logits say."""
    engine = copy(segmenter._predictor.engine)
    large = np.pad(phantom, ((0, 12), (0, 0), (0, 0)), mode="edge")
    scan = volume_from_array(large[None].transpose(0, 3, 2, 1), np.diag([*SPACING[::-1], 1.0]))
    image = engine.keep_all(engine.prepare(scan, exact=False))
    if planes is not None:
        image = dataclasses.replace(image, plan=dataclasses.replace(image.plan, planes=planes))
    windows = list(engine.windows(image, Progress()))
    rng = np.random.default_rng(2)
    tokens = rng.standard_normal((24, 1, 24, 16)).astype(np.float32)
    mask = np.ones((1, 24), bool)
    prompts = [TextFeatures(t, mask, t.mean(axis=1)) for t in tokens]
    ask, said = engine._ask, [a.presence for a in engine.answer(image, windows, prompts)]
    usual = float(torch.tensor(said).logit().median())

    def doubting(*args, **kwargs):  # this network believes in everything
        answer = ask(*args, **kwargs)
        return dataclasses.replace(answer, presence=answer.presence - usual - 0.5)

    engine._ask = doubting
    before = engine.answer(image, windows, prompts)
    doubted = [answer.presence for answer in before if answer.presence < PRESENT]
    voxel_ml = np.prod(engine.configuration.spacing) / 1000
    volumes = [(a.logits >= np.log(0.6 / 0.4)).sum() * voxel_ml for a in before]
    ranked = sorted(v for v, a in zip(volumes, before) if a.presence < PRESENT)
    limit = float(np.mean(ranked[len(ranked) // 2 - 1 : len(ranked) // 2 + 1]))
    engine.sure = SureMask(limit, 0.6, float(np.quantile(doubted, 0.2)))
    raised = 0
    for keep in (True, False):
        after = engine.answer(image, windows, prompts, keep_logits=keep)
        for old, new, volume in zip(before, after, volumes):
            overruled = engine.sure.presence <= old.presence < PRESENT and volume >= limit
            raised += overruled
            assert new.presence == (PRESENT if overruled else old.presence)
            expected = logits_to_mask(old.logits, image.scan_shape)
            there = new.presence >= PRESENT
            assert np.array_equal(new.mask.array(), expected.array() & there)
    assert 2 <= raised < 2 * len(doubted)
    engine.accumulator = partial(SharesAccumulator)  # one that the engine does not know
    summed = engine.answer(image, windows, prompts)
    assert [a.presence for a in summed] == [a.presence for a in after]


def test_the_rule_is_read_from_the_models_file(tmp_path):
    path = tmp_path / "postprocessing.json"
    Postprocessing(sure_mask=SURE).save(path)
    assert Postprocessing.load(path).sure_mask == SURE
