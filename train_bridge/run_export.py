"""Write a finished run in Hugging Face's form: the whole of `dolma-py export hf`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from dolma_py.errors import ConfigError, DataError
from train_bridge.checkpoint import write_json
from train_bridge.conversion import hf_config_values
from train_bridge.forking import local_path, split_run
from train_bridge.hf_files import load_hf_model, write_hf_folder
from train_bridge.logits_gate import check_logits, gate_ids
from train_bridge.metrics import LOGGER
from train_bridge.model import Olmo3
from train_bridge.run_evaluation import load_run

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
REPORT_NAME = "dolma_py_export.json"


def export_hf(*, run: str, output: str, dtype: str) -> dict[str, Any]:
    """Write a checkpoint; the folder appears under its name only after transformers has given the run's logits.

    Parameters
    ----------
    run : str      RUN@STEP, or RUN for its newest checkpoint
    output : str   a folder that is not there yet
    dtype : str    float32 as trained, or bfloat16: half the size, and other logits than the run's

    Returns  what REPORT_NAME in the folder holds: checkpoint, dtype, tokens compared, largest difference, its bound
    """
    target = local_path("--output", output)
    if dtype not in DTYPES:
        raise ConfigError("--dtype", dtype, f"expected one of {', '.join(DTYPES)}")
    if target.exists():
        raise ConfigError(
            "--output", output, "expected a folder that is not there yet", "Remove it, or choose another."
        )
    config, model, checkpoint = load_run(run)
    folder, _ = split_run(run)
    tokens = _read_tokens(folder / "tokens.json")
    values = hf_config_values(
        model.config,
        vocab_size=tokens["vocab_size"],
        context_tokens=config.data.sequence_tokens,
        eos_token_id=tokens["eos_token_id"],
    )
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tokenizer = folder / "tokenizer.json"
        write_hf_folder(partial, model, values, dtype=DTYPES[dtype], tokenizer=tokenizer)
        report = {"checkpoint": checkpoint.name, "dtype": dtype, **_pass_gate(partial, model, values, DTYPES[dtype])}
        write_json(partial / REPORT_NAME, report)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    LOGGER.info(
        "%s: logits of %d tokens in transformers %s differ by %.2g at most (allowed %.2g)",
        output, report["compared_tokens"], report["transformers"], report["max_abs_difference"], report["allowed_difference"],
    )  # fmt: skip
    return report


def _pass_gate(folder: Path, model: Olmo3, values: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The model against transformers, and against what this package reads back; one model beside the run's at a time."""
    device = model.embeddings.weight.device
    vocab_size = values["vocab_size"]
    ids_BT = gate_ids(model, vocab_size=vocab_size, context_tokens=values["max_position_embeddings"]).to(device)
    with torch.no_grad():
        # the precision of the file, the products of float32: what is compared is the meaning of the file
        model = model.to(dtype).to(torch.float32)
        logits_TV = model(ids_BT)[0, :, :vocab_size]
        result = check_logits(folder, logits_TV, ids_BT)
        again_TV = load_hf_model(folder, device=device).model(ids_BT)[0, :, :vocab_size]
    if not torch.equal(again_TV, logits_TV):
        raise DataError(str(folder), "gives other logits when this package reads it back", hint="Please report this.")
    return {
        "compared_tokens": result.num_tokens,
        "max_abs_difference": result.max_abs_difference,
        "max_abs_logit": result.max_abs_logit,
        "allowed_difference": result.bound,
        "transformers": result.transformers_version,
    }


def _read_tokens(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
