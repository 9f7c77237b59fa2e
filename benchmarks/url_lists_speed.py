"""URL lists: speed and memory with five million domains, and the verdicts beside datatrove's URLFilter on its own lists.

    python -m benchmarks.url_lists_speed

Lists and URLs are made (seed 11); where datatrove is installed ($PEERS, else .venv-peers) the lists that it ships are read as well, from its
package into a temporary folder, and both judge the same URLs: half from entries of the lists with paths and hosts changed, half made.
Speed is CPU time of one process: URLs as an Arrow column in, counts out; `tag` with the JSON of the metadata parsed as well.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.minhash_signatures import measure_sec
from dolma_py.arrow_buffers import view_text
from taggers.registry import build_tagger

SEED, NUM_DOMAINS, NUM_URLS, NUM_PEER_URLS = 11, 5_000_000, 200_000, 20_000
_SYLLABLES = [
    "ba", "be", "bi", "bo", "ca", "co", "da", "de", "di", "du", "fa", "fe", "ga", "go", "ha", "he", "ja", "ka", "ki", "la", "le",
    "li", "lo", "ma", "me", "mi", "mo", "na", "ne", "no", "pa", "pe", "po", "ra", "re", "ri", "ro", "sa", "se", "si", "so", "ta",
    "te", "ti", "to", "va", "ve", "vi", "za", "zo",
]  # fmt: skip
# reads {"urls": [...]}, prints {"reasons": [reason or null, ...], "sec": CPU seconds, "rss_mb": ...}; needs no network: tldextract has a list within
DATATROVE_SCRIPT = """
import json, os, resource, sys, tempfile, time
os.environ["HF_ASSETS_CACHE"] = tempfile.mkdtemp()
import tldextract
from datatrove.data import Document
from datatrove.pipeline.filters import URLFilter
urls = json.load(open(sys.argv[1]))
f = URLFilter(); f.tldextractor = tldextract.TLDExtract(suffix_list_urls=())
f.filter(Document(text="", id="0", metadata={"url": "http://a.org"}))
begin = time.process_time(); reasons = []
for url in urls:
    answer = f.filter(Document(text="", id="0", metadata={"url": url}))
    reasons.append(None if answer is True else answer[1])
sec = time.process_time() - begin
print(json.dumps({"reasons": reasons, "sec": sec, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def make_host(rng: random.Random) -> str:
    """A host of two to five syllables and digits, some with a subdomain."""
    name = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 5))) + str(rng.randint(0, 99999))
    return (
        rng.choice(["", "", "www.", "m.", "blog."])
        + name
        + rng.choice([".com", ".org", ".net", ".de", ".co.uk", ".info"])
    )


def make_url(rng: random.Random, host: str) -> str:
    """A URL of that host with a path of words."""
    words = ["".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(rng.randint(0, 8))]
    return rng.choice(["http://", "https://"]) + host + "/" + rng.choice(["-", "/", "_"]).join(words)


def rss_mb() -> float:
    """Resident memory now, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def report(name: str, options: dict[str, Any], urls: list[str]) -> Any:
    """Build the tagger, time it, print a line; returns the tagger."""
    before, begin = rss_mb(), time.process_time()
    tagger = build_tagger("url-lists", options)
    sec, after = time.process_time() - begin, rss_mb()
    column = pa.array(urls, pa.large_string())
    view = view_text(column)
    num_bytes = len(view.data)
    batch = pa.record_batch({"metadata": pa.array([json.dumps({"url": url}) for url in urls])})
    match_sec = measure_sec(lambda: tagger.count_urls(view), repeats=5)
    tag_sec = measure_sec(lambda: tagger.tag(batch), repeats=3)
    speed = f"{num_bytes / match_sec / 1e6:6.0f} MB/s, {len(urls) / match_sec / 1e6:5.2f} M URLs/s"
    print(
        f"{name:34s} built in {sec:5.1f} s, {after - before:6.0f} MiB kept; {speed}; tag {len(urls) / tag_sec / 1e6:5.2f} M URLs/s"
    )
    return tagger


def compare_datatrove(folder: Path, python: Path, rng: random.Random) -> None:
    """Verdicts of both on URLs made from datatrove's own lists."""
    assets = next(python.parent.parent.glob("lib/python*/site-packages/datatrove/assets"))
    with tarfile.open(assets / "url_filterblacklistsv0_3_0.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    options = {
        "domains": [str(folder / "domains")], "urls": [str(folder / "urls")], "hard_words": [str(assets / "banned_words.txt")],
        "subwords": [str(assets / "banned_subwords.txt")], "distinct_soft_words": [str(assets / "soft_banned_words.txt")],
    }  # fmt: skip
    domains = (folder / "domains").read_text(errors="replace").split("\n")
    lists = [(assets / f"{name}.txt").read_text() for name in ("banned_words", "banned_subwords", "soft_banned_words")]
    words = [word for text in lists for word in text.split("\n") if word]
    urls = [make_url(rng, make_host(rng)) for _ in range(NUM_PEER_URLS // 2)]
    urls += [make_url(rng, rng.choice(["", "", "sub.", "x"]) + rng.choice(domains)) for _ in range(NUM_PEER_URLS // 4)]
    for _ in range(NUM_PEER_URLS // 4):
        end = rng.choice(words) + rng.choice(["/", ".html", "", "-" + rng.choice(words)])
        urls.append(make_url(rng, make_host(rng)) + rng.choice(["/", "-", ""]) + end)
    tagger = report("datatrove's lists", options, urls)
    path = folder / "sample.json"
    path.write_text(json.dumps(urls))
    answer = json.loads(
        subprocess.run([str(python), "-c", DATATROVE_SCRIPT, str(path)], capture_output=True, check=True).stdout
    )
    print(f"datatrove URLFilter: {len(urls) / answer['sec'] / 1e6:.3f} M URLs/s, {answer['rss_mb']:.0f} MiB in all")
    counts = tagger.count_urls(view_text(pa.array(urls, pa.large_string())))
    ours = [
        bool(
            counts["domains"][i]
            or counts["urls"][i]
            or counts["hard_words"][i]
            or counts["distinct_soft_words"][i] >= 2
            or counts["subwords"][i]
        )
        for i in range(len(urls))
    ]
    theirs = [reason is not None for reason in answer["reasons"]]
    only_ours = [i for i in range(len(urls)) if ours[i] and not theirs[i]]
    above = sum(bool(counts["domains"][i]) for i in only_ours)
    only_theirs = [(url, why) for url, a, why in zip(urls, ours, answer["reasons"], strict=True) if why and not a]
    both = sum(a and b for a, b in zip(ours, theirs, strict=True))
    print(
        f"dropped of {len(urls)}: both {both}, theirs alone {len(only_theirs)}, ours alone {len(only_ours)} ({above} by a domain above the host)"
    )
    print("ours alone:", [urls[i] for i in only_ours[:3]], "theirs alone:", only_theirs[:3])


def main() -> None:
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        urls = [make_url(rng, make_host(rng)) for _ in range(NUM_URLS)]
        with gzip.open(folder / "domains.gz", "wt", compresslevel=1) as file:
            file.writelines(make_host(rng) + "\n" for _ in range(NUM_DOMAINS))
        (folder / "words.txt").write_text(
            "\n".join("".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(3, 5))) for _ in range(2000))
        )
        words = [str(folder / "words.txt")]
        report("2,000 words, three readings", {"hard_words": words, "substrings": words, "subwords": words}, urls)
        report(f"{NUM_DOMAINS:,} domains", {"domains": [str(folder / "domains.gz")]}, urls)
        python = Path(os.environ.get("PEERS", ".venv-peers"), "datatrove/bin/python")
        if python.exists():
            compare_datatrove(folder, python, rng)
        else:
            print("datatrove: not installed here (looked in $PEERS, else .venv-peers)")


if __name__ == "__main__":
    main()
