"""What making documents by a model would cost, before it is asked: requests about a sample of the view, scaled to all of its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.corpus import Corpus, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import EndpointConfig, Request
from dolma_py.endpoint_budget import Estimate as Asked
from dolma_py.endpoint_budget import add_estimate
from dolma_py.views import View
from mixers.long_context import RECIPES, LongContextMaker
from mixers.synthesis import SynthesisMaker
from mixers.tokenization import build_tokenizer
from mixers.tokenizer_files import find_tokenizer_file, read_tokenizer_file
from pipelines.costs import NO_ESTIMATE, Estimate
from pipelines.minhash_plan import choose_groups
from pipelines.synth_documents import SynthConfig, make_settings

GROUP_DOCS = 25  # of each sampled row group
GROUP_LONG_DOCS = 2  # words of long documents are tagged at 0.1 MB a second


def estimate(settings: SynthConfig, corpus: Corpus, view: View, text_bytes: int, seed: int) -> Estimate:
    """Requests, tokens and price of the step over `text_bytes` of text of which the corpus' documents are a part, or all; nothing is asked.

    Later stages count as if every answer before were taken and as long as its text; what was answered before is not taken off.
    """
    if settings.recipe == "cwe" or settings.endpoint is None:
        return NO_ESTIMATE
    text_bytes = round(text_bytes * settings.documents_frac)
    maker: LongContextMaker | SynthesisMaker
    if settings.recipe not in RECIPES:
        with SynthesisMaker(make_settings(settings), seed=seed) as maker:
            return _estimate(maker, settings.endpoint, corpus, view, text_bytes)
    if find_tokenizer_file(settings.tokenizer) is None:  # of an earlier step, or to be fetched
        return Estimate(
            {"teacher": f"requests to {settings.endpoint.model} are known once the tokenizer is there"},
            None,
            None,
            None,
        )
    tokenizer = build_tokenizer(read_tokenizer_file(settings.tokenizer), where=settings.tokenizer)
    return _estimate(LongContextMaker(settings, tokenizer, seed=seed), settings.endpoint, corpus, view, text_bytes)


def _estimate(
    maker: LongContextMaker | SynthesisMaker, endpoint: EndpointConfig, corpus: Corpus, view: View, text_bytes: int
) -> Estimate:
    listing = corpus.read_listing()
    most = GROUP_LONG_DOCS if isinstance(maker, LongContextMaker) else GROUP_DOCS
    asked, sampled_docs, sampled_bytes, kept_bytes, read_bytes = Asked(), 0, 0, 0, 0
    for split in choose_groups(listing):
        read_bytes += split.text_bytes
        left = most
        for batch in read_view(corpus, view, split):
            documents = batch.documents.cast(DOCUMENT_SCHEMA)
            kept_bytes += _count_bytes(documents)
            sample = documents.slice(0, left)
            left -= sample.num_rows
            sampled_docs += sample.num_rows
            sampled_bytes += _count_bytes(sample)
            for request in list_requests(maker, sample):
                asked = add_estimate(asked, request, endpoint.prices, is_cached=False)
    if not sampled_bytes:
        return Estimate({"teacher": "the sampled documents are all left out by the view"}, None, None, None)
    scale = text_bytes * (kept_bytes / max(read_bytes, 1)) / sampled_bytes
    return Estimate({"teacher": describe(asked, scale, endpoint), "sampled_docs": sampled_docs}, None, None, None)


def list_requests(maker: LongContextMaker | SynthesisMaker, documents: pa.RecordBatch) -> Iterator[Request]:
    """What would be asked about the documents, the same question once."""
    if isinstance(maker, LongContextMaker):
        yield from maker.plan_requests(documents)
        return
    for _, found in maker.plan(documents):
        tasks = [] if isinstance(found, str) else found
        prompts = [prompt for task in tasks for prompt in (task.prompt, *maker.kind.later_stages(task))]
        yield from (maker.make_request(prompt) for prompt in dict.fromkeys(prompts))


def describe(asked: Asked, scale: float, endpoint: EndpointConfig) -> str:
    """One line for a person."""
    requests, prompt, answers = (
        round(number * scale) for number in (asked.requests, asked.prompt_tokens, asked.max_completion_tokens)
    )
    priced = endpoint.price_per_million_prompt or endpoint.price_per_million_completion
    price = f"at most {asked.max_cost * scale:.4g} to pay" if priced else "no price is set"
    return (
        f"about {requests} requests to {endpoint.model}: about {prompt} prompt tokens, at most {answers} tokens of answers, {price}; "
        "what was answered before apart"
    )


def _count_bytes(documents: pa.RecordBatch) -> int:
    total: Any = pc.sum(pc.binary_length(documents.column("text"))).as_py()
    return total or 0
