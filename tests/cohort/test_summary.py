"""The table and the page of a cohort, and what they must not hold."""

from __future__ import annotations

import csv
import gzip
import html.parser
import json

import nibabel as nib
import pytest
from PIL import Image

from tests.cohort.conftest import BAD, CASES, PROMPTS, write_scan
from tests.io import dicom_files
from textseg3d.cli.main import main
from textseg3d.cohort import Case
from textseg3d.cohort.summary import CASES_PER_PAGE, write_summary
from textseg3d.errors import InputError
from textseg3d.export import OutputNames


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_of_forty_cases(finished):
    with open(finished / "textseg3d-summary.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (CASES - len(BAD)) * len(PROMPTS) + len(BAD)
    for row in rows:
        if row["case"] in BAD:
            assert (row["state"], row["rule"]) == ("bad_input", BAD[row["case"]])
            continue
        record = json.loads((finished / f"{row['case']}.json").read_text())
        (entry,) = [p for p in record["prompts"] if p["text"] == row["prompt"]]
        assert float(row["volume_ml"]) == entry["volume_ml"]
        assert row["mask"] == entry["mask"]
        assert (finished / row["mask"]).is_file()
    page = Page((finished / "textseg3d-summary.html").read_text())
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == CASES - len(BAD)
    for picture in pictures:
        with Image.open(finished / picture["src"]) as image:
            assert image.height == 128 or image.width == 256
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all((finished / link).is_file() for link in links)
    assert "case19" in page.text
    assert "N1" in page.text


def test_nothing_in_a_name_becomes_code(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    name, text = "=<img src=x onerror=1>&", "@<script>alert(1)</script>"
    entry = {"text": text, "status": "ok", "mask": "m", "presence": 1, "volume_ml": 2.0,
             "voxels": 3, "instances": [{}], "warnings": ["<b>bold</b>"]}  # fmt: skip
    record = {"textseg3d": "0", "status": "ok", "prompts": [entry], "warnings": [], "seconds": {}}
    case = Case(tmp_path / "a", (text,), OutputNames(out, name, ".nii.gz"))
    case.record.write_text(json.dumps(record))
    table, page = write_summary(out, [case])
    assert {tag for tag, _ in Page(page.read_text()).tags}.isdisjoint({"script", "b", "img"})
    assert text in Page(page.read_text()).text
    with open(table, newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["case"], row["prompt"]) == (f"'{name}", f"'{text}")  # no formula


def test_pages_of_many_and_missing_cases(tmp_path):
    cases = [
        Case(tmp_path / "a", ("liver",), OutputNames(tmp_path, f"c{n}", ".nii.gz"))
        for n in range(CASES_PER_PAGE + 1)
    ]
    write_summary(tmp_path, cases)
    assert "not done yet" in (tmp_path / "textseg3d-summary-2.html").read_text()
    assert not (tmp_path / "textseg3d-summary-3.html").exists()
    (tmp_path / "textseg3d-summary.csv").write_text("my own table\n")
    with pytest.raises(InputError, match="no summary"):
        write_summary(tmp_path, cases)


def test_no_name_of_a_patient_leaves_the_scan(model, tmp_path, capfd):
    """What DICOM says about the patient is in no output and in no line of the log."""
    series = dicom_files.ct_series(PatientName="Doe^Jane", PatientID="MRN4711")
    folder = dicom_files.save(series, tmp_path / "in" / "ct")
    out = tmp_path / "out"
    argv = ["predict", "-i", folder, "-p", "liver", "-o", out, "--model", model, "--debug"]
    more = ["--summary", "--preview", "--combine", "--statistics", "json"]
    assert main([*map(str, argv), *more]) == 0
    told = capfd.readouterr()
    content = b"".join(p.read_bytes() for p in out.iterdir()) + (told.out + told.err).encode()
    content += b"".join(gzip.decompress(p.read_bytes()) for p in out.glob("*.gz"))
    assert b"Doe" not in content
    assert b"MRN4711" not in content


def told_and_written(argv, out, capfd):
    """Exit code, and all that a command printed, logged and wrote, unpacked."""
    code = main([*map(str, argv)])
    told = capfd.readouterr()
    content = (told.out + told.err).encode() + " ".join(p.name for p in out.iterdir()).encode()
    content += b"".join(p.read_bytes() for p in out.iterdir())
    return code, content + b"".join(gzip.decompress(p.read_bytes()) for p in out.glob("*.gz"))


ELSEWHERE = ["--json-log", "--executor", "local", "--workers", "1"]


@pytest.mark.parametrize("more", [[], ELSEWHERE], ids=["here", "elsewhere"])
def test_folders_called_after_patients_are_not_passed_on(model, tmp_path, capfd, more):
    folder = tmp_path / "Doe_Jane_19610203" / "ct"
    write_scan(folder / "first.nii.gz", 1)
    write_scan(folder / "second.nii.gz", 2).write_bytes(b"<html>")
    write_scan(folder / "thin.nii.gz", 3)
    image = nib.load(folder / "thin.nii.gz")
    nib.save(image.slicer[:, :, :9], folder / "thin.nii.gz")  # with a warning
    argv = ["predict", "-i", folder, "-p", "liver", "--model", model, "--summary", "--preview"]
    argv += ["--statistics", "csv", *more]
    out = tmp_path / "out"
    code, content = told_and_written([*argv, "-o", out], out, capfd)
    assert code == 5
    assert b"Doe_Jane" not in content
    for said in (b"second.nii.gz: N5", b"thin.nii.gz: N23"):
        assert said in content
    assert json.loads((out / "first.json").read_text())["image"]["path"] == "first.nii.gz"
    if not more:
        out = tmp_path / "whole"
        code, content = told_and_written([*argv, "-o", out, "--log-phi"], out, capfd)
        whole = str(folder / "second.nii.gz").encode()
        assert content.count(whole) >= 4  # log, table, page, record


def test_a_list_gives_files_called_after_patients_other_names(model, tmp_path, capfd):
    write_scan(tmp_path / "Doe_Jane.nii.gz", 1)
    write_scan(tmp_path / "Doe_John.nii.gz", 2).write_bytes(b"")
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("image,case\nDoe_Jane.nii.gz,p1\nDoe_John.nii.gz,p2\n")
    out = tmp_path / "out"
    argv = ["predict", "--jobs", jobs, "-p", "liver", "--model", model, "-o", out, "--summary"]
    code, content = told_and_written(argv, out, capfd)
    assert code == 5
    assert b"Doe" not in content
    assert b"p2: N5: is empty" in content
    assert json.loads((out / "p1.json").read_text())["image"]["path"] == "p1"
    assert main([*map(str, argv), "--resume"]) == 5  # the scans are found again all the same
    assert "p1: complete, skipped" in capfd.readouterr().err


def test_the_terminal_says_how_often(model, tmp_path, capsys):
    for number in range(2):
        write_scan(tmp_path / "in" / f"c{number}.nii.gz", number)
    argv = ["predict", "-i", tmp_path / "in", "-p", "liver", "no spleen", "--model", model]
    assert main([*map(str, [*argv, "-o", tmp_path / "out"]), "--quiet", "--summary"]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].split() == ["prompt", "found", "of", "2", "median", "ml"]
    assert lines[1].split()[:2] == ["liver", "2"]
    assert lines[2].split() == ["no", "spleen", "0"]
