"""`code-content` beside dolma's code taggers, file by file: comments, visible text of HTML, XML declarations, letters per token.

    DOLMA_PY_DATA=<folder> python -m benchmarks.code_content_peers

Files: every tenth Python, Java and JavaScript file of <folder>/pool/code and the pages of <folder>/html. The peer needs dolma 1.2.1 with its
extra `code` ($PEERS, else .venv-peers; packages beside it in $PEER_PACKAGES). A decision is whether a preset's rule keeps the file.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import zstandard

from taggers.registry import build_tagger

ENDINGS = ("py", "java", "js")
DOLMA_SCRIPT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from dolma.core.data_types import Document, DocumentWithMetadata
from dolma.taggers.code.code_taggers import CodeRedPajamaTaggers, CodeStarCoderTaggers2
files = json.load(open(sys.argv[1])); star, red = CodeStarCoderTaggers2(), CodeRedPajamaTaggers()
begin = time.process_time(); rows = []
for text, ending in files:
    try:
        spans = star.predict(DocumentWithMetadata(source="s", id="0", text=text, metadata={"ext": ending})).spans
        spans = spans + red.predict(Document(source="s", id="0", text=text)).spans
        rows.append({s.type: s.score for s in spans})
    except Exception:
        rows.append(None)
print(json.dumps({"rows": rows, "sec": time.process_time() - begin}))
"""
# (our column, their score, least value kept, most kept, endings that it says something of)
COMPARED: tuple[tuple[str, str, float, float, tuple[str, ...]], ...] = (
    ("comment_char_frac", "code_to_comment_ratio_doc", 0.01, 0.8, ENDINGS),
    ("html_text_frac", "code_to_text_ratio_html_doc", 0.2, np.inf, ("html",)),
    ("xml_headers", "has_xml_template_doc", -np.inf, 0, (*ENDINGS, "html")),
    ("letters_per_token", "alpha_token_prop_doc", 1.5, np.inf, (*ENDINGS, "html")),
)


def read_files(folder: Path) -> list[tuple[str, str]]:
    """(text, ending) of each file."""
    files = []
    for path in sorted(folder.glob("pool/code/*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for row in map(orjson.loads, io.BufferedReader(stream)):
                ending = row["metadata"].get("ext", "").removeprefix(".")
                if ending in ENDINGS and row["text"].strip():
                    files.append((row["text"], ending))
    files = files[::10]
    for path in sorted(folder.glob("html/*/*.gz")) + sorted(folder.glob("html/*/pages/*.gz")):
        files.append((gzip.decompress(path.read_bytes()).decode(errors="replace"), "html"))
    return files


def run_dolma(files: list[tuple[str, str]]) -> dict[str, Any] | None:
    """Their scores of each file, None for a file that they fail on, and CPU seconds; None where they are not installed."""
    python = Path(os.environ.get("PEERS", ".venv-peers"), "dolma/bin/python")
    if not python.exists():
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(files, file)
        file.flush()
        environment = os.environ | {"PYTHONPATH": os.environ.get("PEER_PACKAGES", "")}
        done = subprocess.run(
            [str(python), "-c", DOLMA_SCRIPT, file.name], capture_output=True, check=True, env=environment
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    files = read_files(Path(os.environ["DOLMA_PY_DATA"]))
    texts = pa.array([text for text, _ in files], pa.large_string())
    batch = pa.record_batch({"text": texts, "metadata": pa.array([json.dumps({"ext": ending}) for _, ending in files])})
    tagger = build_tagger("code-content")
    tagger.tag(batch.slice(0, 10))
    begin = time.process_time()
    ours = tagger.tag(batch)
    sec = time.process_time() - begin
    num_mb = sum(len(text.encode()) for text, _ in files) / 1e6
    print(f"{len(files)} files, {num_mb:.1f} MB; ours {num_mb / sec:.1f} MB/s")
    answer = run_dolma(files)
    if answer is None:
        print("dolma: not installed here (looked in $PEERS, else .venv-peers)", file=sys.stderr)
        return
    print(f"dolma: {num_mb / answer['sec']:.2f} MB/s, fails on {sum(row is None for row in answer['rows'])} files")
    endings = np.array([ending for _, ending in files])
    for column, score, low, high, told in COMPARED:
        mine = ours.column(column).to_numpy()
        theirs = np.array([np.nan if row is None else row[score] for row in answer["rows"]], np.float64)
        for ending in told:
            chosen = (endings == ending) & ~np.isnan(theirs)
            a, b = mine[chosen], theirs[chosen]
            same = ((a >= low) & (a <= high)) == ((b >= low) & (b <= high))
            far = np.abs(a - b)
            difference = f"difference median {np.median(far):.4f}, mean {far.mean():.4f}"
            print(f"{column:18s} {ending:5s} {len(a):5d} files: same decision {same.sum():5d}, {difference}")


if __name__ == "__main__":
    main()
