"""From the registry's YAML to items: fields, choices, splits, ids, what is left out, and the packaged registry on every layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dolma_py import storage
from dolma_py.errors import ConfigError, DataError
from taggers.contamination import read_items
from taggers.evaluation_sets import dump_items, list_registry_files, read_registry
from taggers.ngram_match import Item
from tests.evaluation_layouts import LAYOUT_COUNTS, write_layouts
from tests.remote_places import open_s3_bucket
from tests.unit.taggers.test_taggers_evaluation_files import write_snapshot

LONG = "This question has rather many words so that nobody would call it short, does it not"


def write_lines(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_registry(tmp_path, *sets, **settings) -> str:
    path = tmp_path / "sets.yaml"
    path.write_text(yaml.safe_dump({**settings, "sets": list(sets)}, sort_keys=False))
    return str(path)


def one_set(tmp_path, rows, *, name="quiz", file="quiz.jsonl", least=0, **settings):
    """The items of one set of one file."""
    write_lines(tmp_path / file, rows)
    registry = {"min_words": least, "min_unique_words": 0}
    return read_registry(write_registry(tmp_path, {"name": name, "paths": [file], **settings}, **registry))


def test_items_have_ids_of_set_split_and_number(tmp_path):
    rows = [{"q": "Who is it?", "a": 3, "key": "x7"}, {"q": "Who was it?", "a": None, "key": None}]
    found = one_set(tmp_path, rows, file="test.jsonl", fields={"question": "q", "answer": "a", "id": "key"})
    path = str(tmp_path / "test.jsonl")
    assert found.items == [
        Item("quiz/test/x7", "Who is it?", "3", None, "quiz", f"{path}:1"),
        Item("quiz/test/2", "Who was it?", None, None, "quiz", f"{path}:2"),
    ]
    assert found.counts["quiz"] == {
        "records": 2, "other_split": 0, "no_question": 0, "repeated": 0, "short": 0, "few_words": 0, "items": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("record", "fields", "form", "expected"),
    [
        ({"q": "Q", "c": ["a", "b"], "g": 1}, {"choices": "c", "answer": "g"}, "index", ["a", "B"]),
        ({"q": "Q", "s1": "a", "s2": "b", "g": "1"}, {"choices": ["s1", "s2"], "answer": "g"}, "number", ["A", "b"]),
        ({"q": "Q", "A": "a", "B": "b", "g": "B"}, {"choices": ["A", "B"], "answer": "g"}, "letter", ["a", "B"]),
        ({"q": "Q", "c": ["a", "b"], "g": "b"}, {"choices": "c", "answer": "g"}, "text", ["a", "B"]),
        (
            {"q": {"stem": "Q", "choices": [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]}, "g": "2"},
            {"choices": {"value": "q.choices.text", "labels": "q.choices.label"}, "answer": "g"},
            "label",
            ["a", "B"],
        ),
        (
            {"q": "Q\n(A) a\n(B) b", "g": "(B)"},
            {"choices": {"value": "q", "pattern": r"(?m)^\((?P<label>\w)\) (?P<text>.*)$"}, "answer": "g"},
            "label",
            ["a", "B"],
        ),
        ({"q": "Q", "c": ["a", "b"]}, {"choices": "c"}, "index", ["a", "b"]),  # a test set that keeps its answers to itself
        ({"q": "Q", "c": ["a", "b"], "g": None, "h": 1}, {"choices": "c", "answer": "h"}, "index", ["a", "B"]),
    ],
)  # fmt: skip
def test_each_choice_is_an_answer_in_full_and_the_right_one_says_so(tmp_path, record, fields, form, expected):
    place = "q.stem" if isinstance(record["q"], dict) else "q"
    found = one_set(tmp_path, [record], fields={"question": place, **fields}, answer_form=form)
    shown = [item.answer.upper() if item.id.endswith("/right") else item.answer for item in found.items]
    assert shown == expected
    assert [item.id for item in found.items if not item.id.endswith("/right")] == [
        f"quiz/all/1/wrong-{index}" for index, text in enumerate(expected) if text.islower()
    ]
    right = one_set(tmp_path, [record], fields={"question": place, **fields}, answer_form=form, multiple_choice="right")
    assert [(item.id, item.answer) for item in right.items] == [
        ("quiz/all/1", next((text.lower() for text in expected if text.isupper()), None))
    ]


@pytest.mark.parametrize(
    ("given", "form", "said"),
    [(2, "index", "index of 2"), (0, "number", "number of 2"), ("C", "letter", "letter of 2"), ("Z", "label", "'Z'"),
     ("c", "text", "'c'"), ("x", "index", "'x'"), (-1, "index", "'-1'")],
)  # fmt: skip
def test_an_answer_that_names_no_choice_is_told(tmp_path, given, form, said):
    rows = [{"q": "Q", "c": ["a", "b"], "l": ["A", "B"], "g": given}]
    with pytest.raises(DataError, match="answer_form") as error:
        one_set(
            tmp_path,
            rows,
            fields={"question": "q", "choices": {"value": "c", "labels": "l"}, "answer": "g"},
            answer_form=form,
        )
    assert error.value.row == 1 and said in str(error.value)


def test_an_answer_in_words_among_labels_is_one_more_choice(tmp_path):
    record = {"q": "Q\n(A) Monsters\n(B) Inc", "g": "Monsters, Inc"}
    fields = {
        "question": "q", "choices": {"value": "q", "pattern": r"(?m)^\((?P<label>\w)\) (?P<text>.*)$"}, "answer": "g",
    }  # fmt: skip
    found = one_set(tmp_path, [record], fields=fields, answer_form="label", multiple_choice="right")
    assert [item.answer for item in found.items] == ["Monsters, Inc"]


def test_texts_come_from_templates_lists_and_patterns(tmp_path):
    record = {"c": "Context.", "q": "Question: Why? ", "turns": ["First.", "Then."], "aliases": ["", "one", "two"]}
    fields = {"question": "{c} {q}", "passage": "turns", "answer": "aliases"}
    (item,) = one_set(tmp_path, [record], fields=fields).items
    assert (item.question, item.passage, item.answer) == ("Context. Question: Why?", "First.\nThen.", "one")
    fields = {"question": {"value": "q", "pattern": "Question: (.*)"}, "answer": {"value": "c", "pattern": "none"}}
    (item,) = one_set(tmp_path, [record], fields=fields).items
    assert (item.question, item.answer) == ("Why?", None)


def test_splits_come_from_records_names_or_the_set(tmp_path):
    for split in ("train", "test"):
        write_lines(tmp_path / "a" / f"{split}-0.jsonl", [{"q": f"In {split}?"}])
    write_lines(tmp_path / "b.jsonl", [{"q": "One?", "s": "dev"}, {"q": "Two?", "s": ""}])
    sets = [
        {"name": "a", "paths": ["a"], "fields": {"question": "q"}},
        {"name": "b", "paths": ["b.jsonl"], "fields": {"question": "q", "split": "s"}, "split": "other"},
        {"name": "c", "paths": ["a/*.jsonl"], "splits": ["test"], "fields": {"question": "q"}},
    ]
    found = read_registry(write_registry(tmp_path, *sets, min_words=0, min_unique_words=0))
    assert [item.id for item in found.items] == ["a/test/1", "a/train/1", "b/dev/1", "b/other/2", "c/test/1"]
    assert found.counts["c"]["other_split"] == 1
    sets[0]["split"] = "mine"  # what a set says stands above names of files
    found = read_registry(write_registry(tmp_path, *sets, min_words=0, min_unique_words=0))
    assert [item.id for item in found.items][:2] == ["a/mine/1", "a/mine/1#2"]
    sets[2]["splits"] = ["test", "tset"]
    with pytest.raises(ConfigError, match=r"\['test', 'train'\]") as error:
        read_registry(write_registry(tmp_path, *sets, min_words=0, min_unique_words=0))
    assert (error.value.key, error.value.got) == ("evaluation_sets.c.splits", ["tset"])


def test_repeats_and_short_records_are_left_out_and_counted(tmp_path):
    rows = [
        {"q": LONG, "a": "yes", "p": None},
        {"q": LONG.upper() + "?!", "a": "Yes.", "p": None},  # the same words
        {"q": LONG, "a": "yes", "p": "a passage of its own"},
        {"q": LONG, "a": "no", "p": None},
        {"q": "Too short?", "a": "yes", "p": None},
        {"q": "no no no " * 6, "a": "yes", "p": "yes"},
        {"q": None, "a": "yes", "p": None},
    ]
    fields = {"question": "q", "answer": "a", "passage": "p"}
    path = write_lines(tmp_path / "quiz.jsonl", rows)
    sets = {"name": "quiz", "paths": [path], "fields": fields}
    found = read_registry(write_registry(tmp_path, sets))
    assert [item.id for item in found.items] == ["quiz/all/1", "quiz/all/3", "quiz/all/4"]
    assert found.counts["quiz"] == {
        "records": 7, "other_split": 0, "no_question": 1, "repeated": 1, "short": 1, "few_words": 1, "items": 3,
    }  # fmt: skip
    kept = read_registry(write_registry(tmp_path, sets, drop_repeats=False, min_words=3, min_unique_words=2))
    assert kept.counts["quiz"]["items"] == 6


def test_one_id_for_two_records_gets_numbers(tmp_path):
    rows = [{"q": f"Number {number}?", "id": "x"} for number in range(3)]
    found = one_set(tmp_path, rows, fields={"question": "q", "id": "id"})
    assert [item.id for item in found.items] == ["quiz/all/x", "quiz/all/x#2", "quiz/all/x#3"]


def test_files_of_one_split_are_told_apart(tmp_path):
    for name in ("sums", "words"):
        write_lines(tmp_path / "q" / f"{name}.jsonl", [{"q": f"Of {name}?"}])
    sets = {"name": "q", "paths": ["q"], "fields": {"question": "q"}, "name_files": True}
    found = read_registry(write_registry(tmp_path, sets, min_words=0, min_unique_words=0))
    assert [item.id for item in found.items] == ["q/all/sums:1", "q/all/words:1"]


def test_the_form_of_decon(tmp_path):
    rows = [
        {
            "eval_key": "mmlu",
            "eval_instance_index": 4,
            "split": "dev",
            "question": "Q",
            "answer": "a",
            "is_correct": False,
        },
        {
            "eval_key": "mmlu",
            "eval_instance_index": 4,
            "split": "dev",
            "question": "Q",
            "answer": "b",
            "is_correct": True,
        },
        {"eval_key": "drop", "eval_instance_index": 9, "split": "val", "question": "Q", "passage": "P", "answer": ""},
    ]
    found = one_set(tmp_path, rows, name="bundle", form="decon")
    assert [item[:5] for item in found.items] == [
        ("mmlu/dev/4/wrong", "Q", "a", None, "mmlu"),
        ("mmlu/dev/4/right", "Q", "b", None, "mmlu"),
        ("drop/val/9", "Q", None, "P", "drop"),
    ]
    with pytest.raises(DataError, match="eval_key"):
        one_set(tmp_path, [{"question": "Q"}], form="decon")


def test_a_set_of_the_hub_reads_its_configuration(tmp_path, monkeypatch):
    import huggingface_hub.constants

    line = json.dumps({"q": LONG}).encode()
    write_snapshot(tmp_path, "owner/quiz", {"easy/test.jsonl": line, "hard/test.jsonl": line, "README.md": b"#"})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    sets = {"name": "quiz", "hub": "owner/quiz", "config": "hard", "fields": {"question": "q"}}
    (item,) = read_registry(write_registry(tmp_path, sets)).items
    assert (item.id, item.source.rsplit("/", 2)[1]) == ("quiz/test/1", "hard")


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"paths": []}, "evaluation_sets.sets.0", "paths or hub"),
        ({"config": "main"}, "evaluation_sets.sets.0", "hub only"),
        ({"fields": None}, "evaluation_sets.sets.0", "expected fields"),
        ({"form": "decon"}, "evaluation_sets.sets.0", "none with form decon"),
        ({"name": "a/b"}, "evaluation_sets.sets.0.name", "pattern"),
        ({"colums": ["a"]}, "evaluation_sets.sets.0.colums", "columns"),
        ({"fields": {"question": {"value": "q", "pattern": "("}}}, "evaluation_sets.sets.0.fields.question.pattern", "regular"),
        ({"fields": {"question": "q", "choices": {"value": "q", "pattern": "x"}}}, "evaluation_sets.sets.0.fields.choices", "text"),
        ({"fields": {"question": "q", "answer": "answr"}}, "evaluation_sets.quiz.fields", "answr"),
        ({"paths": ["{folder}/x.jsonl"]}, "evaluation_sets.quiz.paths", "evaluation_folder"),
        ({"paths": ["nothing.jsonl"]}, "evaluation_sets.quiz.paths", "at least one file"),
        ({"fields": {"question": {"value": "q", "pattern": "never"}}}, "evaluation_sets.quiz", "at least one item"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_key(tmp_path, change, key, said):
    with pytest.raises(ConfigError, match=said) as error:
        one_set(
            tmp_path, [{"q": LONG}], **{"fields": {"question": "q"}} | change
        ) if "paths" not in change else read_registry(
            write_registry(tmp_path, {"name": "quiz", "fields": {"question": "q"}} | change)
        )
    assert error.value.key == key


def test_names_and_folders_of_registries(tmp_path):
    with pytest.raises(ConfigError, match="benchmarks"):
        read_registry("benchmark")
    write_lines(tmp_path / "deep" / "quiz.jsonl", [{"q": LONG}])
    sets = {"name": "quiz", "paths": ["{folder}/quiz.jsonl"], "fields": {"question": "q"}}
    registry = write_registry(tmp_path, sets, folder="deep")
    assert len(read_registry(registry).items) == 1
    assert list_registry_files(registry) == [registry, str(tmp_path / "deep" / "quiz.jsonl")]
    with pytest.raises(ConfigError):
        read_registry(registry, str(tmp_path))
    with pytest.raises(ConfigError, match="each name once"):
        read_registry(write_registry(tmp_path, sets, json.loads(json.dumps(sets))))


def test_a_registry_and_its_sets_in_a_bucket(tmp_path):
    rows = [{"q": LONG, "a": "yes"}, {"q": LONG, "a": "no"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    sets = {
        "name": "quiz",
        "paths": ["sets/**/*.jsonl", "sets/test.parquet"],
        "fields": {"question": "q", "answer": "a"},
    }
    with open_s3_bucket("evaluation") as bucket:
        storage.write_bytes(f"{bucket}/sets/train/a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        storage.copy_file(str(tmp_path / "test.parquet"), f"{bucket}/sets/test.parquet")
        storage.copy_file(write_registry(tmp_path, sets, drop_repeats=False), f"{bucket}/sets.yaml")
        found = read_registry(f"{bucket}/sets.yaml")
        assert [item.id for item in found.items] == [
            f"quiz/{name}" for name in ("test/1", "test/2", "train/1", "train/2")
        ]
        assert found.items[0].source == f"{bucket}/sets/test.parquet:1"
        assert list_registry_files(f"{bucket}/sets.yaml")[1:] == [
            f"{bucket}/sets/test.parquet",
            f"{bucket}/sets/train/a.jsonl",
        ]


def test_dumped_items_are_what_the_tagger_reads(tmp_path):
    items = [Item("a", "q \u00e9", None, "p", "b", "x"), Item("c", "q", "a\nb", None, "d", "y")]
    path = tmp_path / "items.jsonl"
    path.write_bytes(dump_items(items))
    assert read_items((str(path),)) == [item._replace(source=str(path)) for item in items]


def test_the_packaged_registry_reads_every_layout(tmp_path):
    """Made records in the layout of each benchmark; the counts follow from what is made."""
    write_layouts(tmp_path)
    found = read_registry("benchmarks", str(tmp_path))
    assert {name: (counts["records"], counts["items"]) for name, counts in found.counts.items()} == LAYOUT_COUNTS
    items = {item.id: item for item in found.items}
    assert items["arc_challenge/test/1/right"].answer == "a made choice number 2"
    assert items["bbh/test/dates:1"].answer == "02/04/1938"
    assert items["boolq/validation/1"].answer == "yes" and items["boolq/validation/1"].passage.startswith("A passage")
    assert items["gsm8k/train/1"].answer.endswith("#### 72")
    assert items["mmlu/dev/0/right"].answer == "a made choice number 1"
    assert items["triviaqa/all/1"].question.endswith("vegetable?")
    assert not any("Question:" in item.question or "Passage:" in item.question for item in found.items)


# read off the sets' own files: records and, of choices, items; the registry leaves out repeats and what is short
REAL_COUNTS = {
    "arc_challenge": (1172, 3901), "bbh": (3937, 3633), "boolq": (3270, 3270), "gsm8k": (8792, 8792), "humaneval": (164, 163),
    "ifeval": (271, 270), "math": (2494, 2165), "mbpp": (974, 974), "mmlu": (30867, 24475), "piqa": (1838, 2633), "triviaqa": (3000, 1434),
}  # fmt: skip


@pytest.mark.skipif("DOLMA_PY_DATA" not in os.environ, reason="DOLMA_PY_DATA names no sample data")
def test_the_packaged_registry_reads_the_benchmarks():
    found = read_registry("benchmarks", str(Path(os.environ["DOLMA_PY_DATA"]) / "benchmarks"))
    assert {name: (counts["records"], counts["items"]) for name, counts in found.counts.items()} == REAL_COUNTS
    assert len({item.id for item in found.items}) == len(found.items)
