"""Preference pairs against a server on this machine that plays every model: delta, judged, multi-turn, length control, bad answers, cost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dolma_py.errors import ConfigError, DataError, EndpointError
from mixers.pair_contexts import draw_kind
from mixers.pair_prompts import Prompt
from mixers.preference_pairs import estimate_pairs, fingerprint, has_open_thinking, run_pairs
from tests.chat_server import ChatServer, framed_in, question_of
from tests.pair_settings import (
    ASPECTS,
    URL,
    delta,
    endpoint_of,
    judged,
    message,
    responder,
    rows_of,
    user,
    write_prompts,
)


def speak(body):
    return f"{body['model']} says {question_of(body)}"


def test_a_delta_pair(tmp_path):
    prompts = write_prompts(tmp_path, "one", "two")
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(speak) as server:
        config = delta(server.url, tmp_path, prompts)
        summary, is_new = run_pairs(config, output=output, seed=0)
        assert is_new and summary["counts"] == {"wanted": 2, "rows": 2}
        assert summary["asked"] == {"failed:big": 0, "failed:small": 0, "requests:big": 2, "requests:small": 2}
        assert run_pairs(config, output=output, seed=0) == (summary, False)
        before = Path(output).read_bytes()
        run_pairs(config, output=output, seed=0, replace=True)
        assert Path(output).read_bytes() == before and len(server.bodies) == 4
    assert rows_of(output)[1] == {
        "id": "p1#pair-delta", "source": "chat", "kind": "delta", "chosen_model": "big", "rejected_model": "small",
        "chosen": [message("user", "two"), message("assistant", "big says two")],
        "rejected": [message("user", "two"), message("assistant", "small says two")],
    }  # fmt: skip


def test_chosen_answers_are_filtered_and_rejected_ones_are_not(tmp_path):
    """Reasons of each prompt, by what the two models do."""
    said = {
        ("big", "open"): "<think>so", ("big", "empty"): " ", ("small", "weak empty"): "", ("big", "same"): "x", ("small", "same"): "x",
        ("small", "weak open"): "<think>so", ("big", "thought"): "<think>so</think> yes",
    }  # fmt: skip

    def answer(body):
        return said.get((body["model"], question_of(body)), speak(body))

    def fault(number, body):
        return "400" if question_of(body) == f"dead {body['model']}" else ""

    texts = ["open", "empty", "weak empty", "same", "weak open", "thought", "dead big", "dead small"]
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(answer, fault) as server:
        run_pairs(delta(server.url, tmp_path, write_prompts(tmp_path, *texts)), output=output, seed=0)
    assert [row["id"] for row in rows_of(output)] == ["p4#pair-delta", "p5#pair-delta"]
    assert {row["id"]: row["problem"] for row in rows_of(output + ".rejected.jsonl")} == {
        "p0": "chosen:incomplete_thinking", "p1": "chosen:empty", "p2": "rejected:empty", "p3": "identical", "p6": "chosen:failed_refused",
        "p7": "rejected:failed_refused",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", False), ("<think>", True), ("<think></think>", False), ("</think><think>", True), ("</think>", False)],
)
def test_thinking_that_does_not_end(text, expected):
    assert has_open_thinking(text) is expected


def test_answers_of_a_file(tmp_path):
    answers = tmp_path / "weak.jsonl"
    answers.write_text('{"id": "p0", "text": "from a checkpoint"}\n')
    prompts = write_prompts(tmp_path, "one", "two")
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(speak) as server:
        config = delta(server.url, tmp_path, prompts, weak={"name": "step100", "answers": str(answers)})
        run_pairs(config, output=output, seed=0)
        assert {body["model"] for body in server.bodies} == {"big"}
    [row] = rows_of(output)
    assert (row["rejected"][-1]["content"], row["rejected_model"]) == ("from a checkpoint", "step100")
    assert rows_of(output + ".rejected.jsonl")[0]["problem"] == "rejected:failed_not_in_file"
    before = fingerprint(config, 0)
    answers.write_text('{"id": "p0", "text": "another"}\n')
    assert fingerprint(config, 0) != before


# judged pairs


SCORES = {"a": 3, "b": 5, "tiny": 2, "c": 1}


def play(body):
    """Each model says who it is; the judge knows whom it likes."""
    if body["model"] != "judge":
        return f"I am {body['model']}, you said {question_of(body)}"
    name = re.match(r"I am (\w+)", framed_in(question_of(body)))[1]
    return json.dumps(dict.fromkeys(ASPECTS, SCORES[name]))


def test_the_worst_is_rejected_even_where_it_is_not_the_weak_one(tmp_path):
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(play) as server:
        summary, _ = run_pairs(judged(server.url, tmp_path, write_prompts(tmp_path, "x", "y")), output=output, seed=0)
    first = rows_of(output)[0]
    assert (first["chosen_model"], first["rejected_model"], first["chosen_score"], first["rejected_score"]) == (
        "b",
        "c",
        5,
        1,
    )
    assert first["pool"] == ["a", "b", "tiny", "c"]
    assert summary["asked"]["requests:judge"] == 8


def test_bad_judgements_are_asked_again_and_then_leave_the_pool(tmp_path):
    """The judge never scores c, scores b at the second asking only, and nobody weak is left at the second prompt."""

    def answer(body):
        if body["model"] == "judge":
            framed = framed_in(question_of(body))
            times = sum(question_of(other) == question_of(body) for other in server.bodies)
            if (
                "I am c," in framed
                or ("I am b," in framed and times == 1)
                or ("I am tiny" in framed and "said y" in framed)
            ):
                return "Five of five."
        return play(body)

    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(answer) as server:
        run_pairs(judged(server.url, tmp_path, write_prompts(tmp_path, "x", "y")), output=output, seed=0)
    [row] = rows_of(output)
    assert (row["id"], row["chosen_model"], row["rejected_model"]) == ("p0#pair-judged", "b", "tiny")
    assert [(one["id"], one["problem"]) for one in rows_of(output + ".rejected.jsonl")] == [("p1", "no_weak_answer")]


# multi-turn pairs


def multi(url, tmp_path, prompts, **more):
    values = {"kind": "multi_turn", "teacher": {"endpoint": endpoint_of(url, tmp_path, "teacher")}}
    return delta(url, tmp_path, prompts, **values | more)


def teach(body):
    if body["model"] != "teacher":
        return f"{body['model']} says {question_of(body)}"
    framed = framed_in(question_of(body))
    return json.dumps({"message": f"more on {framed}"})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("repeat", ["x", "big says x", "x"]),
        ("paraphrase", ["more on x", "big says more on x", "x"]),
        ("related_query", ["more on x", "big says more on x", "x"]),
        ("self_talk", ["x", "big says x", "more on user: x\n\nassistant: big says x"]),
    ],
)
def test_turns_before_the_last_one(tmp_path, kind, expected):
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(teach) as server:
        run_pairs(multi(server.url, tmp_path, write_prompts(tmp_path, "x"), contexts=[kind]), output=output, seed=0)
    [row] = rows_of(output)
    assert row["context"] == kind and row["id"] == "p0#pair-multi_turn"
    assert [one["content"] for one in row["chosen"]] == [*expected, f"big says {expected[-1]}"]
    assert row["chosen"][:-1] == row["rejected"][:-1]
    assert row["rejected"][-1]["content"] == f"small says {expected[-1]}"


def test_bad_turns_of_the_teacher(tmp_path):
    """What the teacher says to each prompt, always; a good one, one that is good at the second asking, and a prompt of several turns."""
    said = {
        "words": "Sure!", "number": '{"message": 3}', "blank": '{"message": " "}', "same": '{"message": " same "}',
        "keys": '{"message": "a", "b": 1}',
    }  # fmt: skip

    def answer(body):
        if body["model"] == "teacher":
            times = sum(
                other["model"] == "teacher" and question_of(other) == question_of(body) for other in server.bodies
            )
            framed = framed_in(question_of(body))
            return "Hm." if framed == "slow" and times == 1 else said.get(framed) or teach(body)
        return " " if question_of(body) == "more on dumb" else teach(body)

    path = tmp_path / "prompts.jsonl"
    rows = [{"id": text, "prompt": text} for text in [*said, "dumb", "slow", "good"]]
    rows.append({"id": "long", "messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(answer) as server:
        run_pairs(multi(server.url, tmp_path, str(path), contexts=["paraphrase"]), output=output, seed=0)
    assert [row["id"].partition("#")[0] for row in rows_of(output)] == ["slow", "good"]
    assert {row["id"]: row["problem"] for row in rows_of(output + ".rejected.jsonl")} == {
        "words": "teacher:not_json", "number": "teacher:not_a_string", "blank": "teacher:empty_message", "same": "teacher:unchanged",
        "keys": "teacher:unknown_key", "dumb": "context:empty", "long": "not_single_turn",
    }  # fmt: skip


def test_kinds_of_turns_are_as_frequent_and_do_not_depend_on_other_prompts():
    kinds = ["self_talk", "related_query", "paraphrase", "repeat"]
    drawn = [draw_kind(Prompt(f"p{number}", "", ()), kinds, 0) for number in range(400)]
    assert all(70 < drawn.count(kind) < 130 for kind in kinds)
    assert drawn[7] == draw_kind(Prompt("p7", "other", ()), kinds, 0)


# length control


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Words are its tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "<|endoftext|>": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # cuts the end token, so that no text is encoded into it
    made.add_special_tokens(["<|endoftext|>"])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return str(path)


def test_lengths_are_controlled(tmp_path, tokenizer):
    """Chosen answers have the prompt's number of words more than rejected ones."""

    def answer(body):
        return "word " * (5 + (int(question_of(body)) if body["model"] == "big" else 0))

    prompts = [
        write_prompts(tmp_path, "99", "100", "101", "600"),
        write_prompts(tmp_path, "600", name="more.jsonl", source="math"),
    ]
    (tmp_path / "more.jsonl").write_text((tmp_path / "more.jsonl").read_text().replace("p0", "m0"))
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(answer) as server:
        config = delta(
            server.url, tmp_path, prompts[0], length={"tokenizer": tokenizer, "sources": ["chat"]}
        ).model_copy(update={"prompts": prompts})
        summary, _ = run_pairs(config, output=output, seed=0)
    assert [(row["id"], row["chosen_tokens"] - row["rejected_tokens"]) for row in rows_of(output)] == [
        ("p0#pair-delta", 99), ("p1#pair-delta", 100), ("m0#pair-delta", 600),
    ]  # fmt: skip
    assert summary["counts"]["dropped:too_different"] == 2
    assert summary["length_difference_tokens"] == {"median": 101, "p80": 600, "max": 600}


# cost, stops, settings


def test_cost_comes_first_and_nothing_is_asked(tmp_path):
    texts = [f"question {number}" for number in range(40)]
    with ChatServer(teach) as server:
        prompts = write_prompts(tmp_path, *texts)
        price = {"price_per_million_prompt": 1.0, "price_per_million_completion": 2.0}
        config = multi(server.url, tmp_path, prompts)
        for who in ("strong", "weak", "teacher"):
            part = getattr(config, who)
            config = config.model_copy(
                update={
                    who: part.model_copy(
                        update={"max_answer_tokens": 50, "endpoint": part.endpoint.model_copy(update=price)}
                    )
                }
            )
        found = estimate_pairs(config, seed=0)
        assert server.bodies == []
        run_pairs(config, output=str(tmp_path / "pairs.jsonl"), seed=0)
        asked = {
            name: sum(body["model"] == model for body in server.bodies)
            for name, model in (("big", "big"), ("small", "small"), ("teacher", "teacher"))
        }
    assert (
        {who: one.requests for who, one in found.items()}
        == asked
        == {"big": 80, "small": 40, "teacher": asked["teacher"]}
    )
    assert found["big"].max_completion_tokens == 80 * 50 and found["big"].cached == 0
    # the later requests hold answers of 50 tokens, which are 200 bytes
    assert found["small"].prompt_tokens > 40 * 50
    assert all(one.max_cost > 0 for one in found.values())


def test_a_dead_endpoint_is_told_soon(tmp_path):
    with pytest.raises(EndpointError, match="no request was ever answered"):
        run_pairs(delta(URL, tmp_path, write_prompts(tmp_path, "x")), output=str(tmp_path / "o.jsonl"), seed=0)


def test_too_few_pairs_write_nothing(tmp_path):
    with (
        ChatServer(lambda body: "same") as server,
        pytest.raises(DataError, match=r"2 of 2 came to nothing \(identical 2\)"),
    ):
        run_pairs(
            delta(server.url, tmp_path, write_prompts(tmp_path, "x", "y")), output=str(tmp_path / "o.jsonl"), seed=0
        )
    assert not (tmp_path / "o.jsonl").exists()


def test_other_settings_do_not_overwrite(tmp_path):
    output = str(tmp_path / "o.jsonl")
    with ChatServer(speak) as server:
        config = delta(server.url, tmp_path, write_prompts(tmp_path, "x"))
        run_pairs(config, output=output, seed=0)
        with pytest.raises(ConfigError, match="other rows stand there"):
            run_pairs(config, output=output, seed=1)
        # where the server is and how hard it is asked changes nothing
        moved = config.strong.endpoint.model_copy(update={"base_url": URL, "concurrency": 3})
        same = config.model_copy(update={"strong": config.strong.model_copy(update={"endpoint": moved})})
        assert run_pairs(same, output=output, seed=0)[1] is False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weak": None}, "expected strong and weak"),
        ({"kind": "judged", "strong": None, "weak": None}, "expected judge, and a pool"),
        ({"kind": "multi_turn"}, "expected teacher"),
        ({"judge": {"endpoint": {"base_url": URL, "model": "m", "cache": "c"}}}, "judge: not used by kind delta"),
        ({"strong": {"name": "big"}}, "expected either endpoint or answers"),
        ({"strong": {"name": "judge", "answers": "x"}}, "expected names that differ"),
        ({"weak": {"name": "big", "answers": "x"}}, "expected names that differ"),
        (
            {"kind": "multi_turn", "contexts": ["repeat"], "weak": {"name": "w", "answers": "x"}},
            "expected strong and weak with endpoints",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        delta(URL, tmp_path, "x", **change)


def test_a_pool_without_a_weak_model_is_refused(tmp_path):
    pool = [responder(URL, tmp_path, name) for name in "ab"]
    with pytest.raises(ConfigError, match="expected one with is_weak"):
        judged(URL, tmp_path, "x", pool=pool, pool_size=2)
    with pytest.raises(ConfigError, match="pool_size: expected at most 4"):
        judged(URL, tmp_path, "x", pool_size=5)
