"""Results come in order, errors come through, and nobody works on after them."""

import threading
import time

import pytest

from textseg3d.inference.parallel import in_order


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
