"""Named reading rules, and the log that collects what they find."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from textseg3d.errors import GeometryError, InputError

Verdict = Literal["ok", "fix", "warn", "reject"]
VERDICTS: tuple[Verdict, ...] = ("ok", "fix", "warn", "reject")
_GEOMETRY_RULES = {f"N{n}" for n in range(10, 18)} | {f"D{n}" for n in range(1, 7)}


@dataclass(frozen=True)
class Finding:
    """What one rule says about one scan.

    Attributes:
        rule: name of the rule, such as ``"N1"`` or ``"D3"``.
        verdict: ``ok`` passed, ``fix`` repaired, ``warn`` odd but usable, ``reject`` not usable.
        message: one line; for ``ok`` what was found to hold.
    """

    rule: str
    verdict: Verdict
    message: str


Check = Callable[[Any, Any], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A reading rule.

    Attributes:
        name: ``N1`` … ``N26`` for files, ``D1`` … ``D13`` for DICOM.
        stage: when it is looked at; readers go through their stages in order.
        title: one line, what has to hold.
        check: (facts, options) to findings; None where the reader itself enforces the rule
            while bytes flow (the title is then what the reader has established).
    """

    name: str
    stage: str
    title: str
    check: Check | None = None


RULES: dict[tuple[str, str], Rule] = {}


def rule(name: str, stage: str, title: str) -> Callable[[Check], Check]:
    """Register a check under a rule name and a stage."""

    def register(check: Check) -> Check:
        RULES[(stage, name)] = Rule(name, stage, title, check)
        return check

    return register


def enforced(name: str, stage: str, title: str) -> None:
    """Register a rule that a reader enforces itself during `stage`."""
    RULES[(stage, name)] = Rule(name, stage, title)


def rule_number(name: str) -> tuple[str, int]:
    """Sort key: ``N2`` before ``N10``, all ``N`` rules after the ``D`` rules."""
    return name[0], int(name[1:])


def stage_rules(stage: str) -> list[Rule]:
    """The rules of a stage, by number."""
    found = [r for (s, _), r in RULES.items() if s == stage]
    return sorted(found, key=lambda r: rule_number(r.name))


class FindingLog:
    """Collects findings for one scan and turns a rejection into an error."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self._passed: dict[str, str] = {}

    def add(self, name: str, verdict: Verdict, message: str) -> None:
        """Record a finding; control characters and line breaks are flattened."""
        flat = re.sub(r"[\x00-\x1f\x7f]+", " ", message).strip()
        finding = Finding(name, verdict, flat)
        if finding not in self.findings:
            self.findings.append(finding)

    def reject(self, name: str, message: str) -> NoReturn:
        """Record a rejection and raise it.

        Raises:
            InputError: always (GeometryError where the rule is about the frame).
        """
        self.add(name, "reject", message)
        raise self.error()

    def error(self) -> InputError:
        """The first rejection as an error of one line: file, rule, what to do."""
        first = next(f for f in self.findings if f.verdict == "reject")
        kind = GeometryError if first.rule in _GEOMETRY_RULES else InputError
        shown = re.sub(r"[\x00-\x1f\x7f]+", "?", os.fspath(self.path))
        return kind(f"{shown}: {first.rule}: {first.message}")

    def stop_if_rejected(self) -> None:
        """Raise the first rejection, if there is any.

        Raises:
            InputError: if a rule has rejected.
        """
        if any(f.verdict == "reject" for f in self.findings):
            raise self.error()

    def run(self, stage: str, facts: Any, options: Any) -> None:
        """Run every check of a stage; all of them run before a rejection is raised.

        Raises:
            InputError: if a rule rejects.
        """
        for r in stage_rules(stage):
            if r.check is not None:
                for finding in r.check(facts, options):
                    self.add(finding.rule, finding.verdict, finding.message)
        self.passed(stage)
        self.stop_if_rejected()

    def passed(self, stage: str) -> None:
        """Note that a stage is through: its silent rules count as ok."""
        for r in stage_rules(stage):
            self._passed.setdefault(r.name, r.title)

    def complete(self) -> list[Finding]:
        """All findings by rule number, with an ``ok`` for each rule that had nothing to say."""
        spoken = {f.rule for f in self.findings}
        silent = [Finding(n, "ok", t) for n, t in self._passed.items() if n not in spoken]
        return sorted(self.findings + silent, key=lambda f: rule_number(f.rule))

    def warnings(self) -> tuple[str, ...]:
        """Repairs and warnings as lines for `Volume.warnings`."""
        return tuple(
            f"{f.rule}: {f.message}" for f in self.findings if f.verdict in ("fix", "warn")
        )
