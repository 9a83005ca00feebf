"""The table of a cohort, and its page with thumbnails, made from the commit records."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from textseg3d.cohort.case import Case
from textseg3d.errors import InputError
from textseg3d.export.record import read_record
from textseg3d.io.atomic import atomic_path

NAME = "textseg3d-summary"
COLUMNS = (
    "case", "scan", "state", "rule", "message", "prompt", "status", "presence", "volume_ml",
    "voxels", "instances", "mask", "seconds", "warnings",
)  # fmt: skip
CASES_PER_PAGE = 500
_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  color: #1c1c1c; background: #fff }
table { border-collapse: collapse; width: 100% } caption { text-align: left }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-top: 1px solid #8884 } td { overflow-wrap: anywhere }
img { display: block; background: #000; min-width: 4rem } ul { margin: 0; padding-left: 1.1rem }
.bad { color: #a3000c } .absent { color: #6a6a6a }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616 }
  a { color: #9cc7ff } .bad { color: #ff9a9a } .absent { color: #a8a8a8 } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:"


def case_rows(case: Case, record: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The rows of a case in the table: one per prompt, or one that says why there are none."""
    first = {"case": case.names.case, "scan": case.shown}
    if record is None:
        yield {**first, "state": "missing", "message": "not done yet"}
        return
    first["state"] = str(record.get("status", "ok"))
    error = record.get("error") or {}
    if error:
        yield {**first, "rule": error.get("rule"), "message": error.get("message")}
        return
    seconds = round(sum(record["seconds"].values()), 2)
    for entry in record["prompts"]:
        yield {
            **first,
            "prompt": entry["text"],
            "status": entry["status"],
            "presence": entry["presence"],
            "volume_ml": entry["volume_ml"],
            "voxels": entry["voxels"],
            "instances": len(entry["instances"]),
            "mask": entry["mask"],
            "seconds": seconds,
            "warnings": " | ".join([*record["warnings"], *entry["warnings"]]),
        }


def write_summary(folder: Path, cases: Sequence[Case]) -> list[Path]:
    """Write `textseg3d-summary.csv` and `.html` (then `-2.html` …, 500 cases each).

    Both are made anew from the records that are there; cases without one are "missing".

    Returns:
        The table and the first page.

    Raises:
        InputError: if one of the names is taken by a file of another kind.
        UsageError, TextSegError: if they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"{NAME}.csv"
    if table.is_file():
        with open(table, encoding="utf-8", errors="replace") as stream:
            if stream.readline().strip() != ",".join(COLUMNS):
                raise InputError(f"{table} is there and is no summary; move it away")
    with atomic_path(table) as temporary, open(temporary, "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for case in cases:
            where = Path(os.path.relpath(case.names.folder, folder))
            for row in case_rows(case, read_record(case.record)):
                if row.get("mask"):
                    row["mask"] = (where / row["mask"]).as_posix()
                writer.writerow(_plain(row))
    pages = max(1, -(-len(cases) // CASES_PER_PAGE))
    for number in range(pages):
        part = cases[number * CASES_PER_PAGE : (number + 1) * CASES_PER_PAGE]
        with atomic_path(folder / _page_name(number)) as temporary:
            temporary.write_text(_page(folder, part, number, pages, len(cases)), encoding="utf-8")
    return [table, folder / _page_name(0)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Cells that no spreadsheet takes for a formula."""
    return {
        key: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
        for key, value in row.items()
    }


def _page_name(number: int) -> str:
    return f"{NAME}.html" if number == 0 else f"{NAME}-{number + 1}.html"


def _page(folder: Path, cases: Sequence[Case], number: int, pages: int, total: int) -> str:
    """One page of HTML. It loads nothing but the thumbnails beside it."""
    links = " ".join(
        f"<strong>{n + 1}</strong>" if n == number else f'<a href="{_page_name(n)}">{n + 1}</a>'
        for n in range(pages)
    )
    rows = "\n".join(_row(folder, case, read_record(case.record)) for case in cases)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{total} cases</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{total} cases</h1>\n<p>Research use only, not a medical device.</p>\n"
        + (f"<nav>Page {links}</nav>\n" if pages > 1 else "")
        + "<table>\n<caption>Coronal slice through most of the masks; the patient's right is at "
        "the left.</caption>\n<thead><tr><th>case</th><th>picture</th><th>prompts</th></tr></thead>"
        f"\n<tbody>\n{rows}\n</tbody>\n</table>\n</body>\n</html>\n"
    )


def _row(folder: Path, case: Case, record: dict[str, Any] | None) -> str:
    name = escape(case.names.case)
    where = os.path.relpath(case.names.folder, folder)
    if record is None:
        return f'<tr><td>{name}</td><td></td><td class="absent">not done yet</td></tr>'
    link = f'<a href="{_url(where, case.names.record)}">{name}</a>'
    error = record.get("error")
    if error:
        text = escape(str(error.get("message")))
        return f'<tr><td>{link}</td><td></td><td class="bad">{text}</td></tr>'
    picture = ""
    if case.names.thumbnail in record.get("files", ()):
        picture = f'<img src="{_url(where, case.names.thumbnail)}" alt="masks of {name}">'
    items = "".join(map(_item, record["prompts"]))
    items += "".join(f'<li class="bad">{escape(w)}</li>' for w in record["warnings"])
    return f"<tr><td>{link}</td><td>{picture}</td><td><ul>{items}</ul></td></tr>"


def _item(entry: dict[str, Any]) -> str:
    text = escape(entry["text"])
    if not entry["voxels"]:
        return f'<li class="absent">{text}: {escape(entry["status"])}</li>'
    notes = "".join(f'<br><span class="bad">{escape(w)}</span>' for w in entry["warnings"])
    count = len(entry["instances"])
    return (
        f"<li>{text}: {entry['volume_ml']:.4g} ml, {count} instance{'s'[: count != 1]}{notes}</li>"
    )


def _url(where: str, name: str) -> str:
    return escape(quote(name if where == "." else f"{Path(where).as_posix()}/{name}"))


def summary_table(cases: Sequence[Case]) -> str:
    """For a terminal: how often each prompt was found, and its median volume."""
    found: dict[str, list[float]] = defaultdict(list)
    states: dict[str, int] = defaultdict(int)
    for case in cases:
        for row in case_rows(case, read_record(case.record)):
            if "prompt" not in row:
                states[row["state"]] += 1
            else:
                volumes = found[row["prompt"]]
                volumes += [row["volume_ml"]] if row["voxels"] else []
    done = len(cases) - sum(states.values())
    width = max([len("prompt"), *(min(len(text), 40) for text in found)])
    out = io.StringIO()
    out.write(f"{'prompt':<{width}}  found of {done}  median ml\n")
    for text, volumes in found.items():
        median = f"{statistics.median(volumes):9.1f}" if volumes else " " * 9
        shown = text if len(text) <= 40 else text[:39] + "…"
        out.write(f"{shown:<{width}}  {len(volumes):>{len(f'found of {done}')}}  {median}".rstrip())
        out.write("\n")
    for state, count in states.items():
        out.write(f"{count} {state.replace('_', ' ')}\n")
    return out.getvalue()
