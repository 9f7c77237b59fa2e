"""Largest difference between the logits of this package and of transformers, for every feature of the architecture.

Run:  python -m benchmarks.logits_parity [--tokens 96]
A small Olmo 3 of 8 layers whose norm weights and matrices are all moved from their first values. Columns: largest absolute logit;
difference in float32; differences in bfloat16 of the two to each other and of each to float32. Packed rows hold three documents:
ours by documents_BT, transformers by position_ids that begin again. Below: what planted faults do, against the bound of the gate.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import torch
import transformers
from torch import Tensor

from train_bridge.conversion import hf_config_values, hf_state_dict
from train_bridge.logits_gate import MAX_REL_DIFFERENCE
from train_bridge.model import ModelConfig, Olmo3, build_model
from train_bridge.rope import YarnConfig

VOCAB_SIZE, PADDED_SIZE = 500, 512
SHAPE = {"d_model": 64, "mlp_hidden": 160, "num_layers": 8, "num_heads": 4, "head_dim": 24, "vocab_size": PADDED_SIZE}


def make_model(*, num_kv_heads: int, window: int, has_yarn: bool) -> Olmo3:
    yarn = YarnConfig(factor=8.0, beta_fast=32, beta_slow=1, original_context_tokens=64) if has_yarn else None
    model = build_model(ModelConfig(**SHAPE, num_kv_heads=num_kv_heads, window_tokens=window, yarn=yarn), seed=3)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            moved = torch.randn(parameter.shape, generator=generator)
            parameter += moved * (0.3 if parameter.ndim == 1 else 0.06)
    return model.eval()


def make_peer(model: Olmo3, **changes: Any) -> Any:
    values = hf_config_values(model.config, vocab_size=VOCAB_SIZE, context_tokens=512, eos_token_id=0)
    peer = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**{**values, **changes})).eval()
    peer.load_state_dict(hf_state_dict(model, vocab_size=VOCAB_SIZE))
    return peer


@torch.no_grad()
def both_logits(model: Olmo3, peer: Any, ids_BT: Tensor, documents_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    positions = None
    if documents_BT is not None:
        counted = [torch.arange(int(number)) for number in documents_BT[0].bincount()]
        positions = torch.cat(counted)[None]
    ours = model(ids_BT, documents_BT=documents_BT)[..., :VOCAB_SIZE]
    return ours, peer(ids_BT, position_ids=positions, use_cache=False).logits.float()


def print_table(num_tokens: int) -> None:
    print(
        "| heads | window | YaRN | packed | largest logit | float32 | bfloat16 | ours to float32 | theirs to float32 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    ids_BT = torch.randint(1, VOCAB_SIZE, (1, num_tokens), generator=torch.Generator().manual_seed(5))
    cut = (torch.arange(num_tokens) >= num_tokens // 5).long() + (torch.arange(num_tokens) >= num_tokens // 2).long()
    for kv_heads, window, has_yarn, packed in itertools.product((4, 2), (7, 32), (False, True), (False, True)):
        model = make_model(num_kv_heads=kv_heads, window=window, has_yarn=has_yarn)
        peer, documents_BT = make_peer(model), cut[None] if packed else None
        ours, theirs = both_logits(model, peer, ids_BT, documents_BT)
        for parameter in (*model.parameters(), *peer.parameters()):
            # parameters alone, as from_pretrained loads them: its tables of rotation stay float32
            parameter.data = parameter.data.bfloat16()
        ours16, theirs16 = both_logits(model, peer, ids_BT, documents_BT)
        differences = [(ours, theirs), (ours16, theirs16), (ours16, ours), (theirs16, theirs)]
        largest = [float((left - right).abs().max()) for left, right in differences]
        words = ["MHA" if kv_heads == 4 else "GQA", str(window), "on" if has_yarn else "off", "yes" if packed else "no"]
        print(f"| {' | '.join(words)} | {float(theirs.abs().max()):.2f} | {' | '.join(f'{x:.2g}' for x in largest)} |")


def print_faults(num_tokens: int) -> None:
    model = make_model(num_kv_heads=2, window=32, has_yarn=True)
    ids_BT = torch.randint(1, VOCAB_SIZE, (1, num_tokens), generator=torch.Generator().manual_seed(5))
    right = hf_config_values(model.config, vocab_size=VOCAB_SIZE, context_tokens=512, eos_token_id=0)
    full, plain = (right["rope_parameters"][f"{kind}_attention"] for kind in ("full", "sliding"))
    other_base = {"full_attention": full, "sliding_attention": {**plain, "rope_theta": 10_000.0}}
    faults: dict[str, dict[str, Any]] = {
        "none": {},
        "YaRN on all layers": {"rope_parameters": {"full_attention": full, "sliding_attention": full}},
        "YaRN on no layer": {"rope_parameters": {"full_attention": plain, "sliding_attention": plain}},
        "base 10,000 on sliding layers": {"rope_parameters": other_base},
        "window of 33 for 32": {"sliding_window": 33},
        "norms' epsilon 1e-5 for 1e-6": {"rms_norm_eps": 1e-5},
        "one sliding layer full": {"layer_types": ["full_attention", *right["layer_types"][1:]]},
    }
    print(
        f"\n| fault in the exported settings | difference over the largest logit (the gate allows {MAX_REL_DIFFERENCE:g}) |"
    )
    print("|---|---|")
    for name, changes in faults.items():
        ours, theirs = both_logits(model, make_peer(model, **changes), ids_BT, None)
        print(f"| {name} | {float((ours - theirs).abs().max() / ours.abs().max()):.2g} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=96)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {arguments.tokens} tokens\n")
    print_table(arguments.tokens)
    print_faults(arguments.tokens)


if __name__ == "__main__":
    main()
