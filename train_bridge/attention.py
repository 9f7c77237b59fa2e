"""Which token may look at which, and attention under that rule by one of three back ends.

Legend: B batch, T tokens, Q query tokens, S key tokens, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

AttentionBackend = Literal["sdpa", "flex", "flash"]
# q (B, H, Q, E), k and v (B, K, T, E) -> (B, H, Q, E); Q = T but where Visibility says otherwise
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Visibility(NamedTuple):
    """Which tokens of a sequence of `num_tokens` see each other: earlier ones, of the window, of the same document.

    documents_BT : int64 (B, T) or None   numbers never fall along a row: the tokens of a document stand together
    queries : (int, int) or None          first and end of the tokens that look, keys are always all T; None: all look
    """

    num_tokens: int
    window_tokens: int | None = None
    documents_BT: Tensor | None = None
    queries: tuple[int, int] | None = None


def visible_keys(query_positions_Q: Tensor, key_positions_S: Tensor, *, window_tokens: int | None) -> Tensor:
    """True where a query may see a key: the key is not later, and lies among the last `window_tokens` including the query.

    Parameters
    ----------
    query_positions_Q, key_positions_S : int64   positions in the sequence
    window_tokens : int or None                  4,096 means the query itself and the 4,095 before it; None: no limit

    Returns
    -------
    visible : bool (Q, S)

    Examples
    --------
    >>> visible_keys(torch.arange(3), torch.arange(3), window_tokens=2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    distance_QS = query_positions_Q[:, None] - key_positions_S[None, :]
    visible = distance_QS >= 0
    return visible if window_tokens is None else visible & (distance_QS < window_tokens)


def document_ids_from_eos(ids_BT: Tensor, eos_token_id: int) -> Tensor:
    """Number of each token's document inside its row, int64 (B, T); an EOS belongs to the document that it ends.

    Examples
    --------
    >>> document_ids_from_eos(torch.tensor([[5, 0, 7, 8, 0, 9]]), 0).tolist()
    [[0, 0, 1, 1, 1, 2]]
    """
    is_end = (ids_BT == eos_token_id).to(torch.int64)
    return is_end.cumsum(dim=1) - is_end


def document_ids_from_offsets(offsets: Tensor) -> Tensor:
    """The same from cumulative lengths (first 0, last T), int64 (1, T): [0, 2, 5] gives [[0, 0, 1, 1, 1]]."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())[None]


def document_starts(documents_BT: Tensor) -> Tensor:
    """Where each token's document begins in its row, int64 (B, T).

    Examples
    --------
    >>> document_starts(torch.tensor([[4, 4, 7, 7, 7]])).tolist()
    [[0, 0, 2, 2, 2]]
    """
    positions_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    is_first_BT = torch.ones_like(documents_BT, dtype=torch.bool)
    is_first_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    return torch.where(is_first_BT, positions_T, 0).cummax(dim=1).values


def prepare_attention(visibility: Visibility, *, backend: AttentionBackend, device: torch.device) -> Attend:
    """Masks of one forward pass, made once for all layers of a kind; what comes back is called once per layer.

    Query head h reads key/value head h // (H / K); scale E^-0.5, softmax in float32. All back ends compute the same sums
    in other orders. sdpa runs everywhere; flex has no backward on CPUs; flash needs the package flash_attn, a GPU and 16 bits.

    Raises  ConfigError where the back end cannot run here; ValueError where documents_BT falls along a row
    """
    documents_BT = visibility.documents_BT
    # on a GPU the look would wait for the device
    if documents_BT is not None and device.type == "cpu" and bool((documents_BT.diff(dim=1) < 0).any()):
        raise ValueError("documents_BT: expected numbers that never fall along a row")
    window_tokens = visibility.window_tokens
    if window_tokens is not None and window_tokens >= visibility.num_tokens:
        visibility = visibility._replace(window_tokens=None)
    if backend == "flex":
        from train_bridge.attention_flex import prepare_flex

        return prepare_flex(visibility, device)
    if backend == "flash":
        from train_bridge.attention_flash import prepare_flash

        return prepare_flash(visibility)
    from train_bridge.attention_sdpa import prepare_sdpa

    return prepare_sdpa(visibility, device)
