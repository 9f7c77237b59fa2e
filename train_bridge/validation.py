"""Loss and bits per byte on held-out documents between two steps: OUTPUT/validation.jsonl.

Sources are those of the shards' manifest (heldout/); with data.sources, those of each source's own shards. Documents that the tokenizer
does not give back unchanged are left out and counted. A value is the same whatever the number of ranks: what goes through the model
together does not depend on it, each rank computes some of the batches, and sums are made of all of them in one order. Nothing of the
training is touched: no random number is drawn, no gradient, moment or place in the data changes.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dolma_py.errors import ConfigError
from train_bridge.distributed import global_sum
from train_bridge.evaluate import Window, continuation_window, document_windows, make_tensors
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


class Batch(NamedTuple):
    """One forward pass."""

    group: int  # counted over the sources, then the items
    windows: list[Window]


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
    ) -> None:
        """layout: ranks that read the same rows compute the same batches; the first rank writes."""
        self.config, self.texts, self.autocast_dtype, self.device = config, texts, autocast_dtype, device
        self.layout = layout
        self.groups = [*texts.sources.values(), *texts.items]
        self.batches = make_batches(self.groups, batch_tokens=config.validation.batch_tokens)
        self.log = MetricsLog(output / "validation.jsonl", resume_step=first_step) if layout.rank == 0 else None

    def is_due(self, done: int) -> bool:
        every = self.config.validation.every_steps
        return every is not None and (done % every == 0 or done == self.config.run.steps)

    def validate(self, done: int, model: Olmo3) -> dict[str, Any]:
        """Values of all sources and items after `done` steps, on every rank the same; the first one logs them."""
        started = time.perf_counter()
        parts: list[list[float]] = [[] for _ in self.groups]
        for batch, nats in zip(self.batches, self._score(model), strict=True):
            parts[batch.group].append(nats)
        nats = [math.fsum(part) for part in parts]
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
        """Nats of each batch."""
        nats = torch.zeros(len(self.batches), dtype=torch.float64, device=self.device)
        autocast = contextlib.nullcontext()
        if self.autocast_dtype is not None:
            autocast = torch.autocast(self.device.type, self.autocast_dtype)
        # rows of one length where ranks share them by pieces, and where each length is compiled anew
        parallel = self.config.parallel
        pad_to = self.config.data.sequence_tokens if parallel.context > 1 or parallel.compile else 1
        was_training = model.training
        model.eval()
        # all ranks go through the model equally often, since sharded weights are gathered by all of them together; who has no batch
        # left computes the first one and throws it away
        for first in range(0, len(self.batches), self.layout.num_row_ranks):
            mine = first + self.layout.row_rank
            is_real = mine < len(self.batches)
            windows = self.batches[mine if is_real else 0].windows
            ids_BT, labels_BT = make_tensors(windows, self.device, pad_to=pad_to)
            with torch.no_grad(), autocast:
                sums = model.loss(ids_BT, labels_BT, config=self.config.loss)
            # ranks of a tensor group have the same sum, those of a context group parts of it
            if is_real and self.layout.tensor_rank == 0:
                nats[mine] = sums.cross_entropy.double()
        model.train(was_training)
        release_gathered(model)
        return global_sum(nats).tolist()


def make_batches(groups: list[Group], *, batch_tokens: int) -> list[Batch]:
    """Windows of one group together, longest first, padded to no more than batch_tokens, one window at least."""
    batches = []
    for number, group in enumerate(groups):
        windows = sorted(group.windows, key=lambda window: -len(window.ids))
        while windows:
            count = max(1, batch_tokens // (len(windows[0].ids) - 1))
            batches.append(Batch(number, windows[:count]))
            windows = windows[count:]
    return batches


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
