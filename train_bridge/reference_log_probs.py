"""Log-probs of all pairs by the reference model: computed once before training, kept in files under a key that names all they depend on.

CACHE/<fingerprint of the key>/ holds key.json and part-00000.parquet ...: id, chosen, rejected, a row a pair in the order of the data. A
killed pass goes on with the parts that are missing. The reference then needs no memory beside the policy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from dolma_py.config import fingerprint
from dolma_py.errors import DataError
from train_bridge.checkpoint import write_json
from train_bridge.distributed import global_sum, wait_for_all
from train_bridge.long_waits import from_first_rank
from train_bridge.metrics import LOGGER
from train_bridge.model import Olmo3
from train_bridge.pair_dataset import PairDataset
from train_bridge.parallel_model import release_gathered
from train_bridge.preference_step import counts_for_all, cut_rows, pair_log_probs
from train_bridge.step import StepSettings
from train_bridge.train_config import TrainConfig

LOG_PROB_VERSION = 1  # raised when the same pairs and weights give other values
PART_PAIRS = 2048
_SCHEMA = pa.schema([("id", pa.string()), ("chosen", pa.float32()), ("rejected", pa.float32())])


def reference_key(
    config: TrainConfig,
    dataset: PairDataset,
    parent: dict[str, Any],
    *,
    device: torch.device,
    settings: StepSettings,
    attention: str,
) -> dict[str, Any]:
    """Everything that the log-probs depend on, plain JSON values.

    The loss is not among it: sums are kept, which all losses start from. Neither is the number of ranks, nor are micro-batches.
    """
    return {
        "log_prob_version": LOG_PROB_VERSION,
        "pairs": dataset.describe(),
        "tokenizer_fingerprint": dataset.manifest.tokenizer.fingerprint,
        "reference": parent,
        "model": config.model.model_dump(mode="json"),
        "products": str(settings.autocast_dtype or torch.float32),
        "float8": config.parallel.float8,
        "attention": attention,
        "device": device.type,
    }


def is_complete(dataset: PairDataset, cache: Path, key: dict[str, Any]) -> bool:
    """Whether all parts are there."""
    return not _missing(dataset, _folder(cache, key))


def compute_references(
    dataset: PairDataset, model: Olmo3, cache: Path, key: dict[str, Any], *, settings: StepSettings
) -> None:
    """Write the parts that are missing, by all ranks together. `model` has the reference's weights."""
    folder = _folder(cache, key)
    missing = from_first_rank(lambda: _missing(dataset, folder))
    if settings.rank == 0 and missing:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "key.json", key)
        LOGGER.info(
            "log-probs of the reference: %d of %d parts to compute, in %s", len(missing), _num_parts(dataset), folder
        )
    for part in missing:
        values = _compute_part(dataset, model, part, settings)
        if settings.rank == 0:
            first, end = _bounds(dataset, part)
            names = dataset.pair_names(first, end)
            table = pa.table([pa.array(names), *(pa.array(values[:, side]) for side in (0, 1))], schema=_SCHEMA)
            partial = folder / f".part-{part:05d}.{os.getpid()}.partial"  # runs of a sweep may share the cache
            pq.write_table(table, partial)
            partial.rename(folder / f"part-{part:05d}.parquet")
    wait_for_all()


def read_references(dataset: PairDataset, cache: Path, key: dict[str, Any]) -> NDArray[np.float32]:
    """Sums of ln p, float32 (num_instances, 2). DataError for a pair that is missing, out of place or not finite."""
    folder = _folder(cache, key)
    hint = f"Remove {folder} and run again."
    parts = []
    for part in range(_num_parts(dataset)):
        path = folder / f"part-{part:05d}.parquet"
        first, end = _bounds(dataset, part)
        try:
            table = pq.read_table(path, schema=_SCHEMA)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                str(path), f"log-probs of pairs {first} to {end - 1} cannot be read ({error})", hint=hint
            ) from error
        values = np.stack([table.column(side).to_numpy() for side in ("chosen", "rejected")], axis=1)
        names = dataset.pair_names(first, end)
        if table.column("id").to_pylist() != names:
            raise DataError(str(path), f"has other pairs than {names[0]!r} and those after it", hint=hint)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise DataError(str(path), f"has no log-prob of pair {names[row]!r}", hint=hint)
        parts.append(values)
    return np.concatenate(parts)


@torch.no_grad()
def _compute_part(dataset: PairDataset, model: Olmo3, part: int, settings: StepSettings) -> NDArray[np.float32]:
    """Values of one part on all ranks, NaN where no rank had a pair."""
    first, end = _bounds(dataset, part)
    layout, device = settings.layout, model.embeddings.weight.device
    own = np.arange(first, end)[layout.row_rank :: layout.num_row_ranks]
    sums = torch.zeros((end - first, 3), dtype=torch.float64, device=device)
    if len(own):
        rows = dataset.read(own)
    else:  # fewer pairs than ranks
        rows = dataset.read(np.arange(first, first + 1))
    for batch in cut_rows(rows, num_rows=settings.micro_batch_instances, device=device):
        values_P2 = pair_log_probs(model, batch, settings)
        if len(own) and counts_for_all(settings):
            places_P = torch.from_numpy(batch.pairs.numbers - first).to(device)
            sums[places_P] = torch.cat((values_P2, torch.ones_like(values_P2[:, :1])), dim=1)
        release_gathered(model)
    told = global_sum(sums)
    values = torch.where(told[:, 2:] == 1, told[:, :2], torch.nan)
    return values.to(torch.float32).cpu().numpy()


def _folder(cache: Path, key: dict[str, Any]) -> Path:
    return cache / fingerprint(key)


def _num_parts(dataset: PairDataset) -> int:
    return -(-dataset.num_instances // PART_PAIRS)


def _bounds(dataset: PairDataset, part: int) -> tuple[int, int]:
    return part * PART_PAIRS, min((part + 1) * PART_PAIRS, dataset.num_instances)


def _missing(dataset: PairDataset, folder: Path) -> list[int]:
    return [part for part in range(_num_parts(dataset)) if not (folder / f"part-{part:05d}.parquet").is_file()]
