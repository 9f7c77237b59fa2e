"""How well a document compresses: bytes of its gzip over its own bytes. Little is left of repeated text, much of noise.

Olmo 3 drops the 20 % most and the 20 % least compressible long documents; those shares are quantiles of this column, no thresholds.

Level 6 is zlib's and flate2's default. The size depends on the implementation by a little: Python's zlib is not miniz, and zlib-ng, which some
systems have in zlib's place, is another. A batch split, a thread or a partition changes nothing.

Source: datamap-rs, `gzip_annotator` (compressed over original bytes); Olmo 3 report, section 3.6.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config

_GZIP = 31  # window of 32 KiB with gzip's header and trailer, 18 bytes


def gzip_ratios(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, level: int = 6
) -> npt.NDArray[np.float64]:
    """float64 (N,): bytes of each text's gzip over its own; 0 for an empty text, above 1 for a few bytes.

    Parameters
    ----------
    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    level : int                                    0 to 9

    Examples
    --------
    >>> gzip_ratios(np.zeros(1000, np.uint8), np.array([0, 0, 1000])).round(3).tolist()
    [0.0, 0.029]
    """
    ratios = np.zeros(len(offsets) - 1, np.float64)
    view = memoryview(np.ascontiguousarray(data))
    for row in range(len(ratios)):
        start, end = int(offsets[row]), int(offsets[row + 1])
        if start < end:
            packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
            ratios[row] = (len(packer.compress(view[start:end])) + len(packer.flush())) / (end - start)
    return ratios


class GzipRatioTaggerConfig(Config):
    """How hard to press."""

    level: int = Field(6, ge=1, le=9, description="zlib's level; 6 is its default and flate2's")


class GzipRatioTagger:
    """Writes gzip_ratio: float64 under attributes/gzip-ratio-v1."""

    config_model = GzipRatioTaggerConfig
    name = "gzip-ratio"
    version = 1
    schema = pa.schema([("gzip_ratio", pa.float64())])

    def __init__(self, config: GzipRatioTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One number per document."""
        return pa.RecordBatch.from_arrays(
            [pa.array(gzip_ratios(*view_text(batch.column("text")), level=self.config.level))], schema=self.schema
        )
