"""One training step of the quickstart's model: tokens/s and share of the machine's rate on plain products, beside transformers.

Run:  python benchmarks/train_step.py [--steps 5] [--threads 2] [--vocab 8192]
The peer is transformers' Olmo3ForCausalLM of the same shape with torch's AdamW on the same ids: full logits and their
cross-entropy, one mask per layer kind. Rounds alternate, so that other load on the machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from train_bridge.conversion import hf_config_values
from train_bridge.cost import device_flops_per_sec, flops_per_token
from train_bridge.loss import LossConfig, linear_cross_entropy, shift_labels
from train_bridge.model import build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.step import StepSettings, accumulate_gradients, train_step
from train_bridge.train_config import TrainConfig, load_train_config


def measure(rounds: int, functions: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each function per round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def make_peer(config: TrainConfig, ids_BT: torch.Tensor) -> Callable[[], object]:
    import transformers

    values = hf_config_values(config.model, vocab_size=config.model.vocab_size, context_tokens=4096, eos_token_id=0)
    peer = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**values))
    optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-3, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        peer(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=8192)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = load_train_config("quickstart/pretrain", overrides=[f"model.vocab_size={arguments.vocab}"], manifest=None)
    # 4,096 tokens whatever the configuration's batch: small batches would measure Python
    sequence_tokens = config.data.sequence_tokens
    rows = 4096 // sequence_tokens
    ids_BT = torch.randint(0, arguments.vocab, (rows, sequence_tokens), generator=torch.Generator().manual_seed(1))
    model = build_model(config.model, seed=0)
    optimizer = build_optimizer(model, OptimizerConfig())
    loss = LossConfig(chunk_tokens=config.loss.chunk_tokens)
    settings = StepSettings(rows, loss, 1.0, None)
    hidden_ND = torch.randn(ids_BT.numel(), config.model.d_model, requires_grad=True)
    labels_N = shift_labels(ids_BT).flatten()

    def loss_alone() -> None:
        linear_cross_entropy(hidden_ND, model.lm_head.w_out.weight, labels_N, config=loss).total.backward()

    functions = {
        "step": lambda: train_step(model, optimizer, ids_BT, lr=1e-3, step=0, settings=settings),
        "forward and backward": lambda: accumulate_gradients(model, ids_BT, settings=settings),
        "loss alone": loss_alone,
        "transformers step": make_peer(config, ids_BT),
    }
    peak = device_flops_per_sec(torch.device("cpu"))
    flops = flops_per_token(config.model, sequence_tokens) * ids_BT.numel()
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {sum(p.numel() for p in model.parameters()):,} parameters"
    )
    print(f"{rows} x {sequence_tokens} tokens, plain float32 products at {peak / 1e9:.0f} GFLOP/s in this run")
    for name, seconds in measure(arguments.steps, functions).items():
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        line = f"{name:22s} {1e3 * middle:8.1f} ms (min {1e3 * low:.1f}, max {1e3 * high:.1f})"
        line += f" {ids_BT.numel() / middle:9,.0f} tokens/s"
        if name.endswith("step"):
            line += f" {flops / middle / peak:6.1%} of the product rate"
        print(line)


if __name__ == "__main__":
    main()
