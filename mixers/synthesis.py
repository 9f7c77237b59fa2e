"""Documents made by a model of others, by recipes: from a batch of documents to a batch of made ones.

A kind of recipe says what is asked about a document and what an answer must be; this engine asks, stage by stage, and counts. A made
document's id is `<parent>#<recipe>-<n>`; its metadata are the parent's, dolma_py_making, and `synthesis`: recipe, prompts' fingerprint, the
requests it came of, the licence of the teacher's answers, and what the kind says of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from dolma_py import config
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Answer, Endpoint, Message, Request
from dolma_py.errors import ConservationError
from dolma_py.formats.json_values import dump_json, load_json
from dolma_py.hashing import derive_seed
from dolma_py.made_documents import Making, add_making, make_made_id
from dolma_py.python_sources import CHECK_VERSION, PythonSources
from dolma_py.trace_filters import TRACE_VERSION
from mixers.synthesis_answers import Languages, Read, find_other_languages, read_answers
from mixers.synthesis_named import SynthesisRecipe, build_kind, build_options
from mixers.synthesis_tasks import Piece, Result, Task

VERSION = 1  # of a made document's bytes
KEY = "synthesis"  # in the metadata


class SynthesisSettings(NamedTuple):
    """What decides a made document, beside the text and the answers."""

    maker: str  # in the ids
    recipe: SynthesisRecipe
    options: dict[str, Any]  # over the recipe's
    model: str
    revision: str
    answers_license: str

    def identify(self) -> list[Any]:
        """JSON values."""
        options = config.dump_config(build_options(self.recipe, self.options))
        recipe = [self.recipe.kind, self.recipe.version, self.recipe.prompts_fingerprint]
        versions = [VERSION, TRACE_VERSION, CHECK_VERSION]
        return [versions, self.maker, recipe, options, self.model, self.revision, self.answers_license]


class _Open(NamedTuple):
    """A task on its way."""

    row: int
    order: int  # among the tasks of its document
    task: Task
    stages: list[dict[str, str]]  # requests whose answers were taken, for the metadata


class _Made(NamedTuple):
    row: int
    order: int
    piece: Piece
    stages: list[dict[str, str]]


class SynthesisMaker:
    """Makes documents of batches; what comes of a document depends on it, the settings, the seed and the model's answers alone.

    Attributes
    ----------
    counts : Counter    documents, used, made, left_out:<reason>; asked, answer:<stage>:<taken or why not>, part:<reason>; prompt_tokens and
                        completion_tokens of all answers, asked now or before; over all batches
    """

    def __init__(self, settings: SynthesisSettings, *, seed: int, languages: Languages | None = None) -> None:
        self.settings, self.seed = settings, seed
        self._sources = PythonSources()
        self.kind = build_kind(settings.recipe, settings.options, self._sources)
        self.recipe = config.fingerprint("synthesis", settings.identify())
        self._languages = languages
        self.counts: Counter[str] = Counter()
        self._seen: set[str] = set()  # requests of the batch whose tokens are counted

    def __enter__(self) -> SynthesisMaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._sources.close()

    def plan(self, batch: pa.RecordBatch) -> Iterator[tuple[int, list[Task] | str]]:
        """(row, its first tasks or why it has none) of each document; nothing is counted."""
        for row in range(batch.num_rows):
            key = derive_seed(self.seed, "synthesis", self.settings.maker, batch.column("id")[row].as_py())
            yield row, self.kind.plan(batch.column("text")[row].as_py(), key)

    def make_request(self, prompt: str) -> Request:
        """What the model is asked."""
        system = (Message("system", self.settings.recipe.system),) if self.settings.recipe.system else ()
        options = self.kind.options
        return Request(
            (*system, Message("user", prompt)), max_tokens=options.max_tokens, temperature=options.temperature
        )

    def make(self, batch: pa.RecordBatch, endpoint: Endpoint) -> pa.RecordBatch:
        """The made documents of a batch of DOCUMENT_SCHEMA, in its order. Raises EndpointError as Endpoint.ask does."""
        opened: list[_Open] = []
        for row, found in self.plan(batch):
            self.counts["documents"] += 1
            if isinstance(found, str):
                self.counts[f"left_out:{found}"] += 1
            else:
                opened += [_Open(row, order, task, []) for order, task in enumerate(found)]
        asked_rows = {one.row for one in opened}
        self._seen = set()
        made: list[_Made] = []
        while opened:
            requests = [self.make_request(one.task.prompt) for one in opened]
            answers = list(endpoint.ask(requests))
            following = []
            for one, answer, result in zip(opened, answers, self._judge(opened, answers), strict=True):
                stages = [*one.stages, {"stage": one.task.stage, "cache_key": answer.key, "model": answer.model}]
                made += [_Made(one.row, one.order, piece, stages) for piece in result.pieces]
                if result.next is not None:
                    following.append(_Open(one.row, one.order, result.next, stages))
            opened = following
        made.sort(key=lambda one: (one.row, one.order))  # stable: pieces of an answer stay in their order
        used = {one.row for one in made}
        self.counts["used"] += len(used)
        self.counts["made"] += len(made)
        if asked_rows - used:
            self.counts["left_out:no_answers"] += len(asked_rows - used)
        self._check()
        return self._write(batch, made)

    def _judge(self, opened: Sequence[_Open], answers: Sequence[Answer]) -> list[Result]:
        """What became of each answer, counted."""
        reads = read_answers(answers, self.kind.options.trace)
        reads = self._judge_languages(opened, reads)
        results = []
        for one, answer, read in zip(opened, answers, reads, strict=True):
            result = Result(reason=read.reason) if read.reason else self.kind.take(one.task, read.text)
            self.counts["asked"] += 1
            self.counts[f"answer:{one.task.stage}:{result.reason or 'taken'}"] += 1
            self.counts.update({f"part:{reason}": number for reason, number in result.refused.items()})
            if answer.key not in self._seen:  # one question of two tasks is one answer
                self._seen.add(answer.key)
                self.counts["prompt_tokens"] += answer.prompt_tokens
                self.counts["completion_tokens"] += answer.completion_tokens
            results.append(result)
        return results

    def _judge_languages(self, opened: Sequence[_Open], reads: list[Read]) -> list[Read]:
        if not self.kind.keeps_language or self._languages is None:
            return reads
        shown = [one.task.shown for one in opened]
        other = find_other_languages(shown, [read.text for read in reads], self._languages)
        return [
            Read(reason="language") if is_other and not read.reason else read
            for read, is_other in zip(reads, other, strict=True)
        ]

    def _check(self) -> None:
        left_out = sum(number for name, number in self.counts.items() if name.startswith("left_out:"))
        answered = sum(number for name, number in self.counts.items() if name.startswith("answer:"))
        if self.counts["documents"] != self.counts["used"] + left_out or self.counts["asked"] != answered:
            raise ConservationError("synth", dict(self.counts))

    def _write(self, batch: pa.RecordBatch, made: Sequence[_Made]) -> pa.RecordBatch:
        settings = self.settings
        rows = []
        numbers: Counter[int] = Counter()
        for one in made:
            values = {name: batch.column(name)[one.row].as_py() for name in DOCUMENT_SCHEMA.names}
            metadata = load_json(values["metadata"]) if values["metadata"] else {}
            details = {
                "recipe": settings.maker,
                "prompts": settings.recipe.prompts_fingerprint,
                "stages": one.stages,
                "answers_license": settings.answers_license,
                **one.piece.details,
            }
            making = Making((values["id"],), self.recipe, self.seed, settings.model, one.stages[-1]["cache_key"])
            rows.append(
                values
                | {
                    "id": make_made_id(values["id"], settings.maker, numbers[one.row]),
                    "text": one.piece.text,
                    "metadata": add_making(dump_json(metadata | {KEY: details}), making),
                }
            )
            numbers[one.row] += 1
        return pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
