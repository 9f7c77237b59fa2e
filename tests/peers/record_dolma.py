"""Run Ai2's dolma on a tree of made documents and keep what it writes. Imports nothing but the standard library.

    python tests/peers/record_dolma.py .venv-peers/dolma/bin/python TREE OUTPUT COMMAND...

COMMAND is one or more of: tag dedupe mix tokens. TREE has documents/<source>/*.jsonl.gz, for mix attributes/made too, for tokens a
tokenizer.json. OUTPUT/<command>/ gets the records as plain JSON lines, and OUTPUT/<command>/recorded.json version and settings.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TAGGERS = ["char_length_v1", "c4_v2", "gopher_v1", "pii_regex_with_counts_fast_v2"]
# what the mixer keeps and cuts; tests/peers/test_peers_dolma.py has the same as a view
LEAST_CHARACTERS = 20
LEAST_SCORE = 0.5


def make_settings(command: str, tree: Path, output: Path, experiment: str) -> dict[str, Any]:
    """dolma's configuration of a command."""
    documents = f"{tree}/documents/*/*.gz"
    bloom = {
        "file": f"{output}/bloom.bin",
        "read_only": False,
        "estimated_doc_count": 1000,
        "desired_false_positive_rate": 1e-6,
    }
    name = f"{experiment}__{experiment}__"
    settings: dict[str, dict[str, Any]] = {
        "tag": {"documents": [documents], "taggers": TAGGERS, "processes": 1},
        "dedupe": {
            "documents": [documents], "processes": 1, "bloom_filter": bloom,
            "dedupe": {"name": "paragraphs", "paragraphs": {"attribute_name": "duplicate_paragraphs"}, "skip_empty": True},
        },
        "dedupe-documents": {
            "documents": [documents], "processes": 1, "bloom_filter": bloom | {"file": f"{output}/bloom2.bin"},
            "dedupe": {"name": "copies", "documents": {"attribute_name": "copies", "key": "$.text"}, "skip_empty": True},
        },
        "mix": {"processes": 1, "streams": [{
            "name": "mixed", "documents": [documents], "attributes": [experiment],
            "output": {"path": f"{output}/mixed", "max_size_in_bytes": 1 << 30},
            "filter": {"include": [f"$.attributes[?(@.{name}size__length[0] && @.{name}size__length[0][2] >= {LEAST_CHARACTERS})]"]},
            "span_replacement": [
                {"span": f"$.attributes.{name}odd__{kind}", "min_score": LEAST_SCORE, "replacement": ""} for kind in ("run", "notice")],
        }]},
        "tokens": {
            "documents": [documents], "destination": f"{output}/tokens", "processes": 1, "ring_size": 1, "batch_size": 1,
            "dtype": "uint16", "seed": 0, "tokenizer": {"name_or_path": f"{tree}/tokenizer.json", "eos_token_id": 0, "pad_token_id": 0},
        },
    }  # fmt: skip
    return settings[command]


def run_dolma(python: str, command: str, settings: dict[str, Any], work: Path) -> None:
    """One dolma command, its settings in a file; fails with what it said."""
    path = work / f"{command}.json"
    path.write_text(json.dumps(settings))
    arguments = [python, "-m", "dolma.cli", "-c", str(path), command.split("-")[0]]
    environment = os.environ | {"TMPDIR": str(work), "NLTK_DATA": str(work)}
    answer = subprocess.run(arguments, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"dolma {command} failed:\n{answer.stdout[-2000:]}\n{answer.stderr[-4000:]}")


def read_version(python: str) -> str:
    command = [python, "-c", "import importlib.metadata as m; print(m.version('dolma'))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def digest_tree(tree: Path) -> str:
    """Of the plain content of all files of documents/ and attributes/: what the recording is about."""
    digest = hashlib.sha256()
    for path in sorted([*tree.glob("documents/*/*.gz"), *tree.glob("attributes/*/*/*.gz")]):
        digest.update(f"{path.relative_to(tree)}\n".encode() + gzip.decompress(path.read_bytes()))
    return digest.hexdigest()


def copy_plain(source: Path, target: Path) -> None:
    """gzip JSON lines as plain ones."""
    for path in sorted(source.rglob("*.gz")):
        name = path.relative_to(source).with_suffix("")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(gzip.decompress(path.read_bytes()))


def record(python: str, tree: Path, output: Path, command: str) -> None:
    """Run one command on a copy of the tree and keep what it made."""
    target = output / command
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(tree, work / "tree")
        experiment = (
            next(iter(sorted(path.name for path in (tree / "attributes").glob("*")))) if command == "mix" else ""
        )
        run_dolma(python, command, make_settings(command, work / "tree", work, experiment), work)
        if command == "mix":
            copy_plain(work / "mixed", target)
        elif command == "tokens":
            for path in sorted((work / "tokens").glob("*.npy")):
                shutil.copy(path, target / path.name)
            for path in sorted((work / "tokens").glob("*.csv.gz")):
                rows = gzip.decompress(path.read_bytes()).decode().replace(f"{work}/tree/", "")
                (target / path.name).with_suffix("").write_text(rows)
        else:
            for made in sorted((work / "tree" / "attributes").iterdir()):
                if not (tree / "attributes" / made.name).exists():
                    copy_plain(made, target / made.name)
        settings = make_settings(command, Path("TREE"), Path("OUTPUT"), experiment)
    about = {
        "tool": "dolma",
        "version": read_version(python),
        "command": command,
        "settings": settings,
        "tree_sha256": digest_tree(tree),
    }
    (target / "recorded.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def main(python: str, tree: str, output: str, *commands: str) -> None:
    for command in commands:
        record(os.path.abspath(python), Path(tree).resolve(), Path(output).resolve(), command)


if __name__ == "__main__":
    main(*sys.argv[1:])
