"""The tables of a report as plain texts, from its JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: heading.
        columns: header cells.
        rows: cells, as many as columns.
        note: a sentence above the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def source_lines(summary: dict[str, Any]) -> list[str]:
    """What was measured, on what, and who drew the truth."""
    model = summary["model"]
    sha256 = str(model.get("sha256", ""))[:12]
    lines = [
        f"Model: {model.get('name', 'not stated')} {model.get('version', '')}".rstrip()
        + (f", weights sha256 {sha256}…" if sha256 else "")
        + (f", on {model['device']}" if "device" in model else "")
        + (", exact (no shortcuts)" if model.get("exact") else ""),
        f"textseg3d {summary['textseg3d']}; NSD tolerance {_number(summary['tolerance_mm'], 1)} "
        f"mm; intervals: {summary['interval']} (seed {summary['seed']})",
    ]
    for case in summary["cases"]:
        spacing = " × ".join(f"{s:.2f}" for s in case["spacing_mm"])
        lines.append(
            f"Truth of {case['case']} ({case['split']}, {spacing} mm): {case['labels_by']}; "
            f"licence of the scan: {case['licence']}"
        )
    return lines


def report_tables(summary: dict[str, Any]) -> list[Table]:
    """All tables, without the empty ones."""
    tables = [_groups(summary), _rows(summary), _instances(summary), _presence(summary)]
    tables.append(_laterality(summary))
    tables += [_absent(summary), _not_scored(summary)]
    return [table for table in tables if table.rows]


def _groups(summary: dict[str, Any]) -> Table:
    rows = []
    for group, entry in summary["groups"].items():
        dice, nsd = entry["dice"], entry["nsd"]
        rows.append(
            (
                group,
                str(dice["clusters"]),
                str(dice["values"]),
                _number(dice["mean"]),
                _interval(dice),
                _number(nsd["mean"]),
                _interval(nsd),
                _number(entry["median_hd95_mm"], 1),
                str(entry["empty_predictions"]),
            )
        )
    columns = (
        *("concept", "scans", "masks", "Dice", "Dice interval", "NSD", "NSD interval"),
        *("median HD95 mm", "empty"),
    )
    note = "Mean over all masks of a concept, left and right counted one by one."
    return Table("Means per concept", columns, tuple(rows), note)


def _rows(summary: dict[str, Any]) -> Table:
    rows = []
    for case in summary["cases"]:
        for row in case["rows"]:
            side = row["laterality"]
            rows.append(
                (
                    case["case"],
                    row["concept"],
                    _number(row["dice"]),
                    _number(row["nsd"]),
                    _number(row["hd95_mm"], 1),
                    _number(row["truth_ml"], 1),
                    _number(row["prediction_ml"], 1),
                    _number(row["presence"], 2),
                    "–" if side is None else f"{100 * side['wrong_side_share']:.1f} %",
                    str(row["ignored_voxels"]),
                )
            )
    columns = (
        *("scan", "concept", "Dice", "NSD", "HD95 mm", "truth ml", "prediction ml", "presence"),
        *("on the wrong side", "ignored voxels"),
    )
    note = "Ignored voxels carry a label that is neither clearly inside nor outside the structure."
    return Table("Per scan", columns, tuple(rows), note)


def _instances(summary: dict[str, Any]) -> Table:
    rows = []
    for group, entry in summary["groups"].items():
        match = entry["instances"]
        true = match["true_positives"] + match["false_negatives"]
        predicted = match["true_positives"] + match["false_positives"]
        figures = (match["precision"], match["recall"], match["f1"])
        counts = (true, predicted, match["true_positives"])
        rows.append((group, *(str(n) for n in counts), *(_number(value) for value in figures)))
    note = (
        "Components of truth and prediction (26-connected; predicted ones of at least 10 voxels), "
        "one to one from Dice 0.2 on, over all scans together."
    )
    columns = ("concept", "true", "predicted", "matched", "precision", "recall", "F1")
    return Table("Instances", columns, tuple(rows), note)


def _presence(summary: dict[str, Any]) -> Table:
    entry = summary["presence"]
    if not entry["absent_prompts"]:
        return Table("Presence", ("",), ())
    rows = (
        ("prompts for what is there", str(entry["present_prompts"])),
        ("of these, presence at least 0.5", str(entry["present_found"])),
        ("prompts for what is not there", str(entry["absent_prompts"])),
        ("of these, presence below 0.5 and an empty mask", str(entry["absent_correct"])),
        ("rate", _number(entry["absent_correct_rate"])),
        ("not counted: unknown to the model", str(entry["absent_unknown_to_model"])),
        ("presence AUC", _number(entry["auc"])),
    )
    return Table("Presence", ("what", "value"), rows)


def _laterality(summary: dict[str, Any]) -> Table:
    entry = summary["laterality"]
    if not entry["sided_masks"]:
        return Table("Left and right", ("",), ())
    where = ", ".join(f"{w['concept']} in {w['case']}" for w in entry["where"]) or "–"
    rows = ((str(entry["sided_masks"]), str(entry["errors"]), where),)
    note = (
        "An error: more than half of the mask beyond the midline, or more of it in the truth of "
        "the other side than in its own."
    )
    return Table("Left and right", ("masks with a side", "errors", "where"), rows, note)


def _absent(summary: dict[str, Any]) -> Table:
    rows = tuple(
        (case["case"], row["prompt"], _number(row["presence"], 2), str(row["voxels"]))
        for case in summary["cases"]
        for row in case["absent"]
        if row["correct"] is False
    )
    columns = ("scan", "prompt", "presence", "voxels")
    return Table("Found although it is not there", columns, rows)


def _not_scored(summary: dict[str, Any]) -> Table:
    rows = tuple(
        (case["case"], entry["label"], entry["reason"])
        for case in summary["cases"]
        for entry in case["not_scored"]
    )
    return Table("Not scored", ("scan", "label", "why"), rows)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(entry: dict[str, Any]) -> str:
    bounds: Sequence[float | None] = (entry["low"], entry["high"])
    return "–" if None in bounds else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
