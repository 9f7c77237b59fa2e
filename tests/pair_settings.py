"""Settings of preference pairs for tests: models by their names, all behind one server of this machine."""

from __future__ import annotations

import json

from dolma_py.config import build_config
from mixers.pair_config import PairsConfig

URL = "http://127.0.0.1:1/v1"  # nobody listens there
ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def endpoint_of(url, tmp_path, model):
    return {
        "base_url": url,
        "model": model,
        "cache": str(tmp_path / "answers"),
        "first_wait_seconds": 0.01,
        "max_tries": 2,
        "max_failed_frac": 1.0,
    }


def responder(url, tmp_path, model, **more):
    return {"name": model, "endpoint": endpoint_of(url, tmp_path, model), **more}


def write_prompts(tmp_path, *texts, name="prompts.jsonl", source="chat"):
    path = tmp_path / name
    rows = [{"id": f"p{number}", "source": source, "prompt": text} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def delta(url, tmp_path, prompts, **more):
    values = {
        "kind": "delta",
        "prompts": [prompts],
        "strong": responder(url, tmp_path, "big"),
        "weak": responder(url, tmp_path, "small"),
    }
    return build_config(PairsConfig, values | more)


def judged(url, tmp_path, prompts, **more):
    pool = [responder(url, tmp_path, name, is_weak=name == "tiny") for name in ("a", "b", "tiny", "c")]
    values = {
        "kind": "judged",
        "prompts": [prompts],
        "pool": pool,
        "pool_size": 4,
        "judge": {"endpoint": endpoint_of(url, tmp_path, "judge")},
    }
    return build_config(PairsConfig, values | more)


def rows_of(path):
    return [json.loads(line) for line in open(path)]


def message(role, content):
    return {"role": role, "content": content, "functions": None, "function_calls": None}


def user(text):
    return {"role": "user", "content": text}
