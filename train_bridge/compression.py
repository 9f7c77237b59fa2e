"""Bits per byte of a general-purpose compressor on the same text: the bar that a language model has to pass."""

from __future__ import annotations

from typing import Any

from dolma_py.errors import MissingDependencyError

ZSTD_LEVEL = 19  # the strongest that needs no special window settings


def zstd_bits_per_byte(texts: list[bytes]) -> tuple[list[int], float]:
    """zstandard level 19: bits of each text in a frame of its own, and bits per byte of all texts in ONE frame.

    A frame of its own starts without knowledge, as the model does for each document; one frame lets later documents copy
    from earlier ones, which the model is not allowed. Headers are counted, checksums are off.
    """
    compressor = _make_compressor()
    alone_bits = [8 * len(compressor.compress(text)) for text in texts]
    joined = b"".join(texts)
    return alone_bits, 8 * len(compressor.compress(joined)) / len(joined) if joined else 0.0


def zstd_bits_given_contexts(contexts: list[bytes], continuations: list[bytes]) -> list[int]:
    """zstandard level 19: bits by which the frame of context + continuation is longer than the frame of the context alone.

    What a continuation costs a compressor that knows its context, as the model does. The frame's header stands in both and
    cancels; in a frame of its own it would be most of a short answer. Frames end on whole bytes, so a single difference is a
    multiple of 8 and may be 0; only the mean over many says something.
    """
    compressor = _make_compressor()
    return [
        8 * (len(compressor.compress(context + continuation)) - len(compressor.compress(context)))
        for context, continuation in zip(contexts, continuations, strict=True)
    ]


def _make_compressor() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingDependencyError("zstandard", "train") from error
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)
