"""Sample text from a finished run: the whole of `dolma-py generate`."""

from __future__ import annotations

import json
from pathlib import Path

from dolma_py.errors import ConfigError
from train_bridge.generation import generate_ids
from train_bridge.run_evaluation import load_run
from train_bridge.text_tokenizer import TextTokenizer

TOP_P = 0.95  # the value of Olmo 3's own chat evaluation


def generate(*, run: str, prompt: str, max_new_tokens: int, temperature: float, seed: int, top_p: float = TOP_P) -> str:
    """The continuation of `prompt` (an empty one starts a new document), without the prompt; same seed, same text.

    max_new_tokens bounds the length; an end of document ends it earlier. temperature 0 takes the most likely token.
    """
    rules = (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "expected at least 1"),
        ("temperature", temperature, temperature >= 0, "expected 0 or more"),
        ("top_p", top_p, 0 < top_p <= 1, "expected above 0 and at most 1"),
    )
    for key, value, is_good, rule in rules:
        if not is_good:
            raise ConfigError(key, value, rule)
    _, model, _ = load_run(run)
    tokens = json.loads((Path(run) / "tokens.json").read_text())
    tokenizer = TextTokenizer(Path(run) / "tokenizer.json")
    new_ids = generate_ids(
        model,
        [tokens["eos_token_id"], *tokenizer.encode(prompt)],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop_id=tokens["eos_token_id"],
        vocab_size=tokens["vocab_size"],
    )
    return tokenizer.decode(new_ids)
