"""Long documents with passages set into them that make a model look back: from a batch of documents to a batch of made ones.

Two recipes: `cwe` asks for counts of words (mixers.word_counts), `rex` has a language model retell what a section says (mixers.rex_forms). A made
document is its parent with the passages, id `<parent>#<recipe>-0`; its metadata are the parent's, dolma_py_making, and `long_context`: where
sections and passages lie, and what each passage is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py import config
from dolma_py.config import Config, OptionError
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Answer, Endpoint, EndpointConfig, Request
from dolma_py.errors import ConservationError
from dolma_py.formats.json_values import dump_json, load_json
from dolma_py.hashing import derive_seed
from dolma_py.made_documents import Making, add_making, make_made_id
from mixers import rex_forms, word_counts
from mixers.long_sections import Breaks, Section, SectionConfig, cut_document
from mixers.noun_phrases import Language, Tagged, find_phrases, load_tagger, rank_phrases
from mixers.passages import KEY
from mixers.rex_forms import RexConfig, RexTask
from mixers.tokenization import LoadedTokenizer
from mixers.word_counts import WordCountConfig

VERSION = 1  # of a made document's bytes
RECIPES = ("cwe", "rex")


class LongContextConfig(Config):
    """Which recipe, for which documents, and how."""

    recipe: str = Field(description="cwe: counts of words; rex: retold by a model")
    tokenizer: str = Field(default="artifact:tokenizer", description="artifact, tokenizer.json, folder or hub name")
    language: Language = Field(default="en", description="of the documents, for noun phrases")
    sections: SectionConfig = Field(default=SectionConfig(), description="which documents are cut, and how")
    cwe: WordCountConfig = Field(default=WordCountConfig(), description="words and questions of cwe")
    rex: RexConfig = Field(default=RexConfig(), description="phrases and forms of rex")
    endpoint: EndpointConfig | None = Field(
        default=None, description="of rex: the model, its cache, prices and bounds: docs/endpoint.md"
    )

    @model_validator(mode="after")
    def _check_recipe(self) -> LongContextConfig:
        if self.recipe not in RECIPES:
            raise OptionError("recipe", self.recipe, f"expected one of {', '.join(RECIPES)}")
        if self.recipe == "rex" and self.endpoint is None:
            raise ValueError("recipe rex needs endpoint: base_url, model and cache")
        return self


class _Cut(NamedTuple):
    """A document on its way."""

    row: int
    text: str
    sections: list[Section]
    breaks: Breaks
    tagged: list[Tagged]
    key: int


class LongContextMaker:
    """Makes documents of batches; what a document becomes depends on it, the settings and the seed alone, and on the model's answers.

    Attributes
    ----------
    counts : Counter    documents, made, left_out:<reason>, sections, passage:<what became of it>; of rex asked, prompt_tokens,
                        completion_tokens; over all batches
    """

    def __init__(self, settings: LongContextConfig, tokenizer: LoadedTokenizer, *, seed: int) -> None:
        load_tagger(settings.language)  # an error here, not at the first document that is long enough
        self.settings, self.tokenizer, self.seed = settings, tokenizer, seed
        self.sections = settings.sections.apply_scale()
        self.recipe = config.fingerprint("long-context", identify(settings), tokenizer.fingerprint)
        self.counts: Counter[str] = Counter()

    def make(self, batch: pa.RecordBatch, endpoint: Endpoint | None = None) -> pa.RecordBatch:
        """The made documents of a batch of DOCUMENT_SCHEMA, in its order. Raises EndpointError as Endpoint.ask does."""
        rows = batch.num_rows
        self.counts["documents"] += rows
        found = [self._cut(batch, row) for row in range(rows)]
        cuts = [cut for cut in found if cut is not None]
        results = (
            self._make_rex(cuts, endpoint) if self.settings.recipe == "rex" else [self._make_cwe(cut) for cut in cuts]
        )
        made = []
        for cut, result in zip(cuts, results, strict=True):
            if isinstance(result, str):
                self.counts[f"left_out:{result}"] += 1
                continue
            self.counts["made"] += 1
            self.counts["sections"] += len(cut.sections)
            made.append(self._write(batch, cut.row, *result))
        left_out = sum(number for name, number in self.counts.items() if name.startswith("left_out:"))
        if self.counts["documents"] != self.counts["made"] + left_out:
            raise ConservationError("synth", dict(self.counts))
        return pa.RecordBatch.from_pylist(made, schema=DOCUMENT_SCHEMA)

    def plan_requests(self, batch: pa.RecordBatch) -> list[Request]:
        """What a model would be asked about the documents of a batch; nothing is counted. None for cwe."""
        if self.settings.recipe != "rex":
            return []
        counts, self.counts = self.counts, Counter()
        cuts = [self._cut(batch, row) for row in range(batch.num_rows)]
        self.counts = counts
        return [task.request for cut in cuts if cut is not None for task in self._plan_rex(cut)]

    def _cut(self, batch: pa.RecordBatch, row: int) -> _Cut | None:
        doc_id, text = batch.column("id")[row].as_py(), batch.column("text")[row].as_py()
        found = cut_document(text, self.tokenizer, self.sections, doc_id=doc_id, seed=self.seed)
        if isinstance(found, str):
            self.counts[f"left_out:{found}"] += 1
            return None
        sections, breaks = found
        data = text.encode()
        tagged = [
            find_phrases(data[section.start : section.end].decode(), self.settings.language) for section in sections
        ]
        return _Cut(row, text, sections, breaks, tagged, derive_seed(self.seed, "synth", doc_id))

    def _make_cwe(self, cut: _Cut) -> tuple[str, dict[str, Any]] | str:
        counts = [tagged.counts for tagged in cut.tagged]
        result = word_counts.make_document(cut.text, cut.sections, cut.breaks, counts, self.settings.cwe, key=cut.key)
        if not isinstance(result, str):
            self.counts["passage:taken"] += len(result[1]["passages"])
        return result

    def _make_rex(self, cuts: Sequence[_Cut], endpoint: Endpoint | None) -> list[tuple[str, dict[str, Any]] | str]:
        plans = [self._plan_rex(cut) for cut in cuts]
        asked = [task.request for plan in plans for task in plan]
        answers = iter(endpoint.ask(asked) if endpoint is not None and asked else [])
        results = []
        for cut, plan in zip(cuts, plans, strict=True):
            given: list[Answer] = [next(answers) for _ in plan]
            for answer in given:
                self.counts["asked"] += 1
                self.counts["prompt_tokens"] += answer.prompt_tokens
                self.counts["completion_tokens"] += answer.completion_tokens
            result, counts = rex_forms.make_document(cut.text, cut.sections, plan, given)
            self.counts.update({f"passage:{name}": number for name, number in counts.items()})
            results.append(result)
        return results

    def _plan_rex(self, cut: _Cut) -> list[RexTask]:
        ranked = rank_phrases([tagged.counts for tagged in cut.tagged])
        return rex_forms.plan_passages(cut.sections, cut.breaks, cut.tagged, ranked, self.settings.rex, key=cut.key)

    def _write(self, batch: pa.RecordBatch, row: int, text: str, details: dict[str, Any]) -> dict[str, Any]:
        values = {name: batch.column(name)[row].as_py() for name in DOCUMENT_SCHEMA.names}
        keys = [passage["cache_key"] for passage in details["passages"] if "cache_key" in passage]
        endpoint = self.settings.endpoint if keys else None
        making = Making(
            parents=(values["id"],),
            recipe=self.recipe,
            seed=self.seed,
            model=None if endpoint is None else endpoint.model,
            cache_key=keys[0] if keys else None,  # of the first passage; each has its own beside it
        )
        metadata = load_json(values["metadata"]) if values["metadata"] else {}
        made_id = make_made_id(values["id"], details["recipe"], 0)
        return values | {
            "id": made_id,
            "text": text,
            "metadata": add_making(dump_json(metadata | {KEY: details}), making),
        }


def identify(settings: LongContextConfig) -> dict[str, Any]:
    """What of the settings decides a made document: of the endpoint the model and its revision, of the tokenizer nothing (it has its own)."""
    values = config.dump_config(settings)
    own, sections = settings.recipe, config.dump_config(settings.sections.apply_scale())
    sections.pop("scale")  # the numbers say it
    model = None if settings.endpoint is None or own == "cwe" else [settings.endpoint.model, settings.endpoint.revision]
    return {
        "version": VERSION, "recipe": own, "language": settings.language, "sections": sections, own: values[own], "model": model,
    }  # fmt: skip
