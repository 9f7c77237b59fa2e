"""Hostile input through every reader: what is told of each, how much memory and time it took.

    python -m benchmarks.hostile_formats [--scale 1.0] [--kinds jsonl,parquet,warc,html,text,wikipedia,repository,arxiv]

Each case runs in a process of its own, forked after one good file of its kind was read; memory is what its peak is above what it had then.
Inputs are made while they are read, so nothing of their size stands on a disk or in memory; Parquet's, which must be seekable, are small.
PDFs have benchmarks/pdf_hostile.py, for they are parsed in another process.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import os
import tarfile
import time
import zipfile
from collections import Counter

from benchmarks.hostile_streams import MIB, NOISE, Case, repeat, zip_up
from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, find_reader
from dolma_py.machine import read_peak_bytes, reset_peak


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
CASES = (
    Case("wikipedia", "a.xml", "a page without end", 2048, lambda n: repeat(PAGE, b"x" * MIB, n)),
    Case("wikipedia", "a.xml.bz2", "bzip2 bomb", 1024, _make_bzip2),
    Case("wikipedia", "a.xml.gz", "gzip bomb in a page", 1024, lambda n: zip_up(PAGE, bytes(MIB), n)),
    Case("wikipedia", "a.xml", "templates that are never closed", 3, lambda n: repeat(PAGE, b"{{{a|", n, PAGE_END)),
    Case("wikipedia", "a.xml", "links, quotes and tables in each other", 3, lambda n: repeat(PAGE, b"[[a|''[http://b '''\n{|\n|", n, PAGE_END)),
    Case("wikipedia", "a.xml", "100,000 nested tags", 1, lambda n: repeat(b"<page>", b"<a>", n, b"</page></mediawiki>")),
    Case("repository", "a.tar", "a file of 2 GB", 2048, lambda n: repeat(tar_header("big.c", n // MIB * MIB), NOISE, n)),
    Case("repository", "a.tar.gz", "gzip bomb", 4096, lambda n: zip_up(tar_header("big.c", n // MIB * MIB), bytes(MIB), n)),
    Case("repository", "a.tar", "a header that says 1 TB", 64, lambda n: repeat(tar_header("big.c", 1 << 40), NOISE, n)),
    Case("repository", "a.tar", "a pax header of 2 GB", 2048, lambda n: repeat(tar_header("x", n // MIB * MIB, b"x"), NOISE, n)),
    Case("repository", "a.tar", "names that climb out", 8, lambda n: repeat(b"", tar_header("../../etc/x", 0), n)),
    Case("repository", "a.zip", "zip bomb", 512, _make_zip),
    Case("arxiv", "2301.00001.gz", "gzip bomb", 1024, lambda n: zip_up(b"\\section{a}", b"a" * MIB, n)),
    Case("arxiv", "2301.00001.gz", "macros that grow", 8, lambda n: _make_paper(b"\\def\\a{" + b"x" * 900 + b"}" + b"\\a{}" * (n // 4))),
    Case("arxiv", "2301.00001.gz", "braces that are never closed", 8, lambda n: _make_paper(b"\\newcommand{\\a}{" * (n // 16))),
    Case("arxiv", "all.tar", "an entry of 2 GB", 2048, lambda n: repeat(tar_header("2301.00001.gz", n // MIB * MIB), NOISE, n)),
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
    from benchmarks import hostile_records

    cases = hostile_records.CASES + CASES
    good = {"repository": Case("repository", "a.tar", "", 1, lambda _: io.BytesIO(_make_good_tar())),
            "arxiv": Case("arxiv", "2301.00001.gz", "", 1, lambda _: _make_paper(b"text")),
            "wikipedia": Case("wikipedia", "a.xml", "", 1, lambda _: io.BytesIO(PAGE + b"text" + PAGE_END)),
            **hostile_records.GOOD}  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--kinds", default=",".join(good))
    parser.add_argument("--what", default="", help="cases that have this in their name")
    parser.add_argument(
        "--most", type=float, default=1e9, help="MiB of a case at most; no bomb needs more than 200 to be one"
    )
    arguments = parser.parse_args()
    print("| kind | input | MiB | what is told | memory, MiB | CPU s |\n|---|---|---|---|---|---|")
    for kind in arguments.kinds.split(","):
        run_case(good[kind], 1.0)  # what is imported and compiled is no part of any case
        for case in (case for case in cases if case.kind == kind and arguments.what in case.what):
            scale = min(arguments.scale, arguments.most / max(1, case.size))
            print(describe(case, scale), flush=True)


def describe(case: Case, scale: float) -> str:
    """Run it in a process of its own; a row of the table."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        reset_peak()
        before, start = read_peak_bytes(), time.process_time()
        counts = run_case(case, scale)
        os.write(writer, json.dumps([counts, read_peak_bytes() - before, time.process_time() - start]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    status = os.waitpid(child, 0)[1]
    counts, peak, seconds = json.loads(answer) if answer else ({f"ended with {status}": 1}, 0, 0.0)
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "nothing"
    size = f"{max(1, round(case.size * scale)):,}" if case.size else "under 1"
    return f"| {case.kind} | {case.what} | {size} | {told} | {peak >> 20} | {seconds:.1f} |"


def _make_good_tar() -> bytes:
    return tar_header("a/b.py", 6) + b"x = 1\n".ljust(512, b"\0") + bytes(1024)


if __name__ == "__main__":
    main()
