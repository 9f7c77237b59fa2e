"""Does `mix optimize` find the best mix? Three sources of the pool, all 66 mixes of a 0.1 grid trained, 15 of them given to the method.

    DOLMA_PY_DATA=DIR python -m benchmarks.mix_grid OUTPUT                          # all; the same command goes on
    DOLMA_PY_DATA=DIR python -m benchmarks.mix_grid OUTPUT --mixes 3 --steps 20     # how long one takes

Web pages, source code and mathematics become shards with one tokenizer and held-out documents. A small model (quickstart/pretrain) is
trained on every mix and measured in bits per byte on the three kinds of held-out documents. The method sees the values of --given mixes,
chosen by --seed, and its mix is trained as well. Proof: its mean is within 1% of the best of the 66. Then the same choice from --draws other
sets of so many mixes, each looked up at the nearest mix of the grid.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np

from dolma_py.config import build_config
from mixers.mix_limits import expand_shares
from mixers.mix_optimize import choose_mix, limits_of
from mixers.mix_optimize_config import OptimizeConfig
from mixers.mix_proxies import ProxyRuns, leave_out_small
from mixers.mix_swarm import grid_mixes
from mixers.training_runs import read_source

SOURCES = {"web": "web/web_c4_sample-*", "code": "code/code_oss-*", "math": "math/math_stacks-*"}
NUM_CHARS = 2_000_000  # of each source's documents
HELDOUT_EVERY, HELDOUT_DOCS, HELDOUT_CHARS = 12, 40, 2000
MAX_CHARS = 20_000  # of a document
PARTS = 10
ALLOWED = 0.01


def read_texts(pool: Path, pattern: str) -> list[str]:
    import zstandard

    texts: list[str] = []
    num_chars = 0
    for path in sorted(pool.glob(f"{pattern}.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                texts.append(json.loads(line)["text"][:MAX_CHARS])
                num_chars += len(texts[-1])
                if num_chars >= NUM_CHARS:
                    return texts
    return texts


def digest_bytes(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hold_out(texts: dict[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(texts to train on, held-out texts) of each source; copies of held-out texts are not trained on."""
    heldout = {name: every[::HELDOUT_EVERY][:HELDOUT_DOCS] for name, every in texts.items()}
    held = {name: set(some) for name, some in heldout.items()}
    return {name: [text for text in every if text not in held[name]] for name, every in texts.items()}, heldout


def write_sources(folder: Path, trained: dict[str, list[str]], heldout: dict[str, list[str]], vocab: int) -> None:
    """A folder of shards for each source; all held-out documents stand in the first one's."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([text for every in trained.values() for text in every[::4]], trainer)
    order = np.random.Generator(np.random.PCG64(0))
    for number, (name, every) in enumerate(trained.items()):
        (folder / name / "heldout").mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / name / "tokenizer.json"))
        shuffled = [every[place] for place in order.permutation(len(every))]
        ids = np.concatenate([np.array([*e.ids, 0], "<u2") for e in tokenizer.encode_batch(shuffled)])
        (folder / name / "part-00000.npy").write_bytes(ids.tobytes())
        entries = {}
        for source, some in heldout.items() if number == 0 else ():
            lines = [
                json.dumps({"id": str(i), "text": t[:HELDOUT_CHARS], "source": source}) + "\n"
                for i, t in enumerate(some)
            ]
            (folder / name / "heldout" / f"{source}.jsonl.gz").write_bytes(
                gzip.compress("".join(lines).encode(), mtime=0)
            )
            entries[source] = {
                "path": f"heldout/{source}.jsonl.gz",
                "documents": len(some),
                "bytes": sum(map(len, lines)),
            }
        digest = digest_bytes(ids.tobytes())
        manifest = {
            "format": "dolma-py-shards", "version": 1, "dtype": "uint16", "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": 0,
            "tokens": len(ids), "documents": len(every), "fingerprint": digest, "heldout": entries,
            "tokenizer": {"path": "tokenizer.json", "fingerprint": digest_bytes(tokenizer.to_str().encode())},
            "files": [{"path": "part-00000.npy", "tokens": len(ids), "documents": len(every), "checksum": digest}],
        }  # fmt: skip
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
        held = len(heldout.get(name, ()))
        print(f"{name}: {len(ids):,} tokens of {len(every)} documents, {held} held out", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--mixes", type=int, help="only so many, to see how long they take; default: all 66")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rows", type=int, default=8, help="instances of a step")
    parser.add_argument("--tokens", type=int, default=128, help="of an instance")
    parser.add_argument("--given", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of which mixes are given")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("dolma_py").setLevel(logging.INFO)
    shards, last = Path(arguments.output) / "shards", list(SOURCES)[-1]
    if not (shards / last / "manifest.json").is_file():
        pool = Path(os.environ["DOLMA_PY_DATA"]) / "pool"
        trained, heldout = hold_out({name: read_texts(pool, pattern) for name, pattern in SOURCES.items()})
        write_sources(shards, trained, heldout, arguments.vocab)
    settings = build_config(OptimizeConfig, make_settings(arguments, shards))
    sources = {name: read_source(name, str(shards / name), arguments.tokens) for name in SOURCES}
    runs = ProxyRuns(settings, sources, str(Path(arguments.output) / "runs"))
    limits = limits_of(settings, sources)
    mixes = grid_mixes(len(SOURCES), PARTS)[: arguments.mixes]
    started = time.perf_counter()
    values = runs.measure([expand_shares(limits, mix) for mix in mixes])
    seconds = time.perf_counter() - started
    print(f"{len(mixes)} mixes in {seconds:.0f} s, {seconds / len(mixes):.1f} s each")
    print_grid(mixes, values)
    if len(mixes) < 66:
        return
    given = np.random.Generator(np.random.PCG64(arguments.seed)).permutation(len(mixes))[: arguments.given]
    chosen = choose_mix(settings, limits, mixes[given], values[given])["chosen"]
    instances = arguments.steps * arguments.rows
    measured = float(runs.measure([leave_out_small(chosen["shares"], instances)]).mean())
    means = values.mean(axis=1)
    above = measured / means.min() - 1
    print(f"\ngiven {arguments.given}: chosen {tell(list(chosen['shares'].values()))}, predicted {chosen['predicted_mean']:.4f}, measured "
          f"{measured:.4f}\nbest of the {len(mixes)}: {tell(mixes[means.argmin()])}, {means.min():.4f}; best of the given "
          f"{means[given].min():.4f}; median of all {np.median(means):.4f}\nthe chosen mix is {100 * above:+.2f}% from the best: "
          f"{'within' if above <= ALLOWED else 'NOT within'} 1%")  # fmt: skip
    print_draws(settings, mixes, values, arguments)
    sys.exit(0 if above <= ALLOWED else 1)


def make_settings(arguments: argparse.Namespace, shards: Path) -> dict[str, object]:
    return {
        "sources": {name: {"shards": str(shards / name)} for name in SOURCES},
        "tasks": {name: {"heldout": name, "shards": str(shards / next(iter(SOURCES)))} for name in SOURCES},
        "budget": 1,  # no cap binds
        "runs": arguments.given, "heldout_runs": 0, "max_docs": None,
        "proxy": {
            "config": "quickstart/pretrain", "steps": arguments.steps, "batch_instances": arguments.rows,
            "sequence_tokens": arguments.tokens, "workers": arguments.workers, "keep_weights": False,
            "overrides": ["run.num_threads=1", "run.device=cpu", f"data.micro_batch_instances={arguments.rows}"],
        },
    }  # fmt: skip


def tell(mix: list[float] | np.ndarray) -> str:
    return " ".join(f"{name} {share:.3f}" for name, share in zip(SOURCES, mix, strict=True))


def print_grid(mixes: np.ndarray, values: np.ndarray) -> None:
    print("\n| " + " | ".join(SOURCES) + " | " + " | ".join(f"{name}, bits per byte" for name in SOURCES) + " | mean |")
    print("|---" * (2 * len(SOURCES) + 1) + "|")
    for mix, row in zip(mixes, values, strict=True):
        print(
            "| "
            + " | ".join(f"{s:.1f}" for s in mix)
            + " | "
            + " | ".join(f"{v:.4f}" for v in row)
            + f" | {row.mean():.4f} |"
        )


def print_draws(settings: OptimizeConfig, mixes: np.ndarray, values: np.ndarray, arguments: argparse.Namespace) -> None:
    """How far from the best the choice is when other mixes are given; nothing more is trained."""
    sources = {name: read_source(name, settings.sources[name].shards, arguments.tokens) for name in SOURCES}
    limits, means, above, best_given = limits_of(settings, sources), values.mean(axis=1), [], []
    for draw in range(1, arguments.draws + 1):
        given = np.random.Generator(np.random.PCG64([arguments.seed, draw])).permutation(len(mixes))[: arguments.given]
        shares = choose_mix(settings, limits, mixes[given], values[given])["chosen"]["shares"]
        nearest = int(np.abs(mixes - np.array(list(shares.values()))).sum(axis=1).argmin())
        above.append(means[nearest] / means.min() - 1)
        best_given.append(means[given].min() / means.min() - 1)
    for name, found in (("the method, nearest mix of the grid", above), ("the best of the given", best_given)):
        print(f"{arguments.draws} other draws of {arguments.given}, {name}: median {100 * np.median(found):.2f}%, worst "
              f"{100 * max(found):.2f}% above the best, within 1% in {sum(value <= ALLOWED for value in found)}")  # fmt: skip


if __name__ == "__main__":
    main()
