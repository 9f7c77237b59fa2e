"""Kept answers survive kills, torn and damaged files, and processes that ask the same at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.endpoint import Endpoint, EndpointConfig, Message, Request
from dolma_py.endpoint_budget import LEDGER_FILE, Ledger, Spent
from dolma_py.endpoint_cache import ANSWERS_FILE, LockedFolder, open_cache
from dolma_py.errors import ConfigError, DataError
from tests.chat_server import ChatServer, question_of
from tests.conftest import REPOSITORY

KEYS = [f"{number:032x}" for number in range(1, 50)]

ASKER = """
import sys
from dolma_py.endpoint import Endpoint, EndpointConfig, Message, Request
url, cache, first, last, step = sys.argv[1:4] + [*sys.argv[4:6]]
with Endpoint(EndpointConfig(base_url=url, model="m", cache=cache, concurrency=4, first_wait_seconds=0.01)) as endpoint:
    requests = (Request((Message("user", str(n)),), max_tokens=4) for n in range(int(first), int(last), int(step)))
    for answer in endpoint.ask(requests):
        assert not answer.failure, answer
        print(answer.text, flush=True)
"""


def start(server: ChatServer, cache, first: int, last: int, step: int = 1) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", ASKER, server.url, str(cache), str(first), str(last), str(step)],
        stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def test_answers_stay(tmp_path):
    first = open_cache(str(tmp_path))
    first.add(KEYS[0], {"text": "line\nbreak \u2028 and \x00"})
    first.add(KEYS[1], {"text": ""})
    first.add(KEYS[0], {"text": "a second answer is too late"})
    first.close()
    again = open_cache(str(tmp_path))
    assert (again.find(KEYS[0]), again.find(KEYS[1])) == ({"text": "line\nbreak \u2028 and \x00"}, {"text": ""})
    assert (again.find(KEYS[2]), len(again), again.num_damaged) == (None, 2, 0)
    again.close()


@given(cut=st.integers(0, 400), more=st.integers(0, 3))
def test_a_file_cut_anywhere_loses_no_whole_line(cut, more, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cut"))
    cache = open_cache(folder)
    for number in range(4):
        cache.add(KEYS[number], {"text": "x" * 10 * number})
    cache.close()
    path = Path(folder) / ANSWERS_FILE
    whole = path.read_bytes()
    os.truncate(path, min(cut, len(whole)))
    num_whole = whole[:cut].count(b"\n")
    again = open_cache(folder)
    assert len(again) == num_whole
    for number in range(4, 4 + more):
        again.add(KEYS[number], {"text": "new"})
    again.close()
    last = open_cache(folder)
    assert len(last) == num_whole + more
    assert [last.find(KEYS[number]) for number in range(num_whole)] == [
        {"text": "x" * 10 * number} for number in range(num_whole)
    ]
    assert last.num_damaged <= 1
    last.close()


def test_a_damaged_line_is_counted_and_not_believed(tmp_path):
    first = open_cache(str(tmp_path))
    for key in KEYS[:3]:
        first.add(key, {"text": "good"})
    first.close()
    path = tmp_path / ANSWERS_FILE
    data = bytearray(path.read_bytes())
    data[data.index(b"good")] ^= 1
    path.write_bytes(data + b"no line of ours\n\n")
    again = open_cache(str(tmp_path))
    assert (again.find(KEYS[0]), again.find(KEYS[1]), again.num_damaged) == (None, {"text": "good"}, 2)
    again.close()


def test_an_object_store_is_refused():
    with pytest.raises(ConfigError, match="cache: expected a folder of a file system, got 's3://b/c'"):
        open_cache("s3://b/c")


def test_a_process_opens_a_folder_once(tmp_path):
    one, two = open_cache(str(tmp_path)), open_cache(str(tmp_path / "."))
    assert one is two
    one.close()
    two.add(KEYS[0], {"text": "a"})  # still open
    two.close()


def test_threads_hold_a_question_one_at_a_time(tmp_path):
    cache, inside, most = open_cache(str(tmp_path)), [], []

    def work():
        with cache.claim(KEYS[0]) as found:
            inside.append(1)
            most.append(len(inside))
            if found is None:
                time.sleep(0.02)
                cache.add(KEYS[0], {"text": str(len(most))})
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8 and cache.find(KEYS[0]) == {"text": "1"}
    cache.close()


def test_two_processes_ask_each_question_once(tmp_path):
    with ChatServer(question_of, seconds=0.01) as server:
        askers = [start(server, tmp_path, 0, 60), start(server, tmp_path, 59, -1, -1), start(server, tmp_path, 0, 60)]
        said = [asker.communicate(timeout=120)[0].split() for asker in askers]
    assert [asker.returncode for asker in askers] == [0, 0, 0]
    assert said == [[str(n) for n in range(60)], [str(n) for n in range(59, -1, -1)], [str(n) for n in range(60)]]
    assert sorted(question_of(body) for body in server.bodies) == sorted(str(n) for n in range(60))


def test_killed_anywhere_it_goes_on(tmp_path):
    """Killed with -9 many times: every question is answered in the end, and asked again only where it was under way."""
    num_kills = 0
    with ChatServer(question_of, seconds=0.01) as server:
        while True:
            asker = start(server, tmp_path, 0, 60)
            for _ in range(num_kills * 6 + 4):
                if not asker.stdout.readline():
                    break
            if num_kills == 5:
                break
            os.kill(asker.pid, signal.SIGKILL)
            asker.communicate(timeout=60)
            num_kills += 1
        asker.communicate(timeout=60)
    assert asker.returncode == 0
    cache = open_cache(str(tmp_path))
    assert (len(cache), cache.num_damaged <= num_kills) == (60, True)
    assert 60 <= len(server.bodies) <= 60 + 5 * 4  # concurrency 4
    cache.close()


def test_a_killed_asker_leaves_nobody_waiting(tmp_path):
    with ChatServer(question_of, lambda number, body: "hang" if number == 0 else "") as server:
        asker = start(server, tmp_path, 7, 8)
        while not server.bodies:
            time.sleep(0.01)
        os.kill(asker.pid, signal.SIGKILL)
        asker.communicate(timeout=60)
        with Endpoint(EndpointConfig(base_url=server.url, model="m", cache=str(tmp_path))) as endpoint:
            started = time.monotonic()
            assert next(endpoint.ask([Request((Message("user", "7"),), max_tokens=4)])).text == "7"
            assert time.monotonic() - started < 10


def test_processes_share_one_account(tmp_path):
    account = """
import sys
from dolma_py.endpoint_budget import Ledger, Spent
from dolma_py.endpoint_cache import LockedFolder
locks = LockedFolder(sys.argv[1])
ledger = Ledger(locks, max_requests=1000, max_cost=None)
print(sum(ledger.book(Spent(1, 2, 3)) for _ in range(700)))
"""
    command = [sys.executable, "-c", account, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) for _ in range(2)]
    booked = [int(run.communicate(timeout=60)[0]) for run in runs]
    assert sum(booked) == 1000
    locks = LockedFolder(str(tmp_path))
    ledger = Ledger(locks, max_requests=None, max_cost=None)
    assert ledger.read() == (1000, 2000, 3000)
    ledger.settle(Spent(1, 2, 3), Spent(1, 1, 0))
    assert ledger.read() == (1000, 1999, 2997)
    ledger.close()
    locks.close()


def test_a_damaged_account_is_told(tmp_path):
    (tmp_path / LEDGER_FILE).write_bytes(b"x" * 32)
    locks = LockedFolder(str(tmp_path))
    with pytest.raises(DataError, match="the account is damaged. Remove it to count from zero"):
        Ledger(locks, max_requests=None, max_cost=None)
    locks.close()
