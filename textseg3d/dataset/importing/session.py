"""One import: cases are written one by one, and what is done is remembered in a ledger.

``import.jsonl`` in the new folder has a first line with the settings and one line per finished
case, each appended and flushed to disk after the case's files are there. dataset.json is written
last: a folder without it is not finished, and running the command again goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from textseg3d.dataset.case_notes import FILE_NAME as NOTES_FILE
from textseg3d.dataset.case_notes import CaseNotes, case_notes_text
from textseg3d.dataset.description import FILE_NAME, Description
from textseg3d.dataset.importing.coder import LabelCoder
from textseg3d.dataset.splits import FILE_NAME as SPLITS_FILE
from textseg3d.errors import InputError, UsageError
from textseg3d.io import atomic_path
from textseg3d.plans.jsonio import from_json, to_json

LEDGER = "import.jsonl"
ENDING = ".nii.gz"
_FOLDER = re.compile(r"Dataset\d{3}_.+")
Progress = Callable[[str, int, int], object]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Where a case's files go; the loader writes them.

    Attributes:
        folder: of the new dataset.
        name: of the case.
        test: without truth: the image goes to imagesTs.
        link: give files a second name instead of copying them.
        coder: for the label map.
        written: paths that were handed out, relative to ``folder``.
    """

    folder: Path
    name: str
    test: bool
    link: bool
    coder: LabelCoder
    written: list[str] = field(default_factory=list)

    def image(self, channel: int) -> Path:
        """File of one channel."""
        return self._file(f"images{'Ts' if self.test else 'Tr'}/{self.name}_{channel:04d}{ENDING}")

    def label(self) -> Path:
        """File of the label map."""
        return self._file(f"labelsTr/{self.name}{ENDING}")

    def finding(self, number: int) -> Path:
        """File of one finding's mask."""
        (self.folder / "findingsTr").mkdir(exist_ok=True)
        return self._file(f"findingsTr/{self.name}_{number:02d}{ENDING}")

    def _file(self, name: str) -> Path:
        self.written.append(name)
        return self.folder / name


@dataclass(frozen=True)
class SourceCase:
    """One case of the source.

    Attributes:
        name: in the new dataset.
        files: that it is made of; a change of size or time means doing it again.
        write: makes the files of a :class:`Target` and returns the notes.
        test: without truth.
        split: "train" or "val" where the source says so.
    """

    name: str
    files: tuple[Path, ...]
    write: Callable[[Target], CaseNotes | None]
    test: bool = False
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """All that an import needs to know of a source.

    Attributes:
        kind: such as "sat".
        labels: names in the order of their values.
        channel_names: of dataset.json.
        prompts: label → texts.
        cases: in any order; they are done by name.
        settings: whatever else the files depend on, as JSON values.
        about: more keys of dataset.json, such as licence.
    """

    kind: str
    labels: tuple[str, ...]
    channel_names: tuple[str, ...]
    prompts: Mapping[str, Sequence[str]]
    cases: tuple[SourceCase, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def import_source(
    source: Source, folder: Path, *, link: bool = False, on_progress: Progress | None = None
) -> Path:
    """Write a source as a dataset in nnU-Net's layout; goes on where a killed run was.

    Args:
        source: what to write.
        folder: ``DatasetXXX_Name``; made if needed.
        link: give image files a second name instead of copying them, where they need no change.
        on_progress: called with ("import", done, total).

    Returns:
        the folder.

    Raises:
        UsageError: for a folder name that nnU-Net does not know, or one that another run uses.
        InputError: for two cases of one name, or a folder that was begun from something else.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    if not _FOLDER.fullmatch(folder.name):
        raise UsageError(
            f"the folder is called {folder.name!r}, expected such as Dataset701_Name (three digits)"
        )
    cases = sorted(source.cases, key=lambda case: case.name)
    for one, other in pairwise(cases):
        if one.name == other.name:
            raise InputError(f"two cases are called {one.name!r}; rename one of them")
    if not cases:
        raise InputError("the source has no case; check its folder and lists")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".import.lock", timeout=0):
            _run(source, cases, folder, link=link, on_progress=on_progress)
    except Timeout:
        raise UsageError(f"another import writes into {folder}; wait for it") from None
    return folder


def _run(
    source: Source,
    cases: list[SourceCase],
    folder: Path,
    *,
    link: bool,
    on_progress: Progress | None,
) -> None:
    for name in ("imagesTr", "labelsTr", *(["imagesTs"] if any(c.test for c in cases) else [])):
        (folder / name).mkdir(exist_ok=True)
    for leftover in folder.glob("*/.*.tmp"):
        leftover.unlink(missing_ok=True)
    ledger = _Ledger(folder / LEDGER, source)
    coder = LabelCoder(source.labels, ledger.combinations)
    todo = [case for case in cases if not ledger.is_done(case)]
    if todo:
        (folder / FILE_NAME).unlink(missing_ok=True)
        kept = len(cases) - len(todo)
        if kept:
            logger.info("%d of %d cases are there already", kept, len(cases))
        for done, case in enumerate(todo, start=kept + 1):
            known = len(coder.combinations)
            target = Target(folder, case.name, case.test, link, coder)
            notes = case.write(target)
            ledger.add(case, target.written, coder.combinations[known:], notes)
            if on_progress is not None:
                on_progress("import", done, len(cases))
    every = {case.name: found for case in cases if (found := ledger.notes(case)) is not None}
    if every:
        _write(folder / NOTES_FILE, case_notes_text(every))
    splits = {kind: [c.name for c in cases if c.split == kind] for kind in ("train", "val")}
    if all(splits.values()):
        _write(folder / SPLITS_FILE, json.dumps([splits], indent=4) + "\n")
    data = _description(source, coder, sum(not case.test for case in cases))
    Description.from_dict(data, folder / FILE_NAME)
    _write(folder / FILE_NAME, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _description(source: Source, coder: LabelCoder, training: int) -> dict[str, Any]:
    order = coder.regions_class_order()
    return {
        **source.about,
        "channel_names": {str(n): name for n, name in enumerate(source.channel_names)},
        "labels": coder.labels(),
        **({"regions_class_order": order} if order is not None else {}),
        "prompts": {name: list(texts) for name, texts in source.prompts.items() if texts},
        "numTraining": training,
        "file_ending": ENDING,
    }


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class _Ledger:
    """``import.jsonl``: settings, then what is done. A torn last line is as if not there."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        settings = {
            "kind": source.kind,
            "labels": list(source.labels),
            "channels": list(source.channel_names),
            "settings": dict(source.settings),
        }
        self.combinations: list[list[int]] = []
        self._done: dict[str, dict[str, Any]] = {}
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        whole = lines[:-1]  # what follows the last line break was never finished
        try:
            entries = [json.loads(line) for line in whole]
        except ValueError as error:
            raise InputError(
                f"{path} is damaged ({error}); delete the folder, begin anew"
            ) from None
        if entries and entries[0] != settings:
            raise InputError(
                f"{path.parent} was begun from another source, or with other settings; "
                "choose another folder, or delete this one"
            )
        for entry in entries[1:]:
            self.combinations += entry["combinations"]
            self._done[entry["case"]] = entry
        if lines and lines[-1]:
            with path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in whole))
        if not entries:
            self._append(settings)

    def is_done(self, case: SourceCase) -> bool:
        entry = self._done.get(case.name)
        return (
            entry is not None
            and entry["test"] == case.test
            and entry["files"] == _signature(case)
            and all((self._path.parent / name).is_file() for name in entry["written"])
        )

    def notes(self, case: SourceCase) -> CaseNotes | None:
        found = self._done[case.name]["notes"]
        return None if found is None else from_json(CaseNotes, found)

    def add(
        self,
        case: SourceCase,
        written: list[str],
        combinations: list[list[int]],
        notes: CaseNotes | None,
    ) -> None:
        entry = {
            "case": case.name,
            "test": case.test,
            "files": _signature(case),
            "written": list(written),
            "combinations": combinations,
            "notes": None if notes is None else to_json(notes),
        }
        self._append(entry)
        self._done[case.name] = entry

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _signature(case: SourceCase) -> list[list[Any]]:
    for path in case.files:
        if not path.exists():
            raise InputError(f"there is no file {path}; check the source folder")
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in case.files]
