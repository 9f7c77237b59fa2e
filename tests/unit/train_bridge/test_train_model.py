"""The model against the slow twin and by its own invariances; test_train_conversion.py has transformers."""

import math

import numpy as np
import pytest
import torch

from tests.reference import olmo3 as reference
from train_bridge.attention import document_ids_from_eos
from train_bridge.model import ModelConfig, build_model, count_parameters, pad_vocab_size
from train_bridge.presets import MODEL_PRESETS, preset_values
from train_bridge.rope import YarnConfig, rotate, rotation_table

YARN = YarnConfig(factor=8.0, beta_fast=32, beta_slow=1, original_context_tokens=64)


def small_config(**changes) -> ModelConfig:
    values = {
        "d_model": 32,
        "mlp_hidden": 48,
        "num_layers": 5,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 12,  # heads * head_dim is not d_model
        "vocab_size": 96,
        "window_tokens": 4,
    }
    return ModelConfig(**{**values, **changes})


def small_model(**changes):
    """With all weights, norms too, away from their first values: a forgotten norm weight must show."""
    model = build_model(small_config(**changes), seed=3)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator) * (1 if parameter.ndim == 1 else 0.2)
    return model


def random_ids(rows: int, tokens: int, seed: int = 5, vocab: int = 96) -> torch.Tensor:
    return torch.randint(0, vocab, (rows, tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("preset", "vocab_size", "total", "without_input"),
    [
        ("olmo3_7b", 100_352, 7_298_617_344, 6_887_575_552),
        ("olmo3_7b", 100_278, 7_298_011_136, None),
        ("olmo3_32b", 100_352, 32_234_279_936, 31_720_477_696),
        ("olmo3_32b", 100_278, 32_233_522_176, None),
        ("ladder_190m", 100_352, 267_424_512, 190_354_176),
        ("ladder_370m", 100_352, 474_022_912, 371_262_464),
        ("ladder_600m", 100_352, 676_414_720, 547_964_160),
        ("ladder_760m", 100_352, 912_360_960, 758_220_288),
        ("ladder_1b", 100_352, 1_484_916_736, 1_279_395_840),
        ("ladder_3b", 100_352, 3_503_508_736, None),
        ("ladder_13b", 100_352, 13_716_198_400, None),
    ],
)
def test_parameter_counts_are_the_published_ones(preset, vocab_size, total, without_input):
    counts = count_parameters(ModelConfig(**{**preset_values(preset), "vocab_size": vocab_size}))
    assert counts.total == total
    assert without_input in (None, counts.without_input_embedding)


def test_the_documented_table_is_of_the_presets(repository):
    """docs/model.md: width, MLP, layers, heads, head dimension, parameters, and those without the input embedding."""
    rows = {}
    for line in (repository / "docs" / "model.md").read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if cells[0] in MODEL_PRESETS:
            rows[cells[0]] = [int(part.replace(",", "")) for cell in cells[1:] for part in cell.split("/")]
    expected = {}
    for name in MODEL_PRESETS:
        config = ModelConfig(**preset_values(name))
        counts, heads = count_parameters(config), [config.num_heads, config.num_kv_heads, config.head_dim]
        shape = [config.d_model, config.mlp_hidden, config.num_layers, *heads]
        expected[name] = [*shape, counts.total, counts.without_input_embedding]
    assert rows == expected


@pytest.mark.parametrize(("preset", "expected"), [("olmo3_7b", 6_476_533_760), ("olmo3_32b", 31_206_675_456)])
def test_parameters_without_both_matrices_are_the_published_ones(preset, expected):
    assert count_parameters(ModelConfig(**preset_values(preset))).without_embeddings == expected


@pytest.mark.parametrize("preset", sorted(MODEL_PRESETS))
def test_parameter_counts_follow_the_formula(preset):
    config = ModelConfig(**preset_values(preset))
    shape = (config.d_model, config.mlp_hidden, config.num_layers, config.num_heads, config.num_kv_heads)
    expected = reference.count_parameters(*shape, config.head_dim, config.vocab_size)
    assert count_parameters(config).total == expected


@pytest.mark.parametrize(("preset", "full_layers"), [("olmo3_7b", 8), ("olmo3_32b", 16), ("ladder_14m", 1)])
def test_every_fourth_layer_is_full(preset, full_layers):
    config = ModelConfig(**preset_values(preset))
    full = [layer for layer in range(config.num_layers) if config.layer_window(layer) is None]
    assert full == list(range(3, config.num_layers, 4))
    assert len(full) == full_layers


def test_last_layer_is_full_whatever_the_pattern():
    windows = [small_config(num_layers=6).layer_window(layer) for layer in range(6)]
    assert windows == [4, 4, 4, None, 4, None]


def test_vocabulary_is_padded_to_128():
    assert [pad_vocab_size(size) for size in (1, 128, 129, 100_278)] == [128, 128, 256, 100_352]


@pytest.mark.parametrize("yarn", [None, YARN])
@pytest.mark.parametrize("num_tokens", [1, 7, 16])
def test_logits_match_reference(yarn, num_tokens):
    model = small_model(yarn=yarn)
    config, ids = model.config, random_ids(1, num_tokens)
    expected = reference.logits(
        {name: tensor.double().numpy() for name, tensor in model.state_dict().items()},
        ids[0].numpy(),
        layers=config.num_layers,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        theta=config.rope_theta,
        eps=config.norm_eps,
        windows=[config.layer_window(layer) for layer in range(config.num_layers)],
        yarn=yarn and (yarn.factor, yarn.beta_fast, yarn.beta_slow, yarn.original_context_tokens),
    )
    # float32 against float64 over 5 layers: a few units in the last place of logits near 1
    np.testing.assert_allclose(model(ids)[0].detach().numpy(), expected, rtol=0, atol=2e-5)


def test_yarn_changes_full_layers_only():
    """The same weights give the same logits while every layer is sliding but the last; there YaRN must show."""
    ids = random_ids(1, 40)
    plain, stretched = small_model(), small_model(yarn=YARN)
    seen = {}
    for name, model in (("plain", plain), ("stretched", stretched)):
        for layer in (2, 3):
            hook = lambda module, args, out, key=(name, layer): seen.__setitem__(key, out.detach())  # noqa: E731
            model.blocks[layer].register_forward_hook(hook)
        model(ids)
    torch.testing.assert_close(seen["plain", 2], seen["stretched", 2], rtol=0, atol=0)
    assert float((seen["plain", 3] - seen["stretched", 3]).abs().max()) > 1e-3


def test_qk_norm_spans_all_heads():
    """Scaling one head's rows of w_q changes the normed queries of every head."""
    model, ids = small_model(num_layers=1), random_ids(1, 8)
    attention = model.blocks[0].attention
    assert attention.q_norm.weight.shape == (48,)
    assert attention.k_norm.weight.shape == (24,)
    before = attention.q_norm(attention.w_q(model.embeddings(ids)))
    with torch.no_grad():
        attention.w_q.weight[:12] *= 3
    after = attention.q_norm(attention.w_q(model.embeddings(ids)))
    assert float((before - after)[..., 12:].detach().abs().min()) > 0


def test_qk_norm_comes_before_rotation():
    """With norm weights that differ inside a pair the two orders differ; q as attention gets it has the norm first."""
    model, ids = small_model(num_layers=1), random_ids(1, 8)
    attention = model.blocks[0].attention
    rotation = rotation_table(torch.arange(8), 12, theta=model.config.rope_theta, yarn=None)
    x = model.embeddings(ids)
    q, _, _ = attention.project(x, rotation)
    projected = attention.w_q(x)
    scale = projected.square().mean(dim=-1, keepdim=True).add(model.config.norm_eps).rsqrt()
    split = lambda values: values.unflatten(-1, (4, 12)).transpose(1, 2)  # noqa: E731
    norm_first = rotate(split(projected * scale * attention.q_norm.weight), *rotation)
    rotation_first = rotate(split(projected * scale), *rotation) * split(attention.q_norm.weight[None, None])
    torch.testing.assert_close(q, norm_first, rtol=0, atol=1e-5)
    assert float((q - rotation_first).detach().abs().max()) > 1e-2


def test_no_token_sees_the_future():
    model, ids = small_model(), random_ids(1, 24)
    changed = ids.clone()
    changed[0, 15] = (ids[0, 15] + 1) % 96
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[0, :15], after[0, :15], rtol=0, atol=0)
    assert float((before[0, 15:] - after[0, 15:]).abs().amax(dim=1).min()) > 0


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(("window", "backend"), [(3, "sdpa"), (5, "sdpa"), (100, "sdpa"), (5, "flex")])
def test_packed_documents_equal_documents_alone(window, backend):
    """Positions run on over document borders: rotation is relative, so only rounding may differ."""
    model = small_model(window_tokens=window, yarn=YARN)
    documents = [random_ids(1, length, seed=length) for length in (1, 9, 14)]
    documents = [torch.cat((doc.clamp(min=1), torch.zeros(1, 1, dtype=torch.int64)), dim=1) for doc in documents]
    packed = torch.cat(documents, dim=1)
    model.attention_backend = backend
    with torch.no_grad():
        got = model(packed, documents_BT=document_ids_from_eos(packed, 0))
    model.attention_backend = "sdpa"
    alone = torch.cat([model(doc) for doc in documents], dim=1)
    assert float((got - alone).abs().max()) < 2e-5
    assert float((model(packed) - alone).abs().max()) > 1e-2  # without the mask documents do leak


def test_first_weights_follow_seed_and_bounds():
    config = small_config(d_model=64)
    first, again, other = (build_model(config, seed=seed) for seed in (0, 0, 1))
    for (name, left), right, different in zip(
        first.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(left, right), name
        assert torch.equal(left, different) == (left.ndim == 1), name
        assert float(left.detach().abs().max()) <= (0.06 if left.ndim == 2 else 1.0), name
    drawn = torch.cat([parameter.detach().flatten() for parameter in first.parameters() if parameter.ndim == 2])
    # a normal cut at 3 standard deviations has 0.98658 of its deviation left; 60,000 draws know it to 0.3 %
    assert abs(float(drawn.std()) / (0.02 * 0.98658) - 1) < 0.01


def test_first_weights_are_drawn_in_the_documented_order():
    """One generator through all matrices; norms draw nothing."""
    model = build_model(small_config(), seed=7)
    generator = torch.Generator().manual_seed(7)
    matrices = [model.embeddings.weight]
    for block in model.blocks:
        attention, mlp = block.attention, block.feed_forward
        for linear in (attention.w_q, attention.w_k, attention.w_v, attention.w_out, mlp.w1, mlp.w3, mlp.w2):
            matrices.append(linear.weight)
    matrices.append(model.lm_head.w_out.weight)
    assert len(matrices) == sum(parameter.ndim == 2 for parameter in model.parameters())
    for matrix in matrices:
        limit = math.erf(3 / math.sqrt(2))
        uniform = torch.empty(matrix.shape).uniform_(-limit, limit, generator=generator).double()
        expected = 0.02 * torch.special.ndtri((uniform + 1) / 2)
        # float32 near 3 deviations, where the inverse is steep
        torch.testing.assert_close(matrix.detach().double(), expected, rtol=2e-5, atol=1e-8)


def test_first_weights_are_a_cut_normal():
    """2 million draws against the distribution function at 13 places: 0.0007 is two of its deviations."""
    model = build_model(small_config(d_model=1024, vocab_size=1920, num_layers=1), seed=11)
    drawn = model.embeddings.weight.detach().double().flatten() / 0.02
    places = torch.linspace(-2.99, 2.99, 13, dtype=torch.float64)
    found = torch.stack([(drawn < place).double().mean() for place in places])
    normal = torch.special.ndtr
    inside = normal(torch.tensor(3.0, dtype=torch.float64)) - normal(torch.tensor(-3.0, dtype=torch.float64))
    expected = (normal(places) - normal(torch.tensor(-3.0, dtype=torch.float64))) / inside
    assert float((found - expected).abs().max()) < 0.0015
    assert float(drawn.abs().max()) <= 3.0 + 1e-6


@pytest.mark.parametrize(("key", "value"), [("num_kv_heads", 3), ("head_dim", 11), ("d_model", 0)])
def test_impossible_shapes_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        small_config(**{key: value})
