"""Where scans and prompts come from: job lists, BIDS datasets, shards."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.cohort.conftest import write_scan
from textseg3d.cli.main import main
from textseg3d.cli.predict_cohort import executor_of, shard_of
from textseg3d.cohort import Case, Job, Work, expand, read_jobs
from textseg3d.cohort.bids import bids_scans
from textseg3d.errors import InputError, UsageError
from textseg3d.export import ExportOptions, output_names


def quiet(*arguments):
    return main(["predict", "--quiet", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.json", '[{"image": "a.nii", "prompts": ["liver"], "case": "one"},'
                      ' {"image": "sub/b.nii", "prompts": "left lung"}]'),
        ("jobs.jsonl", '{"image": "a.nii", "prompts": ["liver"], "case": "one"}\n\n'
                       '{"image": "sub/b.nii", "prompts": "left lung"}\n'),
        ("jobs.csv", "image,prompts,case\na.nii,liver,one\nsub/b.nii, left lung;,\n"),
        ("jobs.tsv", "case\timage\tprompts\none\ta.nii\tliver\n\tsub/b.nii\tleft lung\n"),
    ],
)  # fmt: skip
def test_the_same_list_in_four_formats(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_jobs(tmp_path / name) == [
        Job(tmp_path / "a.nii", ("liver",), "one"),
        Job(tmp_path / "sub" / "b.nii", ("left lung",)),
    ]


def test_prompts_of_the_command_line_fill_a_list(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("image\na.nii\nb.nii\n")
    assert [job.prompts for job in read_jobs(path, ("heart",))] == [("heart",)] * 2
    with pytest.raises(UsageError, match="line 2: there are no 'prompts'"):
        read_jobs(path)
    path.write_text("image,prompts\na.nii,liver\n")
    with pytest.raises(UsageError, match="leave out -p"):
        read_jobs(path, ("heart",))


@pytest.mark.parametrize(
    ("name", "text", "error", "pattern"),
    [
        ("j.json", "{", InputError, "as JSON"),
        ("j.json", "{}", UsageError, "a list"),
        ("j.json", "[]", UsageError, "empty"),
        ("j.jsonl", '{"image": 1}', UsageError, "line 1: 'image' is 1"),
        ("j.jsonl", '{"image": "a", "prompts": [3]}', UsageError, "a list of texts"),
        ("j.json", '[{"image": "a", "prompt": "x"}]', UsageError, "did you mean 'prompts'"),
        ("j.json", '[{"image": "a", "prompts": "x", "case": "../b"}]', UsageError, "no path"),
        ("j.json", '[{"image": "a", "prompts": "x", "case": "a\\u0000"}]', UsageError, "no path"),
        ("j.csv", "image,prompts\na\n", UsageError, "cells"),
        ("j.csv", "image,prompts\na,b,c\n", UsageError, "cells"),
        ("j.csv", 'image,prompts\n"a,b\n', InputError, "cannot be read"),
    ],
)
def test_lists_that_cannot_be_meant(tmp_path, name, text, error, pattern):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=pattern):
        read_jobs(tmp_path / name)


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / "bids"
    write_scan(root / "sub-01" / "ses-a" / "ct" / "sub-01_ses-a_ct.nii.gz", 1)
    write_scan(root / "sub-02" / "ct" / "sub-02_run-1_ct.nii.gz", 2)
    for other in (
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "sub-02/ct/sub-02_desc-liver_mask.nii.gz",
        "derivatives/other/sub-01/ct/sub-01_ct.nii.gz",
        "sourcedata/sub-01_ct.nii.gz",
    ):
        write_scan(root / other, 3)
    (root / "dataset_description.json").write_text('{"Name": "Trial", "BIDSVersion": "1.9.0"}')
    sidecar = root / "sub-02" / "ct" / "sub-02_run-1_ct.json"
    sidecar.write_text('{"Modality": "CT"}')
    return root


def test_a_bids_dataset(bids, model):
    assert [p.name for p in bids_scans(bids, ("CT",))] == [
        "sub-01_ses-a_ct.nii.gz",
        "sub-02_run-1_ct.nii.gz",
    ]
    assert [p.name for p in bids_scans(bids, ("MR",))] == ["sub-02_T1w.nii.gz"]
    with pytest.raises(InputError, match=r"suffix pet, .*2 with suffix ct"):
        bids_scans(bids, ("PET",))
    assert quiet("-i", bids, "-p", "liver", "--model", model, "--summary") == 0
    out = bids / "derivatives" / "textseg3d"
    first = out / "sub-01" / "ses-a" / "ct"
    assert (first / "sub-01_ses-a_ct__liver.nii.gz").is_file()
    assert (
        json.loads((out / "sub-02" / "ct" / "sub-02_run-1_ct.json").read_text())["status"] == "ok"
    )
    description = json.loads((out / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["Name"]) == ("derivative", "textseg3d on Trial")
    assert (
        "sub-01/ses-a/ct/sub-01_ses-a_ct__liver.nii.gz"
        in (out / "textseg3d-summary.csv").read_text()
    )
    assert (bids / "sub-02" / "ct" / "sub-02_run-1_ct.json").read_text() == '{"Modality": "CT"}'


def test_a_sidecar_is_never_replaced(tmp_path, model, capsys):
    """What dcm2niix writes beside a scan has the name that the record would have."""
    scan = write_scan(tmp_path / "ct.nii.gz", 1)
    (tmp_path / "ct.json").write_text('{"Modality": "CT"}')
    for more in ([], ["--overwrite"], ["--resume"]):
        assert quiet("-i", scan, "-p", "liver", "--model", model, *more) == 2
        assert "no record of textseg3d" in capsys.readouterr().err
    assert (tmp_path / "ct.json").read_text() == '{"Modality": "CT"}'
    assert quiet("-i", scan, "-p", "liver", "--model", model, "-o", tmp_path / "out") == 0


def test_names_of_a_list_keep_scans_apart(tmp_path, model, capsys):
    for patient in ("p1", "p2"):
        write_scan(tmp_path / "in" / patient / "ct.nii.gz", 1)
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("image\nin/p1/ct.nii.gz\nin/p2/ct.nii.gz\n")
    base = ["--jobs", jobs, "-p", "liver", "-o", tmp_path / "out", "--model", model]
    assert quiet(*base) == 2
    assert "both write" in capsys.readouterr().err
    jobs.write_text("image,case\nin/p1/ct.nii.gz,p1\nin/p2/ct.nii.gz,p2\n")
    assert quiet(*base, "--format", "seg.nrrd") == 0
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["p1.json", "p1.seg.nrrd", "p2.json", "p2.seg.nrrd"]
    with pytest.raises(UsageError, match="holds 2 scans"):
        expand(Job(tmp_path / "in", ("liver",), "one"))


def test_shards_cover_everything_once():
    cases = list(range(10))
    parts = [shard_of(f"{i}/3", cases) for i in (1, 2, 3)]
    assert sorted(case for part in parts for case in part) == cases
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert shard_of(None, cases) == cases
    for text in ("0/3", "4/3", "1", "1/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(UsageError, match="--shard"):
            shard_of(text, cases)


@pytest.mark.parametrize(
    ("executor", "workers", "expected"),
    [(None, None, "serial"), (None, 1, "serial"), (None, 2, "local"), ("ray", 2, "ray"),
     ("serial", 1, "serial"), ("serial", 2, UsageError), (None, 0, UsageError)],
)  # fmt: skip
def test_executors(executor, workers, expected):
    args = argparse.Namespace(executor=executor, workers=workers)
    if expected is UsageError:
        with pytest.raises(UsageError):
            executor_of(args)
    else:
        assert executor_of(args) == expected


def test_cases_and_work_travel_as_json(tmp_path):
    names = output_names(tmp_path / "out", tmp_path / "ct.nii.gz", 2, "seg.nrrd")
    case = Case(tmp_path / "ct.nii.gz", ("liver", "Milz"), names)
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    work = Work(tmp_path, "cpu", ExportOptions(combine=True), {"exact": True}, mode="resume")
    assert Work.from_json(json.loads(json.dumps(work.to_json()))) == work


def test_the_fingerprint_knows_what_matters(tmp_path):
    base = Work(tmp_path)
    prompts = ("liver", "spleen")
    one = base.fingerprint(prompts, "m", "i")
    assert Work(tmp_path, "cpu", mode="overwrite").fingerprint(prompts, "m", "i") == one
    others = {
        base.fingerprint(prompts[::-1], "m", "i"),
        base.fingerprint(prompts, "n", "i"),
        base.fingerprint(prompts, "m", "j"),
        Work(tmp_path, export=ExportOptions(preview=True)).fingerprint(prompts, "m", "i"),
        Work(tmp_path, predict={"exact": True}).fingerprint(prompts, "m", "i"),
        Work(tmp_path, describe=True).fingerprint(prompts, "m", "i"),
        one,
    }
    assert len(others) == 7
