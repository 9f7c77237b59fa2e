import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import DataError
from taggers import language_model_arpa_kernels as kernels
from taggers.language_model import score_texts
from taggers.language_model_arpa import read_arpa
from taggers.language_model_tokens import LanguageModelText
from tests.reference import language_model as scores_of
from tests.reference import language_model_arpa as reference

PLAIN = LanguageModelText.plain()
# "b c" and "c" alone are listed of the suffixes of "a b c", "x b c d" lacks two of its own; blanks and a missing backoff as others write them
SPARSE = """
\\data\\
ngram 1=7
ngram 2=2
ngram 3=1
ngram 4=1

\\1-grams:
-1.5\t<unk>
0\t<s>\t-0.25
-1.25 </s>
-0.75\ta\t-.5
-1e0\tb\t-0.125
-1.0\tc\t-0.0625
-1.125\td\t0

\\2-grams:
-0.5\tb c\t-0.3
-0.25\ta b\t-0.2

\\3-grams:
-0.1\t<s> a b\t-0.4

\\4-grams:
-0.05\ta b c d
\\end\\
"""
NUMBERS = [b"-1", b"-1.5e-1", b".5", b"5.", b"1e-999"]
FIELDS = st.sampled_from(
    [*NUMBERS, b"a", b"b\xff", b"1x", b"", b" ", b"\t", b"\r", b"-", b"e5", b"nan", b"-inf", b"1e999"]
)


def listed(content):
    """The n-grams of a well-formed file, as the twin has models."""
    found = {}
    for line in content.split("\n"):
        fields = line.split()
        if fields and not line.startswith(("\\", "ngram")):
            has_backoff = len(fields) > 2 and fields[-1].lstrip("-")[:1] in ".0123456789"
            gram = tuple(fields[1:-1] if has_backoff else fields[1:])
            found[gram] = (float(fields[0]), float(fields[-1]) if has_backoff else 0.0)
    return found


@given(st.lists(st.lists(FIELDS, max_size=6).map(b" ".join), max_size=6), st.integers(1, 3))
def test_lines_match_reference(rows, order):
    text = b"\n".join(rows)
    values, words = np.zeros((2, len(rows)), np.float32), np.zeros((len(rows), order), np.uint64)
    data = np.frombuffer(text + b"\n9", np.uint8)[: len(text)]
    count = kernels.parse_ngrams_kernel(data, 0, *values, words, np.zeros(1, np.int64))
    expected = reference.parse_ngrams(text, order, len(rows))
    assert count == len(expected)
    assert values[0, :count].tolist() == pytest.approx([row[0] for row in expected], rel=1e-6)
    assert values[1, :count].tolist() == pytest.approx([row[2] for row in expected], rel=1e-6)
    assert words[:count].tolist() == [[xxhash.xxh64_intdigest(word) for word in row[1]] for row in expected]


@pytest.mark.parametrize("text", ["-1.5e-1", "0", "+7", ".5", "5.", "-123456789.123456789", "1e-3", "1E+2", "-99"])
def test_numbers(text):
    data = np.frombuffer(text.encode(), np.uint8)
    is_number, value = kernels.parse_number_kernel(data, 0, len(data))
    assert is_number and value == pytest.approx(float(text), rel=1e-15)


@pytest.mark.parametrize("text", ["", "-", "1x", "nan", "inf", ".", "e5", "1e", "1e+", "--1", "1e999"])
def test_no_numbers(text):
    data = np.frombuffer(text.encode() + b"5", np.uint8)
    assert not kernels.parse_number_kernel(data, 0, len(data) - 1)[0]


@pytest.mark.parametrize("sentence", ["a b c d", "b c d", "c d", "x a b c d", "a b c", "d", "zzz a b", "", "b b b"])
def test_a_model_that_lacks_suffixes(tmp_path, sentence):
    """Scores are those of backing off over what is listed: what is added changes none."""
    (tmp_path / "m.arpa").write_text(SPARSE)
    model = read_arpa(str(tmp_path / "m.arpa"))
    found = score_texts(model, view_text(pa.array([sentence], pa.large_string())), PLAIN)
    units = [sentence.split()] if sentence else []
    expected = scores_of.score_units(listed(SPARSE), 4, units)
    assert found.log_probs.tolist() == pytest.approx([sum(value for value, _ in expected)], abs=1e-6)
    assert found.num_unknown.tolist() == [sum(unknown for _, unknown in expected)]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("\\data\\", "data", "does not begin with"),
        ("ngram 2=2", "ngram 2=3", "m.arpa:20: not one of 3 2-grams"),
        ("ngram 2=2", "ngram 2=1", "no section of 3-grams where one is expected"),
        ("ngram 2=2", "ngram 2=99999", "99999 2-grams in"),
        ("ngram 2=2", "ngram 9=2", "its orders are"),
        ("-0.5\tb c", "-0.5x\tb c", "m.arpa:18: not one of 2 2-grams"),
        ("a b\t-0.2", "b c\t-0.2", "a 2-gram stands twice"),
        ("\\3-grams:", "\\5-grams:", "no section of 3-grams"),
        ("\\end\\", "", "expected .*end"),
    ],
)
def test_broken_files(tmp_path, old, new, problem):
    assert old in SPARSE
    (tmp_path / "m.arpa").write_text(SPARSE.replace(old, new, 1))
    with pytest.raises(DataError, match=problem):
        read_arpa(str(tmp_path / "m.arpa"))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_arpa(str(tmp_path / "none.arpa"))
