"""What the window does. It knows its widgets by name only, and asks :class:`Logic` for the rest.

Values are read with ``property()`` and set by methods, which Slicer's PythonQt and the tests'
PySide6 have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import qt

from .backends import LocalBackend, RemoteBackend
from .client import is_loopback
from .errors import TextSegError
from .install import Installer, checkout
from .logic import Logic
from .mrml import COLUMNS
from .prompts import PromptBook, Store, clean
from .signals import Signal

POLL_MS = 100
DEVICES = ("auto", "cpu", "cuda", "mps")


class Dialogs(Protocol):
    """Questions and messages to the user."""

    def agree(self, text: str) -> bool:
        """Whether the user agrees."""

    def ask(self, text: str) -> str:
        """A line of text; empty if the user declines."""

    def error(self, text: str) -> None:
        """Show what went wrong."""


class Panel:
    """The widgets of `TextSeg3D.ui`, connected.

    Args:
        ui: has every named widget as an attribute.
        logic: that runs prompts.
        book: of prompts.
        installer: of the local textseg3d.
        local: backend of "This computer".
        remote: backend of "Another computer".
        store: keeps settings.
        dialogs: to the user.
    """

    def __init__(
        self,
        ui: Any,
        logic: Logic,
        book: PromptBook,
        installer: Installer,
        local: LocalBackend,
        remote: RemoteBackend,
        store: Store,
        dialogs: Dialogs,
    ) -> None:
        self.ui, self.logic, self.book = ui, logic, book
        self._installer, self._local, self._remote = installer, local, remote
        self._store, self._dialogs = store, dialogs
        self.promptsChanged = Signal("prompts")
        self.segmentationMade = Signal("node")
        self.prompts: list[str] = []
        self.tableNode = None
        self._cancelling = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.onTimer)
        self._completions = qt.QStringListModel()
        self._completer = qt.QCompleter()
        self._completer.setModel(self._completions)
        self._completer.setCompletionMode(qt.QCompleter.UnfilteredPopupCompletion)
        ui.promptEdit.setCompleter(self._completer)
        self._restore()
        self._connect()
        self.updateState()

    def _connect(self) -> None:
        ui, logic = self.ui, self.logic
        ui.promptEdit.textEdited.connect(self.onPromptEdited)
        ui.promptEdit.returnPressed.connect(self.onAddPrompt)
        ui.inputSelector.currentNodeChanged.connect(self.updateState)
        for button, slot in (
            (ui.addPromptButton, self.onAddPrompt),
            (ui.removePromptButton, self.onRemovePrompt),
            (ui.clearPromptsButton, self.onClearPrompts),
            (ui.addPresetButton, self.onAddPreset),
            (ui.savePresetButton, self.onSavePreset),
            (ui.localButton, self.updateState),
            (ui.remoteButton, self.updateState),
            (ui.setUpButton, self.onSetUp),
            (ui.testButton, self.onTest),
            (ui.applyButton, self.onApply),
            (ui.cancelButton, self.onCancel),
        ):
            button.clicked.connect(slot)
        logic.progress.connect(self.onProgress)
        logic.finished.connect(self.onFinished)
        logic.failed.connect(self.onFailed)
        logic.cancelled.connect(self.onCancelled)
        logic.connected.connect(self.onConnected)
        logic.installed.connect(self.onInstalled)
        logic.log.connect(self.onLog)

    def _restore(self) -> None:
        value, ui = self._store.value, self.ui
        ui.deviceBox.addItems(list(DEVICES))
        device = value("TextSeg3D/device", "auto")
        ui.deviceBox.setCurrentIndex(DEVICES.index(device) if device in DEVICES else 0)
        ui.programEdit.setText(value("TextSeg3D/program", ""))
        ui.modelEdit.setText(value("TextSeg3D/model", ""))
        ui.urlEdit.setText(value("TextSeg3D/url", ""))
        remote = value("TextSeg3D/place", "local") == "remote"
        ui.remoteButton.setChecked(remote)
        ui.localButton.setChecked(not remote)
        sources = checkout()
        ui.sourceEdit.setText(str(sources) if sources else "")
        ui.progressBar.setRange(0, 100)
        self._showPresets()

    def _keep(self) -> None:
        """Keep the settings; a token is not written to the disk."""
        keep, ui = self._store.setValue, self.ui
        keep("TextSeg3D/device", ui.deviceBox.property("currentText"))
        keep("TextSeg3D/program", ui.programEdit.property("text"))
        keep("TextSeg3D/model", ui.modelEdit.property("text"))
        keep("TextSeg3D/url", ui.urlEdit.property("text"))
        keep("TextSeg3D/place", "remote" if self.isRemote else "local")

    @property
    def isRemote(self) -> bool:
        """Whether another computer is to do the work."""
        return bool(self.ui.remoteButton.property("checked"))

    def updateState(self, *_: Any) -> None:
        """Enable what may be used now."""
        ui, running = self.ui, self.logic.is_running
        for widget in (ui.inputSelector, ui.segmentationSelector, ui.placeGroup, ui.setUpButton,
                       ui.testButton):  # fmt: skip
            widget.setEnabled(not running)
        ui.localGroup.setVisible(not self.isRemote)
        ui.remoteGroup.setVisible(self.isRemote)
        ui.applyButton.setEnabled(not running and ui.inputSelector.currentNode() is not None)
        ui.cancelButton.setEnabled(running and not self._cancelling)
        ui.progressBar.setVisible(running)

    def onPromptEdited(self, *_: Any) -> None:
        """Offer completions of what is typed."""
        typed = self.ui.promptEdit.property("text")
        self._completions.setStringList(self.book.complete(typed))
        self._completer.complete()

    def setPrompts(self, prompts: Iterable[str]) -> None:
        """Show these prompts as the list to run."""
        self.prompts = list(dict.fromkeys(text for text in map(clean, prompts) if text))
        self.ui.promptList.clear()
        self.ui.promptList.addItems(self.prompts)
        self.promptsChanged.emit(list(self.prompts))

    def onAddPrompt(self, *_: Any) -> None:
        """Put what is typed into the list."""
        self.setPrompts([*self.prompts, self.ui.promptEdit.property("text")])
        self.ui.promptEdit.clear()

    def onRemovePrompt(self, *_: Any) -> None:
        """Take the chosen prompt out of the list."""
        row = self.ui.promptList.property("currentRow")
        if 0 <= row < len(self.prompts):
            self.setPrompts(self.prompts[:row] + self.prompts[row + 1 :])

    def onClearPrompts(self, *_: Any) -> None:
        """Empty the list."""
        self.setPrompts([])

    def _showPresets(self) -> None:
        self.ui.presetBox.clear()
        self.ui.presetBox.addItems(list(self.book.presets()))

    def onAddPreset(self, *_: Any) -> None:
        """Add the prompts of the chosen preset."""
        chosen = self.book.presets().get(self.ui.presetBox.property("currentText"), ())
        self.setPrompts([*self.prompts, *chosen])

    def onSavePreset(self, *_: Any) -> None:
        """Keep the list under a name; an empty list removes the preset of that name."""
        name = clean(self._dialogs.ask("Name of the preset"))
        if name:
            self.book.save_preset(name, self.prompts)
            self._showPresets()

    def _chooseBackend(self) -> bool:
        """Make the logic use the place that is chosen; False if the user declines."""
        ui, text = self.ui, "text"
        if not self.isRemote:
            self._local.choose(
                ui.programEdit.property(text),
                ui.modelEdit.property(text),
                ui.deviceBox.property("currentText"),
            )
            self.logic.backend = self._local
            return True
        url = ui.urlEdit.property(text).strip()
        if not is_loopback(url) and not self._agreesToSend(url):
            return False
        self._remote.choose(url, ui.tokenEdit.property(text))
        self.logic.backend = self._remote
        return True

    def _agreesToSend(self, url: str) -> bool:
        """Ask once per server before anything leaves this computer."""
        agreed = str(self._store.value("TextSeg3D/agreed", "")).split()
        if url in agreed:
            return True
        question = (
            f"The voxels of the scan, its geometry and the prompts will be sent to\n\n{url}\n\n"
            "No name, id or other header of the patient is sent, but faces can be reconstructed "
            "from scans of the head."
        )
        if urlsplit(url).scheme == "http":
            question += "\n\nThe connection is NOT encrypted: others can read scan and token."
        if not self._dialogs.agree(question):
            return False
        self._store.setValue("TextSeg3D/agreed", " ".join([*agreed, url]))
        return True

    def onApply(self, *_: Any) -> None:
        """Run all prompts of the list about the chosen volume."""
        if self.ui.promptEdit.property("text").strip():
            self.onAddPrompt()
        try:
            if not self._chooseBackend():
                return
            volume = self.ui.inputSelector.currentNode()
            chosen = self.ui.segmentationSelector.currentNode()
            self.logic.start(volume, self.prompts, chosen, self._table())
        except TextSegError as error:
            self.onFailed(str(error))
            return
        self._keep()
        self.book.remember(self.prompts)
        self._begin("starting")

    def _table(self) -> Any:
        """The table node of this window, made when it is first needed."""
        scene = self.logic.scene
        if self.tableNode is None or not scene.IsNodePresent(self.tableNode):
            name = "TextSeg3D measurements"
            self.tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        return self.tableNode

    def onTest(self, *_: Any) -> None:
        """Connect, and show what the server says of itself."""
        try:
            if not self._chooseBackend():
                return
            self.logic.test()
        except TextSegError as error:
            self.onFailed(str(error))
            return
        self._begin("connecting")

    def onSetUp(self, *_: Any) -> None:
        """Say which textseg3d is used, or make an environment for one if the user agrees."""
        try:
            command = self._installer.find(self.ui.programEdit.property("text"))
            if command is not None:
                version = self._installer.version(command)
                self.ui.serverLabel.setText(f"{version} ({' '.join(command)})")
                return
            source = self.ui.sourceEdit.property("text").strip()
            if not source:
                raise TextSegError(
                    "say under 'Install from' where textseg3d comes from: the folder of its "
                    "sources, or a wheel"
                )
            program, version = self._installer.base_python()
            question = self._installer.describe(source, f"{program} (Python {version})")
            if not self._dialogs.agree(question):
                return
            self.logic.install(self._installer, source, program)
        except TextSegError as error:
            self.onFailed(str(error))
            return
        self._begin("installing")

    def onCancel(self, *_: Any) -> None:
        """End what runs."""
        self._cancelling = True
        self.ui.statusLabel.setText("cancelling")
        self.logic.cancel()
        self.updateState()

    def onTimer(self, *_: Any) -> None:
        """Look what the logic has to say."""
        self.logic.poll()

    def _begin(self, text: str) -> None:
        self._cancelling = False
        self.ui.progressBar.setValue(0)
        self.ui.statusLabel.setText(text)
        self._timer.start()
        self.updateState()

    def _end(self, text: str) -> None:
        self._timer.stop()
        self._cancelling = False
        self.ui.statusLabel.setText(text)
        self.updateState()

    def onProgress(self, percent: int, text: str) -> None:
        """Show how far the run is."""
        self.ui.progressBar.setValue(percent)
        if not self._cancelling:
            self.ui.statusLabel.setText(text)

    def onFinished(self, node: Any, rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> None:
        """Show the measurements, and go on with the same segmentation."""
        found = len(ids)
        self._end(f"{found} of {len(rows)} prompts found")
        self.showRows(rows)
        if node is not None:
            self.segmentationMade.emit(node)
            if self.ui.show3DBox.property("checked"):
                node.CreateClosedSurfaceRepresentation()

    def showRows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Fill the table of the window."""
        table = self.ui.resultTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([title for _, title in COLUMNS])
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, (key, _) in enumerate(COLUMNS):
                text = "" if row[key] is None else str(row[key])
                table.setItem(index, column, qt.QTableWidgetItem(text))

    def onFailed(self, message: str) -> None:
        """Say what went wrong; everything can be tried again."""
        self._end(message.splitlines()[0])
        self.onLog(message)
        self._dialogs.error(message)

    def onCancelled(self) -> None:
        """Everything is as before the run."""
        self._end("cancelled")

    def onConnected(self, capabilities: Mapping[str, Any]) -> None:
        """Show the model, and complete to what it knows first."""
        self.book.know(capabilities["concepts"])
        self.ui.serverLabel.setText(
            f"textseg3d {capabilities['textseg3d']}, model {capabilities['model']} on "
            f"{capabilities['device']}, {len(capabilities['concepts'])} concepts"
        )
        self._end("connected")

    def onInstalled(self, command: Sequence[str]) -> None:
        """The environment is there."""
        self.ui.serverLabel.setText(" ".join(command))
        self._end("installed")

    def onLog(self, line: str) -> None:
        """Append to the log."""
        self.ui.logText.appendPlainText(line)

    def close(self) -> None:
        """End what runs, with the server."""
        self._timer.stop()
        self.logic.close()
        self.updateState()
