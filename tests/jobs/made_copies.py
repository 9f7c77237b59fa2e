"""A corpus full of copies for tests of deduplication as a whole: exact ones, near ones, common URLs, lines and passages."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.dedup_jobs import run_job
from tests.jobs.made_recipe import make_text
from tests.tiny_corpus import Groups, write_corpus


def make_shards(num_shards: int = 5, docs_per_shard: int = 120, seed: int = 5) -> list[Groups]:
    """Shards of two row groups; of ten documents about two repeat an earlier one, three are near copies, one has its URL."""
    rng = random.Random(seed)
    passage, footer = make_text(rng, 10), "Subscribe to our letter from the harbour market and the old village."
    texts: list[str] = []
    shards: list[Groups] = []
    for _ in range(num_shards):
        rows = []
        for _ in range(docs_per_shard):
            kind = rng.randrange(10)
            earlier = rng.choice(texts) if texts else ""
            if kind < 2 and earlier:
                text = earlier
            elif kind < 5 and earlier:
                text = earlier.replace(rng.choice(["river", "stone", "winter"]), "autumn", 2)
            else:
                text = make_text(rng, rng.randrange(15, 40))
            if rng.random() < 0.2:
                text = f"{text}\n\n{footer}\n\n{passage}"
            texts.append(text)
            metadata = {"url": f"http://example.org/{rng.randrange(num_shards * docs_per_shard // 2)}?utm_source=x"}
            rows.append({"text": text, "source": rng.choice(["web", "news"]), "metadata": json.dumps(metadata)})
        shards.append([rows[: docs_per_shard // 2], rows[docs_per_shard // 2 :]])
    return shards


def write_copies(root: str) -> None:
    write_corpus(root, make_shards())


def save_day1(root: Path) -> None:
    """What JOBS ask, made by the jobs: an index of the texts and a filter of the URLs of the first two shards, in root/day1."""
    for kind, seen in (("dedup_exact", {"index": {"save": str(root / "day1" / "exact")}}),
                       ("dedup_urls", {"bloom": {"save": str(root / "day1" / "urls.bloom")}})):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            run_job(kind, Path(folder) / "corpus", make_shards()[:2], seen)


# name -> (kind, settings): every kind of deduplication, in the forms that take other ways through the code
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("dedup_exact", {"index": {"against": "{corpus}/day1/exact", "save": "{corpus}/seen/exact"}}),
    "normalised": ("dedup_exact", {"text": "normalised", "scope": "source"}),
    "urls": ("dedup_urls", {
        "bloom": {"against": "{corpus}/day1/urls.bloom", "save": "{corpus}/seen/urls.bloom"}, "index": {"save": "{corpus}/seen/urls"}}),
    "lines": ("dedup_paragraphs", {"unit": "line", "min_words": 3}),
    "paragraphs": ("dedup_paragraphs", {"unit": "paragraph"}),
    "minhash": ("dedup_minhash", {"unit_docs": 20}),
    "minhash-spark": ("dedup_minhash", {
        "unit_docs": 20, "components": "spark", "preset": "fineweb", "verification": {"rule": "pairs", "large_component": 8}}),
    "substring": ("dedup_substring", {"pool_bytes": 700_000}),
    "substring-pool": ("dedup_substring", {"pool_bytes": 700_000, "scope": "pool"}),
}  # fmt: skip
