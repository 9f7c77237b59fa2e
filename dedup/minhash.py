"""MinHash: signatures of documents, band keys under which near-duplicates meet, and the odds that they do.

Legend: N documents, S shingles, P permutations, b bands of r rows each, s Jaccard similarity.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dedup.minhash_kernels import band_keys_kernel, signatures_kernel
from dedup.shingles import Shingles, shingle_texts
from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import UInt64s, check_offsets, derive_seed, mix_keys

UInt32s = npt.NDArray[np.uint32]
VECTOR_LANES = 8  # 32-bit lanes of an AVX2 register


class MinHashConfig(Config):
    """Shingles, permutations and bands. Defaults are the preset olmo3-web."""

    shingle_words: int = Field(5, ge=1, le=64, description="words per shingle; 5: Olmo 3 A.2.2 and FineWeb")
    num_bands: int = Field(
        26,
        ge=1,
        le=4096,
        description="b: two documents meet when one band of their signatures is equal; 26: Olmo 3 A.2.2",
    )
    num_rows: int = Field(
        11, ge=1, le=4096, description="r: values per band; more rows, fewer chance meetings; 11: Olmo 3 A.2.2"
    )
    seed: int = Field(1, ge=0, lt=1 << 32, description="of the permutations; datasketch accepts 32 bits")
    permutations: Literal["dolma-py", "datasketch"] = Field(
        "dolma-py",
        description="who draws the permutations: our own hash of the seed, or datasketch 2 (signatures then equal its MinHash bit for bit)",
    )

    @property
    def num_permutations(self) -> int:
        """P = b * r."""
        return self.num_bands * self.num_rows


# Names say whose settings they are, and promise the settings, not the other tool's hash values.
PRESETS: dict[str, MinHashConfig] = {
    "olmo3-web": MinHashConfig(),  # arXiv 2512.13961 A.2.2: aimed at Jaccard 0.80
    "fineweb": MinHashConfig(
        num_bands=14, num_rows=8
    ),  # FineWeb paper, datatrove defaults: about 0.75; Olmo 3's PDFs too
    "datasketch": MinHashConfig(num_bands=9, num_rows=13, permutations="datasketch"),  # its optimum at 0.8 and 128
}


class BandKeys(NamedTuple):
    """Where documents may meet."""

    keys: UInt64s  # uint64 (N, b)  equal key: same values in the same band
    is_valid: npt.NDArray[np.bool_]  # bool (N,)  False: no words, no keys; such a document never meets another


def get_preset(name: str) -> MinHashConfig:
    """The named settings; ConfigError lists the names there are."""
    if name not in PRESETS:
        raise ConfigError("minhash.preset", name, f"expected one of {sorted(PRESETS)}")
    return PRESETS[name]


def draw_permutations(num_permutations: int, *, seed: int, source: str = "dolma-py") -> tuple[UInt32s, UInt32s]:
    """Odd multipliers and increments, uint32 (P,) each, of h(x) = multiplier * x + increment mod 2^32.

    "dolma-py": halves of a 64-bit hash of (seed, number), so that the first 100 of 200 are the 100. "datasketch": its own
    generator (numpy's RandomState under the scheme affine32).
    """
    if source == "datasketch":
        from datasketch import MinHash  # loads scipy, some 0.5 s that executors without this preset need not pay

        drawn = MinHash(num_perm=num_permutations, seed=seed, scheme="affine32").permutations
        return np.ascontiguousarray(drawn[0], np.uint32), np.ascontiguousarray(drawn[1], np.uint32)
    bits = mix_keys(np.arange(num_permutations, dtype=np.uint64), seed=derive_seed(seed, "minhash"))
    multiplier = (bits >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    return multiplier, (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def signatures(shingles: Shingles, *, multiplier: UInt32s, increment: UInt32s) -> UInt32s:
    """MinHash signatures: per document and permutation the smallest permuted shingle.

    The share of equal values in two rows estimates the Jaccard similarity of the two sets, without bias, with standard error
    sqrt(s (1 - s) / P).

    Parameters
    ----------
    shingles : Shingles                     of N documents; repeats change nothing
    multiplier, increment : uint32 (P,)     from draw_permutations; multipliers odd

    Returns
    -------
    signatures : uint32 (N, P)              row i belongs to document i; documents without shingles get all-ones rows

    Raises
    ------
    SchemaError                             wrong dtypes, an even multiplier, offsets that fall

    Guarantees                              same bits for any batch split
    Cost                                    O(S P) time, 4 N P bytes
    Source                                  Broder 1997; permutations of datasketch 2.0's affine32; see minhash_kernels
    """
    check_offsets(len(shingles.hashes), shingles.offsets)
    if shingles.hashes.dtype != np.uint64:
        raise SchemaError("shingles", "uint64", shingles.hashes.dtype)
    for name, array in (("multiplier", multiplier), ("increment", increment)):
        if array.dtype != np.uint32 or array.shape != multiplier.shape or array.ndim != 1:
            raise SchemaError(name, "uint32 (P,)", f"{array.dtype} {array.shape}")
    if len(multiplier) and int((multiplier & np.uint32(1)).min()) == 0:
        raise SchemaError("multiplier", "odd numbers (an even one is no permutation)", "an even number")
    # P is filled up to whole vectors: the 6 of 286 permutations that are left over cost as much as 48
    num_permutations = len(multiplier)
    padding = (-num_permutations) % VECTOR_LANES
    padded = np.empty((len(shingles.offsets) - 1, num_permutations + padding), np.uint32)
    fill = np.ones(padding, np.uint32)
    signatures_kernel(
        shingles.hashes, shingles.offsets, np.append(multiplier, fill), np.append(increment, fill), padded
    )
    return padded[:, :num_permutations]


def band_keys(signature_rows: UInt32s, *, num_bands: int, num_rows: int) -> UInt64s:
    """One key per document and band, uint64 (N, b): equal r values in the same band, equal key.

    Raises
    ------
    ConfigError     b * r exceeds the permutations of the signatures
    """
    if num_bands * num_rows > signature_rows.shape[1]:
        raise ConfigError(
            "minhash.num_bands", num_bands, f"expected num_bands * num_rows <= {signature_rows.shape[1]} permutations"
        )
    keys = np.empty((len(signature_rows), num_bands), np.uint64)
    band_keys_kernel(signature_rows, num_rows, keys)
    return keys


def hash_bands(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, config: MinHashConfig) -> BandKeys:
    """Band keys of N texts: words, shingles, signatures, bands in one call per batch.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes; may be read-only
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    config : MinHashConfig

    Returns
    -------
    bands : BandKeys                keys of documents without words are zero and not valid

    Raises
    ------
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      same keys for any batch split
    """
    shingles = shingle_texts(data, offsets, num_words=config.shingle_words)
    multiplier, increment = draw_permutations(config.num_permutations, seed=config.seed, source=config.permutations)
    rows = signatures(shingles, multiplier=multiplier, increment=increment)
    keys = band_keys(rows, num_bands=config.num_bands, num_rows=config.num_rows)
    is_valid = np.diff(shingles.offsets) > 0
    keys[~is_valid] = 0
    return BandKeys(keys, is_valid)


def candidate_probability(similarity: npt.ArrayLike, *, num_bands: int, num_rows: int) -> npt.NDArray[np.float64]:
    """The S-curve: chance that two documents of Jaccard similarity s share at least one band, 1 - (1 - s^r)^b.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2. 26 x 11 at 0.8 gives 0.903; 14 x 8 gives 0.924.
    """
    s = np.asarray(similarity, np.float64)
    return np.asarray(1.0 - (1.0 - s**num_rows) ** num_bands)


def optimal_bands(
    threshold: float, num_permutations: int, *, false_positive_weight: float = 0.5, false_negative_weight: float = 0.5
) -> tuple[int, int]:
    """(b, r) with b * r <= P that datasketch finds best for a threshold: the least weighted area of the S-curve on the wrong side.

    Raises
    ------
    ConfigError     threshold outside (0, 1], P < 2, or weights that are not in [0, 1] with sum 1
    """
    from datasketch import MinHashLSH  # see draw_permutations

    if not 0.0 < threshold <= 1.0:
        raise ConfigError("minhash.threshold", threshold, "expected a Jaccard similarity in (0, 1]")
    if num_permutations < 2:
        raise ConfigError("minhash.num_permutations", num_permutations, "expected at least 2")
    weights = (false_positive_weight, false_negative_weight)
    if min(weights) < 0.0 or abs(sum(weights) - 1.0) > 1e-9:
        raise ConfigError("minhash.weights", weights, "expected two weights in [0, 1] with sum 1")
    lsh = MinHashLSH(threshold=threshold, num_perm=num_permutations, weights=weights)
    return int(lsh.b), int(lsh.r)
