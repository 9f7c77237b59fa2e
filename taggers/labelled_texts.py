"""Texts with labels for a classifier: read from files, data sets of the Hub and views of a corpus, drawn by hash, split by hash.

What is drawn depends on the texts, the seed and the settings alone: not on the order of files, of records or of sources. Equal texts
are drawn together, and texts of equal words fall on the same side of the split.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import xxhash
from pydantic import Field, model_validator

from dolma_py import storage, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.hashing import derive_seed, mix_keys, uniform_hash
from dolma_py.input_files import Found, describe_left_out, find_files
from dolma_py.listing import plan_splits
from taggers import label_files
from taggers.evaluation_fields import find_value
from taggers.fasttext_model import SEPARATORS

_SPLIT_BYTES = 16 << 20
NO_TEXT = "left_out:no_text"
_HINT = "Check labels, where and text. Labelled texts are JSON Lines, Parquet, CSV, TSV, or lines that begin with __label__."


class ExampleSource(Config):
    """Where texts come from, and which label they have."""

    name: str = Field(pattern=r"^[\w.-]+$", description="of the source, in the card and in messages")
    inputs: list[str] = Field(
        default_factory=list,
        description="files, folders and globs, hf:// included; {folder} is --folder; the formats of docs/inputs.md, CSV and TSV with a line "
        "of names, and fastText's lines that begin with __label__ (fields label and text)",
    )
    corpus: str | None = Field(default=None, description="a corpus folder in place of inputs")
    view: str | None = Field(default=None, description="view of the corpus; null: all documents")
    attribute: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+\.\w+$",
        description="SET.COLUMN of the corpus, such as topic-v1.topic, whose value is the label",
    )
    label: str | None = Field(default=None, description="label of every text of this source")
    label_field: str | None = Field(
        default=None, description="name or dotted path of the record's field whose value is the label; `source` too"
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="value -> label; records with other values are left out and counted"
    )
    text: str = Field(default="text", description="name or dotted path of the text")
    messages: str | None = Field(
        default=None, description="path of a conversation whose contents are the text, with blank lines between them"
    )
    before: list[str] = Field(
        default_factory=list,
        description="paths of fields put before the text with a blank line, such as a question's title",
    )
    where: dict[str, str | int | bool] = Field(
        default_factory=dict, description="field -> value that a record must have"
    )
    max_docs: int | None = Field(
        default=None, ge=1, description="texts that are drawn, by hash of the text; null: all, which memory must hold"
    )
    max_read_docs: int | None = Field(
        default=None,
        ge=1,
        description="records after which reading stops, in the order of files: for sources too large to be read",
    )
    max_text_bytes: int | None = Field(
        default=None, ge=1, description="of each text its first bytes are taken; null: all"
    )
    passages: int = Field(
        default=1,
        ge=1,
        description="passages of max_text_bytes taken from a text, at equal distances, as many as stand beside each other in it; "
        "all passages of a text are on one side of the split",
    )
    about: str = Field(default="", description="what the data set is, and where it is found")

    @model_validator(mode="after")
    def _check_place(self) -> ExampleSource:
        if bool(self.inputs) == bool(self.corpus):
            raise ValueError("expected either inputs or a corpus")
        if self.corpus is None and (self.view is not None or self.attribute is not None):
            raise ValueError("view and attribute need a corpus")
        if sum(option is not None for option in (self.label, self.label_field, self.attribute)) > 1:
            raise ValueError("expected one of label, label_field and attribute")
        if self.passages > 1 and self.max_text_bytes is None:
            raise ValueError("passages need max_text_bytes")
        return self


class Example(NamedTuple):
    """One text; `label` is "" where a source has none (texts to be annotated)."""

    text: str
    label: str
    id: str


class Drawn(NamedTuple):
    """What came of a source."""

    examples: list[Example]  # in the order of their hash
    counts: dict[str, int]  # read, left_out:<why>, unreadable:<reason>, drawn
    fingerprint: str  # xxh3-128 of (label, text) of the drawn ones in order; says which data a model was trained on
    wholes: dict[
        str, int
    ]  # passage -> xxh64 of the text that it was taken from; empty where whole texts or beginnings are drawn


def draw_examples(source: ExampleSource, *, seed: int, folder: str | None = None, needs_label: bool = True) -> Drawn:
    """The texts of a source with the smallest hash, at most max_docs of them; what was not taken is counted.

    Raises
    ------
    ConfigError     no files, no such view, no label, or a label that is no word
    DataError       nothing of the source can be used
    """
    if needs_label and source.label is None and source.label_field is None and source.attribute is None:
        raise ConfigError(f"{source.name}.label", None, "expected one of label, label_field and attribute")
    counts: Counter[str] = Counter()
    # a heap of the smallest keys: the largest of them is at the top, negated
    heap: list[tuple[int, str, str, str]] = []
    kept: list[tuple[int, str, str, str]] = []
    salt = derive_seed(seed, "classifier", "draw", source.name)
    wholes: dict[str, int] = {}
    for example in read_examples(source, counts, folder=folder, needs_label=needs_label):
        passages = [example.text]
        if source.max_text_bytes is not None:
            passages = cut_passages(example.text, source.max_text_bytes, source.passages)
        for text in passages:
            if source.passages > 1:
                # a passage of two texts goes where the one of the smaller hash goes
                wholes[text] = min(words_key(example.text), wholes.get(text, 1 << 64))
            key = xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass"), seed=salt)
            if source.max_docs is None:
                kept.append((key, text, example.label, example.id))
                continue
            # among equal keys, which are equal texts, any may stay: the label decides before the id
            item = (-key, text, example.label, example.id)
            if len(heap) < source.max_docs:
                heapq.heappush(heap, item)
            elif item > heap[0]:
                heapq.heapreplace(heap, item)
    rows = sorted(kept or [(-key, text, label, name) for key, text, label, name in heap])
    examples = [Example(text, label, name) for _, text, label, name in rows]
    counts["drawn"] = len(examples)
    if not examples:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "no records"
        raise DataError(source.name, f"no texts to learn from ({told})", hint=_HINT)
    wholes = {example.text: wholes[example.text] for example in examples if wholes}
    return Drawn(examples, dict(sorted(counts.items())), fingerprint_examples(examples), wholes)


def read_examples(
    source: ExampleSource, counts: Counter[str], *, folder: str | None = None, needs_label: bool = True
) -> Iterator[Example]:
    """Every usable text of a source in the order of its files; adds to `counts`."""
    records = _read_corpus(source) if source.corpus is not None else _read_files(source, folder, counts, needs_label)
    for record, text, name in records:
        if source.max_read_docs is not None and counts["read"] >= source.max_read_docs:
            return
        counts["read"] += 1
        if not all(_is_wanted(_value_at(record, key), value) for key, value in source.where.items()):
            counts["left_out:where"] += 1
            continue
        parts = [_value_at(record, path) for path in source.before]
        if not all(isinstance(part, str) for part in parts):
            counts["left_out:before_missing"] += 1
            continue
        if not has_text(text):
            counts[NO_TEXT] += 1
            continue
        label = _find_label(source, record) if needs_label else ""
        if label is None:
            counts["left_out:label"] += 1
            continue
        yield Example("\n\n".join([part for part in parts if part] + [text]), label, name)


def _is_wanted(found: Any, value: str | int | bool) -> bool:
    """Cells of CSV and TSV are words: 1 and true stand there as such."""
    is_word = isinstance(found, str) and not isinstance(value, str)
    return bool(found == value) or (is_word and found.lower() == str(value).lower())


def _find_label(source: ExampleSource, record: dict[str, Any]) -> str | None:
    """None: the record has none, or one that is not wanted."""
    if source.label is not None:
        value: Any = source.label
    else:
        value = record.get(_ATTRIBUTE) if source.attribute is not None else _value_at(record, source.label_field or "")
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # tables with holes write whole numbers as 3.0
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str | int):
            return None
        value = str(value)
    if source.labels:
        value = source.labels.get(value)
        if value is None:
            return None
    if not is_label(value):
        raise ConfigError(
            f"{source.name}.label", value, "expected a label of letters, digits, dots and hyphens", "Map it by labels."
        )
    return str(value)


def _value_at(record: dict[str, Any], path: str) -> Any:
    """A record's `metadata` is taken apart by the readers: its fields are found with and without that name before them."""
    found = find_value(record, path)
    return find_value(record, path.removeprefix("metadata.")) if found is None else found


def has_text(text: str) -> bool:
    """Whether there is a sign to be seen: not white space, controls, marks of no width or halves of surrogate pairs alone.

    >>> has_text(" \\n\\u200b"), has_text(" a")
    (False, True)
    """
    return any(sign.isprintable() and not sign.isspace() for sign in text)


def is_label(value: str) -> bool:
    """Whether fastText, whose labels end at a blank, and a rule of ours can have this label."""
    return bool(value) and all(sign.isalnum() or sign in "_-.&" for sign in value) and len(value) <= 100


_ATTRIBUTE = "\0attribute"  # no record has such a field


def _read_files(
    source: ExampleSource, folder: str | None, counts: Counter[str], needs_label: bool
) -> Iterator[tuple[dict[str, Any], str, str]]:
    found = find_inputs(source, folder)
    if found.left_out:
        counts["left_out:files"] += len(found.left_out)
    fields = FieldMap(text=source.text, messages=source.messages, keep_origin=False)
    for info in found.files:
        form = label_files.find_form(info.path)
        if form:
            needed = (source.label_field,) if source.label_field is not None and needs_label else ()
            yield from label_files.read_label_file(
                info.path, form, source=source.name, text=source.text, needed=needed, counts=counts
            )
            continue
        events = read_any(
            info.path,
            source=source.name,
            limits=Limits(),
            fields=fields,
            added=None,
            open_stream=storage.open_read,
        )
        for event in events:
            if isinstance(event, Rejection):
                counts[f"unreadable:{event.reason}"] += 1
            else:
                yield from _iterate_records(event)


def _iterate_records(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str, str]]:
    columns = (batch.column(name).to_pylist() for name in ("id", "text", "source", "metadata"))
    for name, text, source, metadata in zip(*columns, strict=True):
        record = orjson.loads(metadata) if metadata else {}
        # a field `source` of the record itself stands in metadata
        yield {"id": name, "text": text, "source": source} | record, text, name


def _read_corpus(source: ExampleSource) -> Iterator[tuple[dict[str, Any], str, str]]:
    corpus = Corpus(source.corpus or "")
    view = corpus.load_view(source.view)
    listing = views.check_listing(view, corpus.read_listing())
    attributes, _, column = (source.attribute or "").rpartition(".")
    for split in plan_splits(listing, _SPLIT_BYTES):
        for batch in read_view(corpus, view, split, ["text", "metadata"]):
            values: Sequence[Any] = [None] * len(batch.rows)
            if source.attribute is not None:
                table = views.read_attributes(corpus.root, attributes, batch.shard, [batch.group])
                if column not in table.column_names:
                    raise ConfigError(
                        f"{source.name}.attribute", source.attribute, f"expected one of {table.column_names}"
                    )
                values = table.column(column).take(pa.array(batch.rows)).to_pylist()
            for value, (record, text, name) in zip(values, _iterate_records(batch.documents), strict=True):
                yield record | {_ATTRIBUTE: value}, text, name


def find_inputs(source: ExampleSource, folder: str | None = None, *, first_only: bool = False) -> Found:
    """The files of a source's inputs; ConfigError for a pattern without files."""
    parts = []
    for pattern in source.inputs:
        if "{folder}" in pattern:
            if folder is None:
                rule = "expected --folder, which {folder} stands for"
                raise ConfigError(f"{source.name}.inputs", pattern, rule, source.about)
            pattern = pattern.replace("{folder}", folder.rstrip("/"))
        found = find_files(storage.resolve_path(pattern), first_only=first_only)
        if not found.files:
            hint = f"Of what is there, {describe_left_out(found.left_out)}." if found.left_out else source.about
            raise ConfigError(f"{source.name}.inputs", pattern, "expected at least one file", hint)
        parts.append(found)
    files = {info.path: info for found in parts for info in found.files}
    left_out = sorted({path for found in parts for path in found.left_out})
    return Found([files[path] for path in sorted(files)], frozenset(), [], left_out)


def cut_text(text: str, max_bytes: int) -> str:
    """The longest beginning of at most `max_bytes` UTF-8 bytes."""
    return text.encode("utf-8", "surrogatepass")[:max_bytes].decode("utf-8", "ignore")


def cut_passages(text: str, max_bytes: int, most: int) -> list[str]:
    """At most `most` passages of at most `max_bytes` UTF-8 bytes at equal distances, the first at the beginning; none reaches into the next.

    >>> cut_passages("abcdefghij", 2, 3), cut_passages("abc", 2, 3)
    (['ab', 'de', 'gh'], ['ab'])
    """
    encoded = text.encode("utf-8", "surrogatepass")
    count = min(most, max(len(encoded) // max_bytes, 1))
    starts = [len(encoded) * number // count for number in range(count + 1)]
    return [
        # a character that a bound cuts is in neither passage
        encoded[start : min(start + max_bytes, end)].decode("utf-8", "ignore")
        for start, end in itertools.pairwise(starts)
    ]


def fingerprint_examples(examples: Iterable[Example]) -> str:
    """xxh3-128 over the labels and texts in order, 32 hex digits."""
    digest = xxhash.xxh3_128()
    for example in examples:
        for part in (example.label, example.text):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def group_by_label(drawn: Iterable[Drawn]) -> dict[str, list[str]]:
    """Texts of each label, labels in sorted order; within a label by the hash of the text."""
    groups: dict[str, list[str]] = {}
    for part in drawn:
        for example in part.examples:
            groups.setdefault(example.label, []).append(example.text)
    return {label: sorted(texts, key=text_key) for label, texts in sorted(groups.items())}


def text_key(text: str) -> tuple[int, str]:
    """Order of texts that depends on nothing but them, and not on what they say."""
    return xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass")), text


def balance_labels(groups: dict[str, list[str]], at_most: int | None, *, seed: int) -> dict[str, list[str]]:
    """Labels with more texts than `at_most` are drawn down to it by hash; None: to the number of the rarest label."""
    size = min(map(len, groups.values())) if at_most is None else at_most
    salt = derive_seed(seed, "classifier", "balance")
    return {label: texts if len(texts) <= size else _draw(texts, size, salt) for label, texts in groups.items()}


def _draw(texts: list[str], size: int, salt: int) -> list[str]:
    keys = np.array([text_key(text)[0] for text in texts], np.uint64)
    order = np.argsort(mix_keys(keys, seed=salt), kind="stable")[:size]
    return [texts[index] for index in np.sort(order).tolist()]


def count_contradicting(groups: dict[str, list[str]]) -> int:
    """Texts, equal in their words, that stand under two labels or more: no classifier can be right about them all."""
    labels: dict[int, set[str]] = {}
    for label, texts in groups.items():
        for text in texts:
            labels.setdefault(words_key(text), set()).add(label)
    return sum(len(found) > 1 for found in labels.values())


def words_key(text: str) -> int:
    """xxh64 of a text's words as fastText parts them: equal for texts that are the same to it."""
    words = [word for word in SEPARATORS.split(text) if word]
    return xxhash.xxh64_intdigest(" ".join(words).encode("utf-8", "surrogatepass"))


def join_wholes(drawn: Iterable[Drawn]) -> dict[str, int]:
    """Passage -> hash of its text, over several sources."""
    wholes: dict[str, int] = {}
    for part in drawn:
        for text, key in part.wholes.items():
            wholes[text] = min(key, wholes.get(text, key))
    return wholes


def is_held_out(
    texts: Sequence[str], *, seed: int, held_out_frac: float, wholes: Mapping[str, int] | None = None
) -> list[bool]:
    """Which texts are kept for measuring: a function of the text's words and the seed, so that what is one text to fastText
    stays together.

    wholes          of join_wholes: passages of one text stay together
    """
    known = wholes or {}
    keys = np.array([known[text] if text in known else words_key(text) for text in texts], np.uint64)
    chosen = uniform_hash(keys, seed=derive_seed(seed, "classifier", "held-out")) < held_out_frac
    return [bool(value) for value in chosen]
