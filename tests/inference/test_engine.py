"""The engine: prompts in chunks, slabs, plans of the memory, running out of it, air."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.inference.conftest import SPACING
from textseg3d.errors import MemoryBudgetError, UsageError
from textseg3d.inference import memory, slabs
from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.engine import skip_air
from textseg3d.inference.head import prepare_rows, window_logits
from textseg3d.inference.memory import Costs, parse_bytes, plan_memory
from textseg3d.inference.progress import Progress
from textseg3d.inference.regrid import logits_to_mask
from textseg3d.inference.windows import PLANES, tile_body
from textseg3d.io import volume_from_array
from textseg3d.text.types import TextFeatures

GB = 2**30


@pytest.fixture(scope="module")
def engine(segmenter):
    return segmenter._predictor.engine


@pytest.fixture(scope="module")
def scan(phantom):
    """Several windows along each axis."""
    large = np.pad(phantom, ((0, 12), (0, 0), (0, 0)), mode="edge").repeat(2, axis=2)
    return volume_from_array(large[None].transpose(0, 3, 2, 1), np.diag([*SPACING[::-1], 1.0]))


@pytest.fixture(scope="module")
def image(engine, scan):
    found = engine.keep_all(engine.prepare(scan, exact=False))
    assert len(found.grid) >= 8
    return found


@pytest.fixture(scope="module")
def kept(engine, image):
    return list(engine.windows(image, Progress()))


@pytest.fixture(scope="module")
def prompts(segmenter):
    """33 texts that say different things."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(33):
        tokens = rng.standard_normal((1, 24, 16)).astype(np.float32)
        mask = np.arange(24)[None] < rng.integers(2, 20)
        result.append(TextFeatures(tokens, mask, tokens.mean(axis=1)))
    return result


@pytest.fixture(scope="module")
def all_answers(engine, image, kept, prompts):
    return engine.answer(image, kept, prompts, keep_logits=True)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_an_answer_does_not_depend_on_the_number_of_prompts(
    engine, image, kept, prompts, all_answers, count
):
    chosen = np.random.default_rng(count).permutation(33)[:count]
    found = engine.answer(image, kept, [prompts[i] for i in chosen], keep_logits=True)
    for i, answer in zip(chosen, found):
        assert answer.presence == all_answers[i].presence
        assert np.array_equal(answer.logits, all_answers[i].logits)
        assert np.array_equal(answer.mask.array(), all_answers[i].mask.array())
    positive = [np.mean(a.logits > 0) for a in all_answers]
    assert len(set(positive)) > 30
    assert sum(0.001 < p < 0.999 for p in positive) > 10


def test_masks_are_those_of_the_logits(scan, all_answers):
    for answer in all_answers[:5]:
        expected = logits_to_mask(answer.logits, scan.shape).array()
        assert np.array_equal(answer.mask.array(), expected)


def plain(engine, image, kept, prompt):
    """The network's own pyramid at float32 sums, divided by the sum of the weights."""
    from textseg3d.inference.accumulate import SharesAccumulator
    from textseg3d.networks.prompt_unet import coarse_to_fine

    sums = SharesAccumulator(image.grid, torch.device("cpu"), 1)
    texts = [torch.from_numpy(a) for a in (prompt.tokens, prompt.mask, prompt.pooled)]
    for window in kept:
        with torch.inference_mode():
            answer = engine.network.answer(window.features, *texts)
            logits = coarse_to_fine(window.features, answer, window.fine)[-1]
        sums.add(0, window.start, logits[0])
    return sums.take(0).numpy()


def test_the_head_is_the_networks_own_pyramid(model_folder, scan, prompts):
    from textseg3d import Segmenter

    exact = Segmenter(model_folder, "cpu", precision="fp32")._predictor.engine
    image = exact.prepare(scan, exact=False)
    kept = list(exact.windows(image, Progress()))
    for prompt, answer in zip(prompts[:3], exact.answer(image, kept, prompts[:3])):
        expected = plain(exact, image, kept, prompt)
        assert np.abs(expected).max() > 1
        assert np.abs(answer.logits - expected).max() < 1e-4


@pytest.mark.parametrize(("planes", "kind"), [(13, "memory"), (8, "rows"), (30, "disk")])
def test_slabs_change_nothing(engine, image, prompts, all_answers, planes, kind):
    plan = dataclasses.replace(image.plan, planes=planes, kept=kind)
    cut = dataclasses.replace(image, plan=plan)
    found = engine.answer(cut, engine.windows(cut, Progress()), prompts[:5], keep_logits=True)
    for answer, expected in zip(found, all_answers):
        assert np.array_equal(answer.logits, expected.logits)
        assert np.array_equal(answer.mask.array(), expected.mask.array())
    without = engine.answer(cut, engine.windows(cut, Progress()), prompts[:5], keep_logits=False)
    for answer, expected in zip(without, all_answers):
        assert answer.logits.size == 0
        assert np.array_equal(answer.mask.array(), expected.mask.array())


def test_a_mask_grows_plane_by_plane():
    rng = np.random.default_rng(0)
    box = np.array([[9.0, 50.0], [3.0, 20.0], [0.0, 30.0]])
    for shape in ((70, 33, 20), (140, 20, 60), (9, 40, 33)):
        grid = tile_body((60, 40, 36), (32, 32, 32), 0.75, box, False)
        z, y, x = grid.region
        inside = rng.normal(0, 5, [s.stop - s.start for s in grid.region]).astype(np.float32)
        full = np.full(grid.shape, OUTSIDE_LOGIT, np.float32)
        full[grid.region] = inside
        expected = logits_to_mask(full, shape).array()
        for size in (1, 7, 60):
            builder = slabs.MaskBuilder(grid, shape)
            for first in range(0, len(inside), size):
                part = torch.from_numpy(inside[first : first + size])
                builder.add(part, z.start + first + len(part))
            assert np.array_equal(builder.result().array(), expected)
        assert y.stop - y.start <= 40
        assert x.stop <= 36


def test_slabs_cover_every_plane_once_all_windows_of_it_have_run():
    grid = tile_body((150, 40, 40), (32, 32, 32), 0.6, np.array([[20.0, 120]] * 3), False)
    order = list(grid)
    for by_rows in (False, True):
        cuts = slabs.slabs(grid, 11, by_rows=by_rows)
        planes = [p for cut in cuts for p in range(cut.start, cut.stop)]
        assert planes == list(range(grid.region[0].start, grid.region[0].stop))
        for cut in cuts:
            assert all(start[0] >= cut.stop for start in order[cut.windows :])


def test_out_of_memory_goes_on_with_less(
    engine, image, kept, prompts, all_answers, monkeypatch, caplog
):
    real, asked = slabs.SlabRun._sums, []

    def small_memory(self, start, stop, prompts):
        asked.append(stop - start)
        if stop - start > 20:
            raise MemoryError
        return real(self, start, stop, prompts)

    monkeypatch.setattr(slabs.SlabRun, "_sums", small_memory)
    found = engine.answer(image, kept, prompts[:6], keep_logits=True)
    for answer, expected in zip(found, all_answers):
        assert np.array_equal(answer.logits, expected.logits)
        assert np.array_equal(answer.mask.array(), expected.mask.array())
    assert "going on with" in caplog.text
    assert max(asked) > 20 >= min(asked)

    def no_memory(self, start, stop, prompts):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(slabs.SlabRun, "_sums", no_memory)
    with pytest.raises(MemoryBudgetError, match="smallest piece"):
        engine.answer(image, kept, prompts[:1])


def test_a_window_is_tried_again(engine, image, kept, prompts, monkeypatch):
    real, failed = engine.network.encode_image, []

    def once(x, position):
        if not failed:
            failed.append(1)
            raise MemoryError
        return real(x, position)

    monkeypatch.setattr(engine.network, "encode_image", once)
    windows = list(engine.windows(image, Progress()))
    for a, b in zip(windows, kept):
        assert a.start == b.start
        assert torch.equal(a.fine, b.fine)
        assert a.fine.stride() == b.fine.stride()

    def never(x, position):
        raise MemoryError

    monkeypatch.setattr(engine.network, "encode_image", never)
    with pytest.raises(MemoryBudgetError, match="window 0"):
        list(engine.windows(image, Progress()))


COSTS = Costs(fixed=GB // 2, activation=GB // 2, features=GB // 8, plane=GB // 1024)


@pytest.mark.parametrize(
    ("available", "kept", "windows"),
    [
        (None, "memory", 4),
        (8 * GB, "memory", 4),
        (3 * GB // 2, "rows", 2),
        (5 * GB // 4, "disk", 1),
    ],
)
def test_plans_take_what_fits(available, kept, windows):
    plan = plan_memory(COSTS, [1, 1, 1, 1], 2, 100, available, "RAM")
    assert (plan.kept, plan.windows_kept) == (kept, windows)
    assert available is None or plan.needed_bytes < available


def test_plans_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(MemoryBudgetError, match=r"needs 1\.1 GB of RAM at the least") as caught:
        plan_memory(COSTS, [1] * 4, 2, 100, GB, "RAM")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_gigabytes_are_not_kept_without_need():
    many = plan_memory(COSTS, [9] * 6, 2, 100, 100 * GB, "RAM")
    assert (many.kept, many.windows_kept) == ("rows", 18)
    assert plan_memory(COSTS, [9] * 6, 2, 100, 100 * GB, "RAM", keep_all=True).kept == "memory"


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2 * GB), ("1.5 GB", 3 * GB // 2), ("800M", 800 * 2**20), ("3", 3 * GB)],
)
def test_amounts_of_memory(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "1e9", "2 apples"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(UsageError, match="amount of memory"):
        parse_bytes(text)


def test_the_plan_holds(engine, image, kept):
    assert image.plan.windows == len(image.grid) == len(kept)
    features = sum(window.nbytes for window in kept) / len(kept)
    from textseg3d.inference.planning import image_costs

    costs = image_costs(engine.configuration, engine.runtime, image.scan_shape, image.grid.shape)
    assert 0.5 * features < costs.features < 2 * features
    assert memory.free_ram_bytes() is None or memory.free_ram_bytes() > 0
    assert memory.resident_bytes() > 2**26


def weighted_mean(engine, image, prompt):
    """Independent: the mean over the windows that ran, in float64; and where there is one."""
    from textseg3d.inference.windows import gaussian

    total, weight = np.zeros((2, *image.grid.shape))
    gz, gy, gx = (gaussian(n) for n in image.grid.size)
    gauss = gz[:, None, None] * gy[:, None] * gx
    with torch.inference_mode():
        for window in engine.windows(image, Progress()):
            rows = prepare_rows(window, engine._ask(window, [prompt], exact=image.exact), [0])
            inside, part = image.grid.clip(window.start)
            total[inside] += (window_logits(window, rows)[0].numpy() * gauss)[part]
            weight[inside] += gauss[part]
    return weight > 0, total / np.maximum(weight, 1e-300)


def test_open_blocks_have_the_bits_of_everything(engine, image, kept, prompts):
    """What is left out has the sign of the logits of stride 2, far enough from the threshold."""
    z = image.grid.region[0]
    left_out = 0
    for margin in (0.0, 2.0):
        found = []
        for keep in (False, True):
            run = slabs.SlabRun(
                image.grid, [], image.scan_shape, engine._scores(4), torch.device("cpu"),
                keep_logits=keep, margin=margin,
            )  # fmt: skip
            run._active = [slabs.Asked(w, engine._ask(w, prompts[:4])) for w in kept]
            found.append(run._sums(z.start, z.stop, [0, 1, 2, 3]))
        (some, _), (again, every) = found
        assert all(np.array_equal(a.values, b.values) for a, b in zip(some, again))
        for boxed, whole in zip(some, every):
            full = np.full(image.grid.shape, -np.inf, np.float32)
            full[image.grid.region] = whole.values
            found = np.full(image.grid.shape, OUTSIDE_LOGIT, np.float32)
            box = tuple(slice(c, c + n) for c, n in zip(boxed.corner, boxed.values.shape))
            found[box] = boxed.values
            inner = np.abs(found) != -OUTSIDE_LOGIT
            assert np.array_equal(found[inner], full[inner])
            outside = ~inner & np.isfinite(full)
            left_out += outside.sum()
            assert np.mean((found > 0)[outside] == (full > 0)[outside]) > 0.9
    assert left_out > 1000


def test_exact_is_float32_and_everywhere(engine, scan):
    exact, default = (engine.prepare(scan, exact=value) for value in (True, False))
    assert engine._margin(exact) is None
    assert engine._margin(default) is not None
    window = next(iter(engine.windows(exact, Progress())))
    assert window.fine.dtype == window.projected.query.dtype == torch.float32


def test_short_texts_are_cut_and_nobody_looks_for_what_is_absent(model_folder, scan, monkeypatch):
    from textseg3d import Segmenter

    engine = Segmenter(model_folder, "cpu", precision="fp32")._predictor.engine
    image = engine.prepare(scan, exact=False)
    window = next(iter(engine.windows(image, Progress())))
    rng = np.random.default_rng(1)
    tokens = rng.standard_normal((5, 1, 24, 16)).astype(np.float32)
    lengths = (3, 7, 8, 20, 24)
    texts = [TextFeatures(t, np.arange(24)[None] < n, t[:, 0]) for t, n in zip(tokens, lengths)]
    located, real = [], engine.network.locate
    monkeypatch.setattr(
        engine.network, "locate", lambda *a: located.append(a[2].mask.shape) or real(*a)
    )
    answer = engine._ask(window, texts)
    assert not located
    found = answer.coarse[torch.tensor([4, 0, 1, 0])]
    assert sorted(located) == [(8, 8), (8, 25)]
    for text, row in zip([texts[4], texts[0], texts[1], texts[0]], found):
        arrays = [torch.from_numpy(a) for a in (text.tokens, text.mask, text.pooled)]
        with torch.no_grad():
            plain = engine.network.answer(window.features, *arrays)
        torch.testing.assert_close(row, plain.coarse[0], rtol=1e-4, atol=1e-4)


def test_air_is_left_out_and_audited(engine, prompts):
    hu = np.full((60, 64, 100), -1000, np.int16)
    hu[10:50, 5:30, 5:30] = 40
    hu[20:40, 40:60, 70:95] = 40
    volume = volume_from_array(hu[None].transpose(0, 3, 2, 1), np.diag([3.0, 3.0, 3.0, 1.0]))
    whole = engine.prepare(volume, exact=True)
    assert not whole.grid.skipped
    thin = dataclasses.replace(whole, grid=skip_air(whole.grid, hu.astype(np.float32)))
    run = [w["start"] for w in thin.grid.audit() if w["run"]]
    left_out = [w for w in thin.grid.audit() if not w["run"]]
    assert left_out
    assert len(run) == len(thin.grid) == len(whole.grid) - len(left_out)
    assert [tuple(s) for s in run] == list(thin.grid)
    for window in left_out:
        assert window["why"].startswith("air: ")
        assert hu[thin.grid.clip(tuple(window["start"]))[0]].max() < 0
    everywhere = np.array([[0.0, n - 1.0] for n in hu.shape])
    grid = tile_body(hu.shape, whole.grid.size, 0.75, everywhere, False)
    close = engine.prepare(volume, exact=False)  # by blocks, in bf16
    close = dataclasses.replace(close, grid=skip_air(grid, hu.astype(np.float32)))
    assert close.grid.skipped
    assert close.grid.aligned
    for case, slack in ((thin, 1e-3), (close, 0.05)):
        (found,) = engine.answer(case, engine.windows(case, Progress()), prompts[:1])
        covered, expected = weighted_mean(engine, case, prompts[0])
        assert 0 < covered.mean() < 1
        assert np.abs(found.logits[covered] - expected[covered]).max() < slack
        assert np.all(found.logits[~covered] == OUTSIDE_LOGIT)
    air = skip_air(whole.grid, np.full(hu.shape, -1000, np.float32))
    assert len(air) == len(whole.grid)


def test_blocks_fit_every_window():
    assert 32 % PLANES == 0


def test_full_resolution_features_come_some_planes_at_a_time(engine, image, monkeypatch):
    from textseg3d.inference import engine as module

    start = next(iter(image.grid))
    monkeypatch.setattr(module, "_FINE_PLANES", 1000)
    whole = engine._try_window(image, start).fine
    monkeypatch.setattr(module, "_FINE_PLANES", 12)
    parts = engine._try_window(image, start).fine
    assert parts.stride() == whole.stride()
    torch.testing.assert_close(parts.float(), whole.float(), atol=1e-2, rtol=1e-2)
    assert (parts == whole).float().mean() > 0.99
