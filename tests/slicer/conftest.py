"""Skips everything here where Slicer's core libraries are missing; a scene for each test."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "slicer" / "TextSeg3D"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(MODULE))
MISSING = [name for name in ("slicer_core", "PySide6") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


@pytest.fixture
def scene(monkeypatch):
    """An empty scene, which Slicer's own functions use too."""
    import slicer

    made = slicer.vtkMRMLScene()
    monkeypatch.setattr(slicer, "mrmlScene", made, raising=False)
    yield made
    made.Clear(1)
