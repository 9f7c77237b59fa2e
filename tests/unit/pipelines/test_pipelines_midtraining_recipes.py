"""Recipes dolmino and longmino against tables 5 and 11 of the Olmo 3 report, and what they cost at full size."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.corpus import Corpus
from pipelines import endpoint_estimates
from pipelines.endpoint_estimates import describe_endpoints, estimate_endpoints
from pipelines.recipe import Recipe, build_steps, load_recipe
from pipelines.recipe_check import check_recipe
from pipelines.size_estimates import describe_sizes

# millions of tokens, pool and mix
TABLE_5 = {
    "tinymath_mind": (899, 898), "tinymath_pot": (241, 241), "cranemath": (5620, 5620), "megamatt": (3880, 1730), "dolmino1_math": (10700, 10700),
    "stack_edu": (21400, 10000), "cranecode": (18800, 10000), "reddit_flashcards": (21600, 5900), "wiki_rcqa": (4220, 3000),
    "nemotron_qa": (487000, 5000), "math_meta": (1050, 381), "code_meta": (1270, 459), "verifiable": (438, 159), "omr_fullthoughts": (850, 850),
    "qwq_traces": (4770, 1870), "general_reasoning": (2480, 1870), "gemini_traces": (246, 246), "nemotron_traces": (20900, 1250),
    "openthoughts2": (5600, 1250), "tulu3_sft": (1610, 1100), "dolmino1_flan": (16800, 5000), "pdf": (240000, 4990), "stem_crawl": (5210, 4990),
    "web": (1320000, 22400),
}  # fmt: skip
TABLE_11 = {"pdf": 8930, "long_cwe": 1940, "long_rex": 6080, "mid": 33000}
BUCKETS = {"8K-16K": 2270, "16K-32K": 1850, "32K-64K": 4810}
LARGE, SMALL = ("dolmino", "longmino"), ("dolmino-small", "longmino-small")
REX = ["steps.rex.endpoint.base_url=http://127.0.0.1:1/v1", "steps.rex.endpoint.model=m"]


def find_step(name, step, overrides=()):
    return {one.name: one for one in build_steps(load_recipe(name, list(overrides)))}[step]


def sum_shares(name):
    """Share of the budget by source of the recipe; the one source without a share has the rest."""
    recipe, plan = load_recipe(name, []), find_step(name, "plan").settings.plan
    known = sum(source.share or 0 for source in plan.sources.values())
    given = {key: 1 - known if source.share is None else source.share for key, source in plan.sources.items()}
    return {
        source.name: sum(share for key, share in given.items() if source.stands_for(key)) for source in recipe.sources
    }, plan


def test_dolmino_has_the_sources_and_shares_of_table_5():
    shares, plan = sum_shares("dolmino")
    recipe = load_recipe("dolmino", [])
    assert {source.name: (source.pool_tokens, source.mix_tokens) for source in recipe.sources} == {
        key: (pool * 10**6, mix * 10**6) for key, (pool, mix) in TABLE_5.items()
    }
    assert plan.token_budget == sum(mix for _, mix in TABLE_5.values()) * 10**6
    for name, (_, mix) in TABLE_5.items():
        assert shares[name] * plan.token_budget == pytest.approx(mix * 10**6, rel=1e-3, abs=2e4), name
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)


def test_longmino_has_the_sources_and_shares_of_table_11():
    shares, plan = sum_shares("longmino")
    assert plan.token_budget == sum(TABLE_11.values()) * 10**6
    for name, mix in TABLE_11.items():
        assert shares[name] * plan.token_budget == pytest.approx(mix * 10**6, rel=1e-3), name
    assert plan.sources["pdf"].topics == {
        key: pytest.approx(mix / sum(BUCKETS.values()), abs=1e-6) for key, mix in BUCKETS.items()
    }
    assert sum(plan.sources["pdf"].topics.values()) == pytest.approx(1, abs=1e-12)
    # two thirds are Dolmino in its own shares, and of its code the same half is cut
    dolmino = find_step("dolmino", "plan").settings.plan.sources
    middle = {key.removeprefix("mid_"): source.share for key, source in plan.sources.items() if key.startswith("mid_")}
    assert middle == {key: pytest.approx(source.share * 33000 / 49950, abs=1e-7) for key, source in dolmino.items()}
    fim = {key.removeprefix("mid_"): rate for key, rate in find_step("longmino", "shards").settings.fim.sources.items()}
    assert fim == find_step("dolmino", "shards").settings.fim.sources
    larger = find_step("longmino", "plan", ["steps.plan.plan.token_budget=99900000000"]).settings.plan
    assert larger.token_budget == 2 * plan.token_budget and larger.sources == plan.sources


@pytest.mark.parametrize("name", LARGE)
def test_half_of_the_code_is_cut_and_every_source_of_the_plan_is_read(name):
    steps = build_steps(load_recipe(name, REX if name == "longmino" else []))
    read = {source.name for step in steps if step.kind == "ingest" for source in step.settings.sources}
    (plan,) = [step.settings.plan for step in steps if step.kind == "plan_mix"]
    assert read == set(plan.sources)
    fim = find_step(name, "shards").settings.fim
    assert set(fim.sources) == {key for key in plan.sources if "stack_edu_" in key} and len(fim.sources) == 15
    assert set(fim.sources.values()) == {0.5} and fim.rate == 0 and fim.spm_frac == 0.5


def test_the_rules_of_the_report():
    rules = {rule.name: rule for step in build_steps(load_recipe("dolmino", [])) for rule in step.rules}
    assert rules["top_two"].keep == "bucket >= 18" and find_step("dolmino", "best_web").settings.num_buckets == 20
    assert rules["upper_fifth"].keep == "bucket >= 16" and find_step("dolmino", "best_code").settings.num_buckets == 20
    assert len(rules["upper_fifth"].sources) == 15
    for name in LARGE:
        gzip = find_step(name, "gzip")
        assert (gzip.settings.num_buckets, gzip.settings.weight) == (5, "documents")
        assert [rule.keep for rule in gzip.rules] == ["bucket >= 1 and bucket <= 3"]


@pytest.mark.parametrize("name", LARGE)
def test_what_is_missing_says_where_it_is_to_be_had(name, tmp_path):
    recipe = load_recipe(name, REX if name == "longmino" else [])
    rows = check_recipe(recipe, Corpus(str(tmp_path)))
    missing = [row for row in rows if row.is_missing and row.setting.endswith("inputs")]
    assert len(missing) == {"dolmino": 38, "longmino": 39}[name]
    for row in missing:
        (source,) = [source for source in recipe.sources if source.stands_for(row.setting.split(".")[1])]
        assert source.get in row.note and source.licence in row.note and source.made in row.note
    made = {row.setting: row.standing for row in rows if row.standing.startswith("made by step")}
    assert made == (
        {}
        if name == "dolmino"
        else {"sources.long_cwe.inputs": "made by step cwe", "sources.long_rex.inputs": "made by step rex"}
    )


def test_the_released_pool_is_one_setting():
    recipe = load_recipe("dolmino", ["variables.pool=hf://datasets/allenai/dolma3_dolmino_pool/data"])
    (pools,) = [step for step in build_steps(recipe) if step.name == "pools"]
    inputs = [path for source in pools.settings.sources for path in source.inputs]
    assert sum(path.startswith("hf://datasets/allenai/dolma3_dolmino_pool/data/") for path in inputs) == 21
    told = {source.name: source.get for source in recipe.sources}
    assert all(
        told[source.name] == source.inputs[0] for source in pools.settings.sources if source.inputs[0].startswith("hf:")
    )


@pytest.mark.parametrize("name", LARGE)
def test_every_step_has_a_size(name):
    recipe = load_recipe(name, REX if name == "longmino" else [])
    assert [size.step for size in recipe.sizes] == [step.name for step in build_steps(recipe)]
    without = describe_sizes(load_recipe(name, []))
    assert (
        without["core_hours"] == pytest.approx(sum(line["core_hours"] for line in without["lines"]))
        and without["core_hours"] > 100
    )
    assert without["core_hours"] <= describe_sizes(recipe)["core_hours"]


@pytest.mark.parametrize("name", SMALL)
def test_the_small_ones_have_the_shares_of_the_large_ones(name):
    plan = find_step(name, "plan", REX if name.startswith("long") else []).settings.plan
    if name == "dolmino-small":
        kinds = {"math": 19.2, "code": 20, "qa": 13.9, "instruction": 6.1, "pdf": 5.0, "web": 27.5}
        assert {key: source.share for key, source in plan.sources.items()} == {
            key: pytest.approx(share / sum(kinds.values()), abs=1e-6) for key, share in kinds.items()
        }
        return
    large, small = (
        find_step("longmino", "plan").settings.plan.sources,
        find_step("dolmino-small", "plan").settings.plan.sources,
    )
    assert {key: plan.sources[key] for key in ("pdf", "long_cwe", "long_rex")} == {
        key: large[key] for key in ("pdf", "long_cwe", "long_rex")
    }
    for key, source in small.items():
        assert plan.sources[f"mid_{key}"].share == pytest.approx(source.share * 33000 / 49950, abs=2e-7)


def made(**prices):
    source = {
        "name": "a", "dataset": "A", "get": "g", "licence": "l", "made": "m", "pool_tokens": 1, "mix_tokens": 1,
        "endpoint": [
            {"stage": "first", "model": "m1", "requests": 10, "prompt_tokens": 2_000_000, "answer_tokens": 7_200_000},
            {"stage": "second", "model": "m2", "requests": 5, "prompt_tokens": 0, "answer_tokens": 1},
        ],
    }  # fmt: skip
    steps = [{"kind": "ingest", "sources": [{"inputs": ["x"]}]}]
    return Recipe(recipe="r", seed=0, steps=steps, sources=[source], **({"prices": prices} if prices else {}))


def test_money_by_hand():
    recipe = made(per_million_prompt=0.5, per_million_completion=2.0)
    first, second = estimate_endpoints(recipe)
    assert first.cost == pytest.approx(2 * 0.5 + 7.2 * 2) and second.cost == pytest.approx(2e-6)
    total = describe_endpoints(recipe)
    assert (total["requests"], total["prompt_tokens"], total["answer_tokens"]) == (15, 2_000_000, 7_200_001)
    assert total["cost"] == pytest.approx(15.4, abs=1e-4)
    assert describe_endpoints(made(per_million_prompt=0, per_million_completion=0))["cost"] == 0


def test_the_dry_run_prints_machines_hours_disk_requests_and_money(tmp_path):
    def plan(*more):
        command = ["build", "mix", "--recipe", "dolmino", "--corpus", str(tmp_path / "c"), "--dry-run", *more]
        answer = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
        assert answer.exit_code == 0, answer.output
        return answer.output

    plain, dear = plan(), plan("--set", "prices.per_million_completion=3")
    asked, dearer = (
        describe_endpoints(load_recipe("dolmino", more)) for more in ([], ["prices.per_million_completion=3"])
    )
    assert (
        f"{asked['cost']:,.0f}" in plain and f"{dearer['cost']:,.0f}" in dear and f"{dearer['cost']:,.0f}" not in plain
    )
    assert (
        f"{asked['requests'] / 1e6:,.2f}" in plain
        and "CraneCode" not in plain
        and "Qwen2.5-Coder-32B-Instruct" in plain
    )
    assert "16 machines" in plain and "TB of disk" in plain and not (tmp_path / "c").exists()


def test_a_mix_of_which_no_model_makes_anything_has_no_such_table(capsys):
    endpoint_estimates.print_endpoints(describe_endpoints(load_recipe("dolma3-mix-6t", [])))
    assert capsys.readouterr().out == ""
