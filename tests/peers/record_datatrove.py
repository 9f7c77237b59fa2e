"""Run datatrove's readers, writers and tokenizer on made documents and keep what they make.

    .venv-peers/datatrove/bin/python tests/peers/record_datatrove.py TREE OUTPUT COMMAND...

COMMAND is one or more of: read write tokens. TREE has documents/<source>/*.jsonl.gz or *.parquet, for tokens a tokenizer.json.
Runs inside datatrove's environment; OUTPUT/<command>/recorded.json says which version made the files beside it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter


def read_records(tree: Path) -> list[dict[str, Any]]:
    """All records of the tree's JSON lines, in order of files and lines."""
    files = sorted(tree.glob("documents/*/*.jsonl.gz"))
    return [
        json.loads(line) for path in files for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line
    ]


def record_read(tree: Path, output: Path) -> None:
    """What the readers see: id, SHA-256 of the text, metadata without the path that the reader adds."""
    for kind, reader, pattern in (("jsonl", JsonlReader, "*/*.jsonl.gz"), ("parquet", ParquetReader, "*/*.parquet")):
        if not any(tree.glob(f"documents/{pattern}")):
            continue
        lines = []
        for document in reader(str(tree / "documents"), glob_pattern=pattern, recursive=True)():
            metadata = {key: value for key, value in document.metadata.items() if key != "file_path"}
            digest = hashlib.sha256(document.text.encode()).hexdigest()
            lines.append(
                json.dumps(
                    {"id": document.id, "text_sha256": digest, "metadata": metadata}, sort_keys=True, default=str
                )
            )
        (output / f"{kind}.jsonl").write_text("".join(line + "\n" for line in lines))


def record_write(tree: Path, output: Path) -> None:
    """The documents as the writers write them by default, with the metadata that datatrove's own pipelines have."""
    with tempfile.TemporaryDirectory() as folder:
        writers = [JsonlWriter(f"{folder}/jsonl"), ParquetWriter(f"{folder}/parquet")]
        for writer in writers:
            with writer:
                for record in read_records(tree):
                    metadata = {
                        "url": f"https://example.org/{record['id']}",
                        "date": "2023-12-31T23:59:59",
                        "dump": "made",
                    }
                    writer.write(Document(text=record["text"], id=record["id"], metadata=metadata), rank=0)
        (output / "00000.jsonl").write_bytes(gzip.decompress(Path(folder, "jsonl", "00000.jsonl.gz").read_bytes()))
        (made,) = Path(folder, "parquet").glob("*.parquet")
        shutil.copy(made, output / "00000.parquet")


def record_tokens(tree: Path, output: Path) -> None:
    """Token ids of all documents, without a shuffle; an end token after each."""
    with tempfile.TemporaryDirectory() as folder:
        steps = [
            JsonlReader(str(tree / "documents"), glob_pattern="*/*.jsonl.gz", recursive=True),
            DocumentTokenizer(
                f"{folder}/tokens", f"{tree}/tokenizer.json", eos_token="<|endoftext|>", shuffle_documents=False, batch_size=10,
                local_working_dir=f"{folder}/work",
            ),
        ]  # fmt: skip
        LocalPipelineExecutor(steps, tasks=1, logging_dir=f"{folder}/logs").run()
        for path in sorted(Path(folder, "tokens").rglob("*.ds*")):
            name = path.name.split("_", 1)[-1]
            if not name.endswith(".metadata"):
                shutil.copy(path, output / name)


COMMANDS = {"read": record_read, "write": record_write, "tokens": record_tokens}


def main(tree: str, output: str, *commands: str) -> None:
    for command in commands:
        target = Path(output) / command
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        COMMANDS[command](Path(tree).resolve(), target)
        about = {"tool": "datatrove", "version": importlib.metadata.version("datatrove"), "command": command}
        (target / "recorded.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
