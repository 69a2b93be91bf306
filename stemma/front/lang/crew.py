"""Threads that wait for a backend, so that programs need not."""

import queue
import threading
from collections.abc import Callable

IDLE_SECONDS = 1.0  # so long a thread stays for the next job: to take one is five times cheaper than to start one
MOST_THREADS = 512  # requests that may be under way at once; what is more waits its turn


class Crew:
    """As many threads as there are jobs at once, up to a bound. They end when idle, and never keep the process alive.

    A job waits for the backend alone, never for another job.
    """

    def __init__(self, most_threads: int = MOST_THREADS) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = 0
        self._most_threads = most_threads
        self._idle = 0  # threads without a job, less the jobs that wait for one
        self._lock = threading.Lock()

    def start(self, job: Callable[[], None]) -> None:
        """Do it in another thread. Raises RuntimeError when there is none to be had."""
        with self._lock:
            is_new = self._idle <= 0 and self._threads < self._most_threads
            if is_new:
                threading.Thread(target=self._serve, daemon=True).start()
                self._threads += 1
            else:
                self._idle -= 1
        self._jobs.put(job)

    def _serve(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:  # else a job is on its way
                        self._idle -= 1
                        self._threads -= 1
                        return
                continue
            job()
            with self._lock:
                self._idle += 1
