"""Bits per byte: how many bits a model needs for text, so that models with other tokenizers and compressors compare.

Legend: B windows of one forward pass, T tokens of the longest of them, N tokens.
bits per byte = sum of -log2 p(token | tokens before it in its window) / UTF-8 bytes of the text.
Source: continuation rules of olmo-eval (leading space counted, boundary by encoding context and whole).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

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


class Batch(NamedTuple):
    """One forward pass: int64 (num_rows, num_tokens)."""

    numbers: list[int]  # of the windows, one a row; the rows after them only pad
    num_rows: int
    num_tokens: int


def plan_batches(lengths: Sequence[int], *, batch_tokens: int, row_lengths: Sequence[int] = ()) -> list[Batch]:
    """Which windows go through the model together: longest first, no more than batch_tokens with their padding, one row at least.

    lengths: tokens of each window that the model reads
    row_lengths: rising, the last no shorter than any window: rows are padded to one of them, and batches of equal rows to
    equal numbers of rows, so that there are no more shapes than these. Empty: rows are as long as the longest of a batch

    Examples
    --------
    >>> plan_batches([3, 9, 5], batch_tokens=18)
    [Batch(numbers=[1, 2], num_rows=2, num_tokens=9), Batch(numbers=[0], num_rows=1, num_tokens=3)]
    >>> plan_batches([3, 9, 5], batch_tokens=18, row_lengths=[6, 12])
    [Batch(numbers=[1], num_rows=1, num_tokens=12), Batch(numbers=[2, 0], num_rows=3, num_tokens=6)]
    """
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    batches: list[Batch] = []
    first = 0
    while first < len(order):
        num_tokens = longest = lengths[order[first]]
        if row_lengths:
            num_tokens = row_lengths[bisect.bisect_left(row_lengths, longest)]
        num_rows = max(1, batch_tokens // num_tokens)
        numbers = order[first : first + num_rows]
        batches.append(Batch(numbers, num_rows if row_lengths else len(numbers), num_tokens))
        first += len(numbers)
    return batches


def doubled_lengths(first: int, last: int) -> list[int]:
    """`first`, twice that, and so on below `last`, then `last`.

    Examples
    --------
    >>> doubled_lengths(128, 1000), doubled_lengths(128, 16)
    ([128, 256, 512, 1000], [16])
    """
    lengths = []
    while first < last:
        lengths.append(first)
        first *= 2
    return [*lengths, last]


@torch.no_grad()
def window_nats(model: Olmo3, windows: list[Window], batches: list[Batch], *, chunk_tokens: int) -> Tensor:
    """Sums of -ln p over the scored tokens of each window, float64 (len(windows),); zero for one that is in none of the batches.

    Where ranks share the tokens of a row: of this rank's tokens. Padding stands on the right, where a causal model never sees it, so
    a window's value does not depend on its batch but for float rounding inside the model.
    """
    device = model.embeddings.weight.device
    nats = torch.zeros(len(windows), dtype=torch.float64, device=device)
    was_training = model.training
    model.eval()
    for batch in batches:
        rows = [windows[number] for number in batch.numbers]
        ids_BT, labels_BT = make_tensors(rows, num_rows=batch.num_rows, num_tokens=batch.num_tokens)
        nats_BT = _score_tokens(model, ids_BT.to(device), labels_BT.to(device), chunk_tokens)
        numbers = torch.tensor(batch.numbers, dtype=torch.int64, device=device)
        nats.index_copy_(0, numbers, nats_BT.double().sum(dim=1)[: len(rows)])
    model.train(was_training)
    return nats


def score_windows(
    model: Olmo3, windows: list[Window], *, num_texts: int, batch_tokens: int = 4096, chunk_tokens: int = 512
) -> list[float]:
    """Bits of each text, summed over its windows in their order, float64."""
    batches = plan_batches([len(window.ids) - 1 for window in windows], batch_tokens=batch_tokens)
    nats = window_nats(model, windows, batches, chunk_tokens=chunk_tokens).tolist()
    bits = [0.0] * num_texts
    for window, of_window in zip(windows, nats, strict=True):
        bits[window.text] += of_window / math.log(2)
    return bits


def make_tensors(windows: list[Window], *, num_rows: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Ids and labels of windows, int64 (num_rows, num_tokens), padded on the right and below; labels only where scored."""
    ids_BT = torch.zeros((num_rows, num_tokens), dtype=torch.int64)
    labels_BT = torch.full_like(ids_BT, IGNORED_LABEL)
    for row, window in enumerate(windows):
        length = len(window.ids) - 1
        ids_BT[row, :length] = torch.tensor(window.ids[:-1])
        labels_BT[row, length - window.num_scored : length] = torch.tensor(window.ids[-window.num_scored :])
    return ids_BT, labels_BT


def _score_tokens(model: Olmo3, ids_BT: Tensor, labels_BT: Tensor, chunk_tokens: int) -> Tensor:
    """-ln p of each scored token, zero elsewhere, float32 (B, T): of this rank's tokens where ranks share them."""
    hidden_BTD = model.hidden(ids_BT)
    if model.context is not None:
        labels_BT = model.context.take(labels_BT)
    labels_N = labels_BT.flatten()
    scored_N = torch.nonzero(labels_N != IGNORED_LABEL).flatten()
    hidden_ND, weight_VD = hidden_BTD.flatten(0, 1)[scored_N], model.lm_head.w_out.weight
    if isinstance(weight_VD, DTensor):  # tensor parallelism: the matrix is sent, which is less than the logits would be
        weight_VD = weight_VD.full_tensor()
    if torch.is_autocast_enabled(hidden_ND.device.type):
        # once, and not in each chunk
        dtype = torch.get_autocast_dtype(hidden_ND.device.type)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
    nats_N = torch.zeros(len(labels_N), dtype=torch.float32, device=labels_N.device)
    nats_N[scored_N] = token_nats(hidden_ND, weight_VD, labels_N[scored_N], chunk_tokens=chunk_tokens)
    return nats_N.view(labels_BT.shape)


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
