"""Sample text from a finished run or from a folder in Hugging Face's form: the whole of `dolma-py generate`."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from dolma_py.config import build_config
from dolma_py.errors import ConfigError, DataError
from train_bridge.forking import split_run
from train_bridge.generation import Completion, SamplingConfig, generate_batch
from train_bridge.hf_files import is_hf_folder, load_hf_model, read_end_ids
from train_bridge.model import Olmo3
from train_bridge.run_evaluation import load_run
from train_bridge.run_training import choose_device
from train_bridge.text_tokenizer import TextTokenizer


class _Source(NamedTuple):
    """A model, its tokenizer, the tokenizer's size, the id before a document and those that end a text."""

    model: Olmo3
    tokenizer: TextTokenizer
    vocab_size: int
    start_id: int
    end_ids: Collection[int]


def generate(
    *, run: str, prompt: str | None, prompts: str | None, sampling: dict[str, Any], batch: int, seed: int
) -> str:
    """Continuations without their prompts; the same seed gives the same text.

    Parameters
    ----------
    run : str                     RUN@STEP, a run (its newest checkpoint), or a folder with Hugging Face's config.json
    prompt, prompts : str or None one of them: a text, or a file of JSON lines {"prompt": text}; an empty text starts a document
    sampling : dict               of SamplingConfig
    batch : int                   prompts at a time
    seed : int                    of every prompt's own sequence of random numbers

    Returns  the text, or for `prompts` one JSON line each: prompt, text, end (end_of_text or max_new_tokens)
    """
    if (prompt is None) == (prompts is None):
        raise ConfigError("--prompt", prompt, "expected either --prompt or --prompts")
    settings = build_config(SamplingConfig, sampling)
    texts = _read_prompts(Path(prompts)) if prompts is not None else [str(prompt)]
    source = _open_source(run)
    # a document begins after the end of another, in the shards that it was trained on too
    ids = [[source.start_id, *source.tokenizer.encode(text)] for text in texts]
    completions: list[Completion] = []
    for first in range(0, len(ids), batch):
        part = ids[first : first + batch]
        completions += generate_batch(
            source.model, part, sampling=settings, seeds=[seed] * len(part), end_ids=source.end_ids,
            vocab_size=source.vocab_size,
        )  # fmt: skip
    if prompts is None:
        return source.tokenizer.decode(completions[0].ids)
    lines = [
        {
            "prompt": text,
            "text": source.tokenizer.decode(completion.ids),
            "end": "end_of_text" if completion.has_ended else "max_new_tokens",
        }
        for text, completion in zip(texts, completions, strict=True)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _open_source(run: str) -> _Source:
    folder = Path(run)
    if is_hf_folder(folder):
        model, description = load_hf_model(folder, device=choose_device("auto"))
        tokenizer = TextTokenizer(folder / "tokenizer.json")
        # the last of several ends of a chat model is that of its documents
        start_id, end_ids = description.end_ids[-1], read_end_ids(folder, description)
        return _Source(model, tokenizer, description.vocab_size, start_id, end_ids)
    _, model, _ = load_run(run)
    folder, _ = split_run(run)
    tokens = json.loads((folder / "tokens.json").read_text())
    end_id = tokens["eos_token_id"]
    return _Source(model, TextTokenizer(folder / "tokenizer.json"), tokens["vocab_size"], end_id, (end_id,))


def _read_prompts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    texts = []
    for row, line in enumerate(lines, 1):
        try:
            text = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(str(path), "expected a JSON object with prompt", row=row) from error
        if not isinstance(text, str):
            raise DataError(str(path), f"prompt: expected a string, got {type(text).__name__}", row=row)
        texts.append(text)
    if not texts:
        raise DataError(str(path), "holds no prompt")
    return texts
