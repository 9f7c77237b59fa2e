import json
import os
import random

import pytest

from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import load_recipe
from tests.dedup_jobs import read_set
from tests.jobs.made_recipe import make_text

LINES = ["12 likes", "", "", "", "SHARE THIS", "Read more"]


def make_page(number):
    """Twelve sentences in one line, of words that hardly repeat."""
    return make_text(random.Random(number), 12).replace("\n\n", " ")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    texts = [make_page(number) for number in range(6)] + [
        "too short",
        make_page(9) + "\n" + "\n".join(LINES),
        "Eine Seite. " * 60,
    ]
    path = folder / "pages.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"p{number}", "text": text, "source": "web"}) + "\n" for number, text in enumerate(texts)
        )
    )
    recipe = load_recipe("olmo3-web", [])
    steps = [
        step | {"sources": [{"name": "web", "inputs": [str(path)]}]} if step["kind"] == "ingest" else step
        for step in recipe.steps
    ]
    outcomes = build(
        recipe.model_copy(update={"steps": steps}), str(folder / "corpus"), BuildOptions(show_progress=False)
    )
    return folder / "corpus", {outcome.name: outcome.manifest for outcome in outcomes}


def test_the_chain_runs_to_its_end(built):
    _, made = built
    lines = [line for name in ("filter", "language") for line in made[name]["funnel"]["steps"]]
    dropped = {line["name"]: line["sources"].get("web", {}).get("dropped_documents") for line in lines}
    assert dropped["length_min_chars"] == 1
    assert dropped["symbols_stop_words"] == 1
    assert made["language"]["funnel"]["kept"]["sources"]["web"]["documents"] == 7
    edit = next(line for line in lines if line["name"] == "lines_edits")
    # the counter, the capitals and two line feeds of four; "Read more" has two words and stays
    assert edit["sources"]["web"]["dropped_bytes"] == len("12 likes\n") + len("SHARE THIS\n") + 2


def test_sentence_rules_stand_behind_the_language_rule(built):
    root, made = built
    names = [line["name"] for line in made["language"]["funnel"]["steps"]]
    assert names == ["english", "madlad_min_sentences", "madlad_questionable_sentences"]
    rows = read_set(root, "olmo3-web-v1")
    assert [row["num_sentences"] is None for row in rows] == [False] * 6 + [True, False, True]


@pytest.mark.skipif("DOLMA_PY_DATA" not in os.environ, reason="needs the sample data: set DOLMA_PY_DATA")
def test_a_crawl_goes_through(tmp_path):
    recipe = load_recipe("olmo3-web", [])
    inputs = [f"{os.environ['DOLMA_PY_DATA']}/warc/*.warc.gz"]
    steps = [
        step | {"sources": [{"name": "crawl", "inputs": inputs}]} if step["kind"] == "ingest" else step
        for step in recipe.steps
    ]
    outcomes = build(
        recipe.model_copy(update={"steps": steps}), str(tmp_path / "corpus"), BuildOptions(show_progress=False)
    )
    assert outcomes[-1].manifest["funnel"]["kept"]["sources"]["crawl"]["documents"] == 12
