"""Bloom filters of document, URL and paragraph keys: sized from the data, saved with all that is needed to use them rightly.

Legend: N keys, M blocks of 512 bits, K bits per key.

Blocked and not plain: a key costs one cache line and not K, for some more bits. A filter answers "surely new" or "probably seen"; the
exact sibling that needs no such word is the index of sorted digests.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from dedup.bloom_kernels import find_keys_kernel, insert_keys_kernel
from dolma_py import storage
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import UInt64s

MAGIC = b"DPBLOOM\n"
VERSION = 2
READABLE = (1, 2)  # of version 1 the bits begin anywhere, not at a multiple of BLOCK_BYTES
BLOCK_BITS = 512
BLOCK_BYTES = BLOCK_BITS // 8
MAX_HASHES = 24
MAX_BLOCKS = (1 << 32) - 1  # the block is chosen by 32 bits
MAX_HEADER_BYTES = 1 << 20
MEASURED_BLOCKS = 1 << 16  # at a time


class BloomFilter(NamedTuple):
    """A filter; insert_keys changes its bits in place."""

    bits: npt.NDArray[np.uint64]  # uint64 (M, 8)
    num_hashes: int  # K
    num_keys: int  # different keys in it
    keys: dict[str, Any]  # what was hashed: unit, text, rules


def false_positive_share(bits_per_key: float, num_hashes: int) -> float:
    """Expected share of new keys that a full blocked filter takes for seen.

    Keys per block are Poisson with mean 512 / bits_per_key; a block of i keys answers as a plain filter of 512 bits,
    (1 - (1 - 1/512)^(K i))^K. Source: Putze, Sanders, Singler 2009, equation 3.
    """
    mean = BLOCK_BITS / bits_per_key
    total = 0.0
    for keys in range(1, int(mean + 12 * math.sqrt(mean) + 30)):
        chance = math.exp(keys * math.log(mean) - mean - math.lgamma(keys + 1))
        filled = 1.0 - (1.0 - 1.0 / BLOCK_BITS) ** (num_hashes * keys)
        total += chance * filled**num_hashes
    return total


def plan_filter(num_keys: int, share: float) -> tuple[int, int]:
    """(blocks, hashes) of the smallest filter whose expected false-positive share is at most `share`, in steps of 1/4 bit a key.

    Raises
    ------
    ConfigError     share outside (0, 1) or not to be had with 24 hashes, more than 2^32 blocks
    """
    if not 0.0 < share < 1.0:
        raise ConfigError("bloom.false_positive_share", share, "expected a number between 0 and 1")
    for quarters in range(8, 1024):
        best = min(range(1, MAX_HASHES + 1), key=lambda num: false_positive_share(quarters / 4, num))
        if false_positive_share(quarters / 4, best) <= share:
            num_blocks = max(1, -(-num_keys * quarters // (4 * BLOCK_BITS)))
            if num_blocks > MAX_BLOCKS:
                raise ConfigError(
                    "bloom.false_positive_share", share, f"expected fewer keys than {num_keys} for one filter"
                )
            return num_blocks, best
    raise ConfigError("bloom.false_positive_share", share, "expected more; use an index for no error at all")


def make_filter(num_keys: int, share: float, keys: dict[str, Any]) -> BloomFilter:
    """An empty filter for `num_keys` different keys of the kind that `keys` describes."""
    num_blocks, num_hashes = plan_filter(num_keys, share)
    return BloomFilter(np.zeros((num_blocks, BLOCK_BITS // 64), np.uint64), num_hashes, num_keys, keys)


def insert_keys(bloom: BloomFilter, high: UInt64s, low: UInt64s) -> None:
    """Put N keys in. The bits do not depend on the order, nor on what is put in twice. SchemaError for a mapped filter."""
    if not bloom.bits.flags.writeable:
        raise SchemaError("bits", "a filter in memory of its own, such as load_filter gives", "one that is mapped")
    insert_keys_kernel(*_check(high, low), bloom.num_hashes, bloom.bits)


def find_keys(bloom: BloomFilter, high: UInt64s, low: UInt64s) -> npt.NDArray[np.bool_]:
    """Whether each of N keys was probably put in, bool (N,); never False for one that was."""
    found = np.empty(len(high), np.bool_)
    find_keys_kernel(*_check(high, low), bloom.num_hashes, bloom.bits, found)
    return found


def _check(high: UInt64s, low: UInt64s) -> tuple[UInt64s, UInt64s]:
    if high.dtype != np.uint64 or low.dtype != np.uint64 or len(high) != len(low):
        raise SchemaError(
            "keys", "two uint64 columns of one length", f"{high.dtype} {len(high)}, {low.dtype} {len(low)}"
        )
    return high, low


def measure_share(bloom: BloomFilter) -> float:
    """The chance that this filter takes a new key for seen, from its bits: the mean over blocks of (bits set / 512)^K."""
    chances = np.empty(len(bloom.bits))  # an eighth of the filter, and nothing else of its size
    for start in range(0, len(chances), MEASURED_BLOCKS):
        blocks = bloom.bits[start : start + MEASURED_BLOCKS]
        filled = np.bitwise_count(blocks).sum(axis=1, dtype=np.int64) / BLOCK_BITS
        chances[start : start + MEASURED_BLOCKS] = filled**bloom.num_hashes
    return float(np.mean(chances))


def merge_filters(filters: list[BloomFilter]) -> BloomFilter:
    """The filter of all keys of filters of one size and kind: their bits or-ed. num_keys is the sum, a bound when keys repeat.

    Raises
    ------
    ConfigError     sizes or kinds differ
    """
    first = filters[0]
    for other in filters[1:]:
        for name, one, two in (
            ("blocks", len(first.bits), len(other.bits)), ("hashes", first.num_hashes, other.num_hashes), ("keys", first.keys, other.keys),
        ):  # fmt: skip
            if one != two:
                raise ConfigError("bloom", two, f"expected {name} {one!r} as in the first filter")
    bits = np.bitwise_or.reduce([bloom.bits for bloom in filters])
    return first._replace(bits=bits, num_keys=sum(bloom.num_keys for bloom in filters))


def save_filter(path: str, bloom: BloomFilter) -> int:
    """Write the filter, whole or not at all; returns the bytes.

    MAGIC, length of the header, JSON header with blanks behind it up to a multiple of BLOCK_BYTES, bits (little-endian): mapped, a
    block is one cache line.
    """
    bits = np.ascontiguousarray(bloom.bits, "<u8")
    header = {
        "version": VERSION, "hash": "xxh3-128, seed 0", "keys": bloom.keys, "num_blocks": len(bits), "block_bits": BLOCK_BITS,
        "num_hashes": bloom.num_hashes, "num_keys": bloom.num_keys, "checksum": xxhash.xxh3_128_hexdigest(bits),
    }  # fmt: skip
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % BLOCK_BYTES)
    with storage.write_file(path) as stream:
        stream.write(MAGIC + len(text).to_bytes(4, "little") + text)
        stream.write(bits.data)
    return len(MAGIC) + 4 + len(text) + bits.nbytes


def read_header(path: str, keys: dict[str, Any] | None = None) -> dict[str, Any]:
    """The header of a filter's file; with `keys`, what was hashed must be that.

    Raises
    ------
    DataError       no such file, no filter, or one of another version
    ConfigError     the filter is of other keys
    """
    with _open(path) as stream:
        return _read_header(stream, path, keys)


def check_filter(path: str, keys: dict[str, Any] | None = None) -> dict[str, Any]:
    """The header of a file whose bits are those written; raises as read_header, and DataError when they are cut or changed."""
    digest, num_bytes = xxhash.xxh3_128(), 0
    with _open(path) as stream:
        header = _read_header(stream, path, keys)
        while chunk := stream.read(storage.CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
    expected = header["num_blocks"] * BLOCK_BYTES
    if num_bytes != expected or digest.hexdigest() != header["checksum"]:
        raise DataError(path, f"{num_bytes} bytes of bits that are not the {expected} written", hint="Make it again.")
    return header


def load_filter(path: str, keys: dict[str, Any] | None = None) -> BloomFilter:
    """The filter of a file in memory of its own, to be changed; raises as check_filter."""
    check_filter(path, keys)
    with _open(path) as stream:
        header = _read_header(stream, path, keys)
        bits = np.frombuffer(bytearray(stream.read()), "<u8")
    return _shape_filter(header, bits)


def map_filter(path: str, checksum: str) -> BloomFilter:
    """The filter of a local file that check_filter has passed, mapped read-only: its pages are those of all processes that map it.

    Raises DataError where the file says another checksum than the one that was passed: it was replaced meanwhile.
    """
    with _open(path) as stream:
        header = _read_header(stream, path, None)
        start = stream.tell()
    if header["checksum"] != checksum:
        raise DataError(path, "another filter than when the job began", hint="Give the command again.")
    count = header["num_blocks"] * BLOCK_BYTES // 8
    return _shape_filter(header, np.memmap(path, "<u8", mode="r", offset=start, shape=(count,)).view(np.ndarray))


def _shape_filter(header: dict[str, Any], bits: npt.NDArray[np.uint64]) -> BloomFilter:
    blocks = bits.astype(np.uint64, copy=False).reshape(-1, BLOCK_BITS // 64)
    return BloomFilter(blocks, header["num_hashes"], header["num_keys"], header["keys"])


def _open(path: str) -> BinaryIO:
    if storage.file_bytes(path) is None:
        raise DataError(path, "no such filter", hint="Give the path that bloom.save had.")
    return storage.open_read(path)


def _read_header(stream: BinaryIO, path: str, keys: dict[str, Any] | None) -> dict[str, Any]:
    problem = DataError(path, "not a Bloom filter of dolma-py, or a damaged one", hint="Make it again.")
    start = stream.read(len(MAGIC) + 4)
    size = int.from_bytes(start[len(MAGIC) :], "little")
    if not start.startswith(MAGIC) or len(start) != len(MAGIC) + 4 or size > MAX_HEADER_BYTES:
        raise problem
    try:
        header = json.loads(stream.read(size))
        fits = (
            isinstance(header["keys"], dict)
            and 1 <= header["num_hashes"] <= MAX_HASHES
            and header["block_bits"] == BLOCK_BITS
        )
        fits = fits and 1 <= header["num_blocks"] <= MAX_BLOCKS and isinstance(header["num_keys"], int)
        version = header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise problem from error
    if version not in READABLE:
        rule = f"this program reads versions {' and '.join(map(str, READABLE))}"
        raise DataError(path, f"a Bloom filter of version {version}, {rule}", hint="Make it again.")
    if not fits:
        raise problem
    if keys is not None and header["keys"] != keys:
        raise ConfigError(
            "bloom.against", header["keys"], f"expected a filter of {keys}", "Use the settings it was made with.", path
        )
    found: dict[str, Any] = header
    return found
