"""The tokenizer of a step: read once on the driver, and a file of the step's folder from there on.

So all workers have the tokenizer that the step's fingerprint is of, whatever becomes of its name meanwhile, and none of them asks the
Hugging Face hub or needs the driver's disk.
"""

from __future__ import annotations

from typing import Any

import xxhash

from dolma_py import storage
from dolma_py.errors import DataError
from mixers.tokenization import LoadedTokenizer, build_tokenizer, use_one_thread
from mixers.tokenizer_files import checksum_tokenizer, find_tokenizer_file, read_tokenizer_file
from pipelines.steps import StepContext

_loaded: dict[tuple[str, str | None], LoadedTokenizer] = {}  # of this process, one at most: a large one takes 300 MB


def cached_tokenizer(path: str, checksum: str, eos_token: str | None = None, where: str = "") -> LoadedTokenizer:
    """The tokenizer of a file with that checksum, loaded once in a process. DataError when the file has another.

    where: what errors call the file, its path by default.
    """
    if (checksum, eos_token) not in _loaded:
        use_one_thread()
        content = storage.read_bytes(path)
        if xxhash.xxh3_128_hexdigest(content) != checksum:
            raise DataError(path, "not the tokenizer that this step began with", hint="Run the step again.")
        _loaded.clear()
        _loaded[checksum, eos_token] = build_tokenizer(content, eos_token=eos_token, where=where or path)
    return _loaded[checksum, eos_token]


def place_tokenizer(context: StepContext, name: str, folder: str) -> tuple[str, str]:
    """(path, checksum) of a copy, in a folder relative to the corpus, of the tokenizer.json that `name` means."""
    content = read_tokenizer_file(name)
    path = context.corpus.path(folder, "tokenizer.json")
    storage.write_bytes(path, content)
    return path, xxhash.xxh3_128_hexdigest(content)


def place_option(context: StepContext, set_name: str, value: Any) -> Any:
    """A tagger's option that names a tokenizer: the path of the step's own copy where it is a name on the hub, else the value."""
    if not isinstance(value, str) or find_tokenizer_file(value) is not None:
        return value
    return place_tokenizer(context, value, f"{context.folder}/{set_name}")[0]


def identify_options(found: type[Any], options: dict[str, Any]) -> dict[str, str]:
    """The checksums of the tokenizers that the options of a tagger's class name, but those of artifacts."""
    given = {name: options.get(name) for name in getattr(found, "tokenizer_options", ())}
    return {
        name: checksum_tokenizer(value)
        for name, value in given.items()
        if isinstance(value, str) and not value.startswith("artifact:")
    }
