"""Seconds and memory of one attention layer, with a window and without, in chunks and with one mask of all tokens.

Run:  python -m benchmarks.attention_windows [--tokens 8192] [--heads 4] [--kv-heads 2] [--threads 1]
Times are CPU seconds of the process, the least of the rounds: other load on the machine meets them less. Memory is what a layer
keeps for its backward pass, every distinct tensor once, without the chunks' masks, which all layers of a kind share.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from train_bridge.attention import Visibility, prepare_attention, visible_keys


def cpu_sec(function: Callable[[], object], rounds: int) -> float:
    function()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def kept_bytes(function: Callable[[], object]) -> int:
    """Of all distinct storages that autograd keeps."""
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor lives on, so its address stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    return sum(size for size, _ in kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokens, cpu = arguments.tokens, torch.device("cpu")
    heads = (arguments.heads, arguments.kv_heads, arguments.kv_heads)
    parts = [torch.randn(1, number, tokens, 64, requires_grad=True) for number in heads]

    def with_mask(window: int) -> Callable[[], Tensor]:
        mask = visible_keys(torch.arange(tokens), torch.arange(tokens), window_tokens=window)
        return lambda: F.scaled_dot_product_attention(*parts, attn_mask=mask, enable_gqa=True)

    def with_layout(window: int | None, documents_BT: Tensor | None = None) -> Callable[[], Tensor]:
        attend = prepare_attention(Visibility(tokens, window, documents_BT), backend="sdpa", device=cpu)
        return lambda: attend(*parts)

    documents_BT = torch.arange(tokens)[None] // 1024
    ways = {
        "full": with_layout(None),
        "window 4096, chunks": with_layout(4096),
        "window 1024, chunks": with_layout(1024),
        "window 256, chunks": with_layout(256),
        "full, documents of 1,024, chunks": with_layout(None, documents_BT),
        "window 256, documents of 1,024, chunks": with_layout(256, documents_BT),
        "window 1024, one mask of all tokens": with_mask(1024),
    }
    print(
        f"torch {torch.__version__}, {tokens} tokens, heads {heads[0]} / {heads[1]} of 64, {arguments.threads} thread(s)\n"
    )
    print("| attention | forward, CPU s | to full | forward and backward, CPU s | to full | kept, MB |")
    print("|---|---|---|---|---|---|")
    whole_forward = whole = 0.0
    for name, attend in ways.items():
        with torch.no_grad():
            forward = cpu_sec(attend, arguments.rounds)
        both = cpu_sec(lambda: attend().sum().backward(), arguments.rounds)  # noqa: B023  # called in this round
        whole_forward, whole = whole_forward or forward, whole or both
        line = f"{forward:.3f} | {forward / whole_forward:.2f} | {both:.3f} | {both / whole:.2f} | {kept_bytes(attend) / 1e6:.0f}"
        print(f"| {name} | {line} |", flush=True)


if __name__ == "__main__":
    main()
