"""Writes a benchmark: JSON, CSV, a picture, and the generated part of a Markdown page."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from textseg3d.benchmark.rows import PARTS, Results, Row, Target
from textseg3d.errors import InputError
from textseg3d.io.atomic import atomic_path

BEGIN = "<!-- begin: written by `textseg3d bench`, do not edit -->"
END = "<!-- end: written by `textseg3d bench` -->"
NOT_MEASURED = "not measured"
_TITLES = {
    **PARTS,
    "peer stages": "Stages of textseg3d in that comparison, seconds",
    "weights": "Masks of the networks in that comparison, beside those that they learned from",
}


def write_results(folder: Path, results: Results, about: dict[str, Any]) -> list[Path]:
    """Write bench.json, bench.csv and bench.png into ``folder``.

    Args:
        folder: is made if it is not there.
        results: of the run.
        about: machine and settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bench.{ending}" for ending in ("json", "csv", "png")]
    data = {
        **about,
        "rows": [asdict(row) for row in results.rows],
        "targets": [{**asdict(target), "met": target.met} for target in results.targets],
    }
    with atomic_path(paths[0]) as path:
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(f"{text}\n", encoding="utf-8")
    with atomic_path(paths[1]) as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [f.name for f in fields(Row)])
        writer.writeheader()
        for row in results.rows:
            value = NOT_MEASURED if row.value is None else row.value
            writer.writerow({**asdict(row), "value": value})
    write_picture(paths[2], results)
    return paths


def update_page(page: Path, results: Results, about: dict[str, Any]) -> None:
    """Replace the generated part of a page; text around the two marks stays.

    The picture lies beside the page under its name. A page that is not there is made.

    Raises:
        InputError: if the page exists and has not exactly one pair of marks.
    """
    old = page.read_text("utf-8") if page.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise InputError(
            f"{page} has not exactly one pair of the lines {BEGIN!r} and {END!r}; add them where "
            "the tables belong"
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    picture = page.with_suffix(".png")
    write_picture(picture, results)
    head, rest = old.split(BEGIN)
    body = f"{markdown(results, about)}\n\n![Times and memory]({picture.name})"
    with atomic_path(page) as path:
        path.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{rest.split(END)[1]}", "utf-8")


def markdown(results: Results, about: dict[str, Any]) -> str:
    """All tables, with what they were measured on."""
    parts = ["\n".join(f"- {line}" for line in about_lines(about))]
    if results.targets:
        parts += ["## Goals", _markdown_table(_target_table(results.targets))]
    for part, title in _TITLES.items():
        rows = [row for row in results.rows if row.part == part]
        if rows:
            parts += [f"## {title}", _markdown_table(pivot(rows))]
            parts += [f"- {line}" for line in _notes(rows)]
    return "\n\n".join(parts)


def text_tables(results: Results) -> str:
    """All tables for a terminal."""
    parts = []
    for part, title in _TITLES.items():
        rows = [row for row in results.rows if row.part == part]
        if rows:
            parts.append("\n".join([title, *_aligned(pivot(rows)), *_notes(rows)]))
    if results.targets:
        parts.append("\n".join(["Goals", *_aligned(_target_table(results.targets))]))
    return "\n\n".join(parts)


def about_lines(about: dict[str, Any]) -> list[str]:
    """Machine and settings, one fact per line."""
    machine = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"Measured on {machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB; {machine['system']}, threads: {machine['threads']}; load "
        f"average before the start: {machine['load']}",
        f"Python {machine['python']}, {versions}",
        f"Model {about['model']} on {about['device']}; scan: {about['scan']}; prompts: "
        f"{', '.join(about['prompts'])}",
        f"Medians of {about['repeats']} processes; slow ones were run fewer times (last column)",
    ]


def pivot(rows: Sequence[Row]) -> list[list[str]]:
    """One line per case and one column per measure; the first line is the head."""
    cases = list(dict.fromkeys(row.case for row in rows))
    measures = list(dict.fromkeys(row.measure for row in rows))
    cells = {(row.case, row.measure): format_value(row.value, row.unit) for row in rows}
    runs = {row.case: str(row.runs) for row in rows}
    table = [["", *measures, "runs"]]
    for case in cases:
        table.append([case, *(cells.get((case, m), "") for m in measures), runs[case]])
    return table


def format_value(value: float | None, unit: str) -> str:
    """A figure with three or four digits that count."""
    if value is None:
        return NOT_MEASURED
    if float(value).is_integer() and abs(value) < 1e15:
        text = f"{int(value):,}".replace(",", " ")
    elif unit == "MiB" or abs(value) >= 1000:
        text = f"{value:.0f}"
    elif 0.99 < abs(value) < 1:
        text = f"{value:.6f}"
    elif abs(value) >= 0.01:
        text = f"{value:.3g}"
    else:
        text = f"{value:.1e}"
    return f"{text} {unit}".rstrip()


def _notes(rows: Sequence[Row]) -> list[str]:
    """Notes, each once, with the cases that they are about."""
    cases: dict[str, list[str]] = {}
    for row in rows:
        if row.note and row.case not in cases.setdefault(row.note, []):
            cases[row.note].append(row.case)
    return [f"{', '.join(names)}: {note}" for note, names in cases.items()]


def _target_table(targets: Sequence[Target]) -> list[list[str]]:
    table = [["goal", "wanted", "measured", "reached"]]
    for target in targets:
        sign = "at least" if target.at_least else "at most"
        wanted = f"{sign} {format_value(target.limit, target.unit)}"
        value = format_value(target.value, target.unit)
        table.append([target.name, wanted, value, "yes" if target.met else "**no**"])
    return table


def _markdown_table(table: list[list[str]]) -> str:
    rows = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows)


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]


def write_picture(target: Path, results: Results) -> None:
    """A bar per stage, and time and memory of every predictor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = [r for r in results.rows if r.part == "stages" and r.measure == "share"]
    panels: list[tuple[str, str, list[Row], bool]] = [
        ("Share of a prediction", "%", stages[:-1], False)
    ]
    for measure, unit in (("time", "s"), ("peak memory", "MiB")):
        rows = [r for r in results.rows if r.part == "peers" and r.measure == measure]
        panels.append((f"Same weights: {measure}", unit, [r for r in rows if r.value], True))
    panels = [panel for panel in panels if panel[2]] or [("Nothing to draw", "", [], False)]
    bars = max(len(rows) for _, _, rows, _ in panels)
    figure = Figure(figsize=(5.2 * len(panels), 1.4 + 0.32 * bars), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, unit, rows, logarithmic) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        names, values = [row.case for row in rows], [row.value or 0.0 for row in rows]
        colours = ["#c44e52" if "textseg3d" not in name else "#4c72b0" for name in names]
        drawn = axes.barh(names, values, color=colours if logarithmic else "#4c72b0")
        axes.bar_label(drawn, [format_value(v, unit) for v in values], padding=2, fontsize=8)
        if logarithmic:
            axes.set_xscale("log")
        axes.invert_yaxis()
        axes.margins(x=0.25)
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=8)
    with atomic_path(target) as path:
        figure.savefig(path, format="png", dpi=110)
