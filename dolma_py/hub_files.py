"""Datasets of the Hugging Face Hub as files, hf://datasets/ORG/NAME[@REVISION]/...: listed and read in ranges, never written.

huggingface_hub's own file system asks for what is read, a few MiB a request, so nothing is downloaded first. HF_TOKEN and HF_ENDPOINT
are honoured. Whatever goes wrong on the way is an OSError with a number: one without a number would be taken for a damaged file.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.fs

from dolma_py.errors import ConfigError

BLOCK_BYTES = 4 << 20  # of one request; one block is held, and the next one is asked for when it is needed
MAX_MESSAGE = 300


def open_hub(settings: dict[str, str]) -> pa.fs.FileSystem:
    """A file system whose paths are `datasets/ORG/NAME[@REVISION]/...`; settings: HF_ENDPOINT, HF_TOKEN where they are set."""
    from huggingface_hub import HfFileSystem  # slow to import, and only hf:// needs it

    hub = HfFileSystem(
        endpoint=settings.get("HF_ENDPOINT") or None, token=settings.get("HF_TOKEN") or None, block_size=BLOCK_BYTES,
        skip_instance_cache=True,
    )  # fmt: skip
    return pa.fs.PyFileSystem(HubHandler(hub))


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    """Errors of the Hub and of the network as OSErrors with a number; what is not there as FileNotFoundError."""
    if not path.startswith("datasets/") or path.strip("/").count("/") < 2:
        raise ConfigError("path", f"hf://{path}", "expected hf://datasets/ORG/NAME[@REVISION]/...")
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(
            errno.ENOENT, "not on the Hub, or not for this account (HF_TOKEN)", f"hf://{path}"
        ) from error
    except Exception as error:
        raise OSError(errno.EIO, f"the Hub does not answer: {str(error)[:MAX_MESSAGE]}", f"hf://{path}") from error


class HubHandler(pa.fs.FSSpecHandler):  # type: ignore[misc]
    """What pyarrow asks of a file system, of the Hub; all that would change a dataset is refused."""

    def get_file_info(self, paths: list[str]) -> list[pa.fs.FileInfo]:
        found = []
        for path in paths:
            try:
                with _telling(path):
                    info = self.fs.info(path)
            except FileNotFoundError:
                found.append(pa.fs.FileInfo(path, pa.fs.FileType.NotFound))
            else:
                found.append(_describe(path, info))
        return found

    def get_file_info_selector(self, selector: pa.fs.FileSelector) -> list[pa.fs.FileInfo]:
        try:
            with _telling(selector.base_dir):
                if self.fs.info(selector.base_dir)["type"] != "directory":
                    return []
                depth = None if selector.recursive else 1
                found = self.fs.find(selector.base_dir, maxdepth=depth, withdirs=True, detail=True)
        except FileNotFoundError:
            if not selector.allow_not_found:
                raise
            return []
        base = selector.base_dir.strip("/")
        return [_describe(path, info) for path, info in found.items() if path.strip("/") != base]

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.PythonFile:
        with _telling(path):
            stream = self.fs.open(path, "rb")
        return pa.PythonFile(HubFile(stream, path), mode="r")

    def _refuse(self, path: str, *rest: Any) -> Any:
        raise ConfigError("path", f"hf://{path}", "datasets of the Hub are read only", "Write to another place.")

    create_dir = delete_dir = delete_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse

    def delete_root_dir_contents(self) -> None:
        self._refuse("")


def _describe(path: str, info: dict[str, Any]) -> pa.fs.FileInfo:
    is_file = info["type"] == "file"
    kind = pa.fs.FileType.File if is_file else pa.fs.FileType.Directory
    return pa.fs.FileInfo(path, kind, size=info["size"] if is_file else None)


class HubFile(io.RawIOBase):
    """A file of the Hub whose errors are told as such."""

    def __init__(self, stream: Any, path: str) -> None:
        self.stream, self.path = stream, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self.stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self.stream.tell())

    def read(self, size: int = -1) -> bytes:
        with _telling(self.path):
            left = self.stream.size - self.stream.tell()
            return bytes(self.stream.read(left if size is None or size < 0 else min(size, left)))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.stream.close()
        super().close()
