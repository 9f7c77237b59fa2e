"""A MinHash step's dry run reads a sample of the view and says what the step will cost."""

import pytest

from dedup.minhash_presets import get_preset
from dolma_py.views import Step, View
from pipelines import costs, minhash_plan
from pipelines.commands import format_detail, print_plan
from pipelines.components_spark import EDGE_DISK_BYTES
from pipelines.job_main import plan_step_file
from tests.tiny_corpus import write_corpus

TEXT = "a text of more than five words that stands in every row group, number {}"


@pytest.fixture
def corpus(tmp_path):
    groups = [[{"text": TEXT.format(group * 3 + row)} for row in range(3)] for group in range(6)]
    return write_corpus(str(tmp_path / "corpus"), [groups[:4], groups[4:]])


def test_the_plan_of_the_job_has_details_and_prints_them(corpus, capsys):
    plan = plan_step_file("dedup_minhash", {"corpus": corpus.root, "step": {"preset": "fineweb"}})
    details = plan["steps"][0]["details"]
    assert details["bands x rows"] == "14 x 8"
    assert details["sampled_docs"] == minhash_plan.MAX_GROUPS * 3
    assert details["documents with keys"] == 18
    assert details["band_file_bytes"] == 18 * (14 * 8 + 8)
    print_plan(plan)
    shown = capsys.readouterr().out
    assert "0.50: 0.0533" in shown and "1.00: 1.0" in shown and "shuffle" in shown
    assert "about" in shown.rpartition("memory for tasks,")[2].partition("MB for the driver")[0]
    assert "MB for the driver and" in shown and "MB for its JVM. Nothing was done." in shown.replace("\n", " ")


def test_row_groups_are_chosen_the_same_way_each_time_and_by_hash(corpus):
    chosen = [list(minhash_plan.choose_groups(corpus.read_listing())) for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert len({(split.shard, split.first_group) for split in chosen[0]}) == minhash_plan.MAX_GROUPS
    assert [(split.shard, split.first_group) for split in chosen[0]] != [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_each_group_gives_a_bounded_part(corpus, monkeypatch):
    monkeypatch.setattr(minhash_plan, "GROUP_BYTES", len(TEXT) + 5)  # room for one text
    stats, size = minhash_plan.sample_view(get_preset("olmo3-web"), corpus, corpus.load_view(None))
    assert stats.num_docs == minhash_plan.MAX_GROUPS
    assert size.num_docs == 18


def test_a_view_that_keeps_half_is_half_the_work(corpus):
    rule = Step(name="short", attributes=None, keep=None, min_text_bytes=len(TEXT.format(10)))
    listing = corpus.read_listing()
    view = View(name="half", listing=listing.fingerprint, shards=2, steps=(rule,))
    _, size = minhash_plan.sample_view(get_preset("olmo3-web"), corpus, view)
    # numbers of two digits are a byte longer: 8 of 18 documents; the sample of 4 groups says about that
    assert 0 < size.num_docs < 18


def test_other_steps_and_empty_corpora_have_no_details(corpus, tmp_path):
    from dolma_py.corpus import Corpus
    from pipelines.recipe import Recipe, build_steps

    steps = build_steps(Recipe(recipe="r", flow="job", seed=0, steps=[{"kind": "dedup_minhash", "name": "m"}]))
    assert costs.sample_step(steps[0], Corpus(str(tmp_path / "none")), None, 0) == costs.NO_ESTIMATE
    assert plan_step_file("dedup_exact", {"corpus": corpus.root})["steps"][0]["details"] == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("band_file_bytes", 2_500_000, "band file 2.5 MB"),
        ("signatures_sec", 3.25, "signatures 3.2 s"),
        ("signatures_mb_per_core_sec", 150.0, "signatures 150.0 MB/s and core"),
        ("sampled_docs", 12000, "sampled 12,000 documents"),
        ("shingles", 1234567, "shingles 1,234,567"),
        ("curve", {"0.5": 0.1}, "curve 0.5: 0.1"),
        ("bands x rows", "26 x 11", "bands x rows 26 x 11"),
    ],
)
def test_details_are_shown_with_their_unit(name, value, expected):
    assert format_detail(name, value) == expected


def plan_line(corpus, **step):
    return plan_step_file("dedup_minhash", {"corpus": corpus.root, "step": step})["steps"][0]


def test_lines_and_details_of_one_plan_agree(corpus):
    line = plan_line(corpus, preset="fineweb")
    details = line["details"]
    assert line["driver_memory_bytes"] - costs.DRIVER_BYTES == details["edges on the driver, high_bytes"] > 0
    assert details["edges on the driver, high_bytes"] == 150 * details["candidate edges, high"]
    assert details["edges on the driver, as the settings allow_bytes"] == 150 * 14 * 18
    names = ("band_file", "shuffle", "edges on disk, high", "sets of candidates, high", "decisions, high", "attributes")
    assert line["disk_bytes"] == sum(details[f"{name}_bytes"] for name in names)
    bounded = plan_line(corpus, preset="fineweb", max_edges=2)
    assert bounded["driver_memory_bytes"] - costs.DRIVER_BYTES == 300
    left = plan_line(corpus, preset="fineweb", components="spark")
    assert left["driver_memory_bytes"] == costs.DRIVER_BYTES and left["details"]["edges on the driver, high_bytes"] == 0
    rounds = EDGE_DISK_BYTES * details["candidate edges, high"]
    assert left["details"]["components by Spark, high_bytes"] == left["disk_bytes"] - line["disk_bytes"] == rounds


def test_long_ids_are_counted(tmp_path):
    """Every document here is a candidate: its id is written five times, else once."""
    disk = {}
    for length in (10, 1000):
        rows = [
            {"text": f"one and the same text of a few words {row % 2}", "id": f"{row}".zfill(length)}
            for row in range(8)
        ]
        line = plan_line(write_corpus(str(tmp_path / str(length)), [[rows]]))
        disk[length] = line["disk_bytes"]
    assert disk[1000] - disk[10] == (4 + 1) * 8 * 990


def test_the_time_follows_from_the_speed_of_the_sample(corpus, monkeypatch):
    """A tokenizer of 1 MB/s, say, is told in the plan."""
    measured = minhash_plan.sample_view

    def slow(settings, *args):
        stats, size = measured(settings, *args)
        return stats._replace(thread_sec=stats.text_bytes / 1e6), size._replace(text_bytes=40_000_000, cores=2)

    monkeypatch.setattr(minhash_plan, "sample_view", slow)
    seconds = plan_line(corpus)["seconds"]
    assert seconds == pytest.approx(costs.COSTS["dedup_minhash"].fixed_sec + 40 / 2 + 40 / 2 / 20)


def test_documents_that_are_yet_to_come_are_like_those_that_are_there(corpus):
    text_bytes = corpus.read_listing().text_bytes
    _, size = minhash_plan.sample_view(get_preset("fineweb"), corpus, corpus.load_view(None), 3 * text_bytes)
    assert (size.num_docs, size.text_bytes) == (54, pytest.approx(3 * text_bytes, rel=0.02))
