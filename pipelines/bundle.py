"""What a cluster's workers need, in two files: our code as a zip, its packages as a tar archive.

    python -m pipelines.bundle --output dist

`dolma_py_code.zip` holds our six packages with their YAML and templates; Spark puts it on the workers' module search path.
`dolma_py_packages.tar.gz` holds the packages that code on a worker imports, and `bin/python`, a script that starts the
machine's own Python with them. So a worker needs Spark, a Python of the same minor version, and no path to a checkout.
`--with NAME` adds a package or module of yours to the code, such as one with taggers. Not in them: pyspark (the worker has its
own), torch and pandas (no executor uses them), and what only the command line and the report use. Both files are the same bytes for the same content.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import importlib.util
import io
import logging
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dolma_py.config import fingerprint
from dolma_py.errors import DataError

logger = logging.getLogger(__name__)

FORMAT = 2  # part of the fingerprint: raise it when the layout of the archive changes
PACKAGES = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")
CODE_NAME = "dolma_py_code.zip"
ARCHIVE_NAME = "dolma_py_packages.tar.gz"
UNPACKED_NAME = "packages"  # the folder in an executor's working folder where Spark unpacks the archive
PYTHON_IN_ARCHIVE = "bin/python"

# Core requirements that run on the driver only: the command line and the report. Saves about 110 MB per worker.
DRIVER_ONLY = frozenset({"matplotlib", "jinja2", "typer", "rich"})
# Extras whose packages tasks import: where they are installed here, workers get them (the tagger of words of step synth)
WORKER_EXTRAS = frozenset({"synth"})
_LEFT_OUT = re.compile(r"(^|/)(__pycache__|tests)/|^pyarrow/(include|src)/|\.(pyc|pyi|pxd|pyx|a)$")


class Bundle(NamedTuple):
    """Paths of the two files, for SessionConfig.code_zip and SessionConfig.packages_archive."""

    code_zip: Path
    packages_archive: Path


def make_bundle(output: str | Path, *, root: Path | None = None, others: Sequence[str] = ()) -> Bundle:
    """Write both files into the folder `output`; what is there already with the same content stays untouched.

    others: packages and modules of pure Python beside ours, by the names they are imported by.

    Raises
    ------
    DataError       a package of the core is not installed, or was installed without a list of its files; one of `others` is not found
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    root = root or Path(__file__).resolve().parent.parent
    places = [root / package for package in PACKAGES] + [_find_package(name) for name in others]
    code = _write_code(folder / CODE_NAME, places)
    archive = _write_archive(folder / ARCHIVE_NAME, find_distributions())
    return Bundle(code, archive)


def _find_package(name: str) -> Path:
    """The folder of a package, or the file of a module, that can be imported here."""
    found = importlib.util.find_spec(name) if name.isidentifier() and name not in PACKAGES else None
    place = None if found is None else Path(next(iter(found.submodule_search_locations or ()), found.origin or ""))
    compiled = [] if place is None else [place] if place.is_file() else list(place.rglob("*"))
    if place is None or not place.exists() or any(file.suffix in (".so", ".pyd") for file in compiled):
        hint = "Install it, or put its folder on PYTHONPATH; compiled code belongs to the workers' machines."
        raise DataError(name, "no package or module of pure Python beside ours", hint=hint)
    return place


def _write_code(path: Path, places: Sequence[Path]) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # stored: faster imports, no zlib version in it
        for place in places:
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                name = file.relative_to(place.parent).as_posix()
                if file.is_file() and not _LEFT_OUT.search(name) and not file.name.startswith("."):
                    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, file.read_bytes())
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    return path


def find_distributions(name: str = "dolma-py") -> list[importlib.metadata.Distribution]:
    """The installed packages that code on a worker needs: core requirements of `name`, those of WORKER_EXTRAS that are here, and theirs, sorted."""
    found: dict[str, importlib.metadata.Distribution] = {}
    extras_seen: dict[str, set[str]] = {}
    core = _requirements(name, frozenset())
    waiting = [need for need in core if canonicalize_name(need.name) not in DRIVER_ONLY]
    waiting += [need for need in _requirements(name, WORKER_EXTRAS) if need not in core and _is_installed(need.name)]
    while waiting:
        need = waiting.pop()
        key = canonicalize_name(need.name)
        if key in found and need.extras <= extras_seen[key]:
            continue
        extras_seen.setdefault(key, set()).update(need.extras)
        found[key] = _distribution(key)
        waiting.extend(_requirements(key, frozenset(extras_seen[key])))
    return [found[key] for key in sorted(found)]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(name, "this package is not installed", hint="Run: pip install dolma-py") from error


def _requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    """What `name` needs on this machine with these extras."""
    needs = [Requirement(line) for line in _distribution(name).requires or []]
    return [
        need for need in needs
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]  # fmt: skip


def _write_archive(path: Path, distributions: list[importlib.metadata.Distribution]) -> Path:
    # RECORD lists every file with its checksum, so the fingerprint sees a package that was rebuilt as the same version
    content = [[d.name, d.version, d.read_text("RECORD") or ""] for d in distributions]
    digest = fingerprint(
        FORMAT, list(sys.version_info[:2]), _launcher(), sorted(DRIVER_ONLY), _LEFT_OUT.pattern, content
    )
    mark = path.with_name(path.name + ".fingerprint")
    if path.is_file() and mark.is_file() and mark.read_text() == f"{digest} {path.stat().st_size}\n":
        return path
    unfinished = path.with_name(path.name + ".part")
    # gz because Spark 4.3 drops the permissions of a plain .tar, and bin/python must stay executable; level 1 turns
    # 718 MB into 266 in 10 s, and what a cluster sends to each executor is this file
    with (
        open(unfinished, "wb") as file_out,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file_out, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        _add_bytes(archive, PYTHON_IN_ARCHIVE, _launcher().encode(), mode=0o755)
        for name, file in sorted(_files(distributions)):
            with open(file, "rb") as content_file:
                archive.addfile(_entry(f"lib/{name}", os.fstat(content_file.fileno()).st_size), content_file)
    unfinished.replace(path)
    mark.write_text(f"{digest} {path.stat().st_size}\n")
    return path


def _files(distributions: list[importlib.metadata.Distribution]) -> Iterator[tuple[str, Path]]:
    """(name below site-packages, path) of every file to ship; scripts that pip put outside of it are left behind."""
    seen = set()
    for distribution in distributions:
        if distribution.files is None:
            raise DataError(distribution.name, "it was installed without a list of its files", hint="Use pip.")
        for file in distribution.files:
            name = file.as_posix()
            path = Path(str(file.locate()))
            if name.startswith(("../", "/")) or name in seen or _LEFT_OUT.search(name) or not path.is_file():
                continue
            seen.add(name)
            yield name, path


def _entry(name: str, num_bytes: int, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)  # owner 0, time 0: the same bytes whoever builds it
    entry.size, entry.mode = num_bytes, mode
    return entry


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    archive.addfile(_entry(name, len(content), mode), io.BytesIO(content))


def _launcher() -> str:
    """`bin/python` of the archive: this machine's Python of the right version, with the archive's packages.

    DOLMA_PY_PYTHON on a worker names the Python to take. The packages hold compiled code for one minor version.
    """
    major, minor = sys.version_info[:2]
    return f"""\
#!/bin/sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
for python in "$DOLMA_PY_PYTHON" python{major}.{minor} python3 \\
    /usr/bin/python{major}.{minor} /usr/local/bin/python{major}.{minor}; do
    [ -n "$python" ] || continue
    if "$python" -c 'import sys; raise SystemExit(sys.version_info[:2] != ({major}, {minor}))' 2>/dev/null; then
        PYTHONPATH="$here/lib${{PYTHONPATH:+:$PYTHONPATH}}"
        export PYTHONPATH
        exec "$python" "$@"
    fi
done
echo "this worker has no Python {major}.{minor}: install it, or set DOLMA_PY_PYTHON to its path" >&2
exit 127
"""


def main(argv: list[str] | None = None) -> int:
    """`python -m pipelines.bundle`: build both files and log where they are and how large."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.bundle", description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="dist", help="folder for the two files (dist)")
    parser.add_argument(
        "--with", dest="others", action="append", default=[], help="a package or module of yours, again for each"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bundle = make_bundle(arguments.output, others=arguments.others)
    for path in bundle:
        logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    logger.info("Use them with: code_zip: %s, packages_archive: %s", *bundle)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
