"""Skips everything here where Slicer's core libraries are missing; a scene for each test."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "slicer" / "TextSeg3D"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(MODULE))
try:
    import PySide6.QtWidgets  # noqa: F401
    import slicer_core  # noqa: F401
except ImportError as error:
    MISSING = f"needs slicer-core and PySide6-Essentials: {error}"
else:
    MISSING = ""


class Skipped(pytest.Module):
    """A module that says why none of its tests can run."""

    def collect(self):
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture
def scene(monkeypatch):
    """An empty scene, which Slicer's own functions use too."""
    import slicer

    made = slicer.vtkMRMLScene()
    monkeypatch.setattr(slicer, "mrmlScene", made, raising=False)
    yield made
    made.Clear(1)
