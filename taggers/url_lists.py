"""URLs of documents against lists of hosts, URLs and words, read from files: the two readings of the field, side by side.

| list                  | a URL is counted when                                                       | whose reading                    |
|-----------------------|-----------------------------------------------------------------------------|----------------------------------|
| `exact_domains`       | its host is in the list                                                     | RefinedWeb as DCLM has it        |
| `substrings`          | an entry stands anywhere in it, "-" and "." passed over; no two overlap     | RefinedWeb, strict words         |
| `hard_words`          | an entry stands in it as a whole word                                       | both                             |
| `soft_words`          | the same, each place counts; two are too many                               | RefinedWeb                       |
| `domains`             | its host or a domain above it is in the list                                | FineWeb (datatrove), UT1 domains |
| `urls`                | it is in the list, scheme, "www." and last slash aside                      | FineWeb, UT1 urls                |
| `distinct_soft_words` | as soft_words, but a word counts once                                       | FineWeb                          |
| `subwords`            | an entry stands anywhere in its letters and digits                          | FineWeb                          |

Case never counts, and "www." never does. Columns are counts; URL_RULES has the thresholds, a view decides.

Where we leave the sources: all comparisons ignore case (datatrove compares words of the list in lower case with the URL as it is);
datatrove asks for the registered domain and the full host by the public suffix list, we for every domain above the host; datatrove compares
whole URLs with their scheme, which entries of UT1 do not have; words of a list that hold ignored characters lose them as URLs do. A
document without a URL counts 0 everywhere and `has_url` is false.

Source: Penedo et al. 2023 (RefinedWeb), appendix G.1; DCLM baselines/mappers (url_substring_filter); datatrove filters/url_filter.py, 0.10.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py import storage
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.metadata import read_fields
from taggers import url_lists_kernels as kernels
from taggers.gopher import Rule
from taggers.url_list_files import read_entries
from taggers.url_lists_kernels import DISTINCT_WORDS, IGNORED, SUBSTRINGS, WORDS, Automaton, KeyTable

_MAX_AUTOMATON_BYTES = 2 << 30
HOST_LISTS = ("exact_domains", "domains")
# list -> (mode, bytes that count in the URL): one automaton for each way of reading a URL
PATTERN_LISTS = {
    "substrings": (SUBSTRINGS, "no dots"),
    "subwords": (SUBSTRINGS, "words"),
    "hard_words": (WORDS, "all"),
    "soft_words": (WORDS, "all"),
    "distinct_soft_words": (DISTINCT_WORDS, "all"),
}
LISTS = (*HOST_LISTS, "urls", *PATTERN_LISTS)

_REFINEDWEB = "Penedo et al. 2023, appendix G.1, as DCLM and Olmo 3 run it"
_FINEWEB = "datatrove filters/url_filter.py"
URL_RULES: dict[str, tuple[Rule, ...]] = {
    "refinedweb-dclm": (
        Rule("url_domains", "num_exact_domains", "<=", 0, _REFINEDWEB),
        Rule("url_strict_words", "num_substrings", "<=", 0, _REFINEDWEB),
        Rule("url_hard_words", "num_hard_words", "<=", 0, _REFINEDWEB),
        Rule("url_soft_words", "num_soft_words", "<", 2, _REFINEDWEB),
    ),
    "fineweb": (
        Rule("url_domains", "num_domains", "<=", 0, _FINEWEB),
        Rule("url_urls", "num_urls", "<=", 0, _FINEWEB),
        Rule("url_words", "num_hard_words", "<=", 0, _FINEWEB),
        Rule("url_soft_words", "num_distinct_soft_words", "<", 2, _FINEWEB),
        Rule("url_subwords", "num_subwords", "<=", 0, _FINEWEB),
    ),
}


def bytes_that_count(reading: str) -> npt.NDArray[np.bool_]:
    """bool (256,): "all" bytes, "no dots" for all but "-" and ".", "words" for letters and digits of ASCII."""
    keep = np.ones(256, bool)
    if reading == "no dots":
        keep[[45, 46]] = False
    if reading == "words":
        keep = np.array([chr(byte).isalnum() and byte < 128 for byte in range(256)])
    return keep


def build_table(keys: TextView) -> KeyTable:
    """A table of hosts or URLs in lower case."""
    num_slots = 16
    while num_slots * 2 < (len(keys.offsets) - 1) * 3:
        num_slots *= 2
    table = KeyTable(np.full(num_slots, -1, np.int32), keys.data, keys.offsets)
    kernels.fill_table_kernel(table)
    return table


def build_automaton(patterns: list[TextView], keep: npt.NDArray[np.bool_], *, key: str = "lists") -> Automaton:
    """The automaton of lists of patterns; patterns[l] are those of list l, in lower case and without bytes that do not count.

    Raises ConfigError (key) beyond 2 GiB: states times classes times 4 bytes.
    """
    different = [
        sorted({bytes(view.data[low:high]) for low, high in zip(view.offsets, view.offsets[1:], strict=False)})
        for view in patterns
    ]
    entries = [entry for entries in different for entry in entries]
    lists = np.repeat(np.arange(len(different)), [len(entries) for entries in different]).astype(np.int32)
    lengths = np.array([len(entry) for entry in entries], np.int32)
    data = np.frombuffer(b"".join(entries), np.uint8)
    classes = np.zeros(256, np.int16)
    used = np.unique(data)
    classes[used] = np.arange(1, len(used) + 1)
    classes[65:91] = classes[97:123]  # the URL's capitals
    classes[~keep] = IGNORED
    num_states, width = len(data) + 1, len(used) + 1
    if num_states * width * 4 > _MAX_AUTOMATON_BYTES:
        raise ConfigError(
            key, f"{len(entries)} entries", f"expected patterns of at most {_MAX_AUTOMATON_BYTES} bytes as an automaton"
        )
    numbers = [np.empty(size, np.int32) for size in (num_states * width, num_states, num_states, len(entries))]
    automaton = Automaton(classes, *numbers, lengths, lists)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    num_states = int(kernels.build_automaton_kernel(data, offsets, automaton))
    # shared beginnings need fewer states than there was room for
    return automaton._replace(
        steps=automaton.steps[: num_states * width].copy(),
        links=automaton.links[:num_states].copy(),
        first=automaton.first[:num_states].copy(),
    )


def count_hits(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], automaton: Automaton, modes: list[int]
) -> npt.NDArray[np.int64]:
    """int64 (N, L): how often the patterns of each list stand in each of N URLs; modes (L): SUBSTRINGS, WORDS, DISTINCT_WORDS."""
    counts = np.empty((len(offsets) - 1, len(modes)), np.int64)
    kernels.count_hits_kernel(data, offsets, automaton, np.array(modes, np.int8), counts)
    return counts


def _list_field(what: str) -> Any:
    return Field(default_factory=list, description=f"files, plain or .gz, an entry a line: {what}")


class UrlListsTaggerConfig(Config):
    """Which files hold which list, and where a document's URL is."""

    url_keys: list[str] = Field(
        ["WARC-Target-URI", "warc_url", "url"],
        min_length=1,
        description="metadata fields that may hold the URL; the first that does counts",
    )
    exact_domains: list[str] = _list_field("hosts")
    domains: list[str] = _list_field("domains; hosts below them count")
    urls: list[str] = _list_field("whole URLs")
    substrings: list[str] = _list_field('parts of URLs, "-" and "." passed over')
    subwords: list[str] = _list_field("parts of URLs, all but letters and digits passed over")
    hard_words: list[str] = _list_field("words of which one is enough")
    soft_words: list[str] = _list_field("words of which two places are enough")
    distinct_soft_words: list[str] = _list_field("words of which two different ones are enough")

    @model_validator(mode="after")
    def _has_a_list(self) -> UrlListsTaggerConfig:
        if not any(getattr(self, name) for name in LISTS):
            raise ValueError(f"expected a file for at least one of {', '.join(LISTS)}")
        return self


class UrlListsTagger:
    """Writes has_url: bool and num_<list>: int64 for every list of the table above under attributes/url-lists-v1; 0 for lists without files."""

    config_model = UrlListsTaggerConfig
    name = "url-lists"
    version = 1
    schema = pa.schema([("has_url", pa.bool_())] + [(f"num_{name}", pa.int64()) for name in LISTS])

    def __init__(self, config: UrlListsTaggerConfig) -> None:
        self.config = config
        self.tables = {
            name: build_table(read_entries(getattr(config, name), key=f"url-lists.{name}", is_url=True))
            for name in (*HOST_LISTS, "urls")
            if getattr(config, name)
        }
        self.automata = []
        for reading in ("all", "no dots", "words"):
            names = [name for name, (_, how) in PATTERN_LISTS.items() if how == reading and getattr(config, name)]
            if names:
                keep = bytes_that_count(reading)
                patterns = [read_entries(getattr(config, name), key=f"url-lists.{name}", keep=keep) for name in names]
                self.automata.append((names, build_automaton(patterns, keep, key=f"url-lists.{names[0]}")))

    @classmethod
    def list_input_files(cls, options: dict[str, Any]) -> list[str]:
        """No files but those that options name; ConfigError (the list) for one that is not there."""
        for name in LISTS:
            for path in options.get(name, []):
                if not storage.path_exists(path):
                    raise ConfigError(
                        name, path, "no such file", "No list is shipped: docs/url-lists.md tells how to fetch one."
                    )
        return []

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Counts of each list for each document's URL."""
        if "metadata" not in batch.schema.names:
            raise SchemaError("metadata", "a column with the document's URL", f"columns {batch.schema.names}")
        fields = read_fields(batch.column("metadata"), self.config.url_keys)
        rows = zip(*(fields[key] for key in self.config.url_keys), strict=True)
        found = [next((value for value in values if isinstance(value, str) and value), None) for values in rows]
        urls = view_text(pa.array([url or "" for url in found], pa.large_string()))
        columns = {"has_url": pa.array([url is not None for url in found], pa.bool_())}
        for name, counts in self.count_urls(urls).items():
            columns[f"num_{name}"] = pa.array(np.ascontiguousarray(counts, np.int64))
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)

    def count_urls(self, urls: TextView) -> dict[str, npt.NDArray[Any]]:
        """The counts of every list for N URLs, (N,) each."""
        num_urls = len(urls.offsets) - 1
        counts: dict[str, npt.NDArray[Any]] = {name: np.zeros(num_urls, np.int64) for name in LISTS}
        for name, table in self.tables.items():
            is_found = np.empty(num_urls, bool)
            if name == "urls":
                kernels.find_urls_kernel(*urls, table, is_found)
            else:
                kernels.find_hosts_kernel(*urls, table, name == "domains", is_found)
            counts[name] = is_found
        for names, automaton in self.automata:
            hits = count_hits(*urls, automaton, [PATTERN_LISTS[name][0] for name in names])
            counts |= dict(zip(names, hits.T, strict=True))
        return counts
