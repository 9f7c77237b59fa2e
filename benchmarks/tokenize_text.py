"""MB/s per core-second from documents to finished shards, beside dolma tokens, datatrove's tokenizer and plain `tokenizers` in one run.

    DOLMA_PY_DATA=DIR python -m benchmarks.tokenize_text [--megabytes 50] [--repeats 3] [--tokenizer FILE] [--peers DIR] [--check]

Text: every k-th document of the pool (DOLMA_PY_DATA/pool), or the Python standard library's sources without it. Tokenizer: one trained
here on a sample of that text, or a file given. Each way runs as its users run it, in fresh processes, one worker, in rounds taken in
turn so that a busy machine slows all alike; processor time is that of the whole process tree, start-up and reading included.

    ours                both passes of `dolma-py tokenize` with lineage and manifest, the tasks one after another without a JVM
    ours, tokenizers    the same with a tokenizer.json that tiktoken cannot take: it says that text is normalized (NFC)
    dolma tokens        --processes 1; its tokenizer gets the merges in the old form
    datatrove           DocumentTokenizer without a shuffle, one worker
    tokenizers          json.loads of the lines and encode_batch_fast by pieces of a megabyte, no ids taken out, nothing written
    tokenizers, NFC     the same with the normalizing tokenizer

--check compares the ids of both libraries on every document of the text. --phases runs ours alone and prints the processor time of each of its
phases. Peers that are not installed (`make peers`) are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import orjson
import pyarrow as pa
import zstandard

from benchmarks.process_tree import measure_command
from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.listing import Listing, Shard, append_shards
from mixers import tokenization
from pipelines import make_tokens, named_tokenizers, sample_mix, shard_files, steps
from pipelines.make_tokens import MakeTokensConfig
from pipelines.steps import StepContext
from pipelines.units import UnitTimes

ROW_GROUP_BYTES = 16 << 20
SHARD_BYTES = 64 << 20
TRAINING_BYTES = 20_000_000

TOKENIZERS = """
import glob, json, sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.encode_special_tokens = True
batch, size, tokens = [], 0, 0
for path in sorted(glob.glob(sys.argv[2] + "/*.jsonl")):
    for line in [*open(path, encoding="utf-8"), None]:
        if line is None or size > 1 << 20:
            tokens += sum(map(len, tokenizer.encode_batch_fast(batch, add_special_tokens=False)))
            batch, size = [], 0
        if line is not None:
            batch.append(json.loads(line)["text"])
            size += len(batch[-1])
print(tokens)
"""

DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer

if __name__ == "__main__":
    step = DocumentTokenizer(sys.argv[3] + "/out", sys.argv[1], eos_token="<|endoftext|>", shuffle_documents=False)
    LocalPipelineExecutor(pipeline=[JsonlReader(sys.argv[2]), step], tasks=1, workers=1, logging_dir=sys.argv[3] + "/logs").run()
"""


def read_documents(data: str | None) -> Iterator[tuple[str, str]]:
    """(source, text) of the pool in order of its files, or of the standard library."""
    if data is None:
        for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
            if "site-packages" not in path.parts:
                yield "code", path.read_text(encoding="utf-8", errors="replace")
        return
    for path in sorted(Path(data, "pool").glob("*/*.jsonl.zst")):
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            for line in stream.read().splitlines():
                yield path.parent.name, orjson.loads(line)["text"]


def choose_documents(data: str | None, num_bytes: int) -> list[tuple[str, str]]:
    """Every k-th document, k such that about `num_bytes` of text are chosen; all when there is less."""
    documents = list(read_documents(data))
    total = sum(len(text.encode()) for _, text in documents)
    return documents[:: max(1, round(total / num_bytes))]


def write_lines(folder: Path, documents: list[tuple[str, str]]) -> None:
    """One file of JSON lines for the peers."""
    folder.mkdir()
    lines = (
        orjson.dumps({"id": f"d{row}", "text": text, "source": source}) for row, (source, text) in enumerate(documents)
    )
    (folder / "documents.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def write_corpus(root: Path, documents: list[tuple[str, str]]) -> None:
    """The same documents as a corpus, each drawn once."""
    rows = [{"id": f"d{row}", "text": text, "source": source} for row, (source, text) in enumerate(documents)]
    ends = np.cumsum([len(text.encode()) for _, text in documents]) // SHARD_BYTES
    corpus, listed = Corpus(str(root)), []
    for number, group in enumerate(np.split(np.arange(len(rows)), np.flatnonzero(np.diff(ends)) + 1)):
        table = pa.Table.from_pylist([rows[row] for row in group], DOCUMENT_SCHEMA)
        part = f"pool/part-{number:05d}"
        files, facts = shard_files.write_shard(
            table.to_batches(), root=str(root), attempts="attempts", part=part, row_group_text_bytes=ROW_GROUP_BYTES
        )
        for file in files:
            storage.publish_file(corpus.path(file.attempt), corpus.path(file.path))
        groups = tuple(tuple(counts) for counts in facts["row_groups"])
        checksum = files[0].checksum
        shard = Shard(
            number,
            files[0].path,
            "parquet",
            "pool",
            facts["rows"],
            facts["text_bytes"],
            files[0].num_bytes,
            checksum,
            groups,
        )
        listed.append(shard)
        with (
            storage.write_file(corpus.path(views.attribute_path(sample_mix.SET, shard))) as stream,
            parquet_files.open_writer(stream, sample_mix.SET_SCHEMA) as writer,
        ):
            for count, _ in groups:
                values = [
                    pa.array([value] * count, field.type)
                    for value, field in zip((1, False, 0), sample_mix.SET_SCHEMA, strict=True)
                ]
                parquet_files.write_row_group(writer, pa.Table.from_arrays(values, schema=sample_mix.SET_SCHEMA))
    append_shards(corpus.listing_path, Listing(()), listed)


def run_in_order(spark: object, units: list[Any], work: Any, *, done: Any, attempts: str, **_: Any) -> UnitTimes:
    """The units of a step one after another in this process: what Spark's workers do, without Spark."""
    for unit in units:
        done.publish(unit.name, *work(unit.params, attempts))
    return UnitTimes(0.0, 0)


def run_and_tell(spark: object, units: list[Any], work: Any, **others: Any) -> UnitTimes:
    """run_in_order, with its processor time printed."""
    start = time.process_time()
    times = run_in_order(spark, units, work, **others)
    print(f"{time.process_time() - start:6.2f} s  {work.__name__}")
    return times


def tokenize_here(root: str, tokenizer: str, phases: bool = False) -> None:
    """Both passes of the step; with `phases` the processor seconds of each, and of what comes before them, are printed."""
    steps.run_units = run_and_tell if phases else run_in_order
    if phases:
        print(f"{time.process_time():6.2f} s  start and imports")
        start = time.process_time()
        named_tokenizers.cached_tokenizer(tokenizer, storage.checksum_file(tokenizer))
        print(f"{time.process_time() - start:6.2f} s  tokenizer")
    corpus = Corpus(root)
    context = StepContext(lambda: None, corpus, corpus.load_view(None), "s", "runs/r/s", "f", 0, {})  # type: ignore[arg-type,return-value]
    make_tokens.run(context, MakeTokensConfig(mix="mix", tokenizer=tokenizer, tokens_per_part=1 << 23))
    if phases:
        print(f"{time.process_time():6.2f} s  in all")


def write_tokenizers(folder: Path, documents: list[tuple[str, str]], given: str | None, vocab_size: int) -> None:
    """tokenizer.json, the same with merges in the old form, and the same with a normalizer."""
    if given is None:
        step = max(1, sum(len(text) for _, text in documents) // TRAINING_BYTES)
        texts = [text for _, text in documents[::step]]
        content = tokenization.train_bpe(texts, tokenization.BpeConfig(vocab_size=vocab_size))
    else:
        content = Path(given).read_bytes()
    values = json.loads(content)
    (folder / "tokenizer.json").write_bytes(content)
    (folder / "nfc.json").write_text(json.dumps(values | {"normalizer": {"type": "NFC"}}))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in values["model"]["merges"]]
    (folder / "old.json").write_text(json.dumps(values | {"model": values["model"] | {"merges": merges}}))


def make_commands(folder: Path, peers: Path) -> dict[str, list[str]]:
    """Way -> command; {out} stands for an empty folder."""
    lines, python = str(folder / "lines"), sys.executable
    ours = [python, "-m", "benchmarks.tokenize_text", "--tokenize", "{out}/corpus"]
    commands = {
        "ours": [*ours, str(folder / "tokenizer.json")],
        "ours, tokenizers": [*ours, str(folder / "nfc.json")],
        "tokenizers": [python, "-c", TOKENIZERS, str(folder / "tokenizer.json"), lines],
        "tokenizers, NFC": [python, "-c", TOKENIZERS, str(folder / "nfc.json"), lines],
    }
    eos = tokenization.load_tokenizer(str(folder / "tokenizer.json")).eos_token_id
    if (peers / "dolma").is_dir():
        settings = {
            "documents": [f"{lines}/*.jsonl"], "destination": "{out}/tokens", "processes": 1, "dtype": "uint32", "seed": 0,
            "tokenizer": {"name_or_path": str(folder / "old.json"), "eos_token_id": eos, "pad_token_id": eos},
        }  # fmt: skip
        (folder / "dolma.json").write_text(json.dumps(settings))
        commands["dolma tokens"] = [
            str(peers / "dolma" / "bin" / "python"),
            "-m",
            "dolma.cli",
            "-c",
            "{out}/dolma.json",
            "tokens",
        ]
    if (peers / "datatrove").is_dir():
        commands["datatrove"] = [
            str(peers / "datatrove" / "bin" / "python"),
            "{out}/run.py",
            str(folder / "tokenizer.json"),
            lines,
            "{out}",
        ]
    return commands


def measure_way(folder: Path, command: list[str]) -> tuple[float, float, int]:
    """(processor seconds, wall seconds, bytes of memory) of one run in an empty folder."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        if "{out}/corpus" in command:
            shutil.copytree(folder / "corpus", Path(out, "corpus"))
        Path(out, "run.py").write_text(DATATROVE)
        if (folder / "dolma.json").exists():
            Path(out, "dolma.json").write_text((folder / "dolma.json").read_text().replace("{out}", out))
        environment = {"TMPDIR": out, "NLTK_DATA": out, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        usage = measure_command([word.replace("{out}", out) for word in command], environment=environment)
    return usage.cpu_sec, usage.wall_sec, usage.peak_pss_bytes


def check_ids(folder: Path, documents: list[tuple[str, str]]) -> str:
    """How many documents have the same ids from both libraries."""
    tokenizer = tokenization.load_tokenizer(str(folder / "tokenizer.json"))
    if isinstance(tokenizer.fast, str):
        return f"tiktoken does not take this tokenizer: {tokenizer.fast}"
    same, tokens = 0, 0
    for _, text in documents:
        ids = tokenizer.fast.encode(text)
        same += ids.tolist() == tokenizer.backend.encode(text, add_special_tokens=False).ids
        tokens += len(ids)
    return f"equal ids in {same} of {len(documents)} documents, {tokens} tokens"


def main() -> None:
    """Print a line per way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--tokenizer", help="a tokenizer.json, such as dolma2's")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--ways", nargs="*", help="only these")
    parser.add_argument("--check", action="store_true", help="compare the ids of both libraries on all of the text")
    parser.add_argument("--tokenize", nargs=2, metavar=("CORPUS", "TOKENIZER"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--phases", action="store_true", help="processor time of each phase of one run of ours, nothing else"
    )
    given = parser.parse_args()
    if given.tokenize:
        tokenize_here(*given.tokenize, given.phases)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = choose_documents(os.environ.get("DOLMA_PY_DATA"), given.megabytes * 1_000_000)
        megabytes = sum(len(text.encode()) for _, text in documents) / 1e6
        write_tokenizers(folder, documents, given.tokenizer, given.vocab_size)
        print(f"text {megabytes:.1f} MB, {len(documents)} documents")
        if given.check:
            print(check_ids(folder, documents), flush=True)
        write_lines(folder / "lines", documents)
        write_corpus(folder / "corpus", documents)
        commands = make_commands(folder, given.peers)
        if given.phases:
            shutil.copytree(folder / "corpus", folder / "phases" / "corpus")
            command = [word.replace("{out}", str(folder / "phases")) for word in commands["ours"]]
            subprocess.run([*command, "--phases"], check=True)
            return
        if given.ways is not None:
            commands = {way: commands[way] for way in given.ways}
        runs: dict[str, list[tuple[float, float, int]]] = {way: [] for way in commands}
        for _ in range(given.repeats):
            for way, command in commands.items():
                runs[way].append(measure_way(folder, command))
        print("way                MB/s per core-s (min-max)   ours is   wall s   peak MB")
        rates = {way: [megabytes / cpu for cpu, _, _ in found] for way, found in runs.items()}
        for way, found in runs.items():
            middle = statistics.median(rates[way])
            own = "ours, tokenizers" if "NFC" in way or way == "ours, tokenizers" else "ours"
            ratio = statistics.median(rates[own]) / middle if own in rates else float("nan")
            wall, peak = statistics.median(wall for _, wall, _ in found), max(peak for _, _, peak in found)
            spread = f"({min(rates[way]):.2f}-{max(rates[way]):.2f})"
            print(f"{way:18s} {middle:6.2f} {spread:18s} {ratio:8.2f}x {wall:8.1f} {peak / 1e6:8.0f}")


if __name__ == "__main__":
    main()
