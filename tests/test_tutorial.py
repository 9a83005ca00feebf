"""The README's way from nothing to a mask, typed word for word into a shell; and every command that
stands in a block of the documentation: it parses, and is typed here or listed with a reason.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.io import dicom_files
from textseg3d.cli.main import COMMANDS
from textseg3d.cli.parser import CommandParser, add_common_arguments
from textseg3d.resources import data_folder
from textseg3d.zoo import default_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Typed as they stand, in chapters of the README by `.ci/follow_readme.py` in an environment with
# nothing in it, and in parts by test_readme.py and below.
TYPED_CHAPTERS = ("Set up", "Examples")
TYPED_HERE = ("textseg3d serve --host 0.0.0.0 ", "textseg3d predict -i series/ ")
# How commands begin that nobody types as they stand, why, and what runs them instead.
NOT_TYPED = {
    "pip install ": "`.ci/run` types those that this package needs",
    "python -m pytest": "this is it",
    "ruff ": "`.ci/run` types it",
    "textseg3d predict -i ct.nii.gz ": "wants weights of others: tests/convert, with random ones",
    "textseg3d predict -i scan.nii.gz ": "wants a model that was trained: tests/cli/test_train.py",
    "textseg3d predict -i scans/ ": "wants many scans: tests/cohort/test_interruptions.py",
    "textseg3d convert ": "wants weights of others: tests/convert, with random ones",
    "textseg3d ground ": "wants a report of one's own: tests/reports/test_ground.py",
    "textseg3d evaluate ": "wants truth: tests/cli/test_evaluate.py, tests/evaluation",
    "textseg3d find_best_configuration ": "wants folds: tests/evaluation/test_selection.py",
    "textseg3d import ": "wants data sets of others: tests/dataset/test_importing.py",
    "textseg3d plan": "wants a data set: tests/cli/test_plan.py",
    "textseg3d preprocess ": "wants a data set: tests/preprocessing/test_pipeline.py",
    "textseg3d synthesize ": "wants a prepared training set: tests/synthesis",
    "textseg3d train ": "takes hours: tests/cli/test_train.py, a few steps",
    "textseg3d bench ": "takes minutes on an idle machine: tests/benchmark/test_bench.py, --quick",
    "torchrun ": "takes hours: tests/training/test_ranks.py, two processes and a few steps",
    "bash examples/training/": "takes hours and wants ../shared/data",
    "python examples/ct_nano/": "takes hours and wants ../shared/data",
    "python examples/mr_nano/": "takes hours and wants ../shared/data, and a scan of others",
    "python benchmarks/": "takes minutes to hours on an idle machine; writes its page's figures",
    "export ": "sets places of one's own",
}


def command_lines(page: Path) -> list[str]:
    """Every command in the blocks of a page, one line each, without what the tutorial types."""
    text = page.read_text(encoding="utf-8")
    for chapter in TYPED_CHAPTERS if page.name == "README.md" else ():
        before, after = text.split(f"\n## {chapter}\n", 1)
        text = before + "\n## " + after.split("\n## ", 1)[1]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = [content for language, content in blocks if language in ("", "bash")]
    lines = "".join(typed).replace("\\\n", " ").splitlines()
    return [part for line in lines for part in re.split(r" && ", line) if part.strip()]


LINES = [line for page in PAGES for line in command_lines(page)]


def test_every_command_of_the_documentation_is_typed_or_listed() -> None:
    known = (*NOT_TYPED, *TYPED_HERE, "totalseg_download_weights ", "mypy ")
    assert [line for line in LINES if not line.startswith(known)] == []
    for begin, reason in NOT_TYPED.items():
        assert any(line.startswith(begin) for line in LINES), f"{begin!r} is in no page any more"
        for path in re.findall(r"tests/[\w/]+(?:\.py)?", reason):
            assert (ROOT / path).exists(), reason


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("textseg3d ")])
def test_every_command_of_the_documentation_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    parser = CommandParser(prog=name)
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    add_common_arguments(parser)
    parser.parse(arguments)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(("python b", "bash "))])
def test_every_script_of_the_documentation_knows_its_options(line: str) -> None:
    _, script, *arguments = shlex.split(line, comments=True)
    text = (ROOT / script).read_text(encoding="utf-8")
    assert [a for a in arguments if a.startswith("--") and f'"{a}"' not in text] == []


def block_after(heading: str) -> list[str]:
    """The lines of the first shell block below a heading."""
    section = README.split(f"## {heading}\n", 1)[1]
    found = re.search(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1).splitlines()


def test_setting_up_is_one_line_and_installs_this() -> None:
    install, *_ = block_after("Set up")
    assert install == "pip install ."
    assert (ROOT / "setup.py").is_file()
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python .ci/follow_readme.py" in run  # which types that line in a fresh environment
    assert run.index("follow_readme.py") < run.index('pip install --quiet ".[test]"')


def shell(folder: Path) -> dict[str, str]:
    """The environment of a shell that knows the command `textseg3d`."""
    if not (data_folder("model_zoo") / default_model() / "card.json").is_file():
        pytest.skip("needs the bundled model")
    program = Path(sys.executable).with_name("textseg3d")
    commands = folder / "bin"
    commands.mkdir()
    if not program.exists():  # the checkout without `pip install .`: the same command, by name
        script = commands / "textseg3d"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m textseg3d "$@"\n')
        script.chmod(0o755)
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")))
    path = os.pathsep.join((str(commands), str(program.parent), os.environ.get("PATH", "")))
    return {**os.environ, "PATH": path, "PYTHONPATH": search}


@pytest.mark.slow
def test_the_first_mask(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    _, *lines = block_after("Set up")
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=shell(tmp_path),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "chest_ct.json").read_text(encoding="utf-8"))
    scan = nib.load(ROOT / "examples" / "chest_ct.nii.gz")
    for entry in record["prompts"]:  # what the paragraph below the block promises
        assert {"presence", "volume_ml", "instances", "warnings"} <= set(entry)
        mask = nib.load(tmp_path / "out" / entry["mask"])
        assert np.array_equal(mask.affine, scan.affine)
        assert mask.shape == scan.shape
    assert [entry["text"] for entry in record["prompts"]] == ["left lung", "liver"]
    assert record["prompts"][0]["presence"] > 0.5


@pytest.mark.slow
def test_the_page_about_slicer(tmp_path: Path) -> None:
    """Its two commands: a DICOM series with its report, and a server for another computer."""
    serve, predict = (
        next(line for line in LINES if line.startswith(begin)) for begin in TYPED_HERE
    )
    environment = shell(tmp_path)
    dicom_files.save(dicom_files.ct_series(), tmp_path / "series")
    done = subprocess.run(
        ["bash", "-e", "-c", predict], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "series.json").is_file()
    started = subprocess.Popen(
        ["bash", "-c", f"exec {serve}"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        ready = json.loads(started.stdout.readline())
        assert ready["token"] == "a-long-secret-of-your-own"
    finally:
        started.send_signal(signal.SIGTERM)
        started.communicate(timeout=120)
