"""Writes checkpoints beside the training loop: a copy of the state is taken, and a thread brings it to disk.

One checkpoint is in flight at a time; the next one and the end of the run wait for it. Ranks tell each other of it in a process group
of their own (gloo), so that the messages of the loop are not mixed with these.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from dolma_py.errors import DataError
from train_bridge.checkpoint import Snapshot, clear_leftovers, commit, prune, write_partial
from train_bridge.checkpoint_config import CheckpointConfig
from train_bridge.checkpoint_tensors import first_cause
from train_bridge.metrics import LOGGER


class CheckpointWriter:
    """A context; leaving it waits for the checkpoint in flight. Every rank has one and calls it at the same steps.

    Raises (save, raise_failure, the end)  DataError with the cause when a checkpoint could not be written, on all ranks
    """

    def __init__(self, output: Path, config: CheckpointConfig, *, rank: int = 0) -> None:
        self.output, self.config, self.rank = output, config, rank
        self.stall_sec = 0.0  # what the loop has waited for checkpoints so far
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._pending: Future[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._stager: DefaultStager | None = None

    def __enter__(self) -> CheckpointWriter:
        if self.rank == 0:
            clear_leftovers(self.output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except (DataError, OSError) as failure:
            if error is None:
                raise
            LOGGER.error("%s", failure)  # the error that ends the run comes first
        finally:
            self._executor.shutdown()
            if self._stager is not None:
                self._stager.close()

    def save(self, snapshot: Snapshot, *, is_last: bool = False) -> None:
        """Write the snapshot; with writing=async the caller may change its tensors as soon as this returns.

        is_last: nothing will change any more, so no copy is taken; on return the checkpoint is whole.
        """
        started = time.perf_counter()
        self.wait()
        if self.config.writing == "async" and not is_last:
            if self._stager is None or _STAGES_ONCE:
                self._stager = _make_stager(any(tensor.is_cuda for tensor in snapshot.tensors.values()))
            staged = snapshot._replace(tensors=self._stager.stage(snapshot.tensors))
            self._pending = self._executor.submit(self._write, staged)
        else:
            self._write(snapshot)
        self.stall_sec += time.perf_counter() - started

    def raise_failure(self) -> None:
        """Raise what the checkpoint in flight has failed with; waits for nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint in flight is whole."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, snapshot: Snapshot) -> None:
        started = time.perf_counter()
        name = f"{self.output}/checkpoints: the checkpoint of step {snapshot.step}"
        try:
            partial = write_partial(self.output, snapshot, group=self._group)
            problem = self._commit(partial, snapshot)
        except (dcp.CheckpointException, OSError, RuntimeError) as error:
            raise DataError(name, f"could not be written ({first_cause(error)})", hint=_HINT) from error
        if problem:
            raise DataError(name, f"could not be written ({problem})", hint=_HINT)
        LOGGER.debug("%s is whole after %.2f s", name, time.perf_counter() - started)
        if self.rank == 0:
            # no rank waits for this: to remove a large checkpoint takes long on some file systems
            prune(self.output, keep_ephemeral=self.config.keep_ephemeral)

    def _commit(self, partial: Path, snapshot: Snapshot) -> str:
        """Rank 0 gives the checkpoint its name and tells the others; what went wrong, or nothing."""
        told = [""]
        if self.rank == 0:
            try:
                commit(partial, snapshot)
            except OSError as error:
                told = [first_cause(error)]
        if self._group is not None:
            dist.broadcast_object_list(told, src=0, group=self._group)
        return told[0]


def _make_stager(is_cuda: bool) -> DefaultStager:
    """Copies tensors into buffers that it keeps; pinned ones let a CUDA device copy by itself."""
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=is_cuda, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=is_cuda
        )
    )


# before 2.13 torch closes a stager after its first use
_STAGES_ONCE = torch.torch_version.TorchVersion(torch.__version__) < (2, 13)
_HINT = "The checkpoints before it are whole: mend the cause and run the same command again."
