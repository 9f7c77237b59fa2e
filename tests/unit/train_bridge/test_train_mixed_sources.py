"""Shares of sources: exact to an instance, as large as the scarcest source allows, repeated no more than allowed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, ResumeMismatchError
from train_bridge.dataset import InstanceDataset
from train_bridge.loader import BatchLoader
from train_bridge.manifest import read_manifest
from train_bridge.mixed_sources import MixedDataset, SourceConfig, choose_instances, share_instances


def config(ratio, **values):
    return SourceConfig(path="x", target_ratio=ratio, **values)


@pytest.fixture
def two_sources(make_shards):
    """Datasets of 12 and 40 instances of 16 tokens; the second one masks labels and cuts other documents."""
    folders = {
        "web": make_shards(name="web", file_tokens=(200,)),
        "code": make_shards(name="code", file_tokens=(650,), labels_mask=True, vocab_size=40),
    }
    return {name: InstanceDataset(f, read_manifest(f), sequence_tokens=16) for name, f in folders.items()}


@given(parts=st.lists(st.tuples(st.integers(1, 300), st.floats(0.01, 5), st.floats(1, 4)), min_size=1, max_size=5))
def test_shares_are_exact_to_an_instance_and_no_larger_mixture_fits(parts):
    sources = {str(i): config(ratio, max_repetition_ratio=repeat) for i, (_, ratio, repeat) in enumerate(parts)}
    usable = {str(i): count for i, (count, _, _) in enumerate(parts)}
    try:
        counts = share_instances(usable, sources)
    except ConfigError:
        return
    total, ratios = sum(counts.values()), sum(ratio for _, ratio, _ in parts)
    limits = {name: usable[name] * sources[name].max_repetition_ratio for name in sources}
    for name, count in counts.items():
        assert abs(count - total * sources[name].target_ratio / ratios) < 1 + 1e-6
        assert count <= limits[name] + 1e-6
    # one more instance in all would take a source above its limit
    assert any((total + 1) * sources[n].target_ratio / ratios > int(limits[n] + 1e-6) - 1e-6 for n in sources)


def test_instances_repeat_as_evenly_as_possible():
    chosen = choose_instances(100, usable=30, count=75, seed=1, name="web")
    times = Counter(Counter(chosen.tolist()).values())
    assert times == {2: 15, 3: 15}
    assert chosen.min() >= 0 and chosen.max() < 100
    assert not np.array_equal(chosen, choose_instances(100, usable=30, count=75, seed=2, name="web"))
    assert not np.array_equal(chosen, choose_instances(100, usable=30, count=75, seed=1, name="code"))


def test_rows_are_those_of_the_sources(two_sources):
    mixed = MixedDataset(two_sources, {"web": config(3), "code": config(1)}, seed=4)
    assert mixed.counts == {"web": 12, "code": 4}
    assert mixed.num_dropped_tokens == 200 - 12 * 16 + 650 - 4 * 16
    ids, documents, is_trained, _ = mixed.read(np.arange(16))
    web, code = two_sources["web"].read(mixed.chosen[0]), two_sources["code"].read(mixed.chosen[1])
    np.testing.assert_array_equal(ids, np.concatenate((web.ids, code.ids)))
    np.testing.assert_array_equal(is_trained[12:], code.is_trained)
    assert documents is None and is_trained[:12].all()
    np.testing.assert_array_equal(mixed.read([13, 2]).ids, ids[[13, 2]])
    assert mixed.read([2]).is_trained is None


def test_limits_of_fraction_and_repetition(two_sources):
    sources = {"web": config(1, max_repetition_ratio=2.5), "code": config(1, max_source_fraction=0.5)}
    mixed = MixedDataset(two_sources, sources, seed=4)
    assert mixed.counts == {"web": 20, "code": 20}
    assert len(set(mixed.chosen[1].tolist())) == 20
    assert max(Counter(mixed.chosen[0].tolist()).values()) == 2


def test_a_share_of_nothing_is_refused(two_sources):
    with pytest.raises(ConfigError) as caught:
        MixedDataset(two_sources, {"web": config(1), "code": config(1e-6)}, seed=4)
    assert caught.value.key == "data.sources.code.target_ratio"


def test_another_ratio_is_named_on_resume(two_sources):
    loaders = [
        BatchLoader(MixedDataset(two_sources, {"web": config(3), "code": config(r)}, seed=4), batch_instances=2, seed=1)
        for r in (1, 2)
    ]
    with pytest.raises(ResumeMismatchError) as caught:
        loaders[1].load_state_dict(loaders[0].state_dict())
    assert caught.value.field == "dataset.sources.code.target_ratio"
