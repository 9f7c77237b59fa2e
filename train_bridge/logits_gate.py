"""Whether a folder gives transformers the logits that the model has: keys and shapes may be right where numbers are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dolma_py.errors import DataError, MissingDependencyError
from train_bridge.model import Olmo3

# of the largest logit's size, in float32 on both sides; docs/model.md has what sums in another order and planted faults give
MAX_REL_DIFFERENCE = 1e-4
_BEYOND_WINDOW_TOKENS = 32
_SEED = 7


class GateResult(NamedTuple):
    """What was compared and how far apart it was."""

    num_tokens: int
    max_abs_difference: float
    max_abs_logit: float
    transformers_version: str

    @property
    def bound(self) -> float:
        """Largest difference that passes."""
        return MAX_REL_DIFFERENCE * self.max_abs_logit


def gate_ids(model: Olmo3, *, vocab_size: int, context_tokens: int) -> Tensor:
    """Random ids, int64 (1, T): longer than the window, so that a wrong window or layer kind shows, within the context."""
    num_tokens = min(model.config.window_tokens + _BEYOND_WINDOW_TOKENS, context_tokens)
    return torch.randint(0, vocab_size, (1, num_tokens), generator=torch.Generator().manual_seed(_SEED))


@torch.no_grad()
def check_logits(folder: Path, logits_TV: Tensor, ids_BT: Tensor) -> GateResult:
    """Compare the logits that the folder gives in transformers, computed in float32, with ours.

    Parameters
    ----------
    logits_TV : float32 (T, tokenizer's size)   of the model with the folder's weights, which is to say in its precision
    ids_BT : int64 (1, T)

    Raises  DataError when they differ by more than MAX_REL_DIFFERENCE; MissingDependencyError without transformers
    """
    transformers = _transformers()
    peer = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    theirs_TV = peer.eval().to(ids_BT.device)(ids_BT).logits[0].float()
    if theirs_TV.shape != logits_TV.shape:
        raise DataError(str(folder), f"gives logits of shape {tuple(theirs_TV.shape)}, not {tuple(logits_TV.shape)}")
    difference = float((theirs_TV - logits_TV).abs().max())
    result = GateResult(len(logits_TV), difference, float(logits_TV.abs().max()), transformers.__version__)
    # not (a <= b): NaN on either side must not pass
    if not result.max_abs_difference <= result.bound:
        rule = (
            f"gives transformers {result.transformers_version} logits that differ by {difference:.3g} over "
            f"{result.num_tokens} tokens; allowed {result.bound:.3g}"
        )
        raise DataError(str(folder), rule, hint="Nothing was written.")
    return result


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError("transformers", "hf") from error
    return transformers
