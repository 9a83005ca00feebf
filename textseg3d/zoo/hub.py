"""Models from a Hugging Face hub: what is on disk first, then one locked, verified download."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from textseg3d.errors import MissingDependencyError, ModelError
from textseg3d.zoo.card import CARD_NAME, MODEL_SUFFIXES
from textseg3d.zoo.find import HUB_PREFIX, home_folder
from textseg3d.zoo.verify import check_model, verify_model

logger = logging.getLogger(__name__)

LOCK_SECONDS = 1800.0  # how long to wait for another process that downloads the same model
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,127}}))?")


class HubReference(NamedTuple):
    """A repository and a revision (branch, tag or commit) of it."""

    repository: str
    revision: str


def parse_reference(text: str) -> HubReference:
    """Split "hf-hub:owner/repo@revision"; without a revision it is "main".

    Raises:
        ModelError: if the text has another form.
    """
    found = _REFERENCE.fullmatch(text.removeprefix(HUB_PREFIX))
    if found is None or ".." in text:
        raise ModelError(f"{text!r} is no hub model; expected {HUB_PREFIX}owner/repo@revision")
    return HubReference(found.group(1), found.group(2) or "main")


def is_offline() -> bool:
    """Whether the user forbade network access with `TEXTSEG3D_OFFLINE` (or `HF_HUB_OFFLINE`)."""
    values = (os.environ.get(name, "") for name in ("TEXTSEG3D_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.lower() not in ("", "0", "false", "no") for value in values)


def cached_folder(text: str) -> Path | None:
    """Folder of a hub model that was downloaded before, or None. Never uses the network."""
    folder = _snapshot(parse_reference(text), local_only=True)
    if folder is None or not (folder / CARD_NAME).is_file():
        return None
    try:  # a download that was cut off left a folder with some of the files
        missing = any(check.problem == "is missing" for check in check_model(folder))
    except ModelError:
        missing = False  # damaged, not unfinished: the caller verifies and says so
    return None if missing else folder


def fetch_model(text: str, *, refresh: bool = False) -> Path:
    """Folder of a hub model, downloaded if it is not on this machine, and verified.

    Two processes that ask at once download once: the second waits for the first's file lock.
    A download that was cut off goes on where it stopped.

    Args:
        text: "hf-hub:owner/repo@revision".
        refresh: ask the hub even if the model is here (a branch may have moved on, or the files
            here may be damaged: then all of them are downloaded again).

    Raises:
        ModelError: if the model is not here and cannot be had, or its files are damaged.
    """
    reference = parse_reference(text)
    folder = None if refresh else cached_folder(text)
    if folder is None:
        if is_offline():
            raise ModelError(
                f"model {reference.repository}@{reference.revision} is not on this machine and "
                "TEXTSEG3D_OFFLINE (or HF_HUB_OFFLINE) is set; unset it once, or give a folder"
            )
        folder = _download(text, reference, refresh)
    verify_model(folder)
    return folder


def _download(text: str, reference: HubReference, refresh: bool) -> Path:
    from filelock import FileLock, Timeout

    locks = home_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    name = "--".join((*reference.repository.split("/"), reference.revision.replace("/", "-")))
    try:
        with FileLock(locks / f"{name}.lock", timeout=LOCK_SECONDS):
            folder = cached_folder(text)  # another process may have been first
            if folder is None or refresh:
                logger.info("downloading %s@%s", *reference)
                damaged = folder is not None and not _is_whole(folder)
                folder = _snapshot(reference, local_only=False, force=damaged)
    except Timeout:
        raise ModelError(
            f"another process has been downloading {reference.repository} for more than "
            f"{LOCK_SECONDS / 60:.0f} minutes; stop it, or give a folder"
        ) from None
    if folder is None:
        raise ModelError(f"the hub gave no files for {reference.repository}; try again")
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        verify_model(folder)
    except ModelError:
        return False
    return True


def _snapshot(reference: HubReference, *, local_only: bool, force: bool = False) -> Path | None:
    """Folder of the snapshot in our cache; None if ``local_only`` and there is none."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise MissingDependencyError(
            "models from a hub need the package huggingface_hub; run `pip install huggingface_hub`"
        ) from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our own error says it in a line
    if not sys.stderr.isatty():
        disable_progress_bars()
    what = f"{reference.repository}@{reference.revision}"
    try:
        return Path(
            snapshot_download(
                reference.repository,
                revision=reference.revision,
                cache_dir=home_folder() / "hub",
                allow_patterns=[f"*{suffix}" for suffix in MODEL_SUFFIXES],
                local_files_only=local_only,
                force_download=force,
                max_workers=2,
            )
        )
    except LocalEntryNotFoundError as error:
        if local_only:
            return None
        reason = _explain(_status(error.__cause__))
        raise ModelError(f"{what} is not on this machine, and {reason}") from None
    except HfHubHTTPError as error:
        raise ModelError(f"{what}: {_explain(_status(error))}") from None
    except OSError as error:
        detail = error.strerror or str(error).partition("\n")[0]
        raise ModelError(
            f"{what} could not be stored in {home_folder() / 'hub'}: {detail}; "
            "make room there, or set TEXTSEG3D_HOME to another folder"
        ) from None
    except Exception as error:  # the client's own network errors have no common base
        detail = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"the download of {what} broke off: {detail}; start it again, it goes on from there"
        ) from error


def _status(error: BaseException | None) -> int | None:
    """HTTP status of a hub error, if it has one."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return int(code) if code is not None else None


def _explain(status: int | None) -> str:
    """One clause for an HTTP status of the hub."""
    if status is None:
        return "the hub cannot be reached; try again later"
    if status == 404:
        return "the hub has no such repository or revision; check the spelling"
    if status in (401, 403):
        return "the hub refuses access; log in with `hf auth login` if you have been given it"
    if status == 429:
        return "the hub asks to wait (429, too many requests); try again in some minutes"
    return f"the hub answered with status {status}; try again later"
