"""Real text without a download: what every Python installation holds, written as input files for `ingest`.

Five sources, each in a folder of its own: documentation pages (WARC), package descriptions and licences, source code, other
documents inside packages, and on Linux the system's documentation (Dolma JSON lines). Same release, platform, config and items:
same bytes. Files are sampled by a hash of (seed, relative path), so a larger budget only adds files.
"""

from __future__ import annotations

import contextlib
import email.parser
import gc
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import orjson
import xxhash
import zstandard
from pydantic import Field

from dolma_py.config import Config
from dolma_py.formats.decompress import find_codec, read_whole, strip_codec
from dolma_py.formats.html import extract_page
from dolma_py.formats.limits import Limits
from dolma_py.formats.text_encoding import decode_text
from dolma_py.installed_pages import Module, render_page, write_records
from dolma_py.installed_roots import STDLIB, SYSTEM_DOCS, Distribution, list_distributions, read_file, walk_files
from dolma_py.word_problems import describe_item

PAGES, PACKAGES, CODE, FILES, SYSTEM = "docs_pages", "package_texts", "source_code", "doc_files", "system_docs"
SOURCES = (PAGES, PACKAGES, CODE, FILES, SYSTEM)
DOC_SUFFIXES = (".rst", ".md", ".html", ".htm", ".txt")
LICENSE_NAME = re.compile(r"^(licen[cs]e|copying|notice|authors|copyright)", re.IGNORECASE)
SYSTEM_NAME = re.compile(r"^(copyright|readme|news|changelog|authors|thanks|todo|faq|history|notes)", re.IGNORECASE)
DOCSTRING = re.compile(rb"\"\"\".*?\"\"\"", re.DOTALL)
TEST_FOLDERS = frozenset({"test", "tests", "testing", "idle_test", "_vendor", "vendor", "lib2to3"})
MAX_SIBLINGS = 30
T = TypeVar("T")


class InstalledTextConfig(Config):
    """How much of the installation is written."""

    seed: int = Field(default=0, ge=0, description="chooses files where a cap cuts, and where items are planted")
    min_docstring_bytes: int = Field(
        default=200, ge=0, description="bytes of docstrings below which a module gets no page"
    )
    max_file_bytes: int = Field(default=1 << 20, ge=1, description="bytes of one input file; longer ones are left out")
    pages_bytes: int = Field(default=40_000_000, ge=0, description="cap on the docstrings of all documentation pages")
    packages_bytes: int = Field(default=6_000_000, ge=0, description="cap on package descriptions and licence files")
    code_bytes: int = Field(default=16_000_000, ge=0, description="cap on source code")
    files_bytes: int = Field(default=8_000_000, ge=0, description="cap on other documents inside packages")
    system_bytes: int = Field(default=8_000_000, ge=0, description="cap on the system's documentation folder")
    total_bytes: int = Field(
        default=80_000_000, ge=0, description="cap on all sources together, taken in the order of this list"
    )
    system_docs: str = Field(
        default=SYSTEM_DOCS, description="the system's documentation folder; nothing is read when there is none"
    )
    plant_frac: float = Field(
        default=0.5, ge=0, le=1, description="share of the evaluation items that are planted, each in one document"
    )


class Counts(NamedTuple):
    """What one input file received."""

    source: str
    path: str
    num_docs: int
    num_text_bytes: int  # of HTML for pages
    planted: tuple[str, ...]  # ids of items, sorted


class TextFile(NamedTuple):
    """A candidate document: `read` gives its text, "" when there is none."""

    relative: str  # what metadata.path will say
    num_bytes: int  # size on disk, for the caps
    kind: str
    read: Callable[[], str]


def write_installed_text(
    folder: str,
    config: InstalledTextConfig,
    *,
    items: Iterable[dict[str, object]] = (),
    num_page_files: int = 2,
    distributions: list[Distribution] | None = None,
) -> list[Counts]:
    """Write every source below `folder`, in this process.

    To write the pages with several processes call list_modules and plan_plants once, write_pages for each slice of the
    modules, and write_texts: the files are the same. `distributions` is for those who want other packages than this project's.
    """
    distributions = list_distributions() if distributions is None else distributions
    items = list(items)
    modules = list_modules(config, distributions)
    plants = plan_plants(items, config, [module.url for module in modules])
    counts = []
    for number in range(num_page_files):
        path = os.path.join(folder, PAGES, f"pages-{number:05d}.warc.gz")
        counts.append(write_pages(modules[number::num_page_files], path, plants=plants, config=config))
    return counts + write_texts(folder, config, distributions=distributions, items=items)


def list_modules(config: InstalledTextConfig, distributions: list[Distribution] | None = None) -> list[Module]:
    """The modules that get a page, sorted by URL: docstrings of at least min_docstring_bytes, no tests, no vendored copies."""
    candidates: list[tuple[Module, int]] = []
    for dist in list_distributions() if distributions is None else distributions:
        paths = [path for path in dist.paths if path.endswith(".py") and not TEST_FOLDERS & set(path.split("/")[:-1])]
        names = {path: _module_name(path) for path in paths}
        families: dict[str, list[str]] = {}
        for name in names.values():
            families.setdefault(name.rpartition(".")[0], []).append(name)
        for path in paths:
            data = read_file(dist.root, path, config.max_file_bytes)
            if data is None:
                continue
            num_bytes = sum(len(text) for text in DOCSTRING.findall(data))
            if num_bytes < config.min_docstring_bytes:
                continue
            family = families[names[path].rpartition(".")[0]]
            siblings = tuple(sorted(set(family))[:MAX_SIBLINGS])
            candidates.append(
                (Module(dist.name, dist.version, dist.license, names[path], dist.root, path, siblings), num_bytes)
            )
    chosen = _take_within(
        candidates, min(config.pages_bytes, config.total_bytes), config.seed, key=lambda module: module.url
    )
    return sorted(chosen, key=lambda module: module.url)


def write_pages(
    modules: list[Module], path: str, *, plants: dict[str, dict[str, object]] | None = None, config: InstalledTextConfig
) -> Counts:
    """Write the pages of `modules` as one WARC; `plants` says which URL carries which item (see plan_plants)."""
    planted: list[str] = []
    num_bytes = 0
    plants = plants or {}

    def render() -> Iterator[tuple[str, bytes, str]]:
        nonlocal num_bytes
        for module in modules:
            data = read_file(module.root, module.relative, config.max_file_bytes)
            item = plants.get(module.url)
            try:
                page = render_page(module, data or b"", describe_item(item) if item else "")
            except (SyntaxError, ValueError, RecursionError):  # written for another Python: no page
                continue
            num_bytes += len(page)
            if item:
                planted.append(str(item["id"]))
            yield module.url, page, str(item["id"]) if item else ""

    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as stream, _pause_collector():
        num_docs = write_records(stream, render())
    return Counts(PAGES, path, num_docs, num_bytes, tuple(sorted(planted)))


def write_texts(
    folder: str,
    config: InstalledTextConfig,
    *,
    distributions: list[Distribution] | None = None,
    items: Iterable[dict[str, object]] = (),
) -> list[Counts]:
    """Write the four sources of text documents as Dolma JSON lines, `<source>/<source>.jsonl.zst`."""
    distributions = list_distributions() if distributions is None else distributions
    listed = {
        PACKAGES: (config.packages_bytes, _list_package_texts(distributions, config)),
        CODE: (config.code_bytes, _list_files(distributions, config, (".py",), is_license=False)),
        FILES: (config.files_bytes, _list_files(distributions, config, DOC_SUFFIXES, is_license=False)),
        SYSTEM: (config.system_bytes, _list_system(config)),
    }
    left_bytes = max(0, config.total_bytes - config.pages_bytes)
    chosen: dict[str, list[TextFile]] = {}
    for source, (cap, listing) in listed.items():
        candidates = [(file, file.num_bytes) for file in listing]
        chosen[source] = _take_within(candidates, min(cap, left_bytes), config.seed, key=lambda file: file.relative)
        left_bytes -= sum(file.num_bytes for file in chosen[source])
    targets = [f"{source}/{file.relative}" for source in (PACKAGES, FILES) for file in chosen[source]]
    plants = _plan_plants(items, config, targets, is_page=False)
    counts = []
    for source, files in chosen.items():
        path = os.path.join(folder, source, f"{source}.jsonl.zst")
        counts.append(_write_source(path, source, sorted(files, key=lambda file: file.relative), plants))
    return counts


def plan_plants(
    items: Iterable[dict[str, object]], config: InstalledTextConfig, urls: list[str]
) -> dict[str, dict[str, object]]:
    """URL -> item: which of the pages with these URLs carry an item; the other planted items go into texts."""
    return _plan_plants(items, config, urls, is_page=True)


def _plan_plants(
    items: Iterable[dict[str, object]], config: InstalledTextConfig, targets: list[str], *, is_page: bool
) -> dict[str, dict[str, object]]:
    """target -> item: plant_frac of the items, half of them in pages, each at a target of its own; depends on no order."""
    plan: dict[str, dict[str, object]] = {}
    free = sorted(set(targets))
    for item in sorted(items, key=lambda item: str(item["id"])):
        if _hash(config.seed, f"plant {item['id']}") >= config.plant_frac * 2.0**64:
            continue
        if (_hash(config.seed, f"side {item['id']}") % 2 == 0) == is_page and free:
            plan[free.pop(_hash(config.seed, f"target {item['id']}") % len(free))] = item
    return plan


@contextlib.contextmanager
def _pause_collector() -> Iterator[None]:
    """No garbage collection inside: syntax trees have no cycles, and looking for some takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_source(path: str, source: str, files: list[TextFile], plants: dict[str, dict[str, object]]) -> Counts:
    planted: list[str] = []
    num_docs = num_bytes = 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    engine = zstandard.ZstdCompressor(level=3, threads=0, write_checksum=True)
    with open(path, "wb") as raw, engine.stream_writer(raw, closefd=False) as stream:
        for file in files:
            text = file.read()
            if not text.strip():
                continue
            metadata = {"path": file.relative, "kind": file.kind}
            item = plants.get(f"{source}/{file.relative}")
            if item:
                text = text.rstrip("\n") + f"\n\n{describe_item(item)}\n"
                metadata["planted_item"] = str(item["id"])
                planted.append(str(item["id"]))
            num_docs += 1
            num_bytes += len(text.encode())
            stream.write(orjson.dumps({"text": text, "source": source, "metadata": metadata}) + b"\n")
    return Counts(source, path, num_docs, num_bytes, tuple(sorted(planted)))


def _list_package_texts(distributions: list[Distribution], config: InstalledTextConfig) -> Iterator[TextFile]:
    for dist in distributions:
        for path in dist.paths:
            if path.endswith(".dist-info/METADATA"):
                yield _make_file(dist, path, "readme", config)
    yield from _list_files(distributions, config, (), is_license=True)


def _list_files(
    distributions: list[Distribution], config: InstalledTextConfig, suffixes: tuple[str, ...], *, is_license: bool
) -> Iterator[TextFile]:
    for dist in distributions:
        for path in dist.paths:
            name = path.rpartition("/")[2]
            looks_licensed = bool(LICENSE_NAME.match(name)) and not name.endswith(".py")
            if looks_licensed == is_license and (is_license or path.lower().endswith(suffixes)):
                kind = "license" if is_license else name.rpartition(".")[2].lower()
                yield _make_file(dist, path, kind, config)


def _make_file(dist: Distribution, path: str, kind: str, config: InstalledTextConfig) -> TextFile:
    relative = f"{STDLIB}/{path}" if dist.name == STDLIB else path

    def read() -> str:
        return read_text(dist.root, path, kind, config.max_file_bytes)

    return TextFile(relative, _file_bytes(dist.root, path), kind, read)


def _list_system(config: InstalledTextConfig) -> Iterator[TextFile]:
    root = config.system_docs
    if not os.path.isdir(root):
        return
    for path in walk_files(root):
        name = strip_codec(path.rpartition("/")[2])
        if name.endswith(DOC_SUFFIXES) or SYSTEM_NAME.match(name):
            kind = "html" if name.endswith((".html", ".htm")) else "text"

            def read(path: str = path, kind: str = kind) -> str:
                return read_text(root, path, kind, config.max_file_bytes)

            yield TextFile(f"system-docs/{path}", _file_bytes(root, path), kind, read)


def read_text(root: str, relative: str, kind: str, max_bytes: int) -> str:
    """The text of one file: HTML extracted, gzip expanded, of a METADATA file its long description; "" when there is none."""
    data = read_file(root, relative, max_bytes)
    if data is None:
        return ""
    codec = find_codec(relative)
    limits = Limits(max_record_bytes=max_bytes)
    if codec:
        data, reason = read_whole(io.BytesIO(data), codec, limits=limits)
        if reason:
            return ""
    if kind in ("html", "htm"):
        return extract_page(data, limits).text
    text = decode_text(data).text
    if kind == "readme":
        payload = email.parser.Parser().parsestr(text).get_payload()
        return payload if isinstance(payload, str) else ""
    return text


def _file_bytes(root: str, relative: str) -> int:
    try:
        return os.lstat(os.path.join(root, relative)).st_size
    except OSError:
        return 0


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _hash(seed: int, text: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed}:{text}".encode("utf-8", "surrogateescape"))


def _take_within(candidates: list[tuple[T, int]], cap_bytes: int, seed: int, *, key: Callable[[T], str]) -> list[T]:
    """Candidates in order of the hash of their key, as many as fit under the cap (the first that does not fit ends it)."""
    chosen: list[T] = []
    for candidate, num_bytes in sorted(candidates, key=lambda pair: (_hash(seed, key(pair[0])), key(pair[0]))):
        if num_bytes > cap_bytes:
            break
        cap_bytes -= num_bytes
        chosen.append(candidate)
    return chosen
