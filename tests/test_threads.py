"""Slices shared out to threads: each is done once, errors come out, and work within work does not hang."""

import os
import threading
import time

import pytest
from doseloop.pkpd.threads import share, slices


@pytest.mark.parametrize(("n", "count"), [(0, 3), (1, 1), (1, 8), (7, 3), (64, 16), (1000, 7)])
def test_slices_cover_all_once_and_none_is_empty(n, count):
    got = slices(n, count)
    assert [i for a, b in got for i in range(a, b)] == list(range(n))
    assert len(got) == max(1, min(n, count))
    assert n == 0 or all(a < b for a, b in got)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_slice_is_done_once(threads):
    done = []
    share(lambda a, b: done.extend(range(a, b)), slices(1000, 37), threads)
    assert sorted(done) == list(range(1000))


def test_two_threads_work_at_a_time_and_the_caller_is_one_of_them():
    meet, names = threading.Barrier(2, timeout=30), set()

    def work(first, last):
        meet.wait()  # would time out if one thread did both
        names.add(threading.current_thread())

    share(work, slices(2, 2), 2)
    assert len(names) == 2
    assert threading.current_thread() in names


@pytest.mark.parametrize("where", [0, 5, 15])
def test_an_error_comes_out_and_the_pool_lives_on(where):
    def work(first, last):
        if first <= where < last:
            raise ZeroDivisionError("slice")
        time.sleep(0.001)

    with pytest.raises(ZeroDivisionError):
        share(work, slices(16, 16), 2)
    test_every_slice_is_done_once(2)


def test_work_that_shares_out_work_ends():
    done = []
    share(lambda a, b: share(lambda c, d: done.append((a, c)), slices(4, 4), 2), slices(8, 8), 2)
    assert sorted(done) == [(a, c) for a in range(8) for c in range(4)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_makes_a_pool_of_its_own():
    test_two_threads_work_at_a_time_and_the_caller_is_one_of_them()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            test_two_threads_work_at_a_time_and_the_caller_is_one_of_them()
            code = 0
        finally:
            os._exit(code)
    for _ in range(600):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        pytest.fail("the child hung")
    assert status == 0
