"""Olmo 3: a decoder with norms on branch outputs, normed queries and keys, and windows on three of four layers.

Legend: B batch, T tokens, D model width, H query heads, K key/value heads, E head dimension, F MLP width, V vocabulary.
Source: Olmo 3 report (arXiv 2512.13961) section 3.2, table 33. Parameter names are OLMo-core's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dolma_py.config import Config, OptionError
from train_bridge.attention import Attend, AttentionBackend, Visibility, prepare_attention
from train_bridge.distributed import cut_like, local_part
from train_bridge.kv_cache import Cache
from train_bridge.loss import LossConfig, LossSums, linear_cross_entropy
from train_bridge.parallel_context import SequenceSplit
from train_bridge.rope import YarnConfig, rotate, rotation_table
from train_bridge.token_log_probs import linear_log_probs

LayerKind = Literal["sliding", "full"]


class ModelConfig(Config):
    """Shape of an Olmo 3. No shape has a default: a forgotten key must not become another model."""

    d_model: int = Field(ge=1, description="Width of the residual stream.")
    mlp_hidden: int = Field(ge=1, description="Width inside the MLP.")
    num_layers: int = Field(ge=1, description="Number of layers.")
    num_heads: int = Field(ge=1, description="Number of query heads.")
    num_kv_heads: int = Field(ge=1, description="Number of key/value heads; divides num_heads.")
    head_dim: int = Field(ge=2, description="Dimension of one head; even. num_heads * head_dim need not be d_model.")
    vocab_size: int = Field(
        ge=1, description="Rows of both embedding matrices: the tokenizer's size rounded up to 128."
    )
    window_tokens: int = Field(ge=1, description="Tokens that a sliding layer sees, itself included (Olmo 3: 4,096).")
    window_pattern: tuple[LayerKind, ...] = Field(
        ("sliding", "sliding", "sliding", "full"),
        min_length=1,
        description="Kinds of layers, repeated; the last layer is full whatever it says (Olmo 3 report, section 3.2).",
    )
    rope_theta: float = Field(500_000.0, gt=1, description="Base of the rotary frequencies (report, section 3.2).")
    yarn: YarnConfig | None = Field(None, description="Context extension on full layers; null before the long stage.")
    norm_eps: float = Field(1e-6, gt=0, description="Added to the mean square in every norm (released configuration).")
    init_std: float = Field(0.02, gt=0, description="Standard deviation of the first weights (OLMo-core).")
    init_cut_std: float = Field(3.0, gt=0, description="Where the normal is cut, in standard deviations (OLMo-core).")

    @model_validator(mode="after")
    def _check_heads(self) -> ModelConfig:
        if self.num_heads % self.num_kv_heads:
            raise OptionError("num_kv_heads", self.num_kv_heads, f"expected a divisor of num_heads={self.num_heads}")
        if self.head_dim % 2:
            raise OptionError("head_dim", self.head_dim, "expected an even number, of rotary pairs")
        return self

    def layer_window(self, layer: int) -> int | None:
        """Window of a layer in tokens, None for full attention."""
        is_full = layer == self.num_layers - 1 or self.window_pattern[layer % len(self.window_pattern)] == "full"
        return None if is_full else self.window_tokens


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, all in float32, back to the dtype of x at the end."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention; q and k are normed over the whole projection, before the split into heads and the rotation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        q_size, kv_size = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.w_q = nn.Linear(config.d_model, q_size, bias=False)
        self.w_k = nn.Linear(config.d_model, kv_size, bias=False)
        self.w_v = nn.Linear(config.d_model, kv_size, bias=False)
        self.w_out = nn.Linear(q_size, config.d_model, bias=False)
        self.q_norm = RMSNorm(q_size, config.norm_eps)
        self.k_norm = RMSNorm(kv_size, config.norm_eps)

    def project(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated q (B, H, T, E) and k, and v, both (B, K, T, E): this rank's heads, which are all but in tensor parallelism."""
        heads = (-1, self.config.head_dim)
        # (B, T, heads * E) -> (B, heads, T, E)
        q = self.q_norm(self.w_q(x_BTD)).unflatten(-1, heads).transpose(1, 2)
        k = self.k_norm(self.w_k(x_BTD)).unflatten(-1, heads).transpose(1, 2)
        v = self.w_v(x_BTD).unflatten(-1, heads).transpose(1, 2)
        return rotate(q, *rotation), rotate(k, *rotation), v

    def merge(self, out_BHTE: Tensor) -> Tensor:
        return self.w_out(out_BHTE.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.d_model, config.mlp_hidden, bias=False)
        self.w3 = nn.Linear(config.d_model, config.mlp_hidden, bias=False)
        self.w2 = nn.Linear(config.mlp_hidden, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x_BTD)) * self.w3(x_BTD))


class Block(nn.Module):
    """a = x + norm(attention(x)); y = a + norm(mlp(a)). The input of a branch is not normed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.computes_mlp_again = False  # in the backward pass, in place of keeping what is between its matrices

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """rotation: cosines and sines of the layer's kind. attend: from prepare_attention, or a layer of a cache."""
        return self.finish(x_BTD, attend(*self.attention.project(x_BTD, rotation)))

    def finish(self, x_BTD: Tensor, out_BHTE: Tensor) -> Tensor:
        """What follows attention. A method of its own: it and `project` are compiled, attention itself is not."""
        x_BTD = x_BTD + self.attention_norm(self.attention.merge(out_BHTE))
        if self.computes_mlp_again:
            branch_BTD = checkpoint(self.feed_forward, x_BTD, use_reentrant=False, preserve_rng_state=False)
        else:
            branch_BTD = self.feed_forward(x_BTD)
        return x_BTD + self.feed_forward_norm(branch_BTD)


class LMHead(nn.Module):
    """The final norm and the output matrix, untied from the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.w_out = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def loss(self, x_BTD: Tensor, labels_BT: Tensor, config: LossConfig) -> LossSums:
        """x_BTD: output of the last block."""
        return linear_cross_entropy(
            self.norm(x_BTD).flatten(0, 1), self.w_out.weight, labels_BT.flatten(), config=config
        )

    def log_probs(self, x_BTD: Tensor, labels_BT: Tensor, chunk_tokens: int) -> Tensor:
        """x_BTD: output of the last block. Returns float32 (B, T)."""
        hidden_ND = self.norm(x_BTD).flatten(0, 1)
        log_probs_N = linear_log_probs(hidden_ND, self.w_out.weight, labels_BT.flatten(), chunk_tokens=chunk_tokens)
        return log_probs_N.view(labels_BT.shape)


class Olmo3(nn.Module):
    """The whole model. `build_model` makes one with its first weights."""

    def __init__(self, config: ModelConfig, *, attention_backend: AttentionBackend = "sdpa") -> None:
        super().__init__()
        self.config, self.attention_backend = config, attention_backend
        self.windows = [config.layer_window(layer) for layer in range(config.num_layers)]
        self.embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.lm_head = LMHead(config)
        self.context: SequenceSplit | None = None  # set where ranks share the tokens of a row

    def new_cache(self, *, pads: Sequence[int] | None = None, max_tokens: int | None = None) -> Cache:
        """An empty cache for `hidden` and `forward`; see Cache."""
        return Cache(self.windows, pads=pads, max_tokens=max_tokens, backend=self.attention_backend)

    def hidden(self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Output of the final norm, (B, T, D). Positions go on from the cache and are not reset at document borders.

        documents_BT: see Visibility; not with a cache, whose rows are one document each.
        In context parallelism ids and documents are those of whole rows, and the output is this rank's tokens in `context.take`'s order.
        """
        return self.lm_head.norm(self._run_blocks(ids_BT, documents_BT=documents_BT, cache=cache))

    def _run_blocks(self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Output of the last block, (B, T, D)."""
        config, num_tokens, device = self.config, ids_BT.shape[1], ids_BT.device
        if cache is not None and documents_BT is not None:
            raise ValueError("documents_BT: expected None with a cache")
        positions = torch.arange(num_tokens, device=device) if cache is None else cache.positions(num_tokens, device)
        prepare = prepare_attention
        if self.context is not None:
            ids_BT, positions, prepare = self.context.take(ids_BT), self.context.take(positions), self.context.prepare
        # YaRN on full layers only: Olmo 3 report, section 3.6
        rotations, attends = {}, {}
        for window in set(self.windows):
            yarn = config.yarn if window is None else None
            rotations[window] = rotation_table(positions, config.head_dim, theta=config.rope_theta, yarn=yarn)
            if cache is None:
                visibility = Visibility(num_tokens, window, documents_BT)
                attends[window] = prepare(visibility, backend=self.attention_backend, device=device)
        x_BTD = self.embeddings(ids_BT)
        for layer, (block, window) in enumerate(zip(self.blocks, self.windows, strict=True)):
            x_BTD = block(x_BTD, rotations[window], attends[window] if cache is None else cache.layers[layer])
        if cache is not None:
            cache.advance(num_tokens)
        return x_BTD

    def forward(self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Logits, float32 (B, T, V)."""
        x_BTD = self._run_blocks(ids_BT, documents_BT=documents_BT, cache=cache)
        return self.lm_head.w_out(self.lm_head.norm(x_BTD)).float()

    def loss(
        self, ids_BT: Tensor, labels_BT: Tensor, *, config: LossConfig, documents_BT: Tensor | None = None
    ) -> LossSums:
        """Summed losses of the labels (see linear_cross_entropy); the logits of the batch never exist at once.

        In context parallelism: of whole rows in, of this rank's tokens out.
        """
        x_BTD = self._run_blocks(ids_BT, documents_BT=documents_BT)
        return self.lm_head.loss(x_BTD, labels_BT if self.context is None else self.context.take(labels_BT), config)

    def log_probs(
        self, ids_BT: Tensor, labels_BT: Tensor, *, chunk_tokens: int, documents_BT: Tensor | None = None
    ) -> Tensor:
        """ln p of every label (see linear_log_probs), float32 (B, T). In context parallelism: of whole rows in, of this rank's tokens out."""
        x_BTD = self._run_blocks(ids_BT, documents_BT=documents_BT)
        return self.lm_head.log_probs(
            x_BTD, labels_BT if self.context is None else self.context.take(labels_BT), chunk_tokens
        )


def build_model(
    config: ModelConfig, *, seed: int, device: str = "cpu", attention_backend: AttentionBackend = "sdpa"
) -> Olmo3:
    """An Olmo 3 with its first weights in float32: drawn on the CPU from one generator, so equal on every device."""
    with torch.device("meta"):
        model = Olmo3(config, attention_backend=attention_backend)
    model.to_empty(device=device)
    init_weights(model, seed=seed)
    return model


@torch.no_grad()
def init_weights(model: Olmo3, *, seed: int) -> None:
    """Truncated normal for every matrix, ones for norms. Order: embedding, then per block q k v out w1 w3 w2, then output.

    A rank that holds a part of a matrix draws all of it and keeps its part: ranks and seeds do not mix.
    The normal is the inverse of its distribution function at uniform numbers: one draw per value, 3 to 5 s of one core per billion, and
    the rest of the work for a rank's own part only. torch's trunc_normal_ draws whole matrices again until all values fit.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    std, cut_std = model.config.init_std, model.config.init_cut_std
    # P(|z| < c) = erf(c / sqrt 2) for a normal z
    limit = math.erf(cut_std / math.sqrt(2))
    matrices = [model.embeddings.weight]
    for block in model.blocks:
        attention, mlp = block.attention, block.feed_forward
        linears = (attention.w_q, attention.w_k, attention.w_v, attention.w_out, mlp.w1, mlp.w3, mlp.w2)
        matrices += [linear.weight for linear in linears]
    matrices.append(model.lm_head.w_out.weight)
    for matrix in matrices:
        uniform = torch.empty(matrix.shape, dtype=torch.float32).uniform_(-limit, limit, generator=generator)
        normal = cut_like(uniform, matrix).erfinv().mul_(math.sqrt(2) * std)
        local_part(matrix).copy_(normal.clamp_(-cut_std * std, cut_std * std))
    for module in model.modules():
        if isinstance(module, RMSNorm):
            local_part(module.weight).fill_(1.0)


class ParameterCounts(NamedTuple):
    total: int
    without_input_embedding: int
    without_embeddings: int


def count_parameters(config: ModelConfig) -> ParameterCounts:
    """Counted on the real modules without allocating them."""
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in Olmo3(config).parameters())
    matrix = config.vocab_size * config.d_model
    return ParameterCounts(total, total - matrix, total - 2 * matrix)


def pad_vocab_size(tokenizer_size: int) -> int:
    """Rounded up to a multiple of 128, as Olmo 3 does (100,278 -> 100,352): matrix kernels like it."""
    return -(-tokenizer_size // 128) * 128
