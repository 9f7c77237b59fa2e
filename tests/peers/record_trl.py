"""Write down what TRL makes of made conversations and pairs: losses and gradients of fine-tuning and of DPO.

    PYTHONPATH=.:TRL python tests/peers/record_trl.py tests/peers/recorded/trl.json

TRL is a folder with the packages of tests/peers/trl.txt (pip install --no-deps --target TRL -r tests/peers/trl.txt); the rest is this
package's own environment, with transformers. Weights come from a seed and go to TRL in Hugging Face's form; log-probs of the
reference are given. Of each gradient its norm and its product with a vector of cosines are kept.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from tests.made_shards import write_byte_tokenizer
from tests.peers.trl_batch import CHATS, PAIRS, REFERENCES, SHAPE, describe_gradients, hf_names
from train_bridge.conversion import from_hf_name, hf_config_values
from train_bridge.hf_files import write_hf_folder
from train_bridge.model import build_model


def pad(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def options(folder: Path, **values: Any) -> dict[str, Any]:
    return {"output_dir": str(folder / "out"), "use_cpu": True, "report_to": "none", "bf16": False, "gradient_checkpointing": False,
            "per_device_train_batch_size": len(PAIRS), **values}  # fmt: skip


def tokenizer_of(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token=end, eos_token=end)


def gradients(model: torch.nn.Module) -> dict[str, list[float]]:
    names = hf_names()
    found = {from_hf_name(name): one.grad for name, one in model.named_parameters()}
    assert set(found) == set(names)
    return describe_gradients(found)


def record_dpo(folder: Path, loss: str, beta: float) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import Olmo3ForCausalLM
    from trl import DPOConfig, DPOTrainer

    model = Olmo3ForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    trainer = DPOTrainer(
        model, args=DPOConfig(**options(folder, loss_type=[loss], beta=beta, precompute_ref_log_probs=False, disable_dropout=True)),
        ref_model=Olmo3ForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32),
        train_dataset=rows, processing_class=tokenizer_of(folder),
    )  # fmt: skip
    trainer.precompute_ref_logps = True
    sides = [[pair[f"{side}_{kind}"] for side in ("chosen", "rejected") for pair in PAIRS] for kind in ("ids", "mask")]
    inputs = {
        "input_ids": pad(sides[0]), "completion_mask": pad([[int(value) for value in mask] for mask in sides[1]]),
        "attention_mask": pad([[1] * len(ids) for ids in sides[0]]),
        "ref_chosen_logps": torch.tensor([one[0] for one in REFERENCES]), "ref_rejected_logps": torch.tensor([one[1] for one in REFERENCES]),
    }  # fmt: skip
    value = trainer._compute_loss(trainer.model, inputs, False)
    value.backward()
    return {"loss": float(value.detach()), "beta": beta, "gradients": gradients(trainer.model)}


def record_sft(folder: Path) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import Olmo3ForCausalLM
    from trl import SFTConfig, SFTTrainer

    model = Olmo3ForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)
    trainer = SFTTrainer(
        model, args=SFTConfig(**options(folder)), train_dataset=Dataset.from_list([{"text": "a"}] * 2),
        processing_class=tokenizer_of(folder),
    )  # fmt: skip
    ids = pad([chat["ids"] for chat in CHATS])
    mask = pad([[int(value) for value in chat["mask"]] for chat in CHATS])
    inputs = {
        "input_ids": ids,
        "attention_mask": pad([[1] * len(chat["ids"]) for chat in CHATS]),
        "labels": ids.masked_fill(mask == 0, -100),
    }
    value = trainer.compute_loss(trainer.model, inputs)
    value.backward()
    return {"loss": float(value.detach()), "gradients": gradients(trainer.model)}


def main(path: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_byte_tokenizer(folder)
        values = hf_config_values(SHAPE, context_tokens=64, vocab_size=257, eos_token_id=0)
        (folder / "hf").mkdir()
        write_hf_folder(
            folder / "hf", build_model(SHAPE, seed=3), values, dtype=torch.float32, tokenizer=folder / "tokenizer.json"
        )
        found = {
            "versions": {name: importlib.metadata.version(name) for name in ("trl", "transformers", "torch")},
            "sft": record_sft(folder),
            "dpo_norm": record_dpo(folder, "sigmoid_norm", 5.0),
            "dpo": record_dpo(folder, "sigmoid", 0.1),
        }
    Path(path).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
