"""What travels between a driver and its workers; all of it is plain JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import textseg3d
from textseg3d.export import ExportOptions, OutputNames

Mode = Literal["new", "resume", "overwrite"]
OutcomeKind = Literal["done", "skipped", "rejected", "failed", "lost", "busy", "storage"]


@dataclass(frozen=True)
class Case:
    """One scan, its prompts, and where its outputs go.

    Attributes:
        scan: file or folder.
        prompts: texts, each once.
        names: of the outputs.
        log_phi: whether the log and the record may hold the scan's whole path. Folders are often
            called after patients.
    """

    scan: Path
    prompts: tuple[str, ...]
    names: OutputNames
    log_phi: bool = False

    @property
    def shown(self) -> str:
        """What the scan is called in the log and in records: its own name, without folders.

        Where the case was given a name of its own (by a list), that name.
        """
        if self.log_phi:
            return str(self.scan)
        own = self.scan.name or self.scan.resolve().name
        return own if own.startswith(self.names.case) else self.names.case

    def tidy(self, text: str) -> str:
        """``text`` with the scan called as it is shown, and without the folder that it lies in."""
        if self.log_phi:
            return text
        whole = {str(self.scan), str(self.scan.absolute()), str(self.scan.resolve())}
        whole |= {re.sub(r"[\x00-\x1f\x7f]+", "?", path) for path in whole}  # as findings do
        whole |= {self.scan.name}
        for path in sorted(whole - {"", ".", self.shown}, key=len, reverse=True):
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", lambda _: self.shown, text)
        parents = (self.scan, self.scan.absolute(), self.scan.resolve())
        for folder in {str(path.parent) + os.sep for path in parents} - {os.sep, "." + os.sep}:
            text = re.sub(rf"(?<![\w./-]){re.escape(folder)}", "", text)
        return text

    @property
    def record(self) -> Path:
        """Where the commit record lies."""
        return self.names.folder / self.names.record

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the record in its folder, for hidden names."""
        return hashlib.sha256(self.names.record.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        names = {**asdict(self.names), "folder": str(self.names.folder)}
        return {
            "scan": str(self.scan),
            "prompts": list(self.prompts),
            "names": names,
            "log_phi": self.log_phi,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Case:
        """The inverse of :meth:`to_json`."""
        names = {**data["names"], "folder": Path(data["names"]["folder"])}
        scan, prompts = Path(data["scan"]), tuple(data["prompts"])
        return cls(scan, prompts, OutputNames(**names), data["log_phi"])


@dataclass(frozen=True)
class Work:
    """What is done with each case.

    Attributes:
        model: folder of the model.
        device: as in :class:`textseg3d.api.Segmenter`.
        export: which files are written.
        predict: keyword arguments of ``Segmenter.predict`` that may change a mask: ``exact`` and
            the reading options.
        limits: keyword arguments of ``Segmenter.predict`` that may not.
        describe: also describe each instance.
        mode: "new" and "resume" leave committed cases alone, "overwrite" does them again.
    """

    model: Path
    device: str = "auto"
    export: ExportOptions = field(default_factory=ExportOptions)
    predict: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    describe: bool = False
    mode: Mode = "new"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "model": str(self.model),
            "device": self.device,
            "export": asdict(self.export),
            "predict": dict(self.predict),
            "limits": dict(self.limits),
            "describe": self.describe,
            "mode": self.mode,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Work:
        """The inverse of :meth:`to_json`."""
        export = ExportOptions(**data["export"])
        return cls(**{**data, "model": Path(data["model"]), "export": export})

    def fingerprint(self, prompts: tuple[str, ...], model: str, image: str) -> str:
        """sha256 over everything that decides what a case's files hold.

        Args:
            prompts: of the case, in their order.
            model: fingerprint of the model, see :func:`model_fingerprint`.
            image: sha256 of the scan.
        """
        whole = {
            "textseg3d": textseg3d.__version__,
            "model": model,
            "image": image,
            "prompts": list(prompts),
            "export": asdict(self.export),
            "predict": dict(self.predict),
            "describe": self.describe,
        }
        text = json.dumps(whole, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def model_fingerprint(model: Path) -> str:
    """sha256 over the names and hashes of all files that a model's card lists.

    Raises:
        ModelError: if there is no such card.
    """
    from textseg3d.zoo import ModelCard

    files = ModelCard.read(model).files
    lines = "".join(f"{name}\0{files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        kind: "done"; "skipped" (committed before, with the same fingerprint); "rejected" (bad
            input, recorded); "failed" (recorded, tried again by the next ``--resume``); "lost"
            (it killed its workers); "busy" (another driver has it); "storage" (a full or failing
            disk: nothing was recorded).
        message: one line, where something went wrong.
        exit_code: of what went wrong, else 0.
        seconds: of work.
        error: what was raised, in the process where it was raised.
    """

    kind: OutcomeKind
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @property
    def bad(self) -> bool:
        """Whether the case has no result."""
        return self.exit_code != 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, without ``error``."""
        return {
            "kind": self.kind,
            "message": self.message,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
        }
