"""Fine-tune a model on conversations: the whole of `dolma-py sft`. The trainer, on packed shards with label masks."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from dolma_py.errors import ConfigError, DataError
from train_bridge.manifest import ShardManifest, read_manifest
from train_bridge.masked_sample import mark_trained
from train_bridge.metrics import LOGGER
from train_bridge.packed_dataset import PackedDataset
from train_bridge.run_training import train
from train_bridge.shard_cache import open_shard_file
from train_bridge.text_tokenizer import TextTokenizer
from train_bridge.train_config import TrainConfig, load_train_config


def sft(
    *, config: str, shards: str, output: str, overrides: list[str], dry_run: bool, assumed: dict[str, Any] | None = None,
    parent: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """As `train`, of which it takes everything; refuses what would train on prompts or let conversations see each other.

    Before the first step the log has one conversation with what is trained on marked, and counts of those that were cut.
    """
    if dry_run:
        manifest = read_manifest(shards) if shards else None
        _check_config(load_train_config(config, overrides=overrides, manifest=manifest, shards=shards))

    def inspect(settings: TrainConfig, manifest: ShardManifest, dataset: Any) -> None:
        _check_config(settings)
        if not isinstance(dataset, PackedDataset):
            raise ConfigError("data", type(dataset).__name__, "expected one folder of packed shards for sft")
        if not dataset.files.has_labels_mask:
            hint = "Run: dolma-py posttrain prepare. Or train on all tokens: dolma-py train"
            raise DataError(shards, "has no label masks, which say what of a conversation is trained on", hint=hint)
        if int(os.environ.get("RANK", "0")) == 0:
            _tell_sample(shards, manifest, dataset)

    options = {"overrides": overrides, "dry_run": dry_run, "assumed": assumed, "parent": parent}
    return train(config=config, shards=shards, output=output, **options, inspect=inspect)


def _check_config(settings: TrainConfig) -> None:
    data = settings.data
    if data.instances != "packed":
        rule = "expected packed for sft: conversations in one row must not see each other"
        raise ConfigError("data.instances", data.instances, rule, "Use: --set data.instances=packed")
    if data.sources or data.instance_filter is not None:
        key = "data.sources" if data.sources else "data.instance_filter"
        raise ConfigError(
            key, getattr(data, key.removeprefix("data.")), "expected none for sft: mixed when prepared, not filtered"
        )


def _tell_sample(shards: str, manifest: ShardManifest, dataset: PackedDataset) -> None:
    with open_shard_file(shards, manifest.tokenizer.path) as file:
        tokenizer = TextTokenizer.from_bytes(file.read())
    rows = dataset.read([0])
    assert rows.documents is not None and rows.is_trained is not None, "packed rows have both"
    own = np.flatnonzero(rows.documents[0] == 0)
    LOGGER.info(
        "a conversation, {+ trained on +}:\n%s", mark_trained(rows.ids[0, own], rows.is_trained[0, own], tokenizer)
    )
    LOGGER.info(
        "%d conversations are longer than %d tokens and keep their beginning; %d of them have nothing left to train on and are left out",
        dataset.num_truncated_documents,
        dataset.sequence_tokens,
        dataset.num_untrained_documents,
    )
