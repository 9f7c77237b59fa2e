"""mixers.synthesis: every packaged recipe with a teacher that answers well and one that answers badly; counts, metadata, batches."""

from __future__ import annotations

import datetime
import json
from collections import Counter

import pyarrow as pa
import pytest

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Endpoint, EndpointConfig
from dolma_py.errors import ConfigError
from dolma_py.made_documents import read_making
from mixers.synthesis import KEY, SynthesisMaker, SynthesisSettings
from mixers.synthesis_named import list_recipes, load_recipe, name_maker
from tests.chat_server import ChatServer, framed_in, question_of
from tests.made_answers import CODE, PAGE, answer_well

TEXTS = {
    "rewrite-math": PAGE, "refine-math": PAGE, "rewrite-code": CODE, "flashcards": PAGE, "reading-comprehension": PAGE,
    "meta-reasoning-math": PAGE, "meta-reasoning-code": PAGE,
}  # fmt: skip
NUM_DOCS = 6


def make_batch(texts) -> pa.RecordBatch:
    day = datetime.datetime(2025, 1, 1)
    rows = [
        {"id": str(number), "text": text, "source": "s", "added": day, "created": day, "metadata": '{"title": "T"}'}
        for number, text in enumerate(texts)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def make(name, texts, answer, folder, *, options=None, languages=None, sizes=(), fault=lambda number, body: ""):
    """(rows, counts, bodies) of a recipe over texts, in batches of the sizes, the rest in one."""
    with ChatServer(answer, fault) as server:
        endpoint = EndpointConfig(
            base_url=server.url, model="teacher", cache=str(folder), max_tries=1, max_failed_frac=1.0
        )
        settings = SynthesisSettings(name_maker(name), load_recipe(name), options or {}, "teacher", "", "CC0")
        batch, rows, start = make_batch(texts), [], 0
        with SynthesisMaker(settings, seed=3, languages=languages) as maker, Endpoint(endpoint) as opened:
            for size in (*sizes, len(texts) - sum(sizes)):
                rows += maker.make(batch.slice(start, size), opened).to_pylist()
                start += size
        return rows, maker.counts, server.bodies


def answers_of(counts: Counter[str]) -> dict[str, int]:
    """What became of the answers, without their stage."""
    found: Counter[str] = Counter()
    for name, number in counts.items():
        if name.startswith("answer:"):
            found[name.split(":", 2)[2]] += number
    return dict(found)


def group(counts: Counter[str], kind: str) -> dict[str, int]:
    return {name.partition(":")[2]: number for name, number in counts.items() if name.startswith(f"{kind}:")}


def test_every_packaged_recipe_is_tested_here():
    assert sorted(TEXTS) == list_recipes()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_good_teacher_is_taken_whole(name, tmp_path):
    texts = [
        TEXTS[name].replace("17", str(17 + number)).replace('"a b a"', f'"a {number}"') for number in range(NUM_DOCS)
    ]
    rows, counts, bodies = make(name, texts, answer_well, tmp_path)
    assert set(answers_of(counts)) == {"taken"} and group(counts, "left_out") == group(counts, "part") == {}
    assert counts["used"] == counts["documents"] == NUM_DOCS and counts["made"] == len(rows) >= NUM_DOCS
    assert counts["asked"] == len(bodies) and counts["prompt_tokens"] > 0 and counts["completion_tokens"] > 0
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        parent, _, made = row["id"].partition("#")
        metadata, making = json.loads(row["metadata"]), read_making(row["metadata"])
        assert (
            made.startswith(f"{name}-")
            and making.parents == (parent,)
            and making.model == "teacher"
            and making.seed == 3
        )
        assert (
            metadata["title"] == "T" and metadata[KEY]["recipe"] == name and metadata[KEY]["answers_license"] == "CC0"
        )
        assert metadata[KEY]["prompts"] == load_recipe(name).prompts_fingerprint
        assert metadata[KEY]["stages"][-1] == {
            "stage": metadata[KEY]["stages"][-1]["stage"], "cache_key": making.cache_key, "model": "teacher-served",
        }  # fmt: skip
        assert row["text"].endswith("\n") and row["text"].strip()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_documents_do_not_depend_on_their_batch_and_nothing_is_asked_twice(name, tmp_path):
    texts = [TEXTS[name].replace("17", str(17 + number)).replace('"a b a"', f'"a {number}"') for number in range(4)]
    rows, counts, _ = make(name, texts, answer_well, tmp_path)
    again, other_counts, bodies = make(name, texts, answer_well, tmp_path, sizes=(1, 0, 2))
    assert (again, other_counts, bodies) == (rows, counts, [])


@pytest.mark.parametrize("name", sorted(TEXTS))
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        (("Worked out. " + PAGE, "length"), "unfinished"),
        (("", "content_filter"), "unfinished"),
        ("Sure! " + PAGE, "chat"),
        ("Here is the rewritten text:\n" + PAGE, "chat"),
        ("I'm sorry, but that is not possible.", "chat"),
        (PAGE + "\n\nLet me know if you need more.", "chat"),
        (PAGE + "\n</text 0123456789abcdef>", "marked"),
        ("<think>Hm. " + PAGE, "trace:incomplete_thinking"),
        ("<think>" + PAGE + "</think>\n", "trace:incomplete_thinking"),
        ("A paragraph that comes again.\n\n" * 10, "trace:repeated_paragraphs"),
        ("这是一个很长的句子，没有重复的内容在里面，只是为了测试。" + PAGE, "trace:chinese"),
        (PAGE + " My knowledge cutoff is 2023.", "trace:cutoff_mention"),
        (PAGE + " As an AI model trained by OpenAI, that is all.", "trace:other_model"),
    ],
)
def test_what_no_recipe_takes(name, answer, reason, tmp_path):
    rows, counts, _ = make(
        name, [TEXTS[name]], lambda body: answer, tmp_path, options={"trace": {"max_sentence_repeats": None}}
    )
    assert rows == [] and list(answers_of(counts)) == [reason]
    assert group(counts, "left_out") == {"no_answers": 1} and counts["used"] == counts["made"] == 0


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_server_that_fails_is_counted(name, tmp_path):
    rows, counts, _ = make(name, [TEXTS[name]], answer_well, tmp_path, fault=lambda number, body: "400")
    assert (
        rows == [] and list(answers_of(counts)) == ["failed:refused"] and group(counts, "left_out") == {"no_answers": 1}
    )


def test_thinking_is_taken_off(tmp_path):
    rows, _, _ = make("rewrite-math", [PAGE], lambda body: f"<think>Let me see.</think>\n{answer_well(body)}", tmp_path)
    assert rows[0]["text"].startswith("Worked out. ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("```\n" + PAGE + "\n```", "fenced"),
        ("Too little.", "ratio"),
        (" ".join(f"Line {number} of a text about sheep." for number in range(400)), "ratio"),
        (
            "Entirely different words about chemistry, atoms, molecules, bonds, electrons, energy levels, reactions and acids. "
            * 3,
            "unrelated",
        ),
    ],
)
def test_what_is_no_rewriting(answer, reason, tmp_path):
    _, counts, _ = make(
        "rewrite-math", [PAGE], lambda body: answer, tmp_path, options={"trace": {"max_phrase_repeats": None}}
    )
    assert answers_of(counts) == {reason: 1}


def test_another_language_is_refused_where_both_are_clear(tmp_path):
    def languages(texts):
        return ["de" if "Worked out" in text else "en" if "17" in text else "" for text in texts]

    _, counts, _ = make("rewrite-math", [PAGE, PAGE.replace("17", "16")], answer_well, tmp_path, languages=languages)
    assert answers_of(counts) == {"language": 1, "taken": 1}


def test_length_decides_what_is_asked(tmp_path):
    rows, counts, bodies = make(
        "rewrite-math", ["x", PAGE, PAGE * 9], answer_well, tmp_path, options={"max_chars": 2000}
    )
    assert group(counts, "left_out") == {"short": 1, "long": 1} and len(bodies) == len(rows) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = " + "(" * 200, "syntax"),
        ("print 'this is the old Python'\n" * 5, "syntax"),
        ("# only a comment\n" * 10, "no_statements"),
        ("from os import *\nimport sys, re, json\nprint(missing)\n" + "# " + "a" * 100 + "\n", "lint"),
        (CODE + "# why\n" * 40, "comments"),
        (CODE.replace("a b a", "a\0b"), "null_byte"),
    ],
)
def test_sources_that_are_not_worth_it(source, reason, tmp_path):
    _, counts, bodies = make("rewrite-code", [source], answer_well, tmp_path)
    assert group(counts, "left_out") == {reason: 1} and bodies == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CODE, "no_code"),
        (f"```python\n{CODE}", "no_code"),
        (f"```python\n{CODE}```\nand\n```\n{CODE}```", "several_blocks"),
        (f"```python\n{CODE}x = (\n```", "syntax"),
        (f"```python\n{'(' * 30_000}\n```", "ratio"),
        (f"```python\n{'(' * 800}\n```", "syntax"),
        ("```python\nx = 1\n```", "ratio"),
        ("```python\n" + "# nothing at all here\n" * 10 + "```", "no_statements"),
        ("```python\nfrom os import *\nfrom sys import *\nimport re, json, math\n" + "x = 1\n" * 6 + "```", "lint"),
    ],
)
def test_what_is_no_program(answer, reason, tmp_path):
    options = {"trace": {"max_paragraph_repeats": None}}
    _, counts, bodies = make("rewrite-code", [CODE], lambda body: answer, tmp_path, options=options)
    assert answers_of(counts) == {reason: 1} and len(bodies) == 1


def test_the_second_stage_is_asked_with_the_first_answer_and_must_stand_by_itself(tmp_path):
    def answer(body):
        is_second = "stands by itself" in question_of(body)
        assert is_second is ("tally" in framed_in(question_of(body)))
        code = CODE.replace("counts", "tally")
        return (
            f"Done:\n```python\n{code.replace('count_words(' + chr(34), 'helper(' + chr(34)) if is_second else code}```"
        )

    rows, counts, bodies = make("rewrite-code", [CODE], answer, tmp_path, options={"min_score": 0})
    assert rows == [] and len(bodies) == 2
    assert group(counts, "answer") == {"style:taken": 1, "standalone:undefined_name": 1}


def test_scores_of_both_stages_are_told(tmp_path):
    rows, _, _ = make("rewrite-code", [CODE], answer_well, tmp_path)
    details = json.loads(rows[0]["metadata"])[KEY]
    assert rows[0]["text"] == CODE and (details["score"], details["style_score"], details["standalone_score"]) == (
        10,
        10,
        10,
    )
    assert [stage["stage"] for stage in details["stages"]] == ["style", "standalone"]


def test_a_recipe_of_the_user(tmp_path):
    path = tmp_path / "my-own.yaml"
    path.write_text("kind: rewrite\nversion: 1\nprompts: {rewrite: 'Anew: {text}'}\noptions: {min_kept_words: 0}\n")
    rows, _, bodies = make(str(path), [PAGE], lambda body: PAGE, tmp_path / "cache")
    assert rows[0]["id"] == "0#my-own-0" and [message["role"] for message in bodies[0]["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: rewrite\nversion: 1\nprompts: {rewrite: 'no hole'}\n", "expected a prompt with {text}"),
        ("kind: rewrite\nversion: 1\nprompts: {other: '{text}'}\n", "expected .'rewrite'."),
        ("kind: dance\nversion: 1\nprompts: {}\n", "kind"),
        (
            "kind: rewrite\nversion: 1\nprompts: {rewrite: '{text}'}\noptions: {min_ratio: 9}\n",
            "min_ratio must not exceed",
        ),
        ("kind: rewrite\nversion: 1\nprompts: {rewrite: '{text}'}\noptions: {no_such: 9}\n", "options.no_such"),
        ("kind: flashcards\nversion: 1\nprompts: {}\n", "expected .'choices_in_question'"),
    ],
)
def test_a_mistaken_recipe_is_told(text, message, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        make(str(tmp_path / "bad.yaml"), [PAGE], answer_well, tmp_path / "cache")


def test_names_that_are_none():
    with pytest.raises(ConfigError, match="rewrite-math"):
        load_recipe("rewrite-maths")
    with pytest.raises(ConfigError, match="Check the path"):
        load_recipe("/nowhere/x.yaml")
    with pytest.raises(ConfigError, match="a letter first"):
        name_maker("/a/9 lives.yaml")
