import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from pipelines.short_circuit import choose_whole
from tests.dedup_jobs import list_output, read_set
from tests.tiny_corpus import write_corpus

SENTENCES = "The cat {0} and the dog {0} went to sea. They were {1} there with all of it. "
TEXTS = [
    "too short", "a b c d e f g h i j k l m n o p", "the cat of the hill " * 20, SENTENCES.format("one", "two") * 4 + "\nX\n" + "so it was to be",
    "".join(SENTENCES.format(f"w{number}", number) for number in range(9)), "", "the end of it\n\n\n\nand more to come",
]  # fmt: skip
RULES = [
    {"name": "length", "attributes": "olmo3-web-v1", "keep": "num_words >= 10"},
    {"name": "symbols", "attributes": "olmo3-web-v1", "keep": "num_stop_words >= 2", "except_sources": ["code"]},
    {"name": "repetition", "attributes": "olmo3-web-v1", "keep": "top_2gram_char_frac <= 0.3"},
    {"name": "edits", "attributes": "olmo3-web-v1", "edit": "edits"},
    {"name": "removed", "attributes": "olmo3-web-v1", "keep": "removed_word_frac <= 0.2"},
    {"name": "words", "attributes": "lengths-v1", "keep": "num_bytes >= 9"},
]
SHARDS = [[[{"text": TEXTS[(number * 3 + row) % 7]} for row in range(9)] for number in range(4)] for _ in range(2)]


def run_tag(root, partitions=None, **settings):
    if not (root / "listing.jsonl").exists():
        write_corpus(str(root), SHARDS)
    step = {"taggers": [{"tagger": "web-filter"}, {"tagger": "lengths"}], "rules": RULES, **settings}
    values = {"corpus": str(root), "name": "tag", "seed": 4, "step": step}
    return run_step_file("tag", values, BuildOptions(partitions=partitions, show_progress=False))[0].manifest


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    return root, run_tag(root)


@pytest.fixture(scope="module")
def spared(tmp_path_factory):
    root = tmp_path_factory.mktemp("spared")
    return root, run_tag(root, short_circuit=True, whole_frac=0.3)


def test_the_funnel_is_that_of_the_step_without_it(plain, spared):
    keys = ("name", "sources", "examples")
    steps = [[{key: line[key] for key in keys} for line in made["funnel"]["steps"]] for _, made in (plain, spared)]
    assert steps[0] == steps[1]
    assert plain[1]["funnel"]["kept"] == spared[1]["funnel"]["kept"]
    assert sum(line["sources"]["web"]["dropped_documents"] > 0 for line in steps[0]) >= 3


def test_each_rules_own_share_is_counted_on_the_sample(plain, spared):
    columns = [rule["keep"].split() for rule in RULES if "keep" in rule]
    sets = [rule["attributes"] for rule in RULES if "keep" in rule]
    documents = [
        row["id"]
        for path in sorted(plain[0].rglob("documents/**/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    whole = choose_whole(documents, seed=4, frac=0.3)
    assert 5 < whole.sum() < len(documents) - 5
    for (root, made), sample in ((plain, [True] * len(documents)), (spared, whole.tolist())):
        lines = [line for line in made["funnel"]["steps"] if "alone" in line]
        for (column, _, bound), name, line in zip(columns, sets, lines, strict=True):
            values = [row[column] for row, chosen in zip(read_set(root, name), sample, strict=True) if chosen]
            is_least = ">=" in next(rule["keep"] for rule in RULES if rule["name"] == line["name"])
            dropped = sum(value < float(bound) if is_least else value > float(bound) for value in values)
            assert line["alone"] == {"web": {"documents": sum(sample), "dropped": dropped}}


def test_later_attributes_of_dropped_documents_are_spared(plain, spared):
    nulls = [
        sum(row["removed_word_frac"] is None for row in read_set(root, "olmo3-web-v1"))
        for root in (plain[0], spared[0])
    ]
    assert nulls[0] == 0 and nulls[1] > 10
    assert (
        pc.count(pq.read_table(next(spared[0].rglob("attributes/lengths-v1/**/*.parquet")))["num_bytes"]).as_py() < 36
    )


def test_bytes_do_not_depend_on_partitions(spared, tmp_path):
    run_tag(tmp_path, partitions=7, short_circuit=True, whole_frac=0.3)
    ours, theirs = (
        {name: data for name, data in list_output(root).items() if "/work/" not in name}
        for root in (spared[0], tmp_path)
    )
    assert ours == theirs


def test_changed_rules_run_the_step_again(spared):
    root, made = spared
    looser = [RULES[0] | {"keep": "num_words >= 2"}, *RULES[1:]]
    again = run_tag(root, short_circuit=True, whole_frac=0.3, rules=looser)
    assert again["attributes"]["olmo3-web-v1"] != made["attributes"]["olmo3-web-v1"]
    assert json.dumps(again["funnel"]["steps"][0]["sources"]) != json.dumps(made["funnel"]["steps"][0]["sources"])
