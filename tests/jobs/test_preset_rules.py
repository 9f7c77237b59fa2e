"""Rules of presets in a run: the funnel has their own names, and another threshold asks no tagger again."""

import random

from pipelines.build_recipe import BuildOptions
from pipelines.done_steps import RECOUNT
from pipelines.job_main import plan_step_file, run_step_file
from taggers.preset_rules import list_preset_rules
from tests.jobs.made_recipe import make_text
from tests.tiny_corpus import write_corpus

TEXTS = [make_text(random.Random(number), 30) for number in range(4)] + ["The end of it.", "there and with " * 60]


def make_values(root, *rules):
    step = {"taggers": [{"tagger": "gopher-dclm"}], "rules": list(rules)}
    return {"corpus": str(root), "name": "gopher", "step": step}


def count_dropped(made):
    lines = made["funnel"]["steps"]
    return {line["name"]: line["sources"].get("web", {}).get("dropped_documents", 0) for line in lines}


def test_a_changed_threshold_of_a_preset_counts_the_view_again(tmp_path):
    write_corpus(str(tmp_path), [[[{"text": text} for text in TEXTS]]])
    options = BuildOptions(show_progress=False)
    (first,) = run_step_file("tag", make_values(tmp_path, {"preset": "gopher-dclm"}), options)
    dropped = count_dropped(first.manifest)
    assert list(dropped) == [rule.name for rule in list_preset_rules("gopher-dclm")]
    assert dropped["min_words"] == 1 and dropped["top_2gram"] + dropped["dup_5gram"] + dropped["top_3gram"] == 1
    attributes = {path: path.stat().st_mtime_ns for path in tmp_path.glob("attributes/gopher-dclm-v1/**/*.parquet")}
    assert attributes

    own = make_values(tmp_path, {"preset": "gopher-dclm"}, {"name": "min_words", "keep": "num_words >= 2"})
    planned = plan_step_file("tag", own)["steps"][0]
    assert planned["standing"] == RECOUNT
    assert planned["details"]["rules"]["min_words"] == "num_words >= 2"
    (second,) = run_step_file("tag", own, options)
    assert not second.skipped and count_dropped(second.manifest)["min_words"] == 0
    assert {path: path.stat().st_mtime_ns for path in attributes} == attributes
    (third,) = run_step_file(
        "tag", make_values(tmp_path, {"preset": "gopher-dclm", "keep": {"min_words": "num_words >= 2"}}), options
    )
    assert third.skipped, "the same rules by another way"
