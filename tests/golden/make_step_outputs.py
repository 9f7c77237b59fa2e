"""The checksums in step_outputs.json: what each step made of two small corpora, beside the step's version.

    PYTHONPATH=. python tests/golden/make_step_outputs.py

Run it after a change that is meant to change a step's bytes, and raise the version that guards them (the step's VERSION, a tagger's,
KEYS_VERSION ...): under the old one, what is done would stand in every corpus made before, beside what the new program makes. It
refuses other bytes of the same version.
Not here is what follows from the trained classifier, whose float sums are its compiler's: hence the second corpus, which is
mixed by length. Files are read without their gzip, whose bytes are another matter of each zlib, and a plan's rates to nine digits:
powers and exponentials end differently on another kind of processor.
"""

from __future__ import annotations

import gzip
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash
import yaml

from tests import made_chats
from tests.chat_server import ChatServer
from tests.jobs import made_copies, made_recipe, made_synth
from tests.made_answers import answer_well

if TYPE_CHECKING:
    from pipelines.build_recipe import BuildOptions

RECORD = Path(__file__).parent / "step_outputs.json"


class Output(NamedTuple):
    """What one step leaves of one kind."""

    step: str
    patterns: list[str]  # below the corpus, with ../ beside it
    version: str = ""  # module:NAME of what guards it; empty: the step's own, and those of its attribute sets


KEYS = "pipelines.dedup_keys:KEYS_VERSION"
TINY = {  # of the corpus of made_recipe
    "ingest": Output("ingest", ["documents/*/*.parquet", "attributes/sizes-v1/*/*.parquet", "rejected/*/*.gz"]),
    "tag": Output("tag", ["attributes/lengths-v1/*/*.parquet", "attributes/gopher-dclm-v1/*/*.parquet"]),
    "exact keys": Output("exact", ["runs/tiny/03-exact/keys/*.parquet"], KEYS),
    "exact": Output("exact", ["attributes/exact-v1/*/*.parquet"]),
    "minhash bands": Output("minhash", ["runs/tiny/04-minhash/bands/*.parquet"], "pipelines.dedup_minhash:BANDS_VERSION"),
    "minhash": Output("minhash", ["attributes/minhash-v1/*/*.parquet"]),
    "substring": Output("substring", ["attributes/substring-v1/*/*.parquet"]),
    "decontaminate": Output("decontaminate", ["attributes/contamination-v3/*/*.parquet"]),
    "tokenizer": Output("tokenizer", ["runs/tiny/07-tokenizer/tokenizer.json"]),
    "tokens": Output("tokens", ["attributes/token_count-v1/*/*.parquet"]),
}  # fmt: skip
COPIES = {  # of the corpus of made_copies
    "index": Output("seen", ["index/*.parquet"], "pipelines.seen_keys:INDEX_VERSION"),
    "bloom": Output("seen", ["seen.bloom"], "dedup.bloom:VERSION"),
    "asked": Output("asked", ["attributes/exact-v1/*/*.parquet"]),
    "urls keys": Output("urls", ["runs/copies/*-urls/keys/*.parquet"], KEYS),
    "urls": Output("urls", ["attributes/urls-v1/*/*.parquet"]),
    "paragraphs units": Output(
        "paragraphs", ["runs/copies/*-paragraphs/units/*.parquet"], "pipelines.dedup_paragraphs:UNITS_VERSION"
    ),
    "paragraphs": Output("paragraphs", ["attributes/paragraphs-v1/*/*.parquet"]),
    "code": Output("code", ["attributes/code-rules-v1/*/*.parquet"]),
    "plan": Output("plan", ["runs/copies/*-plan/plan.yaml"]),
    "sample": Output("sample", ["attributes/sample-v1/*/*.parquet"]),
    "partition": Output("partition", [
        "attributes/partition-v1/*/*.parquet", "runs/copies/*-partition/thresholds.json", "runs/copies/*-partition/cells.parquet",
    ]),
    "shards": Output("shards", [
        "tokens/copies/*.npy", "tokens/copies/*.csv.gz", "tokens/copies/lineage.parquet", "tokens/copies/heldout/*.gz",
    ]),
    "chats": Output("chats", ["tokens/chats/*.npy", "tokens/chats/*.csv.gz", "rejected/posttrain-chats/*.gz"]),
    "materialize": Output(
        "materialize", ["../view/listing.jsonl", "../view/documents/*/*.parquet", "../view/attributes/*/*/*.parquet"]
    ),
    "verifiable": Output("verifiable", ["../verifiable/listing.jsonl", "../verifiable/documents/*/*.parquet"]),
    "export": Output("export", ["../tree/documents/*/*.gz", "../tree/attributes/*/*/*.gz"]),
}  # fmt: skip
TREE = {  # of the corpus that ingest makes of the exported tree
    "tree": Output("ingest", ["documents/*/*.parquet"]),
    "tree's attributes": Output("ingest", ["attributes/dolma-lengths_v1-v1/*/*.parquet"], "pipelines.import_attributes:VERSION"),
}  # fmt: skip
PLAIN = {  # of one command over files of the exported tree
    "read plain": Output("read", ["documents/*/*.parquet"]),
    "write plain": Output("write", ["../duplicates.parquet", "../data/*/*.gz"]),
}
SYNTH = {  # of a corpus of pages, and a teacher that is a program
    "synth": Output("synth", ["../cards/listing.jsonl", "../cards/documents/*/*.parquet"]),
}
NUMBER = re.compile(rb"-?[0-9]+\.[0-9]+(e[-+]?[0-9]+)?")


def make_copies_recipe(folder: Path) -> dict[str, Any]:
    """The steps that the recipe of made_recipe has not, or only behind its classifier, over the corpus that write_copies made."""
    return {
        "recipe": "copies", "flow": "mix", "seed": 3, "split_bytes": 60_000,
        "steps": [
            {"name": "seen", "kind": "dedup_exact", "rules": [], "index": {"save": "{corpus}/index"},
             "bloom": {"save": "{corpus}/seen.bloom"}},
            {"name": "asked", "kind": "dedup_exact", "rules": [], "bloom": {"against": "{corpus}/seen.bloom"}},
            {"name": "urls", "kind": "dedup_urls"},
            {"name": "paragraphs", "kind": "dedup_paragraphs", "unit": "paragraph"},
            {"name": "code", "kind": "tag", "taggers": [{"tagger": "lengths"}, {"tagger": "code-rules"}]},
            {"name": "tokenizer", "kind": "train_tokenizer", "vocab_size": 400},
            {"name": "tokens", "kind": "tag",
             "taggers": [{"tagger": "mixers.token_count:TokenCountTagger", "options": {"tokenizer": "artifact:tokenizer"}}]},
            {"name": "plan", "kind": "plan_mix", "score": "lengths-v1.num_words", "num_buckets": 5, "budget_frac": 1.2,
             "heldout": {"heldout_docs": 6}, "plan": {"token_budget": 1, "default": {"curve": True}}},
            {"name": "sample", "kind": "sample_mix", "score": "lengths-v1.num_words", "num_buckets": 5,
             "cells": "artifact:cells", "heldout": {"heldout_docs": 6}},
            {"name": "partition", "kind": "partition", "score": "lengths-v1.num_words", "num_buckets": 5, "max_docs": 40},
            {"name": "shards", "kind": "tokenize", "mix": "copies", "tokens_per_part": 40_000},
            {"name": "chats", "kind": "prepare_posttrain", **made_chats.make_settings(folder)},
            {"name": "materialize", "kind": "materialize", "output": str(folder / "view"), "row_group_text_bytes": 30_000},
            {"name": "verifiable", "kind": "synth", "recipe": "verifiable", "output": str(folder / "verifiable"), "num_problems": 2},
            {"name": "export", "kind": "export_dolma", "output": str(folder / "tree"), "attributes": ["lengths-v1"]},
        ],
    }  # fmt: skip


def describe_copies(folder: Path, options: BuildOptions) -> dict[str, dict[str, Any]]:
    """Make the second corpus in `folder`, run its recipe, read its exported tree again, and describe all of it."""
    from dolma_py.corpus import Corpus
    from pipelines.build_recipe import build, build_from
    from pipelines.done_steps import State
    from pipelines.plain_commands import PlainOptions, run_plain
    from pipelines.recipe import Recipe

    made_copies.write_copies(str(folder / "corpus"))
    made_chats.write_inputs(folder)
    corpus = Corpus(str(folder / "corpus"))
    build_from(Recipe(**make_copies_recipe(folder)), corpus, options, State(corpus.load_view(None), {}))
    step = {"kind": "ingest", "sources": [{"name": "copies", "inputs": [str(folder / "tree")]}]}
    build(Recipe(recipe="tree", seed=1, steps=[step]), str(folder / "again"), options)
    plain = PlainOptions(
        inputs=[str(folder / "tree" / "documents")],
        output=str(folder / "plain"),
        text_column="text",
        id_column="id",
        mark=False,
    )
    run_plain("dedup_exact", {}, {"name": "exact", "seed": 0}, plain, options)
    return (
        describe_steps(folder / "corpus", "copies", COPIES)
        | describe_steps(folder / "again", "tree", TREE)
        | describe_steps(folder / "plain" / ".dolma-py", "plain", PLAIN)
        | describe_synth(folder, options)
    )


def describe_synth(folder: Path, options: BuildOptions) -> dict[str, dict[str, Any]]:
    """What a teacher that is a program makes of a corpus of pages, by the recipe that draws most."""
    from pipelines.job_main import run_step_file

    made_synth.write_pages(folder / "pages")
    with ChatServer(answer_well) as server:
        values = made_synth.make_values(
            folder / "pages", folder / "cards", server.url, recipe="flashcards", options={"min_chars": 100}
        )
        run_step_file("synth", values, options)
    return describe_steps(folder / "pages", "synth", SYNTH)


def describe_steps(corpus: Path, recipe: str, outputs: dict[str, Output]) -> dict[str, dict[str, Any]]:
    """Name -> the version that guards it, number of files, and the xxh3-128 of their bytes in order of their paths."""
    found = {}
    for name, output in outputs.items():
        files = [file for pattern in output.patterns for file in list_files(corpus, pattern)]
        digest = xxhash.xxh3_128()
        for file in files:
            digest.update(read_content(file))
        version = find_version(corpus, recipe, output)
        found[name] = {"version": version, "files": len(files), "xxh3_128": digest.hexdigest()}
    return found


def find_version(corpus: Path, recipe: str, output: Output) -> str:
    """Of the step and of the taggers whose sets it wrote, or the constant that is named."""
    if output.version:
        module, _, name = output.version.partition(":")
        return str(getattr(importlib.import_module(module), name))
    (path,) = corpus.glob(f"runs/{recipe}/*-{output.step}/manifest.json")
    made = json.loads(path.read_text())
    return " ".join([str(made["version"]), *sorted(made["attributes"])])


def list_files(corpus: Path, pattern: str) -> list[Path]:
    """Files that a pattern names, in order; it must name some."""
    folder = corpus.parent if pattern.startswith("../") else corpus
    files = sorted(folder.glob(pattern.removeprefix("../")))
    assert files, f"{pattern}: no such file below {folder}"
    return files


def read_content(file: Path) -> bytes:
    """What lies in a file: see the top of this file."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(content)
    if file.name == "listing.jsonl":  # without the fingerprint of the view that it was made of
        lines = [json.loads(line) for line in content.splitlines()]
        return json.dumps([{key: value for key, value in line.items() if key != "inputs"} for line in lines]).encode()
    if file.name == "plan.yaml":
        return NUMBER.sub(lambda match: f"{float(match[0]):.9g}".encode(), content)
    return content


def find_unannounced(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What changed under its old version, up to the first of each corpus that changed with a new one: the others may follow from it."""
    unannounced = []
    for outputs in (TINY, COPIES | TREE | PLAIN, SYNTH):
        for name in outputs:
            if name not in record or name not in found or found[name] == record[name]:
                continue
            if found[name]["version"] != record[name]["version"]:
                break
            unannounced.append(name)
    return unannounced


def main() -> int:
    from pipelines.build_recipe import BuildOptions, build
    from pipelines.recipe import load_recipe

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_recipe.write_inputs(folder)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
        build(load_recipe(str(folder / "tiny.yaml"), []), str(folder / "tiny"), BuildOptions(until="tokens"))
        found = describe_steps(folder / "tiny", "tiny", TINY) | describe_copies(folder, BuildOptions())
    unannounced = find_unannounced(json.loads(RECORD.read_text()) if RECORD.exists() else {}, found)
    if unannounced:
        sys.stderr.write(f"other bytes of the same version: {', '.join(unannounced)}. Raise their versions.\n")
        return 1
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
