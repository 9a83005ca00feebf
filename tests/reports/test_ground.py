"""`textseg3d ground` with a model that knows some findings: files, links, formats."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from textseg3d.cli.main import main

DATA = Path(__file__).parent / "data"


def ground(*arguments):
    return main(["ground", "--quiet", *map(str, arguments)])


@pytest.fixture
def grounded(finding_model, scan, tmp_path):
    """The folder of outputs for the first report."""
    out = tmp_path / "out"
    code = ground("-i", scan, "-r", DATA / "report_01.txt", "-o", out, "--model", finding_model,
                  "--html", "--rexgroundingct")  # fmt: skip
    assert code == 0
    return out


class Links(HTMLParser):
    """Collects links, and everything that would load something."""

    def __init__(self):
        super().__init__()
        self.links, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes["href"])
        if tag in ("script", "img", "iframe", "link", "object") or "src" in attributes:
            self.loads.append(tag)


def test_everything_is_written(grounded, scan):
    record = json.loads((grounded / "ct.report.json").read_text())
    text = (DATA / "report_01.txt").read_text()
    outcomes = {}
    for finding in record["findings"]:
        start, end = finding["words"]
        assert finding["sentence"][0] <= start < end <= finding["sentence"][1]
        outcomes.setdefault(finding["outcome"], []).append(finding)
        if finding["status"] != "positive":
            assert finding["outcome"] == finding["status"]
            assert finding["mask"] is None
            assert finding["asked"] is None
        if finding["outcome"] == "grounded":
            mask = nib.load(grounded / finding["mask"])
            assert mask.shape == (30, 26, 24)
            voxels = np.asarray(mask.dataobj)
            assert voxels.any()
            axis = "ijk".index(finding["slice_axis"])
            sums = voxels.sum(axis=tuple(a for a in range(3) if a != axis))
            assert sums[finding["slice"]] == sums.max()
    assert "unknown" not in outcomes  # the model knows every positive finding of this report
    assert len(outcomes["negated"]) == 3
    assert text[slice(*record["findings"][0]["words"])] == "pericardial effusion"

    page = Links()
    html = (grounded / "ct.report.html").read_text()
    page.feed(html)
    assert page.loads == []
    assert "://" not in html
    masks = {f["mask"] for f in outcomes.get("grounded", [])}
    assert set(page.links) == masks
    body = re.search(r"<pre>(.*)</pre>", html, re.S).group(1)
    assert re.sub(r"<[^>]+>", "", body) == text  # no character of this report needs an escape

    case = json.loads((grounded / "ct.json").read_text())
    assert {p["mask"] for p in case["prompts"] if p["mask"]} == masks
    assert not any("effusion" in p["text"] for p in case["prompts"])


def test_rexgroundingct_files(grounded, tmp_path):
    (entry,) = json.loads((grounded / "ct.rex.json").read_text())
    mask = np.asarray(nib.load(grounded / "ct.rex.nii.gz").dataobj)
    keys = [str(n) for n in range(len(entry["findings"]))]
    assert mask.shape == (len(keys), 30, 26, 24)
    assert entry["shape"] == [30, 26, 24]
    for key in ("findings", "entity_counts", "pixels", "categories"):
        assert list(entry[key]) == keys
    for number, key in enumerate(keys):
        assert np.count_nonzero(mask[number]) == entry["pixels"][key]
        assert len(np.unique(mask[number])) - 1 == entry["entity_counts"][key]
    assert entry["findings"]["0"] == "There is a 6 mm solid nodule in the left lower lobe."
    assert [entry["categories"][key] for key in keys][:3] == ["2d", "2a", "2h"]

    folder = tmp_path / "masks"
    folder.mkdir()
    (grounded / "ct.rex.nii.gz").rename(folder / "ct.nii.gz")
    summary = tmp_path / "summary.json"
    entries = str(grounded / "ct.rex.json")
    protocol = ["--protocol", "rexgroundingct", "-djfile", entries, "-np", "1"]
    code = main(["evaluate", str(folder), str(folder), *protocol, "-o", str(summary), "--quiet"])
    assert code == 0
    assert json.loads(summary.read_text())["summary"]["dice"] == 1


def test_ten_reports(tmp_path_factory):
    """A model that knows all that the reports name grounds what is there, and nothing else."""
    from tests.model_factory import make_model
    from textseg3d import Segmenter
    from textseg3d.reports import ground_report, read_report

    reports = [read_report(path.read_text()) for path in sorted(DATA.glob("*.txt"))]
    names = tuple(dict.fromkeys(f.concept for report in reports for f in report.findings))
    model = make_model(tmp_path_factory.mktemp("models") / "all", concepts=names)
    segmenter = Segmenter(model, "cpu")
    rng = np.random.default_rng(0)
    array = (rng.normal(size=(12, 14, 16)).cumsum(0) * 80).clip(-900, 900).astype(np.float32)
    outcomes = []
    for report in reports:
        grounding = ground_report(report, segmenter, array, spacing_mm=(6.0, 6.0, 6.0))
        asked = set(grounding.prediction)
        for found in grounding.findings:
            outcomes.append(found.outcome)
            if found.finding.status == "positive":
                assert found.outcome in ("grounded", "empty")  # looked for; the masks are random
                assert found.prompt in asked
                prompts = (found.finding.prompt, found.finding.sized_prompt)
                assert found.prompt in prompts
            else:
                assert found.outcome == found.finding.status
                assert found.prompt is None
        wanted = {f.prompt for f in report.of_status("positive")}
        sized = {f.sized_prompt for f in report.of_status("positive")}
        assert asked <= wanted | sized
    assert outcomes.count("grounded") > 20


def test_html_is_escaped(finding_model, scan, tmp_path):
    report = tmp_path / "r.txt"
    report.write_text("FINDINGS: <script>alert('x')</script> Left pleural effusion & \"more\".")
    out = tmp_path / "out"
    assert ground("-i", scan, "-r", report, "-o", out, "--model", finding_model, "--html") == 0
    html = (out / "ct.report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_dry_run_reads_the_report_alone(capsys):
    assert ground("-i", "none.nii.gz", "-r", DATA / "report_02.txt", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("negated     left pleural effusion") for line in lines)


def test_a_report_without_known_findings(finding_model, scan, tmp_path, capsys):
    report = tmp_path / "r.txt"
    report.write_text("FINDINGS: Hiatal hernia. No pneumothorax.")
    assert ground("-i", scan, "-r", report, "-o", tmp_path / "out", "--model", finding_model) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "unknown",
        "negated",
    ]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["ct.report.json"]


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 3), (b"\xff\xfe\x00", 3), (None, 3), (b"FINDINGS: x", 2)]
)
def test_refusals(content, code, finding_model, scan, tmp_path):
    report = tmp_path / "r.txt"
    if content is not None:
        report.write_bytes(content)
    (tmp_path / "ct.report.json").write_text("mine")
    assert ground("-i", scan, "-r", report, "-o", tmp_path, "--model", finding_model) == code
    assert (tmp_path / "ct.report.json").read_text() == "mine"
