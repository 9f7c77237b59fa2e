"""How fast is deduplication end to end, and does its cost grow with the text alone? Peers beside it in the same run.

    python -m benchmarks.dedup_scale --scratch DIR --documents 'CORPUS/documents/*/*.parquet' --copies 1,4
    python -m benchmarks.dedup_scale --scratch DIR --documents ... --copies 1,4,16 --jobs minhash,exact --peers .venv-peers

Makes corpora of k copies of the documents in which 30% of the words are others (benchmarks/scaled_copies), once per scratch folder,
then runs each command in a fresh process and prints wall time, CPU time and memory of its whole process tree. MB are 10^6 bytes of
text. "MB/s per core" is text per CPU second: of the whole run, start-up of the JVM included, and of the slope between two sizes,
where the start-up falls out.
"""

from __future__ import annotations

import argparse
import glob
import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import orjson
import pyarrow.parquet as pq

from benchmarks.dedup_peers import list_peers, write_scripts
from benchmarks.process_tree import TreeUsage, measure_command
from benchmarks.scaled_copies import write_copies

NUM_JSONL = 4
HEADER = "                                      MB   wall s    CPU s  MB/s wall  MB/s per core  peak MB  without JVM"


class Run(NamedTuple):
    """One run of a command over a text."""

    name: str
    num_mb: float
    usage: TreeUsage
    facts: str = ""


def build_corpus(scratch: Path, documents: list[Path], num_copies: int) -> Path:
    """A corpus of num_copies copies; made when it is not there."""
    corpus = scratch / f"corpus-{num_copies}x"
    if not (corpus / "listing.jsonl").exists():
        files = write_copies(documents, scratch / "copies", num_copies)
        usage = run_ours(["ingest", "--corpus", str(corpus), "--source", "copies", *with_option("--input", files)])
        print(row(Run(f"ingest Parquet, {num_copies}x", text_mb(corpus), usage)), flush=True)
    return corpus


def with_option(option: str, values: list[Path]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def run_ours(arguments: list[str]) -> TreeUsage:
    """dolma-py of this environment in a fresh process."""
    code = "import sys; from dolma_py.cli import main; sys.exit(main())"
    return measure_command([sys.executable, "-c", code, *arguments])


# what a preset is measured with: the same verification as the defaults, so that the bands alone differ
VERIFIED = ("verification.rule=representative", "verification.large_index=prefix")


def text_mb(corpus: Path) -> float:
    """10^6 bytes of text of a corpus, from its listing."""
    shards = [json.loads(line) for line in (corpus / "listing.jsonl").read_text().splitlines()]
    return sum(text_bytes for shard in shards for _, text_bytes in shard["row_groups"]) / 1e6


def measure_job(corpus: Path, job: str, label: str) -> Run:
    """`dolma-py dedup JOB` over all documents, or JOB:PRESET; what it wrote is removed again."""
    job, _, preset = job.partition(":")
    name = f"scale-{job}"
    given = [f"preset={preset}", *VERIFIED] if preset else []
    settings = [part for setting in given for part in ("--set", setting)]
    usage = run_ours(["dedup", job, "--corpus", str(corpus), "--name", name, *settings])
    manifest = json.loads(next((corpus / f"runs/{name}").glob("*/manifest.json")).read_text())
    facts = {key: value for key, value in manifest["facts"].items() if isinstance(value, int)}
    for folder in [corpus / f"runs/{name}", *corpus.glob(f"attributes/{job}-v*")]:
        shutil.rmtree(folder)
    said = " ".join(f"{key}={value}" for key, value in facts.items())
    run = Run(f"{job} {preset} {label}" if preset else f"{job} {label}", text_mb(corpus), usage, said)
    print(row(run), flush=True)
    return run


def write_jsonl(scratch: Path, sources: list[Path], share: int) -> tuple[Path, float]:
    """Every share-th document of Parquet files as JSONL in NUM_JSONL files for the peers; (folder, 10^6 bytes of text)."""
    name = f"jsonl-{share}-{len(sources)}"
    folder, size = scratch / name / "documents", scratch / name / "mb.json"
    if not size.exists():
        folder.mkdir(parents=True, exist_ok=True)
        files = [(folder / f"part-{number}.jsonl").open("wb") for number in range(NUM_JSONL)]
        num_bytes = number = 0
        batches = (batch for source in sources for batch in pq.ParquetFile(source).iter_batches(4096))
        for batch in batches:
            for document in batch.to_pylist():
                number += 1
                if number % share == 0 and document["text"]:
                    num_bytes += len(document["text"].encode())
                    files[number // share % NUM_JSONL].write(orjson.dumps(document) + b"\n")
        for file in files:
            file.close()
        size.write_text(json.dumps(num_bytes / 1e6))
    return folder, json.loads(size.read_text())


def measure_peers(folder: Path, num_mb: float, environments: Path, work: Path, names: str) -> list[Run]:
    """Each peer whose environment is there and whose name holds one of `names`."""
    runs = []
    for peer in list_peers(folder, work, NUM_JSONL):
        python = environments / peer.package / "bin/python" if peer.package else Path(sys.executable)
        if not python.exists() or not any(part in peer.name for part in names.split(",")):
            continue
        shutil.rmtree(work, ignore_errors=True)
        write_scripts(folder, work)
        environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(work / "home"), "TOKENIZERS_PARALLELISM": "false"}
        try:
            usage = measure_command([str(python), *peer.command], cwd=work, environment=environment)
        except RuntimeError as error:
            print(f"{peer.name:34s} failed: {str(error)[-300:]}", flush=True)
            continue
        runs.append(Run(peer.name, num_mb, usage))
        print(row(runs[-1]), flush=True)
    shutil.rmtree(work, ignore_errors=True)
    return runs


def row(run: Run) -> str:
    """A line of the table."""
    usage = run.usage
    return (
        f"{run.name:34s} {run.num_mb:7.1f} {usage.wall_sec:8.1f} {usage.cpu_sec:8.1f} {run.num_mb / usage.wall_sec:10.2f} "
        f"{run.num_mb / usage.cpu_sec:14.2f} {usage.peak_pss_bytes / 1e6:8.0f} {usage.peak_python_pss_bytes / 1e6:12.0f}  {run.facts}"
    )


def slope(small: Run, large: Run) -> str:
    """The cost of the text between two sizes."""
    num_mb, cpu = large.num_mb - small.num_mb, large.usage.cpu_sec - small.usage.cpu_sec
    wall = large.usage.wall_sec - small.usage.wall_sec
    return (
        f"{'  slope ' + small.name.split()[-1] + ' to ' + large.name.split()[-1]:34s} {num_mb:7.1f} {wall:8.1f} {cpu:8.1f} {num_mb / wall:10.2f} "
        f"{num_mb / cpu:14.2f}           CPU s per GB {1000 * cpu / num_mb:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for the corpora, some 1.5 bytes per byte of text"
    )
    parser.add_argument("--documents", required=True, help="glob of Parquet files of documents")
    parser.add_argument("--copies", default="1,4", help="sizes in copies")
    parser.add_argument("--jobs", default="minhash,exact", help="or minhash:olmo3-web, with that preset's bands")
    parser.add_argument("--peers", type=lambda name: Path(name).absolute(), help="folder with the peers' environments")
    parser.add_argument("--peer-names", default="", help="parts of names of the peers to run; empty: all")
    parser.add_argument("--peer-share", type=int, default=1, help="peers read every n-th document")
    parser.add_argument("--peer-copies", type=int, default=1, help="of so many copies")
    options = parser.parse_args()
    documents = [Path(path) for path in sorted(glob.glob(options.documents))]
    sizes = [int(value) for value in options.copies.split(",") if value]
    print(HEADER, flush=True)
    corpora = {size: build_corpus(options.scratch, documents, size) for size in sizes}
    for job in options.jobs.split(",") if options.jobs else []:
        runs = [measure_job(corpora[size], job, f"{size}x") for size in sizes]
        print("\n".join(slope(a, b) for a, b in zip(runs, runs[1:], strict=False)), flush=True)
    if options.peers:
        copies = write_copies(documents, options.scratch / "copies", options.peer_copies)[: options.peer_copies]
        folder, num_mb = write_jsonl(options.scratch, copies, options.peer_share)
        measure_peers(folder, num_mb, options.peers, options.scratch / "peer-work", options.peer_names)


if __name__ == "__main__":
    main()
