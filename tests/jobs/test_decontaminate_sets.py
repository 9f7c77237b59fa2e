"""Decontamination by a registry as a job: the driver reads the evaluation sets once, the corpus keeps the items, reports show them."""

from __future__ import annotations

import json
import shutil

import pytest

from dolma_py.corpus import Corpus
from dolma_py.inspect_documents import InspectOptions, collect_set
from tests.dedup_jobs import list_output, read_set, run_job
from tests.evaluation_layouts import LAYOUT_COUNTS, write_layouts

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")

# too short to count without its answer, so that the answer decides which choice is found
QUESTION = (
    "A farmer counts nineteen lanterns in the barn, lends four to the captain and buys eleven more. "
    "How many lanterns hang there now?"
)
REGISTRY = """
folder: sets
sets:
  - name: lanterns
    paths: ["{folder}/test.jsonl"]
    fields: {question: q, choices: c, answer: g}
    answer_form: index
"""


def make_shards():
    filler = [
        f"Sentence {number} speaks of other matters, of weather and of roads, at some length." for number in range(40)
    ]
    texts = ["\n".join(filler[number : number + 5]) for number in range(12)]
    texts[2] += f"\n{QUESTION} They are twenty six lanterns.\n"
    texts[9] = f"{QUESTION} They are thirty lanterns.\n{texts[9]}"
    rows = [{"text": text, "source": "ab"[number % 2]} for number, text in enumerate(texts)]
    return [[rows[:3], rows[3:5]], [rows[5:]]]


def write_sets(folder, registry=REGISTRY, answer="twenty six lanterns"):
    (folder / "sets").mkdir(parents=True, exist_ok=True)
    (folder / "sets.yaml").write_text(registry)
    record = {"q": QUESTION, "c": [answer, "thirty lanterns"], "g": 0}
    (folder / "sets" / "test.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(record) + "\n")
    return str(folder / "sets.yaml")


def decontaminate(root, options, partitions=None):
    step = {
        "taggers": [{"tagger": "contamination", "options": options}], "rules": [{"name": "clean", "keep": "not contaminated"}],
        "name": "decontaminate",
    }  # fmt: skip
    return run_job("tag", root, make_shards(), step, partitions)


def find_set(root):
    (folder,) = (root / "attributes").glob("contamination-v*")
    return folder.name


def test_a_registry_drops_documents_and_leaves_items_counts_and_a_report(tmp_path):
    root = tmp_path / "corpus"
    outcome = decontaminate(root, {"evaluation_sets": write_sets(tmp_path)})
    name = find_set(root)
    flagged = [index for index, row in enumerate(read_set(root, name)) if row["contaminated"]]
    assert flagged == [2, 9]
    assert sum(counts["documents"] for counts in outcome.manifest["funnel"]["kept"]["sources"].values()) == 10
    assert outcome.manifest["facts"][name] == {
        "lanterns": {
            "records": 2, "other_split": 0, "no_question": 0, "repeated": 2, "short": 0, "few_words": 0, "items": 2,
        }
    }  # fmt: skip
    items = (root / outcome.manifest["artifacts"][f"{name}-items"]).read_text().splitlines()
    assert [json.loads(line)["id"] for line in items] == ["lanterns/test/1/right", "lanterns/test/1/wrong-1"]
    options = InspectOptions(
        corpus=str(root), output=None, set=None, view=None, rule=None, source=None, id=None, sample=9, seed=0, html=None
    )
    table, sample = collect_set(Corpus(str(root)), options)
    assert table.table[1:] == [("lanterns", "a", "1", "1"), ("lanterns", "b", "1", "1")]
    assert [example.other.id for example in sample.examples] == ["lanterns/test/1/right", "lanterns/test/1/wrong-1"]


def test_items_that_are_not_looked_for_stand_in_the_manifest(tmp_path):
    parts = [QUESTION, "Boil potatoes", QUESTION.split("?")[0][:40]]
    items = [{"id": str(n), "question": part, "benchmark": "quiz"} for n, part in enumerate(parts)]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    outcome = decontaminate(tmp_path / "corpus", {"items_paths": [str(path)]})
    (counts,) = outcome.manifest["facts"].values()
    assert counts == {"quiz": {"not_searched": {"too_few_question_tokens": 1, "too_short": 1}}}


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_bytes_do_not_depend_on_partitions(tmp_path, partitions):
    registry = write_sets(tmp_path)
    for root, number in ((tmp_path / "one", None), (tmp_path / "other", partitions)):
        decontaminate(root, {"evaluation_sets": registry}, number)
    first, second = list_output(tmp_path / "one"), list_output(tmp_path / "other")
    assert first == second and len(first) > 5


def test_a_changed_evaluation_set_is_looked_for_again_and_a_moved_one_is_not(tmp_path):
    root = tmp_path / "corpus"
    registry = write_sets(tmp_path)
    first = decontaminate(root, {"evaluation_sets": registry})
    assert decontaminate(root, {"evaluation_sets": registry}).skipped
    shutil.copytree(tmp_path / "sets", tmp_path / "moved")
    moved = decontaminate(root, {"evaluation_sets": registry, "evaluation_folder": str(tmp_path / "moved")})
    assert moved.manifest["attributes"] == first.manifest["attributes"]  # the same items: nothing is tagged again
    write_sets(tmp_path, answer="twenty six old lanterns")
    changed = decontaminate(root, {"evaluation_sets": registry})
    assert not changed.skipped and changed.manifest["attributes"] != first.manifest["attributes"]


def test_the_packaged_registry_as_a_job(tmp_path):
    write_layouts(tmp_path / "benchmarks")
    root = tmp_path / "corpus"
    options = {"evaluation_sets": "benchmarks", "evaluation_folder": str(tmp_path / "benchmarks")}
    outcome = decontaminate(root, options)
    (counts,) = outcome.manifest["facts"].values()
    assert {name: (found["records"], found["items"]) for name, found in counts.items()} == LAYOUT_COUNTS
