"""The notebook in `examples/` runs from the first cell to the last, in a kernel of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from textseg3d.resources import data_folder
from textseg3d.zoo import default_model

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_no_outputs_are_committed(path: Path) -> None:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for package in ("ipykernel", "ipyniivue"):
        pytest.importorskip(package)
    if not (data_folder("model_zoo") / default_model() / "card.json").is_file():
        pytest.skip("needs the bundled model")
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", search)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    place = {"metadata": {"path": str(tmp_path)}}
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=500, startup_timeout=500, kernel_name="python3", resources=place
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(o.get("text", "") for o in outputs)
    assert "left lung: ok" in printed
    assert "no pleural effusion: negated, presence None, 0 ml" in printed
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
    written = {p.name for p in (tmp_path / "out" / "notebook").iterdir()}
    assert {"chest_ct.json", "chest_ct__left-lung.nii.gz", "chest_ct__liver.nii.gz"} <= written
