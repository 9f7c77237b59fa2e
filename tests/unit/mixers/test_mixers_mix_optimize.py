"""The search as a whole, on made proxies of a known law; its runs are reused, tried again, and survive a kill; one real proxy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dolma_py.config import build_config, load_yaml
from dolma_py.errors import ConfigError, DataError
from mixers import training_runs
from mixers.mix_optimize import OptimizeConfig, limits_of, optimize, run_optimize
from mixers.mix_optimize_text import render_plan_settings, round_shares
from mixers.mix_proxies import ProxyRuns
from mixers.training_runs import describe_sources, join_items, read_source
from tests.conftest import REPOSITORY
from tests.made_proxies import LAWS, bits_per_byte
from tests.made_shards import write_byte_tokenizer, write_shards
from tests.reference import mix_optimum as reference

FAKE = (sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "made_proxies.py"))
NAMES = ("web", "code", "math")


@pytest.fixture
def config_file(tmp_path):
    """Three sources with 8,000, 1,500 and 500 tokens, a budget of 10,000, runs of 200 instances of 10 tokens."""
    for name, tokens in zip(NAMES, (8000, 1500, 500), strict=True):
        write_shards(tmp_path / name, file_tokens=(tokens,), heldout={name: ["a"] for name in NAMES})
    sources = "".join(f"  {name}: {{shards: {tmp_path}/{name}, max_repetition: 4}}\n" for name in NAMES)
    tasks = f"  web: {{heldout: web}}\n  code: {{heldout: code, shards: {tmp_path}/web}}\n  math: {{heldout: math}}\n"
    path = tmp_path / "optimize.yaml"
    path.write_text(
        f"sources:\n{sources}tasks:\n{tasks}budget: 10000\nruns: 9\nheldout_runs: 3\nmax_docs: null\n"
        "proxy: {config: quickstart/pretrain, steps: 100, batch_instances: 2, sequence_tokens: 10}\n"
    )
    return path


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(training_runs, "COMMAND", FAKE)
    monkeypatch.delenv("MADE_PROXIES_SLEEP", raising=False)
    monkeypatch.delenv("MADE_PROXIES_FAIL", raising=False)
    return monkeypatch


def search(config_file, tmp_path, *overrides, output="out"):
    optimize(config=str(config_file), output=str(tmp_path / output), overrides=list(overrides), dry_run=False)
    return json.loads((tmp_path / output / "report.json").read_text())


def count_trainings(tmp_path, output="out"):
    return {path.parent.name: path.read_text() for path in (tmp_path / output / "runs").glob("*/trace.txt")}


def test_the_known_optimum_is_found_and_written(config_file, tmp_path, made):
    report = search(config_file, tmp_path)
    laws = [(floor, [coefficients[name] for name in NAMES]) for floor, coefficients in LAWS.values()]
    best, _ = reference.find_optimum(laws, [1, 1, 1], [0, 0, 0], [1, 0.6, 0.2], 50)
    shares = report["chosen"]["shares"]
    true = np.mean([bits_per_byte(task, shares) for task in LAWS])
    assert true <= best + 1e-3 and shares["math"] <= 0.2 + 1e-9 and sum(shares.values()) == pytest.approx(1)
    assert report["chosen"]["measured_mean"] == pytest.approx(true, abs=1e-9)
    assert report["chosen"]["predicted_mean"] == pytest.approx(true, abs=1e-3)
    assert report["natural"]["measured_mean"] > true
    assert report["mean"]["heldout_runs"]["rmse"] < 1e-3 and report["mean"]["heldout_runs"]["rank_correlation"] > 0.99
    assert {row["name"]: row["binds"] for row in report["sources"]}["math"] == "cap"
    assert [run["fitted"] for run in report["runs"]] == [True] * 9 + [False] * 3
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| math | 500 | 0.0500 | 0.2000 | 4.00 | 4 | cap |" in text and "chosen, measured" in text
    plan = load_yaml(tmp_path / "out" / "weights.yaml")["plan"]
    assert plan["token_budget"] == 10000 and plan["sources"]["math"] == {"share": 0.2, "max_repetition": 4.0}


def test_the_same_command_does_nothing_again_and_more_runs_do_only_more(config_file, tmp_path, made):
    first = search(config_file, tmp_path)
    before = count_trainings(tmp_path)
    assert len(before) == 14 and set(before.values()) == {"begin\nend\n"}
    written = (tmp_path / "out" / "report.json").read_bytes()
    search(config_file, tmp_path)
    assert count_trainings(tmp_path) == before and (tmp_path / "out" / "report.json").read_bytes() == written
    search(config_file, tmp_path, "heldout_runs=5", "tasks.web.weight=2", "proxy.workers=2")
    # two mixes more, and another optimum
    assert len(count_trainings(tmp_path)) == 17
    search(config_file, tmp_path, "proxy.steps=120", "heldout_runs=0", "measure_chosen=false")
    assert len(count_trainings(tmp_path)) == 17 + 9
    assert first["version"] == 1


def test_workers_change_no_byte(config_file, tmp_path, made):
    search(config_file, tmp_path)
    search(config_file, tmp_path, "proxy.workers=3", output="other")
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("out", "other"))
    assert first["config"]["proxy"].pop("workers") == 1 and second["config"]["proxy"].pop("workers") == 3
    assert first == second


def test_a_run_that_fails_is_tried_again(config_file, tmp_path, made):
    made.setenv("MADE_PROXIES_FAIL", "2")
    few = ["runs=5", "heldout_runs=0", "measure_chosen=false"]
    with pytest.raises(
        DataError, match="of 5 runs failed, the first: dolma-py train ended with status 2, error: made to fail"
    ):
        search(config_file, tmp_path, *few, "proxy.retries=1")
    # the first run failed twice and none had worked, so the others were not begun
    assert list(count_trainings(tmp_path).values()) == ["begin\nbegin\n"]
    search(config_file, tmp_path, *few, "proxy.retries=2", output="other")
    assert set(count_trainings(tmp_path, "other").values()) == {"begin\nbegin\nbegin\nend\n"}


def test_items_are_a_task_of_their_own(config_file, tmp_path, made):
    for name, answers in (("a", (1, 2)), ("b", (7,))):
        lines = [json.dumps({"id": str(i), "question": "q", "answer": str(a)}) + "\n" for i, a in enumerate(answers)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    report = search(
        config_file, tmp_path, f"tasks.a.items={tmp_path}/a.jsonl", f"tasks.b.items={tmp_path}/b.jsonl", "tasks.a.weight=0"
    )  # fmt: skip
    assert {(run["values"]["a"], run["values"]["b"]) for run in report["runs"]} == {(1.5, 7.0)}
    assert report["tasks"]["a"]["weight"] == 0 and report["tasks"]["b"]["weight"] == 0.25
    assert report["tasks"]["b"]["fit"]["rank_correlation"] is None


def test_a_frozen_mix_is_searched_as_one(config_file, tmp_path, made):
    report = search(config_file, tmp_path, "frozen={old: {weights: {web: 3, math: 1}}}", "runs=8")
    shares = report["chosen"]["shares"]
    assert shares["web"] == pytest.approx(3 * shares["math"]) and report["sources"][0]["frozen_in"] == "old"
    assert all(run["shares"]["web"] == pytest.approx(3 * run["shares"]["math"]) for run in report["runs"])


def test_trees_in_place_of_laws(config_file, tmp_path, made):
    pytest.importorskip("lightgbm")
    report = search(config_file, tmp_path, "regression=boosted_trees")
    assert report["gap"] is None and report["tasks"]["web"]["floor"] is None
    assert report["chosen"]["shares"]["math"] <= 0.2 + 1e-9 and report["mean"]["leave_one_out"]["rmse"] > 0
    assert "is not known" in (tmp_path / "out" / "report.md").read_text()


def test_weights_go_when_they_are_not_kept(config_file, tmp_path, made):
    few = ["runs=5", "heldout_runs=0", "measure_chosen=false"]
    search(config_file, tmp_path, *few)
    assert len(list((tmp_path / "out" / "runs").glob("*/train/checkpoints"))) == 5
    search(config_file, tmp_path, *few, "proxy.keep_weights=false", output="other")
    assert not list((tmp_path / "other" / "runs").glob("*/train/checkpoints"))


_DRIVER = """
import sys
from mixers import training_runs
training_runs.COMMAND = (sys.executable, sys.argv[1])
from mixers.mix_optimize import optimize
optimize(config=sys.argv[2], output=sys.argv[3], overrides=sys.argv[4:], dry_run=False)
"""


def test_killed_by_force_it_goes_on_and_no_run_is_trained_twice_at_once(config_file, tmp_path, made):
    few = ["runs=5", "heldout_runs=1", "measure_chosen=false", "proxy.workers=2"]
    words = [sys.executable, "-c", _DRIVER, FAKE[-1], str(config_file), str(tmp_path / "out"), *few]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MADE_PROXIES_SLEEP": "2"}
    process = subprocess.Popen(words, env=environment, cwd=tmp_path)
    while not any("begin" in text for text in count_trainings(tmp_path).values()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    search(config_file, tmp_path, *few)
    search(config_file, tmp_path, *few, output="other")
    whole, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("out", "other"))
    assert whole == other
    for text in count_trainings(tmp_path).values():
        # a training that outlived its command ended before the next began
        assert text.replace("begin\nend\n", "") == ""


def test_a_dry_run_shows_the_mixes_and_does_nothing(config_file, tmp_path):
    text = run_optimize(config=str(config_file), output=str(tmp_path / "out"), overrides=[], dry_run=True)
    lines = text.splitlines()
    assert lines[0].startswith("14 runs of 2000 tokens (9 fitted, 3 held out, 2 ") and lines[0].endswith(
        "2 evaluations each"
    )
    assert "math: 0.0500, 0.2000" in lines and len(lines) == 18 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.web.shards=nowhere", "sources.web.shards: expected a folder of token shards"),
        ("proxy.sequence_tokens=600", "sources.math.shards: expected a file of at least one instance of 600"),
        ("tasks.web.heldout=wiki", "tasks.web.heldout: expected one of"),
        ("tasks.web={heldout: none, shards: SHARDS}", "tasks.web.heldout: expected held-out documents of"),
        ("tasks.web={items: nowhere.jsonl}", "tasks.web.items: expected a file"),
        ("tasks.web={items: a, heldout: web}", "tasks.web.heldout: expected either"),
        ("proxy.overrides=[run.steps=3]", "proxy.overrides: expected no setting"),
        ("proxy.steps=3", "proxy.steps: a share of .* is less than one"),
        ("runs=4", "at least 5 mixes for 3 sources"),
        ("budget=100000", "Lower it by 60000"),
        ("no_such=1", "no_such"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(config_file, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_optimize(
            config=str(config_file), output=str(tmp_path / "out"), overrides=[override.replace("SHARDS", f"{tmp_path}/web")],
            dry_run=True,
        )  # fmt: skip


def test_output_is_a_local_folder(config_file):
    with pytest.raises(ConfigError, match="OUTPUT"):
        run_optimize(config=str(config_file), output="s3://bucket/out", overrides=[], dry_run=True)


@pytest.mark.parametrize(
    ("text", "message"), [("", "holds no item"), ("[]\n", "with id"), ('{"id": 1}\n{"id": "1"}\n', ":2: ")]
)
def test_items_that_cannot_be_told_apart_are_refused(tmp_path, text, message):
    (tmp_path / "items.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        join_items({"task": str(tmp_path / "items.jsonl")})


def test_shares_are_written_so_that_a_plan_takes_them():
    assert sum(round_shares([0.1] * 10)) <= 1 + 1e-9 and round_shares([0.25, 0.75]) == [0.25, 0.75]
    rows = [
        {"name": "a: b", "share": 1 / 3, "max_repetition": 4.0},
        {"name": "c", "share": 2 / 3, "max_repetition": 1.5},
    ]
    import pyarrow as pa

    from dolma_py.config import parse_yaml
    from mixers.percentiles import CELL_SCHEMA
    from mixers.plan import PlanConfig, make_plan

    plan = build_config(PlanConfig, parse_yaml(render_plan_settings(rows, 900), "weights")["plan"])
    columns = [["a: b", "c"], ["", ""], [0, 0], [10, 10], [1000, 1000], [1000, 1000]]
    cells = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, CELL_SCHEMA, strict=True)], schema=CELL_SCHEMA
    )
    made = make_plan(cells, plan, {})
    assert dict(zip(made.cells["source"].to_pylist(), made.cells["planned_tokens"].to_pylist(), strict=True)) == {
        "a: b": 300,
        "c": 600,
    }


def test_a_mixture_is_read_whole_and_in_its_shares(config_file):
    """The trainer's own division of what describe_sources asks for: no source off its share by an instance."""
    from train_bridge.mixed_sources import SourceConfig, share_instances

    settings = build_config(OptimizeConfig, load_yaml(config_file))
    sources = {name: read_source("x", source.shards, 10) for name, source in settings.sources.items()}
    assert limits_of(settings, sources).names == NAMES
    for shares in ({"web": 0.5, "code": 0.3, "math": 0.2}, {"web": 0.01, "math": 0.99}, {"code": 1.0}):
        described = describe_sources(shares, sources, 200)
        asked = {name: SourceConfig(**values) for name, values in described.items()}
        usable = {name: int(sources[name].instances * source.max_source_fraction) for name, source in asked.items()}
        counts = share_instances(usable, asked)
        total = sum(counts.values())
        assert 200 <= total <= 200 + 2 / max(shares.values()) + 3
        assert all(abs(counts[name] - total * share) < 1 for name, share in shares.items())


def test_a_real_proxy_is_trained_on_its_mix(tmp_path):
    for number, name in enumerate(("a", "b")):
        write_shards(
            tmp_path / name, file_tokens=(900 + 300 * number,), vocab_size=257, heldout={name: ["some text", "more"]}
        )
        write_byte_tokenizer(tmp_path / name)
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(
        "model: {d_model: 16, mlp_hidden: 32, num_layers: 1, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 4}\n"
        "data: {sequence_tokens: 2, batch_instances: 1, micro_batch_instances: 1, seed: 5}\n"
        "schedule: {kind: cosine, peak_lr: 1e-2, warmup_steps: 2}\n"
        "run: {steps: 1, device: cpu, num_threads: 1, log_every_steps: 1}\n"
    )
    settings = build_config(
        OptimizeConfig,
        {
            "sources": {name: {"shards": str(tmp_path / name)} for name in ("a", "b")},
            "tasks": {"b": {"heldout": "b"}}, "budget": 100, "runs": 4,
            "proxy": {"config": str(tiny), "steps": 10, "batch_instances": 4, "sequence_tokens": 16, "retries": 0},
        },
    )  # fmt: skip
    described = {name: read_source("x", str(tmp_path / name), 16) for name in ("a", "b")}
    runs = ProxyRuns(settings, described, str(tmp_path / "runs"))
    values = runs.measure([{"a": 0.25, "b": 0.75}])
    folder = runs.folder_of({"b": 0.75, "a": 0.25})
    assert 0 < values[0, 0] < 20 and json.loads(Path(folder, "mix.json").read_text()) == {
        "shares": {"a": 0.25, "b": 0.75}
    }
    manifest = json.loads((folder / "train" / "manifest.json").read_text())
    assert manifest["results"]["tokens"] == 10 * 4 * 16
    sources = manifest["config"]["data"]["sources"]
    assert {name: source["target_ratio"] for name, source in sources.items()} == {"a": 0.25, "b": 0.75}
    # 40 instances, one epoch: the mixture is read whole
    assert 40 <= manifest["instances"]["instances"] < 44
    # weights that are not kept cost new runs when other tasks are asked, of the same values
    proxy = settings.proxy.model_copy(update={"keep_weights": False})
    for max_docs in (1, 2):
        again = settings.model_copy(update={"proxy": proxy, "max_docs": max_docs})
        other = ProxyRuns(again, described, str(tmp_path / "runs")).measure([{"a": 0.25, "b": 0.75}])
        assert not (folder / "train" / "checkpoints").exists() and (folder / "train" / "metrics.json").exists()
    assert other[0, 0] == values[0, 0]
