"""Streams on s3://, smart_open's, that say what the store's client says as an error of the system, with the file's address.

dolma_py.remote_files alone calls this. An upload that is not completed is aborted; OSError is for what asking again would not mend,
StoreUnavailableError for what it may.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from dolma_py.errors import StoreUnavailableError

READ_BYTES = 1 << 20  # at least so many at once
SERVER_FAILS = 500  # HTTP status from which on it is the server's fault
BUSY = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "TooManyRequests")


def open_read(path: str) -> BinaryIO:
    """A seekable binary stream of the object's own bytes; FileNotFoundError when there is none."""
    with _telling(path):
        return io.BufferedReader(_Download(path, _open(path, "rb")), READ_BYTES)


@contextlib.contextmanager
def write_file(path: str) -> Iterator[BinaryIO]:
    """A binary stream whose object appears when the block ends without an error, and not at all otherwise."""
    with _telling(path):
        stream = _open(path, "wb")
    try:
        yield cast(BinaryIO, _Upload(path, stream))
        with _telling(path):
            stream.close()
    except BaseException:
        with contextlib.suppress(Exception):  # what stopped the writer is what is told
            stream.terminate()
        # where it was not aborted: the stream's own finalizer closes it, and that would complete half a file
        stream._upload_id = None
        raise


def _open(path: str, mode: str) -> Any:
    import smart_open

    # it prints a whole trace for each of its tries; that it tries again stays
    logging.getLogger("smart_open.s3").setLevel(logging.CRITICAL)
    return smart_open.open(path, mode, compression="disable")


class _Upload(io.BufferedIOBase):
    """What a writer gets. Closing it completes nothing: the end of the block does."""

    def __init__(self, path: str, stream: Any) -> None:
        self.path, self.stream = path, stream

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        with _telling(self.path):
            return int(self.stream.write(chunk))

    def tell(self) -> int:
        return int(self.stream.tell())


class _Download(io.RawIOBase):
    """Under a buffered reader."""

    def __init__(self, path: str, stream: Any) -> None:
        self.path, self.stream = path, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _telling(self.path):
            return int(self.stream.readinto(buffer))

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        with _telling(self.path):
            return int(self.stream.seek(place, whence))

    def tell(self) -> int:
        return int(self.stream.tell())

    def close(self) -> None:
        self.stream.close()
        super().close()


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        raise _name_error(error, path) from error


def _name_error(error: Exception, path: str) -> Exception:
    """The error that a caller gets for one of smart_open's or its client's; one that is neither's stays."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as BotoConnectionError

    said = error if isinstance(error, BotoCoreError | ClientError) else error.__cause__  # smart_open wraps some
    if isinstance(said, ClientError):
        found, status = (
            said.response.get("Error", {}),
            said.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
        )
        code, words = found.get("Code", "without a code"), found.get("Message") or "no more words"
        text = f"AWS Error {code} during {said.operation_name}: {words}"
        if status >= SERVER_FAILS or code in BUSY:
            return StoreUnavailableError(path, text)
        return OSError(errno.ENOENT if code == "NoSuchKey" else errno.EIO, text, path)
    if isinstance(said, BotoConnectionError | HTTPClientError):
        return StoreUnavailableError(path, f"AWS Error {type(said).__name__}: {said}")
    if isinstance(said, BotoCoreError):
        return OSError(errno.EIO, f"AWS Error {type(said).__name__}: {said}", path)
    if isinstance(error, OSError) and error.filename is None:  # smart_open's words after its last try name no file
        return StoreUnavailableError(path, "AWS Error: no answer in all tries")
    return error
