"""The step synth with recipes by name: the same corpus for any number of partitions, a teacher that answers badly, its cost before and after."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest

from dolma_py.errors import ConfigError
from mixers.synthesis_named import list_recipes, load_recipe
from pipelines.build_recipe import BuildOptions
from pipelines.commands import print_plan
from pipelines.job_main import plan_step_file, run_step_file
from pipelines.synth_tasks import name_languages
from tests.chat_server import ChatServer, question_of
from tests.jobs.made_synth import NUM_DOCS, NUM_GROUPS, NUM_SHARDS, make_values, write_pages
from tests.made_answers import PAGE, answer_well

NUM_SHORT = NUM_SHARDS * NUM_GROUPS


@pytest.fixture
def corpus(tmp_path):
    write_pages(tmp_path / "corpus")
    return tmp_path / "corpus"


def run(corpus, output, url, partitions=None, **more):
    options = BuildOptions(show_progress=False, partitions=partitions)
    return run_step_file("synth", make_values(corpus, output, url, **more), options)[-1].manifest["facts"]


def list_bytes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_rows(folder):
    return [
        row for path in sorted((folder / "documents").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_the_same_bytes_for_any_number_of_partitions_and_without_a_server(corpus, tmp_path, _spark_of_this_run):
    with ChatServer(answer_well) as server:
        url = server.url
        facts = run(corpus, tmp_path / "out", url, 1)
        assert len(server.bodies) == NUM_DOCS - NUM_SHORT
    assert (facts["read"], facts["used"], facts["made"]) == (NUM_DOCS, NUM_DOCS - NUM_SHORT, NUM_DOCS - NUM_SHORT)
    assert facts["left_out"] == {"short": NUM_SHORT} and facts["answers"] == {"rewrite:taken": facts["made"]}
    teacher = facts["teacher"]
    assert (teacher["model"], teacher["answers_license"], teacher["asked"]) == ("teacher", "CC0-1.0", facts["made"])
    assert teacher["prompts"] == load_recipe("rewrite-math").prompts_fingerprint
    assert teacher["cost"] == pytest.approx((2 * teacher["prompt_tokens"] + 8 * teacher["completion_tokens"]) / 1e6)
    first = list_bytes(tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert len(rows) == facts["made"] and {row["source"] for row in rows} == {"web-rewrite-math"}
    assert {row["id"].split("#")[1] for row in rows} == {"rewrite-math-0"}
    for partitions in (2, 7):
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(corpus / "runs")
        assert run(corpus, tmp_path / "out", url, partitions) == facts and list_bytes(tmp_path / "out") == first


def test_a_teacher_that_answers_badly_is_counted_and_makes_nothing(corpus, tmp_path, _spark_of_this_run):
    bad = ["", "Sure! " + PAGE, ("Cut " + PAGE, "length"), "Short.", "```\n" + PAGE + "\n```"]

    def answer(body):
        number = int(question_of(body).split("has ")[1].split("17 sheep")[0])  # of the page
        return answer_well(body) if number % 10 == 4 else bad[number % 5]

    with ChatServer(answer) as server:
        facts = run(corpus, tmp_path / "out", server.url)
    good = NUM_SHORT  # one page of each row group
    assert facts["made"] == facts["used"] == good
    assert facts["left_out"] == {"short": NUM_SHORT, "no_answers": NUM_DOCS - NUM_SHORT - good}
    assert facts["answers"] == {
        "rewrite:taken": good,
        "rewrite:chat": good,
        "rewrite:unfinished": good,
        "rewrite:ratio": good,
    }


def test_items_are_documents_of_their_own(corpus, tmp_path, _spark_of_this_run):
    with ChatServer(answer_well) as server:
        facts = run(
            corpus,
            tmp_path / "out",
            server.url,
            recipe="flashcards",
            options={"items_per_request": 3, "min_chars": 100},
        )
    rows = read_rows(tmp_path / "out")
    assert facts["made"] == len(rows) == 3 * facts["used"] == 3 * (NUM_DOCS - NUM_SHORT)
    assert {row["id"].split("#")[1] for row in rows} == {f"flashcards-{number}" for number in range(3)}
    assert all("\nAnswer: " in row["text"] for row in rows)


@pytest.mark.parametrize("recipe", list_recipes())
def test_what_it_would_cost_is_told_before_anything_is_asked(recipe, corpus, tmp_path, capsys, monkeypatch):
    """Pages are of one length, so that those of four row groups tell how many requests all of them make."""
    monkeypatch.setenv("COLUMNS", "400")
    with ChatServer(answer_well) as server:
        plan = plan_step_file(
            "synth", make_values(corpus, tmp_path / "out", server.url, recipe=recipe, options={"min_chars": 100})
        )
        assert server.bodies == [] and not (tmp_path / "out").exists()
    details = plan["steps"][0]["details"]
    if recipe == "rewrite-code":  # no page is a program
        assert details["teacher"].startswith("about 0 requests")
        return
    stages = 2 if recipe.startswith("meta-reasoning") else 1
    assert details["teacher"].startswith(f"about {(NUM_DOCS - NUM_SHORT) * stages} requests to teacher: about ")
    tokens = (NUM_DOCS - NUM_SHORT) * stages * load_recipe(recipe).options["max_tokens"]
    assert f"at most {tokens} tokens of answers, at most " in details["teacher"] and "to pay" in details["teacher"]
    print_plan(plan)
    assert "synth: teacher about" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recipe": "rewrite-maths"}, "step.recipe: .*rewrite-math"),
        ({"options": {"no_such": 1}}, "options.no_such"),
        ({"options": {"min_chars": 9, "max_chars": 8}}, "min_chars must not exceed max_chars"),
        ({"answers_license": " "}, "answers_license: expected the licence"),
        ({"endpoint": None}, "needs endpoint"),
        ({"recipe": "cwe", "options": {"a": 1}}, "options: expected none with recipe cwe"),
    ],
)
def test_settings_that_are_wrong(more, message, corpus, tmp_path):
    from pipelines.steps import SettingsPlace

    with pytest.raises(ConfigError, match=message):
        plan_step_file(
            "synth", make_values(corpus, tmp_path / "out", "http://127.0.0.1:9/v1", **more), "", SettingsPlace("step.")
        )


def test_languages_are_named_where_they_are_clear():
    german = "Ein Bauer hat siebzehn Schafe und kauft auf dem Markt noch fünfundzwanzig dazu. Wie viele Schafe hat der Bauer jetzt?"
    assert name_languages([PAGE, german, "17 + 25 = 42", ""]) == ["en", "de", "", ""]


def test_a_recipe_that_changed_is_other_work(corpus, tmp_path, _spark_of_this_run):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: rewrite\nversion: 1\nprompts: {rewrite: 'Anew: {text}'}\noptions: {min_kept_words: 0}\n")
    with ChatServer(answer_well) as server:
        run(corpus, tmp_path / "out", server.url, recipe=str(path))
        before = len(server.bodies)
        run(corpus, tmp_path / "out", server.url, recipe=str(path))
        assert len(server.bodies) == before
        path.write_text(path.read_text().replace("Anew", "Once more"))
        with pytest.raises(ConfigError, match="it holds another corpus"):
            run(corpus, tmp_path / "out", server.url, recipe=str(path))
    assert json.loads(read_rows(tmp_path / "out")[0]["metadata"])["synthesis"]["recipe"] == "mine"
