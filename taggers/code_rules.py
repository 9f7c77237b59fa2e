"""Rules for source code as columns: long lines mean data or minified code, few letters mean tables, logs or encoded bytes.

Source: Codex (Chen et al. 2021, section 3.1), whose three rules SantaCoder (Allal et al. 2023, section 3) and StarCoder (Li
et al. 2023, section 3.1) keep: average line <= 100, longest line <= 1000, alphanumeric characters >= 0.25; StarCoder also
uses letters >= 0.25 for some languages. Deviation: Unicode letters and numbers count, and a line feed is no part of its line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from taggers import code_rules_kernels as kernels
from taggers.characters import character_table
from taggers.gopher import Rule

_SOURCE = (
    "Chen et al. 2021 (Codex), section 3.1; Allal et al. 2023 (SantaCoder); Li et al. 2023 (StarCoder), section 3.1"
)
CODE_RULES: tuple[Rule, ...] = (
    Rule("max_line", "max_line_chars", "<=", 1000, _SOURCE),
    Rule("mean_line", "mean_line_chars", "<=", 100, _SOURCE),
    Rule("alphanumeric", "alphanumeric_char_frac", ">=", 0.25, _SOURCE),
)


def count_code(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The integer counts behind the code rules, int64 (N, 6), columns as named in taggers.code_rules_kernels.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing
    """
    counts = np.zeros((len(offsets) - 1, kernels.NUM_COUNTS), np.int64)
    kernels.count_code_kernel(data, offsets, character_table(), counts)
    return counts


class CodeRulesTaggerConfig(Config):
    """No options: the columns are facts, the view decides."""


class CodeRulesTagger:
    """Writes max_line_chars, mean_line_chars, alphanumeric_char_frac, alphabetic_char_frac under attributes/code-rules-v1.

    Shares are of all characters, line feeds included; an empty text has 0 everywhere.
    """

    config_model = CodeRulesTaggerConfig
    name = "code-rules"
    version = 1
    schema = pa.schema(
        [
            ("max_line_chars", pa.int64()),
            ("mean_line_chars", pa.float64()),
            ("alphanumeric_char_frac", pa.float64()),
            ("alphabetic_char_frac", pa.float64()),
        ]
    )

    def __init__(self, config: CodeRulesTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics per document."""
        counts = count_code(*view_text(batch.column("text")))
        chars, lines = np.maximum(counts[:, kernels.CHARS], 1), np.maximum(counts[:, kernels.LINES], 1)
        columns = [
            pa.array(np.ascontiguousarray(counts[:, kernels.MAX_LINE_CHARS])),
            pa.array(counts[:, kernels.LINE_CHARS] / lines),
            pa.array(counts[:, kernels.ALNUM_CHARS] / chars),
            pa.array(counts[:, kernels.ALPHA_CHARS] / chars),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
