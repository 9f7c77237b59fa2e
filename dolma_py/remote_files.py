"""How files appear, are found and go on s3://, gs:// and hdfs://, and are read on hf://.

dolma_py.storage alone calls this (hide_name for local files too).

Streams are those of dolma_py.s3_files on s3://, where an upload that is not completed is aborted, and pyarrow's elsewhere: closing one of
those makes the file, after an error too, so it is written under a hidden name and moved. HDFS has folders, shows files while they are
written and renames nothing onto a file (pyarrow would delete that first); a replaced file is held there under another hidden name
until the new one stands.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import posixpath
import re
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs

from dolma_py import s3_files
from dolma_py.errors import ConfigError
from dolma_py.hub_files import open_hub

READ_BYTES = 1 << 20  # at least so many a request
SCHEMES = ("s3", "gs", "hdfs", "hf")
OPEN_TRIES = 3  # of a file on HDFS that is being replaced
GIVE_UP_SECONDS = 60  # pyarrow's own 15 minutes are long for whoever forgot to log in to gs://
TEMPORARY = re.compile(r"(?:^|/)\.[^/]+\.[0-9a-f]{32}\.tmp$")  # the names of hide_name, nobody else's
_REPLACED = re.compile(r"(?:^|/)\.([^/]+)\.dolma-py-replaced$")


def hide_name(path: str) -> str:
    """A hidden name in the same folder that no other writer has."""
    return posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.{uuid.uuid4().hex}.tmp")


def _replaced_name(path: str) -> str:
    return posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.dolma-py-replaced")


def _scheme(path: str) -> str:
    return path.partition("://")[0]


def find_filesystem(path: str) -> tuple[pa.fs.FileSystem, str]:
    """The pyarrow filesystem of a URI and the path inside it. AWS_ENDPOINT_URL and STORAGE_EMULATOR_HOST are honoured.

    Only scheme and host are read as a URI: an object's key is taken as it is, blanks, percent signs and all.
    """
    scheme, _, rest = path.partition("://")
    host, _, key = rest.partition("/")
    names = sorted(name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "HF_")))
    settings = tuple((name, os.environ[name]) for name in names)
    filesystem, base = open_filesystem(scheme, host, settings, os.getpid())
    return filesystem, posixpath.join(base, key) if key else base


@functools.lru_cache(maxsize=16)
def open_filesystem(
    scheme: str, host: str, settings: tuple[tuple[str, str], ...], process: int
) -> tuple[pa.fs.FileSystem, str]:
    """One client a bucket: a new one for each request would open a new connection. Other credentials or a fork need another."""
    if scheme not in SCHEMES:
        raise ConfigError("path", f"{scheme}://{host}", "expected a local path, s3://, gs://, hdfs:// or hf://", "")
    if scheme == "hdfs":
        return _open_hadoop(host), "/"
    if scheme == "hf":
        return open_hub(dict(settings)), host
    uri = f"{scheme}://{host}"
    if scheme == "gs":
        endpoint = dict(settings).get("STORAGE_EMULATOR_HOST", "")
        protocol, _, address = endpoint.rpartition("://")
        options = {"retry_limit_seconds": str(GIVE_UP_SECONDS)}
        if endpoint:
            uri = f"gs://anonymous@{host.rpartition('@')[2]}"
            options |= {"endpoint_override": address.rstrip("/"), "scheme": protocol or "http"}
        uri += "?" + urllib.parse.urlencode(options)
    filesystem, base = pa.fs.FileSystem.from_uri(uri)
    return filesystem, base


def _open_hadoop(host: str) -> pa.fs.FileSystem:
    """The cluster of [user@][host[:port]]; without a host fs.defaultFS. Port 0: a name service's, or the configured one."""
    user, _, place = host.rpartition("@")
    name, _, port = place.partition(":")
    try:
        return pa.fs.HadoopFileSystem(name or "default", int(port or 0), user=user or None)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(
            "path", f"hdfs://{host}", f"cannot be opened ({reason})", "Set JAVA_HOME, HADOOP_HOME and CLASSPATH: docs/inputs.md."
        ) from error  # fmt: skip


def find_file(path: str) -> tuple[pa.fs.FileSystem, str, pa.fs.FileInfo]:
    """(filesystem, path inside it, what stands there); on HDFS the old file where a new one is about to get its name."""
    filesystem, inner = find_filesystem(path)
    if _scheme(path) != "hdfs":
        return filesystem, inner, filesystem.get_file_info(inner)
    info = _look_up(filesystem, inner)
    if info.type == pa.fs.FileType.NotFound:
        held = _look_up(filesystem, _replaced_name(inner))
        if held.type == pa.fs.FileType.File:
            return filesystem, held.path, held
        info = _look_up(filesystem, inner)  # the new one may have got its name meanwhile
    return filesystem, inner, info


def _look_up(filesystem: pa.fs.FileSystem, inner: str) -> pa.fs.FileInfo:
    """What stands there on HDFS. pyarrow calls missing whatever it could not look at, so what it calls missing must not open either.

    OSError where the cluster does not answer or does not let this user look.
    """
    info = filesystem.get_file_info(inner)
    if info.type != pa.fs.FileType.NotFound:
        return info
    try:
        filesystem.open_input_file(inner).close()
    except FileNotFoundError:
        return info
    info = filesystem.get_file_info(inner)
    if info.type == pa.fs.FileType.NotFound:
        raise OSError(f"{inner} can be opened but not looked at")
    return info


def open_read(path: str) -> BinaryIO:
    """A seekable binary stream of the file's own bytes; OSError when there is none."""
    if _scheme(path) == "s3":
        return s3_files.open_read(path)
    find, tries = (find_file, OPEN_TRIES) if _scheme(path) == "hdfs" else (find_filesystem, 1)
    while True:
        tries -= 1
        filesystem, inner = find(path)[:2]
        try:
            return io.BufferedReader(filesystem.open_input_file(inner), READ_BYTES)
        except FileNotFoundError:  # it may have got its other name since
            if not tries:
                raise


@contextlib.contextmanager
def write_file(path: str) -> Iterator[BinaryIO]:
    """A binary stream whose file appears as `path` when the block ends without an error, and not at all otherwise."""
    if _scheme(path) == "s3":
        with s3_files.write_file(path) as upload:
            yield upload
        return
    filesystem, inner = find_filesystem(path)
    temporary = hide_name(inner)
    with contextlib.ExitStack() as stack:
        stream = filesystem.open_output_stream(temporary, compression=None)
        stack.callback(_remove_quietly, filesystem, temporary)
        with contextlib.ExitStack() as on_error:
            on_error.callback(_close_quietly, stream)
            yield stream
            stream.close()
        _move(filesystem, temporary, inner, replaces=_scheme(path) != "hdfs")
        stack.pop_all()


def _close_quietly(stream: Any) -> None:
    with contextlib.suppress(OSError, pa.ArrowException):
        stream.close()


def _remove_quietly(filesystem: pa.fs.FileSystem, inner: str) -> None:
    with contextlib.suppress(OSError, pa.ArrowException):
        filesystem.delete_file(inner)


def publish_file(attempt: str, path: str) -> None:
    """Give a complete file its final name, replacing what was there; OSError when there is no attempt."""
    filesystem, inner = find_filesystem(path)
    _move(filesystem, find_filesystem(attempt)[1], inner, replaces=_scheme(path) != "hdfs")


def _move(filesystem: pa.fs.FileSystem, source: str, target: str, *, replaces: bool) -> None:
    """Object stores copy whole objects onto others. On HDFS find_file has the old file while both names are moved."""
    if replaces:
        filesystem.move(source, target)
        return
    if not _is_file(filesystem, source):
        raise FileNotFoundError(f"no file {source} to be moved to {target}")
    filesystem.create_dir(posixpath.dirname(target), recursive=True)
    held, kind = _replaced_name(target), _look_up(filesystem, target).type
    if kind == pa.fs.FileType.Directory:  # a rename would go into it
        raise IsADirectoryError(f"{target} is a folder")
    if kind == pa.fs.FileType.File:
        if _is_file(filesystem, held):
            filesystem.delete_file(held)
        filesystem.move(target, held)
    filesystem.move(source, target)
    if _is_file(filesystem, held):
        filesystem.delete_file(held)


def _is_file(filesystem: pa.fs.FileSystem, inner: str) -> bool:
    """On HDFS."""
    return bool(_look_up(filesystem, inner).type == pa.fs.FileType.File)


def list_files(folder: str) -> list[tuple[str, int]]:
    """(path relative to `folder`, bytes) of all files below it, in no order; none when it is missing or a file."""
    inner = find_filesystem(folder)[1]
    infos = _list_infos(folder, recursive=True)
    files = [info for info in infos if info.type == pa.fs.FileType.File]
    return [(posixpath.relpath(info.path, inner), int(info.size)) for info in files]


def _list_infos(folder: str, *, recursive: bool) -> list[pa.fs.FileInfo]:
    """What stands in a folder; nothing when it is missing, or a file."""
    filesystem, inner = find_filesystem(folder)
    is_hadoop = _scheme(folder) == "hdfs"
    if is_hadoop and _look_up(filesystem, inner).type != pa.fs.FileType.Directory:
        return []
    selector = pa.fs.FileSelector(inner, allow_not_found=not is_hadoop, recursive=recursive)
    infos: list[pa.fs.FileInfo] = filesystem.get_file_info(selector)
    return infos


def list_folder(folder: str) -> set[tuple[str, str, int]]:
    """(name, file or folder or other, bytes) of what stands directly in `folder`.

    pyarrow's flat listing of gs:// leaves out folders that are prefixes of keys and no more, so all below is listed there.
    """
    inner = find_filesystem(folder)[1]
    kinds = {pa.fs.FileType.File: "file", pa.fs.FileType.Directory: "folder"}
    found = set()
    for info in _list_infos(folder, recursive=_scheme(folder) == "gs"):
        name, _, below = posixpath.relpath(info.path, inner).partition("/")
        found.add((name, "folder", 0) if below else (name, kinds.get(info.type, "other"), int(info.size or 0)))
    return found


def make_folder(path: str) -> None:
    """HDFS alone has folders."""
    if _scheme(path) == "hdfs":
        filesystem, inner = find_filesystem(path)
        filesystem.create_dir(inner, recursive=True)


def remove_tree(folder: str) -> None:
    """Remove all below `folder`, and it."""
    filesystem, inner = find_filesystem(folder)
    if _scheme(folder) == "gs":  # delete_dir fails where no empty object stands for the folder
        filesystem.delete_dir_contents(inner, missing_dir_ok=True)
    if filesystem.get_file_info(inner).type != pa.fs.FileType.NotFound:
        filesystem.delete_dir(inner)


def remove_file(path: str) -> None:
    """Remove a file; nothing happens when it is missing."""
    filesystem, inner = find_filesystem(path)
    look_up = filesystem.get_file_info
    if _scheme(path) == "hdfs":
        look_up = functools.partial(_look_up, filesystem)
        if _is_file(filesystem, _replaced_name(inner)):
            filesystem.delete_file(_replaced_name(inner))
    if look_up(inner).type != pa.fs.FileType.NotFound:
        filesystem.delete_file(inner)


def remove_leftovers(folder: str) -> None:
    """Remove hidden files of writers that were killed, and give one that was being replaced its name again."""
    if _scheme(folder) == "s3":  # unfinished uploads are no files
        return
    for name, _ in list_files(folder):
        filesystem, inner = find_filesystem(posixpath.join(folder, name))
        replaced = _REPLACED.search(inner)
        if replaced and not _is_file(filesystem, target := posixpath.join(posixpath.dirname(inner), replaced[1])):
            filesystem.move(inner, target)
        elif replaced or TEMPORARY.search(inner):
            filesystem.delete_file(inner)
