"""Named MinHash settings: whose they are, what equals the original and what does not.

A name promises the settings below. Signatures equal those of another tool bit for bit in the preset `datasketch` alone; nobody's
band keys are equal to ours, since each tool hashes bands in its own way. What each preset shares with its original:

`high-recall`       the default, our own: 5-grams of words, 32 bands of 8 rows, for pairs at Jaccard 0.8 that must not be missed
                    (0.997 of them become candidates, against 0.903 with 26 x 11); fewer permutations, more candidates to verify.
                    docs/dedup.md has the measurement.
`olmo3-web`         Olmo 3 A.2.2, web pages: 5-grams, 26 bands of 11 rows, aimed at Jaccard 0.80; verified on sets of 3-grams at 0.80,
                    all similar pairs joined, components of 500 or more through 200 bands of 31 rows (VERIFICATIONS). Not equal:
                    items are words here, p50k_base tokens there; hashes.
`olmo3-web-tokens`  the same with 5-grams of BPE tokens of the text as Olmo 3's tool normalises it. `shingles.tokenizer` must be
                    given: a tokenizer.json of p50k_base for the same tokens. Not equal: hashes; 3-grams are of words.
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

from typing import Any

from dedup.minhash import MinHashConfig
from dedup.shingles import ShingleConfig
from dedup.verification import VerificationConfig
from dolma_py.config import dump_config
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


# of presets whose origin verifies in a way of its own; the others are verified as VerificationConfig says
OLMO3_VERIFICATION = VerificationConfig(rule="pairs", large_index="olmo3")
VERIFICATIONS = {"olmo3-web": OLMO3_VERIFICATION, "olmo3-web-tokens": OLMO3_VERIFICATION}


def get_preset(name: str) -> MinHashConfig:
    """The named settings; ConfigError lists the names there are."""
    if name not in PRESETS:
        raise ConfigError("minhash.preset", name, f"expected one of {sorted(PRESETS)}")
    return PRESETS[name]


def get_verification(name: str) -> VerificationConfig:
    """How candidates of a preset are verified."""
    return VERIFICATIONS.get(name, VerificationConfig())


def overlay_minhash(preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Values of a MinHashConfig: those given over those of a preset, or over the plain defaults for None.

    A threshold chooses bands and rows, the preset's too where another number of permutations is given; one that is given takes the
    place of the preset's bands and rows, and bands or rows that are given that of the preset's threshold. A number of permutations
    that follows from the preset's bands and rows goes with them.

    Examples
    --------
    >>> [overlay_minhash("fineweb", {"seed": 2})[key] for key in ("num_bands", "num_rows", "seed")]
    [14, 8, 2]
    >>> overlay_minhash("bigcode", {"num_bands": 20})["threshold"] is None
    True
    """
    base = MinHashConfig() if preset is None else get_preset(preset)
    values = dump_config(base)
    names_bands = any(given.get(key) is not None for key in ("num_bands", "num_rows"))
    threshold = given.get("threshold", None if names_bands else base.threshold)
    dropped = ["threshold", *(["num_bands", "num_rows"] if threshold is not None else [])]
    if (names_bands or threshold is not None) and "num_permutations" not in base.model_fields_set:
        dropped.append("num_permutations")
    below = {key: value for key, value in values.items() if key not in dropped} | {"threshold": threshold}
    return _overlay(below, given)


def overlay_verification(preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Values of a VerificationConfig: those given over those of a preset, or over the plain defaults for None."""
    return _overlay(dump_config(VerificationConfig() if preset is None else get_verification(preset)), given)


def _overlay(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Mappings inside are laid over one another too."""
    merged = dict(base)
    for key, value in given.items():
        below = base.get(key)
        merged[key] = _overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
