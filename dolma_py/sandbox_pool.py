"""Many programs, each in a sandbox of its own that was started before the program came."""

from __future__ import annotations

import os
import queue
import resource
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType

from dolma_py.errors import SandboxError
from dolma_py.sandbox import open_sandbox
from dolma_py.sandbox_program import Limits, Outcome, Program
from dolma_py.sandbox_run import Sandbox

DESCRIPTORS_PER_WORKER = 20  # a sandbox has eight while its program runs, and fourteen for a moment while it is started
_Job = tuple[Program, "Future[Outcome]"]


class Pool:
    """Runs up to `num_workers` programs at a time. A program that hangs costs one worker its wall limit, no more.

    Each worker is a thread that keeps one started sandbox ready, and starts the next one before it runs a program in it: so the
    start of an interpreter overlaps with the program before. A sandbox is used once.

    Raises (on construction and from each future)
    ------
    ConfigError, SandboxError   as run_program
    """

    def __init__(
        self, num_workers: int, limits: Limits | None = None, *, with_packages: bool = False, unsafe: str = ""
    ) -> None:
        self._limits, self._with_packages, self._unsafe = limits or Limits(), with_packages, unsafe
        self._num_workers = num_workers
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        _check_descriptors(num_workers)
        open_sandbox(self._limits, with_packages=with_packages, unsafe=unsafe).close()  # what is wrong shows here
        try:
            for _ in range(num_workers):
                thread = threading.Thread(target=self._serve, daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError as error:
            self.close()
            raise SandboxError(f"{num_workers} threads cannot be started ({error})", "Take fewer workers.") from error

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, program: Program) -> Future[Outcome]:
        """The outcome to come; RuntimeError when the pool is closed."""
        if not self._threads:
            raise RuntimeError("the pool is closed")
        future: Future[Outcome] = Future()
        self._jobs.put((program, future))
        return future

    def map(self, programs: Iterable[Program]) -> Iterator[Outcome]:
        """The outcomes in the order of the programs, which are taken as they are needed: at most four ahead per worker."""
        waiting: deque[Future[Outcome]] = deque()
        for program in programs:
            waiting.append(self.submit(program))
            if len(waiting) >= 4 * self._num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Wait for the programs that were submitted, then end the sandboxes that wait."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _open(self) -> Sandbox:
        return open_sandbox(self._limits, with_packages=self._with_packages, unsafe=self._unsafe)

    def _open_spare(self) -> Sandbox | None:
        try:
            return self._open()
        except Exception:  # whatever it is, the next program tries again, and its future tells
            return None

    def _serve(self) -> None:
        spare = self._open_spare()
        while (job := self._jobs.get()) is not None:
            program, future = job
            if future.set_running_or_notify_cancel():
                ready, spare = spare, self._open_spare()
                try:
                    outcome = self._run(ready, program)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(outcome)
        if spare is not None:
            spare.close()

    def _run(self, ready: Sandbox | None, program: Program) -> Outcome:
        if ready is not None:
            try:
                return ready.run(program)
            except SandboxError:
                if ready.has_begun:
                    raise
                # it died while it waited: the program has not run
        return self._open().run(program)


def _check_descriptors(num_workers: int) -> None:
    needed = DESCRIPTORS_PER_WORKER * num_workers + len(os.listdir("/proc/self/fd"))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if needed > allowed != resource.RLIM_INFINITY:
        raise SandboxError(
            f"{num_workers} workers need {needed} open files, and {allowed} are allowed here",
            f"Run: ulimit -n {needed}; or take fewer workers.",
        )
