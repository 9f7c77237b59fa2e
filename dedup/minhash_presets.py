"""Named MinHash settings: whose they are, what equals the original and what does not.

A name promises the settings below. Signatures equal those of another tool bit for bit in the preset `datasketch` alone; nobody's
band keys are equal to ours, since each tool hashes bands in its own way. What each preset shares with its original:

`high-recall`       the default, our own: 5-grams of words, 32 bands of 8 rows, for pairs at Jaccard 0.8 that must not be missed
                    (0.997 of them become candidates, against 0.903 with 26 x 11); fewer permutations, more candidates to verify.
                    docs/dedup.md has the measurement.
`olmo3-web`         Olmo 3 A.2.2, web pages: 5-grams, 26 bands of 11 rows, aimed at Jaccard 0.80; the verification it belongs to compares
                    sets of 3-grams at 0.80. Not equal: items are words here, p50k_base tokens there; hashes.
`olmo3-web-tokens`  the same over BPE tokens of the text as Olmo 3's tool normalises it. `shingles.tokenizer` must be given: a
                    tokenizer.json of p50k_base for the same tokens. Not equal: hashes.
`olmo3-pdf`         Olmo 3 A.2.2, PDFs: FineWeb's parameters, 5-grams of words, 14 bands of 8 rows, about 0.75; the original has no
                    verification. Not equal: word splitting (spaces here, a language's tokenizer there), hashes.
`fineweb`           FineWeb and its tool's defaults: as olmo3-pdf; documents of fewer than 5 words have no signature. The text is normalised
                    as there (lower case, no accents, digits to 0, no punctuation). Not equal: word splitting, hashes (64-bit SHA-1 modulo
                    2^61 - 1 there).
`bigcode`           The Stack's near-deduplication: 5-grams of pieces between characters other than ASCII letters, digits and underscore,
                    SHA-1 to 32 bits, 25 bands of 10 rows of 256 permutations (optimum at 0.7), nothing below 10 words. Equal: the set
                    of hashed shingles of a text of ASCII letters in it. Not equal: permutations (modulo 2^61 - 1 there).
`text-dedup`        its README's settings: 5-grams, split at every non-word character, lower case, 256 permutations, threshold 0.7, nothing
                    below 5 words. Equal: the set of shingles and their 32-bit SHA-1. Not equal: permutations.
`datasketch`        datasketch 2: 128 permutations, threshold 0.8 (9 bands of 13 rows). Equal bit for bit: sign_texts(...).values of a
                    text and MinHash(num_perm=128).hashvalues after update() with the UTF-8 bytes of every 5 words joined by one
                    space, words as in rules `dolma-py`, SHA-1 as its default; so for characters, xxh64 and other rules.
"""

from __future__ import annotations

from dedup.minhash import MinHashConfig
from dedup.shingles import ShingleConfig
from dolma_py.errors import ConfigError

DEFAULT_PRESET = "high-recall"
PRESETS: dict[str, MinHashConfig] = {
    "high-recall": MinHashConfig(num_bands=32, num_rows=8),
    "olmo3-web": MinHashConfig(num_bands=26, num_rows=11),
    "olmo3-web-tokens": MinHashConfig(
        shingles=ShingleConfig(unit="tokens", rules="duplodocus"), num_bands=26, num_rows=11
    ),
    "olmo3-pdf": MinHashConfig(num_bands=14, num_rows=8),
    "fineweb": MinHashConfig(
        shingles=ShingleConfig(rules="datatrove", short_documents="skip"), num_bands=14, num_rows=8
    ),
    "bigcode": MinHashConfig(
        shingles=ShingleConfig(rules="bigcode", hash="sha1", min_items=10), threshold=0.7, num_permutations=256
    ),
    "text-dedup": MinHashConfig(
        shingles=ShingleConfig(rules="text-dedup", hash="sha1", min_items=5), threshold=0.7, num_permutations=256
    ),
    "datasketch": MinHashConfig(
        shingles=ShingleConfig(hash="sha1"), threshold=0.8, num_permutations=128, permutations="datasketch"
    ),
}


def get_preset(name: str) -> MinHashConfig:
    """The named settings; ConfigError lists the names there are."""
    if name not in PRESETS:
        raise ConfigError("minhash.preset", name, f"expected one of {sorted(PRESETS)}")
    return PRESETS[name]
