"""Checks a model folder before any of it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textseg3d.errors import ModelError, PlansError
from textseg3d.plans.schema import Plans, stage_weights
from textseg3d.zoo.card import FileEntry, ModelCard, file_sha256, refused_file
from textseg3d.zoo.tensors import find_non_finite, read_header

REQUIRED_FILES = ("plans.json", "model.safetensors")
PARTS_FILE = "parts.json"  # a model that is made of others has this instead


@dataclass(frozen=True)
class FileCheck:
    """Outcome for one file: its path in the folder, and what is wrong with it (None: nothing)."""

    name: str
    problem: str | None


def check_model(folder: str | Path) -> list[FileCheck]:
    """Check every file of a model folder; problems are reported, not raised.

    Rules: each file of the card is there with its size and sha256; safetensors have a sound
    header and only finite numbers; `plans.json` and `model.safetensors` (or `parts.json`) are
    among them, and the weights of each stage that the plans name; no file is a pickle or code.
    Other files that the card does not name are left alone: nothing reads them.

    Raises:
        ModelError: if there is no readable card.
    """
    root = Path(folder)
    card = ModelCard.read(root)
    checks = [
        FileCheck(name, f"the card does not list it; a model needs {' and '.join(REQUIRED_FILES)}")
        for name in REQUIRED_FILES
        if name not in card.files and PARTS_FILE not in card.files
    ]
    checks += [FileCheck(name, _problem(root / name, card.files[name])) for name in card.files]
    checks += _stage_problems(root, card)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        refusal = refused_file(name)
        if refusal:
            checks.append(FileCheck(name, refusal))
    return checks


def verify_model(folder: str | Path) -> ModelCard:
    """Raise unless the folder is a whole, unchanged model; return its card.

    Raises:
        ModelError: naming the first problem of :func:`check_model` and how many there are.
    """
    problems = [check for check in check_model(folder) if check.problem]
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise ModelError(
            f"model folder {folder}: {problems[0].name}: {problems[0].problem}{more}; "
            "get the model again"
        )
    return ModelCard.read(folder)


def _stage_problems(root: Path, card: ModelCard) -> list[FileCheck]:
    """What the stages of a cascade lack; plans of other programs have none."""
    try:
        plans = Plans.load(root / "plans.json")
    except PlansError:  # a model of parts, or damaged plans, of which loading says more
        return []
    found = []
    for name, stage in plans.configurations.items():
        if stage.cascade is None:
            continue
        file = stage_weights(name)
        if file not in card.files:
            found.append(FileCheck(file, f"the card does not list it; stage {name!r} needs it"))
        for target in stage.within:
            if target not in card.concepts:
                fault = f"stage {name!r} looks into {target!r}, which is no concept of the card"
                found.append(FileCheck("plans.json", fault))
        if stage.text != plans.configurations[stage.cascade].text:
            fault = f"stage {name!r} has other 'text' settings than {stage.cascade!r}"
            found.append(FileCheck("plans.json", fault))
    return found


def _problem(path: Path, expected: FileEntry) -> str | None:
    """What is wrong with one file of the card, or None."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            return "is not a regular file"
        if size != expected.size_bytes:
            return f"has {size} bytes, the card says {expected.size_bytes}"
        if path.suffix == ".safetensors":
            bad = find_non_finite(path, read_header(path))
            if bad is not None:
                return f"tensor {bad!r} holds NaN or infinite numbers"
        digest = file_sha256(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ModelError as error:
        return str(error)
    if digest != expected.sha256:
        return f"has sha256 {digest[:12]}…, the card says {expected.sha256[:12]}…"
    return None
