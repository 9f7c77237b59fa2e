import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid import langid

from dolma_py.errors import ConfigError
from taggers import language_kernels as kernels
from taggers import scripts
from taggers.characters import character_table
from taggers.langid import encode_text, load_langid, score_langid
from taggers.langid_kernels import langid_scores_kernel
from taggers.language import split_segments
from taggers.scripts import CODES, SCRIPTS, count_scripts, name_scripts, weight_table
from tests import strategies
from tests.reference import language as twin

SENTENCES = [
    "The weather is very nice today.", "DAS WETTER IST HEUTE SCH\u00d6N", "Le temps est tr\u00e8s beau", "e\u0301te\u0301",
    "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044", "\u0421\u0435\u0433\u043e\u0434\u043d\u044f \u0434\u043e\u0436\u0434\u044c",
    "", "12345", "\u0414\u0430\u043d\u0430\u0441 \u0458\u0435 \u043b\u0435\u043f", "Danas je lijep dan", "\x00", "x",
]  # fmt: skip


def join(texts):
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), offsets


def check_library(texts, languages=None):
    model = load_langid(tuple(languages or ()))
    theirs = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    theirs.set_languages(languages)
    scores = score_langid(model, texts)
    for row, text in enumerate(texts):
        label, share = theirs.classify(text)
        assert (model.labels[scores[row].argmax()], scores[row].max()) == (label, pytest.approx(share, abs=1e-4)), text
        ranked = dict(theirs.rank(text))
        mine = dict(reversed(list(zip(model.labels, scores[row].tolist(), strict=True))))
        assert mine == pytest.approx(ranked, abs=1e-4)


def test_labels_and_probabilities_are_py3langids():
    check_library(SENTENCES + [" ".join(SENTENCES) * 20])


def test_a_restricted_set_is_py3langids():
    check_library(SENTENCES, ["en", "de", "sr", "fr", "ja"])


@settings(max_examples=40, deadline=None)
@given(st.lists(strategies.texts(), min_size=1, max_size=4))
def test_any_text_is_as_py3langid_has_it(texts):
    check_library(texts)


@settings(max_examples=25, deadline=None)
@given(st.lists(strategies.any_bytes(), max_size=3))
def test_scores_are_the_twins(texts):
    model = load_langid(("en", "de", "sr", "zh"))
    data, offsets = join(texts)
    scores = np.empty((len(texts), len(model.labels)), np.float32)
    langid_scores_kernel(data, offsets, model.automaton, scores)
    for row, text in enumerate(texts):
        assert scores[row] == pytest.approx(twin.langid_scores(text, model.automaton), abs=1e-4)


def test_labels_of_two_scripts_are_one():
    model = load_langid()
    assert len(set(model.labels)) < len(model.labels)
    scores = score_langid(model, SENTENCES)
    twice = [place for place, first in enumerate(model.automaton.merged) if first != place]
    assert (scores[:, twice] == 0).all()
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_an_unknown_language_is_told():
    with pytest.raises(ConfigError, match="no such label"):
        load_langid(("en", "tlh"))


@pytest.mark.parametrize(
    ("text", "encoded"), [("ABC", b"abc"), ("AbC", b"AbC"), ("E\u0301", "\u00e9".encode()), ("", b"")]
)
def test_texts_are_encoded_as_py3langid_does(text, encoded):
    assert encode_text(text) == encoded == langid.LanguageIdentifier._encode(text)


DENSE = st.sampled_from("\u65e5\u3042\u30a2\uff71\u30fc\ud55c\u3105\ua000\U00020000\U000e0100a \u3000\u3002")


@given(st.lists(st.one_of(strategies.texts(), st.text(DENSE, max_size=12)), max_size=5), st.integers(0, 30))
def test_long_enough_is_the_twins(texts, min_chars):
    data, offsets = join([text.encode() for text in texts])
    found = np.empty(len(texts), np.bool_)
    kernels.long_enough_kernel(data, offsets[:-1], offsets[1:], character_table(), weight_table(), min_chars, found)
    names = {SCRIPTS[code] for code in scripts.DENSE}
    heavy = {char for text in texts for char in text if twin.weighs(char, names)}
    assert found.tolist() == [twin.long_enough(text, min_chars, heavy, scripts.DENSE_CHARS) for text in texts]


def test_what_characters_count_for():
    table = weight_table()
    weights = {
        char: int(table[ord(char)]) for char in "\u65e5\u3042\u30a2\ud55c\u3105\ua000a\u00e9\u0e01\u0939\u1200\u3002 "
    }
    assert [*weights.values()] == [3, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1]


@given(
    st.lists(st.one_of(strategies.any_bytes(), st.text("a \n\t", max_size=20).map(str.encode)), max_size=5),
    st.booleans(),
)
def test_segments_are_the_twins(texts, by_lines):
    data, offsets = join(texts)
    found = split_segments(data, offsets, by_lines=by_lines)
    for row, text in enumerate(texts):
        mine = slice(found.offsets[row], found.offsets[row + 1])
        spans = list(
            zip((found.starts[mine] - offsets[row]).tolist(), (found.ends[mine] - offsets[row]).tolist(), strict=True)
        )
        assert spans == twin.split_segments(text, by_lines)


def test_more_segments_than_there_is_room_at_first():
    data, offsets = join([b"a\n" * 1000])
    assert split_segments(data, offsets, by_lines=True).offsets.tolist() == [0, 1000]
    assert split_segments(data, offsets, by_lines=False).offsets.tolist() == [0, 1]


@given(st.lists(strategies.texts(), max_size=5))
def test_scripts_are_the_twins(texts):
    data, offsets = join([text.encode() for text in texts])
    names = list(SCRIPTS.values())
    assert count_scripts(data, offsets).tolist() == [twin.count_scripts(text, names) for text in texts]


def test_scripts_of_plain_words():
    texts = ["abc1", "\u0434\u0430", "\u0939\u093f", "\ud55c\uad6d", "\u3072\u30ab\u6f22", "\uff21\uff76", "\u0661"]
    data, offsets = join([text.encode() for text in texts])
    found = [
        {CODES[place]: int(count) for place, count in enumerate(row) if count}
        for row in count_scripts(data, offsets)[:, 1:]
    ]
    expected = [
        {"Latn": 3},
        {"Cyrl": 2},
        {"Deva": 2},
        {"Hang": 2},
        {"Hira": 1, "Kana": 1, "Hani": 1},
        {"Latn": 1, "Kana": 1},
        {},
    ]
    assert found == expected


@given(st.lists(st.text(DENSE, max_size=30), max_size=5))
def test_names_of_scripts_are_the_twins(texts):
    data, offsets = join([text.encode() for text in texts])
    counts = count_scripts(data, offsets)
    names, sizes = name_scripts(counts)
    expected = [
        twin.name_script(dict(zip(CODES, row[1:], strict=True)), scripts.JAPANESE_FRAC) for row in counts.tolist()
    ]
    assert list(zip(names, sizes.tolist(), strict=True)) == expected


def test_han_and_kana_are_one_script_where_there_are_kana_enough():
    texts = [
        "\u3042",
        "\u65e5" * 9 + "\u3042",
        "\u65e5" * 10 + "\u3042",
        "\u65e5\u3042abc",
        "\u65e5\u3042\u30a2abc",
        "12",
        "\u65e5",
    ]
    data, offsets = join([text.encode() for text in texts])
    names, sizes = name_scripts(count_scripts(data, offsets))
    assert names == ["Jpan", "Jpan", "Hani", "Latn", "Latn", "Zyyy", "Hani"]
    assert sizes.tolist() == [1, 10, 10, 3, 3, 0, 1]
