"""Shapes of the released models and of the small ones with the same architecture, by name.

Source: Olmo 3 report table 33; ladder sizes as in OLMo-core. The ladder keeps as many key/value heads as query heads.
"""

from __future__ import annotations

from typing import Any

from dolma_py.errors import ConfigError

PADDED_VOCAB_SIZE = 100_352  # Olmo 3's tokenizer has 100,278 entries


def _shape(d_model: int, mlp_hidden: int, num_layers: int, heads: tuple[int, int], head_dim: int) -> dict[str, Any]:
    num_heads, num_kv_heads = heads
    return {
        "d_model": d_model,
        "mlp_hidden": mlp_hidden,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "vocab_size": PADDED_VOCAB_SIZE,
        "window_tokens": 4096,
    }


MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "olmo3_7b": _shape(4096, 11_008, 32, (32, 32), 128),
    "olmo3_32b": _shape(5120, 27_648, 64, (40, 8), 128),
    "ladder_1m": _shape(12, 256, 4, (4, 4), 4),
    "ladder_14m": _shape(128, 512, 4, (8, 8), 16),
    "ladder_30m": _shape(256, 768, 4, (8, 8), 32),
    "ladder_60m": _shape(384, 1536, 8, (8, 8), 48),
    "ladder_100m": _shape(512, 2048, 12, (8, 8), 64),
    "ladder_190m": _shape(768, 3072, 12, (12, 12), 64),
    "ladder_370m": _shape(1024, 4096, 16, (16, 16), 64),
    "ladder_600m": _shape(1280, 5120, 16, (16, 16), 80),
    "ladder_760m": _shape(1536, 6144, 16, (16, 16), 96),
    "ladder_1b": _shape(2048, 8192, 16, (16, 16), 128),
    "ladder_3b": _shape(3328, 13_312, 16, (16, 16), 208),
    "ladder_13b": _shape(5120, 13_824, 40, (40, 40), 128),
}


def preset_values(name: str) -> dict[str, Any]:
    """Values of a preset for ModelConfig; ConfigError lists the names when there is no such preset."""
    if name not in MODEL_PRESETS:
        raise ConfigError("model.preset", name, f"expected one of {', '.join(MODEL_PRESETS)}")
    return dict(MODEL_PRESETS[name])
