"""Recall of values by their keys at 8 times the trained length: YaRN on full layers, on none, on all.

Run:  python -m benchmarks.long_context [--steps 1500] [--stage-steps 60] [--minutes 10]
The model: width 128, 4 layers (three with a window of 64, then a full one), 4 heads of 32, 256 ids. A text holds 16 pairs of a
key and its value in its first quarter, and behind that keys at random among filler; the value of each is to be said, and
the text never says it again, so that what is not remembered is guessed (1 of 64). Trained on 256 tokens, then measured on 2,048
tokens as it is, and after a short stage of training on 2,048 tokens, which is what the long-context stage of Olmo 3 does
(factor 8 on its full layers). Each way of the stage sees the same texts. Everything by --seed.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from train_bridge import rope
from train_bridge.loss import IGNORED_LABEL, LossConfig
from train_bridge.model import ModelConfig, Olmo3, build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer

SHORT, LONG, WINDOW = 256, 2048, 64
KEYS, VALUES, FILLERS, PAIRS = 64, 64, 128, 16
SHAPE = {"d_model": 128, "mlp_hidden": 256, "num_layers": 4, "num_heads": 4, "num_kv_heads": 4, "head_dim": 32,
         "vocab_size": KEYS + VALUES + FILLERS, "window_tokens": WINDOW}  # fmt: skip
YARN = rope.YarnConfig(factor=LONG / SHORT, original_context_tokens=SHORT)
WAYS = ("no layer", "full layers", "all layers")


def make_texts(rows: int, num_tokens: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), int64 (rows, num_tokens): labels at keys that are asked for, of all pairs alike."""
    draw, shape, quarter = {"generator": generator}, (rows, num_tokens), num_tokens // 4
    ids = torch.randint(KEYS + VALUES, KEYS + VALUES + FILLERS, shape, **draw)
    keys = torch.rand(rows, KEYS, **draw).argsort(dim=1)[:, :PAIRS]
    values = KEYS + torch.randint(0, VALUES, (rows, PAIRS), **draw)
    places = 2 * torch.rand(rows, quarter // 2, **draw).argsort(dim=1)[:, :PAIRS]
    ids.scatter_(1, places, keys).scatter_(1, places + 1, values)
    is_asked = torch.rand(shape, **draw) < 0.5
    is_asked[:, :quarter] = False
    which = torch.randint(0, PAIRS, shape, **draw)
    ids = torch.where(is_asked, keys.gather(1, which), ids)
    return ids, torch.where(is_asked, values.gather(1, which), IGNORED_LABEL)


@contextlib.contextmanager
def rotating(way: str) -> Any:
    """YaRN on every layer is no setting of the model: there its table of rotations is replaced."""
    if way != "all layers":
        yield
        return

    def table(positions: torch.Tensor, head_dim: int, *, theta: float, yarn: Any) -> Any:
        return rope.rotation_table(positions, head_dim, theta=theta, yarn=YARN)

    with mock.patch("train_bridge.model.rotation_table", table):
        yield


def with_way(model: Olmo3, way: str) -> Olmo3:
    """A copy of the model, with YaRN on full layers where the way says so."""
    yarn = YARN if way == "full layers" else None
    device = str(model.embeddings.weight.device)
    config = model.config.model_copy(update={"yarn": yarn})
    copy = build_model(config, seed=0, device=device)
    copy.load_state_dict(model.state_dict())
    return copy


def train(
    model: Olmo3, *, steps: int, lr: float, rows: int, num_tokens: int, seed: int, deadline: float, tell: Callable[[str], None]
) -> int:  # fmt: skip
    """Linear decay after a short warm-up; stops early at the deadline and returns the steps made."""
    generator, device = torch.Generator().manual_seed(seed), model.embeddings.weight.device
    optimizer = build_optimizer(model, OptimizerConfig(skip_sigma=None, beta2=0.98, embedding_lr_factor=20))
    for step in range(steps):
        if time.perf_counter() > deadline:
            return step
        ids, labels = (part.to(device) for part in make_texts(rows, num_tokens, generator))
        losses = model.loss(ids, labels, config=LossConfig(chunk_tokens=2048))
        model.zero_grad(set_to_none=True)
        (losses.total / (labels >= 0).sum()).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / 30, 1 - step / steps)
        optimizer.step(loss=losses.cross_entropy, grad_norm=norm)
        if (step + 1) % max(1, steps // 10) == 0:
            tell(f"  step {step + 1}: {float(losses.cross_entropy / (labels >= 0).sum()):.3f} nats an answer")
    return steps


@torch.no_grad()
def recall(model: Olmo3, num_tokens: int, *, rows: int, seed: int) -> float:
    """Share of answers whose likeliest token is right."""
    texts = make_texts(rows, num_tokens, torch.Generator().manual_seed(seed))
    ids, labels = (part.to(model.embeddings.weight.device) for part in texts)
    right = asked = 0
    for row in range(rows):
        is_asked = labels[row] >= 0
        hidden = model.hidden(ids[row : row + 1])[0][is_asked]
        right += int((model.lm_head.w_out(hidden).argmax(dim=1) == labels[row][is_asked]).sum())
        asked += int(is_asked.sum())
    return right / asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="at 256 tokens")
    parser.add_argument("--batch", type=int, default=8, help="texts of a step at 256 tokens")
    parser.add_argument("--stage-steps", type=int, default=60, help="at 2,048 tokens")
    parser.add_argument("--stage-batch", type=int, default=2, help="texts of a step at 2,048 tokens")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--stage-lr", type=float, default=5e-4)
    parser.add_argument("--rows", type=int, default=16, help="texts that recall is measured on")
    parser.add_argument("--minutes", type=float, default=10, help="at most; half of it for the first training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started, budget = time.perf_counter(), 60 * arguments.minutes

    def tell(line: str) -> None:
        print(line, flush=True)

    model = build_model(ModelConfig(**SHAPE), seed=arguments.seed, device=arguments.device)
    made = train(model, steps=arguments.steps, lr=arguments.lr, rows=arguments.batch, num_tokens=SHORT, seed=arguments.seed,
                 deadline=started + budget / 2, tell=tell)  # fmt: skip
    short = recall(model, SHORT, rows=arguments.rows, seed=arguments.seed + 1)
    tell(
        f"\n{made} of {arguments.steps} steps of {arguments.batch} texts at {SHORT} tokens; recall at {SHORT}: {short:.1%}; {arguments.rows} texts\n"
    )
    tell(f"| YaRN on | recall at {LONG:,} as it is | stage, steps | recall at {LONG:,} after it | recall at {SHORT} after it |\n"
         "|---|---|---|---|---|")  # fmt: skip
    for number, way in enumerate(WAYS, start=1):
        with rotating(way):
            copy = with_way(model, way)
            before = recall(copy, LONG, rows=arguments.rows, seed=arguments.seed + 2)
            deadline = started + budget * (0.5 + 0.5 * number / len(WAYS))
            steps = train(copy, steps=arguments.stage_steps, lr=arguments.stage_lr, rows=arguments.stage_batch, num_tokens=LONG,
                          seed=arguments.seed + 3, deadline=deadline, tell=lambda line: None)  # fmt: skip
            after = [recall(copy, size, rows=arguments.rows, seed=arguments.seed + 4) for size in (LONG, SHORT)]
        tell(f"| {way} | {before:.1%} | {steps} | {after[0]:.1%} | {after[1]:.1%} |")


if __name__ == "__main__":
    main()
