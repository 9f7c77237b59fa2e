"""Wikitext to text: our renderer beside mwparserfromhell and wikitextparser, on one made page and on pages made to take for ever.

    pip install mwparserfromhell==0.7.2 wikitextparser==3.0.0
    python -m benchmarks.wikitext

Prints MB of wikitext per CPU second, and the CPU seconds of hostile pages of --hostile-kb each; what takes longer than --limit
wall seconds is stopped.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import time
from collections.abc import Callable

from dolma_py.formats.wikitext import render_text

PAGE = """{{Infobox settlement | name = Foo | population = 12 {{citation needed|date=May 2020}} }}
'''Foo''' is a [[city]] in [[Bar (state)|Bar]].<ref name="a">{{cite web|url=http://x.y|title=T}}</ref> It has {{convert|12|km}} of roads.
[[File:Foo.jpg|thumb|right|A [[picture]] of Foo]]
== History ==
It was ''founded'' in 1900, and for a long time nothing else was known of it; later [[historian]]s found more.<ref>Book, p. 3</ref>
{| class="wikitable"
! Year !! Population
|-
| 1900 || 10
|-
| 2000 || 12 [[thousand]]
|}
* one [http://example.com label]
* two<br/>three
<math>x^2 + y_1</math>
[[Category:Cities]]
"""
HOSTILE = ("{{", "{{{a|", "[[", "''a'''b", "<ref>", "<div>x", "[http://a ", "{|\n|")


def _load_peers() -> dict[str, Callable[[str], object]]:
    peers: dict[str, Callable[[str], object]] = {"dolma-py": render_text}
    if importlib.util.find_spec("mwparserfromhell"):
        import mwparserfromhell

        peers["mwparserfromhell"] = lambda text: mwparserfromhell.parse(text).strip_code()
    if importlib.util.find_spec("wikitextparser"):
        import wikitextparser

        peers["wikitextparser"] = lambda text: wikitextparser.parse(text).plain_text()
    return peers


def _measure(render: Callable[[str], object], text: str, limit: int) -> float | None:
    """CPU seconds, None where it took too long."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(limit)
    start = time.process_time()
    try:
        render(text)
        return time.process_time() - start
    except _TooLongError:
        return None
    finally:
        signal.alarm(0)


class _TooLongError(BaseException):
    pass


def _stop(number: int, frame: object) -> None:
    raise _TooLongError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile-kb", type=int, default=40)
    parser.add_argument("--limit", type=int, default=20)
    arguments = parser.parse_args()
    peers = _load_peers()
    page = PAGE * 10  # about the size of an article
    print(f"{'':<12}" + "".join(f"{name:>18}" for name in peers))
    rates = []
    for render in peers.values():
        seconds = sum(_measure(render, page, 60) or 60 for _ in range(20))
        rates.append(f"{20 * len(page) / 1e6 / seconds:18.2f}")
    print(f"{'MB/s':<12}" + "".join(rates))
    for mark in HOSTILE:
        text = mark * (arguments.hostile_kb * 1000 // len(mark))
        times = [_measure(render, text, arguments.limit) for render in peers.values()]
        print(f"{mark!r:<12}" + "".join(f"{'stopped' if t is None else f'{t:.2f} s':>18}" for t in times))


if __name__ == "__main__":
    main()
