"""A small corpus with a finished recipe and a training run, made by hand, for the tests of the report.

Eight documents in two sources go through four rules; the tables below are the whole story, computed on paper.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma_py import manifest, parquet_files, report_data, storage, views
from dolma_py.corpus import SIZES_SCHEMA, Corpus
from dolma_py.documents import DOCUMENT_SCHEMA, DUPLICATE_SCHEMA, SPANS
from dolma_py.listing import Listing, Shard, append_shards, pack_address

HOSTILE = '<script>alert("x")</script> \u202eevil\u202c words here'  # 49 bytes
# (id, text, words, metadata); row groups of web: 3 + 2 documents
WEB = [
    ("w0", "tiny", 1, {}),
    ("w1", HOSTILE, 5, {}),
    ("w2", "the cat sat on the mat today", 7, {}),
    ("w3", "the cat sat on the mat tonight", 7, {}),
    ("w4", "repeat repeat repeat stays", 4, {}),
]
NOTES = [
    ("n0", "Ann has 3 pens. Bob has 2. How many? 5", 9, {"planted_item": "q1"}),
    ("n1", "clean note about nothing at all", 6, {"http_headers": {"x-planted-item": "q2"}}),
    ("n2", "ab", 1, {"planted_item": "q3"}),
]
NO = {"is_duplicate": False, "cluster_id": None, "cluster_size": 1, "kept_id": None, "similarity": 1.0}
GONE = dict.fromkeys(NO)
STEPS = ["sources", "ingest", "tag", "minhash", "substring", "decontaminate", "plan", "sample", "shards"]


def address(shard: int, row: int) -> int:
    return int(pack_address(shard, np.array([row]))[0])


def write_table(path: str, rows: list[dict], schema: pa.Schema, groups: list[int]) -> None:
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    with storage.write_file(path) as stream, parquet_files.open_writer(stream, nullable) as writer:
        first = 0
        for size in groups:
            parquet_files.write_row_group(writer, pa.Table.from_pylist(rows[first : first + size], schema=nullable))
            first += size


def write_documents(corpus: Corpus, attributes: dict[str, tuple[pa.Schema, list[dict], list[dict]]]) -> str:
    """Documents, sizes, attribute sets and listing; the listing's fingerprint."""
    shards = []
    for number, (source, documents, groups) in enumerate([("web", WEB, [3, 2]), ("notes", NOTES, [3])]):
        path = f"documents/{source}/part-00000.parquet"
        rows = [
            {"id": name, "text": text, "source": source, "metadata": json.dumps(values)}
            for name, text, _, values in documents
        ]
        write_table(corpus.path(path), rows, DOCUMENT_SCHEMA, groups)
        sizes = [len(text.encode()) for _, text, _, _ in documents]
        sets = {"sizes-v1": (SIZES_SCHEMA, [{"text_bytes": size} for size in sizes])}
        sets |= {name: (schema, values[number]) for name, (schema, *values) in attributes.items()}
        for name, (schema, values) in sets.items():
            write_table(corpus.path(f"attributes/{name}/{source}/part-00000.parquet"), values, schema, groups)
        ends = np.cumsum([0, *groups])
        row_groups = tuple((size, sum(sizes[end - size : end])) for size, end in zip(groups, ends[1:], strict=True))
        shards.append(Shard(number, path, "parquet", source, len(rows), sum(sizes), 1, f"{number:032x}", row_groups))
    return append_shards(corpus.listing_path, Listing(()), shards).fingerprint


ATTRIBUTES = {
    "lengths-v1": (
        pa.schema([("num_words", pa.int64())]),
        [{"num_words": words} for _, _, words, _ in WEB],
        [{"num_words": words} for _, _, words, _ in NOTES],
    ),
    "minhash-v1": (
        DUPLICATE_SCHEMA,
        [
            GONE,
            NO | {"cluster_id": 1, "kept_id": "w1"},
            NO | {"cluster_id": 2, "cluster_size": 2, "kept_id": "w2"},
            {"is_duplicate": True, "cluster_id": 2, "cluster_size": 2, "kept_id": "w2", "similarity": 0.75},
            NO | {"cluster_id": 4, "kept_id": "w4"},
        ],
        [NO | {"cluster_id": address(1, 0), "kept_id": "n0"}, NO | {"cluster_id": address(1, 1), "kept_id": "n1"}, GONE],
    ),
    "substring-v1": (
        pa.schema([("spans", SPANS)]),
        [{"spans": None}, {"spans": []}, {"spans": []}, {"spans": None}, {"spans": [{"start": 0, "end": 14, "score": 1.0}]}],
        [{"spans": []}, {"spans": []}, {"spans": None}],
    ),
    "contamination-v3": (
        pa.schema([("contaminated", pa.bool_()), ("score", pa.float32()), ("item", pa.string()), ("spans", SPANS)]),
        [
            dict.fromkeys(("contaminated", "score", "item", "spans")),
            *[{"contaminated": False, "score": 0.0, "item": None, "spans": []} for _ in range(2)],
            dict.fromkeys(("contaminated", "score", "item", "spans")),
            {"contaminated": False, "score": 0.0, "item": None, "spans": []},
        ],
        [
            {"contaminated": True, "score": 0.875, "item": "q1", "spans": [{"start": 0, "end": 36, "score": 0.875}]},
            {"contaminated": False, "score": 0.5, "item": "q2", "spans": []},
            dict.fromkeys(("contaminated", "score", "item", "spans")),
        ],
    ),
}  # fmt: skip

RULES = {
    "tag": [{"name": "too_short", "attributes": "lengths-v1", "keep": "num_words >= 3 and num_words <= 99"}],
    "minhash": [{"name": "near_copy", "attributes": "minhash-v1", "keep": "not is_duplicate"}],
    "substring": [{"name": "repeated", "attributes": "substring-v1", "edit": "spans"}],
    "decontaminate": [{"name": "contaminated", "attributes": "contamination-v3", "keep": "not contaminated"}],
}
# (documents, bytes, dropped documents, dropped bytes) of web and notes before each rule
LINES = {
    "too_short": [(5, 137, 1, 4), (3, 71, 1, 2)],
    "near_copy": [(4, 133, 1, 30), (2, 69, 0, 0)],
    "repeated": [(3, 103, 0, 14), (2, 69, 0, 0)],
    "contaminated": [(3, 89, 0, 0), (2, 69, 1, 38)],
}
KEPT = {
    "ingest": [(5, 137), (3, 71)], "tag": [(4, 133), (2, 69)], "minhash": [(3, 103), (2, 69)], "substring": [(3, 89), (2, 69)],
    "decontaminate": [(3, 89), (1, 31)],
}  # fmt: skip
EXAMPLES = {
    "too_short": [[1, address(0, 0)], [2, address(1, 2)]], "near_copy": [[1, address(0, 3)]], "repeated": [[1, address(0, 4)]],
    "contaminated": [[1, address(1, 0)]],
}  # fmt: skip
FACTS = {
    "sources": {"items": 3, "planted": ["q1", "q2", "q3"], "sources": {}},
    "ingest": {"documents": 8, "text_bytes": 208, "rejected": {"web": {"not_json": 1234}}},
    "minhash": {"would_remove": {"representative": 1, "pairs": 2, "pairs_not_counted": 1600, "unverified": 3}},
    "plan": {
        "token_budget": 30,
        "num_buckets": 3,
        "sources": [
            {"source": "notes", "tokens": 10, "wanted_tokens": 10, "planned_tokens": 10, "repetition": 1.0, "binds": "natural"},
            {"source": "web", "tokens": 20, "wanted_tokens": 20, "planned_tokens": 20, "repetition": 1.0, "binds": "share"},
        ],
    },
    "sample": {
        "planned_tokens": 30, "sampled_tokens": 29, "documents": 4, "copies": 5, "heldout_documents": 0, "heldout_tokens": 0,
    },
    "shards": {
        "tokens": 29, "documents": 5, "parts": 1, "dtype": "uint16", "vocab_size": 512, "fingerprint": "f", "heldout": {},
        "sources": {"notes": {"tokens": 10, "documents": 1, "bytes": 31}, "web": {"tokens": 19, "documents": 4, "bytes": 200}},
    },
}  # fmt: skip
CONFIGS = {
    "minhash": {
        "verification": {"rule": "representative", "threshold": 0.8, "large_component": 500, "large_index": "prefix"}
    }
}
KINDS = {
    "sources": "installed_text",
    "minhash": "dedup_minhash",
    "substring": "dedup_substring",
    "decontaminate": "tag",
}
KINDS |= {"plan": "plan_mix", "sample": "sample_mix", "shards": "tokenize"}
CELL_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("topic", pa.string()),
        ("bucket", pa.int32()),
        ("tokens", pa.int64()),
        ("planned_tokens", pa.int64()),
    ]
)
CELLS = [
    ("notes", "", 0, 4, 0), ("notes", "", 1, 6, 10), ("notes", "", 2, 0, 0),
    ("web", "a", 0, 8, 4), ("web", "a", 1, 2, 8), ("web", "b", 0, 10, 8), ("web", "b", 1, 0, 0), ("web", "b", 2, 0, 0),
]  # fmt: skip


ARTIFACTS = {
    "sources": {"items": "items.jsonl"}, "plan": {"cells": "cells.parquet"}, "substring": {"repeats": "repeats.json"},
}  # fmt: skip
PLACES = [{"id": "w4", "source": "web", "file": "documents/web/part-00000.parquet", "row": 4}]
REPEATS = [
    {"times": 4000, "documents": 3999, "bytes": 3_200_000, "text": "Licensed under\nthe terms of", "examples": PLACES},
    {"times": 2, "documents": 1, "bytes": 98, "text": HOSTILE, "examples": [PLACES[0] | {"id": HOSTILE, "source": HOSTILE}]},
]  # fmt: skip


def counts(pairs: list[tuple[int, ...]], names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {
        source: dict(zip(names, values, strict=True)) for source, values in zip(("web", "notes"), pairs, strict=True)
    }


def make_funnel(step: str) -> dict | None:
    """What count_view leaves in the manifest."""
    if step not in KEPT:
        return None
    names = ("documents", "bytes", "dropped_documents", "dropped_bytes")
    lines = [
        {"name": rule["name"], "sources": counts(LINES[rule["name"]], names), "examples": EXAMPLES[rule["name"]]}
        for rule in RULES.get(step, [])
    ]
    kept = {"sources": counts(KEPT[step], names[:2]), "examples": [[1, address(0, 1)], [2, address(0, 4)]]}
    return {"steps": lines, "kept": kept}


def make_corpus(tmp_path: Path) -> Corpus:
    """A corpus below tmp_path with a finished recipe named made."""
    corpus = Corpus(str(tmp_path / "corpus"))
    listing = write_documents(corpus, ATTRIBUTES)
    question = {"id": "q1", "question": "How many pens?", "answer": "5"}
    storage.write_bytes(corpus.path("items.jsonl"), manifest.render_line(question))
    cells = [dict(zip(CELL_SCHEMA.names, cell, strict=True)) for cell in CELLS]
    write_table(corpus.path("cells.parquet"), cells, CELL_SCHEMA, [len(cells)])
    repeats = {"format": "dolma-py-repeats", "passages": REPEATS}
    storage.write_bytes(corpus.path("repeats.json"), json.dumps(repeats).encode())
    view = None
    for number, step in enumerate(STEPS):
        if step == "ingest":
            view = views.View(name="made-ingest", listing=listing, shards=2)
        elif view is not None:
            view = view.extend(f"made-{step}", [views.Step(**rule) for rule in RULES.get(step, [])])
        if view is not None:
            views.save_view(view, corpus.path("views", f"{view.name}.yaml"))
        folder = corpus.path("runs/made", f"{number:02d}-{step}")
        artifacts = ARTIFACTS.get(step, {})
        made = {
            "format": "dolma-py-step", "step": step, "kind": KINDS.get(step, step), "rules": RULES.get(step, []),
            "config": CONFIGS.get(step, {"mix": "made"}),
            "view": None if view is None else view.name, "view_fingerprint": None if view is None else view.fingerprint,
            "facts": FACTS.get(step, {}), "artifacts": artifacts, "funnel": make_funnel(step),
        }  # fmt: skip
        manifest.write_manifest(folder, made)
        run = {
            "seconds": 1.5 + number,
            "task_sec": 0.75,
            "mb_per_sec": None if step == "sources" else 2.0,
            "peak_driver_bytes": 5_000_000,
            "python": "3.11.7",
            "finished": f"{number}",
        }
        storage.write_bytes(f"{folder}/run.json", json.dumps(run | {"packages": {"numpy": "2.4.6"}}).encode())
    storage.write_bytes(corpus.path("tokens/made/manifest.json"), b'{"tokenizer": {"fingerprint": "tok"}}')
    return corpus


def make_training_run(tmp_path: Path) -> Path:
    """A finished and evaluated training run."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [
        {"step": step, "tokens": 100 * step, "loss": 7.0 - step, "lr": 0.1, "tokens_per_sec": 50.0}
        for step in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"tokenizer_fingerprint": "tok", "config": {"run": {"steps": 3}}}))
    (folder / "tokens.json").write_text('{"vocab_size": 512, "eos_token_id": 0}')
    made = {"parameters": {"total": 1234567, "without_embeddings": 1000}, "results": {"mean_loss_last_tenth": 4.25}}
    (folder / "manifest.json").write_text(json.dumps(made))
    run = {"seconds": 12.0, "device": "cpu", "tokens_per_sec": 25.0, "torch": "2.13.0", "peak_memory_bytes": 7_000_000}
    (folder / "run.json").write_text(json.dumps(run))
    scores = {
        "documents": 2, "bytes": 1000, "bits_per_byte": 1.5, "zstd_each_document_bits_per_byte": 2.0, "documents_not_kept_by_tokenizer": 0,
    }  # fmt: skip
    evaluation = {
        "checkpoint": "step0000003", "window_tokens": 512, "overlap_tokens": 256, "zstd_level": 19, "max_docs_per_source": None,
        "sources": {"web": scores | {"zstd_one_frame_bits_per_byte": 1.75}, "empty": {"documents": 0, "bytes": 0}},
        "all_documents": scores | {"zstd_one_frame_per_source_bits_per_byte": 1.75},
        "items": {
            "items": 7, "mean_over_items": 3.125, "standard_error": 0.25, "byte_weighted": 3.0, "zstd_given_question_mean_over_items": 7.5,
            "zstd_given_question_byte_weighted": 7.25, "zstd_each_answer_bits_per_byte": 31.0, "zstd_one_frame_bits_per_byte": 3.5,
        },
    }  # fmt: skip
    (folder / "eval.json").write_text(json.dumps(evaluation))
    (folder / "sample.txt").write_text("<b>Once</b> \u202eupon")
    return folder


def collect(corpus: Corpus, run: Path | None = None) -> report_data.Report:
    """The numbers of the only recipe."""
    return report_data.collect(corpus, recipe=None, run=None if run is None else str(run))
