"""The step synth with recipe problem-variants: answers kept, the same bytes without a server and for any partitions, hostile programs counted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.errors import ConfigError
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe, build_step
from tests.chat_server import ChatServer, question_of

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
NUM_SEEDS = 6
LIMITS = {"wall_sec": 10.0, "cpu_sec": 1.0}


def answer_some(body) -> str:
    """Two good variants, an endless program and a wrong answer; dialogues that are right about all but the second variant."""
    question = question_of(body)
    if found := re.search(r"Write variant (\d) of the problem", question):
        number, seed = int(found[1]), int(re.search(r"Ada has (\d+) boxes", question)[1])
        program = "while 1 + 1: pass" if number == 3 else f"print({seed} * {number + 10})"
        answer = seed * (number + 10) + (number == 4)
        return f"Problem:\nBo has {seed} sacks of {number + 10} nuts. How many?\nProgram:\n```python\n{program}\n```\nAnswer: {answer}"
    first, second = re.findall(r'begins with "(\w+):" or "(\w+):"', question)[0]
    stated = int(re.search(r"Its answer is (\d+)\. Write", question)[1])
    said = stated + 1 if "12 nuts" in question else stated
    return f"{first}: Well?\n{second}: I multiply.\n{first}: And?\n{second}: Done.\nAnswer: {said}"


@pytest.fixture
def make(tmp_path, _spark_of_this_run):
    """make(output folder, endpoint, partitions) -> facts; the corpus is ingested once for each output."""
    lines = [
        {
            "id": f"seed{number}",
            "text": f"Ada has {number + 3} boxes of 4 pens. How many pens?",
            "metadata": {"program": f"print({number + 3} * 4)", "answer": 4 * number + 12},
        }
        for number in range(NUM_SEEDS)
    ]
    lines.append({"id": "no-seed", "text": "A story.", "metadata": {}})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run(output, endpoint, partitions=None):
        step = {
            "kind": "synth",
            "recipe": "problem-variants",
            "output": str(tmp_path / output),
            "endpoint": endpoint,
            "limits": LIMITS,
        }
        steps = [
            {
                "kind": "ingest",
                "sources": [{"name": "s", "inputs": [str(tmp_path / "in.jsonl")]}],
                "row_group_text_bytes": 100,
            },
            step,
        ]
        recipe = Recipe(recipe=f"run-{output}", seed=1, split_bytes=150, steps=steps)
        return build(
            recipe, str(tmp_path / f"corpus-{output}"), BuildOptions(show_progress=False, partitions=partitions)
        )[-1].manifest["facts"]

    return run


def read_documents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "documents").rglob("*.parquet"))
    }


@pytest.mark.timeout(240)
def test_what_is_refused_is_counted_and_answers_are_kept(make, tmp_path):
    with ChatServer(answer_some) as server:
        endpoint = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "max_tries": 1}
        facts = make("out", endpoint)
        assert len(server.bodies) == NUM_SEEDS * (4 + 2 * 2)
    assert (facts["read"], facts["seeds"], facts["left_out"]) == (NUM_SEEDS + 1, NUM_SEEDS, {"no_program": 1})
    assert facts["variants"] == {"program:cpu": NUM_SEEDS, "taken": 2 * NUM_SEEDS, "wrong_answer": NUM_SEEDS}
    assert facts["dialogues"] == {"taken": 2 * NUM_SEEDS, "wrong_answer": 2 * NUM_SEEDS}
    assert facts["made"] == facts["documents"] == 4 * NUM_SEEDS and facts["shards"] > 1
    first = read_documents(tmp_path / "out")
    rows = [
        row
        for path in sorted((tmp_path / "out" / "documents").rglob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert {row["source"] for row in rows} == {"s-variants"} and len({row["id"] for row in rows}) == 4 * NUM_SEEDS
    again = make("again", endpoint, 1)  # the server is gone
    assert {name: value for name, value in again.items() if name != "output_listing"} == {
        name: value for name, value in facts.items() if name != "output_listing"
    }  # fmt: skip
    assert read_documents(tmp_path / "again") == first


def test_settings_are_named_as_the_user_gave_them():
    step = {"kind": "synth", "recipe": "problem-variants", "output": "out"}
    with pytest.raises(ConfigError, match=r"steps\.synth\.endpoint.*dolma-py settings synth problem-variants"):
        build_step(0, step)
    with pytest.raises(ConfigError, match=r"steps\.synth\.limits\.wall_sec"):
        build_step(
            0,
            step
            | {
                "endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "cache": "c"},
                "limits": {"wall_sec": 0},
            },
        )
