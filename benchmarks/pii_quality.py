"""Precision, recall and speed of the personal-data tagger beside dolma's and datatrove's, on the same lines and the same text.

    python -m benchmarks.pii_quality                           made lines alone
    DOLMA_PY_DATA=<folder> python -m benchmarks.pii_quality    and the documents of <folder>/pool

Lines are those of benchmarks/pii_lines.py (seed 7). A find is right when it overlaps the item of its line; recall counts items that
were met, "exact" those met byte for byte. Speed is MB/s of CPU time of one process, the finding alone, without reading files.
Peers: dolma 1.2.1 `pii_regex_with_counts_fast_v2` (e-mail, phone, IP), datatrove 0.10.1 PIIFormatter (e-mail, public IPv4).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gopher_rules import take_texts
from benchmarks.minhash_signatures import join_texts, measure_sec, read_pool
from benchmarks.pii_lines import KINDS, Line, make_lines
from dolma_py.arrow_buffers import TextView
from taggers.pii import KINDS as CODES
from taggers.pii import find_pii

SEED = 7
PEER_BYTES = 10_000_000
# each reads texts as a JSON list of strings, prints {"spans": [[[kind, start, end], ...], ...], "sec": CPU seconds}, positions in characters
DOLMA_SCRIPT = """
import json, sys, time
from dolma.core.data_types import Document
from dolma.taggers.pii import FastPiiRegex
texts = json.load(open(sys.argv[1])); tagger = FastPiiRegex(); spans = []
names = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip"}
begin = time.process_time()
for text in texts:
    spans.append(tagger.predict(Document(source="s", id="0", text=text)).spans)
sec = time.process_time() - begin
print(json.dumps({"spans": [[[names[s.type], s.start, s.end] for s in row if s.type in names] for row in spans], "sec": sec}))
"""
DATATROVE_SCRIPT = """
import json, sys, time
from datatrove.pipeline.formatters import PIIFormatter
texts = json.load(open(sys.argv[1])); formatter = PIIFormatter(); spans = []
begin = time.process_time()
for text in texts:
    formatter.format(text)
sec = time.process_time() - begin
parts = (("email", formatter.emails_replacer), ("ip", formatter.ip_replacer))
for text in texts:
    spans.append([[kind, m.start(), m.end()] for kind, part in parts for m in part.regex.finditer(text)
                  if part.validator is None or part.validator(m.group(0))])
print(json.dumps({"spans": spans, "sec": sec}))
"""
PEERS = {"dolma": (("dolma",), DOLMA_SCRIPT), "datatrove": (("datatrove",), DATATROVE_SCRIPT)}
Finds = list[list[tuple[str, int, int]]]


def find_ours(texts: list[str]) -> Finds:
    """(kind, start, end) in characters for each text; private addresses left out."""
    found = find_pii(*join_texts([text.encode() for text in texts]))
    names = {value: name for name, value in CODES.items()}
    finds: Finds = []
    for row, text in enumerate(texts):
        data, low, high = text.encode(), found.spans.offsets[row], found.spans.offsets[row + 1]
        finds.append(
            [
                (
                    names[int(found.kinds[i])],
                    len(data[: found.spans.starts[i]].decode()),
                    len(data[: found.spans.ends[i]].decode()),
                )
                for i in range(low, high)
                if names[int(found.kinds[i])] != "private_ip"
            ]
        )
    return finds


def run_peer(name: str, texts: list[str]) -> tuple[Finds, float] | None:
    """What a peer finds and its CPU seconds; None where it is not installed."""
    folders, script = PEERS[name]
    for folder in folders:
        python = Path(os.environ.get("PEERS", ".venv-peers"), folder, "bin/python")
        if python.exists():
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump(texts, file)
                file.flush()
                done = subprocess.run([str(python), "-c", script, file.name], capture_output=True, check=True)
            answer: dict[str, Any] = json.loads(done.stdout)
            return [[(kind, start, end) for kind, start, end in row] for row in answer["spans"]], answer["sec"]
    return None


def score(lines: list[Line], finds: Finds, kind: str) -> tuple[float, float, float]:
    """(precision, recall, share of items found byte for byte) of one kind over all lines."""
    right = wrong = met = exact = items = 0
    for line, row in zip(lines, finds, strict=True):
        start = line.text.find(line.item) if line.kind == kind and line.item else -1
        end = start + len(line.item)
        items += start >= 0
        hits = [(a, b) for name, a, b in row if name == kind]
        good = [(a, b) for a, b in hits if start >= 0 and a < end and b > start]
        right, wrong = right + len(good), wrong + len(hits) - len(good)
        met, exact = met + bool(good), exact + ((start, end) in good)
    return right / max(right + wrong, 1), met / items, exact / items


def compare_pool(view: TextView) -> None:
    """Spans per kind on the pool, those that both have, and the speeds."""
    texts = take_texts(view, PEER_BYTES)
    part = join_texts([text.encode() for text in texts])
    num_bytes = len(part.data)
    ours = find_ours(texts)
    sec = measure_sec(lambda: find_pii(*part), repeats=5)
    print(f"\npool: {len(texts)} documents, {num_bytes / 1e6:.1f} MB; ours {num_bytes / sec / 1e6:.0f} MB/s")
    for name in PEERS:
        answer = run_peer(name, [text + "\n" for text in texts])
        if answer is None:
            continue
        finds, peer_sec = answer
        print(f"{name}: {num_bytes / peer_sec / 1e6:.1f} MB/s; spans ours / theirs / of ours met / of theirs met")
        for kind in ("email", "phone", "ip"):
            a, b = _of_kind(ours, kind), _of_kind(finds, kind)
            if any(b):
                print(f"  {kind:6s} {sum(map(len, a)):6d} {sum(map(len, b)):6d} {_met(a, b):6d} {_met(b, a):6d}")


def _of_kind(finds: Finds, kind: str) -> list[list[tuple[int, int]]]:
    return [[(start, end) for name, start, end in row if name == kind] for row in finds]


def _met(spans: list[list[tuple[int, int]]], others: list[list[tuple[int, int]]]) -> int:
    return sum(any(a < d and c < b for c, d in other) for row, other in zip(spans, others, strict=True) for a, b in row)


def main() -> None:
    lines = make_lines(SEED)
    results = {"dolma-py": find_ours([line.text for line in lines])}
    for name in PEERS:
        answer = run_peer(name, [line.text + "\n" for line in lines])
        if answer is None:
            print(f"{name}: not installed here (looked in $PEERS, else .venv-peers)", file=sys.stderr)
        else:
            results[name] = answer[0]
    print(f"{len(lines)} lines, seed {SEED}: precision / recall / exact")
    for kind in KINDS:
        for name, finds in results.items():
            if any(found == kind for row in finds for found, _, _ in row):
                print(f"{kind:6s} {name:10s}" + "".join(f" {value:6.3f}" for value in score(lines, finds, kind)))
    folder = os.environ.get("DOLMA_PY_DATA")
    if folder:
        compare_pool(read_pool(Path(folder), 60_000_000))


if __name__ == "__main__":
    main()
