"""Many scans: where they come from, who works on them, what is committed, and the summary."""

from textseg3d.cohort.case import Case, Outcome, Work
from textseg3d.cohort.driver import EXECUTORS, run_cohort
from textseg3d.cohort.joblist import read_jobs
from textseg3d.cohort.sources import Job, expand

__all__ = ["EXECUTORS", "Case", "Job", "Outcome", "Work", "expand", "read_jobs", "run_cohort"]
