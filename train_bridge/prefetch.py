"""Reads ahead: a thread runs an iterator, a bounded queue holds what it made."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

ItemT = TypeVar("ItemT")
POLL_SEC = 0.1  # how soon a thread at a full queue sees that nobody reads any more


class _Made(NamedTuple, Generic[ItemT]):
    item: ItemT | None
    error: BaseException | None  # what ended the iterator; StopIteration's place is taken by None, None


class Prefetcher(Generic[ItemT]):
    """Iterator over `source` whose items are made up to `depth` ahead of the reader, in a thread of their own.

    An error of the source comes out as itself, with its own traceback, when the reader gets to its item, and again at every later
    read. `close` ends the thread; a process that ends does not wait for it.
    """

    def __init__(self, source: Iterator[ItemT], *, depth: int) -> None:
        self._queue: queue.Queue[_Made[ItemT]] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._ended: _Made[ItemT] | None = None
        self._thread = threading.Thread(target=self._run, args=(source,), name="prefetch", daemon=True)
        self._thread.start()

    def _run(self, source: Iterator[ItemT]) -> None:
        try:
            for item in source:
                if not self._put(_Made(item, None)):
                    return
        except BaseException as error:  # the reader gets it
            self._put(_Made(None, error))
            return
        self._put(_Made(None, None))

    def _put(self, made: _Made[ItemT]) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(made, timeout=POLL_SEC)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Prefetcher[ItemT]:
        return self

    def __next__(self) -> ItemT:
        made = self._ended or self._queue.get()
        if made.error is not None:
            self._ended = made
            raise made.error
        if made.item is None:
            self._ended = made
            raise StopIteration
        return made.item

    def close(self) -> None:
        """Stop reading ahead; what was made and not read is lost."""
        self._closed.set()
        self._thread.join()
