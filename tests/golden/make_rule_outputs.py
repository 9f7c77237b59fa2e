"""The checksums in rule_outputs.json: what each rule tagger says of a thousand made documents, beside its version.

    PYTHONPATH=. python tests/golden/make_rule_outputs.py

Run it after a change that is meant to change what a tagger writes, and raise the tagger's version: under the old one, attributes that were
written before would stand beside others. It refuses other values of the same version. Not here is gzip-ratio, whose sizes are zlib's.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from benchmarks.pii_lines import make_lines
from taggers.base import tag_checked
from taggers.registry import build_tagger
from taggers.web_filter import PRESETS

RECORD = Path(__file__).parent / "rule_outputs.json"
NAMES = ("pii", "url-lists", "ngram-loops", "code-content", "pdf-text")
PAGE_NAMES = (  # over make_pages; a preset of the web filter is a tagger with that option
    "lengths", "gopher-dclm", "gopher-paper", "gopher-datatrove", "gopher-dolma", "fineweb", "rule-presets", "c4-paper", "c4-code", "c4-fineweb",
    "download-spam", *PRESETS,
)  # fmt: skip
PARTS = (
    "def f(x):\n", '    """Doc."""\n', "x = 1  # note\n", "// generated automatically\n", "/* a */ ", "<p class='a'>text</p>\n",
    "<script>var a;</script>", "&amp; ", "| a | b |\n|---|---|\n| 1 | 2 |\n", "|x|\n", "1234 5678\n", "go to " * 40, "A1b2C3d4" * 12, "0x1f, " * 4,
    "0x1f,0x2e," * 8, "[a](https://x.org/y) ", "![i](p.png) ", "see http://a.b.org/c?d=e. ", "config test ", "\u00e9\u4e2d ", "\n\n",
    "<?xml version='1.0'?>\n",
)  # fmt: skip
SENTENCES = (
    "The cat sat on the mat and looked at the sea. ",
    "It was the best of days, and they had nothing to do with it! ",
    "Have you been to the hills? ",
    'He said: "be there, with all of that." ',
    "Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu. ",
    "Costs \u20ac 5,00 (about $5.50) in 2021. ",
    "Der Fluss kommt aus den Bergen. ",
    "\u4e2d\u6587\u7684\u53e5\u5b50\u3002",
    "A citation[12] of it[citation needed] and so on. ",
    "Mr. A. B. Smith vs. the U.S., i.e. us. ",
    "A word of supercalifragilistic length and of antidisestablishmentarianism. ",
    "to be or not to be, to be or not to be, to be. ",
    "well... it is \u2026 so . . . what ",
    "Download this free ebook as a pdf file. ",
    "Mail a@b.org or see https://x.org/y?z=1#w. ",
    "# # hash #tags ",
    "1 2 3 4 5 ",
    "caf\u00e9 na\u00efve \U0001f600 ",
    "the song.mp3 dolor sit amet, lorem ipsum. ",
    "c2 < b3 && d != e; f(x) = {y} ",
    "word " * 40,
)
LINES = (
    "\n",
    "\n\n",
    "\n\n\n\n",
    "\r\n",
    "- a point\n",
    "\u2022 another point of the list\n",
    "* third\n",
    "12 likes\n",
    "3,456\n",
    "SHARE THIS\n",
    "Read more...\n",
    "Sign-in here\n",
    "2 items in cart\n",
    "You must enable JavaScript to see it.\n",
    "This site uses cookies, see our privacy policy.\n",
    "Lorem ipsum dolor sit amet\n",
    "if (x) { y }\n",
    "and so on...\n",
    "the end\u2026\n",
    "Home | About | Contact\n",
    "a\n",
    "A paragraph that stands twice in this page, and says so.\n\n",
    "This line is a copy of another line.\n",
    "\u2028",
    "\ttab\tseparated\tline\n",
    "{\n",
    "\u201cQuoted\u201d\n",
    "Yes.\n",
    "w" * 1001 + " is the longest word of them.\n",
)
SAME = {"c4-fineweb": {"num_no_end_lines"}}  # which has no rule of line ends
ENDINGS = (".py", "js", "page.html", "data.json", "x.css", "README", "a.sql", "b.tex")
HOSTS = ("a.org", "www.bad.org", "x.bad.org", "good.org/bad-word", "b.de/worse/worse")


def make_documents() -> pa.RecordBatch:
    """The same thousand every time."""
    rng = random.Random(5)
    lines = [line.text for line in make_lines(7, 50)]
    texts, metadata = [], []
    for number in range(1000):
        chosen = [
            rng.choice(lines) + "\n" if rng.random() < 0.5 else rng.choice(PARTS) for _ in range(rng.randint(0, 12))
        ]
        texts.append("".join(chosen))
        metadata.append(json.dumps({"ext": rng.choice(ENDINGS), "url": f"http://{rng.choice(HOSTS)}/{number}"}))
    return pa.record_batch({"text": pa.array(texts, pa.large_string()), "metadata": pa.array(metadata, pa.string())})


def make_pages() -> pa.RecordBatch:
    """The same thousand every time: pages of sentences and of the lines that web pages have around them."""
    rng = random.Random(6)
    texts = []
    for _ in range(1000):
        share = rng.random()  # of sentences
        chosen = (
            rng.choice(SENTENCES if rng.random() < share else LINES) for _ in range(rng.choice((0, 1, 3, 10, 30, 60)))
        )
        texts.append("".join(chosen))
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> the tagger's version, and the xxh3-128 of its rows as JSON."""
    for name, entry in (("domains", "bad.org"), ("words", "bad\nworse"), ("parts", "word")):
        (folder / f"{name}.txt").write_text(entry)
    files = {"domains": "domains", "soft_words": "words", "subwords": "parts"}
    options = {"url-lists": {name: [str(folder / f"{file}.txt")] for name, file in files.items()}}
    documents, pages, found = make_documents(), make_pages(), {}
    (folder / "bad.txt").write_text("best of days\nhash\n")
    options |= {name: {"bad_words_path": str(folder / "bad.txt")} for name in PAGE_NAMES if name.startswith("c4-")}
    for name in (*NAMES, *PAGE_NAMES):
        tagger = (
            build_tagger("web-filter", {"preset": name})
            if name in PRESETS
            else build_tagger(name, options.get(name, {}))
        )
        rows = tag_checked(tagger, documents if name in NAMES else pages).to_pylist()
        assert len({json.dumps(row) for row in rows}) > 3, f"{name} says the same of all documents"
        same = {column for column in tagger.schema.names if len({json.dumps(row[column]) for row in rows}) == 1}
        assert name in NAMES or same <= SAME.get(name, set()), f"{name} says the same of all pages in {sorted(same)}"
        found[name] = {"version": tagger.version, "xxh3_128": xxhash.xxh3_128_hexdigest(json.dumps(rows).encode())}
    return found


def find_unannounced(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Taggers that say other things under their old version."""
    return [
        name
        for name in found
        if name in record and found[name] != record[name] and found[name]["version"] == record[name]["version"]
    ]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = describe(Path(folder))
    unannounced = find_unannounced(json.loads(RECORD.read_text()) if RECORD.exists() else {}, found)
    if unannounced:
        print(f"other values under the same version, raise it first: {', '.join(unannounced)}", file=sys.stderr)
        return 1
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
