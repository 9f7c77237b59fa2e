"""Folders in Hugging Face's form: config.json, safetensors, tokenizer.json. Read into an Olmo 3, and written from one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dolma_py.errors import DataError, MissingDependencyError, SchemaError
from train_bridge.attention import AttentionBackend
from train_bridge.checkpoint import write_json
from train_bridge.checkpoint_tensors import plain_name
from train_bridge.conversion import HfDescription, fit_vocabulary, from_hf_name, hf_state_dict, read_hf_config
from train_bridge.distributed import cut_like, local_part
from train_bridge.model import Olmo3

MAX_FILE_BYTES = 5 * 10**9  # of one safetensors file, as transformers cuts them
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class HfModel(NamedTuple):
    """A model with the weights of a folder, and what its config.json says."""

    model: Olmo3
    description: HfDescription


def is_hf_folder(folder: Path) -> bool:
    """Whether config.json is Hugging Face's: a run's own has no model_type."""
    path = folder / "config.json"
    return path.is_file() and "model_type" in _read_object(path)


def load_hf_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attention_backend: AttentionBackend = "sdpa",
) -> HfModel:
    """An Olmo 3 from a folder, its vocabulary padded to a multiple of 128; one tensor at a time is held twice.

    Raises  DataError for a missing key, a tensor that is missing, unknown or of another shape, or files of pickles
    """
    description = read_description(folder)
    with torch.device("meta"):
        model = Olmo3(description.config, attention_backend=attention_backend)
    model = model.to(dtype).to_empty(device=device)
    load_hf_weights(folder, model, vocab_size=description.vocab_size)
    return HfModel(model.eval(), description)


def read_description(folder: Path) -> HfDescription:
    """What config.json says. DataError as in read_hf_config."""
    path = folder / "config.json"
    return read_hf_config(_read_object(path), where=str(path))


def read_end_ids(folder: Path, description: HfDescription) -> tuple[int, ...]:
    """The ids that end a generated text: those of generation_config.json where it names some, as in transformers, else config.json's.

    A chat model ends a turn with an id of its own, which only generation_config.json has. DataError for what is no id.
    """
    path = folder / "generation_config.json"
    found = _read_object(path).get("eos_token_id") if path.is_file() else None
    if found is None:
        return description.end_ids
    ids = found if isinstance(found, list) else [found]
    # bool is an int of Python's
    if not ids or not all(type(one) is int and 0 <= one < description.vocab_size for one in ids):
        rule = f"eos_token_id: expected ids below {description.vocab_size}, got {found!r}"
        raise DataError(str(path), rule)
    return tuple(ids)


@torch.no_grad()
def load_hf_weights(folder: Path, model: nn.Module, *, vocab_size: int) -> None:
    """A folder's weights into a model of its shape, in place: one whole tensor at a time, of which a rank keeps the parts that it holds.

    vocab_size: the tokenizer's, without padding
    Raises  DataError for a tensor that is missing, unknown or of another shape, or files of pickles
    """
    waiting = {plain_name(name): parameter for name, parameter in model.named_parameters()}
    for name, tensor in _read_tensors(folder):
        try:
            parameter = waiting.pop(from_hf_name(name))
        except (KeyError, SchemaError) as error:
            raise DataError(str(folder), f"tensor {name} belongs to no parameter of this Olmo 3") from error
        tensor = fit_vocabulary(name, tensor, vocab_size=vocab_size, where=str(folder))
        if tensor.shape != parameter.shape:
            rule = f"{name} has shape {tuple(tensor.shape)}, config.json asks for {tuple(parameter.shape)}"
            raise DataError(str(folder), rule)
        local_part(parameter).copy_(cut_like(tensor, parameter))
    if waiting:
        raise DataError(str(folder), f"lacks the tensors of {', '.join(sorted(waiting)[:3])} ({len(waiting)} in all)")


def write_hf_folder(
    folder: Path, model: Olmo3, config_values: dict[str, Any], *, dtype: torch.dtype, tokenizer: Path
) -> None:
    """config.json, generation_config.json, the weights as safetensors, tokenizer.json and tokenizer_config.json."""
    save_file = _safetensors().save_file
    end_id = config_values["eos_token_id"]
    write_json(folder / "config.json", {**config_values, "dtype": str(dtype).removeprefix("torch.")})
    special = {"bos_token_id": None, "eos_token_id": end_id, "pad_token_id": config_values["pad_token_id"]}
    write_json(folder / "generation_config.json", {**special, "do_sample": False})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    write_json(folder / "tokenizer_config.json", _tokenizer_settings(tokenizer, config_values))
    state = hf_state_dict(model, vocab_size=config_values["vocab_size"], dtype=dtype)
    parts = _cut_into_files({name: tensor.numel() * tensor.element_size() for name, tensor in state.items()})
    if len(parts) == 1:
        save_file(state, folder / _SINGLE, metadata={"format": "pt"})
        return
    places = {}
    for number, names in enumerate(parts, 1):
        file_name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file({name: state[name] for name in names}, folder / file_name, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file_name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _cut_into_files(sizes: dict[str, int]) -> list[list[str]]:
    """Names in order, a new file where MAX_FILE_BYTES would be passed."""
    parts: list[list[str]] = []
    used = MAX_FILE_BYTES
    for name, num_bytes in sizes.items():
        if used + num_bytes > MAX_FILE_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += num_bytes
    return parts


def _tokenizer_settings(tokenizer: Path, config_values: dict[str, Any]) -> dict[str, Any]:
    """What transformers reads beside tokenizer.json: nothing is put before a text, and decoding leaves spaces alone."""
    added = {token["id"]: token["content"] for token in _read_object(tokenizer).get("added_tokens", [])}
    names = {"eos_token": config_values["eos_token_id"], "pad_token": config_values["pad_token_id"]}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config_values["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        **{name: added[token_id] for name, token_id in names.items() if token_id in added},
    }


def _read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Each tensor once, in the order of the files."""
    safetensors = _safetensors()
    names = [_SINGLE]
    if (folder / _INDEX).is_file():
        # names of files come from a file: only those beside it are opened
        names = sorted({Path(str(name)).name for name in _read_object(folder / _INDEX)["weight_map"].values()})
    elif not (folder / _SINGLE).is_file():
        rule = f"holds neither {_SINGLE} nor {_INDEX}"
        raise DataError(str(folder), rule, hint="Pickles (pytorch_model.bin) are not read: they can run programs.")
    for name in names:
        try:
            with safetensors.safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  # a reader of files, not a mapping
                    yield key, file.get_tensor(key)
        except (OSError, ValueError, safetensors.error) as error:
            raise DataError(str(folder / name), f"cannot be read ({error})") from error


class _Safetensors(NamedTuple):
    safe_open: Any
    save_file: Any
    error: Any


def _safetensors() -> _Safetensors:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise MissingDependencyError("safetensors", "train") from error
    return _Safetensors(safetensors.safe_open, safetensors.torch.save_file, safetensors.SafetensorError)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise DataError(str(path), f"expected a JSON object, got {type(values).__name__}")
    return values
