"""Threads are taken again, grow with the jobs at once, and end when there is nothing to do."""

import threading
import time

import pytest

from stemma.front.lang import crew as room
from stemma.front.lang.crew import Crew


def threads_of(crew: Crew, jobs: int) -> set[int]:
    """The threads that do so many jobs at once."""
    together = threading.Barrier(jobs + 1)
    seen: list[int] = []

    def job() -> None:
        seen.append(threading.get_ident())
        together.wait(10)

    for _ in range(jobs):
        crew.start(job)
    together.wait(10)
    return set(seen)


def test_threads_are_taken_again_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "IDLE_SECONDS", 0.2)
    made = Crew()
    first = threads_of(made, 1)
    time.sleep(0.02)  # it comes back
    assert threads_of(made, 1) == first
    time.sleep(0.02)
    many = threads_of(made, 5)
    assert len(many) == 5 and first < many
    deadline = time.monotonic() + 10
    while any(thread.ident in many for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(threads_of(made, 2)) == 2  # and there are new ones when they are needed


def test_no_job_is_lost_between_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs come just when threads grow tired of waiting."""
    monkeypatch.setattr(room, "IDLE_SECONDS", 0.001)
    tired = Crew()
    for _ in range(300):
        done = threading.Event()
        tired.start(done.set)
        assert done.wait(10)
        time.sleep(0.001)


def test_what_exceeds_the_bound_waits_its_turn() -> None:
    bounded = Crew(most_threads=3)
    may_go, lock = threading.Event(), threading.Lock()
    begun: list[int] = []
    done = threading.Semaphore(0)

    def job() -> None:
        with lock:
            begun.append(threading.get_ident())
        may_go.wait(10)
        done.release()

    for _ in range(20):
        bounded.start(job)
    deadline = time.monotonic() + 10
    while len(begun) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    may_go.set()
    assert all(done.acquire(timeout=10) for _ in range(20))
    assert len(begun) == 20 and len(set(begun)) == 3
    assert len(threads_of(bounded, 3)) == 3
