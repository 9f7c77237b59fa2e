"""Work of one rank, or of each at its own speed, that takes longer than a collective may: the others wait for it with a limit of their own.

A group of ranks gives up on an operation after its timeout, by default 10 minutes (nccl) or 30 (gloo); reading a model of 129 GB from a
busy file system takes longer.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from dolma_py.errors import DolmaError

LONGEST_WAIT = datetime.timedelta(days=1)
T = TypeVar("T")


def from_first_rank(make: Callable[[], T]) -> T:
    """What `make` gives in the first rank, or its error, on all ranks; the others do nothing meanwhile. Collective."""
    if not dist.is_initialized():
        return make()
    told: list[Any] = [None, None]
    with _patient_group() as group:
        if dist.get_rank() == 0:
            try:
                told = [make(), None]
            except DolmaError as error:
                dist.broadcast_object_list([None, _told_elsewhere(error)], group=group, device=torch.device("cpu"))
                raise
        dist.broadcast_object_list(told, group=group, device=torch.device("cpu"))
    value, failure = told
    if failure is not None:
        raise failure
    return value


def wait_for_slowest() -> None:
    """Until all ranks are here. Collective."""
    if dist.is_initialized():
        with _patient_group() as group:
            dist.barrier(group)


@contextlib.contextmanager
def _patient_group() -> Iterator[dist.ProcessGroup]:
    group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    try:
        yield group
    finally:
        dist.destroy_process_group(group)


def _told_elsewhere(error: DolmaError) -> DolmaError:
    """The first rank says it; the others end with the same exit status."""
    error = copy.copy(error)
    error.is_told = True
    return error
