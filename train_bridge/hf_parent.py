"""A starting point in Hugging Face's form: what it must share with a run, the fingerprint that names it, and the gate before its weights.

Fingerprint and gate read the whole model. One rank does both, and a later start of the run neither while the files have the same sizes
and times: OUTPUT/parent.json remembers them.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError
from dolma_py.machine import count_cores
from train_bridge.checkpoint import write_json
from train_bridge.conversion import HfDescription
from train_bridge.hf_files import load_hf_model, read_description
from train_bridge.logits_gate import GateResult, check_logits, gate_ids
from train_bridge.manifest import ShardManifest
from train_bridge.metrics import LOGGER
from train_bridge.model import count_parameters

NOTE_NAME = "parent.json"


class Note(NamedTuple):
    """What is known of the parent's files: name -> size and time of the last change (ns), their fingerprint, what the gate said."""

    files: dict[str, list[int]]
    fingerprint: str
    gate: dict[str, Any] | None

    def write(self, output: Path) -> None:
        write_json(output / NOTE_NAME, self._asdict())


def read_note(output: Path, folder: Path) -> Note | None:
    """OUTPUT/parent.json; None where there is none, or where it is of other files than the folder has now."""
    try:
        note = Note(**json.loads((output / NOTE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if note.files == _list_files(folder) else None


def find_fingerprint(folder: Path, output: Path) -> str:
    """Of the bytes of config.json and all weights, whatever the folder is called; as noted, where the files are those of the note."""
    note = read_note(output, folder)
    if note is not None:
        return note.fingerprint
    digests = {}
    for name in _list_files(folder):
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return fingerprint(digests)


def note_files(folder: Path, output: Path, *, found: str) -> None:
    """Leave the note, with what the gate said of these files before."""
    note = read_note(output, folder)
    if note is None or note.fingerprint != found:
        Note(_list_files(folder), found, None).write(output)


def pass_gate(folder: Path, output: Path, *, device: torch.device) -> None:
    """Compare the folder's logits here and in transformers, once for the files of the note. DataError when they differ."""
    note = read_note(output, folder)
    if note is not None and note.gate is not None:
        LOGGER.info("%s passed the comparison with transformers before", folder)
        return
    result = compare_with_transformers(folder, device=device)
    told = {**result._asdict(), "allowed_difference": result.bound}
    if note is not None:
        note._replace(gate=told).write(output)


def compare_with_transformers(folder: Path, *, device: torch.device) -> GateResult:
    """See check_logits. Ours and theirs are in memory one after the other: on the device where one fits in float32, else on the CPU."""
    description = read_description(folder)
    place = gate_device(description, device)
    LOGGER.info("%s: comparing its logits with those of transformers on %s", folder, place)
    with _all_cores():
        source = load_hf_model(folder, device=place)
        vocab_size, context_tokens = description.vocab_size, description.context_tokens
        ids_BT = gate_ids(source.model, vocab_size=vocab_size, context_tokens=context_tokens).to(place)
        with torch.no_grad():
            logits_TV = source.model(ids_BT)[0, :, :vocab_size].clone()
        del source
        gc.collect()
        result = check_logits(folder, logits_TV, ids_BT)
    if place.type == "cuda":
        # what the run then needs and reports is its own
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
    return result


def gate_device(description: HfDescription, device: torch.device) -> torch.device:
    """The device where weights in float32 and six times the logits fit into nine tenths of what is free; else the CPU."""
    if device.type != "cuda":
        return device
    config = description.config
    num_logits = min(description.context_tokens, config.window_tokens + 32) * config.vocab_size
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fits = 4 * (count_parameters(config).total + 6 * num_logits) < 0.9 * free_bytes
    return device if fits else torch.device("cpu")


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """torchrun gives each rank one thread; while the others wait for this one, it takes all."""
    before = torch.get_num_threads()
    if dist.is_initialized():
        torch.set_num_threads(max(before, count_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _list_files(folder: Path) -> dict[str, list[int]]:
    """config.json and the files of weights: size and time of the last change."""
    stats = {path.name: path.stat() for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def check_tokenizer(
    name: str, folder: Path, description: HfDescription, *, manifest: ShardManifest, shards: str
) -> None:
    """ConfigError where size, end of text or, with both files there, the entries are not those of the shards."""
    if description.vocab_size != manifest.vocab_size:
        rule = f"expected shards of a tokenizer with {description.vocab_size} entries, as {name} has"
        raise ConfigError("--shards", manifest.vocab_size, rule, where=shards)
    if manifest.eos_token_id not in description.end_ids:
        rule = f"expected shards whose documents end with one of the ids {list(description.end_ids)}, as in {name}"
        raise ConfigError("--shards", manifest.eos_token_id, rule, where=shards)
    paths = [folder / "tokenizer.json", Path(shards) / manifest.tokenizer.path]
    if all(path.is_file() for path in paths):
        entries = [json.loads(path.read_text(encoding="utf-8"))["model"].get("vocab") for path in paths]
        if entries[0] != entries[1]:
            raise ConfigError("--shards", str(paths[1]), f"expected the tokenizer of {name}, it has other entries")
