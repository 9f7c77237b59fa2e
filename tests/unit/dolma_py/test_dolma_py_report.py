"""The report of a small corpus made by hand: numbers computed on paper, untrusted text, and every way to be incomplete.

Eight documents in two sources go through four rules; the tables below are the whole story.
"""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py import manifest, parquet_files, report, report_data, report_examples, storage, views
from dolma_py.corpus import SIZES_SCHEMA, Corpus
from dolma_py.documents import DOCUMENT_SCHEMA, DUPLICATE_SCHEMA, SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Listing, Shard, append_shards, pack_address
from dolma_py.report_data import Check, Counts, Funnel, Rule, total
from dolma_py.report_excerpts import Part, compare_texts, make_excerpt
from dolma_py.report_training import Point, thin_points
from tests.strategies import texts

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
    "contamination-v1": (
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
    "decontaminate": [{"name": "contaminated", "attributes": "contamination-v1", "keep": "not contaminated"}],
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


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A finished recipe named made."""
    corpus = Corpus(str(tmp_path / "corpus"))
    listing = write_documents(corpus, ATTRIBUTES)
    question = {"id": "q1", "question": "How many pens?", "answer": "5"}
    storage.write_bytes(corpus.path("items.jsonl"), manifest.render_line(question))
    cells = [dict(zip(CELL_SCHEMA.names, cell, strict=True)) for cell in CELLS]
    write_table(corpus.path("cells.parquet"), cells, CELL_SCHEMA, [len(cells)])
    view = None
    for number, step in enumerate(STEPS):
        if step == "ingest":
            view = views.View(name="made-ingest", listing=listing, shards=2)
        elif view is not None:
            view = view.extend(f"made-{step}", [views.Step(**rule) for rule in RULES.get(step, [])])
        if view is not None:
            views.save_view(view, corpus.path("views", f"{view.name}.yaml"))
        folder = corpus.path("runs/made", f"{number:02d}-{step}")
        artifacts = {"sources": {"items": "items.jsonl"}, "plan": {"cells": "cells.parquet"}}.get(step, {})
        made = {
            "format": "dolma-py-step", "step": step, "kind": KINDS.get(step, step), "rules": RULES.get(step, []), "config": {"mix": "made"},
            "view": None if view is None else view.name, "view_fingerprint": None if view is None else view.fingerprint,
            "facts": FACTS.get(step, {}), "artifacts": artifacts, "funnel": make_funnel(step),
        }  # fmt: skip
        manifest.write_manifest(folder, made)
        run = {
            "seconds": 1.5 + number,
            "mb_per_sec": 2.0,
            "peak_driver_bytes": 5_000_000,
            "python": "3.11.7",
            "finished": f"{number}",
        }
        storage.write_bytes(f"{folder}/run.json", json.dumps(run | {"packages": {"numpy": "2.4.6"}}).encode())
    storage.write_bytes(corpus.path("tokens/made/manifest.json"), b'{"tokenizer": {"fingerprint": "tok"}}')
    return corpus


@pytest.fixture
def training_run(tmp_path: Path) -> Path:
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
        "items": {"items": 7, "mean_over_items": 3.125, "standard_error": 0.25, "byte_weighted": 3.0},
    }  # fmt: skip
    (folder / "eval.json").write_text(json.dumps(evaluation))
    (folder / "sample.txt").write_text("<b>Once</b> \u202eupon")
    return folder


def write(corpus: Corpus, run: Path | None, tmp_path: Path, recipe: str | None = None) -> str:
    output = tmp_path / "report.html"
    report.write_report(corpus=corpus.root, run=None if run is None else str(run), output=str(output), recipe=recipe)
    return output.read_text(encoding="utf-8")


def plain(page: str) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def collect(corpus: Corpus, run: Path | None = None) -> report_data.Report:
    return report_data.collect(corpus, recipe=None, run=None if run is None else str(run))


def test_funnel_numbers(corpus):
    funnel = collect(corpus).funnel
    assert funnel.entering == {"web": Counts(5, 137), "notes": Counts(3, 71)}
    assert funnel.kept == {"web": Counts(3, 89), "notes": Counts(1, 31)}
    assert [rule.name for rule in funnel.rules] == ["too_short", "near_copy", "repeated", "contaminated"]
    assert [rule.is_edit for rule in funnel.rules] == [False, False, True, False]
    lines = report.list_funnel(funnel)
    assert [tuple(line.dropped) for line in lines] == [(2, 6), (1, 30), (0, 14), (1, 38)]
    assert [tuple(line.leaving) for line in lines] == [(6, 202), (5, 172), (5, 158), (4, 120)]
    assert [line.out_frac for line in lines] == [202 / 208, 172 / 208, 158 / 208, 120 / 208]


def test_the_numbers_of_the_manifests_are_those_of_the_view(corpus):
    """The tables above are what the view says about the documents, so the examples below are about the same rows."""
    data = collect(corpus)
    failed = []
    for shard in corpus.read_listing().shards:
        sources = pa.array([shard.source] * shard.rows)
        groups = list(range(len(shard.row_groups)))
        failed += views.evaluate_view(data.view, corpus.root, shard, groups, sources).failed.tolist()
    assert failed == [0, -1, -1, 1, -1, 3, -1, 0]


def test_headline(corpus, training_run):
    items = [tuple(item) for item in report.list_headlines(collect(corpus, training_run))]
    assert items == [
        ("8", "documents in, 0.000\u00a0MB"),
        ("4", "documents kept, 0.000\u00a0MB"),
        ("4", "documents dropped, 0.000\u00a0MB"),
        ("29", "tokens in 1 part"),
        ("1,234,567", "parameters of the model"),
        ("4.000", "loss at the end, nats per token"),
        ("1.500", "bits per byte on held-out text; zstd -19 needs 2.000"),
    ]


def test_all_checks_hold(corpus, training_run):
    checks = collect(corpus, training_run).checks
    assert len(checks) == 6
    assert [check.failures for check in checks] == [()] * 6


ZERO, ONE, TWO = Counts(0, 0), Counts(1, 10), Counts(2, 30)
GOOD_RULE = Rule("r", "", False, {"web": TWO}, {"web": ONE}, {"web": Counts(1, 20)}, ())


def test_conservation_holds():
    funnel = Funnel({"web": TWO}, (GOOD_RULE,), {"web": Counts(1, 20)}, ())
    assert report_data.check_conservation(funnel).failures == ()


@pytest.mark.parametrize(
    ("entering", "rule", "kept"),
    [
        (Counts(3, 30), GOOD_RULE, Counts(1, 20)),
        (TWO, GOOD_RULE._replace(dropped={"web": ZERO}), Counts(1, 20)),
        (TWO, GOOD_RULE._replace(dropped={"web": Counts(1, 11)}), Counts(1, 20)),
        (TWO, GOOD_RULE._replace(leaving={"web": Counts(1, 20), "new": ONE}), Counts(1, 20)),
        (TWO, GOOD_RULE, Counts(1, 19)),
    ],
    ids=["between rules", "documents", "bytes", "a source from nowhere", "the end"],
)
def test_lost_documents_are_named(entering, rule, kept):
    failures = report_data.check_conservation(Funnel({"web": entering}, (rule,), {"web": kept}, ())).failures
    assert len(failures) >= 1


def test_a_broken_sum_is_shown(corpus, tmp_path):
    path = corpus.path("runs/made/08-shards/manifest.json")
    Path(path).write_text(Path(path).read_text().replace('"tokens": 29', '"tokens": 28'))
    checks = {check.text: check.failures for check in collect(corpus).checks}
    assert checks["tokens drawn = tokens in the shards"] == ("29 and 28",)
    assert checks["tokens over all sources = tokens in the shards"] == ("29 and 28",)
    assert plain(write(corpus, None, tmp_path)).count("does not hold") == 2


def test_a_run_over_other_shards_is_shown(corpus, training_run):
    (training_run / "config.json").write_text('{"tokenizer_fingerprint": "other"}')
    checks = collect(corpus, training_run).checks
    assert checks[-1] == Check(checks[-1].text, ("other and tok: the run is over other shards",))


def test_the_table_is_on_the_page(corpus, training_run, tmp_path):
    words = plain(write(corpus, training_run, tmp_path))
    assert "documents and bytes in = out + dropped, for every rule and source: holds" in words
    assert "The edit repeated cut 14 bytes (8.14 %)" in words
    assert "web not_json 1,234" in words
    assert "Of 8 documents (0.000 MB), 4 stayed with 57.69 % of the text after 4 rules and edits" in words
    assert "Most went with contaminated: 18.27 % of the bytes" in words
    assert "1.500 2.000 1.750 -25.0 %" in words
    assert "Answers of 7 items, given their questions: 3.125 bits per byte" in words


def test_examples_say_why(corpus):
    data = collect(corpus)
    shown, kept = report_examples.collect_examples(
        corpus, data.view, funnel=data.funnel, questions={"q1": "How many pens?"}
    )
    assert [[example.id for example in group] for group in shown] == [["w0", "n2"], ["w3"], ["w4"], ["n0"]]
    assert shown[0][0].reasons == ("num_words = 1, must be >= 3",)
    near = shown[1][0]
    assert near.reasons == ("similarity 0.750", "one of 2 in its cluster")
    assert near.other.id == "w2"
    assert near.parts == (Part("the cat sat on the mat "), Part("tonight", "differs"))
    assert near.other.parts == (Part("the cat sat on the mat "), Part("today", "differs"))
    assert shown[2][0].reasons == ("14 bytes cut",)
    assert shown[2][0].parts == (Part("repeat repeat ", "cut"), Part("repeat stays"))
    assert shown[3][0].reasons == ("item q1, score 0.875", "the item: How many pens?")
    assert shown[3][0].parts == (Part("Ann has 3 pens. Bob has 2. How many?", "found"), Part(" 5"))
    assert [example.id for example in kept] == ["w1", "w4"]
    assert kept[1].parts == shown[2][0].parts


def test_the_kept_copy_is_found_where_the_cluster_does_not_begin(corpus, tmp_path):
    """A policy may keep another member than the first: the address of the cluster is then that of a dropped document."""
    schema, web, notes = ATTRIBUTES["minhash-v1"]
    web = [web[0], web[1], web[3] | {"kept_id": "n0", "cluster_id": 2}, web[3] | {"kept_id": "n0"}, web[4]]
    notes = [notes[0] | {"cluster_id": 2}, *notes[1:]]
    for source, rows, groups in (("web", web, [3, 2]), ("notes", notes, [3])):
        write_table(corpus.path(f"attributes/minhash-v1/{source}/part-00000.parquet"), rows, schema, groups)
    data = collect(corpus)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, questions={})
    assert shown[1][0].other.id == "n0"


def test_a_copy_whose_twin_is_not_found_names_it(corpus, monkeypatch):
    monkeypatch.setattr(report_examples, "MAX_SCAN_ROWS", 0)
    schema, web, notes = ATTRIBUTES["minhash-v1"]
    web = [web[0], web[1], web[3] | {"kept_id": "n0"}, web[3] | {"kept_id": "n0"}, web[4]]
    write_table(corpus.path("attributes/minhash-v1/web/part-00000.parquet"), web, schema, [3, 2])
    data = collect(corpus)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, questions={})
    assert shown[1][0].reasons[0] == "similarity 0.750 with n0, which stayed"


def test_planted_items(corpus, tmp_path):
    data = collect(corpus)
    planted = report_examples.collect_planted(corpus, data.view, data.steps)
    assert planted[:3] == (3, 1, 2)
    assert {fate.text: (fate.is_good, fate.item_ids) for fate in planted.fates} == {
        "found, dropped by contaminated": (True, ("q1",)),
        "missed, still in the corpus": (False, ("q2 (score 0.500)",)),
        "not searched: dropped by too_short before": (True, ("q3",)),
    }
    assert planted.num_others == 0
    assert "Planted evaluation items: 1 of 2 found" in plain(write(corpus, None, tmp_path))


def test_items_planted_twice_and_lost_ones_are_counted_by_document(corpus):
    path = Path(corpus.path("runs/made/00-sources/manifest.json"))
    made = json.loads(path.read_text())
    made["facts"]["planted"] = ["q1", "q1", "q2", "q3", "q4"]
    path.write_text(json.dumps(made))
    data = collect(corpus)
    planted = report_examples.collect_planted(corpus, data.view, data.steps)
    lost = [fate.item_ids for fate in planted.fates if fate.text.startswith("no document")]
    assert lost == [("q1", "q4")]
    assert planted.num_planted == 5
    assert sum(len(fate.item_ids) for fate in planted.fates) == 5


def test_rates_by_bucket(corpus):
    rates = collect(corpus).mix.rates
    assert [tuple(rate) for rate in rates] == [("web", (12 / 18, 4.0, None), 20), ("notes", (0.0, 10 / 6, None), 10)]


class Walker(html.parser.HTMLParser):
    """Tags, and attributes by name, of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")


def walk(page: str) -> Walker:
    walker = Walker()
    walker.feed(page)
    return walker


def test_documents_are_escaped(corpus, training_run, tmp_path):
    page = write(corpus, training_run, tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "\u202e" not in page
    assert '<span class="control">U+202E</span>evil<span class="control">U+202C</span>' in page
    assert "&lt;b&gt;Once&lt;/b&gt;" in page
    assert not {"b"} & walk(page.split("Text the model wrote")[1].split("<h2")[0]).tags


def test_the_page_loads_nothing(corpus, training_run, tmp_path):
    walker = walk(write(corpus, training_run, tmp_path))
    assert not walker.tags & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "image",
        "foreignobject",
    }
    assert not [
        name for name in walker.attributes if name.startswith("on") or name in ("src", "srcset", "action", "data")
    ]
    links = walker.attributes["href"] | walker.attributes.get("xlink:href", set())
    assert links
    assert all(link.startswith("#") for link in links)
    assert "default-src 'none'; style-src 'unsafe-inline'" in walker.attributes["content"]


def test_hostile_names_are_escaped_everywhere(corpus, tmp_path):
    """Sources, rules, items and ids come from files too. A picture shows a source's name as it is, with no formula."""
    evil = "$\\frac{1}{0}$ <img src=x onerror=alert(1)> \u202e"
    escaped = json.dumps(evil)[1:-1]
    for path in [*Path(corpus.path("runs")).rglob("manifest.json"), *Path(corpus.path("views")).glob("*.yaml")]:
        text = path.read_text()
        for word in ('"notes"', '"natural"', '"not_json"'):
            text = text.replace(word, f'"{escaped}"')
        path.write_text(text.replace("q3", escaped))
    documents = [{"id": evil, "text": text, "source": evil, "metadata": json.dumps(more)} for _, text, _, more in NOTES]
    write_table(corpus.path("documents/notes/part-00000.parquet"), documents, DOCUMENT_SCHEMA, [3])
    cells = [dict(zip(CELL_SCHEMA.names, (evil, *cell[1:]), strict=True)) for cell in CELLS]
    write_table(corpus.path("cells.parquet"), cells, CELL_SCHEMA, [len(cells)])
    page = write(corpus, None, tmp_path)
    assert page.count("&lt;img src=x onerror") == 9
    assert ">$\\frac{1}{0}$ &lt;img" in page.split("<svg")[1].split("</svg>")[0]
    assert "img" not in walk(page).tags
    assert "onerror" not in walk(page).attributes
    assert "\u202e" not in page


@given(texts())
def test_visible_text_hides_nothing_and_steers_nothing(text):
    shown = str(report.make_visible(text))
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", shown
    )
    assert walk(shown).tags <= {"span"}
    back = re.sub(r'<span class="control">U\+([0-9A-F]+)</span>', lambda match: chr(int(match[1], 16)), shown)
    assert html.unescape(back) == text.replace("\r\n", "\n")


@pytest.mark.parametrize("num_steps", range(1, len(STEPS) + 1))
def test_a_recipe_stopped_anywhere_has_a_report(corpus, tmp_path, num_steps):
    for number in range(num_steps, len(STEPS)):
        (Path(corpus.path("runs/made")) / f"{number:02d}-{STEPS[number]}" / "manifest.json").unlink()
    words = plain(write(corpus, None, tmp_path))
    stopped = [f"Stopped before step {num_steps:02d}"] if num_steps < len(STEPS) else []
    assert re.findall(r"Stopped before step \d\d", words) == stopped
    assert ("No funnel" in words) == (num_steps < 2)
    assert ("No rule yet" in words) == (num_steps == 2)
    assert ("No plan" in words) == (num_steps < 7)
    assert ("No shards yet" in words) == (7 <= num_steps < 9)
    assert "does not hold" not in words


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("metrics.jsonl", "The run has no log yet."),
        ("manifest.json", "Not finished: 3 of 3 steps are done."),
        ("eval.json", "Not evaluated yet"),
        ("run.json", "3 steps, 300 tokens"),
        ("config.json", "3 steps, 300 tokens"),
        ("tokens.json", "3 steps, 300 tokens"),
        ("sample.txt", "3 steps, 300 tokens"),
    ],
)
def test_a_run_without_one_of_its_files(corpus, training_run, tmp_path, missing, expected):
    (training_run / missing).unlink()
    assert expected in plain(write(corpus, training_run, tmp_path))


def test_without_a_run(corpus, tmp_path):
    words = plain(write(corpus, None, tmp_path))
    assert "No training run was named" in words
    assert "Not evaluated yet" in words


def test_an_empty_run_folder_is_named(corpus, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "nothing holds neither metrics.jsonl nor eval.json" in plain(write(corpus, tmp_path / "nothing", tmp_path))


def test_a_run_that_still_writes_its_log(corpus, training_run, tmp_path):
    (training_run / "manifest.json").unlink()
    log = training_run / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "lo')
    training = collect(corpus, training_run).training
    assert (training.steps, training.last_loss, training.is_finished) == (3, 4.0, False)


def test_a_broken_line_in_the_log_is_named(corpus, training_run):
    log = training_run / "metrics.jsonl"
    log.write_text("{half\n" + log.read_text())
    with pytest.raises(DataError) as error:
        collect(corpus, training_run)
    assert error.value.row == 1


def test_a_loss_that_is_not_finite_is_counted(corpus, training_run, tmp_path):
    log = training_run / "metrics.jsonl"
    log.write_text(log.read_text().replace('"loss": 5.0', '"loss": NaN'))
    training = collect(corpus, training_run).training
    assert (training.num_not_finite, len(training.points)) == (1, 2)
    assert "1 logged steps have a loss or rate that is not finite" in plain(write(corpus, training_run, tmp_path))


def test_what_an_earlier_build_left_is_not_counted(corpus, tmp_path):
    """A changed recipe leaves folders of its earlier form: one under the same number, and all that stands behind a gap."""
    runs = Path(corpus.path("runs/made"))
    shutil.copytree(runs / "03-minhash", runs / "03-anders")
    other = json.loads((runs / "03-anders/manifest.json").read_text()) | {
        "view_fingerprint": "0" * 32,
        "step": "anders",
    }
    (runs / "03-anders/manifest.json").write_text(json.dumps(other))
    assert [step.name for step in collect(corpus).steps] == STEPS
    (runs / "04-substring/manifest.json").unlink()
    data = collect(corpus)
    assert [step.name for step in data.steps] == STEPS[:4]
    assert data.funnel.kept == {"web": Counts(3, 103), "notes": Counts(2, 69)}
    assert "04-substring, 05-decontaminate, 06-plan, 07-sample, 08-shards" in data.notes[0]


def test_rules_of_another_threshold_are_not_mixed(corpus):
    """The view of the first rule changed: what was counted over the old one is not shown behind it."""
    path = Path(corpus.path("views/made-tag.yaml"))
    path.write_text(path.read_text().replace("num_words >= 3", "num_words >= 2"))
    made_path = Path(corpus.path("runs/made/02-tag/manifest.json"))
    made = json.loads(made_path.read_text()) | {"view_fingerprint": corpus.load_view("made-tag").fingerprint}
    made_path.write_text(json.dumps(made))
    assert [step.name for step in collect(corpus).steps] == STEPS[:3]


def test_a_job_run_by_hand_shows_its_own_rules(corpus, tmp_path):
    """The view that a job is given has rules already; its funnel begins behind them."""
    for step, number in (("minhash", 3), ("substring", 4)):
        shutil.copytree(
            corpus.path(f"runs/made/{number:02d}-{step}"), corpus.path(f"runs/later/{number - 3:02d}-{step}")
        )
    data = report_data.collect(corpus, recipe="later", run=None)
    assert [rule.name for rule in data.funnel.rules] == ["near_copy", "repeated"]
    assert total(data.funnel.entering) == (6, 202)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, questions={})
    assert [example.reasons[0] for group in shown for example in group] == ["similarity 0.750", "14 bytes cut"]


def test_the_recipe_must_be_clear(corpus):
    shutil.copytree(corpus.path("runs/made"), corpus.path("runs/more"))
    with pytest.raises(ConfigError) as error:
        report_data.collect(corpus, recipe=None, run=None)
    assert (error.value.key, error.value.rule) == ("--recipe", "expected one of ['made', 'more']")
    assert report_data.collect(corpus, recipe="more", run=None).recipe == "more"
    with pytest.raises(ConfigError) as error:
        report_data.collect(corpus, recipe="less", run=None)
    assert error.value.got == "less"


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        report_data.collect(Corpus(str(tmp_path)), recipe=None, run=None)
    assert error.value.got == str(tmp_path)


def test_the_same_inputs_give_the_same_page(corpus, training_run, tmp_path):
    assert write(corpus, training_run, tmp_path) == write(corpus, training_run, tmp_path)


def test_the_message_names_file_and_size(corpus, tmp_path):
    output = tmp_path / "deep" / "page.html"
    message = report.write_report(corpus=corpus.root, run=None, output=str(output), recipe=None)
    assert message == f"wrote {output} ({output.stat().st_size / 1000:,.0f} kB)"


def join(parts: tuple[Part, ...]) -> str:
    return "".join(part.text for part in parts if part.mark != "gap")


@given(st.lists(texts(max_size=8), max_size=6))
def test_short_texts_are_shown_whole(pieces):
    """Every second piece is a span."""
    data = [piece.encode() for piece in pieces]
    ends = np.cumsum([0, *map(len, data)]).tolist()
    spans = [(ends[i], ends[i + 1]) for i in range(1, len(data), 2)]
    parts = make_excerpt(b"".join(data), spans, "cut")
    text = "".join(pieces)
    left_out = sum(int(part.text.split()[0].replace(",", "")) for part in parts if part.mark == "gap")
    assert len(join(parts)) + left_out == len(text)
    assert "".join(part.text for part in parts if part.mark == "cut") in ("".join(pieces[1::2]), join(parts))


def test_a_long_document_is_shortened():
    parts = make_excerpt(b"a" * 1000 + b"b" * 1000 + b"c" * 1000, [(1000, 2000)], "found")
    assert [(part.mark, len(part.text)) for part in parts if part.mark != "gap"] == [
        ("", 90),
        ("found", 200),
        ("found", 60),
        ("", 90),
    ]
    assert [part.text for part in parts if part.mark == "gap"] == ["910 characters", "740 characters", "910 characters"]


def test_many_places_are_counted():
    parts = make_excerpt(b"x." * 10, [(2 * i, 2 * i + 1) for i in range(10)], "cut")
    assert parts[-1] == Part("7 more places", "gap")
    assert sum(part.mark == "cut" for part in parts) == 3


@given(texts(), texts(), texts())
def test_what_is_not_marked_is_the_same_on_both_sides(common, one, other):
    sides = compare_texts(common + one, common + other)
    same = [re.sub(r"\s+", " ", "".join(part.text for part in side if part.mark == "")) for side in sides]
    assert same[0] == same[1]
    assert join(sides[0]) in common + one
    assert join(sides[1]) in common + other


def test_a_late_difference_is_found():
    parts, _ = compare_texts("a" * 5000 + " left", "a" * 5000 + " right")
    assert parts[0] == Part("4,921 characters", "gap")
    assert parts[-1] == Part("left", "differs")


def test_points_are_means_of_stretches():
    points = [Point(float(i), 10.0 * i, 1.0, 2.0) for i in range(7)]
    assert thin_points(points, 7) == tuple(points)
    assert thin_points(points, 3) == (Point(1, 10, 1, 2), Point(4, 40, 1, 2), Point(6, 60, 1, 2))
    assert thin_points([], 3) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0.000"), (825, "0.001"), (99_999_999, "100.000"), (1_234_567_890, "1,234.6")],
)
def test_megabytes(value, expected):
    assert report.format_mb(value) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1, 3, "33.33\u00a0%"), (0, 3, "0.00\u00a0%"), (1, 10**6, "< 0.01\u00a0%"), (5, 0, "-"), (3, 3, "100.00\u00a0%")],
)
def test_shares(part, whole, expected):
    assert report.format_share(part, whole) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (99.9, "99.9 s"), (150, "2 min"), (7260, "2 h 01 min")]
)
def test_durations(seconds, expected):
    assert report.format_duration(seconds) == expected
