"""New tokens per CPU second: prompts of different lengths one at a time and in batches, beside transformers' generate in one batch.

Run:  python -m benchmarks.generation_batches [--new-tokens 64] [--threads 1]
Greedy, 32 prompts of 8 to 120 ids, no end id, the ladder's 14M with a vocabulary of 8,192 and windows of 64. The texts of all ways
are compared: a line says how many of the 32 are the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from train_bridge.conversion import hf_config_values, hf_state_dict
from train_bridge.generation import SamplingConfig, generate_batch
from train_bridge.model import ModelConfig, Olmo3, build_model
from train_bridge.presets import preset_values

NUM_PROMPTS, VOCAB_SIZE = 32, 8192


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(8, 121, (NUM_PROMPTS,), generator=generator).tolist()
    return [torch.randint(1, VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths]


def transformers_way(model: Olmo3, prompts: list[list[int]], num_new: int) -> Callable[[], list[list[int]]]:
    import transformers

    values = hf_config_values(model.config, vocab_size=VOCAB_SIZE, context_tokens=4096, eos_token_id=0, pad_token_id=0)
    peer = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**values)).eval()
    peer.load_state_dict(hf_state_dict(model, vocab_size=VOCAB_SIZE))
    longest = max(map(len, prompts))
    ids_BT = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask_BT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"do_sample": False, "max_new_tokens": num_new, "min_new_tokens": num_new}

    def run() -> list[list[int]]:
        return peer.generate(ids_BT, attention_mask=mask_BT, **options)[:, longest:].tolist()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    values = {**preset_values("ladder_14m"), "vocab_size": VOCAB_SIZE, "window_tokens": 64}
    model, prompts = build_model(ModelConfig(**values), seed=0), make_prompts()
    settings = SamplingConfig(max_new_tokens=arguments.new_tokens, temperature=0.0)

    def in_batches(size: int) -> Callable[[], list[list[int]]]:
        def run() -> list[list[int]]:
            texts: list[list[int]] = []
            for first in range(0, NUM_PROMPTS, size):
                part = prompts[first : first + size]
                done = generate_batch(
                    model, part, sampling=settings, seeds=[0] * len(part), end_ids=(), vocab_size=VOCAB_SIZE
                )
                texts += [completion.ids for completion in done]
            return texts

        return run

    ways = {f"batches of {size}": in_batches(size) for size in (1, 8, 32)}
    ways["transformers, batch of 32"] = transformers_way(model, prompts, arguments.new_tokens)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), {arguments.new_tokens} new tokens a prompt\n")
    print("| way | new tokens per CPU second | texts equal to one at a time |")
    print("|---|---|---|")
    alone: list[list[int]] = []
    for name, way in ways.items():
        started = time.process_time()
        texts = way()
        seconds = time.process_time() - started
        alone = alone or texts
        same = sum(left == right for left, right in zip(texts, alone, strict=True))
        print(f"| {name} | {NUM_PROMPTS * arguments.new_tokens / seconds:,.0f} | {same} of {NUM_PROMPTS} |", flush=True)


if __name__ == "__main__":
    main()
