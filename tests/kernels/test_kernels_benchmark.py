"""The benchmark script: every kernel has a row, and nothing is claimed without a GPU."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "kernels" / "benchmarks" / "run.py"


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield runpy.run_path(str(SCRIPT))["main"]
    sys.modules.pop("kernel_cases", None)


def test_table_without_gpu(main, tmp_path, capsys):
    target = tmp_path / "kernels.csv"
    assert main(["--small", "--repeats", "1", "--csv", str(target)]) == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {row["kernel"] for row in rows}
    assert names >= {"head_accumulate", "export_pack", "prepare_volume", "instance_norm"}
    assert names >= {"image_to_text_attention", "text_to_image_attention", "window_gather"}
    for row in rows:
        assert float(row["stock_ms"]) > 0
        assert float(row["reference_ms"]) > 0
        assert float(row["mega_bytes"]) > 0
        if not torch.cuda.is_available():
            assert row["triton_ms"] == "not measured"
            assert row["roofline_fraction"] == "not measured"
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_a_wrong_kernel_gets_no_time(main):
    import kernel_cases

    case = kernel_cases.Case(
        "wrong", "1", lambda: torch.ones(1), lambda: torch.zeros(1), 1, 1, tolerance=0.5
    )
    with pytest.raises(RuntimeError, match="no time is reported"):
        main.__globals__["compare"](case, "reference")


def test_roofline_is_the_larger_of_two_limits(main):
    import kernel_cases

    case = kernel_cases.Case("x", "1", None, None, int(3.35e9), int(989e9), tolerance=0)
    roofline = main.__globals__["roofline"]
    assert roofline(case, "NVIDIA H100 80GB", 2.0) == "0.50"
    assert roofline(case, "some card", 2.0) == "peak unknown"
