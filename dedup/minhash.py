"""MinHash: signatures of documents, band keys under which near-duplicates meet, and the odds that they do.

Legend: N documents, S shingles, P permutations, b bands of r rows each, s Jaccard similarity.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dedup.minhash_kernels import band_keys_kernel, sign_normal_kernel, sign_texts_kernel, signatures_kernel
from dedup.shingles import ShingleConfig, Shingles, check_texts, exact_hashes, iterate_blocks
from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import UInt64s, check_offsets, derive_seed, mix_keys

UInt32s = npt.NDArray[np.uint32]
VECTOR_LANES = 8  # 32-bit lanes of an AVX2 register
SIGNED_BYTES = 4 << 20  # of signatures of a block of documents before they become band keys


class MinHashConfig(Config):
    """Shingles, permutations and bands. Defaults are the preset high-recall."""

    shingles: ShingleConfig = Field(default=ShingleConfig(), description="what is compared")
    num_bands: int = Field(
        32,
        ge=1,
        le=4096,
        description="b: two documents meet when one band of their signatures is equal; Olmo 3 A.2.2: 26",
    )
    num_rows: int = Field(
        8, ge=1, le=4096, description="r: values per band; more rows, fewer chance meetings; Olmo 3 A.2.2: 11"
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        le=1.0,
        description="Jaccard similarity for which bands and rows are chosen (datasketch's optimum for num_permutations) in place of "
        "num_bands and num_rows",
    )
    num_permutations: int = Field(
        0,
        ge=0,
        le=1 << 16,
        description="P: values of a signature; 0: bands * rows. Those beyond bands * rows count for signatures and for how "
        "datasketch draws its permutations, not for bands",
    )
    seed: int = Field(1, ge=0, lt=1 << 32, description="of the permutations; datasketch accepts 32 bits")
    permutations: Literal["dolma-py", "datasketch"] = Field(
        "dolma-py",
        description="who draws the permutations: our own hash of the seed, or datasketch 2 (signatures then equal its MinHash bit for bit)",
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_bands(cls, values: Any) -> Any:
        """Bands and rows from a threshold; where all three stand, as in a resolved configuration, they must agree."""
        if not isinstance(values, dict) or not isinstance(values.get("threshold"), int | float):
            return values
        if not 0.0 < values["threshold"] <= 1.0:
            return values  # the field says what is wrong
        permutations = values.get("num_permutations")
        if not isinstance(permutations, int) or permutations < 2:
            raise ValueError(f"num_permutations: expected 2 or more beside a threshold, got {permutations}")
        num_bands, num_rows = optimal_bands(values["threshold"], permutations)
        for key, chosen in (("num_bands", num_bands), ("num_rows", num_rows)):
            if values.get(key, chosen) != chosen:
                raise ValueError(
                    f"{key}: expected {chosen}, the optimum at the threshold, or no threshold, got {values[key]}"
                )
        return values | {"num_bands": num_bands, "num_rows": num_rows}

    @model_validator(mode="after")
    def _fill_permutations(self) -> MinHashConfig:
        product = self.num_bands * self.num_rows
        if self.num_permutations == 0:
            object.__setattr__(self, "num_permutations", product)
        if self.num_permutations < product:
            raise ValueError(
                f"num_permutations: expected at least num_bands * num_rows = {product}, got {self.num_permutations}"
            )
        return self

    @property
    def lsh_threshold(self) -> float:
        """(1 / b)^(1 / r): about where the S-curve is steepest."""
        return float((1.0 / self.num_bands) ** (1.0 / self.num_rows))


class Signatures(NamedTuple):
    """MinHash signatures of N documents."""

    values: UInt32s  # uint32 (N, P)  all ones where a document has no shingles
    num_shingles: npt.NDArray[np.int64]  # int64 (N,)  repeats included


class BandKeys(NamedTuple):
    """Where documents may meet."""

    keys: UInt64s  # uint64 (N, b)  equal key: same values in the same band
    is_valid: npt.NDArray[np.bool_]  # bool (N,)  False: no shingles, no keys; such a document never meets another


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
    values = np.empty((len(shingles.offsets) - 1, len(multiplier) + (-len(multiplier)) % VECTOR_LANES), np.uint32)
    signatures_kernel(shingles.hashes, shingles.offsets, *_fill_vectors(multiplier, increment), values)
    return values[:, : len(multiplier)]


def _fill_vectors(multiplier: UInt32s, increment: UInt32s) -> tuple[UInt32s, UInt32s]:
    """P filled up to whole vectors: the 6 of 286 permutations that are left over would cost as much as 48."""
    fill = np.ones((-len(multiplier)) % VECTOR_LANES, np.uint32)
    return np.append(multiplier, fill), np.append(increment, fill)


def sign_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, config: MinHashConfig) -> Signatures:
    """MinHash signatures of N texts with all num_permutations values.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes; may be read-only
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    config : MinHashConfig

    Returns
    -------
    signatures : Signatures         those of documents without shingles are all ones

    Raises
    ------
    ConfigError                     shingles of tokens without a tokenizer
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      same bits for any batch split
    Cost                            O(B + S P) time; 4 N P bytes, and a block of normalised text or, for our own words, a piece
    Source                          as `signatures`
    """
    data, offsets = check_texts(data, offsets)
    multiplier, increment = _draw(config)
    return _sign(data, offsets, config, multiplier, increment)


def _draw(config: MinHashConfig) -> tuple[UInt32s, UInt32s]:
    return draw_permutations(config.num_permutations, seed=config.seed, source=config.permutations)


def _sign(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    config: MinHashConfig,
    multiplier: UInt32s,
    increment: UInt32s,
) -> Signatures:
    """sign_texts with given permutations: as many as values are wanted."""
    num_docs, num_values = len(offsets) - 1, len(multiplier)
    permutations = _fill_vectors(multiplier, increment)
    values, counts = np.empty((num_docs, len(permutations[0])), np.uint32), np.empty(num_docs, np.int64)
    plan = config.shingles.plan
    if config.shingles.is_plain:
        exact = exact_hashes(data, offsets, config.shingles)
        sign_texts_kernel(data, offsets, plan, exact, *permutations, values, counts)
    else:
        for block in iterate_blocks(data, offsets, config.shingles):
            own = slice(block.first, block.first + len(block.texts.offsets) - 1)
            sign_normal_kernel(*block.texts, plan, block.exact_hashes, *permutations, values[own], counts[own])
    return Signatures(values[:, :num_values], counts)


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
    """Band keys of N texts: items, shingles, signatures, bands, some thousand documents at a time.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes; may be read-only
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    config : MinHashConfig

    Returns
    -------
    bands : BandKeys                keys of documents without shingles are zero and not valid

    Raises
    ------
    ConfigError                     shingles of tokens without a tokenizer
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      same keys for any batch split
    Cost                            O(B + S P) time; 8 N b bytes, SIGNED_BYTES of signatures, and what sign_texts says
    """
    data, offsets = check_texts(data, offsets)
    product = config.num_bands * config.num_rows
    multiplier, increment = (drawn[:product] for drawn in _draw(config))
    num_docs = len(offsets) - 1
    keys, is_valid = np.empty((num_docs, config.num_bands), np.uint64), np.empty(num_docs, np.bool_)
    block_docs = max(1, SIGNED_BYTES // (4 * product))
    for first in range(0, num_docs, block_docs):
        own = slice(first, min(first + block_docs, num_docs))
        signed = _sign(data, offsets[first : own.stop + 1], config, multiplier, increment)
        keys[own] = band_keys(signed.values, num_bands=config.num_bands, num_rows=config.num_rows)
        is_valid[own] = signed.num_shingles > 0
    keys[~is_valid] = 0
    return BandKeys(keys, is_valid)


def candidate_probability(similarity: npt.ArrayLike, *, num_bands: int, num_rows: int) -> npt.NDArray[np.float64]:
    """The S-curve: chance that two documents of Jaccard similarity s share at least one band, 1 - (1 - s^r)^b.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2. 26 x 11 at 0.8 gives 0.903; 14 x 8 gives 0.924.
    """
    s = np.asarray(similarity, np.float64)
    return np.asarray(1.0 - (1.0 - s**num_rows) ** num_bands)


@functools.lru_cache(maxsize=64)
def optimal_bands(
    threshold: float, num_permutations: int, *, false_positive_weight: float = 0.5, false_negative_weight: float = 0.5
) -> tuple[int, int]:
    """(b, r) with b * r <= P that datasketch finds best for a threshold: the least weighted area of the S-curve on the wrong side.

    The areas are integrals of polynomials, here by Gauss-Legendre quadrature; ties go to fewer bands, then fewer rows.

    Raises
    ------
    ConfigError     threshold outside (0, 1], P < 2, or weights that are not in [0, 1] with sum 1
    """
    if not 0.0 < threshold <= 1.0:
        raise ConfigError("minhash.threshold", threshold, "expected a Jaccard similarity in (0, 1]")
    if num_permutations < 2:
        raise ConfigError("minhash.num_permutations", num_permutations, "expected at least 2")
    weights = (false_positive_weight, false_negative_weight)
    if min(weights) < 0.0 or abs(sum(weights) - 1.0) > 1e-9:
        raise ConfigError("minhash.weights", weights, "expected two weights in [0, 1] with sum 1")
    nodes, factors = np.polynomial.legendre.leggauss(256)
    below, above = (nodes + 1.0) / 2.0 * threshold, threshold + (nodes + 1.0) / 2.0 * (1.0 - threshold)
    best = (np.inf, 0, 0)
    for num_bands in range(1, num_permutations + 1):
        rows = np.arange(1, num_permutations // num_bands + 1)[:, None]
        false_positive = (1.0 - (1.0 - below**rows) ** num_bands) @ factors * (threshold / 2.0)
        false_negative = ((1.0 - above**rows) ** num_bands) @ factors * ((1.0 - threshold) / 2.0)
        error = weights[0] * false_positive + weights[1] * false_negative
        at = int(np.argmin(error))
        if error[at] < best[0]:
            best = (float(error[at]), num_bands, at + 1)
    return best[1], best[2]
