"""Cohorts that are killed, doubled, or run out of disk: every case is committed exactly once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cohort.conftest import BAD, CASES, arguments, check_finished, records, write_scan
from tests.io.dicom_files import broken_decoder, compressed_series

KILLS = 20
GOOD = CASES - len(BAD)


def wait_for(condition, seconds=500.0):
    """Wait until ``condition()`` holds; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return value


def running(pid):
    """Whether a process has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def events(log, kind):
    """Events of one kind in a JSON log; half a line at a kill is none."""
    found = []
    for line in log.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == kind:
            found.append(event)
    return found


def test_twenty_kills(commands, cohort, model, finished, tmp_path):
    """SIGKILL at random moments, most of them within the work on a case, some while loading."""
    out, log, rng = tmp_path / "out", tmp_path / "log", random.Random(7)
    asked = arguments(cohort, out, model)
    before: dict[str, tuple[int, int]] = {}
    progressed = 0
    for kill in range(KILLS):
        pid = commands.start(log, *asked, "--resume")
        if kill % 4:
            wait_for(lambda old=before, p=pid: len(records(out)) > len(old) or not running(p))
        time.sleep(rng.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert commands.wait(pid) == -signal.SIGKILL
        now = records(out)
        assert {name: now.get(name) for name in before} == before, "a commit was done again"
        for name in now:
            record = json.loads((out / f"{name}.json").read_text())
            assert all((out / file).stat().st_size for file in record["files"])
        progressed += len(now) > len(before)
        before = now
    assert progressed > KILLS // 2
    assert 0 < len(before) < CASES  # the kills met a cohort at work until the last
    assert commands.run(log, *asked, "--resume") == 5
    after = records(out)
    assert {name: after[name] for name in before} == before
    check_finished(out, finished)
    # Once more: nothing is left to do, so not even the model is loaded.
    fresh = tmp_path / "fresh"
    assert commands.run(fresh, *asked, "--resume") == 5
    assert records(out) == after
    assert "loaded" not in fresh.read_text()
    assert {e["exit_code"] for e in events(fresh, "error")} == {3, 5}


def test_two_drivers_share_the_work(commands, cohort, model, finished, tmp_path):
    out = tmp_path / "out"
    logs = [tmp_path / "one", tmp_path / "two"]
    pids = [commands.start(log, *arguments(cohort, out, model), "--resume") for log in logs]
    assert [commands.wait(pid) for pid in pids] == [5, 5]
    done = [event["case"] for log in logs for event in events(log, "result")]
    assert len(done) == len(set(done)) == GOOD
    check_finished(out, finished)


def workers_of(pid):
    """Process ids of the workers of a driver."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"textseg3d.cohort.worker" in command:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_processes_that_die(commands, cohort, model, finished, tmp_path):
    """A worker is killed, then the driver; the workers leave with it, and a resume goes on."""
    out, log = tmp_path / "out", tmp_path / "log"
    asked = [*arguments(cohort, out, model), "--workers", 2, "--resume"]
    driver = commands.start(log, *asked)
    wait_for(lambda: len(records(out)) >= 4)
    victim = workers_of(driver)[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: "SIGKILL" in log.read_text())
    reached = len(records(out))
    wait_for(lambda: len(records(out)) >= min(reached + 4, CASES - 8))
    left = workers_of(driver)
    os.kill(driver, signal.SIGKILL)
    assert commands.wait(driver) == -signal.SIGKILL
    wait_for(lambda: not any(map(running, left)), 60)
    before = records(out)
    assert len(before) < CASES
    assert commands.run(log, *arguments(cohort, out, model), "--resume") == 5
    after = records(out)
    assert {name: after[name] for name in before} == before
    check_finished(out, finished)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "textseg3d-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(commands, cohort, model, finished, tmp_path, small_disk):
    out, log = small_disk / "out", tmp_path / "log"
    asked = arguments(cohort, out, model)
    assert commands.run(log, *asked) == 1
    (error,) = [e for e in events(log, "error") if e["exit_code"] == 1]
    before = records(out)
    assert "No space left on device" in error["message"]
    assert f"{len(before)} of {CASES} cases were committed" in error["message"]
    assert "--resume" in error["message"]
    assert 0 < len(before) < CASES
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    written = [json.loads((out / f"{name}.json").read_text())["files"] for name in before]
    masks = {file for files in written for file in files}
    assert {p.name for p in out.iterdir()} == masks | {f"{name}.json" for name in before}
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert commands.run(log, *asked, "--resume") == 5
    assert {name: records(out)[name] for name in before} == before
    check_finished(out, finished)


@pytest.mark.parametrize("more", [[], ["--executor", "local"]], ids=["serial", "local"])
def test_a_daemonic_parent(commands, cohort, model, tmp_path, more):
    """`multiprocessing` forbids daemons to have children; neither executor asks it for any."""
    out, log = tmp_path / "out", tmp_path / "log"
    asked = ["-i", cohort / "case00.nii.gz", "-p", "liver", "-o", out, "--model", model, *more]
    assert commands.run(log, *asked, daemonic=True) == 0, log.read_text()
    assert (out / "case00__liver.nii.gz").is_file()


def test_a_decoder_that_crashes_takes_no_other_case_with_it(commands, model, tmp_path):
    """One process does all cases, but native decoders are not in it (rule D12)."""
    out, log = tmp_path / "out", tmp_path / "log"
    scans = [write_scan(tmp_path / "a.nii.gz", 1), tmp_path / "b", tmp_path / "c.nii.gz"]
    compressed_series(scans[1])
    write_scan(scans[2], 2)
    crash = broken_decoder(tmp_path / "path", "os.kill(os.getpid(), signal.SIGSEGV)")
    asked = ["-i", *scans, "-p", "liver", "-o", out, "--model", model, "--json-log"]
    assert commands.run(log, *asked, environment={"PYTHONPATH": str(crash)}) == 5
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in "abc"}
    assert [found[name]["status"] for name in "abc"] == ["ok", "bad_input", "ok"]
    assert found["b"]["error"]["rule"] == "D12"
    assert "SIGSEGV" in found["b"]["error"]["message"]
    (case,) = [e for e in events(log, "error") if e["exit_code"] == 3]
    assert "crashed (SIGSEGV)" in case["message"]


def test_a_limit_on_files_is_a_full_disk_too(commands, cohort, model, tmp_path):
    """As a quota would: the record of seven prompts is longer than a file may be."""
    out, log = tmp_path / "out", tmp_path / "log"
    asked = ["-i", cohort / "case00.nii.gz", "--all", "-o", out, "--model", model, "--quiet"]
    assert commands.run(log, *asked, file_bytes=2048) == 1
    assert "File too large" in log.read_text()
    assert not out.exists()
    assert commands.run(log, *asked) == 0
