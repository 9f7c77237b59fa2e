"""What the endpoint client itself costs: requests a second against a server on this machine that answers at once, kept answers a second,
memory and time to open a large cache.

    python -m benchmarks.endpoint_speed

The server is the tests' own, in Python and on the same cores, so the first number is a floor.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from dolma_py.endpoint import Endpoint, EndpointConfig, Image, Message, Request
from tests.chat_server import ChatServer

NUM_REQUESTS = 2_000
NUM_KEPT = 200_000
# in a process of its own: seconds to open a cache, and bytes more resident
OPEN = """
import sys, time
from pathlib import Path
from dolma_py.endpoint_cache import open_cache
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before, started = resident(), time.perf_counter()
cache = open_cache(sys.argv[1])
print(len(cache), time.perf_counter() - started, resident() - before)
"""


def main() -> None:
    """Print the numbers."""
    with tempfile.TemporaryDirectory() as folder, ChatServer(lambda body: "an answer of some words " * 20) as server:
        settings = EndpointConfig(base_url=server.url, model="m", cache=f"{folder}/answers", concurrency=16)
        picture = Image(b"x" * 300_000)
        for name, images in (("text", ()), ("text and a picture of 300 kB", (picture,))):
            requests = [Request((Message("user", f"{name} {number}", images),)) for number in range(NUM_REQUESTS)]
            for what in ("asked", "kept"):
                with Endpoint(settings) as endpoint:
                    started, cpu = time.perf_counter(), time.process_time()
                    failures = sum(bool(answer.failure) for answer in endpoint.ask(requests))
                    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
                    assert not failures and endpoint.counts["cached"] == (NUM_REQUESTS if what == "kept" else 0)
                print(
                    f"{name}, {what}: {NUM_REQUESTS / seconds:.0f} a second, {1e3 * cpu / NUM_REQUESTS:.2f} ms CPU each, server included"
                )
        with Endpoint(settings.model_copy(update={"cache": f"{folder}/large"})) as endpoint:
            values = {
                "text": "an answer of some words " * 20,
                "finish_reason": "stop",
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "model": "m",
            }
            started = time.perf_counter()
            for number in range(2_000):
                endpoint._cache.add(f"{number:032x}", values)
            print(
                f"kept on disk: {2_000 / (time.perf_counter() - started):.0f} answers a second, each on the disk before the next"
            )
            line_count = 2_000
        path = f"{folder}/large/answers.txt"
        with open(path, "ab") as file:
            file.write(make_lines(line_count, NUM_KEPT))
        run = subprocess.run(
            [sys.executable, "-c", OPEN, f"{folder}/large"], capture_output=True, text=True, check=True
        )
        count, seconds, num_bytes = run.stdout.split()
        print(
            f"cache of {count} answers: opened in {float(seconds):.2f} s, {int(num_bytes) / int(count):.0f} bytes of memory an answer"
        )


def make_lines(first: int, last: int) -> bytes:
    """Lines of a cache, as the client writes them."""
    import xxhash

    parts = []
    for number in range(first, last):
        rest = f"{number:032x} ".encode() + b'{"text":"' + b"an answer of some words " * 20 + b'"}'
        parts.append(xxhash.xxh3_64_hexdigest(rest).encode() + b" " + rest + b"\n")
    return b"".join(parts)


if __name__ == "__main__":
    main()
