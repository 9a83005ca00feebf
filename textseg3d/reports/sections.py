"""The sections of a report, and its sentences, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_KINDS = {
    "findings": ("findings", "finding", "result", "report", "description", "ct chest", "chest"),
    "impression": ("impression", "conclusion", "summary", "assessment", "opinion"),
    "history": ("clinical", "indication", "history", "reason", "anamnesis", "symptoms"),
    "technique": ("technique", "procedure", "protocol", "exam", "study", "contrast", "dose"),
    "comparison": ("comparison", "comparisons", "prior studies", "previous"),
    "recommendation": ("recommendation", "recommendations", "follow-up", "follow up", "advice"),
    "signature": ("signed", "electronically signed", "dictated", "radiologist"),
}
_BEFORE = ("history", "technique", "comparison")
_ONE_LINE = ("exam", "study", "procedure", "type of")  # their names stand in one line
_HEADING = re.compile(r"^[ \t]*(?:\d+[.)][ \t]+)?([A-Za-z][A-Za-z/&,()' -]{1,48}?)[ \t]*:", re.M)
_BARE_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /&-]{4,40})[ \t]*$", re.M)
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|st|vs|approx|ca|cf|fig|e\.g|i\.e|resp|incl|a\.m|p\.m|max|min|"
    r"lat|ant|inf|sup|seg)|\b[A-Z]|\A\s*\d+)\Z",
    re.I,
)
_END = re.compile(r"[.!?;]+(?=\s|$)|\n[ \t]*(?=\n)|\n(?=[ \t]*(?:[-*•]|\d+[.)])[ \t])")
_BULLET = re.compile(r"(?:[-*•]|\d+[.)])[ \t]+")


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        kind: "findings", "impression", "history", "technique", "comparison", "recommendation",
            "signature", or "other" before the first heading.
        title: the heading as written, "" without one.
        start, end: where its text lies, the heading left out.
    """

    kind: str
    title: str
    start: int
    end: int


@dataclass(frozen=True)
class SentenceSpan:
    """One sentence: ``report[start:end]``, and the section it stands in."""

    start: int
    end: int
    section: Section


def split_sections(
    text: str,
    names_finding: Callable[[str], bool],
    names_structure: Callable[[str], bool] = lambda _: False,
) -> list[Section]:
    """Cut a report at its headings.

    A heading starts a line and ends with a colon, or stands alone in capitals. A label inside
    a section ("Lungs:") starts a section of the same kind, unless it names a finding: then
    "Pleural effusion: none" is a sentence. Where findings have no heading of their own they begin
    at the first label that names a structure, or at the paragraph behind technique or history.

    Args:
        text: the report.
        names_finding: whether the words of a label name a finding.
        names_structure: whether they name a structure ("Lungs").
    """
    marks: list[tuple[int, int, str, str | None]] = []
    for found in [*_HEADING.finditer(text), *_BARE_HEADING.finditer(text)]:
        title = found.group(1).strip()
        kind = _kind(title)
        if kind is None and (len(title.split()) > 5 or names_finding(title)):
            continue
        marks.append((found.start(), found.end(), title, kind))
    marks.sort()
    sections, kind, title, start = [], "other", "", 0
    for begin, end, words, own in marks:
        if begin < start:
            continue
        sections += _without_body(text, Section(kind, title, start, begin))
        if own is None and kind in _BEFORE and names_structure(words):
            own = "findings"
        kind, title, start = own or sections[-1].kind, words, end
    sections += _without_body(text, Section(kind, title, start, len(text)))
    return [s for s in sections if text[s.start : s.end].strip()]


def _without_body(text: str, section: Section) -> list[Section]:
    """Cuts off the paragraph that follows history or technique without a heading of its own."""
    told = text[section.start : section.end]
    lead = len(told) - len(told.lstrip())
    line = section.title.lower().startswith(_ONE_LINE) and "\n" not in told[:lead]
    gap = re.compile(r"\n" if line else r"\n[ \t]*\n").search(told, lead)
    if section.kind not in _BEFORE or gap is None or not told[gap.end() :].strip():
        return [section]
    cut = section.start + gap.end()
    first = Section(section.kind, section.title, section.start, cut)
    return [first, Section("findings", "", cut, section.end)]


def _kind(title: str) -> str | None:
    """The kind that a heading stands for; None for a label inside a section."""
    words = title.lower().strip()
    for kind, starts in _KINDS.items():
        if any(words == start or words.startswith(f"{start} ") for start in starts):
            return kind
    return None


def split_sentences(text: str, section: Section) -> Iterator[SentenceSpan]:
    """The sentences of a section: at full stops, semicolons, blank lines and list items.

    Points inside numbers ("3.5 mm"), after abbreviations and after the number of a list item
    end nothing; a line break alone does not either.
    """
    start = section.start
    for found in _END.finditer(text, section.start, section.end):
        before = text[start : found.start()]
        if found.group().startswith(".") and _ABBREVIATION.search(before[-12:]):
            continue
        span = _trimmed(text, start, found.end(), section)
        if span is not None:
            yield span
        start = found.end()
    span = _trimmed(text, start, section.end, section)
    if span is not None:
        yield span


def _trimmed(text: str, start: int, end: int, section: Section) -> SentenceSpan | None:
    """The span without blanks and list marks around it; None if there is no word in it."""
    while start < end and text[start].isspace():
        start += 1
    bullet = _BULLET.match(text, start, end)
    if bullet:
        start = bullet.end()
    while end > start and text[end - 1].isspace():
        end -= 1
    if not any(c.isalpha() for c in text[start:end]):
        return None
    return SentenceSpan(start, end, section)
