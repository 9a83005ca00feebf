"""The loop: it learns, it resumes at the exact next step, it can be cancelled."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import ToyEncoder, configuration, write_training_set
from textseg3d.errors import Cancelled, InputError
from textseg3d.training.cases import TrainingSet
from textseg3d.training.loop import TrainSettings, learning_rate, train
from textseg3d.training.sampling import WindowDataset
from textseg3d.training.validation import Validation


def settings(steps, **changes):
    return TrainSettings(
        steps=steps, loaders=0, log_every=2, prompts=4, warmup=5, learning_rate=3e-3, **changes
    )


def run(tmp_path, name, steps, **options):
    data = tmp_path / "data"
    if not data.exists():
        write_training_set(data)
    source = WindowDataset(data, TrainingSet.load(data), configuration(), seed=0, prompts=4)
    return train(source, ToyEncoder(), tmp_path / name, settings(steps), **options)


def test_learning_rate_warms_up_holds_and_decays():
    s = TrainSettings(steps=1000, learning_rate=1.0, warmup=100, decay=0.25)
    assert learning_rate(0, s) == pytest.approx(0.01)
    assert learning_rate(99, s) == 1.0
    assert learning_rate(750, s) == 1.0
    assert learning_rate(875, s) == pytest.approx(0.5)
    assert learning_rate(999, s) == pytest.approx(0.004)


def test_resume_is_the_exact_next_step(tmp_path):
    """Cancelled after step 3 and continued: the same weights as an undisturbed run of 6."""
    torch.use_deterministic_algorithms(True)
    try:
        run(tmp_path, "whole", 6)
        with pytest.raises(Cancelled):
            run(tmp_path, "parts", 6, on_progress=lambda stage, done, total: done < 3)
        run(tmp_path, "parts", 6, resume=True)
    finally:
        torch.use_deterministic_algorithms(False)
    whole, parts = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    for key in whole:
        torch.testing.assert_close(whole[key], parts[key], rtol=0, atol=1e-6, msg=key)


def test_loss_falls_and_leaves_a_log_and_a_picture(tmp_path):
    run(tmp_path, "run", 40)
    with (tmp_path / "run" / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 20
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert (tmp_path / "run" / "progress.png").stat().st_size > 5000


def test_no_checkpoint_to_continue_from(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        run(tmp_path, "empty", 4, resume=True)


def test_patience_ends_a_run_and_keeps_the_best(tmp_path):
    """Without a learning rate no score beats the first; the second that does not ends the run."""
    data = tmp_path / "data"
    training_set = write_training_set(data)
    source = WindowDataset(data, training_set, configuration(), seed=0, prompts=4)
    held = WindowDataset(data, training_set, configuration(), seed=9, prompts=4)
    still = TrainSettings(
        steps=40, loaders=0, log_every=2, prompts=4, learning_rate=1e-12, patience=2
    )
    out = tmp_path / "run"
    train(source, ToyEncoder(), out, still, validation=Validation(held, every=2, windows=2))
    with (out / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    best = load_file(out / "checkpoint_best.safetensors")
    last = load_file(out / "checkpoint.safetensors")
    assert set(best) == {k for k in last if k.startswith("average.")}


def test_a_batch_is_the_mean_of_its_windows(tmp_path):
    """Two windows in one step, or as two accumulated batches: the same weights."""
    data = tmp_path / "data"
    source = WindowDataset(data, write_training_set(data), configuration(), seed=0, prompts=4)
    options = {"steps": 2, "loaders": 0, "log_every": 1, "prompts": 4}
    for name, more in (("batch", {"batch": 2}), ("accumulate", {"accumulate": 2})):
        train(source, ToyEncoder(), tmp_path / name, TrainSettings(**options, **more))
    one, two = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("batch", "accumulate")
    )
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=0, atol=1e-6, msg=key)


def test_event_files_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path, "run", 2, tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))
