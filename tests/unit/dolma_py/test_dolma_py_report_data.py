"""The numbers of a report against those computed on paper, and what it leaves out because it does not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_py import report, report_data, views
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.report_data import Check, Counts, Funnel, Rule
from dolma_py.report_training import Point, thin_points
from tests.report_corpus import STEPS, collect, make_corpus, make_training_run


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


@pytest.fixture
def training_run(tmp_path: Path) -> Path:
    return make_training_run(tmp_path)


def test_funnel_numbers(corpus):
    funnel = collect(corpus).funnel
    assert funnel.entering == {"web": Counts(5, 137), "notes": Counts(3, 71)}
    assert funnel.kept == {"web": Counts(3, 89), "notes": Counts(1, 31)}
    assert [rule.name for rule in funnel.rules] == ["too_short", "near_copy", "repeated", "contaminated"]
    assert [rule.is_edit for rule in funnel.rules] == [False, False, True, False]
    lines = report.list_funnel(funnel)
    assert [tuple(line.dropped) for line in lines] == [(2, 6), (1, 30), (0, 14), (1, 38)]
    assert [tuple(line.leaving) for line in lines] == [(6, 202), (5, 172), (5, 158), (4, 120)]
    assert [line.out_frac for line in lines] == [202 / 208, 172 / 208, 158 / 208, 120 / 208]


def test_the_numbers_of_the_manifests_are_those_of_the_view(corpus):
    """The tables above are what the view says about the documents, so the examples below are about the same rows."""
    data = collect(corpus)
    failed = []
    for shard in corpus.read_listing().shards:
        sources = pa.array([shard.source] * shard.rows)
        groups = list(range(len(shard.row_groups)))
        failed += views.evaluate_view(data.view, corpus.root, shard, groups, sources).failed.tolist()
    assert failed == [0, -1, -1, 1, -1, 3, -1, 0]


def test_all_checks_hold(corpus, training_run):
    checks = collect(corpus, training_run).checks
    assert len(checks) == 6
    assert [check.failures for check in checks] == [()] * 6


ZERO, ONE, TWO = Counts(0, 0), Counts(1, 10), Counts(2, 30)
GOOD_RULE = Rule("r", "", False, {"web": TWO}, {"web": ONE}, {"web": Counts(1, 20)}, ())


def test_conservation_holds():
    funnel = Funnel({"web": TWO}, (GOOD_RULE,), {"web": Counts(1, 20)}, ())
    assert report_data.check_conservation(funnel).failures == ()


@pytest.mark.parametrize(
    ("entering", "rule", "kept"),
    [
        (Counts(3, 30), GOOD_RULE, Counts(1, 20)),
        (TWO, GOOD_RULE._replace(dropped={"web": ZERO}), Counts(1, 20)),
        (TWO, GOOD_RULE._replace(dropped={"web": Counts(1, 11)}), Counts(1, 20)),
        (TWO, GOOD_RULE._replace(leaving={"web": Counts(1, 20), "new": ONE}), Counts(1, 20)),
        (TWO, GOOD_RULE, Counts(1, 19)),
    ],
    ids=["between rules", "documents", "bytes", "a source from nowhere", "the end"],
)
def test_lost_documents_are_named(entering, rule, kept):
    failures = report_data.check_conservation(Funnel({"web": entering}, (rule,), {"web": kept}, ())).failures
    assert len(failures) >= 1


def test_a_run_over_other_shards_is_shown(corpus, training_run):
    (training_run / "config.json").write_text('{"tokenizer_fingerprint": "other"}')
    checks = collect(corpus, training_run).checks
    assert checks[-1] == Check(checks[-1].text, ("other and tok: the run is over other shards",))


def test_rates_by_bucket(corpus):
    rates = collect(corpus).mix.rates
    assert [tuple(rate) for rate in rates] == [("web", (12 / 18, 4.0, None), 20), ("notes", (0.0, 10 / 6, None), 10)]


def test_a_broken_line_in_the_log_is_named(corpus, training_run):
    log = training_run / "metrics.jsonl"
    log.write_text("{half\n" + log.read_text())
    with pytest.raises(DataError) as error:
        collect(corpus, training_run)
    assert error.value.row == 1


def test_rules_of_another_threshold_are_not_mixed(corpus):
    """The view of the first rule changed: what was counted over the old one is not shown behind it."""
    path = Path(corpus.path("views/made-tag.yaml"))
    path.write_text(path.read_text().replace("num_words >= 3", "num_words >= 2"))
    made_path = Path(corpus.path("runs/made/02-tag/manifest.json"))
    made = json.loads(made_path.read_text()) | {"view_fingerprint": corpus.load_view("made-tag").fingerprint}
    made_path.write_text(json.dumps(made))
    assert [step.name for step in collect(corpus).steps] == STEPS[:3]


def test_a_step_without_a_view_leaves_the_one_before_it(corpus):
    """As a classifier that is trained from files of its own, between steps that read the documents."""
    expected = collect(corpus)
    path = Path(corpus.path("runs/made/06-plan/manifest.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"view": None, "view_fingerprint": None}))
    found = collect(corpus)
    assert [step.name for step in found.steps] == STEPS
    assert (found.funnel, found.view, found.notes) == (expected.funnel, expected.view, expected.notes)


def test_the_recipe_must_be_clear(corpus):
    shutil.copytree(corpus.path("runs/made"), corpus.path("runs/more"))
    with pytest.raises(ConfigError) as error:
        report_data.collect(corpus, recipe=None, run=None)
    assert (error.value.key, error.value.rule) == ("--recipe", "expected one of ['made', 'more']")
    assert report_data.collect(corpus, recipe="more", run=None).recipe == "more"
    with pytest.raises(ConfigError) as error:
        report_data.collect(corpus, recipe="less", run=None)
    assert error.value.got == "less"


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        report_data.collect(Corpus(str(tmp_path)), recipe=None, run=None)
    assert error.value.got == str(tmp_path)


def test_points_are_means_of_stretches():
    points = [Point(float(i), 10.0 * i, 1.0, 2.0) for i in range(7)]
    assert thin_points(points, 7) == tuple(points)
    assert thin_points(points, 3) == (Point(1, 10, 1, 2), Point(4, 40, 1, 2), Point(6, 60, 1, 2))
    assert thin_points([], 3) == ()


def test_a_run_that_still_writes_its_log(corpus, training_run, tmp_path):
    (training_run / "manifest.json").unlink()
    log = training_run / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "lo')
    training = collect(corpus, training_run).training
    assert (training.steps, training.last_loss, training.is_finished) == (3, 4.0, False)


def test_what_an_earlier_build_left_is_not_counted(corpus, tmp_path):
    """A changed recipe leaves folders of its earlier form: one under the same number, and all that stands behind a gap."""
    runs = Path(corpus.path("runs/made"))
    shutil.copytree(runs / "03-minhash", runs / "03-anders")
    other = json.loads((runs / "03-anders/manifest.json").read_text()) | {
        "view_fingerprint": "0" * 32,
        "step": "anders",
    }
    (runs / "03-anders/manifest.json").write_text(json.dumps(other))
    assert [step.name for step in collect(corpus).steps] == STEPS
    (runs / "04-substring/manifest.json").unlink()
    data = collect(corpus)
    assert [step.name for step in data.steps] == STEPS[:4]
    assert data.funnel.kept == {"web": Counts(3, 103), "notes": Counts(2, 69)}
    assert "04-substring, 05-decontaminate, 06-plan, 07-sample, 08-shards" in data.notes[0]
