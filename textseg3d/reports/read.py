"""From the text of a report to its findings: positive, negated, uncertain, historical."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from textseg3d.errors import InputError
from textseg3d.reports.categories import category_of
from textseg3d.reports.sections import Section, SentenceSpan, split_sections, split_sentences

if TYPE_CHECKING:
    from textseg3d.text.grammar import ParsedPrompt, PromptTarget
    from textseg3d.text.grammar.model import Certainty
    from textseg3d.text.knowledge import KnowledgeTree, Side

Status = Literal["positive", "negated", "uncertain", "historical"]

MAX_CHARACTERS = 200_000
SHORTEST_CORRECTION = 6
_READ = ("findings", "impression", "history", "comparison", "other")
_PAST_SECTIONS = ("history", "comparison")
_PAST = re.compile(
    r"\b(?:history of|h/o|status post|s/p|previously (?:had|treated|diagnosed|resected)|"
    r"(?:had|diagnosed|treated|resected|removed)\b[^.]*\b(?:19|20)\d\d)",
    re.I,
)
_YEAR = re.compile(r"\b(?:in|from|of) (?:19|20)\d\d\b")
_FOLLOWED = re.compile(  # what is compared with an earlier year is there
    r"\b(?:compar\w*|unchanged|stable|since|increas\w*|decreas\w*|grow\w*|grew|larger|smaller|new|"
    r"now|currently|today|(?:was|were|previously|measur\w+)\s+(?:\w+\s+)?\d)|\d\s*(?:mm|cm)\b",
    re.I,
)
_GENERIC = ("lesion", "mass", "tumor", "structure", "organ")


@dataclass(frozen=True)
class ReportFinding:
    """One finding that a sentence speaks of.

    Attributes:
        status: whether it is there, denied, doubted, or of the past.
        concept: preferred name in the knowledge tree.
        side: "left", "right", "both", "midline" or None.
        container: where it lies, with its side.
        size_mm: (min, max) of the longest diameter that the text gives.
        count: (min, max) of how many.
        prompt: what to ask a model for, without the size.
        category: of ReXGroundingCT, "1a" to "2h".
        start, end: of the sentence in the report.
        word_start, word_end: of the words that name the finding; the sentence where unsure.
        section: kind of the section.
        codes: of the concept.
    """

    status: Status
    concept: str
    side: Side | None
    container: str | None
    size_mm: tuple[float | None, float | None] | None
    count: tuple[int, int | None] | None
    prompt: str
    category: str
    start: int
    end: int
    word_start: int
    word_end: int
    section: str
    codes: tuple[dict[str, str], ...] = ()

    @property
    def sized_prompt(self) -> str | None:
        """The prompt with the size that the text gives; None where it gives none."""
        if self.size_mm is None:
            return None
        low, high = self.size_mm
        if low is None:
            return f"{self.prompt} up to {high:g} mm"
        return f"{low:g} mm {self.prompt}" if low == high else None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a finding."""
        return {
            "status": self.status,
            "concept": self.concept,
            "side": self.side,
            "container": self.container,
            "size_mm": list(self.size_mm) if self.size_mm else None,
            "count": list(self.count) if self.count else None,
            "prompt": self.prompt,
            "category": self.category,
            "sentence": [self.start, self.end],
            "words": [self.word_start, self.word_end],
            "section": self.section,
            "codes": [dict(code) for code in self.codes],
        }


@dataclass(frozen=True)
class Report:
    """A report, read.

    Attributes:
        text: as given; all spans are positions in it.
        sections: in their order.
        sentences: of the sections that are read for findings.
        findings: in the order of their sentences.
    """

    text: str
    sections: tuple[Section, ...]
    sentences: tuple[SentenceSpan, ...]
    findings: tuple[ReportFinding, ...]

    def of_status(self, status: Status) -> tuple[ReportFinding, ...]:
        """The findings of one status."""
        return tuple(finding for finding in self.findings if finding.status == status)


def read_report(text: str, tree: KnowledgeTree | None = None) -> Report:
    """Find every finding that a report speaks of.

    Sections on technique, recommendations and signatures are not read; what the sections on
    history and comparison say is historical.

    Args:
        text: the report, in English.
        tree: knowledge tree; None loads the bundled one.

    Raises:
        InputError: if it is empty or longer than 200,000 characters.
    """
    from textseg3d.text.knowledge import load_tree

    tree = load_tree() if tree is None else tree
    if not text.strip():
        raise InputError("the report is empty; give a text file with findings in words")
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"the report has {len(text)} characters, at most {MAX_CHARACTERS} are read; "
            "cut it into single reports"
        )
    reader = _Reader(text, tree)
    sections = split_sections(text, reader.names_finding, reader.names_structure)
    spans = [s for one in sections if one.kind in _READ for s in split_sentences(text, one)]
    findings = tuple(finding for span in spans for finding in reader.findings_of(span))
    return Report(text, tuple(sections), tuple(spans), findings)


class _Reader:
    """Reads single sentences of one report."""

    def __init__(self, text: str, tree: KnowledgeTree) -> None:
        self.text, self.tree = text, tree

    def names_finding(self, words: str) -> bool:
        """Whether a label names a finding and not a region."""
        return any(self._finding_name(target) for target in self._parse(words).targets)

    def names_structure(self, words: str) -> bool:
        """Whether a label is the name of a structure."""
        targets = self._parse(words).targets
        return bool(targets) and not any(self._finding_name(target) for target in targets)

    def findings_of(self, span: SentenceSpan) -> Iterator[ReportFinding]:
        """The findings of a sentence, each once."""
        from textseg3d.text.grammar import PromptTarget

        sentence = " ".join(self.text[span.start : span.end].split())
        parsed = self._parse(sentence)
        past = span.section.kind in _PAST_SECTIONS or _is_past(sentence)
        seen: set[tuple[str, str]] = set()
        denied = list(parsed.negated)
        for target in [*parsed.targets, *(d for d in denied if d not in parsed.targets)]:
            name = self._finding_name(target)
            if name is not None and not self._misread(name, parsed):
                for one in target.apart():
                    yield from self._once(seen, self._finding(span, one, name, past=past))
            for concept, side, certainty in self._further(target):
                other = PromptTarget(concept, side, certainty=certainty)
                yield from self._once(seen, self._finding(span, other, concept, past=past))
        for words in parsed.ignored:  # a finding that stands outside the grammar of the sentence
            for concept_found, side in self.tree.lookup(words)[:1]:
                if concept_found.kind == "finding":
                    other = PromptTarget(concept_found.name, side, certainty="uncertain")
                    name = concept_found.name
                    yield from self._once(seen, self._finding(span, other, name, past=past))

    def _further(self, target: PromptTarget) -> Iterator[tuple[str, Side | None, Certainty]]:
        """Findings that stand beside a target: excluded, next to it, or as its reading."""
        for place in target.exclusions:
            if self._is_finding(place.concept):
                yield place.concept, place.side, "negated"
        for place in target.near:
            if self._is_finding(place.concept):
                yield place.concept, place.side, target.certainty
        for attribute in target.attributes:
            if attribute.kind == "interpretation" and self._is_finding(attribute.value):
                yield attribute.value, None, "negated" if attribute.negated else "uncertain"

    def _once(self, seen: set[tuple[str, str]], finding: ReportFinding) -> Iterator[ReportFinding]:
        key = (finding.status, finding.prompt)
        if key not in seen:
            seen.add(key)
            yield finding

    def _parse(self, words: str) -> ParsedPrompt:
        from textseg3d.text.grammar import parse_prompt

        return parse_prompt(words[:2000], self.tree)

    def _is_finding(self, name: str | None) -> bool:
        return name in self.tree and self.tree.concept(str(name)).kind == "finding"

    def _finding_name(self, target: PromptTarget) -> str | None:
        """The finding that a target names; None for plain anatomy."""
        if self._is_finding(target.concept):
            wider = target.broader if self._is_finding(target.broader) else None
            return wider or target.concept  # models know the wider one of two sooner
        return target.specific if self._is_finding(target.specific) else None

    def _misread(self, name: str, parsed: ParsedPrompt) -> bool:
        """Whether the name rests on the correction of a short word ("cough" as "couch")."""
        concept = self.tree.concept(name)
        words = " ".join((name, *concept.synonyms)).lower().split()
        return any(
            len(c.got) < SHORTEST_CORRECTION and c.read_as.lower() in words
            for c in parsed.corrections
        )

    def _finding(
        self, span: SentenceSpan, target: PromptTarget, name: str, *, past: bool
    ) -> ReportFinding:
        historical = past or any(
            a.kind == "chronicity" and a.value == "historical" for a in target.attributes
        )
        status: Status = "positive"
        if target.certainty == "negated":
            status = "negated"
        elif historical:
            status = "historical"
        elif target.certainty == "uncertain":
            status = "uncertain"
        container = target.container if target.container_place is not None else None
        narrow = target.specific or (target.concept if target.concept in self.tree else name)
        words = self._words(span, name, narrow)
        return ReportFinding(
            status=status,
            concept=name,
            side=target.side,
            container=container,
            size_mm=target.size_mm,
            count=target.count,
            prompt=_prompt(name, target.side, container),
            category=category_of(self.tree.concept(narrow if narrow in self.tree else name)),
            start=span.start,
            end=span.end,
            word_start=words[0],
            word_end=words[1],
            section=span.section.kind,
            codes=tuple(code._asdict() for code in self.tree.concept(name).codes),
        )

    def _words(self, span: SentenceSpan, name: str, specific: str | None) -> tuple[int, int]:
        """Where a sentence names a finding: its longest wording there, or the whole sentence."""
        concept = self.tree.concept(name)
        wordings = {name, *concept.synonyms, *concept.abbreviations, specific or name}
        wordings |= {wording.split()[-1] for wording in wordings}
        sentence = self.text[span.start : span.end]
        for wording in sorted(wordings, key=lambda w: (-len(w), w)):
            blanks = r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", wording))
            found = re.search(rf"\b{_plural(blanks)}\b", sentence, re.I)
            if found and wording not in _GENERIC:
                return span.start + found.start(), span.start + found.end()
        return span.start, span.end


def _is_past(sentence: str) -> bool:
    """Whether a sentence tells of what was: "nephrectomy in 2015", not "9 mm, 7 mm in 2021"."""
    dated = _YEAR.search(sentence) and not _FOLLOWED.search(sentence)
    return bool(_PAST.search(sentence) or dated)


def _plural(pattern: str) -> str:
    """A pattern that also takes the regular plural."""
    return rf"{pattern[:-1]}(?:y|ies)" if pattern.endswith("y") else rf"{pattern}(?:s|es)?"


def _prompt(name: str, side: Side | None, container: str | None) -> str:
    """Words that a model is asked: they parse back to the same thing."""
    if container is not None:
        return f"{name} in {container}"
    return f"{side} {name}" if side in ("left", "right") else name
