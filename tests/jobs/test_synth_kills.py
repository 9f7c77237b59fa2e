"""Kill -9 of the step synth while a model answers, the same command again: the corpus of one that nobody disturbed, and no answer is asked for twice
but those that were under way. About 20 s a kill."""

from __future__ import annotations

import shutil
import sys

import pytest
import yaml

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from tests.chat_server import ChatServer
from tests.jobs import killed_commands
from tests.jobs.made_synth import NUM_DOCS, NUM_GROUPS, NUM_SHARDS, make_values, write_pages
from tests.jobs.test_synth_recipes import list_bytes
from tests.made_answers import answer_well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
NUM_ASKED = 2 * (NUM_DOCS - NUM_SHARDS * NUM_GROUPS)  # two stages of each page that is long enough
CONCURRENCY = 2


def values_of(folder, url, name):
    values = make_values(
        folder / "corpus", folder / "out", url, recipe="meta-reasoning-math", options={"min_chars": 100}
    )
    values["name"] = name
    values["step"]["endpoint"] |= {"concurrency": CONCURRENCY, "cache": str(folder / "answers")}
    return values


def run(folder, url, name="synth"):
    options = BuildOptions(partitions=3, show_progress=False)
    return run_step_file("synth", values_of(folder, url, name), options)[-1].manifest["facts"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run):
    """(folder with a corpus, the files that are made of it, their facts)"""
    folder = tmp_path_factory.mktemp("synth kills")
    write_pages(folder / "whole" / "corpus")
    with ChatServer(answer_well) as server:
        facts = run(folder / "whole", server.url)
    assert len(server.bodies) == NUM_ASKED
    return folder, list_bytes(folder / "whole" / "out"), facts


@pytest.mark.parametrize("num_answers", [1, NUM_ASKED // 2, 3 * NUM_ASKED // 4])
def test_a_killed_synthesis_and_the_same_command_again(undisturbed, num_answers):
    whole, expected, facts = undisturbed
    for number in range(MAX_TRIES):
        folder = whole / f"{num_answers}-{number}"
        folder.mkdir()
        write_pages(folder / "corpus")
        with ChatServer(answer_well, seconds=0.05) as server:
            path = folder / "job.yaml"
            path.write_text(yaml.safe_dump(values_of(folder, server.url, "synth")))
            command = killed_commands.start(
                [sys.executable, "-m", "pipelines.synth_documents", "--config", str(path), "--partitions", "3"],
                folder / "log",
            )
            reached = killed_commands.reach(command, lambda server=server: len(server.bodies) >= num_answers)
            if not (killed_commands.kill_all(command) and reached) or len(server.bodies) == NUM_ASKED:
                if number < MAX_TRIES - 1:  # the last one's log is shown
                    shutil.rmtree(folder)
                continue
            assert not (folder / "out" / "listing.jsonl").exists()
            server.seconds = 0.0
            assert run(folder, server.url) == facts
            assert list_bytes(folder / "out") == expected
            under_way = CONCURRENCY * 3 * 2  # of three tasks, and those that each had sent but not kept
            assert NUM_ASKED <= len(server.bodies) <= NUM_ASKED + under_way
            return
    raise AssertionError(f"none of {MAX_TRIES} kills fell into the answers: {command.words()}")
