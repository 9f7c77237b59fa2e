"""A small Dolma tree of made documents, odd ones among them, with made attributes. Imports nothing but the standard library.

python tests/peers/made_tree.py FOLDER
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one picture, five code points, 18 bytes
NOTICE = "All rights of this page belong to nobody in particular and may be read by everybody at all times."
TEXTS = {
    "web": [
        f"The river was wide that morning.\nThe captain asked for \u00e9clairs and got none.\n{NOTICE}\nThen the ship left the harbour.",
        f"A short one \U0001f600 with a face in it.\n{NOTICE}\nAnd {FAMILY} a family, then an e\u0301 made of two code points.",
        "",
        "one line without any end",
        f"{NOTICE}\n{NOTICE}\n{NOTICE}",
        "Mail me at captain@harbour.example, please.\nOr write { code } here.\nClick here and enable javascript in your browser.",
        "Windows\r\nlines end\r\nwith two signs.\u2028This is a line separator.\x0bAnd a vertical tab.",
        "\u05d0\u05d1\u05d2 \u4e2d\u6587\u6587\u672c \U0001f1e9\U0001f1ea flag. \ufeff A byte order mark inside, \ufffd and a replacement sign.",
        f"The river was wide that morning.\nThe captain asked for \u00e9clairs and got none.\n{NOTICE}\nThen the ship left the harbour.",
        "   \n\t\n   ",
    ],
    "notes": [
        " ".join(f"word{number}" for number in range(120)) + ".",
        "The answer of the teacher was that the history of the village is the history of the bridge. " * 6,
        "\U0001f600" * 40,
        "- a list\n- of things\n- with bullets ...\n- more \u2026\n",
        "x",
    ],
}  # fmt: skip


def make_documents(source: str) -> list[dict[str, Any]]:
    """Documents in Dolma's form; every third has a time and metadata."""
    documents = []
    for number, text in enumerate(TEXTS[source]):
        document: dict[str, Any] = {"id": f"{source}-{number}", "text": text, "source": source}
        if number % 3 == 0:
            document |= {"added": "2024-03-01T12:00:00.000Z", "created": "2023-12-31T23:59:59.500Z"}
            document["metadata"] = {"url": f"https://example.org/{source}/{number}", "rank": number}
        documents.append(document)
    return documents


def make_attributes(document: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Of a document: its length as a document-level score, runs of non-ASCII characters and the notice as spans; in characters."""
    text = document["text"]
    attributes = {
        "made__size__length": [[0, len(text), float(len(text))]],
        "made__size__share_ascii": [[0, len(text), round(sum(sign < "\x80" for sign in text) / max(1, len(text)), 5)]],
        "made__odd__run": [[match.start(), match.end(), 1.0] for match in re.finditer(r"[^\x00-\x7f]+", text)],
    }
    notices = [[match.start(), match.end(), 0.75] for match in re.finditer(re.escape(NOTICE) + "\n?", text)]
    return attributes | ({"made__odd__notice": notices} if notices else {})


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON lines file, plain or gzip."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def write_tree(folder: Path) -> None:
    """documents/<source>/0.jsonl.gz and attributes/made/<source>/0.jsonl.gz."""
    for source in TEXTS:
        documents = make_documents(source)
        write_lines(folder / "documents" / source / "0.jsonl.gz", documents)
        rows = [{"id": document["id"], "attributes": make_attributes(document)} for document in documents]
        write_lines(folder / "attributes" / "made" / source / "0.jsonl.gz", rows)


if __name__ == "__main__":
    write_tree(Path(sys.argv[1]))
