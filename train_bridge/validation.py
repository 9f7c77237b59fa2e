"""Loss and bits per byte on held-out documents between two steps: OUTPUT/validation.jsonl.

Sources are those of the shards' manifest (heldout/); with data.sources, those of each source's own shards. Documents that the tokenizer
does not give back unchanged are left out and counted. Windows of all sources and items go through the model together, by length, as in
`dolma-py eval`, and are added up by source and item afterwards. A value is the same whatever the number of ranks: batches do not depend
on it, each rank computes some of them, and sums are made of all windows in one order. Nothing of the training is touched: no random
number is drawn, no gradient, moment or place in the data changes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dolma_py.errors import ConfigError
from train_bridge.attention import AttentionBackend
from train_bridge.distributed import global_sum
from train_bridge.evaluate import (
    Window,
    continuation_window,
    document_windows,
    doubled_lengths,
    plan_batches,
    window_nats,
)
from train_bridge.evaluation_texts import item_context, read_items, read_texts
from train_bridge.manifest import ShardManifest
from train_bridge.metrics import LOGGER, MetricsLog, format_duration
from train_bridge.mixed_sources import read_sources
from train_bridge.model import Olmo3
from train_bridge.parallel_mesh import Layout
from train_bridge.parallel_model import release_gathered
from train_bridge.shard_cache import open_shard_file
from train_bridge.text_tokenizer import TextTokenizer
from train_bridge.train_config import TrainConfig

_BLOCK_TOKENS = 128  # of flex_attention


class Group(NamedTuple):
    """Texts whose bits are added: the documents of a source, or one item's answer."""

    windows: list[Window]
    num_texts: int
    num_bytes: int
    num_tokens: int  # scored
    num_lossy: int = 0  # documents that the tokenizer does not keep


class ValidationTexts(NamedTuple):
    """All that is scored."""

    sources: dict[str, Group]
    items: list[Group]


class Validator:
    """`validate` when it `is_due`."""

    def __init__(
        self,
        config: TrainConfig,
        texts: ValidationTexts,
        output: Path,
        *,
        first_step: int,
        autocast_dtype: torch.dtype | None,
        device: torch.device,
        layout: Layout,
        attention_backend: AttentionBackend = "sdpa",
    ) -> None:
        """layout: ranks that read the same rows compute the same batches; the first rank writes."""
        self.config, self.texts, self.autocast_dtype, self.device = config, texts, autocast_dtype, device
        self.layout = layout
        self.groups = [*texts.sources.values(), *texts.items]
        self.windows = [window for group in self.groups for window in group.windows]
        lengths = [len(window.ids) - 1 for window in self.windows]
        is_compiled = config.parallel.compile or (attention_backend == "flex" and device.type == "cuda")
        row_lengths: list[int] = []
        if lengths and (is_compiled or layout.context > 1):
            row_lengths = _few_lengths(max(config.data.sequence_tokens, max(lengths)), num_context_ranks=layout.context)
        self.batches = plan_batches(lengths, batch_tokens=config.validation.batch_tokens, row_lengths=row_lengths)
        self.log = MetricsLog(output / "validation.jsonl", resume_step=first_step) if layout.rank == 0 else None

    def is_due(self, done: int) -> bool:
        every = self.config.validation.every_steps
        return every is not None and (done % every == 0 or done == self.config.run.steps)

    def validate(self, done: int, model: Olmo3) -> dict[str, Any]:
        """Values of all sources and items after `done` steps, on every rank the same; the first one logs them."""
        started = time.perf_counter()
        of_windows = iter(self._score(model))
        nats = [math.fsum(itertools.islice(of_windows, len(group.windows))) for group in self.groups]
        num_sources = len(self.texts.sources)
        values: dict[str, Any] = {"step": done}
        values["sources"] = {
            name: describe_group(group, group_nats)
            for (name, group), group_nats in zip(self.texts.sources.items(), nats[:num_sources], strict=True)
        }
        values["all_documents"] = describe_group(join_groups(self.groups[:num_sources]), math.fsum(nats[:num_sources]))
        if self.texts.items:
            pairs = zip(self.texts.items, nats[num_sources:], strict=True)
            bits_per_byte = [item_nats / math.log(2) / item.num_bytes for item, item_nats in pairs]
            mean = math.fsum(bits_per_byte) / len(bits_per_byte)
            values["items"] = {"items": len(bits_per_byte), "bits_per_byte_mean_over_items": mean}
        if self.log is not None:
            self.log.append(values)
            LOGGER.info("%s in %s", describe_validation(values), format_duration(time.perf_counter() - started))
        return values

    def _score(self, model: Olmo3) -> list[float]:
        """Nats of each window."""
        # all ranks go through the model equally often, since sharded weights are gathered by all of them together; who has no batch
        # left computes one of padding alone
        num_ranks = self.layout.num_row_ranks
        spare = [batch._replace(numbers=[]) for batch in self.batches[:1] * (-len(self.batches) % num_ranks)]
        mine = [*self.batches, *spare][self.layout.row_rank :: num_ranks]
        autocast = contextlib.nullcontext()
        if self.autocast_dtype is not None:
            autocast = torch.autocast(self.device.type, self.autocast_dtype)
        with autocast:
            nats = window_nats(model, self.windows, mine, chunk_tokens=self.config.loss.chunk_tokens)
        release_gathered(model)
        # ranks of a tensor group have the same sums, those of a context group parts of them
        if self.layout.tensor_rank > 0:
            nats.zero_()
        return global_sum(nats).tolist()


def _few_lengths(longest: int, *, num_context_ranks: int) -> list[int]:
    """Rows that a context group can share, in blocks of attention; each length is compiled anew, so there are few."""
    num_pieces = 2 * num_context_ranks if num_context_ranks > 1 else 1
    return doubled_lengths(_BLOCK_TOKENS * num_pieces, -(-longest // num_pieces) * num_pieces)


def describe_group(group: Group, nats: float) -> dict[str, Any]:
    """Loss in nats per token, perplexity, bits per byte, and over how much."""
    values: dict[str, Any] = {
        "documents": group.num_texts,
        "bytes": group.num_bytes,
        "tokens": group.num_tokens,
        "documents_not_kept_by_tokenizer": group.num_lossy,
    }
    if group.num_tokens:
        loss = nats / group.num_tokens
        perplexity = math.exp(loss) if loss < 700 else None  # above, no float holds it
        values |= {"loss": loss, "perplexity": perplexity, "bits_per_byte": nats / math.log(2) / group.num_bytes}
    return values


def join_groups(groups: list[Group]) -> Group:
    """All texts together."""
    counts = [sum(numbers) for numbers in zip(*(group[1:] for group in groups), strict=True)] or [0, 0, 0, 0]
    return Group([window for group in groups for window in group.windows], *counts)


def describe_validation(values: dict[str, Any]) -> str:
    """One line for people."""
    parts = [
        f"{name} {source['loss']:.4f} ({source['bits_per_byte']:.3f} bits per byte)"
        for name, source in values["sources"].items()
        if "loss" in source
    ]
    if "items" in values:
        parts.append(f"answers of items {values['items']['bits_per_byte_mean_over_items']:.3f} bits per byte")
    return f"validation after step {values['step']}: {', '.join(parts) or 'no documents'}"


def read_validation_texts(config: TrainConfig, shards: str, manifest: ShardManifest) -> ValidationTexts:
    """Held-out documents of every source, and the items, as windows of sequence_tokens with half of it as context.

    ConfigError when there is nothing to validate on, or no tokenizer to encode it with.
    """
    manifests = {"": (shards, manifest)}
    if config.data.sources:
        manifests = read_sources(shards, manifest, config.data.sources)
    heldout = {
        (f"{source}/{name}" if source else name): (folder, own.heldout[name].path)
        for source, (folder, own) in manifests.items()
        for name in sorted(own.heldout)
    }
    if not heldout and config.validation.items is None:
        rule = f"expected held-out documents in the manifest of {shards}, or validation.items"
        raise ConfigError("validation.every_steps", config.validation.every_steps, rule)
    tokenizer = _read_tokenizer(shards, manifest)
    windows = {"eos_token_id": manifest.eos_token_id, "window_tokens": config.data.sequence_tokens}
    sources = {}
    for name, (folder, path) in heldout.items():
        texts = read_texts(folder, path, config.validation.max_docs_per_source)
        sources[name] = _group_documents(texts, tokenizer, **windows)
    items = []
    if config.validation.items is not None:
        for item in read_items(Path(config.validation.items)):
            answer = " " + item["answer"]
            window = continuation_window(0, tokenizer, context=item_context(item), continuation=answer, **windows)
            items.append(Group([window], 1, len(answer.encode()), window.num_scored))
    return ValidationTexts(sources, items)


def _group_documents(texts: list[str], tokenizer: TextTokenizer, *, eos_token_id: int, window_tokens: int) -> Group:
    windows, kept, num_bytes = [], 0, 0
    for text in texts:
        ids = tokenizer.encode(text)
        if not ids or tokenizer.decode(ids) != text:
            continue
        overlap = window_tokens // 2
        windows += document_windows(
            kept, ids, eos_token_id=eos_token_id, window_tokens=window_tokens, overlap_tokens=overlap
        )
        kept, num_bytes = kept + 1, num_bytes + len(text.encode())
    num_tokens = sum(window.num_scored for window in windows)
    return Group(windows, kept, num_bytes, num_tokens, num_lossy=len(texts) - kept)


def _read_tokenizer(shards: str, manifest: ShardManifest) -> TextTokenizer:
    try:
        with open_shard_file(shards, manifest.tokenizer.path) as file:
            return TextTokenizer.from_bytes(file.read())
    except OSError as error:
        rule = f"expected {manifest.tokenizer.path} beside the shards, to encode held-out documents ({error})"
        raise ConfigError("validation.every_steps", "a validation", rule, where=shards) from error
