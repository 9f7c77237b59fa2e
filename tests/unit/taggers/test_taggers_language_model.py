import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import DataError, DolmaError
from taggers import language_model
from taggers.language_model import MAGIC, LanguageModel, NGrams, build_table, load_model, score_texts
from taggers.language_model_arpa import read_arpa
from taggers.language_model_tokens import LanguageModelText
from taggers.language_model_training import LanguageModelConfig, find_discounts, train_language_model
from tests.reference import language_model as reference

PLAIN = LanguageModelText.plain()
WORDS = st.sampled_from(["a", "b", "c", "dd", "\u00e9", "\U0001f600"])
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=7), min_size=1, max_size=12)
# a list that repeats has counts of 2 and 3, hence discounts that are no fallback
REPEATED = st.tuples(SENTENCES, st.integers(1, 3)).map(lambda pair: pair[0] + pair[0][: len(pair[0]) // 2] * pair[1])


def view(texts):
    return view_text(pa.array(texts, pa.large_string()))


def lines(sentences):
    return "\n".join(" ".join(sentence) for sentence in sentences)


def train(folder, sentences, **options):
    config = LanguageModelConfig(**{"text": PLAIN, **options})
    path = str(folder / "model.lm")
    return path, train_language_model([view([lines(sentences)])], output_path=path, config=config)


@given(REPEATED, SENTENCES, st.integers(1, 4), st.sampled_from([(), (0, 1), (0, 0, 2)]))
def test_models_match_reference(tmp_path_factory, sentences, asked, order, prune):
    thresholds = [prune[min(n, len(prune) - 1)] if prune else 0 for n in range(order)]
    expected = reference.estimate_model(sentences, order, thresholds)
    path, card = train(tmp_path_factory.mktemp("model"), sentences, order=order, prune=prune, arpa=True)
    assert card["num_ngrams"] == [sum(len(gram) == n for gram in expected) for n in range(1, order + 1)]
    for model in (load_model(path), read_arpa(path + ".arpa")):
        scores = score_texts(model, view([lines([*asked, ["zzz"]]), ""]), PLAIN)
        units = reference.score_units(expected, order, [*asked, ["zzz"]])
        total = sum(log_prob for log_prob, _ in units)
        # float32 keeps 7 digits of each probability and backoff
        assert scores.log_probs.tolist() == pytest.approx([total, 0.0], rel=1e-6, abs=1e-5)
        losses = [-log_prob / (len(unit) + 1) for (log_prob, _), unit in zip(units, [*asked, ["zzz"]], strict=True)]
        wanted = [min(losses), max(losses), sum(losses) / len(losses)]
        assert scores.unit_losses.tolist() == [pytest.approx(wanted, abs=1e-5), [0.0] * 3]
        assert scores.num_unknown.tolist() == [sum(unknown for _, unknown in units), 0]
        assert scores.num_tokens.tolist() == [sum(map(len, asked)) + 1, 0]
        assert scores.num_units.tolist() == [len(asked) + 1, 0]


@given(REPEATED, st.integers(1, 4))
def test_probabilities_sum_to_one(sentences, order):
    """Over every word that can follow, after any context of the model."""
    model = reference.estimate_model(sentences, order, [0] * order)
    words = [gram[0] for gram in model if len(gram) == 1 and gram != ("<s>",)]
    for context in [(), *(gram for gram in model if len(gram) < order and gram[-1] not in ("</s>", "<unk>"))]:
        assert sum(10 ** reference.score_word(model, context, word) for word in words) == pytest.approx(1.0)


def test_a_model_by_hand(tmp_path):
    """One sentence "a", order 1: two tokens, each of count 1; fallback discount 0.5; three words share what is left."""
    path, _ = train(tmp_path, [["a"]], order=1)
    scores = score_texts(load_model(path), view(["a"]))
    prob = (1 - 0.5) / 2 + 0.5 * (1 / 3)
    assert scores.log_probs.tolist() == pytest.approx([2 * np.log10(prob)], rel=1e-6)


def test_bytes_do_not_depend_on_batches(tmp_path):
    texts = [f"the {word} of {other}\nthe {other}" for word in "abc" for other in "xyz"]
    found = []
    for size in (1, 2, 9):
        path = str(tmp_path / f"{size}.lm")
        batches = [view(texts[start : start + size]) for start in range(0, 9, size)]
        card = train_language_model(batches, output_path=path, config=LanguageModelConfig(order=3))
        found.append(((tmp_path / f"{size}.lm").read_bytes(), card))
    assert found[0] == found[1] == found[2]
    model = load_model(path)
    together = score_texts(model, view(texts))
    alone = [score_texts(model, view([text])) for text in texts]
    assert [score.log_probs[0] for score in alone] == together.log_probs.tolist()


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bytes_do_not_depend_on_blocks(tmp_path, monkeypatch, order):
    """Tokens are looked up block by block, which may end anywhere in a unit."""
    sentences = [["a", "b", "c", "a", "b"], ["c"], ["a", "b", "c", "b", "zzz", "a", "b"], ["dd", "a", "b", "c"]] * 3
    path, _ = train(tmp_path, sentences, order=order)
    texts = [lines([*sentences[:3], ["x", "a", "b", "y", "a", "b", "c", "a", "b"]]), "", "a", lines(sentences), "\n b"]
    expected = score_texts(load_model(path), view(texts))
    for size in (1, 2, 3, 5, 8, 13, 300):
        monkeypatch.setattr(language_model, "BLOCK_TOKENS", size)
        found = score_texts(load_model(path), view(texts))
        assert [column.tobytes() for column in found] == [column.tobytes() for column in expected]
    assert expected.num_units.tolist() == [4, 0, 1, 12, 1] and expected.num_unknown[0] == 2


def test_the_card(tmp_path):
    path, card = train(tmp_path, [["a", "b"], ["a", "c"]], order=2)
    assert json.loads((tmp_path / "model.lm.card.json").read_text()) == card
    assert card["data"]["num_tokens"] == 4 and card["data"]["num_units"] == 2 and card["data"]["num_bytes"] == 7
    assert card["model_fingerprint"] == load_model(path).fingerprint
    assert card["orders_with_fallback_discounts"] == [1, 2]


def test_discounts():
    config = LanguageModelConfig()
    counts = np.array([0, *[1] * 6, *[2] * 3, *[3] * 2, 4])
    share = 6 / 12
    expected = (1 - 2 * share * 3 / 6, 2 - 3 * share * 2 / 3, 3 - 4 * share * 1 / 2)
    assert find_discounts(counts, 1, config) == (pytest.approx(expected), False)
    assert find_discounts(np.array([1, 1, 2]), 1, config) == ((0.5, 1.0, 1.5), True)
    with pytest.raises(DataError, match="its 3-grams' counts allow no discounts"):
        find_discounts(np.array([1, 1, 2]), 3, LanguageModelConfig(discount_fallback=None))


@pytest.mark.parametrize("texts", [[], [""], ["\n \n"]])
def test_no_text(tmp_path, texts):
    with pytest.raises(DataError, match="the text has no tokens"):
        train_language_model([view(texts)], output_path=str(tmp_path / "m.lm"), config=LanguageModelConfig())
    assert os.listdir(tmp_path) == []


def test_too_much_text(tmp_path):
    with pytest.raises(DataError, match="more than 5 tokens"):
        train(tmp_path, [["a", "b"], ["c"]], max_tokens=5)
    train(tmp_path, [["a", "b"], ["c"]], max_tokens=7)


@pytest.mark.parametrize("prune", [[1], [0, 2, 1]])
def test_wrong_thresholds(prune):
    with pytest.raises(ValueError, match="expected 0 first and numbers that do not fall"):
        LanguageModelConfig(prune=prune)


def break_file(path, change):
    with open(path, "rb") as stream:
        content = stream.read()
    with open(path, "wb") as stream:
        stream.write(change(content))
    load_model.cache_clear()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: b"", "no such file, or an empty one"),
        (lambda content: b"PK" + content[2:], "not a language model of this program"),
        (lambda content: content[:-1], "expected .* bytes, got"),
        (lambda content: content + b"\0", "expected .* bytes, got"),
        (lambda content: content[:16] + b"{" + content[16:], "cannot be read"),
        (lambda content: content.replace(b'"order": 5', b'"order": 9'), "cannot be read"),
        (lambda content: content.replace(b'"order": 5', b'"order":-5'), "cannot be read"),
        (lambda content: content.replace(b'"counts": [', b'"Counts": ['), "cannot be read .KeyError"),
        (lambda content: content.replace(b'"counts": [', b'"counts":["'), "cannot be read"),
        (
            lambda content: re.sub(rb'"counts": \[\d+', b'"counts": [true', content),
            "cannot be read .ValueError: counts",
        ),
        (
            lambda content: re.sub(rb'"counts": \[\d+, ', lambda found: b'"counts": ['.ljust(len(found[0])), content),
            "cannot be read .ValueError: counts",
        ),
        (
            lambda content: content.replace(b'"counts": [', b'"counts": null, "c": ['),
            "cannot be read .TypeError|bytes, got",
        ),
        (lambda content: MAGIC + (300000).to_bytes(8, "little") + b"[" * 300000, "cannot be read .RecursionError"),
        (lambda content: content.replace(b'"version": 1', b'"version": 2'), "format 2, this program reads 1"),
        (lambda content: MAGIC + b"\xff" * 8 + content[16:], "not a language model of this program"),
    ],
)
def test_broken_files(tmp_path, change, problem):
    path, _ = train(tmp_path, [["a"]])
    break_file(path, change)
    with pytest.raises(DataError, match=problem):
        load_model(path)


def rewrite(path, change, **header):
    """The file with another table, `change` of (keys and values as float32), and other values in its header."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[8:16], "little")
    values = json.loads(content[16 : 16 + length])
    table = np.frombuffer(content[16 + length :], "<u8").reshape(-1, 2).copy()
    table = change(table)
    encoded = json.dumps(values | {"num_slots": len(table)} | header).encode()
    encoded += b" " * (-(len(encoded) + 16) % 4096)
    Path(path).write_bytes(MAGIC + len(encoded).to_bytes(8, "little") + encoded + table.tobytes())
    load_model.cache_clear()


@pytest.mark.parametrize("column", [2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -3e38, 101.0])
def test_values_that_no_model_has_are_refused(tmp_path, value, column):
    path, _ = train(tmp_path, [["a", "b"]], order=2)

    def change(table):
        row = np.flatnonzero(table[:, 0])[1]
        table.view(np.float32)[row, column] = value
        return table

    rewrite(path, change)
    with pytest.raises(DataError, match="a probability or backoff that no model has"):
        load_model(path)


def test_probabilities_above_one_are_refused(tmp_path):
    path, _ = train(tmp_path, [["a", "b"]], order=2)

    def change(table):
        table.view(np.float32)[np.flatnonzero(table[:, 0])[0], 2] = 0.5
        return table

    rewrite(path, change)
    with pytest.raises(DataError, match="that no model has"):
        load_model(path)


@pytest.mark.parametrize("counts", [[1000, 0], [5, 3]])
def test_a_full_table_and_counts_of_another_are_refused(tmp_path, counts):
    path, _ = train(tmp_path, [["a", "b"]], order=2)

    def change(table):
        full = np.zeros((1000, 2), np.uint64)
        full[:, 0] = np.arange(1, 1001)
        return full

    rewrite(path, change, counts=counts)
    with pytest.raises(DataError, match="1000 n-grams in 1000 slots"):
        load_model(path)


def test_a_search_among_neighbours_ends():
    """Two thirds of a million slots filled in a row: what is not there would be looked for behind all of them."""
    table = np.zeros((1_000_000, 2), np.uint64)
    table[:666_000, 0] = np.arange(1, 666_001)
    model = LanguageModel(1, (666_000,), PLAIN, table)
    score_texts(model, view(["a"]))
    start = time.process_time()
    score_texts(model, view([" ".join(f"w{number}" for number in range(5000))]))
    assert time.process_time() - start < 0.3


def test_equal_keys_are_an_error():
    keys = np.array([5, 6, 5], np.uint64)
    grams = NGrams(keys, np.zeros(3, np.float32), np.zeros(3, np.float32))
    with pytest.raises(DolmaError, match="1-gram 2 has the key of another"):
        build_table([grams], 3)


def listed(path):
    """n-gram -> (probability, backoff) of an ARPA file."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return {row[1]: (float(row[0]), float(row[2]) if len(row) > 2 else 0.0) for row in rows if len(row) > 1}


@pytest.mark.parametrize(("name", "order", "prune"), [("all", 3, ()), ("pruned", 4, (0, 0, 1))])
def test_models_are_those_of_lmplz(tmp_path, repository, name, order, prune):
    """Its recorded output for the same text: the same n-grams, probabilities and backoffs to the digits of a float32."""
    folder = repository / "tests" / "golden" / "lmplz"
    sentences = [line.split() for line in (folder / "text.txt").read_text().splitlines()]
    train(tmp_path, sentences, order=order, prune=prune, arpa=True)
    expected, found = listed(folder / f"{name}.arpa"), listed(tmp_path / "model.lm.arpa")
    assert found.keys() == expected.keys() and len(found) > 150
    for gram, values in expected.items():
        assert found[gram] == pytest.approx(values, abs=2e-6)


_MEMORY = """
import re
import numpy as np, pyarrow as pa
from dolma_py.arrow_buffers import view_text
from taggers.language_model_training import LanguageModelConfig, train_language_model
words = np.array([chr(97 + k % 26) + chr(97 + k // 26 % 26) + chr(97 + k // 676) for k in range(17000)])
rng = np.random.Generator(np.random.PCG64(1))
texts = [" ".join(words[rng.integers(0, 17000, 1000)]) for _ in range(600)]
views = [view_text(pa.array(texts[start : start + 50], pa.large_string())) for start in range(0, 600, 50)]
config = LanguageModelConfig(order=4)
def peak():  # of this program: what getrusage tells may be its parent's
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
train_language_model(views[:1], output_path="{path}", config=config)
before = peak()
card = train_language_model(views, output_path="{path}", config=config)
used = peak() - before
tokens = card["data"]["num_tokens"] + 2 * card["data"]["num_units"]
print(used, tokens * config.token_memory_bytes, card["num_ngrams"][3] > 0.9 * tokens)
"""


def test_memory_stays_in_its_bound(tmp_path):
    """Random words, so that nearly every n-gram stands once: what the bound is for."""
    code = _MEMORY.replace("{path}", str(tmp_path / "m.lm"))
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    used, bound, is_worst = answer.stdout.split()
    assert 0.3 * int(bound) < int(used) < int(bound) and is_worst == "True"
