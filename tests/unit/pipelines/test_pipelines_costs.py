"""The plan's memory: what a task holds beside its split, by its settings or by what the text allows."""

from __future__ import annotations

import pytest

from dedup import bloom
from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.machine import read_peak_bytes, reset_peak
from pipelines import costs
from pipelines.recipe import Recipe, build_steps
from pipelines.session import SessionConfig

MIB = 1 << 20


def plan_step(folder, text_bytes, **step):
    recipe = Recipe(recipe="r", seed=0, steps=[step])
    _, (line,) = costs.plan_recipe(recipe, build_steps(recipe), Corpus(str(folder)), text_bytes=text_bytes)
    return line


def plan_memory(folder, text_bytes, **step):
    return plan_step(folder, text_bytes, **step).worker_memory_bytes - costs.WORKER_BYTES


@pytest.mark.parametrize(
    ("text_bytes", "step", "expected"),
    [
        (1 << 40, {"kind": "dedup_minhash"}, 3 * (4 << 30)),
        (1 << 40, {"kind": "dedup_minhash", "max_bucket_bytes": 200 * MIB}, 600 * MIB),
        (40_000_000, {"kind": "dedup_minhash"}, 7 * 48 * MIB),  # band keys and addresses; sets are 3 * 56 MB
        (4_000_000, {"kind": "dedup_minhash"}, 7 * 16 * 32 * 20_000),
        (1 << 40, {"kind": "dedup_minhash", "max_bucket_bytes": 1024}, 7 * 48 * MIB),
        (1 << 40, {"kind": "tokenize", "mix": "m"}, 2 * 4 * (1 << 28)),
        (1 << 40, {"kind": "tokenize", "mix": "m", "tokens_per_part": 100 * MIB}, 800 * MIB),
        (40_000_000, {"kind": "tokenize", "mix": "m"}, 320_000_000),
        (1 << 40, {"kind": "dedup_exact"}, 2 * 32 * MIB),
        (1 << 40, {"kind": "dedup_substring"}, 7 * 256 * MIB),
        (1 << 40, {"kind": "dedup_substring", "pool_bytes": MIB}, 7 * 48 * MIB),  # hashes of anchors and their numbers
        (1 << 40, {"kind": "dedup_substring", "pool_bytes": MIB, "scope": "pool"}, 7 * 48 * MIB),  # those of spans
    ],
)
def test_memory_of_a_task(tmp_path, text_bytes, step, expected):
    (tmp_path / "listing.jsonl").write_text("")
    assert plan_memory(tmp_path, text_bytes, **step) == expected


@pytest.mark.parametrize("step", [{"kind": "plan_mix", "plan": {"token_budget": 9}}, {"kind": "sample_mix"}])
@pytest.mark.parametrize(
    ("text_bytes", "settings", "expected"),
    [(40_000_000, {}, 210 * 200_000), (1 << 50, {}, 210 * 10_000_000), (1 << 50, {"max_docs": 1000}, 210_000)],
)
def test_memory_of_the_driver(tmp_path, text_bytes, step, settings, expected):
    (tmp_path / "listing.jsonl").write_text("")
    line = plan_step(tmp_path, text_bytes, **step, **settings)
    assert line.driver_memory_bytes - costs.DRIVER_BYTES == expected
    assert plan_step(tmp_path, text_bytes, kind="dedup_exact").driver_memory_bytes == costs.DRIVER_BYTES


@pytest.mark.parametrize(
    ("step", "num_keys"),
    [
        ({"kind": "dedup_exact"}, 200_000),
        ({"kind": "dedup_urls"}, 200_000),
        ({"kind": "dedup_paragraphs"}, 800_000),  # of ten words of five bytes
        ({"kind": "dedup_paragraphs", "min_words": 0, "min_bytes": 100}, 400_000),
    ],
)
def test_memory_of_filters(tmp_path, step, num_keys):
    """The driver holds the one that is saved, the tasks together those that are asked; one that is not there yet counts as this one."""
    (tmp_path / "listing.jsonl").write_text("")
    (tmp_path / "day1.bloom").write_bytes(b"x" * 5000)
    planned = bloom.plan_filter(num_keys, 1e-3)[0] * 64
    against = ["{corpus}/day1.bloom", "{corpus}/day2.bloom", "{corpus}/day1.bloom"]
    share = {"false_positive_share": 1e-3}
    saving = plan_step(tmp_path, 40_000_000, **step, bloom={"save": "x", **share})
    asking = plan_step(tmp_path, 40_000_000, **step, bloom={"against": against, **share})
    assert saving.driver_memory_bytes - costs.DRIVER_BYTES == pytest.approx(planned * 9 / 8, rel=1e-3)
    assert (saving.shared_memory_bytes, asking.driver_memory_bytes) == (0, costs.DRIVER_BYTES)
    assert asking.shared_memory_bytes == pytest.approx(planned + 5000, rel=1e-3)
    assert asking.worker_memory_bytes == saving.worker_memory_bytes
    shown = costs.describe_plan(40_000_000, [saving, asking])
    assert shown["shared_memory_bytes"] == asking.shared_memory_bytes
    assert shown["driver_memory_bytes"] == saving.driver_memory_bytes


@pytest.mark.parametrize("kind", ["dedup_exact", "dedup_urls"])
def test_disk_of_filters_and_indexes(tmp_path, monkeypatch, kind):
    """What is saved, and copies of the remote filters that are asked; of documents of 2,000 bytes."""
    (tmp_path / "listing.jsonl").write_text("")
    local = str(tmp_path / "day1.bloom")
    monkeypatch.setattr(storage, "file_bytes", lambda path: {"s3://b/day1.bloom": 7000, local: 5000}.get(path))
    plain = plan_step(tmp_path, 40_000_000, kind=kind).disk_bytes
    assert plain == 200 * 20_000
    asking = plan_step(tmp_path, 40_000_000, kind=kind, bloom={"against": [local, "s3://b/day1.bloom"]})
    assert asking.disk_bytes - plain == 7000
    planned = bloom.plan_filter(20_000, 1e-5)[0] * 64
    saving = plan_step(tmp_path, 40_000_000, kind=kind, bloom={"save": "x"}, index={"save": "y"})
    assert saving.disk_bytes - plain == pytest.approx(planned + 2 * (16 + 36) * 20_000, rel=1e-2)


def test_a_plan_of_more_keys_than_one_filter_takes_is_no_error(tmp_path):
    """The number of keys is a guess."""
    (tmp_path / "listing.jsonl").write_text("")
    line = plan_step(tmp_path, 1 << 50, kind="dedup_exact", bloom={"save": "x"})
    assert line.driver_memory_bytes > 1 << 40


def test_measuring_a_filter_takes_an_eighth_of_it():
    made = bloom.make_filter(60_000_000, 1e-3, {})
    made.bits.fill(5)  # else the system gives it no memory
    before = reset_peak() and read_peak_bytes()
    bloom.measure_share(made)
    assert read_peak_bytes() - before < made.bits.nbytes // 8 + 8 * MIB


@pytest.mark.parametrize(
    ("text_bytes", "settings", "expected"),
    [
        (40_000_000, {}, 150 * 32 * 200_000),
        (40_000_000, {"preset": "fineweb"}, 150 * 14 * 200_000),
        (1 << 40, {}, 150 * 80_000_000),
        (40_000_000, {"components": "spark"}, 0),
        (40_000_000, {"max_edges": 1000}, 150_000),
        (40_000_000, {"max_edges": 1000, "components": "driver"}, 150 * 32 * 200_000),
    ],
)
def test_memory_of_the_driver_for_candidates(tmp_path, text_bytes, settings, expected):
    (tmp_path / "listing.jsonl").write_text("")
    line = plan_step(tmp_path, text_bytes, kind="dedup_minhash", **settings)
    assert line.driver_memory_bytes - costs.DRIVER_BYTES == expected


def test_a_plan_counts_the_driver_and_its_jvm(tmp_path):
    (tmp_path / "listing.jsonl").write_text("")
    lines = [plan_step(tmp_path, 40_000_000, kind=kind) for kind in ("sample_mix", "dedup_exact")]
    small = costs.describe_plan(40_000_000, lines, SessionConfig(driver_memory_bytes=1 << 30))
    assert small["driver_memory_bytes"] == lines[0].driver_memory_bytes
    assert small["jvm_memory_bytes"] == (1 << 30) + costs.JVM_BYTES
    large = costs.describe_plan(40_000_000, lines, SessionConfig(driver_memory_bytes=10 << 30))
    assert large["jvm_memory_bytes"] == 11 << 30


def test_a_search_through_a_whole_corpus_takes_longer_than_its_pools(tmp_path):
    (tmp_path / "listing.jsonl").write_text("")
    small, pools, whole = (
        plan_step(tmp_path, text_bytes, kind="dedup_substring", **settings).seconds - 2.0
        for text_bytes, settings in ((10**8, {}), (10**10, {"scope": "pool"}), (10**10, {}))
    )
    assert small == pytest.approx(25 / costs.count_cores()) and pools == pytest.approx(100 * small)
    assert whole == pytest.approx(2 * pools)


def test_a_search_through_a_whole_corpus_needs_disk():
    """Anchors, their shuffles, and 964 bytes around three of ten anchors; anchors of spans, in three tenths of the text, everywhere."""
    from pipelines.dedup_substring import DedupSubstringConfig, driver_memory_bytes, work_disk_bytes

    corpus, anchors = Corpus("nowhere"), 2 * 10**12 // 438
    of_spans = int(0.3 * 28 * anchors)
    assert work_disk_bytes(DedupSubstringConfig(), corpus, 10**12) == int(anchors * (20 + 32 + 0.3 * 964)) + of_spans
    assert work_disk_bytes(DedupSubstringConfig(), corpus, 10**8) == of_spans // 10**4
    assert work_disk_bytes(DedupSubstringConfig(scope="pool"), corpus, 10**12) == of_spans
    assert (
        driver_memory_bytes(DedupSubstringConfig(), 10**8)
        == driver_memory_bytes(DedupSubstringConfig(scope="pool"), 10**12)
        == 0
    )
    assert 0.15e9 < driver_memory_bytes(DedupSubstringConfig(), 10**11) < 0.3e9  # some 2 million row groups
