"""The colours of masks: one palette for pictures and for files that carry colours."""

from __future__ import annotations

COLOURS = (
    "#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#42d4f4", "#f032e6", "#bfef45",
    "#fabed4", "#469990", "#dcbeff", "#9a6324", "#aaffc3", "#800000", "#808000", "#000075",
)  # fmt: skip


def rgb(index: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of the mask ``index``; the palette repeats."""
    text = COLOURS[index % len(COLOURS)]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
