"""How good is decontamination? Items planted in documents in six forms with 0 to 20% of their words edited, and what is no item.

    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality            the tables
    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality natural    what the pool holds unplanted, by benchmark and source
    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality list FILE  the same, each with its texts, as JSON lines to read

Half of the items (by hash of the id of their question) are looked for. Planted are NUM_PLANTED of these, as many from each
benchmark as possible, in documents of the pool. No items are: documents of the pool as they are; items of the other half, of the
same benchmarks and templates; and the planted items with every number changed (of those with three numbers or more). Without
DOLMA_PY_DATA: made word problems in made texts.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import zstandard

from benchmarks.made_texts import make_near_copies, make_vocabulary
from benchmarks.planted_items import FORMS, Planted, count_numbers, make_changed, make_planted, plant
from dolma_py.word_problems import make_word_problems
from taggers.evaluation_sets import dump_items, read_registry
from taggers.ngram_match import Item
from taggers.registry import build_tagger

SHARES = (0.0, 0.05, 0.1, 0.2)
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.95)
NUM_PLANTED = 400
NUM_POOL = 20_000
HOST_BYTES = (500, 8000)  # of documents that items are put into
BATCH_DOCS = 2000
MIN_QUESTION_WORDS = 15  # shorter ones are not looked for


class Method(NamedTuple):
    """A rule to compare; `dial` is the option that its curve turns, with the values."""

    name: str
    options: dict[str, Any]
    dial: str
    values: tuple[float, ...]
    default: float


METHODS = (
    Method("default", {}, "threshold", THRESHOLDS, 0.8),
    Method("overlap ngrams", {"overlap": "ngrams"}, "threshold", THRESHOLDS, 0.8),
    Method("plain 8-grams", {"mode": "ngrams", "ngram_tokens": 8}, "min_overlap", (0.0, 0.1, 0.2, 0.3, 0.5, 0.7), 0.0),
    Method("plain 13-grams", {"mode": "ngrams", "ngram_tokens": 13}, "min_overlap", (0.0, 0.1, 0.2, 0.3, 0.5, 0.7), 0.0),
    Method("post-training", {"mode": "ngrams", "ngram_tokens": 8, "min_overlap": 0.5}, "min_overlap", (0.3, 0.4, 0.5, 0.6, 0.7), 0.5),
)  # fmt: skip


class Material(NamedTuple):
    """What a run looks for and looks in."""

    items: list[Item]  # looked for
    planted: dict[tuple[str, float], list[Planted]]  # (form, share of edited words)
    other_items: list[Planted]  # of the half that is not looked for
    changed: list[Planted]  # with other numbers
    pool: list[str]


def is_looked_for(item: Item) -> bool:
    """Half of the questions; all items of a question fall in one half."""
    return hashlib.blake2b(item.question.lower().encode(), digest_size=1).digest()[0] % 2 == 0


def choose_items(items: Iterable[Item], num_items: int, seed: int) -> list[Item]:
    """Items with distinct questions long enough to be looked for, right answers only, benchmarks in turn."""
    groups: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        if "/wrong" not in item.id and len(item.question.split()) >= MIN_QUESTION_WORDS:
            groups[item.benchmark].setdefault(item.question, item)
    rng = random.Random(seed)
    lists = [rng.sample(list(group.values()), len(group)) for _, group in sorted(groups.items())]
    turns = [group[turn] for turn in range(max(map(len, lists), default=0)) for group in lists if turn < len(group)]
    return turns[:num_items]


def read_pool(data: Path) -> Iterator[dict[str, Any]]:
    """Every document of the pool, in the order of its files."""
    for path in sorted((data / "pool").rglob("*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield from (orjson.loads(line) for line in io.BufferedReader(stream, 1 << 20))


def load_material(data: str | None) -> Material:
    """Items, planted documents and documents without items; the pool's own finds are left in."""
    if data is None:
        items = [
            Item(str(item["id"]), str(item["question"]), str(item["answer"]), None, "word problems") for item in make_word_problems(800, 3)
        ]  # fmt: skip
        texts = [text.replace(" the ", "\n") for text in make_near_copies(num_texts=600, num_copies=1, seed=5)]
        words = make_vocabulary()[:2000]
    else:
        items = read_registry("benchmarks", str(Path(data) / "benchmarks")).items
        texts = [row["text"] for row in read_pool(Path(data))]
        words = sorted(
            {word for text in random.Random(2).sample(texts, 200) for word in text.split() if word.isalpha()}
        )
    rng = random.Random(1)
    hosts = [text for text in texts if HOST_BYTES[0] <= len(text.encode()) <= HOST_BYTES[1]] or texts
    wanted = [item for item in items if is_looked_for(item)]
    chosen = choose_items(wanted, NUM_PLANTED, 4)
    others = choose_items([item for item in items if not is_looked_for(item)], NUM_PLANTED, 5)
    planted = {
        (form.name, share): [make_planted(item, form, share, rng.choice(hosts), words) for item in chosen] for form in FORMS for share in SHARES
    }  # fmt: skip
    return Material(
        items=wanted,
        planted=planted,
        other_items=[
            plant(f"{item.question}\n{item.answer or ''}".rstrip(), item, rng.choice(hosts), rng) for item in others
        ],
        changed=[make_changed(item, rng.choice(hosts)) for item in chosen if count_numbers(item.question) >= 3],
        pool=rng.sample(texts, min(NUM_POOL, len(texts))),
    )


class Found(NamedTuple):
    """What a tagger said of one document."""

    is_flagged: bool
    score: float
    item: str | None


def tag_texts(items: list[Item], texts: list[str], options: dict[str, Any]) -> list[Found]:
    """Verdicts of the tagger `contamination` with options, as a job would give them."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(dump_items(items))
        file.flush()
        tagger = build_tagger("contamination", {"items_paths": [file.name], **options})
    found: list[Found] = []
    for first in range(0, len(texts), BATCH_DOCS):
        batch = pa.record_batch({"text": pa.array(texts[first : first + BATCH_DOCS], pa.large_string())})
        rows = tagger.tag(batch)
        columns = (rows.column(name).to_pylist() for name in ("contaminated", "score", "item"))
        found += [Found(*values) for values in zip(*columns, strict=True)]
    return found


class Scores(NamedTuple):
    """One method at one place of its dial."""

    recall: dict[tuple[str, float], float]
    right_item: float  # of the planted documents that are flagged, those whose item has the planted question
    other_items: float  # share flagged
    changed: float
    pool: int  # flagged documents


def score_method(material: Material, options: dict[str, Any]) -> Scores:
    """Tag everything once."""
    cells = [*material.planted.items(), ("other", material.other_items), ("changed", material.changed)]
    texts = [document.text for _, documents in cells for document in documents] + material.pool
    verdicts = tag_texts(material.items, texts, options)
    questions = {item.id: item.question for item in material.items}
    first, flagged, right = 0, {}, Counter()
    for key, documents in cells:
        part = verdicts[first : first + len(documents)]
        first += len(documents)
        flagged[key] = sum(found.is_flagged for found in part) / max(1, len(part))
        if isinstance(key, tuple):
            for found, document in zip(part, documents, strict=True):
                right[questions.get(found.item or "") == document.item.question] += found.is_flagged
    return Scores(
        recall={key: share for key, share in flagged.items() if isinstance(key, tuple)},
        right_item=right[True] / max(1, right.total()),
        other_items=flagged["other"],
        changed=flagged["changed"],
        pool=sum(found.is_flagged for found in verdicts[first:]),
    )


def precision(material: Material, scores: Scores, form: str, share: float) -> float:
    """Planted among flagged, of the planted documents of one cell, as many other items, and as many documents of the pool in ratio."""
    num_planted = len(material.planted[form, share])
    right = scores.recall[form, share] * num_planted
    wrong = scores.other_items * num_planted + scores.pool / max(1, len(material.pool)) * num_planted
    return right / (right + wrong) if right + wrong else 1.0


def print_tables(material: Material) -> None:
    counts = Counter(document.item.benchmark for document in material.planted["verbatim", 0.0])
    print(f"{len(material.items)} items looked for; planted {sum(counts.values())}: {dict(sorted(counts.items()))}")
    print(
        f"{len(material.other_items)} other items, {len(material.changed)} with changed numbers, {len(material.pool)} pool documents"
    )
    for form in FORMS:
        print(f"  {form.name}: {form.meaning}")
    for method in METHODS:
        print(f"\n## {method.name}: recall by form and share of edited words")
        print(
            f"{method.dial:>11s} "
            + " ".join(f"{form.name:>23s}" for form in FORMS)
            + "   other  numbers  pool  right item  P at 10%"
        )
        print(" " * 12 + " ".join(" ".join(f"{share:5.0%}" for share in SHARES) for _ in FORMS))
        for value in method.values:
            scores = score_method(material, {**method.options, method.dial: value} if value else method.options)
            cells = " ".join(" ".join(f"{scores.recall[form.name, share]:5.3f}" for share in SHARES) for form in FORMS)
            mark = "*" if value == method.default else " "
            print(
                f"{value:10.2f}{mark} {cells}  {scores.other_items:6.3f} {scores.changed:8.3f} {scores.pool:5d} {scores.right_item:11.3f}"
                f" {precision(material, scores, 'template', 0.1):9.3f}",
                flush=True,
            )


def find_natural(data: Path, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Flagged documents of the whole pool, with the item's text and what matched."""
    items = read_registry("benchmarks", str(data / "benchmarks")).items
    known = {item.id: item for item in items}
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(dump_items(items))
        file.flush()
        tagger = build_tagger("contamination", {"items_paths": [file.name], **options})
    rows: list[dict[str, Any]] = []
    for row in read_pool(data):
        rows.append(row)
        if len(rows) == BATCH_DOCS:
            yield from _flagged(tagger, rows, known)
            rows = []
    yield from _flagged(tagger, rows, known)


def _flagged(tagger: Any, rows: list[dict[str, Any]], known: dict[str, Item]) -> Iterator[dict[str, Any]]:
    batch = pa.record_batch({"text": pa.array([row["text"] for row in rows], pa.large_string())})
    for row, found in zip(rows, tagger.tag(batch).to_pylist(), strict=True):
        if found["contaminated"]:
            data, item = row["text"].encode(), known[found["item"]]
            spans = [data[span["start"] : span["end"] + 200].decode(errors="replace") for span in found["spans"]]
            yield {
                "benchmark": item.benchmark, "source": row["source"], "document": row["id"], "item": item.id, "score": round(found["score"], 3),
                "question": item.question, "answer": item.answer, "found": spans,
            }  # fmt: skip


def print_natural(finds: list[dict[str, Any]]) -> None:
    counts = Counter((find["benchmark"], find["source"]) for find in finds)
    print(f"{'benchmark':16s} {'source':24s} documents")
    for (benchmark, source), number in sorted(counts.items(), key=lambda cell: (-cell[1], cell[0])):
        print(f"{benchmark:16s} {source:24s} {number:9d}")
    print(f"{'all':41s} {len(finds):9d}")


def main() -> None:
    data, what = os.environ.get("DOLMA_PY_DATA"), sys.argv[1:2]
    if not what:
        print_tables(load_material(data))
        return
    if data is None:
        raise SystemExit("natural, list: expected DOLMA_PY_DATA, the folder of the sample data")
    finds = list(find_natural(Path(data), {}))
    print_natural(finds)
    if what == ["list"]:
        Path(sys.argv[2]).write_text("".join(json.dumps(find) + "\n" for find in finds))


if __name__ == "__main__":
    main()
