"""Names and settings of Hugging Face's Olmo 3 for the same weights.

Source: the released checkpoints' tensor names; ours are OLMo-core's. No tensor is permuted: both sides pair the halves of a
head in RoPE. YaRN is written for full-attention layers only, in the nested form that can say so.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from dolma_py.errors import SchemaError
from train_bridge.model import ModelConfig, Olmo3
from train_bridge.rope import attention_factor

_OUTER_NAMES = {
    "embeddings.weight": "model.embed_tokens.weight",
    "lm_head.norm.weight": "model.norm.weight",
    "lm_head.w_out.weight": "lm_head.weight",
}
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


def hf_state_dict(model: Olmo3, *, vocab_size: int) -> dict[str, Tensor]:
    """Weights under Hugging Face's names; both embedding matrices lose the rows that only pad the vocabulary."""
    state = {to_hf_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:vocab_size]
    return state


def hf_config_values(config: ModelConfig, *, vocab_size: int, context_tokens: int, eos_token_id: int) -> dict[str, Any]:
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
        "pad_token_id": None,
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
