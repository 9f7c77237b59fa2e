"""Whether our presets say what datatrove's and dolma's own filters say, document by document, on the whole pool.

    DOLMA_PY_DATA=<folder> python -m benchmarks.filter_parity [--answers FOLDER] [--max-documents N] [--kept]

Runs tests/peers/record_filters_*.py in the environments that `make peers` builds (half an hour of one core for 200 MB), shortest
documents first, keeps their answers in FOLDER, and prints one line per statistic and decision: documents compared, documents that
differ. Answers that stand in FOLDER already are not asked for again, and a run that was stopped is compared as far as it came.
With --kept it prints how many documents each preset keeps, and asks nobody.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import zstandard

from taggers.c4 import C4_RULES
from taggers.gopher import GOPHER_RULES
from taggers.registry import build_tagger
from taggers.rule_presets import FINEWEB_PAPER_RULES, GOPHER_DOLMA_RELEASED_RULES, PRESETS
from tests.peers import compare_filters

PEERS = Path("tests/peers")
ENVIRONMENTS = Path(os.environ.get("DOLMA_PY_PEERS", ".venv-peers"))
TOOLS = {"datatrove": [], "dolma": ["gopher_v2"]}
BATCH_DOCUMENTS = 1000
NUM_SHOWN = 10


def read_texts(folder: Path) -> list[str]:
    """All texts of the pool, shortest first."""
    texts = []
    for path in sorted(folder.glob("pool/*/*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            texts += [orjson.loads(line)["text"] for line in io.BufferedReader(stream)]
    # a stable sort: equal lengths stay in the order of the pool
    return sorted(texts, key=lambda text: len(text.encode()))


def ask(tool: str, texts: list[str], path: Path) -> None:
    """Let the tool answer into `path`."""
    python = ENVIRONMENTS / tool / "bin" / "python"
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
        file.flush()
        with open(file.name) as source, path.open("w") as target:
            command = [str(python), str(PEERS / f"record_filters_{tool}.py"), *TOOLS[tool]]
            subprocess.run(command, stdin=source, stdout=target, check=True)


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The answers of a file, without the last line if it says who answered or is cut short."""
    answers = []
    for line in path.read_bytes().splitlines():
        try:
            answer = orjson.loads(line)
        except orjson.JSONDecodeError:
            break
        if "tool" in answer:
            print(f"{answer['tool']} {answer['version']}: CPU seconds {answer['seconds']}")
        else:
            answers.append(answer)
    return answers


def compare(tool: str, texts: list[str], answers: list[dict[str, Any]]) -> None:
    """Print how many documents differ in what."""
    differing: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    num_bytes = shown = 0
    for begin in range(0, len(answers), BATCH_DOCUMENTS):
        part = [text.encode() for text in texts[begin : min(begin + BATCH_DOCUMENTS, len(answers))]]
        num_bytes += sum(map(len, part))
        if tool == "datatrove":
            ours: list[dict[str, Any]] = compare_filters.describe_datatrove(part, single=False)
            check = compare_filters.compare_datatrove
        else:
            ours, check = compare_filters.describe_dolma(part), compare_filters.compare_dolma
        for i, (text, mine) in enumerate(zip(part, ours, strict=True)):
            theirs = answers[begin + i] if tool == "datatrove" else answers[begin + i]["gopher_v2"]
            different = check(text, mine, theirs)
            compared.update(mine.keys())
            differing.update(different)
            if different and shown < NUM_SHOWN:
                shown += 1
                pairs = {key: (mine.get(key), theirs.get(key)) for key in different}
                print(f"  {begin + i} ({len(text)} bytes): ours, theirs {pairs}")
    print(f"{tool}: {len(answers)} documents of {len(texts)}, {num_bytes / 1e6:.1f} MB")
    for key in compared:
        print(f"  {key:50s} {compared[key]:7d} compared {differing[key]:7d} differ")


def print_kept(texts: list[str]) -> None:
    """How many documents each preset keeps, and the rule that alone drops most."""
    rules = {name: preset.rules for name, preset in PRESETS.items()} | {"gopher-dclm": GOPHER_RULES} | C4_RULES
    rules |= {"fineweb as written": FINEWEB_PAPER_RULES, "gopher-dolma as released": GOPHER_DOLMA_RELEASED_RULES}
    kept: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {name: Counter() for name in rules}
    for begin in range(0, len(texts), BATCH_DOCUMENTS):
        batch = pa.record_batch({"text": pa.array(texts[begin : begin + BATCH_DOCUMENTS], pa.large_string())})
        for name, some in rules.items():
            columns = build_tagger(name.partition(" ")[0]).tag(batch)
            passed = np.ones(batch.num_rows, np.bool_)
            for rule in some:
                values = columns.column(rule.column).to_numpy()
                holds = rule.holds(values)
                dropped[name][rule.name] += int((~holds).sum())
                passed &= holds
            kept[name] += int(passed.sum())
    for name in rules:
        (rule, count), *_ = dropped[name].most_common(1)
        print(f"  {name:28s} keeps {kept[name]:6d} of {len(texts)} documents; {rule} drops {count}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=Path(tempfile.gettempdir()) / "filter-answers")
    parser.add_argument("--max-documents", type=int, default=None)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--kept", action="store_true")
    options = parser.parse_args()
    texts = read_texts(Path(os.environ["DOLMA_PY_DATA"]))[: options.max_documents]
    if options.kept:
        print_kept(texts)
        return
    options.answers.mkdir(parents=True, exist_ok=True)
    for tool in options.tools:
        path = options.answers / f"{tool}.jsonl"
        if not path.exists():
            ask(tool, texts, path)
        compare(tool, texts, read_answers(path))


if __name__ == "__main__":
    main()
