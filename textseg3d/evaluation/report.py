"""Writes an evaluation: JSON, CSV, a Markdown page, and an HTML page with pictures."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textseg3d.errors import InputError
from textseg3d.evaluation.metrics import finite_or_none
from textseg3d.evaluation.pictures import save_picture
from textseg3d.evaluation.scoring import CaseResult
from textseg3d.evaluation.summary import CSV_COLUMNS, csv_rows, worst_rows
from textseg3d.evaluation.tables import Table, report_tables, source_lines
from textseg3d.io.atomic import atomic_path

BEGIN = "<!-- begin: written by `textseg3d evaluate`, do not edit -->"
END = "<!-- end: written by `textseg3d evaluate` -->"

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
table { border-collapse: collapse; margin: 0.5em 0 1.5em }
th, td { border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; border: 1px solid #ccc }
"""


def write_report(
    folder: Path, summary: dict[str, Any], results: Sequence[CaseResult], *, worst: int = 8
) -> list[Path]:
    """Write evaluation.json, .csv, .md, .html and pictures/ into ``folder``.

    Args:
        folder: is made if it is not there.
        summary: from :func:`textseg3d.evaluation.summary.summarise`.
        results: the same cases.
        worst: how many of the worst masks get a picture.

    Returns:
        The four files, JSON first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _write_pictures(folder, results, worst)
    tables = report_tables(summary)
    paths = [folder / f"evaluation.{ending}" for ending in ("json", "csv", "md", "html")]
    write_text(paths[0], json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write_csv(paths[1], results)
    write_text(paths[2], markdown(summary, tables, pictures) + "\n")
    write_text(paths[3], _html(summary, tables, pictures))
    return paths


def update_page(page: Path, summary: dict[str, Any], results: Sequence[CaseResult]) -> None:
    """Replace the generated part of a Markdown page; text around the two marks stays.

    A picture of each case goes into a folder beside the page, named like it; pages are read by
    others, so it has the model's answers without scan and truth. A page that is not there is made.

    Raises:
        InputError: if the page exists and has not exactly one pair of marks.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Accuracy\n\n{BEGIN}\n{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise InputError(
            f"{page} has not exactly one pair of the lines {BEGIN!r} and {END!r}; add them where "
            "the tables belong"
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = []
    for result in results:
        if result.overview is not None:
            name = f"{page.stem}/{_file_name(result.case.name)}.png"
            save_picture(result.overview.answers_only(), result.case.name, page.parent / name)
            pictures.append((result.case.name, name))
    head, rest = old.split(BEGIN)
    tail = rest.split(END)[1]
    about = "The model's answers; scans and truth may not be for showing, see the folder of -o."
    tables = report_tables(summary)
    body = markdown(summary, tables, pictures, level=2, title=None, about_pictures=about)
    write_text(page, f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}")


def markdown(
    summary: dict[str, Any],
    tables: Sequence[Table],
    pictures: Sequence[tuple[str, str]],
    *,
    level: int = 1,
    title: str | None = "Evaluation",
    about_pictures: str = "Outline: truth; tint: prediction.",
) -> str:
    """The report as Markdown.

    Args:
        summary: the whole report.
        tables: from :func:`textseg3d.evaluation.tables.report_tables`.
        pictures: (caption, relative path).
        level: of the first heading.
        title: first heading; None leaves it out.
        about_pictures: sentence above them.
    """
    parts = [f"{'#' * level} {title}"] if title else []
    parts.append("\n".join(f"- {line}" for line in source_lines(summary)))
    for table in tables:
        parts.append(f"{'#' * (level + (title is not None))} {table.title}")
        if table.note:
            parts.append(table.note)
        rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
        parts.append("\n".join(f"| {' | '.join(_cell(c) for c in row)} |" for row in rows))
    if pictures:
        parts.append(f"{'#' * (level + (title is not None))} Pictures")
        parts.append(about_pictures)
        parts += [f"{_cell(caption)}\n\n![{_cell(caption)}]({path})" for caption, path in pictures]
    return "\n\n".join(parts)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_pictures(
    folder: Path, results: Sequence[CaseResult], worst: int
) -> list[tuple[str, str]]:
    """Pictures of the worst masks and of each case: (caption, path relative to ``folder``)."""
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    pictures = []
    for rank, row in enumerate(worst_rows(results, worst), start=1):
        assert row.planes is not None
        caption = f"{row.case}: {row.task.name}, Dice {row.scores.dice:.3f}"
        name = f"pictures/worst-{rank:02d}-{_file_name(row.case)}-{_file_name(row.task.name)}.png"
        save_picture(row.planes, caption, folder / name)
        pictures.append((caption, name))
    for result in results:
        if result.overview is not None:
            name = f"pictures/case-{_file_name(result.case.name)}.png"
            save_picture(result.overview, result.case.name, folder / name)
            pictures.append((f"{result.case.name}: all concepts", name))
    return pictures


def _write_csv(path: Path, results: Sequence[CaseResult]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        for record in csv_rows(results):
            writer.writerow({key: _csv_value(value) for key, value in record.items()})


def _html(
    summary: dict[str, Any], tables: Sequence[Table], pictures: Sequence[tuple[str, str]]
) -> str:
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in source_lines(summary))
    parts = [f"<h1>Evaluation</h1><ul>{lines}</ul>"]
    for table in tables:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in table.columns)
        body = "".join(
            "<tr>" + "".join(_html_cell(cell) for cell in row) + "</tr>\n" for row in table.rows
        )
        note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
        parts.append(f"<h2>{html.escape(table.title)}</h2>{note}")
        parts.append(f"<table><tr>{head}</tr>\n{body}</table>")
    if pictures:
        parts.append("<h2>Pictures</h2><p>Outline: truth; tint: prediction.</p>")
    for caption, path in pictures:
        text = html.escape(caption)
        parts.append(f'<h3>{text}</h3><img src="{html.escape(path)}" alt="{text}">')
    content = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Evaluation</title>'
        f"<style>{_STYLE}</style>\n<body>\n{content}\n</body></html>\n"
    )


def _html_cell(cell: str) -> str:
    kind = ' class="number"' if re.fullmatch(r"-?[\d.]+( %)?|–", cell) else ""
    return f"<td{kind}>{html.escape(cell)}</td>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _csv_value(value: Any) -> Any:
    value = finite_or_none(value)
    return "" if value is None else value


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
