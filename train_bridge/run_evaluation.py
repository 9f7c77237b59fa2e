"""Evaluate a finished run: the whole of `dolma-py eval`. Writes RUN/eval.json."""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError, DataError
from train_bridge.checkpoint import load_model_weights, write_json
from train_bridge.compression import ZSTD_LEVEL, zstd_bits_given_contexts, zstd_bits_per_byte
from train_bridge.evaluate import bits_per_byte, continuation_window, document_windows, score_windows
from train_bridge.evaluation_texts import ANSWER_FORMAT, item_context, read_items, read_texts
from train_bridge.forking import find_checkpoint, local_path, split_run
from train_bridge.manifest import ShardManifest, read_manifest
from train_bridge.metrics import LOGGER, format_duration
from train_bridge.model import Olmo3
from train_bridge.run_training import choose_device
from train_bridge.shard_cache import is_remote, open_shard_file
from train_bridge.text_tokenizer import TextTokenizer
from train_bridge.train_config import TrainConfig

EVALUATION_VERSION = 3  # raised whenever the same files may give other numbers


def evaluate(
    *, run: str, shards: str, items: str | None, output: str | None, max_docs_per_source: int | None
) -> dict[str, Any]:
    """Bits per byte on held-out documents per source, on answers of items given their questions, and of zstandard.

    Parameters
    ----------
    run : str                    RUN@STEP, or a run's folder: its newest checkpoint is used
    shards : str                 folder with manifest.json and heldout/; its tokenizer must be the run's
    items : str or None          JSON lines of {id, question, answer, passage}
    output : str or None         where to write; None: RUN/eval.json, or RUN/eval-stepSTEP.json
    max_docs_per_source : int    first documents of each source only; None: all

    Returns  what is written: texts, bytes and bits per byte of model and compressor; documents that the tokenizer does not
    give back unchanged are left out and counted, because bits of another text say nothing. Values of each document and item, and
    digests of what they are, let two evaluations be compared in pairs.
    """
    started = time.perf_counter()
    manifest = read_manifest(shards)
    folder, step = split_run(run)
    name = "eval.json" if step is None else f"eval-step{step:07d}.json"
    path = local_path("--output", output) if output is not None else folder / name
    inputs = _fingerprint_inputs(run, shards, manifest, items, max_docs_per_source)
    if path.exists() and (found := _read_json(path)).get("inputs_fingerprint") == inputs:
        LOGGER.info("%s holds this evaluation already; remove it to evaluate again", path)
        return found
    config, model, checkpoint = load_run(run, manifest=manifest, shards=shards)
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    window_tokens = config.data.sequence_tokens
    scorer = _Scorer(model, tokenizer, manifest.eos_token_id, window_tokens)
    sources = {}
    for name in sorted(manifest.heldout):
        texts = read_texts(shards, manifest.heldout[name].path, max_docs_per_source)
        sources[name] = scorer.score_documents(texts)
        LOGGER.info("%s: %s", name, _describe(sources[name]))
    result: dict[str, Any] = {
        "inputs_fingerprint": inputs,
        "checkpoint": checkpoint.name,
        "run_fingerprint": _read_json(folder / "manifest.json").get("fingerprint") if _is_complete(folder) else None,
        "window_tokens": window_tokens,
        "overlap_tokens": scorer.overlap_tokens,
        "zstd_level": ZSTD_LEVEL,
        "max_docs_per_source": max_docs_per_source,
        "sources": {name: _without_lists(values) for name, values in sources.items()},
        "all_documents": _combine(list(sources.values())),
    }
    if items is not None:
        result["items"] = scorer.score_items(read_items(Path(items)))
        LOGGER.info("%s", _describe_items(result["items"]))
    write_json(path, result)
    LOGGER.info("all documents: %s", _describe(result["all_documents"]))
    LOGGER.info("%s written in %s", path, format_duration(time.perf_counter() - started))
    return result


def _fingerprint_inputs(
    run: str, shards: str, manifest: ShardManifest, items: str | None, max_docs_per_source: int | None
) -> str:
    """Of all that decides the result: the checkpoint's files, the held-out documents, the items, the limit."""
    files = sorted(path for path in find_checkpoint(run).rglob("*") if path.is_file())
    files += sorted((Path(shards) / "heldout").glob("*"))
    files += [Path(items)] if items is not None else []
    digests = [[path.name, hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()] for path in files]
    if is_remote(shards):  # where no glob looks
        for entry in manifest.heldout.values():
            with open_shard_file(shards, entry.path) as file:
                digests.append([entry.path, hashlib.blake2b(file.read(), digest_size=16).hexdigest()])
    return fingerprint(EVALUATION_VERSION, digests, max_docs_per_source)


def load_run(run: str, *, manifest: ShardManifest | None = None, shards: str = "") -> tuple[TrainConfig, Olmo3, Path]:
    """Configuration, model with a checkpoint's weights, and the checkpoint's folder. run: RUN@STEP, or RUN for the newest.

    manifest, shards: of shards that the model is to read; ConfigError when their tokenizer is another than the run's.
    """
    folder, _ = split_run(run)
    checkpoint = find_checkpoint(run)
    identity = _read_json(folder / "config.json")
    if manifest is not None and identity["tokenizer_fingerprint"] != manifest.tokenizer.fingerprint:
        mine, theirs = identity["tokenizer_fingerprint"], manifest.tokenizer.fingerprint
        rule = f"expected shards of the tokenizer that {run} was trained with ({mine}), these have another ({theirs})"
        raise ConfigError("--shards", shards, rule, "Give the shards that it was trained on, or train on these.")
    config = TrainConfig.model_validate({**identity["config"]})
    device = choose_device("auto")
    with torch.device("meta"):
        model = Olmo3(config.model)
    model.to_empty(device=device)
    load_model_weights(checkpoint, model)
    return config, model.eval(), checkpoint


class _Scorer:
    """A model with its tokenizer, applied to documents and items."""

    def __init__(self, model: Olmo3, tokenizer: TextTokenizer, eos_token_id: int, window_tokens: int) -> None:
        self.model, self.tokenizer, self.eos_token_id = model, tokenizer, eos_token_id
        self.window_tokens, self.overlap_tokens = window_tokens, window_tokens // 2

    def score_documents(self, texts: list[str]) -> dict[str, Any]:
        kept, rows, windows, num_lossy, num_tokens = [], [], [], 0, 0
        for row, text in enumerate(texts):
            ids = self.tokenizer.encode(text)
            if not ids or self.tokenizer.decode(ids) != text:
                num_lossy += 1
                continue
            windows += document_windows(
                len(kept),
                ids,
                eos_token_id=self.eos_token_id,
                window_tokens=self.window_tokens,
                overlap_tokens=self.overlap_tokens,
            )
            num_tokens += len(ids)
            kept.append(text.encode())
            rows.append(row)
        bits = score_windows(self.model, windows, num_texts=len(kept))
        zstd_bits, zstd_joined = zstd_bits_per_byte(kept)
        sizes = [len(text) for text in kept]
        return _summarize(bits, zstd_bits, sizes) | {
            "tokens": num_tokens,
            "documents_not_kept_by_tokenizer": num_lossy,
            "zstd_one_frame_bits_per_byte": zstd_joined,
            "texts_digest": fingerprint(texts),
            "per_document": {"rows": rows, "bits": bits, "bytes": sizes},
        }

    def score_items(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Bits per byte of " answer" given the question, of the model and of zstandard.

        Three values of zstandard for the same bytes. `given_question` is the one to compare: it compresses what the model
        reads (passage, question, "Answer:") with and without the answer and takes the difference, so both know the question
        and only the answer counts. `each_answer` compresses an answer of a few bytes alone: mostly the frame's header.
        `one_frame` compresses all answers without questions in one frame, where later ones learn from earlier ones, which
        the model may not. A question longer than the model's window loses its left end for the model only.
        """
        contexts = [item_context(item) for item in items]
        continuations = [" " + item["answer"] for item in items]
        windows = [
            continuation_window(
                index,
                self.tokenizer,
                context=context,
                continuation=continuation,
                eos_token_id=self.eos_token_id,
                window_tokens=self.window_tokens,
            )
            for index, (context, continuation) in enumerate(zip(contexts, continuations, strict=True))
        ]
        bits = score_windows(self.model, windows, num_texts=len(items))
        answers = [continuation.encode() for continuation in continuations]
        sizes = [len(answer) for answer in answers]
        means = bits_per_byte(bits, sizes)
        deviation = math.sqrt(
            sum((b / n - means.mean_over_texts) ** 2 for b, n in zip(bits, sizes, strict=True)) / max(len(items) - 1, 1)
        )
        return {
            "format": ANSWER_FORMAT,
            "items": len(items),
            "answer_bytes": sum(sizes),
            "mean_over_items": means.mean_over_texts,
            "standard_error": deviation / math.sqrt(len(items)),
            "byte_weighted": means.byte_weighted,
            **_compress_answers(contexts, answers),
            "texts_digest": fingerprint([[item["id"], item_context(item), item["answer"]] for item in items]),
            "per_item": {item["id"]: bits[index] / sizes[index] for index, item in enumerate(items)},
        }


def _compress_answers(contexts: list[str], answers: list[bytes]) -> dict[str, float]:
    """What zstandard needs for the answers in the three ways of `score_items`."""
    sizes = [len(answer) for answer in answers]
    added_bits = zstd_bits_given_contexts([context.encode() for context in contexts], answers)
    given_question = bits_per_byte([float(value) for value in added_bits], sizes)
    alone_bits, joined = zstd_bits_per_byte(answers)
    return {
        "zstd_given_question_mean_over_items": given_question.mean_over_texts,
        "zstd_given_question_byte_weighted": given_question.byte_weighted,
        "zstd_each_answer_bits_per_byte": sum(alone_bits) / sum(sizes),
        "zstd_one_frame_bits_per_byte": joined,
    }


def _summarize(bits: list[float], zstd_bits: list[int], sizes: list[int]) -> dict[str, Any]:
    summary: dict[str, Any] = {"documents": len(sizes), "bytes": sum(sizes), "lists": (bits, zstd_bits, sizes)}
    if sizes:
        model, zstd = bits_per_byte(bits, sizes), bits_per_byte([float(value) for value in zstd_bits], sizes)
        summary |= {
            "bits_per_byte": model.byte_weighted,
            "bits_per_byte_mean_over_documents": model.mean_over_texts,
            "zstd_each_document_bits_per_byte": zstd.byte_weighted,
            "zstd_each_document_bits_per_byte_mean_over_documents": zstd.mean_over_texts,
        }
    return summary


def _combine(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """All sources together; the one-frame value stays a frame per source, weighted by bytes."""
    lists = [sum((list(source["lists"][part]) for source in sources), []) for part in range(3)]
    combined = _without_lists(_summarize(*lists))
    total_bytes = combined["bytes"]
    if total_bytes:
        joined_bits = [source["zstd_one_frame_bits_per_byte"] * source["bytes"] for source in sources]
        combined["zstd_one_frame_per_source_bits_per_byte"] = math.fsum(joined_bits) / total_bytes
    combined["tokens"] = sum(source["tokens"] for source in sources)
    combined["documents_not_kept_by_tokenizer"] = sum(source["documents_not_kept_by_tokenizer"] for source in sources)
    return combined


def _without_lists(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "lists"}


def _describe(values: dict[str, Any]) -> str:
    if "bits_per_byte" not in values:
        return "no documents"
    joined = values.get("zstd_one_frame_bits_per_byte", values.get("zstd_one_frame_per_source_bits_per_byte"))
    return (
        f"{values['bits_per_byte']:.3f} bits per byte over {values['bytes']:,} bytes of {values['documents']} documents; "
        f"zstd -{ZSTD_LEVEL} needs {values['zstd_each_document_bits_per_byte']:.3f} each alone, {joined:.3f} in one frame"
    )


def _describe_items(values: dict[str, Any]) -> str:
    return (
        f"answers of {values['items']} items, given their questions: {values['mean_over_items']:.3f} bits per byte on average; "
        f"zstd -{ZSTD_LEVEL} needs {values['zstd_given_question_mean_over_items']:.3f} given their questions, "
        f"{values['zstd_one_frame_bits_per_byte']:.3f} for all answers in one frame without them"
    )


def _is_complete(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
