"""Slicer's window classes, as far as the module needs them, on PySide6.

slicer-core has no Qt. Here the module's own `.ui` is loaded by Qt's own loader; the widgets of
Slicer and CTK in it are small classes with the methods that the module calls.
"""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets


class NodeComboBox(QtWidgets.QWidget):
    """qMRMLNodeComboBox: chooses a node."""

    currentNodeChanged = QtCore.Signal(object)  # noqa: N815 - Qt's name

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None

    def currentNode(self):
        return self._node

    def setCurrentNode(self, node):
        self._node = node
        self.currentNodeChanged.emit(node)

    def setMRMLScene(self, scene):
        pass


class SlicerWidget(QtWidgets.QWidget):
    """qMRMLWidget."""

    mrmlSceneChanged = QtCore.Signal(object)  # noqa: N815 - Qt's name

    def setMRMLScene(self, scene):
        pass


CUSTOM = {
    "qMRMLNodeComboBox": NodeComboBox,
    "qMRMLWidget": SlicerWidget,
    "ctkCollapsibleButton": type("ctkCollapsibleButton", (QtWidgets.QWidget,), {}),
}


def application():
    """The one QApplication of the process."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication(["tests"])


def load_ui(path):
    """What slicer.util.loadUI does."""
    application()
    loader = QtUiTools.QUiLoader()
    for kind in CUSTOM.values():
        loader.registerCustomWidget(kind)
    # The loader asks for the class by its name in the file.
    for name, kind in CUSTOM.items():
        kind.__name__ = name
        loader.registerCustomWidget(kind)
    widget = loader.load(str(path))
    assert widget is not None, loader.errorString()
    return widget


def named(widget):
    """What slicer.util.childWidgetVariables does."""
    found = types.SimpleNamespace()
    for child in widget.findChildren(QtWidgets.QWidget):
        if child.objectName():
            setattr(found, child.objectName(), child)
    return found


def parameter_node_wrapper(kind):
    """slicer.parameterNodeWrapper: fields bound to the widgets that name them."""
    fields = typing.get_type_hints(kind)

    class Wrapped(kind):
        def __init__(self, node):
            for name in fields:
                setattr(self, name, getattr(kind, name, None))

        def connectGui(self, ui):
            for widget in vars(ui).values():
                name = widget.property("SlicerParameterName")
                if name:
                    widget.setCurrentNode(getattr(self, name))
                    widget.currentNodeChanged.connect(
                        lambda node, name=name: setattr(self, name, node)
                    )
            return 1

        def disconnectGui(self, tag):
            pass

    Wrapped.fields = tuple(fields)
    return Wrapped


class ModuleWidget:
    """ScriptedLoadableModuleWidget."""

    def __init__(self, parent=None):
        self.parent = parent
        self.layout = QtWidgets.QVBoxLayout(parent)

    def setup(self):
        pass

    def resourcePath(self, name):
        return str(MODULE / "Resources" / name)


class ModuleLogic:
    """ScriptedLoadableModuleLogic."""

    def getParameterNode(self):
        return object()


class ObservationMixin:
    """VTKObservationMixin."""

    def __init__(self):
        self.observers = []

    def addObserver(self, thing, event, slot):
        self.observers.append((thing, thing.AddObserver(event, slot)))

    def removeObservers(self):
        for thing, tag in self.observers:
            thing.RemoveObserver(tag)
        self.observers = []


MODULE = Path(__file__).resolve().parents[2] / "slicer" / "TextSeg3D"


class Store(dict):
    """QSettings."""

    def value(self, key, default=None):
        return self.get(key, default)

    def setValue(self, key, value):
        self[key] = value


def install(monkeypatch, settings_folder, environment):
    """Put stand-ins for what slicer-core lacks into ``sys.modules`` and ``slicer``."""
    import slicer
    import slicer.util

    application()
    qt = types.ModuleType("qt")
    for source in (QtCore, QtGui, QtWidgets):
        names = [name for name in dir(source) if name.startswith("Q")]
        qt.__dict__.update({name: getattr(source, name) for name in names})
    qt.QSettings = Store
    modules = {
        "qt": qt,
        "slicer.i18n": {"tr": str, "translate": lambda context, text: text},
        "slicer.parameterNodeWrapper": {"parameterNodeWrapper": parameter_node_wrapper},
        "slicer.ScriptedLoadableModule": {
            "ScriptedLoadableModule": object,
            "ScriptedLoadableModuleWidget": ModuleWidget,
            "ScriptedLoadableModuleLogic": ModuleLogic,
            "ScriptedLoadableModuleTest": object,
        },
    }
    for name, content in modules.items():
        if isinstance(content, dict):
            module = types.ModuleType(name)
            module.__dict__.update(content)
        else:
            module = content
        monkeypatch.setitem(sys.modules, name, module)
    path = str(Path(settings_folder) / "Slicer.ini")
    app = types.SimpleNamespace(slicerUserSettingsFilePath=path)
    monkeypatch.setattr(slicer, "app", app, raising=False)
    for name, value in {
        "loadUI": load_ui,
        "childWidgetVariables": named,
        "VTKObservationMixin": ObservationMixin,
        "startupEnvironment": lambda: dict(environment),
    }.items():
        monkeypatch.setattr(slicer.util, name, value)
    monkeypatch.delitem(sys.modules, "TextSeg3D", raising=False)
    monkeypatch.delitem(sys.modules, "TextSeg3DLib.panel", raising=False)
