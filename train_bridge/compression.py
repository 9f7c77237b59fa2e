"""Bits per byte of a general-purpose compressor on the same text: the bar that a language model has to pass."""

from __future__ import annotations

from dolma_py.errors import MissingDependencyError

ZSTD_LEVEL = 19  # the strongest that needs no special window settings


def zstd_bits_per_byte(texts: list[bytes]) -> tuple[list[int], float]:
    """zstandard level 19: bits of each text in a frame of its own, and bits per byte of all texts in ONE frame.

    A frame of its own starts without knowledge, as the model does for each document; one frame lets later documents copy
    from earlier ones, which the model is not allowed. Headers are counted, checksums are off.
    """
    try:
        import zstandard
    except ImportError as error:
        raise MissingDependencyError("zstandard", "train") from error
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)
    alone_bits = [8 * len(compressor.compress(text)) for text in texts]
    joined = b"".join(texts)
    return alone_bits, 8 * len(compressor.compress(joined)) / len(joined) if joined else 0.0
