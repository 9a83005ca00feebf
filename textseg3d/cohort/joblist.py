"""Job lists: JSON, JSON lines, CSV and TSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from textseg3d.cohort.sources import Job
from textseg3d.errors import InputError, UsageError
from textseg3d.suggest import did_you_mean

KEYS = ("image", "prompts", "case")
_TABLES = {".csv": ",", ".tsv": "\t"}


def read_jobs(path: Path, prompts: tuple[str, ...] | None = None) -> list[Job]:
    """Read a job list.

    JSON: ``[{"image": path, "prompts": [text, …]}, …]``, where "case" may name the outputs; JSON
    lines (.jsonl): one such object per line; .csv and .tsv: a header with these names, and
    prompts with ``;`` between them. Relative image paths start at the folder of the list.

    Args:
        prompts: for jobs that name none; None if none may lack them.

    Raises:
        InputError: if it cannot be read.
        UsageError: if it is not such a list.
    """
    jobs = []
    for where, item in _items(path):
        image, texts, case = _fields(item, where)
        if texts is None:
            if prompts is None:
                raise UsageError(f"{where}: there are no 'prompts'; give them here or with -p")
            texts = list(prompts)
        elif prompts is not None:
            raise UsageError(f"{where} has 'prompts'; leave out -p and --all")
        jobs.append(Job(path.parent / image, tuple(texts), case))
    if not jobs:
        raise UsageError(f"{path}: the list is empty; expected objects with 'image' and 'prompts'")
    return jobs


def _items(path: Path) -> list[tuple[str, Any]]:
    """Where each entry stands, and the entry."""
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"the job list {path} cannot be read: {error}") from None
    if suffix in _TABLES:
        return _table(path, text, _TABLES[suffix])
    try:
        if suffix == ".jsonl":
            lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
            return [(f"{path}: line {n}", json.loads(line)) for n, line in lines]
        data = json.loads(text)
    except ValueError as error:
        raise InputError(f"the job list {path} cannot be read as JSON: {error}") from None
    if not isinstance(data, list):
        raise UsageError(f"{path}: expected a list of objects with 'image' and 'prompts'")
    return [(f"{path}: job {n}", item) for n, item in enumerate(data, 1)]


def _table(path: Path, text: str, delimiter: str) -> list[tuple[str, Any]]:
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    items: list[tuple[str, Any]] = []
    try:
        for row in rows:
            if None in row or None in row.values():
                raise UsageError(f"{path}: line {rows.line_num} has not as many cells as the first")
            item: dict[str, Any] = {k.strip(): v for k, v in row.items() if v.strip()}
            if "prompts" in item:
                item["prompts"] = [t.strip() for t in item["prompts"].split(";") if t.strip()]
            items.append((f"{path}: line {rows.line_num}", item))
    except csv.Error as error:
        raise InputError(f"the job list {path} cannot be read: {error}") from None
    return items


def _fields(item: Any, where: str) -> tuple[str, list[str] | None, str | None]:
    if not isinstance(item, dict):
        raise UsageError(f"{where}: expected an object with 'image' and 'prompts'")
    for key in item:
        if key not in KEYS:
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(key, KEYS)}")
    image, prompts, case = item.get("image"), item.get("prompts"), item.get("case")
    if not isinstance(image, str) or not image:
        raise UsageError(f"{where}: 'image' is {image!r}, expected a path")
    if isinstance(prompts, str):
        prompts = [prompts]
    if prompts is not None and (
        not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts)
    ):
        raise UsageError(f"{where}: 'prompts' is {prompts!r:.60}, expected a list of texts")
    if case is not None and not _is_name(case):
        raise UsageError(f"{where}: 'case' is {case!r:.60}, expected a name for files, no path")
    return image, prompts, case


def _is_name(case: Any) -> bool:
    """Whether ``case`` can begin file names and leads nowhere."""
    return (
        isinstance(case, str)
        and 0 < len(case) <= 120
        and case.isprintable()
        and not case.startswith((".", "-"))
        and not set(case) & set('/\\:*?"<>|')
    )
