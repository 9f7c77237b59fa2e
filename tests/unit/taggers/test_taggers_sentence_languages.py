import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError, DataError
from dolma_py.rules import evaluate_rule, parse_rule
from taggers.base import describe_tagger, tag_checked
from taggers.fasttext_model import load_model
from taggers.registry import build_tagger
from taggers.sentence_languages import find_foreign, find_sentences
from taggers.web_filter import PRESETS
from tests.reference import sentence_languages as reference
from tests.strategies import any_bytes
from tests.tiny_classifier import train_two

GERMAN = "Das Wetter ist heute sehr schoen, und wir gehen mit den Kindern in den Park."
ENGLISH = "The weather is very nice today, and we are going to the park with the children."
PIECES = [
    ".",
    "!",
    "?",
    "...",
    ". ",
    "! ",
    "?! ",
    "\n",
    " ",
    "\u00a0",
    "\u2028",
    "word",
    "a.b",
    "3.5",
    "\u3002",
    "\u00e9",
    "\U0001f600",
    "\x1c",
]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=60))
ODD = ["", ".", " ", ". ", "a", "a. ", " . a", "x" * 1_000_000, "a. " * 5000, "...", "a.b. c", "\U0001f600! "]


def view(texts):
    return view_text(pa.array(texts, pa.large_string()))


def split(texts):
    """The sentences of each text, in characters."""
    seen, found = view(texts), find_sentences(view(texts))
    rows = []
    for row, text in enumerate(texts):
        base, encoded = int(seen.offsets[row]), text.encode()
        places = slice(found.offsets[row], found.offsets[row + 1])
        rows.append(
            [
                tuple(len(encoded[: at - base].decode()) for at in pair)
                for pair in zip(found.starts[places].tolist(), found.ends[places].tolist(), strict=True)
            ]
        )
    return rows


@given(st.lists(TEXTS, max_size=4))
def test_sentences_match_reference(texts):
    assert split(texts) == [reference.find_sentences(text) for text in texts]


def test_odd_texts_match_reference_together_and_alone():
    assert split(ODD) == [reference.find_sentences(text) for text in ODD]
    whole = find_sentences(view(ODD))
    for row, text in enumerate(ODD):
        assert len(find_sentences(view([text])).starts) == whole.offsets[row + 1] - whole.offsets[row]


@given(st.lists(any_bytes(), max_size=3))
def test_broken_bytes_give_places_in_bounds(parts):
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    found = find_sentences(TextView(np.frombuffer(b"".join(parts), np.uint8), offsets))
    assert (found.starts < found.ends).all() and (np.diff(found.offsets) >= 0).all()
    assert (found.ends <= offsets[-1]).all()


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_they_are_the_sentences_that_the_rules_count(texts):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    counted = build_tagger("web-filter", {"preset": "madlad400"}).tag(batch).column("num_sentences")
    assert counted.to_pylist() == np.diff(find_sentences(view(texts)).offsets).tolist()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A fastText model that tells two languages: stands in for lid.176, which is not ours to ship."""
    path = str(tmp_path_factory.mktemp("lid") / "lid.bin")
    options = {"labels": ("de", "en"), "dim": 8, "epochs": 20, "learning_rate": 0.5, "held_out_frac": 0.3}
    texts = [[f"{text} {i}" for i in range(30)] for text in (GERMAN, ENGLISH)]
    return path, train_two(*texts, output_path=path, seed=1, **options)["model_fingerprint"]


def test_sentences_of_another_language_are_found(model):
    texts = [f"{ENGLISH} {GERMAN} {ENGLISH}", "", GERMAN, "\u4e2d\u6587! " + ENGLISH]
    found = find_foreign(view(texts), load_model(model[0]))
    assert found.offsets.tolist() == [0, 3, 3, 4, 6]
    assert found.flags[:4].tolist() == [False, True, False, False]


# one of six, one of five, two of six in another language: at most a fifth is kept
@pytest.mark.parametrize(("english", "german", "kept"), [(5, 1, True), (4, 1, True), (4, 2, False)])
def test_rule_one_at_its_threshold(model, english, german, kept):
    batch = pa.record_batch({"text": pa.array([" ".join([ENGLISH] * english + [GERMAN] * german)], pa.large_string())})
    tagger = build_tagger("web-filter", {"preset": "madlad400", "language_model_path": model[0]})
    table = pa.Table.from_batches([tag_checked(tagger, batch)])
    share = german / (english + german)
    assert table.column("other_language_sentence_frac").to_pylist() == [share]
    assert table.column("questionable_sentence_frac").to_pylist() == [share]
    (rule,) = [rule for rule in PRESETS["madlad400"].rules if rule.name == "questionable_sentences"]
    assert evaluate_rule(parse_rule(rule.expression), table)[0].tolist() == [kept]


def test_a_sentence_that_breaks_two_rules_counts_once(model):
    listed = "Das Wetter Ist Heute Sehr Schoen Und Wir Gehen Mit Den Kindern In Den Park."
    text = " ".join([ENGLISH] * 4 + [listed])
    batch = pa.record_batch({"text": pa.array([text, ENGLISH], pa.large_string())})
    both, plain = (
        build_tagger("web-filter", {"preset": "madlad400"} | more).tag(batch).to_pylist()
        for more in ({"language_model_path": model[0]}, {})
    )
    assert both[0]["other_language_sentence_frac"] == both[0]["list_case_sentence_frac"] == 0.2
    assert both[0]["questionable_sentence_frac"] == 0.2
    assert [{key: row[key] for key in plain[0]} for row in both] == plain


def test_without_a_model_the_rule_is_not_asked():
    assert "other_language_sentence_frac" not in build_tagger("web-filter", {"preset": "madlad400"}).schema.names
    script = "import sys; from taggers.registry import build_tagger; build_tagger('web-filter'); print('taggers.fasttext_model' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"False\n"


def test_the_model_is_checked(model):
    path, fingerprint = model
    options = {"preset": "madlad400", "language_model_path": path}
    described = describe_tagger(build_tagger("web-filter", options))["options"]
    assert described["language_model_fingerprint"] == fingerprint and "language_model_path" not in described
    with pytest.raises(ConfigError, match="language_model_fingerprint"):
        build_tagger("web-filter", options | {"language_model_fingerprint": "0"})
    with pytest.raises(ConfigError, match="is for preset madlad400"):
        build_tagger("web-filter", {"language_model_path": path})
    with pytest.raises(DataError, match="no such file"):
        build_tagger("web-filter", options | {"language_model_path": "/nowhere/lid.bin"})
