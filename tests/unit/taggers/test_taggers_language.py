import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_py.errors import ConfigError
from taggers.base import describe_tagger, tag_checked
from taggers.registry import build_tagger
from taggers.train_classifier import ClassifierConfig, train_classifier

GERMAN = "Das Wetter ist heute sehr schoen, und wir gehen mit den Kindern in den Park."
ENGLISH = "The weather is very nice today, and we are going to the park with the children."
FRENCH = "Le temps est tr\u00e8s beau aujourd'hui et nous allons au parc avec les enfants."


def tag(texts, **options):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return tag_checked(build_tagger("language", options), batch).to_pylist()


def test_languages_of_plain_sentences():
    rows = tag([GERMAN, ENGLISH, FRENCH])
    assert [row["lang"] for row in rows] == ["de", "en", "fr"]
    assert all(0.5 < row["lang_score"] <= 1 for row in rows)


@pytest.mark.parametrize("text", ["", " \n ", "hi there", " " * 500 + "hi", "\u65e5\u672c\u8a9e"])
def test_short_texts_are_undetermined(text):
    assert tag([text]) == [{"lang": "und", "lang_score": None}]


def test_min_chars_counts_characters_not_bytes():
    assert tag(["\u65e5\u672c\u8a9e\u306e\u6587\u7ae0"], min_chars=6)[0]["lang"] == "ja"
    assert tag(["\u65e5\u672c\u8a9e\u306e\u6587\u7ae0"], min_chars=7)[0]["lang"] == "und"


def test_only_the_first_bytes_are_read():
    text = ENGLISH * 3 + GERMAN * 30
    assert tag([text], max_bytes=200)[0]["lang"] == "en"
    assert tag([text], max_bytes=100_000)[0]["lang"] == "de"


def test_a_cut_inside_a_character_is_ignored():
    text = FRENCH.replace("tr\u00e8s", "tr\u00e8s")
    cut = len(text[: text.index("\u00e8")].encode()) + 1
    assert tag([text], max_bytes=max(cut, 16))[0] == tag([text.encode()[: cut - 1].decode()], min_chars=0)[0]


def test_rows_do_not_depend_on_the_batch():
    texts = [GERMAN, "", ENGLISH, "x", FRENCH]
    assert tag(texts) == [tag([text])[0] for text in texts]
    assert tag([]) == []


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A fastText model that tells two languages: stands in for lid.176, which is not ours to ship."""
    path = str(tmp_path_factory.mktemp("lid") / "lid.bin")
    config = ClassifierConfig(
        positive_label="de", negative_label="en", dim=8, epochs=20, learning_rate=0.5, held_out_frac=0.3
    )
    german = [f"{GERMAN} {i}" for i in range(30)]
    english = [f"{ENGLISH} {i}" for i in range(30)]
    card = train_classifier(german, english, output_path=path, seed=1, config=config)
    return path, card["model_fingerprint"]


def test_a_fasttext_model_is_used_when_given(language_model):
    path, fingerprint = language_model
    rows = tag([GERMAN, "hi", ENGLISH + "\nand more"], detector="fasttext", model_path=path)
    assert [row["lang"] for row in rows] == ["de", "und", "en"]
    described = describe_tagger(build_tagger("language", {"detector": "fasttext", "model_path": path}))
    assert described["options"]["model_fingerprint"] == fingerprint
    with pytest.raises(ConfigError, match="model_fingerprint"):
        build_tagger("language", {"detector": "fasttext", "model_path": path, "model_fingerprint": "0"})


@pytest.mark.parametrize("options", [{"detector": "fasttext"}, {"model_path": "/tmp/x"}])
def test_model_path_goes_with_fasttext_alone(options):
    with pytest.raises(ConfigError, match="model_path"):
        build_tagger("language", options)


@pytest.mark.skipif("DOLMA_PY_DATA" not in os.environ, reason="DOLMA_PY_DATA is not set")
def test_sentences_of_the_shared_set():
    path = Path(os.environ["DOLMA_PY_DATA"]) / "langid" / "lingua_testdata.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [
            row
            for row in map(json.loads, stream)
            if row["kind"] == "sentences" and row["lang"] in ("de", "en", "es", "fr", "ru")
        ]
    rows = rows[::10]
    got = tag([row["text"] for row in rows], min_chars=0)
    right = sum(answer["lang"] == row["lang"] for answer, row in zip(got, rows, strict=True))
    # py3langid over all its 140 languages, measured .98
    assert right / len(rows) > 0.95
