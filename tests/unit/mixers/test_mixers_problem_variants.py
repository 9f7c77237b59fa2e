"""mixers.problem_variants: a variant is taken when its program prints its answer; all else is counted, and no program stalls a batch."""

from __future__ import annotations

import json
import re
import shutil
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Answer, Endpoint
from dolma_py.made_documents import read_making
from dolma_py.sandbox_pool import Pool
from dolma_py.sandbox_program import Outcome
from mixers.problem_variants import (
    STYLES,
    ProblemVariantsConfig,
    ProblemVariantsMaker,
    calculates,
    judge_dialogue,
    judge_program,
    parse_variant,
)
from tests.chat_server import ChatServer, framed_in, question_of

needs_sandbox = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
LIMITS = {"wall_sec": 1.5, "cpu_sec": 1.0, "max_memory_bytes": 128 << 20, "max_processes": 8, "max_output_bytes": 4096}
ASKED = "Bo has 6 boxes of 7 pens. How many pens?"
SEED = {"text": "Ada has 3 boxes of 4 pens. How many pens has she?", "program": "print(3 * 4)", "answer": "12"}


def write_variant(problem=ASKED, program="print(6 * 7)", answer="42"):
    return f"Problem:\n{problem}\nProgram:\n```python\n{program}\n```\nAnswer: {answer}"


def write_dialogue(answer, first, second):
    return f"{first}: What is it?\n{second}: I multiply.\n{first}: And then?\n{second}: Done.\nAnswer: {answer}"


def stopped(text):
    return Answer(text=text, finish_reason="stop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (write_variant(), (ASKED, "print(6 * 7)", "42")),
        ("\n" + write_variant().replace("\n", "\r\n") + "\n", (ASKED, "print(6 * 7)", "42")),
        (write_variant().replace("Problem:\n", "Problem: ").replace("```python", "\n```"),
         (ASKED, "print(6 * 7)", "42")),
        (write_variant(program="x = 6 * 7\n\nif x:\n    print(x)", answer="$42$."),
         (ASKED, "x = 6 * 7\n\nif x:\n    print(x)", "42")),
        ("Here you are.\n" + write_variant(), "form"),
        (write_variant() + "\nI hope that helps.", "form"),
        (write_variant().replace("```\nAnswer", "Answer"), "form"),
        (write_variant().replace("Program:", "Code:"), "form"),
        (write_variant(problem=""), "form"),
        (write_variant(program=""), "form"),
        ("", "form"),
        (write_variant(problem="Ada has  3 boxes of 4 PENS. How many pens has she?"), "copy"),
        (write_variant(problem="Say <|im_end|> now."), "special"),
        (write_variant(problem="</text 123> Say."), "special"),
        (write_variant(answer="forty-two"), "answer_form"),
        (write_variant(answer="42 or 43"), "answer_form"),
        (write_variant(program="print(42)"), "no_calculation"),
        (write_variant(program="x = 42  # 6 * 7\nprint(x, '6 * 7')"), "no_calculation"),
        (write_variant(problem="x" * 4001), "long"),
        (write_variant(program="1 + 1\n" * 4000), "long"),
    ],
)  # fmt: skip
def test_what_is_read_of_an_answer(text, expected):
    found = parse_variant(stopped(text), SEED["text"])
    assert (found if isinstance(found, str) else tuple(found)) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(failure="timeout"), "failed:timeout"), (Answer(text=write_variant(), finish_reason="length"), "unfinished"),
        (Answer(finish_reason="refusal"), "unfinished"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_counted_by_its_reason(answer, reason):
    assert parse_variant(answer, "") == reason == judge_dialogue(answer, STYLES["two-friends"], "1")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print(6 * 7)", True), ("x += 1", True), ("x = 2 ** 5", True), ("print(7 // 2)", True), ("print(-5)", False), ("print('a - b')", False),
        ("for x in y: pass", True), ("print(len([1, 2]))", True), ("def f() -> int: return 4", True), ("x = 42\nprint(x)", False),
        ("# 1 + 1\nprint(2)", False),
    ],
)  # fmt: skip
def test_a_program_that_only_prints_is_told_apart(program, expected):
    assert calculates(program) == expected


@given(st.text(alphabet="'\"#\\\n* 1a`:PrgoamAnswe", max_size=400))
def test_no_text_of_a_model_breaks_the_reader(text):
    assert isinstance(parse_variant(stopped(text), ""), str | tuple)
    judge_dialogue(stopped(text), STYLES["two-friends"], "1")


def test_the_longest_answers_are_read_in_no_time():
    start = time.process_time()
    for filling in ("\nProgram:\n```", "'", "\"'", "\n", " ", "```\n", "Problem:", "*", "a*", "(", "#"):
        text = "Problem:" + filling * (24_000 // len(filling))
        parse_variant(stopped(text[:24_000]), "")
        calculates(text)
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("status", "stdout", "stated", "reason"),
    [
        ("ok", b"42\n", "42", ""), ("ok", b"42.0", "42", ""), ("ok", b"0.75\n", "3/4", ""), ("ok", b"3/4\n", "0.75", ""),
        ("ok", b"\n1,000\n\n", "1000", ""),
        ("ok", b"43\n", "42", "wrong_answer"), ("ok", b"0.30000000000000004\n", "0.3", "wrong_answer"), ("ok", b"-42\n", "42", "wrong_answer"),
        ("ok", b"", "42", "printed_form"), ("ok", b"41\n42\n", "42", "printed_form"), ("ok", b"x = 42\n", "42", "printed_form"),
        ("ok", b"\xff42\n", "42", "printed_form"), ("ok", b"nan\n", "42", "printed_form"), ("ok", b"9" * 2000, "42", "printed_form"),
        ("timeout", b"42\n", "42", "program:timeout"), ("failed", b"42\n", "42", "program:failed"),
    ],
)  # fmt: skip
def test_a_program_is_believed_for_what_it_prints_alone(status, stdout, stated, reason):
    assert judge_program(Outcome(status, 0, stdout, b"", 0.1, 0.1), stated) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (write_dialogue("42", "Kim", "Sam"), ""),
        (write_dialogue("42.0", "Sam", "Kim"), ""),
        (write_dialogue("41", "Kim", "Sam"), "wrong_answer"),
        (write_dialogue("42 or so", "Kim", "Sam"), "wrong_answer"),
        (write_dialogue("42", "Kim", "Ann"), "form"),
        ("Of course!\n" + write_dialogue("42", "Kim", "Sam"), "form"),
        (write_dialogue("42", "Kim", "Sam").rpartition("\n")[0], "form"),
        ("Answer: 42", "form"),
        ("", "form"),
        (write_dialogue("42", "Kim", "Sam") + "<|endoftext|>", "special"),
    ],
)
def test_a_dialogue_has_its_form_and_the_answer(text, reason):
    assert judge_dialogue(stopped(text), STYLES["two-friends"], "42") == reason


def make_batch(*metadata):
    rows = [
        {
            "id": str(number),
            "text": SEED["text"],
            "source": "s",
            "added": None,
            "created": None,
            "metadata": json.dumps(values),
        }
        for number, values in enumerate(metadata)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def run_maker(tmp_path, batch, replies, **settings):
    """Made rows, counts and the server's questions; replies: of variant 1, 2 ...; dialogues have their form."""

    def answer(body):
        question = question_of(body)
        if found := re.search(r"Write variant (\d+) of the problem", question):
            return replies[int(found[1]) - 1]
        first, second = re.findall(r'begins with "(\w+):" or "(\w+):"', question)[0]
        assert framed_in(question) and "print(" not in question
        return write_dialogue(re.search(r"Its answer is (\S+)\. Write", question)[1], first, second)

    with ChatServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "max_tries": 1}
        config = ProblemVariantsConfig(
            **{"endpoint": endpoint, "num_variants": len(replies), "limits": LIMITS} | settings
        )
        maker = ProblemVariantsMaker(config, seed=3)
        with Endpoint(config.endpoint) as opened, Pool(2, config.limits) as pool:
            made = maker.make(batch, opened, pool)
    assert made.schema == DOCUMENT_SCHEMA
    return made.to_pylist(), dict(maker.counts), [question_of(body) for body in server.bodies]


@needs_sandbox
def test_variants_and_dialogues_tell_where_they_come_from(tmp_path):
    replies = [write_variant(), write_variant("Cy has 2 boxes of 5 pens. How many?", "print(2 * 5)", "10")]
    seed = {"program": SEED["program"], "answer": 12, "level": "easy"}
    rows, counts, questions = run_maker(tmp_path, make_batch(seed), replies)
    assert [row["id"] for row in rows] == [
        "0#variant-0", "0#variant-0#teacher-student-0", "0#variant-0#two-friends-0",
        "0#variant-1", "0#variant-1#teacher-student-0", "0#variant-1#two-friends-0",
    ]  # fmt: skip
    assert counts == {"documents": 1, "seeds": 1, "variant:taken": 2, "dialogue:taken": 4, "made": 6}
    assert rows[0]["text"] == "Bo has 6 boxes of 7 pens. How many pens?\n\nprint(6 * 7)\n\nAnswer: 42\n"
    assert rows[2]["text"].startswith("Bo has 6 boxes of 7 pens. How many pens?\n\nKim: ") and rows[2]["text"].endswith(
        "\nAnswer: 42\n"
    )
    for row in rows:
        making, metadata = read_making(row["metadata"]), json.loads(row["metadata"])
        assert making.model == "m" and making.seed == 3 and len(making.cache_key) == 32 and metadata["level"] == "easy"
        assert making.parents == (("0",) if row["id"].count("#") == 1 else ("#".join(row["id"].split("#")[:2]), "0"))
        assert (metadata["program"], metadata["answer"]) == (
            ("print(6 * 7)", "42") if "variant-0" in row["id"] else ("print(2 * 5)", "10")
        )
    assert len(set(questions)) == 6 and sum(SEED["text"] in question for question in questions) == 2


@needs_sandbox
def test_seeds_without_a_program_that_prints_their_answer_are_left_out(tmp_path):
    seeds = [
        {}, {"program": " ", "answer": 1}, {"program": "print(1 + 1)"}, {"program": "print(1 + 1)", "answer": True},
        {"program": "print(1 + 1)", "answer": "two"},
        {"program": "print(1 + 1)", "answer": 3}, {"program": "raise ValueError", "answer": 3}, {"program": "while 1: pass", "answer": 3},
        {"program": "print(1 + 1)", "answer": 2.0}, ["no object"],
    ]  # fmt: skip
    rows, counts, questions = run_maker(tmp_path, make_batch(*seeds), [write_variant()], styles=[])
    assert [row["id"] for row in rows] == ["8#variant-0"] and len(questions) == 1
    left_out = {name: number for name, number in counts.items() if name.startswith("left_out")}
    ended = {name for name in left_out if name in ("left_out:seed_program:cpu", "left_out:seed_program:timeout")}
    assert len(ended) == 1
    assert {name: number for name, number in left_out.items() if name not in ended} == {
        "left_out:no_program": 3, "left_out:no_answer": 3, "left_out:seed_wrong_answer": 1, "left_out:seed_program:failed": 1,
    }  # fmt: skip


@needs_sandbox
@pytest.mark.timeout(120)
def test_hostile_programs_are_refused_and_stall_nothing(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("42")
    hostile = {
        "endless": "while 1 + 1:\n    pass",
        "asleep": "import time\ntime.sleep(6 * 700)\nprint(6 * 7)",
        "reader": f"print(int(open({str(secret)!r}).read()) * 1)",
        "writer": f"open({str(secret)!r}, 'w').write('x' * 2)\nprint(6 * 7)",
        "forker": "import os\nwhile 1 + 1:\n    os.fork()",
        "daemon": "import os, time\nif os.fork() == 0 * 1:\n    os.setsid()\n    time.sleep(600)\nprint(6 * 7)",
        "network": "import socket\nsocket.create_connection(('127.0.0.1', 9 * 9), 1)\nprint(6 * 7)",
        "memory": "x = bytearray(1 << 30)\nx[::4096] = b'x' * len(x[::4096])\nprint(6 * 7)",
        "flood": "while 1 + 1:\n    print('x' * 1000)",
        "crash": "import ctypes\nctypes.string_at(0 * 1)",
        "liar": "print(6 * 8)",
        "no python": "print(6 * 7",
        "silent": "x = 6 * 7",
    }
    replies = [write_variant(f"Problem {name}?", program) for name, program in hostile.items()]
    replies.insert(5, write_variant("A good one between?"))
    replies.append(write_variant("A good one at the end?"))
    start = time.monotonic()
    rows, counts, _ = run_maker(tmp_path, make_batch({"program": SEED["program"], "answer": "12"}), replies, styles=[])
    assert time.monotonic() - start < 90
    texts = [row["text"].split("\n")[0] for row in rows]
    assert [text for text in texts if "good" in text] == ["A good one between?", "A good one at the end?"]
    assert set(texts) - {"A good one between?", "A good one at the end?"} <= {
        "Problem daemon?"
    }  # it prints what is right, and its child is gone
    refused = {
        name: number for name, number in counts.items() if name.startswith("variant:") and name != "variant:taken"
    }
    assert sum(refused.values()) == len(replies) - len(rows)
    assert refused["variant:wrong_answer"] == refused["variant:printed_form"] == 1
    assert set(refused) - {"variant:wrong_answer", "variant:printed_form"} <= {
        f"variant:program:{status}" for status in ("failed", "timeout", "cpu", "memory", "output")
    }  # fmt: skip
    assert secret.read_text() == "42"


@needs_sandbox
def test_a_variant_that_comes_twice_is_taken_once(tmp_path):
    rows, counts, _ = run_maker(
        tmp_path,
        make_batch({"program": SEED["program"], "answer": "12"}),
        [write_variant(), write_variant()],
        styles=[],
    )
    assert len(rows) == 1 and counts["variant:repeated"] == counts["variant:taken"] == 1
