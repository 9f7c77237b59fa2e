"""Mixes at their full size: core-hours by hand, shares as released, and a plan of the recipe over cells of the released shape."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from benchmarks.released_mix import make_cells
from dolma_py.cli import app
from dolma_py.errors import ConfigError
from mixers.percentiles import CELL_SCHEMA
from mixers.plan import make_plan
from mixers.released_curve import load_released
from pipelines import costs
from pipelines.recipe import Recipe, build_steps, load_recipe
from pipelines.size_estimates import describe_sizes, estimate_sizes, print_sizes
from tests.conftest import REPOSITORY

MIXES = ("dolma3-mix-6t", "dolma3-mix-150b")
# files of the released list of token files; table 4 of the report
RELEASED = {
    "dolma3-mix-6t": {
        "web": 4_511_007_503_691, "pdf": 805_971_777_998, "stack_edu": 408_858_603_177, "finemath": 151_924_339_821,
        "arxiv": 50_806_197_772, "wiki": 2_511_133_095,
    },
    "dolma3-mix-150b": {
        "web": 121e9, "pdf": 19.9e9, "stack_edu": 11.1e9, "finemath": 4.1e9, "arxiv": 1.29e9, "wiki": 64.6e6,
    },
}  # fmt: skip


def estimate(*steps, sizes):
    return estimate_sizes(Recipe(recipe="r", seed=0, steps=list(steps), sizes=sizes))


def plan_of(name):
    (step,) = [step for step in build_steps(load_recipe(name, [])) if step.kind == "plan_mix"]
    return step.settings.plan


def test_core_hours_by_hand():
    ingest = {"kind": "ingest", "sources": [{"kind": "warc", "inputs": ["a"]}]}
    web = {"name": "filter", "kind": "tag", "short_circuit": True, "taggers": [{"tagger": "web-filter"}]}
    sizes = [
        {"step": "ingest", "text_tb": 2.0, "read_tb": 64 * 3600e-6},  # a core-hour at 64 MB/s
        {"step": "filter", "text_tb": 1.0},
        {"step": "dedup_exact", "text_tb": 110 * 3600e-6 * 4, "parts": 2},
        {"step": "tokenize", "text_tb": 15.3 * 3600e-6, "disk_tb": 7.5},
    ]
    first, second, third, last = estimate(
        ingest, web, {"kind": "dedup_exact"}, {"kind": "tokenize", "mix": "m"}, sizes=sizes
    )
    assert first.core_hours == pytest.approx(1) and first.disk_bytes == pytest.approx(0.35 * 2e12)
    assert second.core_hours == pytest.approx(1e6 / 3600 * (1 / 757 + 1 / 118)) and len(second.shown_in) == 2
    assert third.core_hours == pytest.approx(4) and third.text_bytes == round(110 * 3600e6 * 4)
    assert last.shown_in == ("docs/tokenize.md",) and third.shown_in == ("docs/dedup.md",)
    assert last.core_hours == pytest.approx(1) and last.disk_bytes == 7_500_000_000_000


def test_parts_bound_the_memory_of_a_driver():
    step = {"kind": "dedup_substring"}
    whole, parts = (
        estimate(step, sizes=[{"step": "dedup_substring", "text_tb": 10.0, "parts": n}])[0] for n in (1, 10)
    )
    assert whole.driver_memory_bytes > 50 * parts.driver_memory_bytes
    assert whole.core_hours == pytest.approx(parts.core_hours)


def test_narrow_rows_are_counted_by_documents_where_these_are_known():
    steps = [
        {"kind": "partition"},
        {"name": "plan", "kind": "plan_mix", "plan": {"token_budget": 1}},
        {"kind": "sample_mix"},
    ]
    names = ("partition", "plan", "sample_mix")
    known = estimate(*steps, sizes=[{"step": name, "text_tb": 2.0, "documents": 10**9} for name in names])
    # 80, 40 and 60 bytes a document; a hundredth of the text for attributes
    assert [line.disk_bytes for line in known] == [100 * 10**9, 40 * 10**9, 80 * 10**9]
    unknown = estimate(*steps, sizes=[{"step": name, "text_tb": 2.0} for name in names])
    assert [line.disk_bytes for line in unknown] == [820 * 10**9, 400 * 10**9, 620 * 10**9]


def test_a_size_of_no_step_is_refused():
    with pytest.raises(ConfigError, match=r"^sizes\.0\.step: expected a step of r"):
        estimate({"kind": "dedup_exact"}, sizes=[{"step": "exakt", "text_tb": 1.0}])


@pytest.mark.parametrize("key", sorted(costs.RATES))
def test_a_rate_stands_in_the_page_it_names(key):
    rate = costs.RATES[key]
    text = (REPOSITORY / rate.shown_in).read_text()
    if key in ("tag language", "tag classifiers"):  # microseconds for a page of 1,886 bytes
        micros = {"tag language": "52.9", "tag classifiers": "78.7"}[key]
        assert f"| {micros} |" in text and "1,886" in text
        assert rate.mb_per_core_sec == pytest.approx(1886 / float(micros), rel=0.01)
    else:
        assert re.search(rf"(?<![\d.]){rate.mb_per_core_sec:g}(?:\.0)?(?![\d.]*\d)", text), key


@pytest.mark.parametrize("name", MIXES)
def test_every_step_that_reads_text_has_a_size(name):
    loaded = load_recipe(name, [])
    assert [size.step for size in loaded.sizes] == [step.name for step in build_steps(loaded)]
    made = load_recipe("dolma3-web", [])
    web = loaded.sources[0]
    assert [size.step for size in web.sizes if size.step not in made.skipped] == [
        step.name for step in build_steps(made)
    ]
    sizes = describe_sizes(loaded)
    assert sizes["hours"][16] == pytest.approx(sizes["core_hours"] / 1024)
    assert sizes["core_hours"] == pytest.approx(sum(line["core_hours"] for line in sizes["lines"]))


def test_the_sample_costs_what_its_share_of_the_mix_costs():
    whole, sample = (describe_sizes(load_recipe(name, [])) for name in MIXES)
    assert sample["core_hours"] / whole["core_hours"] == pytest.approx(157.4546 / 5931.08, rel=0.01)


@pytest.mark.parametrize("name", MIXES)
def test_shares_are_the_released_ones(name):
    loaded, plan, released = load_recipe(name, []), plan_of(name), RELEASED[name]
    assert {source.name: source.mix_tokens for source in loaded.sources} == {key: int(n) for key, n in released.items()}
    assert plan.token_budget == sum(map(int, released.values()))
    for source in loaded.sources:
        share = sum(its.share for key, its in plan.sources.items() if source.stands_for(key))
        assert share == pytest.approx(released[source.name] / plan.token_budget, abs=2e-7)
    total = sum(topic.mix_tokens for topic in load_released().values())
    for topic, found in load_released().items():
        assert plan.sources["web"].topics[topic] == pytest.approx(found.mix_tokens / total, abs=2e-6)
    python = plan.sources["stack_edu_Python"].share / plan.sources["stack_edu_SQL"].share
    assert python == pytest.approx(0.1829 / 0.0182, rel=1e-3)


def test_a_plan_of_the_recipe_meets_the_released_mix():
    """Over cells of the released web pool, and of others as large as their pools."""
    plan = plan_of("dolma3-mix-6t")
    topics, rows = sorted(load_released()), make_cells().to_pylist()
    pools = {"pdf": 972e9, "finemath": 34.1e9, "arxiv": 21.4e9, "wiki": 3.69e9}
    pools |= {key: 137e9 * its.share / 0.0689354 for key, its in plan.sources.items() if key.startswith("stack_edu")}
    for source, tokens in pools.items():
        part = round(tokens / len(topics) / 20)
        rows += [
            {"source": source, "topic": topic, "bucket": b, "documents": 9, "tokens": part, "bytes": 4 * part}
            for topic in topics for b in range(20)
        ]  # fmt: skip
    rows.sort(key=lambda row: (row["source"], row["topic"], row["bucket"]))
    made = make_plan(pa.Table.from_pylist(rows, schema=CELL_SCHEMA), plan)
    planned = {}
    for row in made.cells.to_pylist():
        for key in (row["source"], (row["source"], row["topic"])):
            planned[key] = planned.get(key, 0) + row["planned_tokens"]
    for name in ("web", "finemath", "arxiv", "wiki"):
        assert planned[name] == pytest.approx(RELEASED["dolma3-mix-6t"][name], rel=1e-3), name
    total = sum(topic.mix_tokens for topic in load_released().values())
    for topic, found in load_released().items():
        assert planned["web", topic] == pytest.approx(
            found.mix_tokens / total * planned["web"], rel=0.06 if found.mix_tokens < 1 else 1e-3
        )
    for row in made.groups:
        if row["source"] == "web":  # rates of the buckets of the 6T run's own log
            topic = load_released()[row["topic"]]
            rates = np.array(row["rates"])[np.array(topic.bucket) - 1]
            assert np.sqrt(np.mean(np.log(rates / np.clip(rates, topic.lowest, topic.highest)) ** 2)) <= 0.06, row[
                "topic"
            ]
    assert all(shortage.source == "pdf" for shortage in made.shortages)


def test_the_dry_run_says_it_all(tmp_path, capsys):
    answer = CliRunner().invoke(
        app, ["build", "mix", "--recipe", "dolma3-mix-6t", "--corpus", str(tmp_path / "c"), "--dry-run"]
    )
    assert answer.exit_code == 0 and not (tmp_path / "c").exists()
    sizes = describe_sizes(load_recipe("dolma3-mix-6t", []))
    assert f"{sizes['core_hours']:,.0f} core-hours" in answer.output and "16 machines" in answer.output
    print_sizes(sizes)
    assert "350.00" in capsys.readouterr().out
