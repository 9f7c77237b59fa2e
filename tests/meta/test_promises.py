"""Each promise of the design is kept by a test that exists. A missing test is found, as the plants show."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# promise -> the tests that would go red if it were broken
PROMISES = {
    "1 same input, config and seed give the same bytes": [
        "tests/jobs/test_build_recipe.py::test_bytes_do_not_depend_on_partitions",
        "tests/jobs/test_build_recipe.py::test_standalone_cluster_writes_the_same_bytes",
        "tests/jobs/test_build_recipe.py::test_steps_have_the_recorded_bytes",
        "tests/jobs/test_recorded_bytes.py::test_steps_have_the_recorded_bytes",
        "tests/unit/train_bridge/test_train_loss_curve.py::test_losses_are_those_recorded",
    ],
    "2 kill it anywhere, run it again": [
        "tests/jobs/test_build_kills.py::test_killed_and_repeated_gives_the_same_bytes",
        "tests/jobs/test_dedup_kills.py::test_driver_and_all_killed",
        "tests/jobs/test_dedup_kills.py::test_one_worker_killed",
        "tests/jobs/test_jvm_kill.py::test_a_killed_jvm_is_a_sentence_and_the_same_command_goes_on",
        "tests/unit/train_bridge/test_train_run.py::test_killed_by_force_it_finishes_with_the_same_weights",
        "tests/unit/dolma_py/test_dolma_py_storage.py::test_a_writer_that_fails_leaves_nothing",
        "tests/jobs/test_build_s3.py::test_a_corpus_in_a_bucket_has_the_bytes_of_a_local_one",
    ],
    "3 nothing is lost in silence": ["tests/jobs/test_build_recipe.py::test_rows_and_bytes_are_conserved"],
    "4 every run leaves a manifest, and a token leads back to its document": [
        "tests/jobs/test_build_recipe.py::test_a_token_leads_back_to_its_file_of_origin",
        "tests/unit/pipelines/test_pipelines_origins.py::test_a_page_leads_by_shard_and_row_to_its_record",
        "tests/unit/dolma_py/test_dolma_py_manifest.py::test_a_run_tells_where_it_ran",
    ],
    "5 untrusted input is untrusted": [
        "tests/jobs/test_hostile_input.py::test_hostile_input_is_refused_or_counted",
        "tests/jobs/test_hostile_input.py::test_hostile_yaml_is_refused",
        "tests/jobs/test_hostile_input.py::test_names_that_climb_out_are_refused",
        "tests/unit/dolma_py/test_dolma_py_sandbox_attacks.py::test_a_hostile_program_harms_nothing",
        "tests/unit/dolma_py/test_dolma_py_sandbox_attacks.py::test_every_other_hostile_program_harms_nothing",
        "tests/unit/dolma_py/test_dolma_py_sandbox.py::test_a_killed_parent_takes_everything_along",
        "tests/unit/dolma_py/test_dolma_py_sandbox.py::test_nothing_runs_where_no_sandbox_can_be_opened",
        "tests/unit/dolma_py/test_dolma_py_sandbox_pool.py::test_a_stuck_program_costs_its_limit_and_no_more",
        "tests/unit/dolma_py/test_dolma_py_formats_jsonl.py::test_bomb_is_bounded",
        "tests/unit/dolma_py/test_dolma_py_formats_jsonl.py::test_long_line_is_skipped_in_bounded_memory",
        "tests/unit/dolma_py/test_dolma_py_formats_warc.py::test_payload_bomb_is_too_long",
        "tests/unit/dolma_py/test_dolma_py_formats_plain_text.py::test_gzip_bomb_is_too_long",
        "tests/unit/train_bridge/test_train_checkpoint.py::test_metadata_that_is_none_is_refused",
        "tests/unit/dolma_py/test_dolma_py_report.py::test_hostile_names_are_escaped_everywhere",
        "tests/unit/dolma_py/test_dolma_py_report_in_browser.py::test_the_report_is_drawn_without_complaint",
    ],
    "6 interoperation is tested with the other side": [
        "tests/peers/test_peers_shards.py::test_shards_read_as_olmo_core_does",
        "tests/peers/test_peers_shards.py::test_a_shard_is_the_one_dolma_tokens_wrote",
        "tests/peers/test_peers_dolma.py::test_dolmas_mixer_and_our_view_agree",
        "tests/peers/test_peers_dolma.py::test_attributes_that_dolma_wrote_are_read",
        "tests/peers/test_peers_dolma.py::test_exported_attributes_are_those_that_came_in",
        "tests/peers/test_peers_datatrove.py::test_datatrove_reads_our_documents",
        "tests/peers/test_peers_datatrove.py::test_we_read_what_datatrove_wrote",
        "tests/peers/test_peers_datatrove.py::test_token_ids_are_datatroves",
        "tests/unit/train_bridge/test_train_conversion.py::test_logits_match_transformers",
    ],
    "7 memory is bounded by settings": [
        "tests/jobs/test_build_memory.py::test_four_times_the_text_needs_no_more_memory",
        "tests/jobs/test_build_recipe.py::test_dry_run_states_memory_disk_and_time",
    ],
}


def missing_tests(node_ids: list[str], root: Path) -> list[str]:
    """Those node ids whose file, or whose function in it, is not there."""
    missing = []
    for node_id in node_ids:
        name, _, function = node_id.partition("::")
        path = root / name
        if not path.is_file():
            missing.append(f"{node_id}: no such file")
        elif function.split("[")[0] not in _test_names(path.read_text()):
            missing.append(f"{node_id}: no such test in the file")
    return missing


def _test_names(source: str) -> set[str]:
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_promise_has_its_tests(promise):
    assert PROMISES[promise]
    assert missing_tests(PROMISES[promise], REPOSITORY) == []


def test_all_seven_promises_are_listed():
    assert [int(promise.split()[0]) for promise in PROMISES] == [1, 2, 3, 4, 5, 6, 7]


def test_a_planted_missing_test_is_found(tmp_path):
    (tmp_path / "test_a.py").write_text("def test_here():\n    pass\n# def test_gone(): pass\n")
    ids = ["test_a.py::test_here", "test_a.py::test_here[1]", "test_a.py::test_gone", "test_b.py::test_here"]
    assert missing_tests(ids, tmp_path) == [
        "test_a.py::test_gone: no such test in the file",
        "test_b.py::test_here: no such file",
    ]
