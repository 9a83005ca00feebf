"""The converter and its model folder: safety, refusals, prompts, the command line."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.convert.nnunet_factory import LABELS, REGIONS, make_nnunet, save_checkpoint, write_scan
from textseg3d.cli.main import main
from textseg3d.convert import convert_nnunet
from textseg3d.convert.child import facts_and_weights
from textseg3d.convert.plans import read_labels, resolve_configuration
from textseg3d.errors import ModelError, UsageError

pytest.importorskip("nnunetv2")
ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = Path("fold_0") / "checkpoint_final.pth"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nnunet(tmp_path_factory.mktemp("nnunet") / "source")


@pytest.fixture(scope="module")
def model(source: Path) -> Path:
    return convert_nnunet(source, source.parent / "tiny")


def copy_of(source: Path, folder: Path) -> Path:
    for path in source.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


class Payload:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def zip_checkpoint(path: Path, pickled: bytes, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)


def refused(capfd: pytest.CaptureFixture[str], source: Path, output: Path) -> str:
    """The one line with which the command refuses ``source``."""
    assert main(["convert", "nnunet", str(source), "-o", str(output), "--quiet"]) == 3
    assert not output.exists()
    assert [p for p in output.parent.iterdir() if p.name.startswith(f".{output.name}")] == []
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_weights_facts_and_card_are_those_of_the_source(source: Path, model: Path) -> None:
    from safetensors.numpy import load_file

    found = load_file(str(model / "model.safetensors"))
    original = torch.load(source / CHECKPOINT, weights_only=False)["network_weights"]
    assert {name.partition("/")[0] for name in found} == {"fold_0"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, original[name.partition("/")[2]].numpy())
    pointers = {tensor.data_ptr() for tensor in original.values()}
    assert len(found) == len(pointers)  # every weight, each once
    card = json.loads((model / "card.json").read_text())
    assert card["weights_licence"] == "CC-BY-SA 4.0"
    assert card["modalities"] == ["CT"]
    assert card["training_sources"][0]["cases"] == 7
    assert set(card["files"]) == {
        "plans.json", "dataset.json", "nnunet.json", "model.safetensors"
    }  # fmt: skip
    spec = json.loads((model / "nnunet.json").read_text())
    import hashlib

    digest = hashlib.sha256((source / CHECKPOINT).read_bytes()).hexdigest()
    assert spec["source_sha256"] == {"fold_0/checkpoint_final.pth": digest}


def test_numbers_of_every_dtype_and_layout_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    values = torch.randn(5, 7)
    weights = {
        "plain": values,
        "transposed": values.t(),
        "slice": values[1:4, ::2],
        "half": values.half(),
        "bfloat": values.bfloat16(),
        "double": values.double(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    path = tmp_path / "c.pth"
    save_checkpoint(path, weights)
    facts, arrays = facts_and_weights(path)
    assert (facts.trainer, facts.configuration) == ("nnUNetTrainer", "3d_fullres")
    assert facts.mirror_axes == (0, 1, 2)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(arrays[name], tensor.float().numpy(), err_msg=name)


@pytest.mark.parametrize("wrapped", [True, False], ids=["zip", "bare"])
def test_a_payload_is_refused_and_not_run(
    wrapped: bool, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With an exploit that really writes a file when the pickle is read in the usual way."""
    evil = copy_of(source, tmp_path / "evil")
    proof = tmp_path / "proof"
    payload = pickle.dumps({"network_weights": Payload(os.system, f"touch {proof}")}, protocol=2)
    pickle.loads(payload)
    assert proof.exists()
    proof.unlink()
    if wrapped:
        zip_checkpoint(evil / CHECKPOINT, payload)
    else:
        (evil / CHECKPOINT).write_bytes(payload)
    line = refused(capfd, evil, tmp_path / "out")
    assert not proof.exists()
    if wrapped:
        assert "system" in line
        assert "nothing was run" in line


@pytest.mark.parametrize(
    "function",
    [eval, exec, getattr, __import__, open, subprocess.Popen, io.open_code, np.load, torch.load],
    ids=lambda f: f.__name__,
)
def test_no_other_name_is_allowed(function: Callable[..., Any], tmp_path: Path) -> None:
    """By name, written by hand: pickle refuses what a library has replaced in this process."""
    path = tmp_path / "c.pth"
    name = f"{function.__module__}\n{function.__qualname__}\n".encode()
    zip_checkpoint(path, b"\x80\x02c" + name + b"X\x01\x00\x00\x001\x85R.")
    with pytest.raises(ModelError, match="refused and nothing was run"):
        facts_and_weights(path)


def test_views_outside_their_storage_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"network_weights": {"w": torch.zeros(4, 4)}}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        names = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    pickled = names.pop("data.pkl")
    shape = b"K\x04K\x04\x86"  # the tuple (4, 4), first the size, then a stride of (4, 1)
    assert shape in pickled
    path = tmp_path / "c.pth"
    zip_checkpoint(path, pickled.replace(shape, b"K\x08K\x04\x86", 1), **names)
    with pytest.raises(ModelError, match="damaged"):
        facts_and_weights(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_checkpoint_is_refused(
    share: float, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = copy_of(source, tmp_path / "broken")
    data = (broken / CHECKPOINT).read_bytes()
    (broken / CHECKPOINT).write_bytes(data[: int(len(data) * share)])
    assert "no whole checkpoint" in refused(capfd, broken, tmp_path / "out")


def test_other_architectures_and_missing_files_are_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(source, tmp_path / "other")
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]

    def write() -> None:
        (folder / "plans.json").write_text(json.dumps(plans))

    arguments = configuration["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, 6, 12]
    write()
    assert "does not fit its plans" in refused(capfd, folder, tmp_path / "out")
    arguments["n_stages"] = 2
    write()
    assert "stages" in refused(capfd, folder, tmp_path / "out")
    configuration["architecture"]["network_class_name"] = "os.system"
    write()
    assert "PlainConvUNet and ResidualEncoderUNet" in refused(capfd, folder, tmp_path / "out")
    configuration["previous_stage"] = "3d_lowres"
    write()
    assert "cascade" in refused(capfd, folder, tmp_path / "out")
    (folder / "plans.json").write_text("{")
    assert "cannot be read as JSON" in refused(capfd, folder, tmp_path / "out")
    (folder / "plans.json").unlink()
    assert "has no plans.json" in refused(capfd, folder, tmp_path / "out")


def test_a_missing_package_is_one_line_and_exit_code_4(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures", None)
    command = ["convert", "nnunet", str(source), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 4
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "textseg3d[nnunet]" in error


def test_weights_that_are_not_finite_are_refused(source: Path, tmp_path: Path) -> None:
    folder = copy_of(source, tmp_path / "nan")
    weights = torch.load(folder / CHECKPOINT, weights_only=False)["network_weights"]
    next(iter(weights.values()))[0] = float("nan")
    save_checkpoint(folder / CHECKPOINT, weights)
    with pytest.raises(ModelError, match="NaN or infinite"):
        convert_nnunet(folder, tmp_path / "out")


def test_an_output_that_exists_is_kept(source: Path, model: Path, tmp_path: Path) -> None:
    before = (model / "card.json").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        convert_nnunet(source, model)
    assert (model / "card.json").read_bytes() == before
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="other things"):
        convert_nnunet(source, tmp_path, overwrite=True)
    with pytest.raises(ModelError, match="fold_7"):
        convert_nnunet(source, tmp_path / "out", folds=["7"])


def test_labels_become_names_and_heads() -> None:
    order, classes, regions = read_labels({"labels": {**LABELS, "ignore": 4, "my_thing": 4}})
    assert order == (0, 1, 2, 3, 4)
    assert not regions
    assert [c.name for c in classes] == [
        "upper lobe of left lung", "lower lobe of left lung", "liver", "my thing"
    ]  # fmt: skip
    order, classes, regions = read_labels({"labels": REGIONS, "regions_class_order": [1, 2, 3]})
    assert regions
    assert [(c.values, c.head) for c in classes] == [((1, 2, 3), 0), ((2, 3), 1), ((3,), 2)]
    with pytest.raises(ModelError, match="regions_class_order"):
        read_labels({"labels": REGIONS})
    with pytest.raises(ModelError, match="without gaps"):
        read_labels({"labels": {"background": 0, "liver": 2}})


def test_configurations_inherit_but_not_from_themselves() -> None:
    plans: dict[str, Any] = {
        "configurations": {
            "a": {"patch_size": [1, 2, 3], "spacing": 1},
            "b": {"inherits_from": "a", "spacing": 2},
            "c": {"inherits_from": "c", "patch_size": [1, 2, 3]},
            "2d": {"patch_size": [4, 4]},
        }
    }
    assert resolve_configuration(plans, "b")["spacing"] == 2
    for name, message in (("c", "inherits"), ("2d", "not 3-D"), ("d", "has no configuration")):
        with pytest.raises(ModelError, match=message):
            resolve_configuration(plans, name)


def test_prompts_pick_classes_and_unions(model: Path, tmp_path: Path) -> None:
    from textseg3d import Segmenter

    scan = write_scan(tmp_path)[0]
    segmenter = Segmenter(model, "cpu")
    prompts = ["LUL", "lung_lower_lobe_left", "left lung", "liver", "left kidney"]
    result = segmenter.predict(scan, prompts, exact=True, keep_logits=True)
    assert result.windows_run == result.windows_total
    upper, lower, both = (result[p] for p in ("LUL", "lung_lower_lobe_left", "left lung"))
    assert upper.voxels > 0
    np.testing.assert_array_equal(both.array, upper.array | lower.array)
    assert not (upper.array & lower.array).any()
    inside = upper.probability()[upper.array]
    assert inside.min() > 0.25  # the largest of four classes
    assert upper.presence == pytest.approx(upper.probability().max(), abs=0.2)
    assert result["left kidney"].status == "unknown"
    assert "does not know 'left kidney'" in result["left kidney"].warnings[0]
    with segmenter.set_image(scan, exact=True) as session:
        for prompt in prompts[:4]:
            again = session.predict(prompt)[prompt]
            np.testing.assert_array_equal(again.array, result[prompt].array)
        assert session.feature_bytes == upper.array.size
        kept = session.predict("LUL", keep_logits=True)["LUL"].probability()
        np.testing.assert_allclose(kept, upper.probability(), atol=1e-5)


def test_quick_windows_are_fewer_and_leave_no_gap() -> None:
    from textseg3d.inference.closed.windows import importance, window_grid

    body = np.array([[30.0, 70.0], [0.0, 19.0], [1.0, 62.0]])
    grid = window_grid((100, 20, 64), (32, 32, 16), exact=False, box=body)
    exact = window_grid((100, 20, 64), (32, 32, 16), exact=True)
    assert len(grid) < grid.total == len(exact)
    assert grid.starts[1:] == exact.starts[1:]  # no fewer there: nnU-Net's own places
    seen = np.zeros(grid.shape, dtype=bool)
    for start in grid:
        seen[grid.clip(start)[0]] = True
    assert seen[30:71].all()
    assert float(importance((32, 32, 16)).min()) > 0


def test_orientation_ras_turns_the_scan_first(source: Path, tmp_path: Path) -> None:
    """The same body, stored along other axes, gets the same mask."""
    from textseg3d import Segmenter

    turned = convert_nnunet(source, tmp_path / "ras", orientation="RAS")
    scan = write_scan(tmp_path)[0]
    other = tmp_path / "other.nii.gz"
    image = nib.load(scan)
    nib.save(nib.as_closest_canonical(image), other)
    segmenter = Segmenter(turned, "cpu")
    a = segmenter.predict(scan, "liver", exact=True)["liver"]
    b = segmenter.predict(other, "liver", exact=True)["liver"]
    assert a.voxels > 0
    np.testing.assert_array_equal(a.array, b.array)


def test_channels_are_found_by_their_file_names(tmp_path: Path) -> None:
    from textseg3d import Segmenter
    from textseg3d.errors import InputError

    source = make_nnunet(
        tmp_path / "source", schemes=("ZScoreNormalization", "NoNormalization"), masks=(True, False)
    )
    segmenter = Segmenter(convert_nnunet(source, tmp_path / "m"), "cpu")
    first, second = write_scan(tmp_path / "scan", channels=2)
    both = np.stack([np.asarray(nib.load(path).dataobj) for path in (first, second)])
    result = segmenter.predict(first, "liver", exact=True)
    assert result.volume.array.shape[0] == 2
    np.testing.assert_array_equal(
        np.stack([result.volume.to_source(channel) for channel in result.volume.array]), both
    )
    second.unlink()
    with pytest.raises(InputError, match=r"_0001\.nii\.gz is missing"):
        segmenter.predict(first, "liver")


def test_the_command_line_converts_and_predicts(source: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")[0]
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    environment = {**os.environ, "PYTHONPATH": search}
    commands = [
        ["convert", "nnunet", str(source), "-o", str(tmp_path / "m")],
        ["predict", "-i", str(scan), "-p", "LUL", "liver", "--model", str(tmp_path / "m"),
         "-o", str(tmp_path / "out"), "--exact", "--device", "cpu"],
    ]  # fmt: skip
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "textseg3d", *command],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    masks = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
    assert len(masks) == 2
    assert nib.load(tmp_path / "out" / masks[0]).shape == nib.load(scan).shape


@pytest.mark.parametrize("size", [(32, 32, 16), (96, 96, 96), (7, 20, 1), (160, 128, 112)])
def test_window_weights_are_those_of_a_gaussian_filter(size: tuple[int, int, int]) -> None:
    """As nnU-Net makes them: scipy's filter of an impulse, in half precision with 10 as peak."""
    from scipy.ndimage import gaussian_filter

    from textseg3d.inference.closed.windows import importance

    impulse = np.zeros(size)
    impulse[tuple(n // 2 for n in size)] = 1
    weight = gaussian_filter(impulse, [n / 8 for n in size], mode="constant")
    half = torch.from_numpy(weight / weight.max() * 10).to(torch.float16).float().numpy()
    half = half.clip(half[half > 0].min())
    assert np.array_equal(importance(size).numpy(), half)
