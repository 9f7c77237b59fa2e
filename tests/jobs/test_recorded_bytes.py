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
    "train_language_model": "logarithms, which end differently on another kind of processor",
    "synth_variants": "what a model answers",
}


def test_steps_have_the_recorded_bytes(_spark_of_this_run, tmp_path):
    """Other bytes mean that a corpus made before is finished by another program: see tests/golden/make_step_outputs.py."""
    found = make_step_outputs.describe_copies(tmp_path, BuildOptions(show_progress=False))
    assert found == {name: RECORD[name] for name in found}
    assert found.keys() | make_step_outputs.TINY.keys() == RECORD.keys()


def test_every_kind_of_step_is_recorded(tmp_path):
    from pipelines.recipe import build_step
    from tests.jobs.made_recipe import make_recipe

    steps = [*make_recipe(tmp_path)["steps"], *make_step_outputs.make_copies_recipe(tmp_path)["steps"]]
    outputs = (make_step_outputs.TINY | make_step_outputs.COPIES).values()
    names = {output.step for output in outputs if not output.version}
    recorded = {build_step(0, step).kind for step in steps if step["name"] in names}
    assert recorded | {"read_plain", "write_plain", "synth"} == set(KINDS) - set(UNRECORDED)


def change(name, **values):
    return RECORD | {name: RECORD[name] | {"xxh3_128": "0" * 32} | values}


def test_other_bytes_under_an_old_version_are_not_recorded():
    assert make_step_outputs.find_unannounced(RECORD, RECORD) == []
    assert make_step_outputs.find_unannounced(RECORD, change("exact")) == ["exact"]
    assert make_step_outputs.find_unannounced(RECORD, change("exact", version="99 exact-v1")) == []
    assert make_step_outputs.find_unannounced(RECORD, change("exact keys")) == ["exact keys"]


def test_what_follows_from_a_raised_version_needs_none_of_its_own():
    """Of the same corpus, and what comes after: the exact keys stand before exact."""
    other = RECORD["substring"] | {"xxh3_128": "1" * 32}
    assert (
        make_step_outputs.find_unannounced(RECORD, change("exact", version="99 exact-v1") | {"substring": other}) == []
    )
    found = change("exact", version="99 exact-v1") | {"exact keys": change("exact keys")["exact keys"]}
    assert make_step_outputs.find_unannounced(RECORD, found) == ["exact keys"]
    assert make_step_outputs.find_unannounced(
        RECORD, change("exact", version="99") | {"bloom": change("bloom")["bloom"]}
    ) == ["bloom"]


@pytest.mark.parametrize("number", ["0.30000000000000004", "0.3", "3.0000000000000000e-1"])
def test_the_last_digits_of_a_plan_are_not_recorded(tmp_path, number):
    (tmp_path / "plan.yaml").write_text(f"scale: {number}\nplanned: 27405\n")
    assert make_step_outputs.read_content(tmp_path / "plan.yaml") == b"scale: 0.3\nplanned: 27405\n"


def test_a_pattern_without_files_is_no_empty_record(tmp_path):
    with pytest.raises(AssertionError, match="no such file"):
        make_step_outputs.list_files(tmp_path, "tokens/*.npy")
