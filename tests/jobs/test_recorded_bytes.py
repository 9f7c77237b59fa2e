"""The recorded bytes of the steps that test_build_recipe.py's corpus cannot hold still, and what guards the record."""

from __future__ import annotations

import json

import pytest

from pipelines.build_recipe import BuildOptions
from pipelines.recipe import KINDS
from tests.golden import make_step_outputs

RECORD = json.loads(make_step_outputs.RECORD.read_text())
# kinds whose bytes are not the program's alone
UNRECORDED = {
    "installed_text": "what an installation holds",
    "train_classifier": "float sums of the library's compiler",
    "read_plain": "the same step as ingest, see tests/jobs/test_plain_files.py",
    "write_plain": "the user's own files with columns beside them",
}


def test_steps_have_the_recorded_bytes(_spark_of_this_run, tmp_path):
    """Other bytes mean that a corpus made before is finished by another program: see tests/golden/make_step_outputs.py."""
    corpus = make_step_outputs.build_copies(tmp_path, BuildOptions(show_progress=False))
    outputs = make_step_outputs.COPIES
    assert make_step_outputs.describe_steps(corpus, "copies", outputs) == {step: RECORD[step] for step in outputs}


def test_every_kind_of_step_is_recorded(tmp_path):
    from tests.jobs.made_recipe import make_recipe

    steps = [*make_recipe(tmp_path)["steps"], *make_step_outputs.make_copies_recipe(tmp_path)["steps"]]
    recorded = {step["kind"] for step in steps if step["name"] in RECORD}
    assert recorded == set(KINDS) - set(UNRECORDED)
    assert set(RECORD) == set(make_step_outputs.TINY) | set(make_step_outputs.COPIES)


def test_other_bytes_under_an_old_version_are_not_recorded():
    changed = RECORD | {"exact": RECORD["exact"] | {"xxh3_128": "0" * 32}}
    assert make_step_outputs.find_unannounced(RECORD, RECORD) == []
    assert make_step_outputs.find_unannounced(RECORD, changed) == ["exact"]
    raised = RECORD | {"exact": {"version": RECORD["exact"]["version"] + 1, "files": 3, "xxh3_128": "0" * 32}}
    assert make_step_outputs.find_unannounced(RECORD, raised) == []


@pytest.mark.parametrize("number", ["0.30000000000000004", "0.3", "3.0000000000000000e-1"])
def test_the_last_digits_of_a_plan_are_not_recorded(tmp_path, number):
    (tmp_path / "plan.yaml").write_text(f"scale: {number}\nplanned: 27405\n")
    assert make_step_outputs.read_content(tmp_path / "plan.yaml") == b"scale: 0.3\nplanned: 27405\n"


def test_a_pattern_without_files_is_no_empty_record(tmp_path):
    with pytest.raises(AssertionError, match="no such file"):
        make_step_outputs.list_files(tmp_path, "tokens/*.npy")
