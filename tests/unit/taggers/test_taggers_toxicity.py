import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError
from taggers.base import describe_tagger, tag_checked
from taggers.registry import build_tagger
from taggers.text_units import find_units
from tests.reference import text_units as reference
from tests.strategies import any_bytes, texts
from tests.tiny_classifier import train_two

UNITS = st.sampled_from(["sentence", "line", "paragraph"])
PIECES = [
    "a",
    "B c",
    ".",
    "!",
    "?",
    '"',
    ")",
    "\u201d",
    " ",
    "\n",
    "\n \n",
    "\u3002",
    "\uff01",
    "\u00e9",
    "\u3000",
    "...",
]
NOTED = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def view(values):
    return view_text(pa.array(values, pa.large_string()))


@given(st.one_of(NOTED, texts(max_size=20)), UNITS)
def test_units_match_reference(text, unit):
    spans = find_units(view(["x.", text]), unit)
    expected = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in reference.find_units(text, unit)]
    assert list(zip(spans.starts[1:].tolist(), spans.ends[1:].tolist(), strict=True)) == expected
    assert spans.offsets.tolist() == [0, 1, 1 + len(expected)]


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("A b. C\nd", "sentence", ["A b.", "C", "d"]),
        ('He said "no!" Then 3.5 left.', "sentence", ['He said "no!"', "Then 3.5 left."]),
        (" a.b \n\n c\nd ", "line", ["a.b", "c", "d"]),
        (" a.b \n\n c\nd ", "paragraph", ["a.b", "c\nd"]),
        ("x" * 1_000_000, "sentence", ["x" * 1_000_000]),
        ("\n \n", "sentence", []),
    ],
)
def test_units_by_hand(text, unit, expected):
    spans = find_units(view([text]), unit)
    assert [text[a:b] for a, b in zip(spans.starts, spans.ends, strict=True)] == expected


@given(any_bytes(), UNITS)
def test_bytes_that_are_not_utf8_do_no_harm(blob, unit):
    data = np.frombuffer(blob + b"\xe3\x80\x82", np.uint8)  # what a kernel that runs past its text would read
    spans = find_units(TextView(data, np.array([0, len(blob)])), unit)
    places = np.stack([spans.starts, spans.ends], 1).ravel()
    assert (np.diff(places) >= 0).all() and (not len(places) or places[-1] <= len(blob))


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    rude, kind = (
        ["you stupid idiot", "shut up fool", "stupid fool"],
        ["thank you friend", "good morning", "a kind friend"],
    )
    path = str(tmp_path_factory.mktemp("model") / "rude.bin")
    options = {"labels": ("toxic", "non_toxic"), "dim": 8, "epochs": 60, "learning_rate": 0.5, "held_out_frac": 0.3}
    many = [[f"{text} w{k % 3}" for k in range(9) for text in side] for side in (rude, kind)]
    train_two(*many, output_path=path, seed=2, **options)
    return path


TEXTS = [
    "Good morning friend. you stupid idiot! thank you friend.",
    "thank you kind friend",
    "",
    " \n",
    "you stupid fool\n\nshut up idiot",
]


def tag(values, name="toxicity", **options):
    batch = pa.RecordBatch.from_pydict({"text": pa.array(values, pa.large_string())})
    return tag_checked(build_tagger(name, options), batch).to_pylist()


def test_spans_and_scores(model_path):
    rows = tag(TEXTS, model_path=model_path)
    cut = [[text[span["start"] : span["end"]] for span in row["spans"]] for text, row in zip(TEXTS, rows, strict=True)]
    assert cut == [["you stupid idiot!"], [], [], [], ["you stupid fool", "shut up idiot"]]
    assert rows[4]["score"] > 0.5 > rows[1]["score"]
    assert [row["num_units"] for row in rows] == [3, 1, 0, 0, 2]
    assert [row["max_unit_score"] is None for row in rows] == [False, False, True, True, False]
    assert rows[0]["max_unit_score"] == rows[0]["spans"][0]["score"] >= 0.4
    assert rows[0]["span_frac"] == pytest.approx(17 / len(TEXTS[0])) and rows[1]["span_frac"] == 0


@pytest.mark.parametrize("name", ["toxicity", "adult"])
@pytest.mark.parametrize("unit", ["sentence", "line", "paragraph"])
def test_scores_are_the_librarys(model_path, name, unit):
    odd = [
        "",
        "\u3002".join(["shut up", "\U0001f600 friend\u0301", "\x00"]),
        "idiot! " * 2000,
        "  a\n\nb. </s> fool",
        "__label__toxic you",
    ]
    tagger = build_tagger(name, {"model_path": model_path, "unit": unit, "min_span_score": 0.0})
    texts = [*TEXTS, *odd]
    rows = tag_checked(tagger, pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})).to_pylist()
    assert "model" not in vars(tagger.model)  # nothing asked the library

    def ask_library(values):
        names, found = tagger.model.model.predict([value.replace("\n", " ") for value in values], k=2)
        return [dict(zip(*pair, strict=True))["__label__toxic"] for pair in zip(names, found, strict=True)]

    assert [row["score"] for row in rows] == pytest.approx(ask_library(texts), abs=1.1e-5)
    for text, row in zip(texts, rows, strict=True):
        parts = [text[start:end] for start, end in reference.find_units(text, unit)]
        assert [span["score"] for span in row["spans"]] == pytest.approx(ask_library(parts), abs=1.1e-5)
    tagger.model.__dict__.pop("model")


@pytest.mark.parametrize(("unit", "count"), [("line", [1, 1, 0, 0, 2]), ("paragraph", [1, 1, 0, 0, 2])])
def test_other_units(model_path, unit, count):
    rows = tag(TEXTS, model_path=model_path, unit=unit, min_span_score=0.0)
    assert [len(row["spans"]) for row in rows] == count


def test_rows_do_not_depend_on_batches(model_path):
    together = tag(TEXTS, model_path=model_path)
    assert [tag([text], model_path=model_path)[0] for text in TEXTS] == together


def test_adult_is_another_set(model_path):
    tagger = build_tagger("adult", {"model_path": model_path})
    assert describe_tagger(tagger)["name"] == "adult" and tagger.config.label == "toxic"
    assert tag(TEXTS, "adult", model_path=model_path) == tag(TEXTS, model_path=model_path)


def test_the_other_label(model_path):
    rows = tag(TEXTS[:2], model_path=model_path, label="non_toxic")
    assert rows[1]["score"] > 0.5


@pytest.mark.parametrize(
    ("options", "problem"), [({"label": "nsfw"}, "nsfw"), ({"model_fingerprint": "0" * 32}, "Is it another model")]
)
def test_wrong_options(model_path, options, problem):
    with pytest.raises(ConfigError, match=problem):
        build_tagger("toxicity", {"model_path": model_path, **options})


def test_a_model_whose_label_must_be_named(tmp_path):
    path = str(tmp_path / "m.bin")
    rows = [f"word{k % 5} here" for k in range(40)], [f"other{k % 5} there" for k in range(40)]
    train_two(*rows, output_path=path, seed=1, dim=4, epochs=1, held_out_frac=0.3)
    with pytest.raises(ConfigError, match="It has: .*'hq'"):
        build_tagger("toxicity", {"model_path": path})
