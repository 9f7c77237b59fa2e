"""Keys and values of the tokens seen so far: all of them on full layers, only the window on sliding ones.

A layer of the cache is called like attention itself, with the new tokens' q, k and v. Rows of different lengths stand with their
ends together: a row of `pad` missing tokens begins at slot `pad`, and what stands before is never seen.
Legend: B rows, T new tokens, S tokens kept, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from train_bridge.attention import Attend, AttentionBackend, Visibility, prepare_attention, visible_keys

_FIRST_SLOTS = 64  # of a full layer whose final length is not known


class Cache:
    """One LayerCache per layer, the number of slots used, and each row's missing tokens."""

    def __init__(
        self,
        windows: Sequence[int | None],
        *,
        pads: Sequence[int] | None = None,
        max_tokens: int | None = None,
        backend: AttentionBackend = "sdpa",
    ) -> None:
        """windows: of each layer. pads: missing tokens on the left of each row. max_tokens: slots in the end, if known."""
        self.num_tokens, self.backend, self.max_tokens = 0, backend, max_tokens
        self.pads_B = torch.tensor(pads) if pads is not None and any(pads) else None
        self.layers = [LayerCache(self, window) for window in windows]
        self._first_attends: dict[int | None, Attend] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.nbytes for layer in self.layers)

    def positions(self, num_new: int, device: torch.device) -> Tensor:
        """Positions of the next tokens in their texts: int64 (T,), or (B, 1, T) with pads (0 on a pad)."""
        slots_T = torch.arange(self.num_tokens, self.num_tokens + num_new, device=device)
        if self.pads_B is None:
            return slots_T
        self.pads_B = self.pads_B.to(device)
        return (slots_T - self.pads_B[:, None, None]).clamp(min=0)

    def advance(self, num_new: int) -> None:
        """Count tokens that every layer has seen."""
        self.num_tokens += num_new
        self._first_attends.clear()

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Forget all rows but these, which move together in this order."""
        for layer in self.layers:
            layer.keep_rows(rows)
        if self.pads_B is not None:
            self.pads_B = self.pads_B[list(rows)]

    def attend_first(self, window_tokens: int | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the first tokens onto themselves, pads apart as if they were a document; prepared once for all layers."""
        if window_tokens not in self._first_attends:
            num_tokens, documents_BT = q.shape[2], None
            if self.pads_B is not None:
                slots_T = torch.arange(num_tokens, device=q.device)
                documents_BT = (slots_T >= self.pads_B[:, None]).to(torch.int64)
            visibility = Visibility(num_tokens, window_tokens, documents_BT)
            self._first_attends[window_tokens] = prepare_attention(visibility, backend=self.backend, device=q.device)
        return self._first_attends[window_tokens](q, k, v)


class LayerCache:
    """Keys (after rotation) and values. Token n stands at n on a full layer, at n modulo the window on a sliding one."""

    def __init__(self, cache: Cache, window_tokens: int | None) -> None:
        self.cache, self.window_tokens = cache, window_tokens
        self.k_BKSE: Tensor | None = None
        self.v_BKSE: Tensor | None = None

    @property
    def nbytes(self) -> int:
        buffers = [buffer for buffer in (self.k_BKSE, self.v_BKSE) if buffer is not None]
        return sum(buffer.untyped_storage().nbytes() for buffer in buffers)

    def __call__(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        """Attention of new tokens onto kept and new ones, which are kept from now on."""
        first, num_new = self.cache.num_tokens, q_BHTE.shape[2]
        if first == 0:
            self._write(k_BKTE, v_BKTE, first)
            return self.cache.attend_first(self.window_tokens, q_BHTE, k_BKTE, v_BKTE)
        last = first + num_new - 1
        if num_new == 1 or self.window_tokens is None:
            k_BKSE, v_BKSE = self._write(k_BKTE, v_BKTE, first)
            num_slots = k_BKSE.shape[2]
            k_BKSE, v_BKSE = k_BKSE[:, :, : last + 1], v_BKSE[:, :, : last + 1]
            # a slot holds the newest token whose number has its rest
            slots_S = torch.arange(k_BKSE.shape[2], device=q_BHTE.device)
            tokens_S = last - (last - slots_S) % num_slots
        else:
            # writing several tokens would overwrite what the first of them still sees
            k_BKSE, v_BKSE, tokens_S = self._read_window(first)
            k_BKSE, v_BKSE = torch.cat((k_BKSE, k_BKTE), dim=2), torch.cat((v_BKSE, v_BKTE), dim=2)
            tokens_S = torch.cat((tokens_S, torch.arange(first, last + 1, device=q_BHTE.device)))
            self._write(k_BKTE, v_BKTE, first)
        mask = self._mask(tokens_S, first, num_new)
        return F.scaled_dot_product_attention(q_BHTE, k_BKSE, v_BKSE, attn_mask=mask, enable_gqa=True)

    def _mask(self, tokens_S: Tensor, first: int, num_new: int) -> Tensor | None:
        """True where a new token sees a kept one; None where all are seen: one new token, and no pad."""
        pads_B = self.cache.pads_B
        if num_new == 1 and pads_B is None:
            return None
        queries_Q = torch.arange(first, first + num_new, device=tokens_S.device)
        visible_QS = visible_keys(queries_Q, tokens_S, window_tokens=self.window_tokens)
        return visible_QS if pads_B is None else visible_QS & (tokens_S >= pads_B[:, None, None, None])

    def _read_window(self, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and numbers of the tokens that token `first` sees on a sliding layer, itself not included."""
        assert self.k_BKSE is not None and self.v_BKSE is not None and self.window_tokens is not None
        tokens_S = torch.arange(max(0, first - self.window_tokens + 1), first, device=self.k_BKSE.device)
        slots_S = tokens_S % self.k_BKSE.shape[2]
        return self.k_BKSE[:, :, slots_S], self.v_BKSE[:, :, slots_S], tokens_S

    def _write(self, k_BKTE: Tensor, v_BKTE: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Keep the new tokens, of a sliding layer no more than the window; returns the buffers."""
        num_new = k_BKTE.shape[2]
        if self.k_BKSE is None or self.v_BKSE is None:
            num_slots = self._num_slots(num_new)
            self.k_BKSE, self.v_BKSE = _make_buffer(k_BKTE, num_slots), _make_buffer(v_BKTE, num_slots)
        num_slots = self.k_BKSE.shape[2]
        if first + num_new > num_slots and (self.window_tokens is None or num_slots < self.window_tokens):
            grown = self._num_slots(first + num_new)
            for name in ("k_BKSE", "v_BKSE"):
                old = getattr(self, name)
                new = _make_buffer(old, grown)
                new[:, :, :first] = old[:, :, :first]
                setattr(self, name, new)
            num_slots = grown
        start = max(first, first + num_new - num_slots)
        slots = torch.arange(start, first + num_new, device=k_BKTE.device) % num_slots
        self.k_BKSE.index_copy_(2, slots, k_BKTE[:, :, start - first :])
        self.v_BKSE.index_copy_(2, slots, v_BKTE[:, :, start - first :])
        return self.k_BKSE, self.v_BKSE

    def _num_slots(self, num_tokens: int) -> int:
        """Room for `num_tokens` and, where the final number is not known, half as many again; never more than the window."""
        room = max(num_tokens + num_tokens // 2, _FIRST_SLOTS)
        if self.cache.max_tokens is not None:
            room = max(num_tokens, self.cache.max_tokens)
        return room if self.window_tokens is None else min(room, self.window_tokens)

    def keep_rows(self, rows: Sequence[int]) -> None:
        if self.k_BKSE is not None and self.v_BKSE is not None:
            self.k_BKSE, self.v_BKSE = self.k_BKSE[list(rows)], self.v_BKSE[list(rows)]


def _make_buffer(like_BKTE: Tensor, num_slots: int) -> Tensor:
    # zeros: no layer reads a slot before it is written, but a NaN in one would show even where its weight is 0
    batch, heads, _, head_dim = like_BKTE.shape
    return like_BKTE.new_zeros(batch, heads, num_slots, head_dim)
