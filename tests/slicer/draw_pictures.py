"""Draws the pictures of docs/slicer.md: `python -m tests.slicer.draw_pictures docs`.

The module's own window and classes on PySide6, a real server with the bundled model, the example
scan, and slicer-core's scene. Slicer itself is not there; its frames look otherwise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "slicer" / "TextSeg3D"))

import slicer  # noqa: E402
import slicer.util  # noqa: E402
import vtk  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402

from tests.slicer import slicer_window  # noqa: E402
from textseg3d.io import read_volume  # noqa: E402

SCAN = ROOT / "examples" / "chest_ct.nii.gz"
PROMPTS = ["left lung", "right lung", "liver", "heart", "uterus"]
RAS = np.diag([-1.0, -1, 1, 1])


class Chooser(QtWidgets.QComboBox):
    """qMRMLNodeComboBox with something to see."""

    currentNodeChanged = QtCore.Signal(object)  # noqa: N815 - Qt's name

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None

    def currentNode(self):
        return self._node

    def setCurrentNode(self, node):
        self._node = node
        self.clear()
        self.addItem(node.GetName() if node else "(Make a new segmentation)")
        self.currentNodeChanged.emit(node)

    def setMRMLScene(self, scene):
        pass


def add_scan(scene, volume):
    """The scan as a node, as Slicer has it after loading."""
    image = vtk.vtkImageData()
    image.SetDimensions(volume.shape[::-1])
    voxels = np.ascontiguousarray(volume.array[0]).astype(np.int16)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.reshape(-1), deep=True))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", SCAN.name.partition(".")[0])
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    for row, values in enumerate(RAS @ volume.affine_lps):
        for column, value in enumerate(values):
            matrix.SetElement(row, column, float(value))
    node.SetIJKToRASMatrix(matrix)
    return node


def masks_of(segmentation, shape):
    """Name, colour and voxels [z, y, x] of each segment, from the node."""
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        image = segment.GetRepresentation("Binary labelmap")
        i0, i1, j0, j1, k0, k1 = image.GetExtent()
        mask = np.zeros(shape, bool)
        if image.GetNumberOfPoints():
            found = vtk_to_numpy(image.GetPointData().GetScalars())
            found = found.reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
            mask[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = found == segment.GetLabelValue()
        yield segment.GetName(), segment.GetColor(), mask


def draw_segments(path, volume, masks):
    """Three planes through the middle of all segments, the patient's left at the right side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    middle = [int(n.mean()) for n in np.nonzero(np.any([m for *_, m in masks], axis=0))]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
    for axis, plot in enumerate(axes):
        place = tuple(middle[axis] if a == axis else slice(None) for a in range(3))
        spacing = [s for a, s in enumerate(volume.spacing_mm) if a != axis]
        look = {"aspect": spacing[0] / spacing[1], "origin": "upper" if axis == 0 else "lower"}
        plot.imshow(volume.array[0][place], cmap="gray", vmin=-160, vmax=240, **look)
        for _, colour, mask in masks:
            layer = np.zeros((*mask[place].shape, 4))
            layer[mask[place]] = (*colour, 0.5)
            plot.imshow(layer, interpolation="nearest", **look)
        plot.set_axis_off()
        plot.set_title(("axial", "coronal", "sagittal")[axis], fontsize=9)
    legend = [Patch(color=colour, label=name) for name, colour, mask in masks if mask.any()]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=9)
    figure.savefig(path, dpi=80)


def main(folder):
    """Run the module on the example and write both pictures."""
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    slicer_window.CUSTOM["qMRMLNodeComboBox"] = Chooser
    slicer_window.CUSTOM["ctkCollapsibleButton"] = type(
        "ctkCollapsibleButton", (QtWidgets.QGroupBox,), {}
    )
    with tempfile.TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patch:
        scene = slicer.vtkMRMLScene()
        patch.setattr(slicer, "mrmlScene", scene, raising=False)
        slicer_window.install(patch, work, os.environ)
        import TextSeg3D

        parent = QtWidgets.QWidget()
        parent.isEntered = True
        window = TextSeg3D.TextSeg3DWidget(parent)
        window.setup()
        for section in parent.findChildren(QtWidgets.QGroupBox):
            section.setTitle(str(section.property("text")))
        window.ui.segmentationSelector.setCurrentNode(None)
        volume = read_volume(SCAN)
        window.ui.inputSelector.setCurrentNode(add_scan(scene, volume))
        program = Path(work) / "textseg3d"  # as pip makes one, of these sources
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH='{search}' exec '{sys.executable}' -m textseg3d \"$@\"\n"
        )
        program.chmod(0o755)
        window.ui.programEdit.setText(str(program))
        window.panel.setPrompts(PROMPTS)
        window.ui.applyButton.click()
        while window.logic.runs.is_running:
            slicer_window.application().processEvents()
            time.sleep(0.01)
        for hidden in ("placeSection", "logSection"):
            getattr(window.ui, hidden).hide()
        window.ui.resultTable.resizeColumnsToContents()
        parent.resize(760, 720)
        print(window.ui.statusLabel.text())
        assert parent.grab().save(str(folder / "slicer_results.png"))
        node = window.ui.segmentationSelector.currentNode()
        masks = list(masks_of(node.GetSegmentation(), volume.shape))
        draw_segments(folder / "slicer_segments.png", volume, masks)
        window.cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
