"""What the benchmarks of decontamination look for and look in: items, planted documents, documents that hold none.

Half of the items of the packaged registry (by hash of their question) are looked for. Planted are NUM_PLANTED of these, right answers
only, the benchmarks in turn, in documents of the pool. No items are: documents of the pool as they are; items of the other half, of
the same benchmarks and templates; and the planted items with every number changed (of those with three numbers or more). Without
sample data: made word problems in made texts.
"""

from __future__ import annotations

import hashlib
import io
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import zstandard

from benchmarks.made_texts import make_near_copies, make_vocabulary
from benchmarks.planted_items import FORMS, Planted, count_numbers, make_changed, make_planted, plant
from dolma_py.word_problems import make_word_problems
from taggers.base import Tagger
from taggers.evaluation_sets import dump_items, read_registry
from taggers.ngram_match import Item
from taggers.registry import build_tagger

SHARES = (0.0, 0.05, 0.1, 0.2)  # of edited words
NUM_PLANTED = 600
NUM_POOL = 20_000
HOST_BYTES = (500, 8000)  # of documents that items are put into
BATCH_DOCS = 2000
MIN_QUESTION_WORDS = 5  # what has one n-gram


class Material(NamedTuple):
    """What a run looks for and looks in."""

    items: list[Item]  # looked for
    planted: dict[tuple[str, float], list[Planted]]  # (form, share of edited words); the same items in every cell
    other_items: list[Planted]  # of the half that is not looked for
    changed: list[Planted]  # with other numbers
    pool: list[str]


def is_looked_for(item: Item) -> bool:
    """Half of the questions; all items of a question fall in one half."""
    return hashlib.blake2b(item.question.lower().encode(), digest_size=1).digest()[0] % 2 == 0


def choose_items(items: Iterable[Item], num_items: int, seed: int) -> list[Item]:
    """Items with distinct questions of MIN_QUESTION_WORDS words or more, right answers only, benchmarks in turn."""
    groups: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        if "/wrong" not in item.id and len(item.question.split()) >= MIN_QUESTION_WORDS:
            groups[item.benchmark].setdefault(item.question, item)
    rng = random.Random(seed)
    lists = [rng.sample(list(group.values()), len(group)) for _, group in sorted(groups.items())]
    turns = [group[turn] for turn in range(max(map(len, lists), default=0)) for group in lists if turn < len(group)]
    return turns[:num_items]


def read_items(data: Path) -> list[Item]:
    """All items of the packaged registry."""
    return read_registry("benchmarks", str(data / "benchmarks")).items


def read_pool(data: Path) -> Iterator[dict[str, Any]]:
    """Every document of the pool, in the order of its files."""
    for path in sorted((data / "pool").rglob("*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield from (orjson.loads(line) for line in io.BufferedReader(stream, 1 << 20))


def load_material(data: str | None) -> Material:
    """Items, planted documents and documents without items; the pool's own finds are left in."""
    if data is None:
        made = make_word_problems(1600, 3)
        items = [Item(str(one["id"]), str(one["question"]), str(one["answer"]), None, "word problems") for one in made]
        texts = [text.replace(" the ", "\n") for text in make_near_copies(num_texts=600, num_copies=1, seed=5)]
        words = make_vocabulary()[:2000]
    else:
        items = read_items(Path(data))
        texts = [row["text"] for row in read_pool(Path(data))]
        words = sorted(
            {word for text in random.Random(2).sample(texts, 200) for word in text.split() if word.isalpha()}
        )
    return make_material(items, texts, words)


def make_material(items: list[Item], texts: list[str], words: list[str]) -> Material:
    """Choose, edit and plant; words: what edited words become."""
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


def make_tagger(items: list[Item], options: dict[str, Any]) -> Tagger:
    """The tagger `contamination` over items, as a job has it."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(dump_items(items))
        file.flush()
        return build_tagger("contamination", {"items_paths": [file.name], **options})


class Verdict(NamedTuple):
    """What a tagger said of one document."""

    is_flagged: bool
    item: str | None


def tag_texts(tagger: Tagger, texts: list[str]) -> list[Verdict]:
    """Verdicts in order."""
    found: list[Verdict] = []
    for first in range(0, len(texts), BATCH_DOCS):
        rows = tagger.tag(pa.record_batch({"text": pa.array(texts[first : first + BATCH_DOCS], pa.large_string())}))
        columns = (rows.column(name).to_pylist() for name in ("contaminated", "item"))
        found += [Verdict(*values) for values in zip(*columns, strict=True)]
    return found
