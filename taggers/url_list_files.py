"""Lists of domains, URLs and words: read from files, and fetched from where they are published, with their checksum.

No list lies in the repository. Published ones: the categories of UT1 (Universite Toulouse Capitole), of which RefinedWeb, RedPajama and
FineWeb take theirs; the word lists of FineWeb in datatrove; those of RefinedWeb as DCLM made them again.
"""

from __future__ import annotations

import gzip
import hashlib
import urllib.error
import urllib.request
import zlib

import numpy as np
import numpy.typing as npt

from dolma_py import storage
from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError
from taggers.url_lists_kernels import read_entries_kernel

_MAX_LIST_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SEC = 60


def read_entries(
    paths: list[str], *, key: str, keep: npt.NDArray[np.bool_] | None = None, is_url: bool = False
) -> TextView:
    """The entries of list files, plain or .gz, a line each, in lower case; "#" begins a comment line.

    keep : bool (256,)      bytes that stay, None for all
    is_url : bool           entries are hosts or URLs: scheme, user, "www." and last slashes go

    Raises
    ------
    ConfigError     no such file, one that is no gzip or has no entry (key is the option that named it)
    """
    texts = []
    for path in paths:
        try:
            content = storage.read_bytes(path)
            texts.append(_unpack(content) if path.endswith(".gz") else content)
        except FileNotFoundError as error:
            raise ConfigError(key, path, "no such file") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ConfigError(key, path, f"expected a gzip file ({error})") from error
    data = np.frombuffer(b"\n".join(texts), np.uint8)
    out_data, out_offsets = np.empty(len(data), np.uint8), np.zeros(int((data == 10).sum()) + 2, np.int64)
    num_entries = read_entries_kernel(data, np.ones(256, bool) if keep is None else keep, is_url, out_data, out_offsets)
    if num_entries == 0:
        raise ConfigError(key, paths, "expected at least one entry, a line each")
    return TextView(out_data[: out_offsets[num_entries]].copy(), out_offsets[: num_entries + 1].copy())


def _unpack(content: bytes) -> bytes:
    """gzip.decompress, all members, with an end: EOFError beyond _MAX_LIST_BYTES or where the file is torn."""
    parts, left = [], _MAX_LIST_BYTES
    while True:
        unpacker = zlib.decompressobj(wbits=31)
        parts.append(unpacker.decompress(content, max(left, 1)))
        left -= len(parts[-1])
        if not unpacker.eof or left < 0:
            raise EOFError(f"torn, or more than {_MAX_LIST_BYTES} bytes")
        content = unpacker.unused_data.lstrip(b"\0")  # zeros behind the last member are padding, as for gzip
        if not content:
            return b"".join(parts)


def fetch_list(url: str, sha256: str, path: str) -> str:
    """Download a list to `path` and return its path, unless a file with that checksum is there; the file appears whole or not at all.

    Parameters
    ----------
    url : str       http://, https:// or file://
    sha256 : str    64 hex digits of the file as it is published

    Raises
    ------
    ConfigError     another kind of URL, nothing there, more than 4 GiB, or another checksum (which it names)
    """
    if not url.startswith(("https://", "http://", "file://")):
        raise ConfigError("url", url, "expected http://, https:// or file://")
    if storage.path_exists(path) and hashlib.sha256(storage.read_bytes(path)).hexdigest() == sha256:
        return path
    chunks, num_bytes = [], 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as answer:
            while chunk := answer.read(_CHUNK_BYTES):
                chunks.append(chunk)
                num_bytes += len(chunk)
                if num_bytes > _MAX_LIST_BYTES:
                    raise ConfigError("url", url, f"expected at most {_MAX_LIST_BYTES} bytes")
    except (urllib.error.URLError, TimeoutError) as error:
        raise ConfigError("url", url, f"cannot be read ({error})") from error
    content = b"".join(chunks)
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise ConfigError(
            "sha256", sha256, f"expected the checksum of {url}, which is {got}", "Was the list published anew?"
        )
    storage.write_bytes(path, content)
    return path
