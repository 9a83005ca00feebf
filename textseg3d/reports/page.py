"""The report as a page of HTML in which findings link to their masks. It loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from textseg3d.reports.grounding import GroundedFinding, Grounding

_STYLE = """
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1c; background: #fff }
pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere }
.grounded { background: #d9f2dd } .empty { background: #fbe9c8 } .unknown { background: #ececec }
.negated { color: #6a6a6a; text-decoration: line-through } .historical { color: #6a6a6a }
.uncertain { border-bottom: 2px dotted #a06a00 }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem .8rem .2rem 0 }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616 }
  a { color: #9cc7ff } .grounded { background: #17401f } .empty { background: #4a3710 }
  .unknown { background: #333 } .negated, .historical { color: #a8a8a8 } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_page(grounding: Grounding, masks: Mapping[str, str], case: str) -> str:
    """The page.

    Args:
        grounding: see :func:`textseg3d.reports.ground_report`.
        masks: prompt → name of its mask's file, beside the page.
        case: for the title.
    """
    text = grounding.report.text
    pieces, position = [], 0
    for start, end, found in _spans(grounding.findings):
        pieces += [escape(text[position:start]), _mark(found, text[start:end], masks)]
        position = end
    pieces.append(escape(text[position:]))
    rows = "\n".join(_row(found, masks) for found in grounding.findings)
    head = "".join(f"<th>{name}</th>" for name in ("finding", "outcome", "slice", "notes"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Report of {escape(case)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Report of {escape(case)}</h1>\n"
        "<p>Research use only, not a medical device.</p>\n"
        f"<pre>{''.join(pieces)}</pre>\n"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        "</body>\n</html>\n"
    )


def _spans(findings: Sequence[GroundedFinding]) -> list[tuple[int, int, GroundedFinding]]:
    """Words to mark, in order, without overlaps; what has a mask comes before what has none."""
    taken: list[tuple[int, int, GroundedFinding]] = []
    for found in sorted(findings, key=lambda f: f.outcome != "grounded"):
        start, end = found.finding.word_start, found.finding.word_end
        if all(end <= a or start >= b for a, b, _ in taken):
            taken.append((start, end, found))
    return sorted(taken, key=lambda span: span[0])


def _mark(found: GroundedFinding, words: str, masks: Mapping[str, str]) -> str:
    note = escape(_note(found), quote=True)
    return f'<span class="{found.outcome}" title="{note}">{_link(found, words, masks)}</span>'


def _link(found: GroundedFinding, words: str, masks: Mapping[str, str]) -> str:
    file = masks.get(found.prompt or "")
    if found.outcome != "grounded" or file is None:
        return escape(words)
    return f'<a href="{escape(quote(file), quote=True)}">{escape(words)}</a>'


def _note(found: GroundedFinding) -> str:
    name = found.finding.prompt
    if found.outcome != "grounded":
        return f"{name}: {found.outcome}"
    return f"{name}: slice {found.slice_index} of axis {found.slice_axis}"


def _row(found: GroundedFinding, masks: Mapping[str, str]) -> str:
    place = "" if found.slice_index is None else f"{found.slice_axis} = {found.slice_index}"
    cells = [
        _link(found, found.finding.prompt, masks),
        escape(found.outcome),
        escape(place),
        escape("; ".join(found.warnings)),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
