"""Corpora and recipes for tests of taggers as a whole: all rule taggers and edits, the same with short circuits, trained taggers with tiny
models, and PDFs with a model's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from taggers.fasttext_model import normalize_text
from taggers.language_model_training import LanguageModelConfig, train_language_model
from taggers.train_classifier import FastTextOptions, train_model
from tests.chat_server import framed_in, question_of
from tests.dedup_jobs import list_output
from tests.golden.make_rule_outputs import LINES, SENTENCES, make_documents, make_pages
from tests.made_pdfs import make_encrypted, make_lines, make_pdf
from tests.tiny_corpus import Groups, write_corpus

PRESETS = ("gopher-paper", "gopher-datatrove", "gopher-dolma", "fineweb")
OTHERS = (
    "lengths", "gopher-dclm", "rule-presets", *PRESETS, "c4-paper", "c4-code", "c4-fineweb", "ngram-loops", "gzip-ratio", "code-content",
    "code-endings", "pdf-text", "pii", "download-spam",
)  # fmt: skip
RULES = [
    {"name": "hosts", "attributes": "url-lists-v1", "keep": "num_domains <= 0"},
    {"name": "words", "attributes": "olmo3-web-v1", "keep": "num_words >= 5"},
    {"name": "symbols", "attributes": "gopher-paper-v1", "keep": "hash_to_word_ratio <= 0.04"},
    {"name": "loops", "attributes": "lengths-v1", "keep": "num_bytes <= 3500"},
    {"name": "personal", "attributes": "pii-v1", "edit": "spans"},
    {"name": "lines", "attributes": "olmo3-web-v1", "edit": "edits", "except_sources": ["code"]},
    {"name": "c4", "attributes": "c4-fineweb-v1", "edit": "removed", "except_sources": ["code"]},
    {"name": "references", "attributes": "pdf-text-v1", "edit": "url_reference_spans"},
]
SHORT_RULES = [
    {"name": "words", "attributes": "olmo3-web-v1", "keep": "num_words >= 12"},
    {"name": "grams", "attributes": "olmo3-web-v1", "keep": "top_2gram_char_frac <= 0.5"},
    {"name": "lines", "attributes": "olmo3-web-v1", "edit": "edits"},
    {"name": "removed", "attributes": "olmo3-web-v1", "keep": "removed_word_frac <= 0.02"},
    {"name": "cards", "attributes": "pii-v1", "keep": "num_emails <= 0"},
]
MODEL_RULES = [
    {"name": "english", "attributes": "language-v3", "keep": 'lang == "en"', "except_sources": ["code"]},
    {"name": "quality", "attributes": "quality-v1", "keep": "score >= 0.02"},
    {"name": "topic", "attributes": "topic-v1", "keep": 'topic != "lines"'},
    {"name": "both", "attributes": "classifiers-v1", "keep": "kind_code <= 0.97"},
    {"name": "like_good_text", "attributes": "perplexity-v2", "keep": "perplexity <= 600"},
    {"name": "code", "attributes": "code-rules-v1", "keep": "max_line_chars <= 1000"},
    {"name": "toxic_sentences", "attributes": "toxicity-v1", "edit": "spans"},
    {"name": "adult", "attributes": "adult-v1", "keep": "max_unit_score < 0.95"},
]
PAPERS = {
    "river": "The river rises in the hills to the north of the town and is fed by many small streams.",
    "letter": "A letter to my neighbour, who was born on the first of May and lives next door to the old mill.",
    "resume": "Resume of somebody who wants to work with mills and has done it before in the north of the country.",
    "spam": "Download this free ebook as a pdf file, and read it online in epub or mobi for free without limits.",
}


def make_shards(num_shards: int = 5, docs_per_shard: int = 60) -> list[Groups]:
    """Pages of the web and files of code in turn, each shard of two row groups."""
    tables = (make_documents(), make_pages())
    texts = [
        text for pair in zip(*(table.column("text").to_pylist() for table in tables), strict=True) for text in pair
    ]
    metadata = tables[0].column("metadata").to_pylist()
    rows = [
        {"text": texts[number], "source": ("code", "web")[number % 2], "metadata": metadata[number]}
        for number in range(num_shards * docs_per_shard)
    ]
    half = docs_per_shard // 2
    return [
        [rows[start : start + half], rows[start + half : start + docs_per_shard]]
        for start in range(0, len(rows), docs_per_shard)
    ]


def write_papers(folder: Path) -> None:
    """PDFs of PAPERS on one to three pages, a copy of one under another name, and one that is locked."""
    folder.mkdir(parents=True)
    for number, (name, line) in enumerate(PAPERS.items()):
        pages = [
            make_lines([line, f"page {page} of the paper {name}"], top=600, size=8) for page in range(1 + number % 3)
        ]
        (folder / f"{name}.pdf").write_bytes(make_pdf(pages))
    (folder / "a-copy.pdf").write_bytes((folder / "river.pdf").read_bytes())
    (folder / "locked.pdf").write_bytes(make_encrypted())


def answer(body: dict[str, Any]) -> str:
    """What the model says of a paper, by its text alone."""
    question = question_of(body)
    text = framed_in(question)
    if "document_types" in question:
        return json.dumps({"document_types": ["resume" if "Resume of" in text else "other"]})
    return json.dumps({"contains_pii": "born on" in text, "public_document": "letter" not in text})


def write_plain(folder: Path) -> None:
    """The corpora that a run begins with, by recipe, and the lists that taggers read."""
    write_corpus(str(folder / "pages"), make_shards())
    write_corpus(str(folder / "short"), make_shards())
    write_corpus(str(folder / "models"), make_shards())
    write_papers(folder / "papers" / "inputs")


def write_lists(folder: Path) -> None:
    folder.mkdir()
    for name, entry in (("domains", "bad.org"), ("words", "bad\nworse"), ("phrases", "best of days\nhash\n")):
        (folder / f"{name}.txt").write_text(entry)


def write_models(folder: Path) -> None:
    """Tiny models of the trained taggers: quality (hq, cc), kinds (three labels), toxic (toxic, non_toxic) and an n-gram model."""
    folder.mkdir()
    pages, code = (table.column("text").to_pylist()[-300:] for table in (make_pages(), make_documents()))
    fast = {"dim": 8, "epochs": 3, "learning_rate": 0.5}
    halves = [
        [" ".join(chosen[start:] + chosen[:start]) for start in range(len(chosen)) for _ in range(9)]
        for chosen in (SENTENCES[::2], SENTENCES[1::2])
    ]
    for name, labels, sides in (("quality", ("hq", "cc"), (pages, code)), ("toxic", ("toxic", "non_toxic"), halves)):
        texts = {label: [normalize_text(text) for text in side] for label, side in zip(labels, sides, strict=True)}
        train_model(texts, str(folder), 1, FastTextOptions(**fast)).save_model(str(folder / f"{name}.bin"))
    kinds = {"web": pages, "code": code, "lines": ["".join(LINES[start:]) for start in range(len(LINES))] * 9}
    normalised = {label: [normalize_text(text) for text in texts] for label, texts in kinds.items()}
    train_model(normalised, str(folder), 1, FastTextOptions(**fast)).save_model(str(folder / "kinds.bin"))
    good = view_text(pa.array(pages, pa.large_string()))
    train_language_model([good], output_path=str(folder / "good.lm"), config=LanguageModelConfig(order=3))


def choose_models(models: Path) -> list[dict[str, Any]]:
    """The trained taggers of the web chain, code-rules beside them, with the models of write_models."""
    quality, kinds, toxic = (str(models / f"{name}.bin") for name in ("quality", "kinds", "toxic"))
    return [
        {"tagger": "language", "options": {"segments": "lines", "scripts": True, "scores": ["en", "zh"]}},
        {"tagger": "quality", "options": {"model_path": quality}},
        {"tagger": "topic", "options": {"model_path": kinds}},
        {
            "tagger": "classifiers",
            "options": {"model_paths": [quality, kinds], "columns": ["quality:hq", "kind kind:*"]},
        },
        {"tagger": "perplexity", "options": {"model_path": str(models / "good.lm")}},
        {"tagger": "code-rules"},
        {"tagger": "toxicity", "options": {"model_path": toxic}},
        {"tagger": "adult", "options": {"model_path": toxic, "unit": "paragraph", "min_span_score": 0.6}},
    ]


def make_recipes(lists: Path, models: Path, url: str) -> dict[str, dict[str, Any]]:
    """Name, which is that of the corpus too -> recipe. Folders of write_lists and write_models, `url` of a server that says `answer`."""
    c4 = {"bad_words_path": str(lists / "phrases.txt")}
    taggers: list[dict[str, Any]] = [
        {"tagger": "web-filter"}, {"tagger": "web-filter", "options": {"preset": "madlad400"}},
        {"tagger": "url-lists", "options": {"domains": [str(lists / "domains.txt")], "soft_words": [str(lists / "words.txt")]}},
        *({"tagger": name, "options": c4 if name.startswith("c4-") else {}} for name in OTHERS),
    ]  # fmt: skip
    endpoint = {"base_url": url, "model": "says", "cache": "{corpus}/answers"}
    papers = [
        {"kind": "ingest", "sources": [{"name": "papers", "inputs": ["{corpus}/inputs"]}], "unit_bytes": 1000, "max_rejected_frac": 0.5},
        {"kind": "tag", "rules": [{"name": "private", "attributes": "document-privacy-v2", "keep": "is_kept"}],
         "taggers": [{"tagger": "document-privacy", "options": {"endpoint": endpoint}}, {"tagger": "download-spam"}, {"tagger": "pdf-text"}]},
    ]  # fmt: skip
    short = {"kind": "tag", "taggers": [{"tagger": "web-filter"}, {"tagger": "pii"}, {"tagger": "lengths"}], "rules": SHORT_RULES,
             "short_circuit": True, "whole_frac": 0.3}  # fmt: skip
    trained = {"kind": "tag", "taggers": choose_models(models), "rules": MODEL_RULES}
    steps = {
        "pages": [{"kind": "tag", "taggers": taggers, "rules": RULES}],
        "short": [short],
        "models": [trained],
        "papers": papers,
    }
    flows = {"papers": {}}
    return {
        name: {"recipe": name, "seed": 4, "split_bytes": 20_000, "steps": own, **flows.get(name, {"flow": "job"})}
        for name, own in steps.items()
    }


def run_recipes(recipes: dict[str, dict[str, Any]], root: Path, options: BuildOptions) -> None:
    """Build each in its corpus below `root`, and write the view of `pages` out as a corpus, with its edits, in `root`/view."""
    for name, recipe in recipes.items():
        corpus = Corpus(str(root / name))
        build_from(Recipe(**recipe), corpus, options, State(corpus.load_view(None) if "flow" in recipe else None, {}))
    cut_out(root, options)


def cut_out(root: Path, options: BuildOptions) -> None:
    corpus = Corpus(str(root / "pages"))
    step = {
        "kind": "materialize",
        "output": str(root / "view"),
        "markdown_tables": "html",
        "row_group_text_bytes": 9_000,
    }
    recipe = Recipe(**{"recipe": "view", "flow": "job", "seed": 4, "split_bytes": 20_000, "steps": [step]})
    build_from(recipe, corpus, options, State(corpus.load_view("pages-tag"), {}))


def list_made(root: Path) -> dict[str, bytes]:
    """What lies there but the answers, which tell when they came, and the manifest that names the folder of the view."""
    left_out = ("papers/answers/", "pages/runs/view/")
    return {name: data for name, data in list_output(root).items() if not name.startswith(left_out)}


def read_rows(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    """Rows of all Parquet files below a folder, in the order of their names."""
    import pyarrow.parquet as pq

    found = [name for name in sorted(files) if name.startswith(folder) and name.endswith(".parquet")]
    return [row for name in found for row in pq.read_table(pa.BufferReader(files[name])).to_pylist()]
