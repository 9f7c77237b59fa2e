"""Which instances make which global batch: a pure function of (seed, epoch), whatever the number of ranks.

Global batch b of an epoch is order[b * G : (b + 1) * G]; the tail that fills no batch is dropped and counted; rank r of R
takes batch[r::R]. Source: OLMo-core's data loader; deviation: seed and epoch are mixed by SeedSequence, not added.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolma_py.errors import ConfigError, DataError, ResumeMismatchError
from train_bridge.dataset import Dataset
from train_bridge.prefetch import Prefetcher
from train_bridge.rows import Rows


def epoch_order(num_instances: int, *, seed: int, epoch: int) -> NDArray[np.uint32]:
    """All instance numbers in the order of one epoch, uint32 (num_instances,); 4 bytes each."""
    order = np.arange(num_instances, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).shuffle(order)
    return order


def rank_share(batch: NDArray[np.integer], *, rank: int, world_size: int) -> NDArray[np.integer]:
    """Instances of one rank; the shares of all ranks are disjoint and make up the batch."""
    return batch[rank::world_size]


def first_difference(saved: Any, current: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """(dotted key, saved, current) of the first leaf that differs, keys in order of the alphabet; tuples equal lists.

    Examples
    --------
    >>> first_difference({"a": {"b": 1, "c": [2]}}, {"a": {"b": 1, "c": (3,)}})
    ('a.c', [2], (3,))
    """
    if isinstance(saved, dict) and isinstance(current, dict):
        for name in sorted({*saved, *current}):
            found = first_difference(saved.get(name), current.get(name), f"{key}.{name}".lstrip("."))
            if found is not None:
                return found
        return None
    # tuples become lists in JSON
    return None if json.loads(json.dumps(current)) == saved else (key, saved, current)


class Position(NamedTuple):
    """What has been read: whole epochs, batches of the one after them, and the tokens of all global batches so far."""

    epoch: int = 0
    batch_in_epoch: int = 0
    num_tokens: int = 0


class BatchLoader:
    """Endless iterator of this rank's rows of each global batch, (G / R, T); its state resumes it exactly.

    Up to `prefetch_batches` are read ahead in a thread. The state is that of the last batch given out, not of what was read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_instances: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        prefetch_batches: int = 0,
        count_tokens: Callable[[NDArray[np.integer]], int] | None = None,
    ) -> None:
        """count_tokens: of the instances of a global batch; None: all have as many as a row."""
        if batch_instances % world_size:
            raise ConfigError("data.batch_instances", batch_instances, f"expected a multiple of the {world_size} ranks")
        if dataset.num_instances < batch_instances:
            problem = f"{dataset.num_instances} instances of {dataset.sequence_tokens} tokens do not fill one batch"
            raise DataError(dataset.name, f"{problem} of {batch_instances}")
        self.dataset, self.batch_instances, self.seed = dataset, batch_instances, seed
        self.rank, self.world_size, self.prefetch_batches = rank, world_size, prefetch_batches
        self.position = Position()
        self._count_tokens = count_tokens or (lambda share: len(share) * dataset.sequence_tokens)
        self.wait_sec = 0.0  # that next_batch took, in all
        self._batches: Iterator[tuple[Position, Rows]] | None = None

    @property
    def batches_per_epoch(self) -> int:
        return self.dataset.num_instances // self.batch_instances

    @property
    def epoch(self) -> int:
        return self.position.epoch

    @property
    def batch_in_epoch(self) -> int:
        return self.position.batch_in_epoch

    @property
    def num_tokens(self) -> int:
        return self.position.num_tokens

    def next_batch(self) -> Rows:
        """The next rows. An error of reading comes when their turn comes, whether or not they were read ahead."""
        started = time.perf_counter()
        if self._batches is None:
            batches = self._read_from(self.position)
            self._batches = Prefetcher(batches, depth=self.prefetch_batches) if self.prefetch_batches else batches
        self.position, rows = next(self._batches)
        self.wait_sec += time.perf_counter() - started
        return rows

    def _read_from(self, position: Position) -> Iterator[tuple[Position, Rows]]:
        """Each batch after `position`, with the position after it."""
        epoch, batch, num_tokens = position
        order = epoch_order(self.dataset.num_instances, seed=self.seed, epoch=epoch)
        while True:
            if batch == self.batches_per_epoch:
                epoch, batch = epoch + 1, 0
                order = epoch_order(self.dataset.num_instances, seed=self.seed, epoch=epoch)
            share = order[batch * self.batch_instances : (batch + 1) * self.batch_instances]
            batch += 1
            num_tokens += self._count_tokens(share)
            rows = self.dataset.read(rank_share(share, rank=self.rank, world_size=self.world_size))
            yield Position(epoch, batch, num_tokens), rows

    def close(self) -> None:
        """Stop reading ahead. The next batch, if one is asked for, is the one after the last that was given out."""
        if isinstance(self._batches, Prefetcher):
            self._batches.close()
        self._batches = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset.describe(),
            "seed": self.seed,
            "epoch": self.epoch,
            "instances_in_epoch": self.batch_in_epoch * self.batch_instances,
            "num_tokens": self.num_tokens,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with any number of ranks. ResumeMismatchError names what does not fit."""
        current = {"dataset": self.dataset.describe(), "seed": self.seed}
        difference = first_difference({name: state.get(name) for name in current}, current)
        if difference is not None:
            raise ResumeMismatchError(*difference, "Resume with the same data and seed.")
        if state["instances_in_epoch"] % self.batch_instances:
            hint = "A new batch size must divide the instances read so far."
            raise ResumeMismatchError("instances_in_epoch", state["instances_in_epoch"], self.batch_instances, hint)
        self.close()
        batch_in_epoch = state["instances_in_epoch"] // self.batch_instances
        self.position = Position(state["epoch"], batch_in_epoch, state["num_tokens"])
