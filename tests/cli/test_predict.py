"""`textseg3d predict` as a person runs it: real processes, files, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.model_factory import make_model
from textseg3d.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def write_scan(path, shape=(20, 24, 22), seed=0):
    """A small NIfTI in RAS order with smooth random HU."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    array = (rng.normal(size=shape).cumsum(0) * 60).clip(-1000, 1000).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 4, 1])), path)
    return path


@pytest.fixture
def scan(tmp_path):
    return write_scan(tmp_path / "in" / "ct.nii.gz")


def command(*arguments, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "textseg3d", "predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
        **options,
    )


def quiet(*arguments):
    """The same in this process: exit code."""
    return main(["predict", "--quiet", *map(str, arguments)])


def test_a_process_writes_everything(model, scan, tmp_path):
    out = tmp_path / "out"
    done = command(
        "-i", scan, "-p", "left lung", "liver", "no spleen", "-o", out, "--model", model,
        "--preview", "--combine", "--probabilities", "--statistics", "csv", "--json-log",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == [
        "ct.json",
        "ct.labels.json",
        "ct.labels.nii.gz",
        "ct.preview.png",
        "ct.statistics.csv",
        "ct__left-lung.nii.gz",
        "ct__left-lung.probability.nii.gz",
        "ct__liver.nii.gz",
        "ct__liver.probability.nii.gz",
    ]
    record = json.loads((out / "ct.json").read_text())
    assert [p["status"] for p in record["prompts"]][2] == "negated"
    stages = ["read", "preprocess", "network", "export", "write"]
    assert list(record["seconds"]) == stages
    assert record["peak_rss_mb"] > 50
    events = [json.loads(line) for line in done.stderr.splitlines()]
    progress = [e for e in events if e["event"] == "progress"]
    assert [s for s in dict.fromkeys(e["stage"] for e in progress)] == stages
    assert all(set(e) - {"eta_s"} == {"event", "stage", "done", "total"} for e in progress)
    assert next(e for e in events if e["event"] == "result")["record"] == str(out / "ct.json")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["no", "spleen", "negated"]
    mask = nib.load(out / "ct__liver.nii.gz")
    assert mask.shape == nib.load(scan).shape
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
    assert np.asarray(mask.dataobj).sum() == record["prompts"][1]["voxels"]


def test_help_names_what_there_is(capsys):
    assert main(["predict", "--help"]) == 0
    out = capsys.readouterr().out
    for there in ("--probabilities", "--executor", "--shard", "--workers", "--summary"):
        assert there in out


@pytest.mark.parametrize(
    ("arguments", "code", "pattern"),
    [
        (["-p", "liver"], 2, "no scan"),
        (["-i", "SCAN"], 2, "either prompts"),
        (["-i", "SCAN", "-p", "liver", "--all"], 2, "either prompts"),
        (["-i", "SCAN", "-p", "nnUNetPlans"], 2, "plans"),
        (["-i", "SCAN", "-p", "plans/ct-nano.json"], 2, "plans"),
        (["-i", "SCAN", "-p", "left right kidney"], 3, "contradict"),
        (["-i", "SCAN", "-p", ""], 3, "empty"),
        (["-i", "SCAN", "-p", "liver", "--resume", "--overwrite"], 2, "not allowed"),
        (["-i", "SCAN", "-p", "liver", "spleen", "-o", "OUT.nii.gz"], 2, "folder"),
        (["-i", "SCAN", "SCAN", "-p", "liver", "-o", "OUT.nii.gz"], 2, "one file"),
        (["-i", "SCAN", "SCAN", "-p", "liver", "-o", "OUT"], 2, "both write"),
        (["-i", "SCAN", "-p", "liver", "-o", "SCAN"], 2, "scan itself"),
        (["-i", "SCAN", "-p", "liver", "-o", "SCAN", "--overwrite"], 2, "scan itself"),
        (["-i", "SCAN", "-p", "liver", "-o", "OUT.mha"], 2, "neither"),
        (["-i", "SCAN", "-p", "liver", "--device", "cuda:77"], 2, "device"),
        (["-i", "SCAN", "-p", "liver", "--format", "rtstruct"], 2, "invalid choice"),
        (["-i", "NOTHING.nii.gz", "-p", "liver"], 3, "no such file"),
        (["-i", "BROKEN", "-p", "liver"], 3, "N1"),
        (["-i", "SCAN", "-p", "liver", "--jobs", "jobs.json"], 2, "leave out"),
        (["--jobs", "NOTHING.json"], 3, "cannot be read"),
        (["-i", "SCAN", "-p", "liver", "--model", "NOTHING"], 3, "unknown model"),
    ],
)
def test_exit_codes(model, scan, tmp_path, capsys, arguments, code, pattern):
    content = scan.read_bytes()
    broken = tmp_path / "in" / "broken.nii.gz"
    broken.write_bytes(content[: len(content) // 2])
    places = {"SCAN": scan, "BROKEN": broken}
    arguments = [str(places.get(a, a)) for a in arguments]
    arguments = [str(tmp_path / a) if a.startswith(("OUT", "NOTHING.")) else a for a in arguments]
    if "--model" not in arguments:
        arguments += ["--model", str(model)]
    assert quiet(*arguments) == code
    error = capsys.readouterr().err
    assert pattern in error
    assert len(error.splitlines()) == 1
    assert scan.read_bytes() == content
    left = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    if "N1" not in pattern:
        assert left == ["broken.nii.gz", "ct.nii.gz"]
        return
    assert left == ["broken.json", "broken.nii.gz", "ct.nii.gz"]  # rejected: the record says why
    record = json.loads((tmp_path / "in" / "broken.json").read_text())
    assert record["status"] == "bad_input"
    assert record["error"] == {"rule": "N1", "exit_code": 3, "message": record["error"]["message"]}
    assert record["error"]["message"] in error


def test_beside_the_scan_then_again(model, scan, capsys):
    base = ["-i", scan, "-p", "liver", "--model", model]
    assert quiet(*base) == 0
    mask = scan.with_name("ct__liver.nii.gz")
    stamp = mask.stat().st_mtime_ns
    assert quiet(*base) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert quiet(*base, "--resume") == 0
    assert mask.stat().st_mtime_ns == stamp
    assert quiet(*base, "--resume", "--preview") == 0  # a file is missing: done again
    assert mask.stat().st_mtime_ns != stamp
    stamp = mask.stat().st_mtime_ns
    assert quiet(*base, "--overwrite") == 0
    assert mask.stat().st_mtime_ns != stamp
    # A folder of scans leaves out what earlier runs wrote.
    assert quiet("-i", scan.parent, "-p", "liver", "--model", model, "--resume") == 0
    assert not list(scan.parent.glob("ct__liver__*"))


def test_one_file(model, scan, tmp_path, capsys):
    out = tmp_path / "new" / "liver.nii.gz"
    assert quiet("-i", scan, "-p", "liver", "-o", out, "--model", model) == 0
    assert sorted(p.name for p in out.parent.iterdir()) == ["liver.json", "liver.nii.gz"]
    assert str(out) in capsys.readouterr().out


def test_same_masks_as_python(model, scan, tmp_path):
    from textseg3d import Segmenter

    assert quiet("-i", scan, "-p", "heart", "liver", "-o", tmp_path / "a", "--model", model) == 0
    Segmenter(model).predict(scan, ["heart", "liver"]).save(tmp_path / "b")
    for name in ("ct__heart.nii.gz", "ct__liver.nii.gz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_folder_with_one_bad_scan(model, tmp_path, capsys):
    folder = tmp_path / "cohort"
    for seed in (1, 2):
        write_scan(folder / f"case{seed}.nii.gz", seed=seed)
    (folder / "bad.nii.gz").write_text("not a scan")
    out = tmp_path / "out"
    base = ["-i", folder, "-p", "liver", "-o", out, "--model", model]
    assert quiet(*base) == 5
    error = capsys.readouterr().err
    assert "N5" in error
    assert "1 of 3 cases failed" in error
    done = {"case1.json", "case1__liver.nii.gz", "case2.json", "case2__liver.nii.gz", "bad.json"}
    assert {p.name for p in out.iterdir()} == done
    stamps = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    (folder / "bad.nii.gz").unlink()
    write_scan(folder / "case1.nii.gz", seed=9)  # changed since
    assert quiet(*base, "--resume") == 0
    changed = {p.name for p in out.iterdir() if p.stat().st_mtime_ns != stamps[p.name]}
    assert changed == {"case1.json", "case1__liver.nii.gz"}


def test_job_list(model, tmp_path, capsys):
    write_scan(tmp_path / "scans" / "a.nii.gz", seed=1)
    write_scan(tmp_path / "scans" / "b.nii.gz", seed=2)
    jobs = [
        {"image": "scans/a.nii.gz", "prompts": ["liver"]},
        {"image": "scans/b.nii.gz", "prompts": ["heart", "spleen"]},
    ]
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps(jobs))
    out = tmp_path / "out"
    assert quiet("--jobs", path, "-o", out, "--model", model, "--format", "nrrd") == 0
    assert sorted(p.name for p in out.glob("*.nrrd")) == [
        "a__liver.nrrd",
        "b__heart.nrrd",
        "b__spleen.nrrd",
    ]
    path.write_text(json.dumps([{"imge": "x", "prompts": ["liver"]}]))
    assert quiet("--jobs", path, "-o", out, "--model", model) == 2
    assert "did you mean 'image'" in capsys.readouterr().err


def test_all_leaves_out_what_is_absent(scan, tmp_path):
    absent = make_model(tmp_path / "absent", presence_bias=-9.0)
    assert quiet("-i", scan, "--all", "-o", tmp_path / "out", "--model", absent) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["ct.json"]
    record = json.loads((tmp_path / "out" / "ct.json").read_text())
    assert {(p["status"], p["mask"]) for p in record["prompts"]} == {("empty", None)}
    assert len(record["prompts"]) == 7


def test_dry_run_loads_and_writes_nothing(model, scan, tmp_path):
    (model / "model.safetensors").rename(model / "away")
    try:
        done = command("-i", scan, "-p", "LT kidney", "-o", tmp_path / "out", "--model", model,
                       "--dry-run")  # fmt: skip
    finally:
        (model / "away").rename(model / "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert "left kidney" in done.stdout
    assert str(tmp_path / "out" / "ct.json") in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_refused(model, scan, tmp_path, capsys):
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\1")
    try:
        assert quiet("-i", scan, "-p", "liver", "-o", tmp_path / "out", "--model", model) == 3
    finally:
        weights.write_bytes(content)
    assert "sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(model, tmp_path, number):
    scan = write_scan(tmp_path / "big.nii.gz", shape=(150, 130, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "textseg3d", "predict", "-i", scan, "--all", "--exact",
         "-o", tmp_path / "out", "--model", model, "--json-log"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A test run in the background of a shell hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for line in process.stderr:
            event = json.loads(line)
            if event.get("stage") == "network" and event["done"] >= 2:
                break
        start = time.monotonic()
        process.send_signal(number)
        rest = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 130, rest
    assert json.loads(rest.splitlines()[-1])["message"] == "cancelled"
    assert time.monotonic() - start < 60
    assert not (tmp_path / "out").exists()
