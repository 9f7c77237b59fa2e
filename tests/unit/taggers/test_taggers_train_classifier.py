import random
import re
import subprocess
import sys
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest

from dolma_py.errors import ConfigError, DataError, DolmaError
from taggers import train_classifier as module
from taggers.base import describe_tagger, tag_checked
from taggers.fasttext_model import load_model, normalize_text, predict_best, predict_label
from taggers.registry import build_tagger
from taggers.train_labels import find_card
from tests.tiny_classifier import train_two

REPOSITORY = Path(__file__).resolve().parents[3]
SMALL = {"dim": 16, "epochs": 10, "learning_rate": 0.5}


def make_texts(seed, first_word, count=150):
    """Texts whose words overlap by half between the two labels, with signs that could break fastText's file."""
    random_words = random.Random(seed)
    odd = [
        "__label__hq",
        "</s>",
        "nul\x00inside",
        "caf\u00e9",
        "a\u00a0b",
        "\u2028",
        "\U0001f600",
        "tab\there",
        "",
        "\r",
        "\x0b",
    ]
    return [
        " ".join(
            random_words.choices([f"w{i}" for i in range(first_word, first_word + 200)], k=30)
            + random_words.sample(odd, 3)
        )
        + "\nsecond line"
        for _ in range(count)
    ]


def train(path, **options):
    return train_two(make_texts(1, 0), make_texts(2, 100), output_path=str(path), seed=11, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "quality.bin"
    return str(path), train(path, **SMALL)


def test_training_in_two_processes_gives_the_same_bytes(tmp_path):
    script = (
        f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(Path(__file__).parent)!r}]\n"
        "import test_taggers_train_classifier as t; t.train(sys.argv[1], **t.SMALL)"
    )
    # the second one starts with other content in freed memory
    for name, perturb in (("first.bin", "0"), ("second.bin", "165")):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            check=True,
            env={"MALLOC_PERTURB_": perturb, "PATH": "/usr/bin:/bin"},
        )
    first, second = ((tmp_path / name).read_bytes() for name in ("first.bin", "second.bin"))
    assert first == second
    assert (tmp_path / "first.bin.card.json").read_bytes() == (tmp_path / "second.bin.card.json").read_bytes()


def test_weights_are_finite_and_start_vectors_cover_every_word(model):
    path, card = model
    trained = fasttext.load_model(path)
    assert np.isfinite(trained.get_input_matrix()).all()
    assert np.isfinite(trained.get_output_matrix()).all()
    assert trained.get_input_matrix().shape == (card["num_words"], 16)
    assert "__label__hq" not in trained.get_words()


def test_card_tells_how_good_the_model_is(model):
    path, card = model
    held_out = card["held_out"]["labels"]["hq"]
    assert card["held_out"]["texts"] > 10
    assert held_out["auc"] > 0.9
    assert min(held_out["precision"], held_out["recall"]) > 0.6
    assert find_card(path) == card
    Path(path + ".other").write_bytes(Path(path).read_bytes() + b"x")
    Path(path + ".other.card.json").write_bytes(Path(path + ".card.json").read_bytes())
    assert find_card(path + ".other") is None


def test_another_seed_gives_another_model(model, tmp_path):
    train_two(make_texts(1, 0), make_texts(2, 100), output_path=str(tmp_path / "m.bin"), seed=12, **SMALL)
    assert (tmp_path / "m.bin").read_bytes() != Path(model[0]).read_bytes()


def test_unlisted_words_are_an_error_and_leave_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SEPARATORS", re.compile("[ \n\r\t\v\f]+"))  # planted fault: NUL parts words too
    with pytest.raises(DolmaError, match="would not repeat"):
        train(tmp_path / "m.bin", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_min_count_is_respected(tmp_path):
    card = train(tmp_path / "m.bin", **SMALL, min_count=40)
    assert 0 < card["num_words"] < 200


@pytest.mark.parametrize("repeatable", [True, False])
def test_bigrams_train_on_one_thread_and_on_many(tmp_path, repeatable):
    options = {"dim": 16, "word_ngrams": 2, "num_buckets": 20000, "repeatable": repeatable, "learning_rate": 0.5}
    assert train(tmp_path / "m.bin", **options)["held_out"]["labels"]["hq"]["auc"] > 0.7


def test_normalisation_joins_lines_by_a_space_and_does_nothing_else():
    assert normalize_text("One\nTwo\r\n  three\t__label__x") == "One Two\r   three\t__label__x"


def test_scores_are_the_librarys(model):
    loaded = load_model(model[0])
    texts = make_texts(4, 50, count=40) + ["", "words\nnever\nseen"]
    scores = predict_label(loaded, texts, label="hq")
    labels, probabilities = loaded.model.predict([text.replace("\n", " ") for text in texts], k=2)
    expected = [
        dict(zip(names, values, strict=True))["__label__hq"]
        for names, values in zip(labels, probabilities, strict=True)
    ]
    assert scores.tolist() == pytest.approx(np.clip(expected, 0, 1).tolist(), abs=1e-5)
    best, best_scores = predict_best(loaded, texts)
    assert best == ["hq" if score >= 0.5 else "cc" for score in scores]
    assert (best_scores >= 0.5).all()


def test_one_text_or_many_give_the_same_scores(model):
    tagger = build_tagger("quality", {"model_path": model[0]})
    batch = pa.record_batch({"text": pa.array(make_texts(5, 50, count=9), pa.large_string())})
    whole = tag_checked(tagger, batch).column("score")
    parts = [tag_checked(tagger, batch.slice(row, 1)).column("score")[0] for row in range(9)]
    assert whole.to_pylist() == [part.as_py() for part in parts]
    assert tag_checked(tagger, batch.slice(0, 0)).num_rows == 0


def test_the_models_fingerprint_is_part_of_the_identity(model):
    tagger = build_tagger("quality", {"model_path": model[0]})
    assert describe_tagger(tagger)["options"] == {"label": "hq", "model_fingerprint": model[1]["model_fingerprint"]}
    with pytest.raises(ConfigError) as error:
        build_tagger("quality", {"model_path": model[0], "model_fingerprint": "00"})
    assert (error.value.key, error.value.got) == ("quality.model_fingerprint", "00")


def test_unknown_label_names_the_known(model):
    with pytest.raises(ConfigError, match="It has: (hq, cc|cc, hq)"):
        build_tagger("quality", {"model_path": model[0], "label": "good"})


@pytest.mark.parametrize("content", [None, b"", b"not a model at all"])
def test_unreadable_models_are_refused(content, tmp_path, capfd):
    path = tmp_path / "m.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_model(str(path))
    assert error.value.path == str(path)


def test_loading_prints_nothing(model, capfd):
    load_model.cache_clear()
    load_model(model[0])
    assert capfd.readouterr() == ("", "")
    assert load_model(model[0]) is load_model(model[0])
