"""Radiology reports: what they find, where that lies in the scan, and how to look it up.

``read_report`` needs no model and no torch; ``ground_report`` asks a segmenter.
"""

from __future__ import annotations

from textseg3d.reports.grounding import GroundedFinding, Grounding, ground_report
from textseg3d.reports.read import Report, ReportFinding, read_report

__all__ = [
    "GroundedFinding",
    "Grounding",
    "Report",
    "ReportFinding",
    "ground_report",
    "read_report",
]
