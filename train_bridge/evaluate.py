"""Bits per byte: how many bits a model needs for text, so that models with other tokenizers and compressors compare.

Legend: B windows of one forward pass, T tokens of the longest of them, N tokens.
bits per byte = sum of -log2 p(token | tokens before it in its window) / UTF-8 bytes of the text.
Source: continuation rules of olmo-eval (leading space counted, boundary by encoding context and whole).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from train_bridge.loss import IGNORED_LABEL, token_nats
from train_bridge.model import Olmo3
from train_bridge.text_tokenizer import TextTokenizer


class Window(NamedTuple):
    """One forward pass over ids[:-1]; of the predicted ids[1:], the last `num_scored` count for text `text`."""

    text: int
    ids: list[int]
    num_scored: int


def document_windows(
    text: int, ids: list[int], *, eos_token_id: int, window_tokens: int, overlap_tokens: int
) -> list[Window]:
    """Windows that predict every token of a document exactly once.

    The document is read after an EOS, as in training. The first window predicts `window_tokens` tokens; each later one steps
    back by `overlap_tokens` for context and predicts only tokens that are new.

    Examples
    --------
    >>> [(w.ids, w.num_scored) for w in document_windows(0, [1, 2, 3, 4, 5], eos_token_id=9, window_tokens=3, overlap_tokens=1)]
    [([9, 1, 2, 3], 3), ([2, 3, 4, 5], 2)]
    """
    stream = [eos_token_id, *ids]
    windows, scored = [], 0
    while scored < len(ids):
        first = 0 if scored == 0 else scored - overlap_tokens
        end = min(first + window_tokens, len(ids))
        windows.append(Window(text, stream[first : end + 1], end - scored))
        scored = end
    return windows


def continuation_window(
    text: int, tokenizer: TextTokenizer, *, context: str, continuation: str, eos_token_id: int, window_tokens: int
) -> Window:
    """Window that scores a continuation after its context, which loses tokens on the left when both are too long.

    Spaces at the end of the context move to the continuation before encoding; the continuation's ids are those that
    encode(context + continuation) has beyond encode(context). An empty context is an EOS.
    """
    stripped = context.rstrip(" ")
    whole = tokenizer.encode(context + continuation)
    context_ids = tokenizer.encode(stripped) or [eos_token_id]
    if not stripped:
        whole = [eos_token_id, *whole]
    num_scored = max(len(whole) - len(context_ids), 1)
    return Window(text, whole[-max(window_tokens + 1, num_scored + 1) :], num_scored)


@torch.no_grad()
def score_windows(
    model: Olmo3, windows: list[Window], *, num_texts: int, batch_tokens: int = 4096, chunk_tokens: int = 512
) -> list[float]:
    """Bits of each text, summed over its windows, float64.

    Windows are batched by length, longest first, padded on the right (a causal model never sees it) and summed per text in
    their order, so the result does not depend on the batches but for float rounding inside the model.
    """
    device = model.embeddings.weight.device
    bits_of_window = [0.0] * len(windows)
    order = sorted(range(len(windows)), key=lambda index: (-len(windows[index].ids), index))
    was_training = model.training
    model.eval()
    first = 0
    while first < len(order):
        longest = len(windows[order[first]].ids) - 1
        batch = order[first : first + max(1, batch_tokens // longest)]
        nats_BT = _score_batch(model, [windows[index] for index in batch], device, chunk_tokens)
        for row, index in enumerate(batch):
            bits_of_window[index] = float(nats_BT[row].double().sum()) / math.log(2)
        first += len(batch)
    model.train(was_training)
    bits = [0.0] * num_texts
    for window, window_bits in zip(windows, bits_of_window, strict=True):
        bits[window.text] += window_bits
    return bits


def make_tensors(windows: list[Window], device: torch.device, *, pad_to: int = 1) -> tuple[Tensor, Tensor]:
    """Ids and labels of windows, int64 (B, T), T a multiple of pad_to; labels only where scored.

    Padded on the right, which a causal model never sees.
    """
    longest = max(len(window.ids) for window in windows) - 1
    num_tokens = -(-longest // pad_to) * pad_to
    ids_BT = torch.zeros((len(windows), num_tokens), dtype=torch.int64)
    labels_BT = torch.full_like(ids_BT, IGNORED_LABEL)
    for row, window in enumerate(windows):
        length = len(window.ids) - 1
        ids_BT[row, :length] = torch.tensor(window.ids[:-1])
        labels_BT[row, length - window.num_scored : length] = torch.tensor(window.ids[-window.num_scored :])
    return ids_BT.to(device), labels_BT.to(device)


def _score_batch(model: Olmo3, windows: list[Window], device: torch.device, chunk_tokens: int) -> Tensor:
    """-ln p of each scored token, zero elsewhere, (B, T)."""
    ids_BT, labels_BT = make_tensors(windows, device)
    hidden_ND, labels_N = model.hidden(ids_BT).flatten(0, 1), labels_BT.flatten()
    scored_N = torch.nonzero(labels_N != IGNORED_LABEL).flatten()
    nats_N = torch.zeros(len(labels_N), dtype=torch.float32, device=device)
    weight_VD = model.lm_head.w_out.weight
    nats_N[scored_N] = token_nats(hidden_ND[scored_N], weight_VD, labels_N[scored_N], chunk_tokens=chunk_tokens)
    return nats_N.view(ids_BT.shape)


class BitsPerByte(NamedTuple):
    """Two means that answer different questions: all bytes alike, or all texts alike."""

    byte_weighted: float
    mean_over_texts: float


def bits_per_byte(bits: list[float], num_bytes: list[int]) -> BitsPerByte:
    """Of texts with at least one byte each.

    Examples
    --------
    >>> bits_per_byte([2.0, 12.0], [1, 3])
    BitsPerByte(byte_weighted=3.5, mean_over_texts=3.0)
    """
    ratios = [text_bits / size for text_bits, size in zip(bits, num_bytes, strict=True)]
    return BitsPerByte(math.fsum(bits) / sum(num_bytes), math.fsum(ratios) / len(ratios))
