"""Signatures and bands against Python integers and datasketch; the estimate against the truth."""

import datasketch
import numpy as np
import pytest
from datasketch.lsh import _optimal_param
from hypothesis import given
from hypothesis import strategies as st

from dedup import minhash
from dedup.minhash_kernels import fmix32_kernel, signatures_kernel
from dedup.minhash_presets import get_preset
from dedup.shingles import ShingleConfig, Shingles, shingle_documents, shingle_texts
from dedup.text_rules import apply_rules
from dolma_py.errors import ConfigError, SchemaError
from tests.reference import minhash as reference
from tests.reference import normalise as normalise_reference
from tests.strategies import any_bytes

UINT64 = st.integers(0, 2**64 - 1)


def to_shingles(rows):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Shingles(np.array(sum(rows, []), np.uint64), offsets)


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    return data, np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


@given(st.lists(st.lists(UINT64, max_size=20), max_size=5), st.integers(0, 19), st.integers(0, 2**32 - 1))
def test_signatures_equal_twin(rows, num_permutations, seed):
    multiplier, increment = minhash.draw_permutations(num_permutations, seed=seed)
    found = minhash.signatures(to_shingles(rows), multiplier=multiplier, increment=increment)
    assert found.dtype == np.uint32
    assert found.tolist() == reference.signatures(rows, multiplier.tolist(), increment.tolist())


@given(st.lists(st.lists(UINT64, min_size=1, max_size=30), min_size=1, max_size=4), st.integers(1, 2**32 - 1))
def test_datasketch_preset_equals_datasketch_bit_for_bit(rows, seed):
    multiplier, increment = minhash.draw_permutations(128, seed=seed, source="datasketch")
    found = minhash.signatures(to_shingles(rows), multiplier=multiplier, increment=increment)
    for row, shingles in zip(found, rows, strict=True):
        peer = datasketch.MinHash(
            num_perm=128, seed=seed, scheme="affine32", hashfunc=lambda shingle: shingle & 0xFFFFFFFF
        )
        peer.update_batch(shingles)
        assert row.tolist() == peer.hashvalues.tolist()


@given(
    st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12), max_size=4),
    st.sampled_from([(3, 4), (12, 1), (1, 12), (2, 5)]),
)
def test_band_keys_equal_twin(rows, shape):
    num_bands, num_rows = shape
    array = np.array(rows, np.uint32).reshape(-1, 12)
    found = minhash.band_keys(array, num_bands=num_bands, num_rows=num_rows)
    assert found.dtype == np.uint64
    assert found.tolist() == reference.band_keys(rows, num_bands, num_rows)


def test_signatures_kernel_docstring_example():
    assert [fmix32_kernel(np.uint32(value)) for value in (1, 2)] == [0x514E28B7, 0x30F4C306]
    out = np.zeros((1, 1), np.uint32)
    one = np.array([1], np.uint32)
    signatures_kernel(np.array([1, 2], np.uint64), np.array([0, 2]), one, np.array([0], np.uint32), out)
    assert out.tolist() == [[0x30F4C306]]


def test_arithmetic_above_2_to_the_31_and_2_to_the_63_stays_unsigned():
    rows = [[2**64 - 1], [2**63 + 5, 2**32 - 1]]
    top = np.array([2**32 - 1, 2**31 + 1], np.uint32)
    found = minhash.signatures(to_shingles(rows), multiplier=top, increment=top)
    assert found.tolist() == reference.signatures(rows, top.tolist(), top.tolist())
    keys = minhash.band_keys(np.full((1, 40), 2**32 - 1, np.uint32), num_bands=20, num_rows=2)
    assert keys.max() >= 2**63


def test_bands_of_one_document_differ_although_all_rows_are_equal():
    keys = minhash.band_keys(np.zeros((1, 40), np.uint32), num_bands=20, num_rows=2)
    assert len(set(keys.ravel().tolist())) == 20


def test_documents_without_words_have_no_valid_keys():
    bands = minhash.hash_bands(*to_arrays([b"", b"--", b"a word"]), config=get_preset("olmo3-pdf"))
    assert bands.is_valid.tolist() == [False, False, True]
    assert bands.keys.shape == (3, 14)
    assert not bands.keys[:2].any()


@pytest.mark.parametrize("split", [1, 3, 1000])
def test_keys_do_not_depend_on_batches_or_strides(split):
    texts = [b" ".join(b"w%d" % (i * j % 17) for j in range(i)) for i in range(30)]
    data, offsets = to_arrays(texts)
    config = get_preset("olmo3-web")
    whole = minhash.hash_bands(data, offsets, config=config)
    parts = [minhash.hash_bands(data, offsets[i : i + split + 1], config=config).keys for i in range(0, 30, split)]
    assert np.concatenate(parts).tolist() == whole.keys.tolist()
    strided = minhash.hash_bands(np.repeat(data, 2)[::2], offsets, config=config)
    assert strided.keys.tolist() == whole.keys.tolist()


def test_copies_with_other_case_and_spacing_share_every_key():
    bands = minhash.hash_bands(
        *to_arrays([b"One two, three four", b"one TWO three  four!"]), config=minhash.MinHashConfig()
    )
    assert bands.keys[0].tolist() == bands.keys[1].tolist()


def test_fewer_permutations_are_a_prefix_and_seeds_differ():
    long, short = (minhash.draw_permutations(n, seed=9)[0] for n in (286, 100))
    assert long[:100].tolist() == short.tolist()
    assert long.tolist() != minhash.draw_permutations(286, seed=10)[0].tolist()
    assert (long & 1).all()


@given(st.floats(0, 1), st.sampled_from([(26, 11), (14, 8), (1, 1), (20, 5)]))
def test_candidate_probability_equals_twin(similarity, shape):
    num_bands, num_rows = shape
    found = minhash.candidate_probability(similarity, num_bands=num_bands, num_rows=num_rows)
    # two orders of summation in double precision
    assert float(found) == pytest.approx(reference.candidate_probability(similarity, num_bands, num_rows), abs=1e-9)


@pytest.mark.parametrize(("preset", "at_80"), [("olmo3-web", 0.903), ("fineweb", 0.924)])
def test_presets_have_the_published_odds(preset, at_80):
    config = get_preset(preset)
    found = minhash.candidate_probability([0.8], num_bands=config.num_bands, num_rows=config.num_rows)
    assert found[0] == pytest.approx(at_80, abs=5e-4)


@pytest.mark.parametrize(
    ("threshold", "num", "bands"), [(0.7, 256, (25, 10)), (0.45, 256, (47, 5)), (0.8, 128, (9, 13))]
)
def test_optimal_bands_are_datasketchs(threshold, num, bands):
    assert minhash.optimal_bands(threshold, num) == bands


def test_bad_settings_are_refused_with_the_value():
    with pytest.raises(ConfigError, match="fineweb"):
        get_preset("finewebb")
    with pytest.raises(ConfigError, match="got 3"):
        minhash.band_keys(np.zeros((1, 4), np.uint32), num_bands=3, num_rows=2)
    with pytest.raises(ConfigError, match="1.5"):
        minhash.optimal_bands(1.5, 128)
    with pytest.raises(SchemaError, match="even"):
        minhash.signatures(to_shingles([[1]]), multiplier=np.array([2], np.uint32), increment=np.array([0], np.uint32))
    with pytest.raises(SchemaError, match="int64"):
        minhash.signatures(to_shingles([[1]]), multiplier=np.array([1]), increment=np.array([0]))


def test_signatures_of_texts_see_every_shingle():
    # 19 shingles: two whole blocks of 8 and three more; dropping any one changes the row
    words = [b"w%d" % i for i in range(19)]
    shingles = shingle_texts(*to_arrays([b" ".join(words)]), num_words=1)
    multiplier, increment = minhash.draw_permutations(400, seed=1)
    whole = minhash.signatures(shingles, multiplier=multiplier, increment=increment).tolist()
    assert whole == reference.signatures([shingles.hashes.tolist()], multiplier.tolist(), increment.tolist())


SHINGLES = st.builds(
    ShingleConfig,
    unit=st.sampled_from(["words", "characters"]),
    num_items=st.integers(1, 6),
    rules=st.sampled_from(["dolma-py", "duplodocus", "text-dedup"]),
    hash=st.sampled_from(["rolling", "xxh64", "sha1"]),
    short_documents=st.sampled_from(["one_shingle", "skip", "exact"]),
    min_items=st.integers(1, 4),
)


@given(st.lists(any_bytes(), max_size=5), SHINGLES)
def test_sign_texts_is_signatures_of_the_shingles(texts, shingles):
    config = minhash.MinHashConfig(shingles=shingles, num_bands=3, num_rows=3)
    signed = minhash.sign_texts(*to_arrays(texts), config=config)
    multiplier, increment = minhash.draw_permutations(9, seed=config.seed)
    if shingles.is_plain:
        words = [[t[a:b].lower() for a, b in normalise_reference.find_words(t)] for t in texts]
        values, counts = reference.sign_texts(words, texts, shingles, multiplier.tolist(), increment.tolist())
    else:
        view = apply_rules(*to_arrays(texts), rules=shingles.rules)
        normal = [view.data[a:b].tobytes() for a, b in zip(view.offsets, view.offsets[1:], strict=False)]
        values, counts = reference.sign_normal(normal, texts, shingles, multiplier.tolist(), increment.tolist())
    assert signed.values.tolist() == values
    assert signed.num_shingles.tolist() == counts


@pytest.mark.parametrize("config", [minhash.MinHashConfig(), get_preset("datasketch")])
def test_documents_longer_than_a_piece_equal_their_shingles(config):
    generator = np.random.default_rng(5)
    words = [b"w%d" % value for value in generator.integers(0, 9000, 20_000)]
    # pieces of 16 KiB with and without a border inside; a word that is longer than several pieces
    texts = [
        b" ".join(words),
        b"x" * 50_000 + b" tail of words here now",
        b"\xe6\xbc\xa2" * 20_000,
        b"a" * 16_383 + b" b c d e f",
    ]
    signed = minhash.sign_texts(*to_arrays(texts), config=config)
    found = shingle_documents(*to_arrays(texts), config=config.shingles)
    drawn = minhash.draw_permutations(config.num_permutations, seed=config.seed, source=config.permutations)
    rows = minhash.signatures(found, multiplier=drawn[0], increment=drawn[1])
    assert signed.values.tolist() == rows.tolist()
    assert signed.num_shingles.tolist() == np.diff(found.offsets).tolist()
    assert np.diff(found.offsets)[0] == 19_996


@pytest.mark.parametrize("rule", ["one_shingle", "exact", "skip"])
def test_documents_shorter_than_a_shingle_never_share_an_empty_signature(rule):
    # the fault of tools that give every short document the all-ones signature: they would all be one cluster
    texts = [b"", b" ", b"--", b"one", b"two words", b"three more words", b"four words are here", b"One!"]
    config = minhash.MinHashConfig(shingles=ShingleConfig(short_documents=rule))
    bands = minhash.hash_bands(*to_arrays(texts), config=config)
    assert bands.is_valid.tolist() == [False] * 3 + [rule != "skip"] * 5
    valid = bands.keys[bands.is_valid]
    meeting = [(i, j) for i in range(len(valid)) for j in range(i) if (valid[i] == valid[j]).any()]
    assert meeting == ([(4, 0)] if rule == "one_shingle" else [])  # "one" and "One!"


def test_a_threshold_chooses_bands_and_a_resolved_configuration_loads_again():
    config = minhash.MinHashConfig(threshold=0.7, num_permutations=256)
    assert (config.num_bands, config.num_rows) == (25, 10)
    assert minhash.MinHashConfig.model_validate(config.model_dump()) == config
    with pytest.raises(ValueError, match="num_rows: expected 10"):
        minhash.MinHashConfig(threshold=0.7, num_permutations=256, num_bands=25, num_rows=9)
    with pytest.raises(ValueError, match="num_permutations: expected 2 or more"):
        minhash.MinHashConfig(threshold=0.7)
    with pytest.raises(ValueError, match="at least num_bands \\* num_rows = 256, got 100"):
        minhash.MinHashConfig(num_permutations=100)


@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.5, 0.62, 0.75, 0.8, 0.93, 1.0])
@pytest.mark.parametrize("num_permutations", [5, 37, 64, 112])
def test_optimal_bands_equal_datasketch_everywhere(threshold, num_permutations):
    # MinHashLSH itself refuses fewer than 2 bands, which is what it finds best at some of these
    expected = _optimal_param(threshold, num_permutations, 0.5, 0.5)
    assert minhash.optimal_bands(threshold, num_permutations) == expected
