"""The checksums in step_outputs.json: what each step made of two small corpora, beside the step's version.

    PYTHONPATH=. python tests/golden/make_step_outputs.py

Run it after a change that is meant to change a step's bytes, and raise the step's VERSION: under the old one, steps that are done
would stand in every corpus made before, beside what the new program makes. It refuses other bytes of the same version.
Not here is what follows from the trained classifier, whose float sums are its compiler's: hence the second corpus, which is
mixed by length. Files are read without their gzip, whose bytes are another matter of each zlib, and a plan's rates to nine digits:
powers and exponentials end differently on another kind of processor.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash
import yaml

from tests.jobs import made_copies, made_recipe

if TYPE_CHECKING:
    from pipelines.build_recipe import BuildOptions

RECORD = Path(__file__).parent / "step_outputs.json"
# step -> what it wrote, beside the corpus in the same folder where the step writes there
TINY = {  # the corpus of made_recipe
    "ingest": ["documents/*/*.parquet", "attributes/sizes-v1/*/*.parquet", "rejected/*/*.gz"],
    "tag": ["attributes/lengths-v1/*/*.parquet", "attributes/gopher-dclm-v1/*/*.parquet"],
    "exact": ["runs/tiny/03-exact/keys/*.parquet", "attributes/exact-v1/*/*.parquet"],
    "minhash": ["runs/tiny/04-minhash/bands/*.parquet", "attributes/minhash-v1/*/*.parquet"],
    "substring": ["attributes/substring-v1/*/*.parquet"],
    "decontaminate": ["attributes/contamination-v1/*/*.parquet"],
    "tokenizer": ["runs/tiny/07-tokenizer/tokenizer.json"],
    "tokens": ["attributes/token_count-v1/*/*.parquet"],
}
COPIES = {  # the corpus of made_copies
    "urls": ["runs/copies/*-urls/keys/*.parquet", "attributes/urls-v1/*/*.parquet"],
    "paragraphs": ["runs/copies/*-paragraphs/units/*.parquet", "attributes/paragraphs-v1/*/*.parquet"],
    "code": ["attributes/code-rules-v1/*/*.parquet"],
    "plan": ["runs/copies/*-plan/plan.yaml"],
    "sample": ["attributes/sample-v1/*/*.parquet"],
    "shards": [
        "tokens/copies/*.npy", "tokens/copies/*.csv.gz", "tokens/copies/lineage.parquet", "tokens/copies/heldout/*.gz",
    ],
    "materialize": ["../view/listing.jsonl", "../view/documents/*/*.parquet", "../view/attributes/*/*/*.parquet"],
    "export": ["../tree/documents/*/*.gz", "../tree/attributes/*/*/*.gz"],
}  # fmt: skip
NUMBER = re.compile(rb"-?[0-9]+\.[0-9]+(e[-+]?[0-9]+)?")


def make_copies_recipe(folder: Path) -> dict[str, Any]:
    """The steps that the recipe of made_recipe has not, or only behind its classifier, over the corpus that write_copies made."""
    return {
        "recipe": "copies", "flow": "mix", "seed": 3, "split_bytes": 60_000,
        "steps": [
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
            {"name": "shards", "kind": "tokenize", "mix": "copies", "tokens_per_part": 40_000},
            {"name": "materialize", "kind": "materialize", "output": str(folder / "view"), "row_group_text_bytes": 30_000},
            {"name": "export", "kind": "export_dolma", "output": str(folder / "tree"), "attributes": ["lengths-v1"]},
        ],
    }  # fmt: skip


def build_copies(folder: Path, options: BuildOptions) -> Path:
    """Make the second corpus in `folder` and run its recipe; returns the corpus."""
    from dolma_py.corpus import Corpus
    from pipelines.build_recipe import build_from
    from pipelines.done_steps import State
    from pipelines.recipe import Recipe

    made_copies.write_copies(str(folder / "corpus"))
    corpus = Corpus(str(folder / "corpus"))
    build_from(Recipe(**make_copies_recipe(folder)), corpus, options, State(corpus.load_view(None), {}))
    return folder / "corpus"


def describe_steps(corpus: Path, recipe: str, outputs: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Step -> its version, number of files, and the xxh3-128 of their bytes in order of their paths."""
    found = {}
    for step, patterns in outputs.items():
        (path,) = corpus.glob(f"runs/{recipe}/*-{step}/manifest.json")
        files = [file for pattern in patterns for file in list_files(corpus, pattern)]
        digest = xxhash.xxh3_128()
        for file in files:
            digest.update(read_content(file))
        version = json.loads(path.read_text())["version"]
        found[step] = {"version": version, "files": len(files), "xxh3_128": digest.hexdigest()}
    return found


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
    if file.name == "plan.yaml":
        return NUMBER.sub(lambda match: f"{float(match[0]):.9g}".encode(), content)
    return content


def find_unannounced(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Steps whose bytes changed and whose version did not."""
    known = [step for step in found if step in record]
    return [step for step in known if found[step] != record[step] and found[step]["version"] == record[step]["version"]]


def main() -> int:
    from pipelines.build_recipe import BuildOptions, build
    from pipelines.recipe import load_recipe

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_recipe.write_inputs(folder)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
        build(load_recipe(str(folder / "tiny.yaml"), []), str(folder / "tiny"), BuildOptions(until="tokens"))
        found = describe_steps(folder / "tiny", "tiny", TINY)
        found |= describe_steps(build_copies(folder, BuildOptions()), "copies", COPIES)
    unannounced = find_unannounced(json.loads(RECORD.read_text()) if RECORD.exists() else {}, found)
    if unannounced:
        sys.stderr.write(f"other bytes of the same version: {', '.join(unannounced)}. Raise their VERSION.\n")
        return 1
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
