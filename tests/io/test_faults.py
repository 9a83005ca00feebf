"""Every fault that can be made is refused: one line, the right rule, exit code 3, no voxels."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from tests.io import faults
from textseg3d.cli.main import main
from textseg3d.errors import InputError
from textseg3d.io import check_scan, read_volume


@pytest.mark.parametrize("name", faults.FAULTS)
def test_fault_is_rejected_by_its_rule(name, tmp_path):
    rule, maker = faults.FAULTS[name]
    path = maker(tmp_path)
    findings = check_scan(path)
    rejected = [f.rule for f in findings if f.verdict == "reject"]
    assert rejected[:1] == [rule], findings
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert f": {rule}: " in message
    assert "\n" not in message
    assert "\0" not in message
    assert path.name.replace("\0", "?") in message
    assert len(message) > len(str(path)) + 25


@pytest.mark.parametrize("name", ["truncated_gz", "no_codes", "html", "mha_packed_truncated"])
def test_command_exits_with_3_and_one_line(name, tmp_path, capsys):
    rule, maker = faults.FAULTS[name]
    path = maker(tmp_path)
    assert main(["check", str(path), "--json"]) == 3
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1
    assert f": {rule}: " in err
    report = json.loads(out)
    assert report["verdict"] == "reject"
    assert {"rule", "verdict", "message"} == set(report["findings"][0])


def test_command_in_a_process_of_its_own(tmp_path):
    path = faults.FAULTS["flipped_bit_gz"][1](tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "textseg3d", "check", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert "N3" in done.stderr
    assert "Traceback" not in done.stderr
    assert "N3    reject" in done.stdout


@pytest.mark.parametrize("name", ["dims_huge", "bomb", "nrrd_huge", "extension_area_huge"])
def test_refusal_takes_no_memory(name, tmp_path):
    path = faults.FAULTS[name][1](tmp_path)
    check_scan(path)  # imports are in place
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_scan(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
