"""Names and settings of Hugging Face's Olmo 3 for the same weights, in both directions.

Source: the released checkpoints' tensor names and settings; ours are OLMo-core's. No tensor is permuted: both sides pair the halves
of a head in RoPE. YaRN scales full-attention layers only: it is written in the nested form, which says so, and read so in any form.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dolma_py.config import build_config
from dolma_py.errors import DataError, SchemaError
from train_bridge.model import LayerKind, ModelConfig, Olmo3, pad_vocab_size
from train_bridge.rope import YarnConfig, attention_factor

_OUTER_NAMES = {
    "embeddings.weight": "model.embed_tokens.weight",
    "lm_head.norm.weight": "model.norm.weight",
    "lm_head.w_out.weight": "lm_head.weight",
}
_VOCABULARY_NAMES = ("model.embed_tokens.weight", "lm_head.weight")
_BLOCK_NAMES = {
    "attention.w_q": "self_attn.q_proj",
    "attention.w_k": "self_attn.k_proj",
    "attention.w_v": "self_attn.v_proj",
    "attention.w_out": "self_attn.o_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "attention_norm": "post_attention_layernorm",
    "feed_forward_norm": "post_feedforward_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


def to_hf_name(name: str) -> str:
    """blocks.3.attention.w_q.weight -> model.layers.3.self_attn.q_proj.weight."""
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)
    if match is None or match[2] not in _BLOCK_NAMES:
        raise SchemaError(name, "a parameter name of Olmo3", name)
    return f"model.layers.{match[1]}.{_BLOCK_NAMES[match[2]]}.weight"


def from_hf_name(name: str) -> str:
    """model.layers.3.self_attn.q_proj.weight -> blocks.3.attention.w_q.weight."""
    outer = {theirs: ours for ours, theirs in _OUTER_NAMES.items()}
    if name in outer:
        return outer[name]
    inner = {theirs: ours for ours, theirs in _BLOCK_NAMES.items()}
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    if match is None or match[2] not in inner:
        raise SchemaError(name, "a tensor name of Olmo 3", name)
    return f"blocks.{match[1]}.{inner[match[2]]}.weight"


def hf_state_dict(model: Olmo3, *, vocab_size: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Weights under Hugging Face's names; both embedding matrices lose the rows that only pad the vocabulary."""
    state = {to_hf_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    for name in _VOCABULARY_NAMES:
        state[name] = state[name][:vocab_size]
    return {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in state.items()}


def pad_rows(matrix_VD: Tensor, num_rows: int) -> Tensor:
    """The matrix with its mean row repeated below, up to `num_rows`.

    The mean, because a padding logit is then the mean logit, and n of them raise the sum of exponentials by n / V at most
    (Jensen's inequality); rows of zeros could take most of it.
    """
    mean_1D = matrix_VD.float().mean(dim=0, keepdim=True).to(matrix_VD.dtype)
    return torch.cat((matrix_VD, mean_1D.expand(num_rows - len(matrix_VD), -1)))


def fit_vocabulary(name: str, tensor: Tensor, *, vocab_size: int, where: str) -> Tensor:
    """A tensor of a checkpoint as the model has it: both embedding matrices get the padding rows if they lack exactly those.

    Raises  DataError when the rows are neither the tokenizer's nor the padded ones
    """
    if name not in _VOCABULARY_NAMES or len(tensor) == pad_vocab_size(vocab_size):
        return tensor
    if len(tensor) != vocab_size:
        rule = f"{name} has {len(tensor)} rows, expected {vocab_size} or, padded, {pad_vocab_size(vocab_size)}"
        raise DataError(where, rule)
    return pad_rows(tensor, pad_vocab_size(vocab_size))


def hf_config_values(
    config: ModelConfig, *, vocab_size: int, context_tokens: int, eos_token_id: int, pad_token_id: int | None = None
) -> dict[str, Any]:
    """Every key of config.json, none left to the defaults of the class on the other side."""
    plain = {"rope_type": "default", "rope_theta": config.rope_theta}
    full = dict(plain)
    if config.yarn is not None:
        full = {
            "rope_type": "yarn",
            "rope_theta": config.rope_theta,
            "factor": config.yarn.factor,
            "original_max_position_embeddings": config.yarn.original_context_tokens,
            "beta_fast": config.yarn.beta_fast,
            "beta_slow": config.yarn.beta_slow,
            "attention_factor": attention_factor(config.yarn),
        }
    windows = [config.layer_window(layer) for layer in range(config.num_layers)]
    return {
        "architectures": ["Olmo3ForCausalLM"],
        "model_type": "olmo3",
        "vocab_size": vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": context_tokens,
        "initializer_range": config.init_std,
        "pad_token_id": pad_token_id,
        "bos_token_id": None,
        "eos_token_id": eos_token_id,
        "tie_word_embeddings": False,
        "rope_parameters": {"sliding_attention": plain, "full_attention": full},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": config.norm_eps,
        "sliding_window": config.window_tokens,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "use_cache": True,
    }


class HfDescription(NamedTuple):
    """What a config.json says: the model's shape, the tokenizer's size, the context, and the ids that end a text."""

    config: ModelConfig
    vocab_size: int
    context_tokens: int
    end_ids: tuple[int, ...]


# each must be there: the class on the other side has defaults that are no released model's (a base of 10,000, an epsilon of 1e-5)
_NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "eos_token_id", "rms_norm_eps", "sliding_window", "layer_types",
)  # fmt: skip
# what Olmo 3 has nowhere: key -> the only value
_FIXED = {
    "model_type": "olmo3",
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
_KINDS: dict[str, LayerKind] = {"sliding_attention": "sliding", "full_attention": "full"}


def read_hf_config(values: dict[str, Any], *, where: str) -> HfDescription:
    """The settings of a config.json; no key that decides a number is left to a default.

    Raises  DataError naming the key that is missing or that Olmo 3 cannot have
    """
    missing = [key for key in (*_FIXED, *_NEEDED) if key not in values]
    if missing:
        raise DataError(where, f"lacks {', '.join(missing)}", hint="No default stands in for a missing key.")
    for key, only in _FIXED.items():
        _expect(where, key, values[key], only)
    theta, yarn = _read_rope(values, where)
    layers, heads = values["num_hidden_layers"], values["num_attention_heads"]
    shape = {
        "d_model": values["hidden_size"],
        "mlp_hidden": values["intermediate_size"],
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": values["num_key_value_heads"],
        # the released configurations leave it out
        "head_dim": values.get("head_dim") or values["hidden_size"] // heads,
        "vocab_size": pad_vocab_size(values["vocab_size"]),
        "window_tokens": values["sliding_window"],
        "window_pattern": _read_pattern(values["layer_types"], layers, where),
        "rope_theta": theta,
        "yarn": yarn,
        "norm_eps": values["rms_norm_eps"],
        "init_std": values.get("initializer_range", 0.02),
    }
    end_ids = values["eos_token_id"]
    end_ids = tuple(end_ids) if isinstance(end_ids, list) else (end_ids,)
    return HfDescription(
        build_config(ModelConfig, shape, where=where), values["vocab_size"], values["max_position_embeddings"], end_ids
    )


def _expect(where: str, key: str, got: Any, only: Any) -> None:
    if got != only:
        raise DataError(where, f"{key} is {got!r}, Olmo 3 has {only!r}")


def _read_pattern(kinds: list[str], num_layers: int, where: str) -> tuple[LayerKind, ...]:
    """The shortest pattern that repeats to the given list (its last layer is full whatever the pattern says)."""
    if len(kinds) != num_layers or not set(kinds) <= set(_KINDS) or kinds[-1] != "full_attention":
        rule = f"one of {', '.join(_KINDS)} for each of {num_layers} layers, the last full_attention"
        raise DataError(where, f"layer_types: expected {rule}, got {kinds}")
    ours = [_KINDS[kind] for kind in kinds]
    for length in range(1, num_layers + 1):
        if all(ours[layer] == ours[layer % length] for layer in range(num_layers - 1)):
            return tuple(ours[:length])
    raise AssertionError("a list repeats itself at its own length")


def _read_rope(values: dict[str, Any], where: str) -> tuple[float, YarnConfig | None]:
    """Base and YaRN, from rope_theta and rope_scaling (transformers 4) or rope_parameters (5, nested by kind of layer or flat)."""
    nested = values.get("rope_parameters")
    if nested is None:
        if "rope_theta" not in values or "rope_scaling" not in values:
            rule = "lacks rope_theta and rope_scaling (null without YaRN), or rope_parameters"
            raise DataError(where, rule, hint="No default stands in for a missing key.")
        full = {**(values["rope_scaling"] or {"rope_type": "default"}), "rope_theta": values["rope_theta"]}
    elif set(nested) == set(_KINDS):
        full, sliding = nested["full_attention"], nested["sliding_attention"]
        _expect(where, "rope_parameters.sliding_attention.rope_type", sliding.get("rope_type"), "default")
        _expect(
            where, "rope_parameters.sliding_attention.rope_theta", sliding.get("rope_theta"), full.get("rope_theta")
        )
    else:
        full = nested
    kind = full.get("rope_type", full.get("type"))
    if kind not in ("default", "yarn") or "rope_theta" not in full:
        raise DataError(where, f"rope settings: expected rope_type default or yarn and a rope_theta, got {full}")
    if kind == "default":
        return full["rope_theta"], None
    missing = [key for key in ("factor", "original_max_position_embeddings") if key not in full]
    if missing:
        raise DataError(where, f"YaRN's settings lack {', '.join(missing)}")
    yarn = YarnConfig(
        factor=full["factor"],
        # transformers' own values where the key is absent; the same as in YaRN's paper
        beta_fast=full.get("beta_fast") or 32.0,
        beta_slow=full.get("beta_slow") or 1.0,
        original_context_tokens=full["original_max_position_embeddings"],
    )
    factor = full.get("attention_factor")
    if factor is not None and abs(factor - attention_factor(yarn)) > 1e-6:
        raise DataError(where, f"attention_factor is {factor}, expected 0.1 ln(factor) + 1 = {attention_factor(yarn)}")
    for key, only in (("truncate", True), ("mscale", None), ("mscale_all_dim", None)):
        _expect(where, f"YaRN's {key}", full.get(key, only), only)
    return full["rope_theta"], yarn
