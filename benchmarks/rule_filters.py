"""The web filter's rules per core beside datatrove's chain and dolma's taggers, each in a process of its own over the same documents.

    DOLMA_PY_DATA=<folder> python -m benchmarks.rule_filters [--peers FOLDER] [--megabytes 64] [--rounds 3]

<folder>/pool gives the documents, those of every file in turn. --peers holds datatrove/ and dolma/, virtual environments of the two; a peer that
is not there is left out. The peers get a twentieth of the documents, spread evenly, since they are slow.

Every run is a process that judges the texts of one file, after a first one that is not counted (imports, models, compiled kernels). The time
is the CPU time of the process over those texts, all its threads included; benchmarks/process_tree.py sees to it that no child process worked
beside it. Rounds alternate between the contenders; the median is printed with the lowest and the highest, which shows how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.minhash_signatures import read_pool
from benchmarks.process_tree import measure_command
from dolma_py.arrow_buffers import TextView

PEER_PART = 20
OURS = """
import sys, time
import numpy as np, pyarrow as pa
from dolma_py.arrow_buffers import build_text
from dolma_py.rules import parse_rule
from taggers.registry import build_tagger
path, preset, gated = sys.argv[1], sys.argv[2], sys.argv[3] == "gated"
texts = open(path, "rb").read().split(b"\\0")
offsets = np.cumsum([0, *map(len, texts)])
documents = pa.record_batch({"text": build_text(np.frombuffer(b"".join(texts), np.uint8), offsets)})
tagger = build_tagger("gopher-dclm" if preset == "gopher-dclm" else "web-filter", {"preset": preset})
rules = [parse_rule(rule.expression) for rule in tagger.preset.rules] if gated else []
for first in range(0, 2):
    begin = time.process_time()
    for start in range(0, len(texts) if first else 1, 4096):
        batch = documents.slice(start, 4096 if first else 1)
        tagger.tag_gated(batch, rules, np.zeros(batch.num_rows, bool)) if gated else tagger.tag(batch)
print("CPU", time.process_time() - begin)
"""
DATATROVE = """
import sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
chain = {
    "gopher": [GopherRepetitionFilter(), GopherQualityFilter()],
    "chain": [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter()],
}[sys.argv[2]]
texts = open(sys.argv[1], "rb").read().decode().split("\\0")
[step.filter(Document(text="one two", id="0")) for step in chain]
begin = time.process_time()
for text in texts:
    for step in chain:  # a chain: what one drops the next does not see
        if step.filter(Document(text=text, id="0")) is not True:
            break
print("CPU", time.process_time() - begin)
"""
DOLMA = """
import sys, time
from dolma.core.data_types import Document
from dolma.core.registry import TaggerRegistry
import dolma.taggers
taggers = [TaggerRegistry.get(name)() for name in sys.argv[2].split(",")]
texts = open(sys.argv[1], "rb").read().decode().split("\\0")
[tagger.predict(Document(id="0", text="one two", source="pool")) for tagger in taggers]
begin = time.process_time()
for number, text in enumerate(texts):
    for tagger in taggers:
        if text:
            tagger.predict(Document(id=str(number), text=text, source="pool"))
print("CPU", time.process_time() - begin)
"""


def write_texts(view: TextView, step: int, path: Path) -> int:
    """Every step-th document, parted by NUL; returns the bytes of text."""
    bounds = view.offsets
    texts = [
        view.data[bounds[row] : bounds[row + 1]].tobytes().replace(b"\0", b" ")
        for row in range(0, len(bounds) - 1, step)
    ]
    path.write_bytes(b"\0".join(texts))
    return sum(map(len, texts))


def list_contenders(peers: Path | None) -> list[tuple[str, bool, list[str]]]:
    """(name, whether it is a peer, command without the file of texts in its second place)."""
    own = [sys.executable, "-c", OURS]
    found = [
        ("ours: olmo3-web, every rule", False, [*own, "olmo3-web", "full"]),
        ("ours: olmo3-web, stops at the first rule broken", False, [*own, "olmo3-web", "gated"]),
        ("ours: olmo3-web-released, every rule", False, [*own, "olmo3-web-released", "full"]),
        ("ours: refinedweb-dclm, every rule", False, [*own, "refinedweb-dclm", "full"]),
        ("ours: madlad400", False, [*own, "madlad400", "full"]),
        ("ours: gopher-dclm", False, [*own, "gopher-dclm", "full"]),
    ]
    kinds = {
        "datatrove": (DATATROVE, {"datatrove: Gopher repetition -> quality": "gopher", "datatrove: Gopher -> C4 -> FineWeb": "chain"}),
        "dolma": (DOLMA, {"dolma: gopher_v2": "gopher_v2", "dolma: gopher_v2 + c4_v2": "gopher_v2,c4_v2"}),
    }  # fmt: skip
    for name, (script, rows) in kinds.items():
        python = peers / name / "bin" / "python" if peers else None
        if python is None or not python.exists():
            print(f"{name}: not there (--peers)", file=sys.stderr)
            continue
        found += [(title, True, [str(python), "-c", script, argument]) for title, argument in rows.items()]
    return found


def measure_once(command: list[str], texts: Path) -> float:
    """CPU seconds over the texts."""
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    usage = measure_command([*command[:3], str(texts), *command[3:]], environment=environment)
    spent = float(usage.output.split("CPU ")[-1].split()[0])
    if usage.cpu_sec < spent or usage.cpu_sec > spent + 60:
        raise RuntimeError(f"{usage.cpu_sec} s of the process tree, but {spent} s of the process over its texts")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    view = read_pool(Path(os.environ["DOLMA_PY_DATA"]), given.megabytes * 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        paths = {True: Path(folder) / "peers.txt", False: Path(folder) / "all.txt"}
        sizes = {True: write_texts(view, PEER_PART, paths[True]), False: write_texts(view, 1, paths[False])}
        load = os.getloadavg()[0]
        print(f"documents {len(view.offsets) - 1}, {sizes[False] / 1e6:.1f} MB; peers {sizes[True] / 1e6:.1f} MB")
        print(f"{os.cpu_count()} cores, load {load:.1f}")
        contenders = list_contenders(given.peers)
        rates: dict[str, list[float]] = {title: [] for title, _, _ in contenders}
        for _, is_peer, command in contenders:
            if not is_peer:
                measure_once(command, paths[True])  # compiles, fills caches
        for _ in range(given.rounds):
            for title, is_peer, command in contenders:
                rates[title].append(sizes[is_peer] / measure_once(command, paths[is_peer]) / 1e6)
        print(f"{'':50s} {'MB/s per core':>13s}  (lowest - highest of {given.rounds})")
        for title, found in rates.items():
            print(f"{title:50s} {median(found):13.2f}  ({min(found):.2f} - {max(found):.2f})")
        print(json.dumps({title: [round(float(rate), 3) for rate in np.sort(found)] for title, found in rates.items()}))


if __name__ == "__main__":
    main()
