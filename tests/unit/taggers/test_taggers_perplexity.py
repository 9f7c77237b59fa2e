import json
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dolma_py.errors import ConfigError, DataError
from dolma_py.rules import evaluate_rule, parse_rule
from taggers.base import describe_tagger, tag_checked
from taggers.kenlm_model import KenlmModel, load_kenlm
from taggers.language_model_tokens import LanguageModelText
from taggers.language_model_training import LanguageModelConfig, train_language_model
from taggers.perplexity import load_any_model, score_any
from taggers.registry import build_tagger
from tests.unit.taggers.test_taggers_language_model import view

TRAINING = ["the cat sat on the mat\nthe dog sat on the cat", "a dog ran to the mat\n\na cat ran"]
TEXTS = ["The cat ran to the mat", "mat the the to ran", "quark lepton\n\nthe cat", "", " \n ", "\U0001f600"]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "cats.lm")
    train_language_model([view(TRAINING)], output_path=path, config=LanguageModelConfig(order=3, arpa=True))
    return path


def batch(texts):
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


def tag(texts, **options):
    return tag_checked(build_tagger("perplexity", options), batch(texts)).to_pylist()


def test_columns(model_path):
    rows = tag(TEXTS, model_path=model_path)
    assert [row["num_tokens"] for row in rows] == [6, 5, 4, 0, 0, 1]
    assert [row["unknown_frac"] for row in rows] == [0, 0, 0.5, None, None, 1]
    assert rows[0]["perplexity"] < rows[1]["perplexity"]  # the same words in an order that the model has not seen
    assert rows[2]["min_unit_perplexity"] < rows[2]["perplexity"] < rows[2]["max_unit_perplexity"]
    mean = np.mean([rows[2]["min_unit_perplexity"], rows[2]["max_unit_perplexity"]])
    assert rows[2]["mean_unit_perplexity"] < mean  # the mean of the losses
    for row in rows[3:5]:
        assert [value for name, value in row.items() if name != "num_tokens"] == [None] * 5


@pytest.mark.parametrize("ending", ["", ".arpa"])
def test_a_document_of_left_out_words_alone_has_no_perplexity_so_no_rule_keeps_it(model_path, ending):
    rows = tag(["<s> </s>", "<unk>\n\n</s> <s>\n", "<s> cat"], model_path=model_path + ending)
    assert [row["num_tokens"] for row in rows] == [0, 0, 1]
    for row in rows[:2]:
        assert [value for name, value in row.items() if name != "num_tokens"] == [None] * 5
    table = pa.table({"perplexity": pa.array([row["perplexity"] for row in rows], pa.float64())})
    holds, is_null = evaluate_rule(parse_rule("perplexity <= 1000000"), table)
    assert holds.tolist() == [False, False, True] and is_null.tolist() == [True, True, False]


def test_perplexity_by_its_definition(model_path):
    """10 to the power of the mean -log10 probability of words and ends of lines, as CCNet has it; over the ARPA text."""
    grams = {}
    with open(model_path + ".arpa") as stream:
        for fields in (line.rstrip("\n").split("\t") for line in stream):
            if len(fields) > 1:
                grams[tuple(fields[1].split())] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    from tests.reference.language_model import score_units

    lines = [["quark", "lepton"], ["the", "cat"]]
    total = sum(log_prob for log_prob, _ in score_units(grams, 3, lines))
    row = tag(["quark lepton\nthe cat"], model_path=model_path)[0]
    assert row["perplexity"] == pytest.approx(10 ** (-total / 6), rel=1e-5)


def test_rows_do_not_depend_on_batches(model_path):
    together = tag(TEXTS, model_path=model_path)
    assert [tag([text], model_path=model_path)[0] for text in TEXTS] == together


def test_an_arpa_file_scores_as_the_model(model_path):
    assert tag(TEXTS, model_path=model_path + ".arpa") == tag(TEXTS, model_path=model_path)


def test_a_text_is_read_as_the_options_say(model_path):
    plain = LanguageModelText.plain().model_dump()
    row = tag(["The cat"], model_path=model_path, text=plain)[0]
    assert row["unknown_frac"] == 0.5  # the model has lower case only


def test_identity(model_path):
    tagger = build_tagger("perplexity", {"model_path": model_path})
    options = describe_tagger(tagger)["options"]
    assert "model_path" not in options and len(options["model_fingerprint"]) == 32
    with pytest.raises(ConfigError, match="which is " + options["model_fingerprint"]):
        build_tagger("perplexity", {"model_path": model_path, "model_fingerprint": "0" * 32})


@pytest.mark.parametrize(("content", "problem"), [(None, "no such file"), (b"x" * 99, "not a language model")])
def test_no_model(tmp_path, content, problem):
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        build_tagger("perplexity", {"model_path": str(path)})


class FakeKenlm:
    """KenLM's module over an ARPA file that the twin reads: same interface, for a machine without it."""

    def __init__(self, path):
        self.grams = {}
        with open(path.removesuffix(".binary") + ".arpa") as stream:
            for fields in (line.rstrip("\n").split("\t") for line in stream):
                if len(fields) > 1:
                    self.grams[tuple(fields[1].split())] = (
                        float(fields[0]),
                        float(fields[2]) if len(fields) > 2 else 0.0,
                    )

    def full_scores(self, sentence):
        from tests.reference.language_model import score_word

        context = ("<s>",)
        for word in [*sentence.split(), "</s>"]:
            known = word if (word,) in self.grams else "<unk>"
            yield score_word(self.grams, context[-2:], known), 1, known == "<unk>"
            context = (*context, known)


@pytest.fixture
def binary_path(model_path):
    path = model_path + ".binary"
    with open(path, "wb") as stream:
        stream.write(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    load_kenlm.cache_clear()
    return path


def test_a_binary_model_without_the_module(binary_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ConfigError, match="expected KenLM's Python module"):
        build_tagger("perplexity", {"model_path": binary_path})


def test_a_binary_model_with_the_module(model_path, binary_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", types.SimpleNamespace(Model=FakeKenlm))
    rows, expected = tag(TEXTS, model_path=binary_path), tag(TEXTS, model_path=model_path)
    assert rows[3:5] == expected[3:5]
    for at in (0, 1, 2, 5):
        assert rows[at] == pytest.approx(expected[at], rel=1e-5)
    load_kenlm.cache_clear()


def test_kenlm_s_own_module_says_the_same(model_path):
    """Of the module a test can only rely on ARPA files: its binary format is made by a program (benchmarks.perplexity_parity)."""
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm compiles it")
    model = KenlmModel(kenlm.Model(f"{model_path}.arpa"), "")
    scores, expected = (score_any(one, view(TEXTS), LanguageModelText()) for one in (model, load_any_model(model_path)))
    for got, wanted in zip(scores, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def save_tokenizer(path, vocabulary):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def of_pieces(tmp_path_factory):
    """(path of a model of pieces, path of its tokenizer)"""
    folder = tmp_path_factory.mktemp("pieces")
    tokenizer = save_tokenizer(folder / "tokenizer.json", ["the", "cat", "mat", "?"])
    config = LanguageModelConfig(order=2, text=LanguageModelText(tokens="pieces", tokenizer=tokenizer))
    train_language_model([view(TRAINING)], output_path=str(folder / "m.lm"), config=config)
    return str(folder / "m.lm"), tokenizer


def test_a_models_file_does_not_decide_which_tokenizer_is_opened(of_pieces, tmp_path, monkeypatch):
    path, tokenizer = of_pieces
    content = Path(path).read_bytes()
    foreign = tmp_path / "m.lm"
    name = json.dumps(tokenizer).encode()
    foreign.write_bytes(content.replace(name, b'"someone/some-tokenizer"'.ljust(len(name))))
    assert foreign.read_bytes() != content
    from taggers import language_model_tokens

    monkeypatch.setattr(language_model_tokens, "load_backend", lambda *_: pytest.fail("opened or fetched"))
    for model in (foreign, path):
        with pytest.raises(ConfigError, match="expected the tokenizer of the model's pieces"):
            build_tagger("perplexity", {"model_path": str(model)})


def test_pieces_are_those_of_the_tokenizer_that_is_given_and_no_other_is_taken(of_pieces, tmp_path):
    path, tokenizer = of_pieces
    rows = tag(["the cat", "the dog"], model_path=path, tokenizer=tokenizer)
    assert [row["num_tokens"] for row in rows] == [2, 2] and rows[0]["perplexity"] != rows[1]["perplexity"]
    moved = tmp_path / "elsewhere.json"
    moved.write_bytes(Path(tokenizer).read_bytes())
    assert tag(["the cat", "the dog"], model_path=path, tokenizer=str(moved)) == rows
    other = save_tokenizer(tmp_path / "other.json", ["cat", "the", "mat", "?"])
    with pytest.raises(ConfigError, match="it is another one"):
        tag(["the cat"], model_path=path, tokenizer=other)


def test_losses_that_no_float_holds_are_the_largest_that_one_does(tmp_path):
    words = "-99\t<s>\t-4000\n-99\t</s>\t0\n-99\t<unk>\t0\n"
    text = f"\\data\\\nngram 1=3\nngram 2=1\n\n\\1-grams:\n{words}\n\\2-grams:\n-1\t<unk> <unk>\n\n\\end\\\n"
    (tmp_path / "m.arpa").write_text(text)
    (row,) = tag(["x"], model_path=str(tmp_path / "m.arpa"))
    assert row["perplexity"] == row["max_unit_perplexity"] == 1e300
