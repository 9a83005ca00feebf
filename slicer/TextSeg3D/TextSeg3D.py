"""TextSeg3D: segment what prompts in plain words describe. Research use only."""

from pathlib import Path

import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class TextSeg3D(ScriptedLoadableModule):
    """What the module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "TextSeg3D"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Volumes", "SubjectHierarchy", "Tables"]
        parent.contributors = ["The textseg3d contributors"]
        parent.helpText = _(
            "Choose a volume, type what to look for ('left kidney', '6 mm nodule in the LLL'), "
            "press Apply. Research use only, not a medical device."
        )
        parent.acknowledgementText = _("textseg3d is licensed under Apache-2.0.")


@parameterNodeWrapper
class TextSeg3DParameterNode:
    """What a scene keeps of the window.

    Attributes:
        inputVolume: where to look.
        segmentation: where segments go; none makes a new one.
        prompts: one per line.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    prompts: str = ""


class SlicerDialogs:
    """Questions and messages in Slicer's own boxes."""

    def agree(self, text):
        """Whether the user agrees."""
        return slicer.util.confirmOkCancelDisplay(text, "TextSeg3D")

    def ask(self, text):
        """A line of text; empty if the user declines."""
        answer = qt.QInputDialog.getText(None, "TextSeg3D", text)
        return answer[0] if isinstance(answer, tuple) else answer

    def error(self, text):
        """Show what went wrong."""
        slicer.util.errorDisplay(text, "TextSeg3D")


def outside_environment():
    """The environment of programs that are not Slicer's: without its Python and libraries."""
    environment = dict(slicer.util.startupEnvironment())
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE"):
        environment.pop(name, None)
    return environment


class TextSeg3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The window: loads the `.ui`, and hands its widgets to the panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        """Called once, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from TextSeg3DLib.panel import Panel
        from TextSeg3DLib.prompts import PromptBook

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/TextSeg3D.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TextSeg3DLogic()
        store = qt.QSettings()
        self.panel = Panel(
            self.ui, self.logic.runs, PromptBook(store), self.logic.installer, self.logic.local,
            self.logic.remote, store, SlicerDialogs(),
        )  # fmt: skip
        self.panel.promptsChanged.connect(self.onPromptsChanged)
        self.panel.segmentationMade.connect(self.ui.segmentationSelector.setCurrentNode)
        for event, slot in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)
        self.initializeParameterNode()

    def cleanup(self):
        """Called when Slicer or the module ends: no process stays."""
        self.removeObservers()
        self.setParameterNode(None)
        if self.panel is not None:
            self.panel.close()

    def enter(self):
        """Called whenever the module is opened."""
        self.initializeParameterNode()

    def exit(self):
        """Called whenever another module is opened; a run goes on."""
        if self._parameterNode is not None and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None

    def onSceneStartClose(self, *_):
        """The nodes of a run are about to go."""
        if self.logic.runs.is_running:
            self.panel.onCancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, *_):
        """Nodes of the new scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Use the scene's parameters, and its first volume if none was chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, node):
        """Connect the widgets to a parameter node, or to none."""
        if self._parameterNode is not None and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
        self._parameterNode, self._guiTag = None, None
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.panel.setPrompts(node.prompts.split("\n"))
            self._parameterNode = node
            self.panel.updateState()

    def onPromptsChanged(self, prompts):
        """Keep the list in the scene."""
        if self._parameterNode is not None:
            self._parameterNode.prompts = "\n".join(prompts)


class TextSeg3DLogic(ScriptedLoadableModuleLogic):
    """Wires the parts; other modules may use ``runs`` (see :class:`TextSeg3DLib.logic.Logic`)."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from TextSeg3DLib.backends import LocalBackend, RemoteBackend
        from TextSeg3DLib.install import Installer
        from TextSeg3DLib.logic import Logic

        environment = outside_environment()
        settings = Path(slicer.app.slicerUserSettingsFilePath).parent
        self.installer = Installer(settings / "TextSeg3D-environment", environment)
        self.local = LocalBackend(self.installer, environment)
        self.remote = RemoteBackend()
        self.runs = Logic(slicer.mrmlScene, self.local)

    def getParameterNode(self):
        """The scene's parameters."""
        return TextSeg3DParameterNode(super().getParameterNode())


class TextSeg3DTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer, without a server; the project's own tests start one."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all."""
        self.setUp()
        self.test_segments_lie_where_the_volume_does()

    def test_segments_lie_where_the_volume_does(self):
        """An oblique volume, a mask of its bright corner, the same voxels back."""
        import numpy as np
        from TextSeg3DLib import mrml
        from TextSeg3DLib.scan import Segment

        array = np.zeros((6, 5, 4), np.int16)
        array[1:3, 2:4, 1:3] = 100
        volume = slicer.util.addVolumeFromArray(array)
        volume.SetIJKToRASDirections(-0.8, 0.6, 0, 0.6, 0.8, 0, 0, 0, -1)
        volume.SetSpacing(0.7, 0.9, 3)
        scan = mrml.scan_of(volume)
        assert np.array_equal(scan.array, array)
        node = mrml.segmentation_for(slicer.mrmlScene, volume)
        voxels = np.ones((2, 2, 2), np.uint8)
        segment = Segment("corner", (1, 0, 0), "", False, (1, 2, 1), voxels)
        (name,) = mrml.add_segments(node, volume, [segment])
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume)
        assert np.array_equal(found > 0, array > 0)
        self.delayDisplay("TextSeg3D: test passed")


__all__ = ["TextSeg3D", "TextSeg3DLogic", "TextSeg3DTest", "TextSeg3DWidget"]
