"""Results come in order, errors come through, and nobody works on after them."""

import threading
import time
from functools import partial

import pytest

from textseg3d.inference.parallel import Background, in_order, workers


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_results_are_in_order(workers, count):
    def slow(item):
        time.sleep(0.002 * (count - item))
        return item, threading.current_thread() is threading.main_thread()

    found = list(in_order(slow, range(count), workers))
    assert [item for item, _ in found] == list(range(count))
    alone = min(workers, count) < 2
    assert all(main == alone for _, main in found)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_the_work(workers):
    begun = []

    def fail(item):
        begun.append(item)
        time.sleep(0.005)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(in_order(fail, range(50), workers))
    assert len(begun) <= 6


@pytest.mark.parametrize("threads", [1, 2])
def test_background_work_is_waited_for_and_raises(threads):
    done = []

    def slow(item):
        time.sleep(0.01)
        done.append(item)
        if item == 3:
            raise ValueError("three")

    with Background(threads) as work:
        for item in range(3):
            work.start(partial(slow, item))
        assert threads == 1 or len(done) < 3
        work.wait()
        assert sorted(done) == [0, 1, 2]

        def three():
            work.start(partial(slow, 3))
            work.wait()

        with pytest.raises(ValueError, match="three"):
            three()
        work.wait()
    assert workers() >= 1


def test_background_work_that_has_not_begun_is_given_up():
    done = []

    def leave():
        with Background(2) as work:
            for item in range(50):
                work.start(lambda item=item: (time.sleep(0.01), done.append(item)))
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert len(done) < 50
