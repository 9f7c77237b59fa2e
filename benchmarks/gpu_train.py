"""Training steps on one GPU: tokens/s, MFU with windows counted, memory, and attention, loss and optimizer alone; one table.

Run:  python -m benchmarks.gpu_train                      # 7B where it fits, and 1B, 8,192 tokens, bfloat16, compiled
      python -m benchmarks.gpu_train --small              # the same code on a CPU in seconds: no speed, a check that it runs
Needs a checkout, torch, numpy, pyarrow and pydantic, nothing else. A step is the trainer's own train_step: forward, backward,
clipping, AdamW with float32 weights and moments. MFU is operations of the model (nothing that is computed again counts) over
the device's dense bfloat16 rate; windows counted, the causal half not taken off, as OLMo-core counts.
"""

from __future__ import annotations

import argparse
import functools
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from train_bridge.attention import Visibility, prepare_attention
from train_bridge.cost import Placement, device_flops_per_sec, flops_per_token, saved_bytes_per_token
from train_bridge.loss import LossConfig, linear_cross_entropy, shift_labels
from train_bridge.model import ModelConfig, Olmo3, count_parameters
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_model import compile_block
from train_bridge.presets import preset_values
from train_bridge.step import StepSettings, accumulate_gradients, train_step

SMALL = {"d_model": 64, "mlp_hidden": 128, "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16,
         "vocab_size": 512, "window_tokens": 64}  # fmt: skip
LOSS_CHUNK_TOKENS = 2048


class Case(NamedTuple):
    """One model and how it is trained."""

    name: str
    model: ModelConfig
    tokens: int
    rows: int  # of one step, all at once
    again: str  # activation checkpointing: none, mlp, full
    again_layers: int  # the first so many


class Row(NamedTuple):
    what: str
    seconds: float
    flops: float  # of the model, in that time
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["olmo3_7b", "ladder_1b"], help="names of presets")
    parser.add_argument("--tokens", type=int, default=8192, help="of one instance")
    parser.add_argument("--rows", type=int, default=1, help="instances of a step")
    parser.add_argument("--steps", type=int, default=8, help="that count, after --warmup")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument(
        "--again", default=None, choices=["none", "mlp", "full"], help="computed again; default: what fits"
    )
    parser.add_argument("--again-layers", type=int, default=None, help="the first so many layers only; default: all")
    parser.add_argument("--backend", default=None, choices=["sdpa", "flex", "flash"], help="default: flex on GPUs")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--small", action="store_true", help="a tiny model on this CPU")
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        sys.exit("no CUDA device here; the same code in small: python -m benchmarks.gpu_train --small")
    device = torch.device("cpu" if arguments.small else "cuda")
    backend = arguments.backend or ("sdpa" if arguments.small else "flex")
    peak = device_flops_per_sec(device)
    name = "CPU" if arguments.small else torch.cuda.get_device_name(device)
    print(f"{name}, {peak / 1e12:.3g} TFLOP/s of dense products, torch {torch.__version__}, attention {backend}, "
          f"{'not compiled' if arguments.no_compile or arguments.small else 'compiled'}\n")  # fmt: skip
    print("| model | what | ms | tokens/s | MFU, windows counted | MFU, all layers full | peak memory, GiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case in choose_cases(arguments, device):
        for row in measure_case(case, arguments, device, backend):
            print(render(case, row, peak), flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def choose_cases(arguments: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """Those that fit; what does not is told on stderr."""
    if arguments.small:
        for again in ("none", "mlp", "full"):
            yield Case("small", ModelConfig(**SMALL), 128, 2, again, 4)
        return
    room = torch.cuda.get_device_properties(device).total_memory
    for name in arguments.models:
        model = ModelConfig(**preset_values(name))
        layers = model.num_layers if arguments.again_layers is None else arguments.again_layers
        for again in [arguments.again] if arguments.again else ["none", "mlp", "full"]:
            need = estimate_bytes(model, arguments.tokens * arguments.rows, again, is_compiled=not arguments.no_compile)
            if arguments.again or need < 0.95 * room:
                yield Case(name, model, arguments.tokens, arguments.rows, again, layers)
                break
            text = f"{name} with {again} computed again needs about {need / 2**30:.0f} of {room / 2**30:.0f} GiB"
            print(text, file=sys.stderr)


def estimate_bytes(model: ModelConfig, num_tokens: int, again: str, *, is_compiled: bool) -> int:
    """Peak of a step: float32 weights and moments, and what layers keep or the gradients that take its place, whichever is more."""
    parallel = ParallelConfig(activation_checkpointing=again, compile=is_compiled)
    kept, _ = saved_bytes_per_token(model, Placement(parallel, bfloat16=True))
    counts, matrix = count_parameters(model), model.vocab_size * model.d_model
    # of one layer: activations, and weights in bfloat16; gradients take their place
    layer = num_tokens * kept + 2 * counts.without_embeddings // model.num_layers
    # the output matrix comes first, its gradient in float32 and in bfloat16
    most = max(model.num_layers * layer + 6 * matrix, 4 * counts.total + layer)
    return 12 * counts.total + most + LOSS_CHUNK_TOKENS * 6 * model.vocab_size


def build(case: Case, arguments: argparse.Namespace, device: torch.device, backend: Any) -> Olmo3:
    """Weights are drawn where they are used, which is faster than the trainer's way and as good for a measurement."""
    with torch.device("meta"):
        model = Olmo3(case.model, attention_backend=backend)
    model.to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0) if "norm" in name else parameter.normal_(0.0, 0.02)
    for number, block in enumerate(model.blocks):
        if not (arguments.no_compile or arguments.small):
            compile_block(block)
        if number >= case.again_layers:
            continue
        block.computes_mlp_again = case.again == "mlp"
        if case.again == "full":
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    return model


def measure_case(case: Case, arguments: argparse.Namespace, device: torch.device, backend: Any) -> Iterator[Row]:
    """The step first, then its parts; the model is gone before attention and loss are measured alone."""
    one = {
        "steps": 1 if arguments.small else arguments.steps,
        "warmup": 1 if arguments.small else arguments.warmup,
        "device": device,
    }
    yield from measure_training(case, build(case, arguments, device, backend), one)
    gc.collect()
    yield from measure_parts(case, backend, one)


def measure_training(case: Case, model: Olmo3, one: dict[str, Any]) -> Iterator[Row]:
    device, optimizer = one["device"], build_optimizer(model, OptimizerConfig())
    loss = LossConfig(chunk_tokens=min(LOSS_CHUNK_TOKENS, case.tokens))
    settings = StepSettings(case.rows, loss, 1.0, torch.bfloat16)
    ids_BT = torch.randint(0, case.model.vocab_size, (case.rows, case.tokens), device=device)
    flops = float(flops_per_token(case.model, case.tokens)) * ids_BT.numel()
    scalars = {"loss": torch.ones((), device=device), "grad_norm": torch.ones((), device=device)}

    def step() -> None:
        train_step(model, optimizer, ids_BT, lr=1e-4, step=0, settings=settings)

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            model.loss(ids_BT, shift_labels(ids_BT), config=loss)

    def both() -> None:
        accumulate_gradients(model, ids_BT, settings=settings)

    yield measure(f"training step ({case.again} computed again)", step, flops=flops, **one)
    yield measure("forward and backward", both, flops=flops, **one)
    yield measure("forward and loss", forward, flops=flops / 3, **one)
    yield measure("optimizer", lambda: optimizer.step(**scalars), flops=0.0, **one)


def measure_parts(case: Case, backend: Any, one: dict[str, Any]) -> Iterator[Row]:
    """Loss and attention of one layer of a kind alone, forward and backward."""
    config, device, num_tokens = case.model, one["device"], case.rows * case.tokens
    dtype, loss = torch.bfloat16, LossConfig(chunk_tokens=min(LOSS_CHUNK_TOKENS, case.tokens))
    weight_VD = torch.randn(config.vocab_size, config.d_model, device=device, dtype=dtype, requires_grad=True)
    hidden_ND = torch.randn(num_tokens, config.d_model, device=device, dtype=dtype, requires_grad=True)
    labels_N = torch.randint(0, config.vocab_size, (num_tokens,), device=device)

    def take_loss() -> None:
        hidden_ND.grad = weight_VD.grad = None
        linear_cross_entropy(hidden_ND, weight_VD, labels_N, config=loss).total.backward()

    yield measure("loss alone", take_loss, flops=6.0 * config.vocab_size * config.d_model * num_tokens, **one)
    shape = (case.rows, case.tokens, config.head_dim)
    heads = (config.num_heads, config.num_kv_heads, config.num_kv_heads)
    parts = [
        torch.randn(shape[0], number, *shape[1:], device=device, dtype=dtype, requires_grad=True) for number in heads
    ]
    for window in (None, config.window_tokens):
        attend = prepare_attention(Visibility(case.tokens, window), backend=backend, device=device)
        flops = 12.0 * config.num_heads * config.head_dim * min(window or case.tokens, case.tokens) * num_tokens

        def take_attention(attend: Callable[..., torch.Tensor] = attend) -> None:
            for part in parts:
                part.grad = None
            attend(*parts).sum().backward()

        kind = "full" if window is None else f"window {window:,}"
        yield measure(f"attention of one layer, {kind}", take_attention, flops=flops, **one)


def measure(
    what: str, function: Callable[[], object], steps: int, warmup: int, device: torch.device, flops: float
) -> Row:
    """Median seconds; memory is the device's peak (0 on a CPU)."""
    is_gpu = device.type == "cuda"
    for _ in range(warmup):
        function()
    if is_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        function()
        if is_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if is_gpu else 0
    return Row(what, statistics.median(seconds), flops, peak)


def render(case: Case, row: Row, peak: float) -> str:
    tokens = case.tokens * case.rows
    share, full_share = row.flops / row.seconds / peak, 0.0
    if row.flops and not row.what.startswith(("attention", "loss")):
        whole = flops_per_token(case.model, case.tokens, count_windows=False)
        full_share = share * whole / flops_per_token(case.model, case.tokens)
    shown = [f"{value:.1%}" if value else "" for value in (share, full_share)]
    line = f"| {case.name} | {row.what} | {1e3 * row.seconds:,.1f} | {tokens / row.seconds:,.0f} | {shown[0]} | {shown[1]} |"
    return f"{line} {row.peak_bytes / 2**30:.1f} |"


if __name__ == "__main__":
    main()
