import random
import struct
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from taggers import fasttext_file
from taggers import fasttext_model_kernels as kernels
from taggers.base import describe_tagger, tag_checked
from taggers.fasttext_file import read_model
from taggers.fasttext_file_kernels import fill_slots_kernel, read_entries_kernel
from taggers.fasttext_model import CHUNK_BYTES, load_model, normalize_text, predict_best, predict_label, score_texts
from taggers.quality import _name_columns
from taggers.registry import build_tagger
from tests import strategies
from tests.reference import fasttext as twin

KINDS = {
    "words": {"dim": 20},
    "bigrams": {"dim": 10, "wordNgrams": 3, "bucket": 500},
    "chars": {"dim": 16, "minn": 2, "maxn": 4, "bucket": 3000, "loss": "hs"},
    "chars and bigrams": {"dim": 7, "minn": 1, "maxn": 3, "wordNgrams": 2, "bucket": 900},
    "one against all": {"dim": 8, "loss": "ova"},
}
QUANTISED = {
    "quantised": {},
    "pruned": {"cutoff": 400, "qnorm": True},
    "all quantised": {"qout": True, "qnorm": True, "dsub": 3},
}
LABELS = ("de", "en", "fr", "other")


def make_texts(seed, count):
    rng = random.Random(seed)
    alphabet = "abcdefghijklmnopqrstuvwxyz\u00e4\u00e9\u4e2d\u0434\U0001f600"
    words = ["".join(rng.choices(alphabet, k=rng.randint(1, 12))) for _ in range(600)]
    odd = ["</s>", "__label__de", "__label__new", "a\x00b", "\u00a0", "\u2028", "\r", "\t", "<", ">", "", "x" * 40]
    texts = []
    for number in range(count):
        share = (number % len(LABELS)) * 120
        texts.append(" ".join(rng.choices(words[share : share + 240], k=rng.randint(1, 40)) + rng.sample(odd, 2)))
    return texts


def train(folder, options, quantise=None, labels=LABELS):
    """A model on made words; several threads, since one leaves most of the matrix as the memory was."""
    path, data = str(folder / "model.bin"), folder / "train.txt"
    lines = [
        f"__label__{labels[i % len(labels)]} {text.replace('</s>', '').replace('__label__new', '')}"
        for i, text in enumerate(make_texts(1, 400))
    ]
    lines += [f"__label__{labels[i % 3]} seen more often" for i in range(90)]
    data.write_text("".join(line.replace("\r", " ") + "\n" for line in lines), encoding="utf-8")
    model = fasttext.train_supervised(str(data), epoch=12, lr=0.6, thread=16, verbose=0, **options)
    if quantise is not None:
        model.quantize(str(data), **({"retrain": False} | quantise))
    model.save_model(path)
    return path


@pytest.fixture(scope="module", params=[*KINDS, *QUANTISED])
def path(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    options = KINDS.get(request.param) or KINDS["chars"] | {"loss": "softmax"}
    labels = (
        [f"l{i}" for i in range(300)] if request.param == "all quantised" else LABELS
    )  # 256 rows at least can be quantised
    return train(folder, options, QUANTISED.get(request.param), labels)


@pytest.fixture(scope="module")
def chars_path(tmp_path_factory):
    return train(tmp_path_factory.mktemp("chars"), KINDS["chars and bigrams"])


def join(texts):
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets[:-1], offsets[1:]


def ask_library(model, texts):
    """Probability of every label by the library, 0 for labels that it leaves out; best labels."""
    names, values = model.model.predict([normalize_text(text) for text in texts], k=len(model.labels))
    shares = np.zeros((len(texts), len(model.labels)), np.float32)
    for row, (its_names, its_values) in enumerate(zip(names, values, strict=True)):
        for name, value in zip(its_names, its_values, strict=True):
            shares[row, model.labels.index(name.removeprefix("__label__"))] = value
    best, _ = model.model.predict([normalize_text(text) for text in texts], k=1)
    return shares, [labels[0].removeprefix("__label__") if labels else None for labels in best]


def check_parity(model, texts):
    (found,) = score_texts([model], *join(texts))
    shares, best = ask_library(model, texts)
    assert [model.labels[label] if label >= 0 else None for label in found.best] == best
    # a label at the tree's limit of 1e-5 may be in one list and not in the other
    assert np.abs(np.exp(found.logs) - shares).max() <= 1.1e-5


def test_labels_and_scores_are_the_librarys(path):
    model = load_model(path)
    many = " ".join(make_texts(7, 400))
    odd = [
        "",
        "\n",
        " \t ",
        "</s>",
        "a </s> b",
        "__label__de",
        "__label__xx",
        "never",
        "seen more\noften",
        "\x00",
        "\U0001f600" * 300,
    ]
    check_parity(model, make_texts(3, 200) + odd + [many, many * 4])
    assert len(many.split()) > kernels.MEMO_TOKENS > 45  # texts of both kinds


def test_the_matrices_are_the_librarys(path):
    model = load_model(path)
    arrays = model.arrays
    assert len(arrays.rows.dense)
    if not model.model.is_quantized():
        assert (arrays.rows.dense == model.model.get_input_matrix()).all()
        assert (arrays.output.weights == model.model.get_output_matrix()).all()
    assert [f"__label__{label}" for label in model.labels] == model.model.get_labels()


def test_rows_stay_quantised_where_floats_would_be_large(path, monkeypatch):
    monkeypatch.setattr(fasttext_file, "DENSE_BYTES", 0)
    rows = read_model(path).rows
    assert (len(rows.codes) > 0) == load_model(path).model.is_quantized()
    load_model.cache_clear()
    try:
        check_parity(load_model(path), make_texts(3, 60))
    finally:
        load_model.cache_clear()


@settings(max_examples=60, deadline=None)
@given(st.lists(strategies.any_bytes(), max_size=4))
def test_scores_are_the_twins(path, texts):
    model = load_model(path)
    slow = twin.Model(Path(path).read_bytes())
    (found,) = score_texts([model], *join(texts))
    for row, text in enumerate(texts):
        hidden, count = slow.hidden_vectors(text)
        if not count:
            assert found.best[row] == -1 and np.isinf(found.logs[row]).all()
            continue
        expected = np.exp(slow.score_labels(hidden))
        assert np.exp(found.logs[row]) == pytest.approx(expected, abs=2e-5)
        assert expected[found.best[row]] == pytest.approx(expected[slow.best_labels(text)], abs=2e-5)


@settings(deadline=None)
@given(st.lists(strategies.any_bytes(), max_size=5))
def test_words_are_the_twins(texts):
    data, starts, ends = join(texts)
    room = len(data) + 2 * len(texts)
    word_starts, word_ends = np.empty(room, np.int64), np.empty(room, np.int64)
    marks, offsets = np.empty((room, 2), np.uint64), np.empty(len(texts) + 1, np.int64)
    kernels.read_words_kernel(data, starts, ends, word_starts, word_ends, marks, offsets)
    for row, text in enumerate(texts):
        expected = twin.split_words(text)
        tokens = range(offsets[row], offsets[row + 1])
        assert [int(value) for value in marks[tokens, kernels.HASH]] == [twin.hash_bytes(word) for word in expected]
        keys = [int.from_bytes(word[:8].ljust(8, b"\0"), "little") for word in expected]
        assert [int(value) for value in marks[tokens, kernels.KEY]] == keys
        ended = text[word_starts[tokens[-1]] :][:4] == b"</s>" if b"</s>" in text.split() else False
        inner = tokens if ended else tokens[:-1]
        assert [data[word_starts[token] : word_ends[token]].tobytes() for token in inner] == expected[: len(inner)]


@given(st.binary(max_size=120), st.integers(0, 6))
def test_dictionaries_of_any_bytes(data, num_entries):
    starts, ends, kinds = (
        np.empty(num_entries, np.int64),
        np.empty(num_entries, np.int64),
        np.empty(num_entries, np.int8),
    )
    place = read_entries_kernel(np.frombuffer(data, np.uint8), num_entries, starts, ends, kinds)
    expected = twin.read_entries(data, num_entries)
    assert (place < 0) == (expected is None)
    if expected is not None:
        entries = [(data[start:end], kind % 256) for start, end, kind in zip(starts, ends, kinds, strict=True)]
        assert (entries, place) == expected


@given(st.lists(st.binary(max_size=12).filter(lambda word: 0 not in word), max_size=40))
def test_every_word_of_a_dictionary_is_found_and_no_other(entries):
    data, starts, ends = join(entries)
    slots = np.zeros((128, 2), np.uint64)
    fill_slots_kernel(data, starts, ends, slots)
    assert (slots[:, 0] != 0).sum() == len(set(entries))
    words = words_of(data, starts, ends, slots)
    for number, word in enumerate([*entries, b"another word", b"a"]):
        key = int.from_bytes(word[:8].ljust(8, b"\0"), "little")
        asked = np.frombuffer(word, np.uint8)
        found = kernels.find_entry_kernel(words, asked, 0, len(word), np.uint64(twin.hash_bytes(word)), np.uint64(key))
        assert found == (len(entries) - 1 - entries[::-1].index(word) if word in entries else -1), number


def words_of(data, starts, ends, slots):
    from taggers.fasttext_file import Words

    return Words(slots, data, starts, ends, np.empty((0, 2), np.int32), len(starts), 1, False, 0, 0, 1)


def test_values_do_not_depend_on_the_batch(chars_path):
    model = load_model(chars_path)
    texts = make_texts(5, 60)
    texts[30] = " ".join(make_texts(6, 900)) * (CHUNK_BYTES // 100_000)  # longer than a chunk
    whole = score_texts([model], *join(texts))[0]
    for row, text in enumerate(texts):
        alone = score_texts([model], *join([text]))[0]
        assert (alone.logs == whole.logs[row]).all() and alone.best[0] == whole.best[row]
    assert len(score_texts([model], *join([]))[0].best) == 0


def test_parts_of_texts_are_asked_by_their_bounds(chars_path):
    model = load_model(chars_path)
    data = np.frombuffer(b"never seen more often", np.uint8)
    bounds = np.array([6, 0, 21]), np.array([21, 5, 21])
    found = score_texts([model], data, *bounds)[0]
    expected = score_texts([model], *join(["seen more often", "never", ""]))[0]
    assert (found.logs == expected.logs).all()


def test_only_chosen_labels_are_the_best(chars_path):
    model = load_model(chars_path)
    chosen = np.array([label == "fr" for label in model.labels])
    found = score_texts([model], *join(make_texts(3, 20)), chosen=[chosen])[0]
    assert {model.labels[label] for label in found.best} == {"fr"}


def test_several_models_in_one_pass_are_each_alone(chars_path, tmp_path_factory):
    other = load_model(train(tmp_path_factory.mktemp("other"), KINDS["words"]))
    model = load_model(chars_path)
    texts = make_texts(9, 50)
    together = score_texts([model, other], *join(texts))
    for found, its_model in zip(together, (model, other), strict=True):
        assert (found.logs == score_texts([its_model], *join(texts))[0].logs).all()


def test_a_broken_file_is_one_clear_sentence(chars_path, tmp_path):
    data = Path(chars_path).read_bytes()
    broken = tmp_path / "m.bin"
    for size in [0, 3, 7, 8, 60, 64, 90, 200, 5000, len(data) // 2, len(data) - 1]:
        broken.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"ends|not a fastText|empty one|a dictionary of") as error:
            load_model(str(broken))
        assert "\n" not in str(error.value)
        load_model.cache_clear()


@pytest.mark.parametrize(
    ("place", "layout", "value", "problem"),
    [
        (0, "i", 1, "not a fastText model"),
        (4, "i", 13, "version 13"),
        (8, "i", 0, "dimension 0"),
        (28, "i", 10**9, "words and"),
        (32, "i", 9, "loss 9"),
        (36, "i", 2, "no labels"),
        (40, "i", 10**6, "rows for"),
        (64, "i", 10**9, "dictionary of"),
        (68, "i", -1, "dictionary of"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(chars_path, tmp_path, place, layout, value, problem):
    data = bytearray(Path(chars_path).read_bytes())
    data[place : place + struct.calcsize(layout)] = struct.pack("<" + layout, value)
    (tmp_path / "m.bin").write_bytes(data)
    with pytest.raises(DataError, match=problem):
        read_model(str(tmp_path / "m.bin"))


def test_values_that_are_no_numbers_are_refused(chars_path, tmp_path):
    data = Path(chars_path).read_bytes()
    (tmp_path / "m.bin").write_bytes(data[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(DataError, match="not finite"):
        read_model(str(tmp_path / "m.bin"))


def test_a_model_without_labels_is_refused(tmp_path):
    (tmp_path / "t.txt").write_text("one two three four\n" * 50)
    fasttext.train_unsupervised(str(tmp_path / "t.txt"), dim=4, minCount=1, bucket=10, thread=16, verbose=0).save_model(
        str(tmp_path / "m.bin")
    )
    with pytest.raises(DataError, match="no labels"):
        load_model(str(tmp_path / "m.bin"))


def make_batch(texts):
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def test_topic_is_the_best_label_and_its_probability(chars_path):
    texts = [*make_texts(4, 30), ""]
    rows = tag_checked(build_tagger("topic", {"model_path": chars_path}), make_batch(texts)).to_pylist()
    labels, scores = predict_best(load_model(chars_path), texts)
    assert [row["topic"] for row in rows] == labels
    assert [row["topic_score"] for row in rows] == scores.tolist()


def test_classifiers_write_the_columns_of_every_model(chars_path):
    options = {"model_paths": [chars_path, chars_path], "columns": ["topic quality:en", "p:*"]}
    tagger = build_tagger("classifiers", options)
    texts = make_texts(4, 30)
    found = tag_checked(tagger, make_batch(texts)).to_pydict()
    labels, scores = predict_best(load_model(chars_path), texts)
    assert (found["topic"], found["topic_score"]) == (labels, scores.tolist())
    assert found["quality"] == found["p_en"] == predict_label(load_model(chars_path), texts, label="en").tolist()
    assert set(found) == {"topic", "topic_score", "quality", *(f"p_{label}" for label in LABELS)}
    described = describe_tagger(tagger)["options"]
    assert (
        "model_paths" not in described and described["model_fingerprints"] == [load_model(chars_path).fingerprint] * 2
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"columns": ["a"]}, "columns: expected as many"),
        ({"columns": ["a", "a:de"]}, "each column once"),
        ({"columns": ["a", "b:nothing"]}, "no such label"),
        ({"columns": ["a", "1:de"]}, "expected NAME"),
        ({"columns": ["a", " "]}, "a column of every model"),
        ({"columns": ["a", "b"], "model_fingerprints": ["", "00"]}, "fingerprint"),
        ({"columns": ["a", "b"], "model_fingerprints": ["00"]}, "1 model_fingerprints"),
    ],
)
def test_wrong_columns_are_told(chars_path, options, problem):
    with pytest.raises(ConfigError, match=problem):
        build_tagger("classifiers", {"model_paths": [chars_path, chars_path]} | options)


def test_columns_of_every_label_have_names_of_their_own():
    """Labels of a foreign model that differ in signs that a column's name has not."""
    assert _name_columns("lang", ["g\u00f3\u00f0", "g\u00f8\u00f0", "c++", "c#", "c"]) == [
        "lang_g_", "lang_g__2", "lang_c_", "lang_c__2", "lang_c",
    ]  # fmt: skip
