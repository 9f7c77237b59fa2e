import gzip
from collections import Counter

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from dolma_py.errors import ConfigError, DataError
from dolma_py.views import Step, save_view
from taggers.labelled_texts import (
    ExampleSource,
    balance_labels,
    cut_passages,
    cut_text,
    draw_examples,
    group_by_label,
    is_held_out,
    join_wholes,
    read_examples,
)
from tests.tiny_corpus import write_attributes, write_corpus

ROWS = [
    {"text": f"text {number}", "label": number % 3, "lang": "en" if number % 2 else "de", "id": f"d{number}"}
    for number in range(60)
]


def write_lines(path, rows):
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def source(inputs, **options):
    return ExampleSource(name="s", inputs=[inputs] if isinstance(inputs, str) else inputs, **options)


def pairs(drawn):
    return sorted((example.text, example.label) for example in drawn.examples)


def test_labels_come_from_a_field_and_unwanted_ones_are_counted(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [*ROWS, {"text": "x"}, {"text": "y", "label": None}, {"text": 3}])
    drawn = draw_examples(source(path, label_field="label", labels={"0": "bad", "1": "good"}), seed=1)
    assert pairs(drawn) == sorted((row["text"], ["bad", "good"][row["label"]]) for row in ROWS if row["label"] < 2)
    assert drawn.counts == {"read": 62, "drawn": 40, "left_out:label": 22, "unreadable:missing_text": 1}


def test_numbers_with_a_point_and_truth_values_are_labels(tmp_path):
    rows = [
        {"text": "a", "label": 3.0},
        {"text": "b", "label": True},
        {"text": "c", "label": 2.5},
        {"text": "d", "label": "x"},
    ]
    drawn = draw_examples(source(write_lines(tmp_path / "a.jsonl", rows), label_field="label"), seed=1)
    assert pairs(drawn) == [("a", "3"), ("b", "true"), ("d", "x")]


def test_formats_and_the_order_of_files_change_nothing(tmp_path):
    (tmp_path / "one").mkdir()
    write_lines(tmp_path / "one" / "a.jsonl", ROWS[:20])
    with gzip.open(tmp_path / "one" / "b.jsonl.gz", "wb") as stream:
        stream.write(b"".join(orjson.dumps(row) + b"\n" for row in ROWS[20:40]))
    pq.write_table(pa.Table.from_pylist(ROWS[40:]), tmp_path / "one" / "c.parquet")
    whole = write_lines(tmp_path / "whole.jsonl", ROWS[::-1])
    options = {"label_field": "label", "max_docs": 17}
    first = draw_examples(source(str(tmp_path / "one"), **options), seed=4)
    second = draw_examples(source(whole, **options), seed=4)
    assert [example[:2] for example in first.examples] == [example[:2] for example in second.examples]
    assert first.fingerprint == second.fingerprint and len(first.examples) == 17
    assert draw_examples(source(whole, **options), seed=5).fingerprint != first.fingerprint


def test_fewer_texts_are_drawn_from_the_same_ones(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    few, many = (
        {example.text for example in draw_examples(source(path, label="x", max_docs=count), seed=1).examples}
        for count in (10, 30)
    )
    assert few < many


def test_where_before_and_first_bytes(tmp_path):
    rows = [
        {"question": "Why?", "answer": "So it is.", "lang": "en", "metadata": {"score": 1}},
        {"question": "Wie?", "answer": "So.", "lang": "de"},
        {"answer": "alone", "lang": "en"},
    ]
    path = write_lines(tmp_path / "a.jsonl", rows)
    options = {"text": "answer", "before": ["question"], "label": "x", "where": {"lang": "en"}}
    drawn = draw_examples(source(path, **options), seed=1)
    assert pairs(drawn) == [("Why?\n\nSo it is.", "x")]
    assert drawn.counts == {"read": 3, "drawn": 1, "left_out:where": 1, "left_out:before_missing": 1}
    assert pairs(draw_examples(source(path, **options, max_text_bytes=6), seed=1)) == [("Why?\n\n", "x")]
    deep = draw_examples(source(path, text="answer", label_field="metadata.score"), seed=1)
    assert pairs(deep) == [("So it is.", "1")]


def test_conversations_are_read_in_both_forms(tmp_path):
    rows = [
        {"talk": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"talk": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]},
    ]
    drawn = draw_examples(source(write_lines(tmp_path / "a.jsonl", rows), messages="talk", label="x"), seed=1)
    assert pairs(drawn) == [("a\n\nb", "x"), ("c\n\nd", "x")]


def test_reading_stops_where_it_is_told(tmp_path):
    counts = Counter()
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    assert len(list(read_examples(source(path, label="x", max_read_docs=7), counts))) == 7
    assert counts["read"] == 7


def test_the_folder_of_a_recipe_is_asked_for(tmp_path):
    write_lines(tmp_path / "a.jsonl", ROWS)
    recipe = source("{folder}/a.jsonl", label="x", about="the set of somebody")
    assert len(draw_examples(recipe, seed=1, folder=str(tmp_path)).examples) == 60
    with pytest.raises(ConfigError, match="the set of somebody"):
        draw_examples(recipe, seed=1)
    with pytest.raises(ConfigError, match="at least one file"):
        draw_examples(recipe, seed=1, folder=str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("label", ["two words", "", "a\nb", "x" * 101, "a,b"])
def test_a_label_that_fasttext_cannot_have_is_refused(tmp_path, label):
    path = write_lines(tmp_path / "a.jsonl", [{"text": "a", "label": label}])
    with pytest.raises(ConfigError, match="expected a label"):
        draw_examples(source(path, label_field="label"), seed=1)


def test_a_source_without_label_or_texts_is_refused(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(ConfigError, match="one of label, label_field and attribute"):
        draw_examples(source(path), seed=1)
    with pytest.raises(DataError, match="left_out:label 60"):
        draw_examples(source(path, label_field="nothing"), seed=1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": ["a"], "corpus": "c"},
        {"inputs": ["a"], "view": "v"},
        {"inputs": ["a"], "label": "x", "label_field": "y"},
        {"inputs": ["a"], "labelfield": "y"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValidationError):
        ExampleSource(name="s", **options)


def test_labels_are_drawn_down_by_hash_and_the_rest_stays():
    groups = {"a": [f"a{number}" for number in range(50)], "b": [f"b{number}" for number in range(9)]}
    even = balance_labels(groups, None, seed=1)
    assert (len(even["a"]), even["b"]) == (9, groups["b"])
    assert set(even["a"]) < set(groups["a"]) and even["a"] != balance_labels(groups, None, seed=2)["a"]
    assert balance_labels(groups, 100, seed=1) == groups
    turned = {label: texts[::-1] for label, texts in groups.items()}
    assert set(balance_labels(turned, None, seed=1)["a"]) == set(even["a"])


def test_equal_texts_fall_on_the_same_side():
    texts = [f"text {number % 40}" for number in range(200)]
    apart = is_held_out(texts, seed=3, held_out_frac=0.3)
    sides = {text: {side for other, side in zip(texts, apart, strict=True) if other == text} for text in texts}
    assert all(len(side) == 1 for side in sides.values()) and 0 < sum(apart) < 200


@pytest.mark.parametrize(
    ("text", "size", "most", "expected"),
    [
        ("abcdefghij", 2, 3, ["ab", "de", "gh"]), ("abcdefghij", 4, 9, ["abcd", "fghi"]), ("abc", 4, 9, ["abc"]), ("", 4, 9, [""]),
        ("\u00e9" * 4 + "a", 3, 9, ["\u00e9", "\u00e9", "\u00e9a"]), ("abcdefghij", 3, 1, ["abc"]), ("abcd", 1, 9, ["a", "b", "c", "d"]),
    ],
)  # fmt: skip
def test_passages_stand_at_equal_distances_between_characters(text, size, most, expected):
    assert cut_passages(text, size, most) == expected


def test_passages_of_one_text_are_on_one_side(tmp_path):
    books = [" ".join(f"book{book} word{number}" for number in range(200)) for book in range(40)]
    path = write_lines(tmp_path / "books.jsonl", [{"text": book} for book in books])
    drawn = draw_examples(source(path, label="x", max_text_bytes=100, passages=9), seed=1)
    assert drawn.counts == {"read": 40, "drawn": 360} and len({example.text for example in drawn.examples}) == 360
    texts = [example.text for example in drawn.examples]
    apart = is_held_out(texts, seed=3, held_out_frac=0.3, wholes=join_wholes([drawn]))
    sides = {}
    for text, side in zip(texts, apart, strict=True):
        sides.setdefault(text.split("book")[1].split()[0], set()).add(side)
    assert len(sides) == 40 and all(len(side) == 1 for side in sides.values()) and 0 < sum(apart) < 360
    alone = is_held_out(texts, seed=3, held_out_frac=0.3)
    assert alone != apart
    # texts that are drawn as a whole are held out as before
    assert draw_examples(source(path, label="x", max_text_bytes=100), seed=1).wholes == {}
    some = draw_examples(source(path, label="x", max_text_bytes=100, passages=9, max_docs=50), seed=1)
    assert some.wholes.keys() == {example.text for example in some.examples} and some.counts["drawn"] == 50
    with pytest.raises(ValidationError, match="passages need max_text_bytes"):
        source(path, label="x", passages=2)


def test_texts_of_equal_words_fall_on_the_same_side():
    """A line feed, a tab or two blanks: the same to fastText."""
    plain = is_held_out([f"alpha {number} beta" for number in range(500)], seed=0, held_out_frac=0.3)
    for form in ("alpha {}\nbeta", " alpha\t{}  beta ", "alpha\0{} \r\n beta\n"):
        assert is_held_out([form.format(number) for number in range(500)], seed=0, held_out_frac=0.3) == plain
    assert 100 < sum(plain) < 200
    other = is_held_out([f"alpha{number} beta" for number in range(500)], seed=0, held_out_frac=0.3)
    assert other != plain


def test_groups_have_an_order_of_their_own(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    drawn = draw_examples(source(path, label_field="label"), seed=1)
    groups = group_by_label([drawn])
    assert [*groups] == ["0", "1", "2"] and sum(map(len, groups.values())) == 60
    turned = drawn._replace(examples=drawn.examples[::-1])
    assert group_by_label([turned]) == groups


def test_a_cut_falls_between_characters():
    assert [cut_text("a\u00e9\U0001f600", size) for size in range(8)] == [
        "", "a", "a", "a\u00e9", "a\u00e9", "a\u00e9", "a\u00e9", "a\u00e9\U0001f600",
    ]  # fmt: skip


def write_tagged_corpus(root):
    texts = [[[{"text": f"a{n}"} for n in range(3)], [{"text": "b0"}]], [[{"text": "c0"}, {"text": "c1"}]]]
    made = write_corpus(str(root), texts)
    words = [[["art", "law", None], ["art"]], [["two words", "law"]]]
    values = [[[{"word": word, "n": int(word is not None)} for word in group] for group in shard] for shard in words]
    write_attributes(made, "topic-v1", values)
    return made


def test_labels_are_an_attribute_of_a_view(tmp_path):
    made = write_tagged_corpus(tmp_path)
    view = made.load_view(None).extend("known", [Step(name="known", attributes="topic-v1", keep="n == 1")])
    save_view(view, made.path("views", "known.yaml"))
    of_corpus = {"name": "topics", "corpus": str(tmp_path), "attribute": "topic-v1.word"}
    labels = {"art": "art", "law": "law"}
    drawn = draw_examples(ExampleSource(**of_corpus, view="known", labels=labels), seed=1)
    assert pairs(drawn) == [("a0", "art"), ("a1", "law"), ("b0", "art"), ("c1", "law")]
    assert drawn.counts == {"read": 5, "drawn": 4, "left_out:label": 1}
    assert draw_examples(ExampleSource(**of_corpus, labels=labels), seed=1).counts["left_out:label"] == 2
    with pytest.raises(ConfigError, match="expected a label"):
        draw_examples(ExampleSource(**of_corpus), seed=1)
    with pytest.raises(ConfigError, match=r"topic-v1\.topic"):
        draw_examples(ExampleSource(**of_corpus | {"attribute": "topic-v1.topic"}), seed=1)


def test_labels_are_the_source_of_a_corpus_document(tmp_path):
    write_tagged_corpus(tmp_path)
    drawn = draw_examples(ExampleSource(name="all", corpus=str(tmp_path), label_field="source"), seed=1)
    assert {example.label for example in drawn.examples} == {"web"} and len(drawn.examples) == 6
