"""MB/s of one core of the rule presets, beside datatrove's and dolma's same filters on the same text, in one run.

    DOLMA_PY_DATA=<folder> python -m benchmarks.preset_speed [--megabytes N] [--peer-megabytes N]

CPU seconds of one thread, so that a busy machine changes little; ours the best of 3, the peers once after one document, on evenly
spread documents. The peers run in the environments that `make peers` builds (or under DOLMA_PY_PEERS).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

from benchmarks.gopher_rules import take_texts
from benchmarks.minhash_signatures import copy_rate, measure_sec, read_pool
from taggers import rule_presets_kernels as kernels
from taggers.c4 import C4_RULES, clean_lines
from taggers.gopher import count_gopher
from taggers.rule_presets import count_presets, sweep_presets
from taggers.spacy_words import split_words

ENVIRONMENTS = Path(os.environ.get("DOLMA_PY_PEERS", ".venv-peers"))
ALL = kernels.WANT_DATATROVE | kernels.WANT_FINEWEB | kernels.WANT_DOLMA | kernels.WANT_PAPER
# read texts parted by NUL from stdin and print CPU seconds by name; each filter sees every text afresh, as in a pipeline of its own
DATATROVE_SCRIPT = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.text import split_into_parts
texts = sys.stdin.buffer.read().decode().split("\\0")
chains = {"gopher": [GopherRepetitionFilter(), GopherQualityFilter()], "fineweb": [FineWebQualityFilter()], "c4": [C4QualityFilter()]}
chains["all"] = [f for chain in list(chains.values()) for f in chain]
def run(chain, texts):
    for text in texts:
        document = Document(text=text, id="0")
        for f in chain:
            f.filter(Document(text=text, id="0"))
seconds = {}
for name, chain in chains.items():
    run(chain, texts[:1])
    split_into_parts.cache_clear()
    begin = time.process_time()
    run(chain, texts)
    seconds[name] = time.process_time() - begin
print(json.dumps(seconds))
"""
DOLMA_SCRIPT = """
import json, os, sys, tempfile, time
os.environ.setdefault("NLTK_DATA", tempfile.gettempdir())
import nltk
nltk.download = lambda *args, **options: True
from dolma.core.data_types import Document
from dolma.taggers.gopher import GopherTaggerV2
tagger = GopherTaggerV2()
texts = sys.stdin.buffer.read().decode().split("\\0")
tagger.predict(Document(source="", id="0", text=texts[0]))
begin = time.process_time()
for text in texts:
    tagger.predict(Document(source="", id="0", text=text))
print(json.dumps({"gopher_v2": time.process_time() - begin}))
"""


def time_peer(tool: str, script: str, texts: list[str]) -> dict[str, float]:
    """CPU seconds by filter in the tool's own environment; empty where there is none."""
    python = ENVIRONMENTS / tool / "bin" / "python"
    if not python.exists():
        print(f"{tool}: not installed here (looked for {python}); make peers installs it")
        return {}
    done = subprocess.run([str(python), "-c", script], input="\0".join(texts).encode(), capture_output=True, check=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=16)
    parser.add_argument("--peer-megabytes", type=float, default=1)
    options = parser.parse_args()
    view = read_pool(Path(os.environ["DOLMA_PY_DATA"]), int(options.megabytes * 1e6))
    num_bytes = int(view.offsets[-1])
    print(f"{num_bytes / 1e6:.1f} MB, {len(view.offsets) - 1} documents; np.copyto {copy_rate() / 1e9:.1f} GB/s")

    def one_by_one() -> None:
        count_presets(*view, ALL)
        clean_lines(*view, "c4-paper")

    steps = {
        "all and c4-paper in one sweep": lambda: sweep_presets(*view, ALL, ["c4-paper"]),
        "all and c4-paper, two sweeps": one_by_one,
        "all and C4's three in one sweep": lambda: sweep_presets(*view, ALL, list(C4_RULES)),
        "four presets in one sweep": lambda: count_presets(*view, ALL),
        "gopher-datatrove": lambda: count_presets(*view, kernels.WANT_DATATROVE),
        "fineweb": lambda: count_presets(*view, kernels.WANT_FINEWEB),
        "gopher-dolma": lambda: count_presets(*view, kernels.WANT_DOLMA),
        "gopher-paper": lambda: count_presets(*view, kernels.WANT_PAPER),
        "c4-paper": lambda: clean_lines(*view, "c4-paper"),
        "c4-code": lambda: clean_lines(*view, "c4-code"),
        "c4-fineweb": lambda: clean_lines(*view, "c4-fineweb"),
        "words of spaCy alone": lambda: split_words(*view),
        "gopher-dclm, for comparison": lambda: count_gopher(*view),
    }
    for name, action in steps.items():
        print(f"  {name:32s} {num_bytes / measure_sec(action, repeats=3) / 1e6:8.2f} MB/s per core")
    texts = take_texts(view, int(options.peer_megabytes * 1e6))
    peer_bytes = sum(len(text.encode()) for text in texts)
    for tool, script in (("datatrove", DATATROVE_SCRIPT), ("dolma", DOLMA_SCRIPT)):
        for name, seconds in time_peer(tool, script, texts).items():
            print(f"  {tool + ' ' + name:32s} {peer_bytes / seconds / 1e6:8.2f} MB/s per core")


if __name__ == "__main__":
    main()
