"""A corpus small enough for seconds, with every kind of document that a recipe must tell apart; made text only."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

WORDS = [
    "river",
    "stone",
    "garden",
    "window",
    "letter",
    "market",
    "winter",
    "summer",
    "teacher",
    "engine",
    "story",
    "village",
    "mountain",
    "paper",
    "kitchen",
    "music",
    "forest",
    "history",
    "number",
    "answer",
    "question",
    "bridge",
    "harbour",
    "captain",
    "doctor",
    "farmer",
    "lantern",
    "silver",
    "copper",
    "morning",
    "evening",
    "journey",
]
ITEM = {
    "id": "tiny-0", "question": "A farmer has 17 lanterns and buys 25 more at the harbour market before giving 9 of them to "
    "the captain of the silver ship. How many lanterns does the farmer have in the evening?", "answer": "33", "passage": None,
}  # fmt: skip


def make_sentence(rng: random.Random) -> str:
    """A sentence of stop words and random words, so that Gopher's rules are met."""
    parts = [
        "The",
        *rng.choices(WORDS, k=3),
        "of",
        "the",
        *rng.choices(WORDS, k=2),
        "and",
        "to",
        *rng.choices(WORDS, k=4),
    ]
    return " ".join(parts) + "."


def make_text(rng: random.Random, num_sentences: int) -> str:
    """Paragraphs of five sentences."""
    sentences = [make_sentence(rng) for _ in range(num_sentences)]
    return "\n\n".join(" ".join(sentences[start : start + 5]) for start in range(0, num_sentences, 5))


def make_documents() -> dict[str, list[str]]:
    """source -> texts. stories: 60 plain, 5 exact copies, 5 near copies, 4 with a common passage of 700 bytes, 1 contaminated,
    3 too short; notes: 30 plain; junk: 10 that repeat one line."""
    rng = random.Random(7)
    stories = [make_text(rng, 40) for _ in range(60)]
    near = [text.replace("The river", "A river", 1).replace("winter", "autumn", 1) for text in stories[10:15]]
    passage = make_text(rng, 12)
    sharing = [f"{make_text(rng, 20)}\n\n{passage}\n\n{make_text(rng, 20)}" for _ in range(4)]
    dirty = f"{make_text(rng, 20)} {ITEM['question']} The answer is {ITEM['answer']}. {make_text(rng, 20)}"
    notes = [make_text(rng, 15) for _ in range(30)]
    junk = ["Click here to win.\n" * 80 + make_sentence(rng) for _ in range(10)]
    return {
        "stories": [*stories, *stories[:5], *near, *sharing, dirty, "Too short.", "", "Emoji \U0001f600 only."],
        "notes": notes,
        "junk": junk,
    }


def write_inputs(folder: Path) -> None:
    """inputs/<source>/*.jsonl.gz with two unreadable lines, and items.jsonl."""
    for source, texts in make_documents().items():
        path = folder / "inputs" / source / "part.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"id": f"{source}-{number}", "text": text, "source": source})
            for number, text in enumerate(texts)
        ]
        if source == "notes":
            lines[3:3] = ["{broken", json.dumps({"id": "no-text"})]
        with gzip.open(path, "wt", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
    (folder / "items.jsonl").write_text(json.dumps(ITEM) + "\n")


def make_recipe(folder: Path) -> dict[str, object]:
    """All curation steps over write_inputs' files; shards of a few row groups, so that splitting shows."""
    return {
        "recipe": "tiny",
        "flow": "mix",
        "seed": 3,
        "split_bytes": 20_000,
        "steps": [
            {"name": "ingest", "kind": "ingest", "row_group_text_bytes": 15_000, "sources": [
                {"name": source, "inputs": [str(folder / "inputs" / source)]} for source in ("stories", "notes", "junk")]},
            {"name": "classifier", "kind": "train_classifier", "positives": [str(folder / "inputs" / "stories")],
             "negatives": [str(folder / "inputs" / "junk")], "classifier": {"dim": 8, "held_out_frac": 0.3}},
            {"name": "tag", "kind": "tag",
             "taggers": [{"tagger": "lengths"}, {"tagger": "gopher-dclm"}, {"tagger": "quality", "options": {"model_path": "artifact:quality"}}],
             "rules": [
                 {"name": "long_enough", "attributes": "lengths-v1", "keep": "num_words >= 50"},
                 {"name": "repetition", "attributes": "gopher-dclm-v1", "keep": "dup_line_frac <= 0.3"}]},
            {"name": "exact", "kind": "dedup_exact"},
            {"name": "minhash", "kind": "dedup_minhash", "preset": "olmo3-web", "unit_docs": 4,
             "verification": {"rule": "representative", "large_index": "prefix"}},
            {"name": "substring", "kind": "dedup_substring"},
            {"name": "decontaminate", "kind": "tag",
             "taggers": [{"tagger": "contamination", "options": {"items_paths": [str(folder / "items.jsonl")]}}],
             "rules": [{"name": "contaminated", "keep": "not contaminated"}]},
            {"name": "tokenizer", "kind": "train_tokenizer", "vocab_size": 400},
            {"name": "tokens", "kind": "tag",
             "taggers": [{"tagger": "mixers.token_count:TokenCountTagger", "options": {"tokenizer": "artifact:tokenizer"}}]},
            {"name": "plan", "kind": "plan_mix", "num_buckets": 4, "heldout": {"heldout_docs": 3}, "budget_frac": 1.2,
             "plan": {"token_budget": 1, "default": {"curve": True}}},
            {"name": "sample", "kind": "sample_mix", "num_buckets": 4, "cells": "artifact:cells", "heldout": {"heldout_docs": 3}},
            {"name": "shards", "kind": "tokenize", "mix": "tiny", "tokens_per_part": 20_000},
        ],
    }  # fmt: skip


def list_bytes(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file but run.json."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
