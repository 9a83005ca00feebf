"""The dispatcher, with workers that die on cue."""

from __future__ import annotations

from pathlib import Path

import pytest

from textseg3d.cohort import Case, Outcome
from textseg3d.cohort.pool import Event, dispatch
from textseg3d.errors import TextSegError
from textseg3d.export import OutputNames


def case(name):
    return Case(Path(f"{name}.nii.gz"), ("liver",), OutputNames(Path("out"), name, ".nii.gz"))


class Scripted:
    """A pool of some workers whose answers are given: case name → what happens, time after time."""

    def __init__(self, workers, script, stillborn=0):
        self.free = list(range(workers))
        self.script = {name: list(steps) for name, steps in script.items()}
        self.news = [Event(9, None, None, "killed")] * stillborn
        self.order = []

    def idle(self):
        return self.free[0] if self.free else None

    def submit(self, worker, one):
        self.free.remove(worker)
        name = one.names.case
        self.order.append(name)
        steps = self.script.get(name) or ["done"]
        step = steps.pop(0)
        self.script[name] = steps
        outcome = None if step == "dies" else Outcome(step)
        self.news.append(Event(worker, one, outcome, "worker died"))

    def wait(self, seconds):
        if not self.news:
            return []
        event = self.news.pop(0)
        if event.case is not None:
            self.free.append(event.worker)
        return [event]

    def stop(self):
        pass


def run(pool, names):
    told = {}

    def tell(one, outcome):
        assert one.names.case not in told
        told[one.names.case] = outcome

    dispatch(pool, [case(name) for name in names], tell)
    return told


def test_a_lost_case_is_done_again_behind_the_others():
    pool = Scripted(1, {"a": ["dies", "done"]})
    told = run(pool, "abc")
    assert {name: outcome.kind for name, outcome in told.items()} == dict.fromkeys("abc", "done")
    assert pool.order == ["a", "b", "c", "a"]


def test_a_case_that_kills_three_workers_is_given_up():
    pool = Scripted(2, {"b": ["dies"] * 5})
    told = run(pool, "abcd")
    assert told["b"].kind == "lost"
    assert "3 times" in told["b"].message
    assert told["b"].bad
    assert pool.order.count("b") == 3
    assert [told[name].kind for name in "acd"] == ["done"] * 3


def test_a_case_of_another_driver_is_looked_at_until_it_is_free():
    pool = Scripted(1, {"a": ["busy", "busy", "skipped"]})
    told = run(pool, "ab")
    assert (told["a"].kind, told["b"].kind) == ("skipped", "done")
    assert pool.order == ["a", "b", "a", "a"]


def test_workers_that_never_start_are_an_error():
    with pytest.raises(TextSegError, match="3 workers ended before they were ready"):
        run(Scripted(0, {}, stillborn=9), "a")
    assert run(Scripted(1, {}, stillborn=2), "a")["a"].kind == "done"
