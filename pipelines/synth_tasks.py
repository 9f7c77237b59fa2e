"""The tasks of the step `synth`: what is made of one split of a view, by a recipe of long documents or by one of mixers.synthesis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import pyarrow as pa

from dolma_py.corpus import Corpus, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Endpoint, EndpointConfig
from dolma_py.hashing import derive_seed, hash_ids, uniform_hash
from dolma_py.listing import Split
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from mixers.long_context import LongContextConfig, LongContextMaker
from mixers.synthesis import SynthesisMaker, SynthesisSettings
from mixers.synthesis_named import SynthesisRecipe
from mixers.tokenization import use_one_thread
from pipelines.named_tokenizers import cached_tokenizer
from pipelines.shard_files import write_shard

ROWS_AT_ONCE = 64  # documents whose requests are under way together
LANGUAGE_MIN_SCORE = 0.9  # below it a text's language is not clear; formulas are no language
LANGUAGE_MIN_CHARS = 80
LANGUAGE_CHARS = 4000  # of a text, from its start


class _Split(NamedTuple):
    """What a task reads."""

    corpus: Corpus
    view: View
    split: Split
    recipe: str
    documents_frac: float
    seed: int


def make_long_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the long documents made of the kept rows of one split, as one shard of the new corpus."""
    use_one_thread()
    settings = LongContextConfig.model_validate(params["settings"])
    tokenizer = cached_tokenizer(settings.tokenizer, params["tokenizer_checksum"])
    maker = LongContextMaker(settings, tokenizer, seed=params["seed"])
    with ExitStack() as stack:
        endpoint = None
        if settings.recipe == "rex" and settings.endpoint is not None:
            endpoint = stack.enter_context(Endpoint(settings.endpoint))
        files, facts = _write(params, attempts, lambda batch: maker.make(batch, endpoint))
    return files, facts | {"counts": dict(sorted(maker.counts.items()))}


def make_recipe_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: what a model makes of the kept rows of one split by a recipe of mixers.synthesis, as one shard of the new corpus."""
    use_one_thread()
    settings = read_settings(params["synthesis"])
    with (
        SynthesisMaker(settings, seed=params["seed"], languages=name_languages) as maker,
        Endpoint(EndpointConfig.model_validate(params["endpoint"])) as endpoint,
    ):
        files, facts = _write(params, attempts, lambda batch: maker.make(batch, endpoint))
    return files, facts | {"counts": dict(sorted(maker.counts.items()))}


def read_settings(values: dict[str, Any]) -> SynthesisSettings:
    """SynthesisSettings of JSON values."""
    return SynthesisSettings(**{**values, "recipe": SynthesisRecipe.model_validate(values["recipe"])})


def name_languages(texts: Sequence[str]) -> list[str]:
    """The language of each text by py3langid's model, "" where it is not clear."""
    from taggers.langid import knows_nothing, load_langid, score_langid

    model = load_langid()
    scores = score_langid(model, [text[:LANGUAGE_CHARS] for text in texts])
    nothing = knows_nothing(model, scores)
    return [
        model.labels[int(row.argmax())]
        if len(text) >= LANGUAGE_MIN_CHARS and not is_nothing and float(row.max()) >= LANGUAGE_MIN_SCORE
        else ""
        for text, row, is_nothing in zip(texts, scores, nothing.tolist(), strict=True)
    ]


def _write(
    params: dict[str, Any], attempts: str, make: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> tuple[list[WrittenFile], dict[str, Any]]:
    place = _Split(
        Corpus(params["root"]),
        View.model_validate(params["view"]),
        Split(*params["split"]),
        *params["share"],
        params["seed"],
    )
    return write_shard(
        _read(place, make, params["source"]), root=params["target"], attempts=attempts, part=params["part"],
        row_group_text_bytes=params["row_group_text_bytes"],
    )  # fmt: skip


def _read(place: _Split, make: Callable[[pa.RecordBatch], pa.RecordBatch], source: str) -> Iterator[pa.RecordBatch]:
    """What is made, ROWS_AT_ONCE documents at a time, with the source of the new corpus."""
    column = DOCUMENT_SCHEMA.get_field_index("source")
    for batch in read_view(place.corpus, place.view, place.split):
        documents = take_share(batch.documents, place.recipe, place.documents_frac, seed=place.seed).cast(
            DOCUMENT_SCHEMA
        )
        for start in range(0, documents.num_rows, ROWS_AT_ONCE):
            made = make(documents.slice(start, ROWS_AT_ONCE))
            sources = pa.array([source] * made.num_rows, pa.string())
            yield made.set_column(column, DOCUMENT_SCHEMA.field("source"), sources)


def take_share(documents: pa.RecordBatch, recipe: str, documents_frac: float, *, seed: int) -> pa.RecordBatch:
    """The documents whose ids' hashes are below documents_frac; other ones for another recipe."""
    if documents_frac >= 1:
        return documents
    hashes = hash_ids(documents.column("id"), seed=seed, name=f"synth {recipe}")
    return documents.filter(pa.array(uniform_hash(hashes, seed=derive_seed(seed, "synth share")) < documents_frac))
