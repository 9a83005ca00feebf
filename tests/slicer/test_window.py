"""The module's own window class on PySide6: apply, cancel during inference, settings, consent."""

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.model_factory import make_model
from tests.slicer import slicer_window
from tests.slicer.test_segmentation import GEOMETRIES, add_volume, environment, voxels


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that is slow enough to be caught at work."""
    folder = tmp_path_factory.mktemp("models") / "slow"
    return make_model(folder, patch=(32, 32, 64), widths=(24, 32, 32, 32, 32), window_step=0.25)


class Dialogs:
    """Answers for the user, and what was asked."""

    def __init__(self):
        self.asked, self.errors, self.answer, self.name = [], [], True, "mine"

    def agree(self, text):
        self.asked.append(text)
        return self.answer

    def ask(self, text):
        return self.name

    def error(self, text):
        self.errors.append(text)


@pytest.fixture
def window(scene, monkeypatch, tmp_path):
    """The widget after setup, as Slicer makes it."""
    from PySide6 import QtWidgets

    slicer_window.install(monkeypatch, tmp_path, environment())
    import TextSeg3D

    dialogs = Dialogs()
    monkeypatch.setattr(TextSeg3D, "SlicerDialogs", lambda: dialogs)
    parent = QtWidgets.QWidget()
    parent.isEntered = True
    made = TextSeg3D.TextSeg3DWidget(parent)
    made.setup()
    made.dialogs = dialogs
    yield made
    made.cleanup()


def wait(window, until, seconds=200):
    """Let Qt's timers run until something holds."""
    application = slicer_window.application()
    deadline = time.monotonic() + seconds
    while not until():
        running = window.logic.runs.is_running and time.monotonic() < deadline
        assert running, window.ui.logText.toPlainText()
        application.processEvents()
        time.sleep(0.01)


def is_idle(window):
    return not window.logic.runs.is_running


@pytest.fixture
def program(tmp_path):
    """A program `textseg3d` as pip makes one, of these sources."""
    path = tmp_path / "textseg3d"
    search = environment()["PYTHONPATH"]
    path.write_text(
        f"#!/bin/sh\nOMP_NUM_THREADS=1 PYTHONPATH='{search}' "
        f"exec '{sys.executable}' -m textseg3d \"$@\"\n"
    )
    path.chmod(0o755)
    return path


def use(window, program, model):
    window.ui.programEdit.setText(str(program))
    window.ui.modelEdit.setText(str(model))
    window.ui.deviceBox.setCurrentIndex(1)


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_cancel_during_inference_leaves_no_process_and_a_usable_window(
    window, scene, program, model
):
    ui = window.ui
    assert not ui.applyButton.isEnabled()
    large = np.tile(voxels(), (6, 6, 6))
    volume = add_volume(scene, large, GEOMETRIES["oblique"], "large")
    small = add_volume(scene, voxels(), GEOMETRIES["oblique"], "small")
    ui.inputSelector.setCurrentNode(volume)
    use(window, program, model)
    window.panel.setPrompts(["left kidney"])
    ui.promptEdit.setText("liver")  # typed, and Apply pressed without Return
    ui.applyButton.click()
    assert window.panel.prompts == ["left kidney", "liver"]
    assert ui.cancelButton.isEnabled()
    assert not ui.applyButton.isEnabled()
    wait(window, lambda: ui.statusLabel.text().startswith("segmenting"))
    server = window.logic.local._server
    pid, folder = server.pid, Path(server._folder)
    assert is_alive(pid)
    assert list(folder.iterdir())
    start = time.monotonic()
    ui.cancelButton.click()
    ui.cancelButton.click()
    wait(window, lambda: is_idle(window))
    assert time.monotonic() - start < 60
    assert not is_alive(pid)
    assert not folder.exists()  # the scan that was sent is gone as well
    assert ui.statusLabel.text() == "cancelled"
    assert window.dialogs.errors == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    # Once more, with a scan that is quickly done.
    assert ui.applyButton.isEnabled()
    assert not ui.cancelButton.isEnabled()
    ui.inputSelector.setCurrentNode(small)
    ui.applyButton.click()
    wait(window, lambda: is_idle(window))
    assert window.dialogs.errors == []
    assert ui.statusLabel.text() == "2 of 2 prompts found"
    node = ui.segmentationSelector.currentNode()
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["left kidney", "liver"]
    table = ui.resultTable
    cells = [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount())]
    assert [row[:2] for row in cells] == [["left kidney", "found"], ["liver", "found"]]
    assert all(float(row[3]) > 0 for row in cells)
    nodes = scene.GetNodesByClass("vtkMRMLTableNode")
    assert nodes.GetItemAsObject(0).GetTable().GetNumberOfRows() == 2
    # Parameters are in the scene's node, settings and history are kept, the token is not.
    assert window._parameterNode.inputVolume is small
    assert window._parameterNode.prompts == "left kidney\nliver"
    store = window.panel._store
    assert store["TextSeg3D/model"] == str(model)
    assert window.panel.book.history() == ["left kidney", "liver"]
    # Closing the module ends the server.
    pid = window.logic.local._server.pid
    window.cleanup()
    assert not is_alive(pid)


def test_closing_the_scene_cancels(window, scene, program, model):
    volume = add_volume(scene, voxels(), GEOMETRIES["supine"])
    window.ui.inputSelector.setCurrentNode(volume)
    use(window, program, model)
    window.panel.setPrompts(["liver"])
    window.ui.applyButton.click()
    server = window.logic.local
    wait(window, lambda: server._server is not None and server._server.pid)
    pid = server._server.pid
    scene.Clear(0)
    wait(window, lambda: is_idle(window))
    assert not is_alive(pid)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert window.dialogs.errors == []


def test_prompt_list_presets_and_completion(window):
    ui, panel = window.ui, window.panel
    ui.promptEdit.setText("  left   kidney ")
    ui.promptEdit.returnPressed.emit()
    ui.promptEdit.setText("left kidney")
    ui.addPromptButton.click()
    assert [ui.promptList.item(n).text() for n in range(ui.promptList.count())] == ["left kidney"]
    ui.presetBox.setCurrentText("Lungs")
    ui.addPresetButton.click()
    assert panel.prompts == ["left kidney", "left lung", "right lung"]
    ui.savePresetButton.click()
    ui.promptList.setCurrentRow(1)
    ui.removePromptButton.click()
    assert panel.prompts == ["left kidney", "right lung"]
    ui.clearPromptsButton.click()
    ui.presetBox.setCurrentText("mine")
    ui.addPresetButton.click()
    assert panel.prompts == ["left kidney", "left lung", "right lung"]
    ui.promptEdit.textEdited.emit("")
    ui.promptEdit.setText("kid le")
    ui.promptEdit.textEdited.emit("kid le")
    offered = panel._completions.stringList()
    assert offered[0] == "left kidney"
    assert all("left" in phrase for phrase in offered)


def test_nothing_is_sent_or_installed_without_consent(window, scene, program):
    ui, dialogs, panel = window.ui, window.dialogs, window.panel
    dialogs.answer = False
    ui.inputSelector.setCurrentNode(add_volume(scene, voxels(), GEOMETRIES["supine"]))
    panel.setPrompts(["liver"])
    ui.remoteButton.click()
    assert ui.localGroup.isHidden()
    assert not ui.remoteGroup.isHidden()
    ui.urlEdit.setText("http://segment.example.org:8000")
    ui.applyButton.click()
    assert is_idle(window)
    assert "NOT encrypted" in dialogs.asked[-1]
    assert "http://segment.example.org:8000" in dialogs.asked[-1]
    ui.localButton.click()
    panel._installer.find = lambda chosen="": None  # a computer without textseg3d
    ui.setUpButton.click()
    assert is_idle(window)
    assert "Nothing is installed into Slicer's own Python" in dialogs.asked[-1]
    assert not panel._installer.folder.exists()
    ui.applyButton.click()
    wait(window, lambda: is_idle(window))
    assert "press 'Set up…' first" in dialogs.errors[-1]
    del panel._installer.find
    ui.programEdit.setText(str(Path(__file__)))
    ui.setUpButton.click()
    assert dialogs.errors[-1]
    ui.programEdit.setText(str(program))
    ui.setUpButton.click()
    assert ui.serverLabel.text().startswith("textseg3d ")
