"""Hostile dumps, archives and papers through their readers: what is told of each, how much memory and time it took.

    python -m benchmarks.hostile_formats [--scale 1.0]

Each case runs in a process of its own; memory is what its peak is above that of a process that has read one good file. Inputs are
made while they are read, so nothing of their size stands on a disk or in memory.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import resource
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, find_reader

MIB = 1 << 20


class MadeStream(io.RawIOBase):
    """Bytes that come into being when they are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size:
            piece = next(self.pieces, None)
            if piece is None:
                break
            self.rest += piece
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


class Case(NamedTuple):
    """A file of `kind` named `path`; size: MiB that come out of it at scale 1."""

    kind: str
    path: str
    what: str
    size: int
    make: Callable[[int], io.BufferedIOBase | io.RawIOBase]


def _repeat(head: bytes, block: bytes, num_bytes: int, tail: bytes = b"") -> MadeStream:
    return MadeStream(iter([head, *[block] * max(1, num_bytes // len(block)), tail]))


def _zip_up(head: bytes, block: bytes, num_bytes: int, tail: bytes = b"") -> MadeStream:
    def pieces() -> Iterator[bytes]:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        yield packer.compress(head)
        for _ in range(max(1, num_bytes // len(block))):
            yield packer.compress(block)
        yield packer.compress(tail) + packer.flush()

    return MadeStream(pieces())


def tar_header(name: str, num_bytes: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header of a tar file."""
    info = tarfile.TarInfo(name)
    info.size, info.type = num_bytes, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _make_zip(num_bytes: int) -> io.BytesIO:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(max(1, num_bytes // MIB)):
            archive.writestr(f"{number}.py", bytes(MIB))
    sink.seek(0)
    return sink


def _make_bzip2(num_bytes: int) -> io.BytesIO:
    packer = bz2.BZ2Compressor()
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(max(1, num_bytes // MIB)))
    return io.BytesIO(packed + packer.flush())


def _make_paper(text: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.compress(b"\\documentclass{a}\\begin{document}\\section{S}" + text))


PAGE = b"<mediawiki><page><title>t</title><ns>0</ns><id>1</id><revision><text>"
PAGE_END = b"</text></revision></page></mediawiki>"
NOISE = bytes(range(256)) * 4096
CASES = (
    Case("wikipedia", "a.xml", "a page without end", 2048, lambda n: _repeat(PAGE, b"x" * MIB, n)),
    Case("wikipedia", "a.xml.bz2", "bzip2 bomb", 1024, _make_bzip2),
    Case("wikipedia", "a.xml.gz", "gzip bomb in a page", 1024, lambda n: _zip_up(PAGE, bytes(MIB), n)),
    Case("wikipedia", "a.xml", "templates that are never closed", 3, lambda n: _repeat(PAGE, b"{{{a|", n, PAGE_END)),
    Case("wikipedia", "a.xml", "links, quotes and tables in each other", 3, lambda n: _repeat(PAGE, b"[[a|''[http://b '''\n{|\n|", n, PAGE_END)),
    Case("wikipedia", "a.xml", "100,000 nested tags", 1, lambda n: _repeat(b"<page>", b"<a>", n, b"</page></mediawiki>")),
    Case("repository", "a.tar", "a file of 2 GB", 2048, lambda n: _repeat(tar_header("big.c", n // MIB * MIB), NOISE, n)),
    Case("repository", "a.tar.gz", "gzip bomb", 4096, lambda n: _zip_up(tar_header("big.c", n // MIB * MIB), bytes(MIB), n)),
    Case("repository", "a.tar", "a header that says 1 TB", 64, lambda n: _repeat(tar_header("big.c", 1 << 40), NOISE, n)),
    Case("repository", "a.tar", "a pax header of 2 GB", 2048, lambda n: _repeat(tar_header("x", n // MIB * MIB, b"x"), NOISE, n)),
    Case("repository", "a.tar", "names that climb out", 8, lambda n: _repeat(b"", tar_header("../../etc/x", 0), n)),
    Case("repository", "a.zip", "zip bomb", 512, _make_zip),
    Case("arxiv", "2301.00001.gz", "gzip bomb", 1024, lambda n: _zip_up(b"\\section{a}", b"a" * MIB, n)),
    Case("arxiv", "2301.00001.gz", "macros that grow", 8, lambda n: _make_paper(b"\\def\\a{" + b"x" * 900 + b"}" + b"\\a{}" * (n // 4))),
    Case("arxiv", "2301.00001.gz", "braces that are never closed", 8, lambda n: _make_paper(b"\\newcommand{\\a}{" * (n // 16))),
    Case("arxiv", "all.tar", "an entry of 2 GB", 2048, lambda n: _repeat(tar_header("2301.00001.gz", n // MIB * MIB), NOISE, n)),
)  # fmt: skip


def run_case(case: Case, scale: float) -> dict[str, int]:
    """Read it; how many rows, rejections by reason and passed over records by reason there were."""
    stream = case.make(max(1, int(case.size * scale * MIB)))

    def open_again(path: str) -> io.BufferedIOBase | io.RawIOBase:
        return case.make(max(1, int(case.size * scale * MIB))) if stream.closed else stream

    counts: Counter[str] = Counter()
    events = find_reader(case.path, case.kind)(
        case.path, source="hostile", limits=Limits(), fields=FieldMap(), added=None, open_stream=open_again
    )
    for event in events:
        if isinstance(event, Rejection):
            counts[f"rejected {event.reason}"] += 1
        elif isinstance(event, Skipped):
            counts[f"passed over {event.reason}"] += event.records
        else:
            counts["documents"] += event.num_rows
    return dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--case", type=int, help="run one case here, -1 a good file")
    arguments = parser.parse_args()
    if arguments.case is not None:
        start = time.process_time()
        case = (
            CASES[arguments.case]
            if arguments.case >= 0
            else CASES[0]._replace(make=lambda n: io.BytesIO(PAGE + b"text" + PAGE_END))
        )
        counts = run_case(case, arguments.scale)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps([counts, peak, time.process_time() - start]))
        return

    def run(number: int) -> tuple[dict[str, int], int, float]:
        command = [
            sys.executable,
            "-m",
            "benchmarks.hostile_formats",
            "--case",
            str(number),
            "--scale",
            str(arguments.scale),
        ]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return answer[0], answer[1], answer[2]

    usual = run(-1)[1]
    print("| kind | input | MiB | what is told | memory, MiB | CPU s |\n|---|---|---|---|---|---|")
    for number, case in enumerate(CASES):
        counts, peak, seconds = run(number)
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
        print(
            f"| {case.kind} | {case.what} | {max(1, int(case.size * arguments.scale)):,} | {told} | {max(0, peak - usual)} | {seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
