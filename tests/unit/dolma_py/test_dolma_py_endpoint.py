"""The endpoint client against a server on this machine: faults, order, concurrency, keys, cost."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from dolma_py.endpoint import Endpoint, EndpointConfig, Image, Message, Request
from dolma_py.endpoint_budget import NANO
from dolma_py.endpoint_messages import make_key, parse_body, render_body
from dolma_py.errors import ConfigError, EndpointError
from tests.chat_server import ChatServer, images_of, question_of


def ask_of(text: str, **more) -> Request:
    return Request((Message("user", text),), max_tokens=8, **more)


@pytest.fixture
def settings(tmp_path):
    def make(server: ChatServer, **more) -> EndpointConfig:
        values = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "first_wait_seconds": 0.01}
        return EndpointConfig(**(values | {"timeout_seconds": 10.0, "max_tries": 3} | more))

    return make


def fault_first(fault: str, times: int = 1):
    return lambda number, body: fault if number < times else ""


def test_answers_come_in_the_order_of_requests(settings):
    def slow_first(body):
        time.sleep(0.2 if question_of(body) == "0" else 0)
        return "said " + question_of(body)

    with ChatServer(slow_first) as server, Endpoint(settings(server, concurrency=4)) as endpoint:
        answers = list(endpoint.ask(ask_of(str(number)) for number in range(20)))
    assert [answer.text for answer in answers] == [f"said {number}" for number in range(20)]
    assert {answer.failure for answer in answers} == {""}
    assert server.most_at_once <= 4


def test_no_more_are_asked_at_a_time_than_set(settings):
    with ChatServer(seconds=0.2) as server, Endpoint(settings(server, concurrency=5)) as endpoint:
        assert len(list(endpoint.ask(ask_of(str(number)) for number in range(20)))) == 20
    assert server.most_at_once == 5


def test_what_is_sent(settings):
    request = Request(
        (Message("system", "be brief"), Message("user", "what is it?", (Image(b"\x89PNG", "image/png"),))),
        max_tokens=7, temperature=0.5, options={"top_p": 0.9},
    )  # fmt: skip
    with ChatServer() as server, Endpoint(settings(server)) as endpoint:
        answer = next(endpoint.ask([request]))
    assert server.bodies == [{
        "model": "m", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "what is it?"},
            ]},
        ],
    }]  # fmt: skip
    assert images_of(server.bodies[0]) == ["data:image/png;base64,iVBORw=="]
    assert (answer.text, answer.prompt_tokens, answer.model) == ("11 letters, 1 images", 103, "m-served")


@pytest.mark.parametrize(
    "fault", ["429", "429:0.05", "500", "503", "truncated", "invalid_json", "not_a_completion", "html", "reset"]
)
def test_a_passing_fault_is_tried_again(settings, fault):
    with ChatServer(fault=fault_first(fault, 2)) as server, Endpoint(settings(server)) as endpoint:
        answer = next(endpoint.ask([ask_of("abc")]))
    assert (answer.text, answer.failure, answer.tries) == ("3 letters, 0 images", "", 3)
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("429", "rate_limited"),
        ("500", "server_error"),
        ("truncated", "truncated"),
        ("invalid_json", "bad_reply"),
        ("not_a_completion", "bad_reply"),
        ("html", "bad_reply"),
        ("hang", "timeout"),
    ],
)
def test_a_fault_that_stays_is_a_value(settings, fault, failure):
    with (
        ChatServer(fault=fault_first(fault, 99)) as server,
        Endpoint(settings(server, timeout_seconds=0.5)) as endpoint,
    ):
        answers = list(endpoint.ask([ask_of("abc"), ask_of("abcd")]))
        assert [(answer.failure, answer.text, answer.tries) for answer in answers] == [(failure, "", 3)] * 2
        assert endpoint.counts == {f"failed:{failure}": 2, f"retried:{failure}": 4}
    assert len(server.bodies) == 6


def test_a_connection_that_is_reset_later_is_a_failure(settings):
    with (
        ChatServer(fault=lambda number, body: "reset" if number else "") as server,
        Endpoint(settings(server, concurrency=1)) as endpoint,
    ):
        assert [(answer.failure, answer.tries) for answer in endpoint.ask([ask_of("a"), ask_of("b")])] == [
            ("", 1),
            ("connection", 3),
        ]


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_the_deadline_is_for_the_whole_exchange(settings, fault):
    with ChatServer(fault=fault_first(fault)) as server, Endpoint(settings(server, timeout_seconds=0.4)) as endpoint:
        started = time.monotonic()
        answer = next(endpoint.ask([ask_of("abc")]))
        assert time.monotonic() - started < 3
    assert (answer.text, answer.tries) == ("3 letters, 0 images", 2)


@pytest.mark.parametrize(("fault", "failure"), [("400", "refused"), ("422", "refused"), ("huge", "too_large")])
def test_what_cannot_get_better_is_asked_once(settings, fault, failure):
    with ChatServer(fault=fault_first(fault, 99)) as server, Endpoint(settings(server)) as endpoint:
        answer = next(endpoint.ask([ask_of("abc")]))
    assert (answer.failure, answer.tries, len(server.bodies)) == (failure, 1, 1)


def test_nobody_listens(tmp_path):
    values = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "cache": str(tmp_path), "max_tries": 2}
    with (
        Endpoint(EndpointConfig(**values, first_wait_seconds=0.01)) as endpoint,
        pytest.raises(EndpointError, match="no request was ever answered: connection .*refused.* Check base_url"),
    ):
        next(endpoint.ask([ask_of("abc")]))


@pytest.mark.parametrize("fault", ["401", "403", "404"])
def test_a_mistake_shows_at_once(settings, fault):
    with (
        ChatServer(fault=fault_first(fault, 99)) as server,
        Endpoint(settings(server, concurrency=1)) as endpoint,
        pytest.raises(EndpointError, match=f"no request was ever answered: refused .status {fault}"),
    ):
        list(endpoint.ask(ask_of(str(n)) for n in range(100)))
    assert len(server.bodies) <= 3


def test_what_looks_like_a_mistake_later_is_a_failure(settings):
    with (
        ChatServer(fault=lambda number, body: "404" if number == 1 else "") as server,
        Endpoint(settings(server, concurrency=1)) as endpoint,
    ):
        assert [answer.failure for answer in endpoint.ask(ask_of(str(n)) for n in range(3))] == ["", "refused", ""]


def test_an_idle_connection_that_was_closed_is_no_failure(settings):
    with (
        ChatServer(fault=lambda number, body: "close") as server,
        Endpoint(settings(server, concurrency=1)) as endpoint,
    ):
        for number in range(3):
            answer = next(endpoint.ask([ask_of("x" * number)]))
            time.sleep(0.05)
            assert (answer.failure, answer.tries) == ("", 1)
    assert server.num_connections == 3


def test_a_connection_is_kept(settings):
    with ChatServer() as server, Endpoint(settings(server, concurrency=1)) as endpoint:
        assert len(list(endpoint.ask(ask_of("x" * number) for number in range(10)))) == 10
    assert server.num_connections == 1


def test_retry_after_holds_for_all_requests(settings):
    with (
        ChatServer(fault=lambda number, body: "429:0.5" if number == 0 else "") as server,
        Endpoint(settings(server, concurrency=1)) as endpoint,
    ):
        assert [answer.failure for answer in endpoint.ask([ask_of("a"), ask_of("b")])] == ["", ""]
    first, *others = server.times
    assert min(others) - first >= 0.5


def test_a_wait_that_is_too_long_is_a_failure(settings):
    with ChatServer(fault=fault_first("429:3600", 9)) as server, Endpoint(settings(server)) as endpoint:
        started = time.monotonic()
        assert next(endpoint.ask([ask_of("a")])).failure == "rate_limited"
    assert time.monotonic() - started < 5
    assert len(server.bodies) == 1


def test_an_answer_is_asked_for_once(settings):
    with ChatServer() as server:
        with Endpoint(settings(server)) as endpoint:
            first = list(endpoint.ask([ask_of("a"), ask_of("bb"), ask_of("a")]))
        with Endpoint(settings(server)) as endpoint:
            again = list(endpoint.ask([ask_of("a"), ask_of("bb"), ask_of("ccc")]))
            assert endpoint.counts == {"cached": 2, "asked": 1, "prompt_tokens": 1, "completion_tokens": 4}
    assert len(server.bodies) == 3
    assert [answer.text for answer in first] == ["1 letters, 0 images", "2 letters, 0 images", "1 letters, 0 images"]
    assert [(answer.text, answer.is_cached) for answer in again][:2] == [(answer.text, True) for answer in first[:2]]
    assert again[0].key == first[0].key == make_key(ask_of("a"), "m")


def test_a_failure_is_not_kept(settings):
    with ChatServer(fault=fault_first("400")) as server, Endpoint(settings(server)) as endpoint:
        assert next(endpoint.ask([ask_of("a")])).failure == "refused"
        assert next(endpoint.ask([ask_of("a")])).failure == ""


@pytest.mark.parametrize(
    "other",
    [
        ask_of("b"), ask_of("a", temperature=1.0), ask_of("a", sample=1), ask_of("a", options={"seed": 1}),
        Request((Message("system", "a"),), max_tokens=8), Request((Message("user", "a"),), max_tokens=9),
        Request((Message("user", "a", (Image(b"1"),)),), max_tokens=8),
        Request((Message("user", "a", (Image(b"2"),)),), max_tokens=8),
        Request((Message("user", ""), Message("user", "a")), max_tokens=8),
    ],
)  # fmt: skip
def test_every_part_of_a_request_is_in_its_key(other):
    assert make_key(other, "m") not in {
        make_key(ask_of("a"), "m"),
        make_key(ask_of("a"), "n"),
        make_key(ask_of("a"), "m", "2"),
    }


def test_the_share_of_failures_is_bounded(settings):
    with (
        ChatServer(fault=lambda number, body: "400" if question_of(body) == "x" * 18 else "") as server,
        Endpoint(settings(server, max_failed_frac=0.05)) as endpoint,
    ):
        assert sum(bool(answer.failure) for answer in endpoint.ask(ask_of("x" * n) for n in range(40))) == 1
    with (
        ChatServer(fault=lambda number, body: "400") as server,
        Endpoint(
            settings(server, max_failed_frac=0.05, concurrency=1, cache=endpoint.settings.cache + "2")
        ) as endpoint,
        pytest.raises(EndpointError, match="20 of 20 requests failed, the last one: refused"),
    ):
        list(endpoint.ask(ask_of(f"q{n}") for n in range(1000)))
    assert len(server.bodies) <= 22


def test_the_key_is_sent_and_told_nobody(settings, monkeypatch, tmp_path, caplog):
    secret = "sk-" + "s3cret" * 60
    monkeypatch.setenv("A_KEY", secret + "\n")
    caplog.set_level(logging.DEBUG)
    with (
        ChatServer(fault=fault_first("429"), key=secret) as server,
        Endpoint(settings(server, api_key_variable="A_KEY", max_tries=1)) as endpoint,
    ):
        failed, good = list(endpoint.ask([ask_of("a")])), list(endpoint.ask([ask_of("a")]))
        shown = repr(endpoint.settings) + endpoint.settings.model_dump_json()
    assert server.headers[0]["Authorization"] == f"Bearer {secret}"
    assert failed[0].failure == "rate_limited" and "[key]" in failed[0].detail
    assert good[0].failure == ""
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"letters" in kept
    for text in (repr(failed), repr(good), caplog.text, shown, kept.decode("latin-1")):
        assert "s3cret" not in text


def test_a_key_variable_that_is_not_set(settings, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    with (
        ChatServer() as server,
        pytest.raises(ConfigError, match="api_key_variable: expected a variable that is set, got 'NO_KEY'"),
    ):
        Endpoint(settings(server, api_key_variable="NO_KEY"))


PRICES = {"price_per_million_prompt": 1000.0, "price_per_million_completion": 2000.0, "image_tokens": 500}


def test_an_estimate_asks_nothing(settings):
    picture = Request((Message("user", "x" * 8, (Image(b"1"),)),), max_tokens=8)
    with ChatServer() as server, Endpoint(settings(server, **PRICES)) as endpoint:
        next(endpoint.ask([ask_of("abc")]))
        estimate = endpoint.estimate([ask_of("abc"), picture, picture, ask_of("abcd")])
    assert len(server.bodies) == 1
    assert estimate[:5] == (4, 2, 1, 2 + 500 + 1, 16)  # the second picture is answered by the first
    assert estimate.max_cost == pytest.approx(503 * 1e-3 + 16 * 2e-3)
    assert "4 requests, 2 of them answered before" in estimate.describe()


def test_the_cost_stops_before_it_is_passed(settings):
    # booked: (10 + 16) prompt and 8 answer tokens, 0.042; used: 1 prompt and 4 answer tokens, 0.009
    with ChatServer() as server:
        with Endpoint(settings(server, **PRICES, max_cost=0.1, concurrency=8)) as endpoint:
            with pytest.raises(EndpointError, match="the next request could pass what is allowed"):
                list(endpoint.ask(ask_of("a" * 9 + str(n)) for n in range(8)))
            spent = endpoint.spent()
        assert len(server.bodies) == 7  # 6 x 0.009 + 0.042 fits, 7 x 0.009 + 0.042 does not
        assert spent == (7, 35, 63 * NANO // 1000)
        with Endpoint(settings(server, **PRICES, max_cost=1.0)) as endpoint:
            answers = list(endpoint.ask(ask_of("a" * 9 + str(n)) for n in range(8)))
        assert len(server.bodies) == 8
        assert sum(answer.is_cached for answer in answers) == 7


def test_what_may_have_been_charged_stays_booked(settings):
    faults = {0: "truncated", 2: "429", 3: "503", 5: "reset"}
    with (
        ChatServer(fault=lambda number, body: faults.get(number, "")) as server,
        Endpoint(settings(server, **PRICES)) as endpoint,
    ):
        assert next(endpoint.ask([ask_of("a" * 10)])).tries == 2
        assert endpoint.spent() == (2, 26 + 8 + 5, 42_000_000 + 9_000_000)
        assert next(endpoint.ask([ask_of("b" * 10)])).tries == 3
        assert endpoint.spent() == (5, 39 + 5, 60_000_000)  # what the server refuses costs nothing
        assert next(endpoint.ask([ask_of("c" * 10)])).tries == 2
        assert endpoint.spent() == (7, 44 + 26 + 8 + 5, 60_000_000 + 42_000_000 + 9_000_000)


def test_what_was_never_sent_costs_nothing(tmp_path):
    values = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "cache": str(tmp_path), "max_tries": 2}
    with Endpoint(EndpointConfig(**values, **PRICES, first_wait_seconds=0.01)) as endpoint:
        with pytest.raises(EndpointError):
            next(endpoint.ask([ask_of("abc")]))
        assert endpoint.spent() == (2, 0, 0)


def test_requests_are_bounded(settings):
    with (
        ChatServer(fault=fault_first("500", 2)) as server,
        Endpoint(settings(server, max_requests=2)) as endpoint,
        pytest.raises(EndpointError, match="2 requests and 0.000000 are booked"),
    ):
        list(endpoint.ask([ask_of("a")]))
    assert len(server.bodies) == 2


def test_a_bound_without_a_price_is_refused(settings):
    with ChatServer() as server, pytest.raises(ValueError, match="max_cost needs price_per_million_prompt"):
        settings(server, max_cost=1.0)


def test_a_reader_who_leaves_stops_the_asking(settings):
    with ChatServer(seconds=0.05) as server, Endpoint(settings(server, concurrency=2)) as endpoint:
        asked = endpoint.ask(ask_of(str(n)) for n in range(10_000))
        assert next(asked).failure == ""
        asked.close()
        num_asked = len(server.bodies)
        time.sleep(0.2)
        assert len(server.bodies) == num_asked < 20
        assert len(list(endpoint.ask([ask_of("0"), ask_of("again")]))) == 2  # the endpoint goes on


def test_requests_are_taken_as_they_are_needed(settings):
    taken = []

    def requests():
        for number in range(100):
            taken.append(number)
            yield ask_of(str(number))

    with ChatServer() as server, Endpoint(settings(server, concurrency=3)) as endpoint:
        next(endpoint.ask(requests()))
    assert len(taken) <= 7


def test_a_mistake_in_the_requests_is_raised(settings):
    def requests():
        yield ask_of("a")
        raise KeyError("mine")

    with ChatServer() as server, Endpoint(settings(server)) as endpoint, pytest.raises(KeyError, match="mine"):
        list(endpoint.ask(requests()))


def test_threads_share_an_endpoint(settings):
    found = {}
    with ChatServer() as server, Endpoint(settings(server, concurrency=4)) as endpoint:

        def work(name):
            found[name] = [answer.text for answer in endpoint.ask(ask_of("x" * n) for n in range(30))]

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(found.values()) == [[f"{n} letters, 0 images" for n in range(30)]] * 4
    assert len(server.bodies) == 30


def test_own_fields_are_not_replaced():
    with pytest.raises(ConfigError, match="options.model"):
        render_body(ask_of("a", options={"model": "other"}), "m")
    assert b'"max_completion_tokens":8' in render_body(ask_of("a"), "m", "max_completion_tokens")


@pytest.mark.parametrize(
    ("body", "text", "reason"),
    [
        (b'{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}', "a", "length"),
        (
            b'{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"x"},{"type":"text","text":"b"}]}}]}',
            "ab",
            "",
        ),
        (b'{"choices":[{"message":{"content":null,"refusal":"no"}}]}', "", "refusal"),
        (
            b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":-3,"completion_tokens":"x"},"model":5}',
            "a",
            "",
        ),
    ],
)
def test_answers_of_many_servers(body, text, reason):
    answer = parse_body(body)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.model) == (text, reason, 0, "")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":{"0":1}}', b'{"choices":[{"message":{"content":null}}]}',
     b'{"choices":[{"message":{"content":"\\ud800"}}]}', b'{"choices":[{"message":"a"}]}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_bytes_that_are_no_answer(body):
    assert parse_body(body) is None
