"""Which tokenizer.json a name means: a file, a folder that holds one, an address, or a name on the Hugging Face hub.

A name on the hub may end in a revision, owner/name@revision. The hub is asked once, without retries, which commit a name stands for; a
full commit (40 hex digits) that the hub's cache has is asked for nothing. Workers should not ask it: whoever starts them reads the
file here and hands it on.
"""

from __future__ import annotations

import re
from pathlib import Path

import xxhash

from dolma_py import storage
from dolma_py.errors import ConfigError

ASK_SEC = 10.0  # what the hub has to say which commit a name stands for
COMMIT = re.compile(r"[0-9a-f]{40}")
FILE = "tokenizer.json"
BRING = "Download its tokenizer.json once on a machine with a network and give that file's path."


def find_tokenizer_file(name: str) -> str | None:
    """The path of the tokenizer.json that `name` means, None for a name on the hub.

    Raises
    ------
    ConfigError     it looks like a path and nothing is there, or a folder without a tokenizer.json
    """
    if storage.is_remote(name):
        if storage.file_bytes(name) is None:
            raise ConfigError("tokenizer", name, "no such file", "Give the address of a tokenizer.json.")
        return name
    path = Path(name)
    if path.is_dir():
        path = path / FILE
        if not path.exists():
            raise ConfigError("tokenizer", name, "a folder without tokenizer.json", "Name the file.")
    if path.exists():
        return str(path)
    if name.endswith(".json") or name.partition("@")[0].count("/") > 1 or name.startswith((".", "~", "/")):
        raise ConfigError("tokenizer", name, "no such file", "Give a tokenizer.json or a hub name such as owner/name.")
    return None


def read_tokenizer_file(name: str) -> bytes:
    """The content of the tokenizer.json that `name` means; ConfigError when there is none, or the hub cannot be reached and has not been."""
    path = find_tokenizer_file(name)
    return storage.read_bytes(path if path is not None else fetch_from_hub(name))


def checksum_tokenizer(name: str) -> str:
    """What identifies the tokenizer that `name` means: the xxh3-128 of its file, or the name itself where it is a commit of the hub."""
    path = find_tokenizer_file(name)
    if path is not None:
        return storage.checksum_file(path)
    return name if COMMIT.fullmatch(name.partition("@")[2]) else xxhash.xxh3_128_hexdigest(read_tokenizer_file(name))


def fetch_from_hub(name: str) -> str:
    """The path, in the hub's cache, of the tokenizer.json of owner/name or owner/name@revision.

    Without an answer of the hub the cache's own copy is taken. ConfigError where the hub lacks it, or neither is to be had.
    """
    import huggingface_hub  # slow to import, and only names of the hub need it
    from huggingface_hub import errors

    repository, _, revision = name.partition("@")
    try:
        if COMMIT.fullmatch(revision):
            cached = huggingface_hub.try_to_load_from_cache(repository, FILE, revision=revision)
            if isinstance(cached, str):
                return cached
        try:
            found = huggingface_hub.HfApi().model_info(repository, revision=revision or None, timeout=ASK_SEC)
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
            raise ConfigError("tokenizer", name, "no such file, and the hub has no such name", BRING) from error
        except Exception:  # no network: its client's errors have no root but this
            return str(
                huggingface_hub.hf_hub_download(repository, FILE, revision=revision or None, local_files_only=True)
            )
        return str(huggingface_hub.hf_hub_download(repository, FILE, revision=found.sha))
    except errors.LocalEntryNotFoundError as error:
        raise ConfigError("tokenizer", name, "no such file, and the hub cannot be reached", BRING) from error
    except errors.EntryNotFoundError as error:
        raise ConfigError("tokenizer", name, "the hub has no tokenizer.json under that name", BRING) from error
    except (OSError, ValueError) as error:
        raise ConfigError("tokenizer", name, f"cannot be had from the hub ({error})", BRING) from error
