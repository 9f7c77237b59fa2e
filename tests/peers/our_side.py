"""What this project makes of the made documents: a corpus with the attributes of others, and exports of it.

    PYTHONPATH=. .venv/bin/python tests/peers/our_side.py

makes all of tests/peers/recorded again, with the tools that `make peers` installs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mixers.tokenization import BpeConfig, train_bpe
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from tests.peers import made_filter_texts, made_tree, record_dolma

PEERS = Path(__file__).resolve().parent
RECORDED = PEERS / "recorded"
ENVIRONMENTS = PEERS.parent.parent / ".venv-peers"
SET = "dolma-made-v1"
# arguments of record_filters_<tool>.py
FILTER_OPTIONS = {"datatrove": ["single"], "dolma": []}
# record_dolma has the same for dolma's mixer
RULES = [
    {"name": "long", "attributes": SET, "keep": f"size__length__score >= {record_dolma.LEAST_CHARACTERS}"},
    {"name": "odd", "attributes": SET, "edit": "odd__run"},
    {"name": "notice", "attributes": SET, "edit": "odd__notice"},
]


def write_input_tree(folder: Path) -> None:
    """The made tree with the attributes that dolma was recorded to give it."""
    made_tree.write_tree(folder)
    for command in ("tag", "dedupe", "dedupe-documents"):
        for path in sorted((RECORDED / "dolma" / command).glob("*/*/*.jsonl")):
            name = path.relative_to(RECORDED / "dolma" / command)
            made_tree.write_lines(folder / "attributes" / f"{name}.gz", made_tree.read_lines(path))


def make_ours(folder: Path) -> None:
    """folder/tree to folder/corpus to folder/export (as it is, for dolma's mixer) and folder/edited (what the view leaves)."""
    options = BuildOptions(show_progress=False)
    write_input_tree(folder / "tree")
    step = {"sources": [{"inputs": [str(folder / "tree")]}], "rules": RULES}
    run_step_file("ingest", {"corpus": str(folder / "corpus"), "step": step}, options)
    for name, view in (("export", None), ("edited", "ingest")):
        step = {"output": str(folder / name), "attributes": [SET]}
        run_step_file(
            "export_dolma", {"corpus": str(folder / "corpus"), "view": view, "name": name, "step": step}, options
        )
    shutil.copytree(folder / "export" / "documents", folder / "documents-of-both" / "documents")
    shutil.copytree(folder / "corpus" / "documents", folder / "documents-of-both" / "documents", dirs_exist_ok=True)


def write_token_tree(folder: Path) -> None:
    """The made documents and a tokenizer of ours, its merges in the old form that dolma's tokenizers understands."""
    made_tree.write_tree(folder)
    shutil.rmtree(folder / "attributes")
    texts = [text for texts in made_tree.TEXTS.values() for text in texts]
    values = json.loads(train_bpe(texts * 3, BpeConfig(vocab_size=400)))
    values["model"]["merges"] = [" ".join(pair) for pair in values["model"]["merges"]]
    (folder / "tokenizer.json").write_text(json.dumps(values, indent=0, sort_keys=True) + "\n")


def run_datatrove(tree: Path, output: Path, *commands: str) -> None:
    """record_datatrove.py in its own environment."""
    command = [
        str(ENVIRONMENTS / "datatrove" / "bin" / "python"),
        str(PEERS / "record_datatrove.py"),
        str(tree),
        str(output),
    ]
    answer = subprocess.run([*command, *commands], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{command} failed:\n{answer.stderr[-4000:]}")


def record_dolma_of(tree: Path, output: Path, *commands: str) -> None:
    record_dolma.main(str(ENVIRONMENTS / "dolma" / "bin" / "python"), str(tree), str(output), *commands)


def ask_filters(tool: str, texts: list[str]) -> list[dict[str, Any]]:
    """What the tool's own filters say of the texts, and who says so; without the times."""
    command = [
        str(ENVIRONMENTS / tool / "bin" / "python"),
        str(PEERS / f"record_filters_{tool}.py"),
        *FILTER_OPTIONS[tool],
    ]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    answer = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{command} failed:\n{answer.stderr[-4000:]}")
    answers = [json.loads(line) for line in answer.stdout.splitlines()]
    answers[-1].pop("seconds")
    return answers


def record_filters() -> None:
    """The answers of both tools to the made texts of the rule filters."""
    (RECORDED / "filters").mkdir(parents=True, exist_ok=True)
    for tool in FILTER_OPTIONS:
        answers = ask_filters(tool, made_filter_texts.all_texts())
        lines = "".join(json.dumps(answer, sort_keys=True) + "\n" for answer in answers)
        (RECORDED / "filters" / f"{tool}.jsonl").write_text(lines)


def record_all() -> None:
    """In the order in which one needs the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_tree.write_tree(folder / "made")
        record_dolma_of(folder / "made", RECORDED / "dolma", "tag", "dedupe", "dedupe-documents")
        write_token_tree(folder / "tokens")
        shutil.copy(folder / "tokens" / "tokenizer.json", RECORDED / "tokenizer.json")
        record_dolma_of(folder / "tokens", RECORDED / "dolma", "tokens")
        run_datatrove(folder / "tokens", RECORDED / "datatrove", "write", "tokens")
        make_ours(folder / "ours")
        record_dolma_of(folder / "ours" / "export", RECORDED / "dolma", "mix")
        run_datatrove(folder / "ours" / "documents-of-both", RECORDED / "datatrove", "read")
    record_filters()


if __name__ == "__main__":
    record_all()
    sys.exit(0)
