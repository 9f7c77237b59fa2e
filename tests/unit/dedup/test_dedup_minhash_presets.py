"""Presets: published settings, odds, and the signatures of datasketch bit for bit."""

import re
from itertools import pairwise

import datasketch
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedup import minhash
from dedup.minhash import MinHashConfig
from dedup.minhash_presets import PRESETS, get_preset, get_verification, overlay_minhash, overlay_verification
from dedup.shingles import ShingleConfig
from dedup.text_rules import apply_rules
from dolma_py.errors import ConfigError
from tests.strategies import any_bytes


def to_arrays(texts):
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]).astype(np.int64)


def shingle_strings(normal, unit):
    """The documented pipeline: 5 words joined by one space, or 5 characters; a shorter text is one shingle."""
    if unit == "words":
        items, joint = normal.split(b" ") if normal else [], b" "
    else:
        items, joint = re.findall(rb"[^\x80-\xbf][\x80-\xbf]*|\A[\x80-\xbf]+", normal), b""
    return [joint.join(items[k : k + 5]) for k in range(max(len(items) - 4, min(len(items), 1)))]


def hash_low_bits(shingle):
    return xxhash.xxh64_intdigest(shingle) & 0xFFFFFFFF


def check_against_datasketch(texts, unit, hash_name):
    shingles = ShingleConfig(unit=unit, hash=hash_name)
    config = get_preset("datasketch").model_copy(update={"shingles": shingles})
    found = minhash.sign_texts(*to_arrays(texts), config=config)
    view = apply_rules(*to_arrays(texts), rules="dolma-py")
    for row, (first, last) in zip(found.values, pairwise(view.offsets.tolist()), strict=True):
        # sha1 is datasketch's default: with it, MinHash(num_perm=128) as everybody writes it
        peer = datasketch.MinHash(num_perm=128, **({} if hash_name == "sha1" else {"hashfunc": hash_low_bits}))
        for shingle in shingle_strings(view.data[first:last].tobytes(), unit):
            peer.update(shingle)
        assert row.tolist() == peer.hashvalues.tolist()


@pytest.mark.parametrize(("unit", "hash_name"), [("words", "sha1"), ("words", "xxh64"), ("characters", "sha1")])
@given(texts=st.lists(any_bytes(), max_size=3))
def test_signatures_equal_datasketch_bit_for_bit(unit, hash_name, texts):
    check_against_datasketch(texts, unit, hash_name)


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_signatures_of_real_text_equal_datasketch(unit, data_dir):
    from benchmarks.minhash_signatures import read_pool

    view = read_pool(data_dir, 300_000)
    texts = [view.data[a:b].tobytes()[:4000] for a, b in pairwise(view.offsets.tolist())]
    assert len(texts) > 40
    check_against_datasketch(texts, unit, "sha1")


def test_the_preset_itself_is_what_was_compared():
    assert get_preset("datasketch").shingles == ShingleConfig(hash="sha1")
    assert get_preset("datasketch").permutations == "datasketch"


@pytest.mark.parametrize(
    ("preset", "bands", "rows", "permutations", "at_80"),
    [
        ("olmo3-web", 26, 11, 286, 0.903),
        ("olmo3-web-tokens", 26, 11, 286, 0.903),
        ("olmo3-pdf", 14, 8, 112, 0.924),
        ("fineweb", 14, 8, 112, 0.924),
        ("bigcode", 25, 10, 256, 0.942),
        ("text-dedup", 25, 10, 256, 0.942),
        ("datasketch", 9, 13, 128, 0.399),
        ("high-recall", 32, 8, 256, 0.997),
    ],
)
def test_settings_and_odds_are_the_published_ones(preset, bands, rows, permutations, at_80):
    config = get_preset(preset)
    assert (config.num_bands, config.num_rows, config.num_permutations) == (bands, rows, permutations)
    assert config.shingles.num_items == 5
    found = minhash.candidate_probability(0.8, num_bands=bands, num_rows=rows)
    assert float(found) == pytest.approx(at_80, abs=5e-4)


@pytest.mark.parametrize(("preset", "point"), [("olmo3-web", 0.744), ("fineweb", 0.719), ("bigcode", 0.725)])
def test_lsh_thresholds_are_the_published_ones(preset, point):
    assert get_preset(preset).lsh_threshold == pytest.approx(point, abs=5e-4)


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"olmo3-web-tokens"}))
def test_every_preset_lets_copies_meet_and_short_strangers_not(preset):
    words = b"these are enough words for every preset that has a least number of words in it"
    bands = minhash.hash_bands(
        *to_arrays([words, words, b"one two three", b"four five six", b""]), config=get_preset(preset)
    )
    assert (bands.keys[0] == bands.keys[1]).all() and bands.is_valid[:2].all()
    assert not (bands.is_valid[2] and bands.is_valid[3] and (bands.keys[2] == bands.keys[3]).any())
    assert not bands.is_valid[4]


def test_least_numbers_of_words():
    texts = [b"w " * 3 + b"w", b"w " * 4 + b"w", b"w " * 8 + b"w", b"w " * 9 + b"w"]
    valid = {name: minhash.hash_bands(*to_arrays(texts), config=get_preset(name)).is_valid.tolist() for name in
             ("olmo3-pdf", "fineweb", "bigcode", "text-dedup")}  # fmt: skip
    assert valid["olmo3-pdf"] == [True] * 4
    assert valid["fineweb"] == valid["text-dedup"] == [False, True, True, True]
    assert valid["bigcode"] == [False, False, False, True]


def test_tokens_need_a_tokenizer_and_unknown_presets_are_named():
    with pytest.raises(ConfigError, match="expected a tokenizer"):
        minhash.hash_bands(*to_arrays([b"a"]), config=get_preset("olmo3-web-tokens"))
    with pytest.raises(ConfigError, match="olmo3-web"):
        get_preset("olmo3")


def overlay(preset, **given):
    return MinHashConfig(**overlay_minhash(preset, given))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_over_which_nothing_is_laid_is_itself(preset):
    """Also when what it came to is laid over it again, as a task does that gets resolved settings."""
    assert overlay(preset) == get_preset(preset)
    assert overlay(preset, **get_preset(preset).model_dump()) == get_preset(preset)
    assert overlay_verification(preset, get_verification(preset).model_dump()) == get_verification(preset).model_dump()


def test_a_key_that_is_given_changes_that_key_alone():
    found = overlay("fineweb", seed=2, shingles={"num_items": 4})
    own = get_preset("fineweb")
    assert found == own.model_copy(update={"seed": 2, "shingles": own.shingles.model_copy(update={"num_items": 4})})
    assert overlay(None, num_rows=3) == MinHashConfig(num_rows=3)


@pytest.mark.parametrize(
    ("preset", "given", "bands", "permutations"),
    [
        ("fineweb", {"num_bands": 20}, (20, 8), 160),
        ("bigcode", {"num_bands": 20}, (20, 10), 256),
        ("bigcode", {"threshold": None}, (25, 10), 256),
        ("bigcode", {"threshold": 0.8}, minhash.optimal_bands(0.8, 256), 256),
        ("olmo3-web", {"threshold": 0.8, "num_permutations": 128}, (9, 13), 128),
        ("datasketch", {"num_permutations": 256}, minhash.optimal_bands(0.8, 256), 256),
        (None, {"threshold": 0.8, "num_permutations": 128}, (9, 13), 128),
    ],
)
def test_bands_that_are_given_replace_a_threshold_and_a_threshold_bands(preset, given, bands, permutations):
    found = overlay(preset, **given)
    assert ((found.num_bands, found.num_rows), found.num_permutations) == (bands, permutations)
    assert overlay(preset, **found.model_dump()) == found


def test_bands_beyond_the_permutations_that_a_preset_names_are_an_error():
    with pytest.raises(ValueError, match="at least num_bands \\* num_rows = 300, got 256"):
        overlay("bigcode", num_bands=30)


def test_olmo_3_verifies_in_its_own_way():
    for name in ("olmo3-web", "olmo3-web-tokens"):
        found = get_verification(name)
        assert (found.rule, found.large_index, found.threshold, found.large_component) == ("pairs", "olmo3", 0.8, 500)
    assert overlay_verification("olmo3-web", {"rule": "representative"})["large_index"] == "olmo3"
    assert (
        overlay_verification(None, {})
        == overlay_verification("fineweb", {})
        == get_verification("fineweb").model_dump()
    )
