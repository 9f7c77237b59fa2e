"""Rows of chats a second through pass 1 of posttrain prepare, one core, beside transformers' apply_chat_template with its mask.

    python -m benchmarks.posttrain_rows [--chats 2000]

Both get the same made conversations (four turns, some 500 words) and a byte-level vocabulary trained on them. transformers renders and
encodes; ours also checks, filters (problems of answers), and decodes every answer to verify its mask. CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from dolma_py import config, storage
from dolma_py.trace_filters import TraceLimits
from mixers.chat_templates import find_template
from mixers.tokenization import BpeConfig, train_bpe
from pipelines.posttrain_config import PreparePosttrainConfig
from pipelines.posttrain_rows import Counts, batch_records, make_table, make_worker

SPECIALS = ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
# one template for both: answers are marked for transformers
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% generation %}"
    "{{ message['content'] + (eos_token if loop.last else '<|im_end|>') }}{% endgeneration %}{{ '' if loop.last else '\\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_chats(count: int) -> list[dict[str, Any]]:
    """Conversations of words drawn by Zipf's law."""
    rng = random.Random(1)
    words = ["".join(rng.choice("aeioulnrstdkm") for _ in range(rng.randint(2, 9))) for _ in range(5000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]

    def text(size: int) -> str:
        return " ".join(rng.choices(words, weights, k=size)) + "."

    return [
        {"id": str(number), "messages": [
            {"role": role, "content": text(size)} for role, size in (("user", 30), ("assistant", 220), ("user", 30), ("assistant", 220))]}
        for number in range(count)
    ]  # fmt: skip


def time_cpu(work: Callable[[], object]) -> float:
    """CPU seconds of the second of two calls."""
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chats", type=int, default=2000)
    chats = make_chats(parser.parse_args().chats)
    text_bytes = sum(len(message["content"].encode()) for chat in chats for message in chat["messages"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = (message["content"] for chat in chats for message in chat["messages"])
        (folder / "tokenizer.json").write_bytes(train_bpe(texts, BpeConfig(vocab_size=4000, special_tokens=SPECIALS)))
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        import transformers

        peer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            eos_token="<|endoftext|>",
            additional_special_tokens=list(SPECIALS[2:]),
        )
        print(f"{len(chats)} conversations, {text_bytes / 1e6:.1f} MB of text, CPU seconds of one process")
        theirs = time_cpu(lambda: [
            peer.apply_chat_template(chat["messages"], chat_template=TEMPLATE, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            for chat in chats
        ])  # fmt: skip
        print(
            f"transformers {transformers.__version__}, render, encode, mask: {theirs:6.2f} s, {text_bytes / 1e6 / theirs:5.2f} MB/s"
        )
        for label, traces in (("without filters", None), ("with the filters of answers", TraceLimits())):
            ours = time_cpu(lambda traces=traces: prepare(folder, chats, traces))
            print(
                f"posttrain prepare, pass 1, {label}: {ours:6.2f} s, {text_bytes / 1e6 / ours:5.2f} MB/s, {theirs / ours:.1f} x transformers"
            )


def prepare(folder: Path, chats: list[dict[str, Any]], traces: TraceLimits | None) -> int:
    """Rows that stay of all records."""
    path = str(folder / "tokenizer.json")
    values = {
        "mix": "m", "tokenizer": str(folder), "sources": [{"name": "s", "inputs": ["x"]}],
        "traces": None if traces is None else config.dump_config(traces),
    }  # fmt: skip
    settings = config.build_config(PreparePosttrainConfig, values)
    template = find_template("own", str(folder), eos_token="<|endoftext|>")
    job = {
        "settings": config.dump_config(settings), "tokenizer": path, "tokenizer_checksum": storage.checksum_file(path),
        "template": list(template), "contamination": None,
    }  # fmt: skip
    worker, counts = make_worker({"job": job}), Counts()
    records = enumerate(json.loads(json.dumps(chats)), 1)
    tables = [
        make_table(worker, settings.sources[0], "f", rows, counts, io.BytesIO())
        for rows in batch_records(iter(records))
    ]
    return sum(table.num_rows for table in tables)


if __name__ == "__main__":
    main()
