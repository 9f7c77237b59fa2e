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

RECORD = Path(__file__).parent / "rule_outputs.json"
NAMES = ("pii", "url-lists", "ngram-loops", "code-content", "pdf-text")
PARTS = (
    "def f(x):\n", '    """Doc."""\n', "x = 1  # note\n", "// generated automatically\n", "/* a */ ", "<p class='a'>text</p>\n",
    "<script>var a;</script>", "&amp; ", "| a | b |\n|---|---|\n| 1 | 2 |\n", "|x|\n", "1234 5678\n", "go to " * 40, "A1b2C3d4" * 12, "0x1f, " * 4,
    "0x1f,0x2e," * 8, "[a](https://x.org/y) ", "![i](p.png) ", "see http://a.b.org/c?d=e. ", "config test ", "\u00e9\u4e2d ", "\n\n",
    "<?xml version='1.0'?>\n",
)  # fmt: skip
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


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> the tagger's version, and the xxh3-128 of its rows as JSON."""
    for name, entry in (("domains", "bad.org"), ("words", "bad\nworse"), ("parts", "word")):
        (folder / f"{name}.txt").write_text(entry)
    files = {"domains": "domains", "soft_words": "words", "subwords": "parts"}
    options = {"url-lists": {name: [str(folder / f"{file}.txt")] for name, file in files.items()}}
    batch, found = make_documents(), {}
    for name in NAMES:
        tagger = build_tagger(name, options.get(name, {}))
        rows = tag_checked(tagger, batch).to_pylist()
        assert len({json.dumps(row) for row in rows}) > 3, f"{name} says the same of all documents"
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
