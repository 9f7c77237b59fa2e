"""What reading PDFs by a vision model would cost, before it is done: pages counted in some of the files, and a price for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dolma_py import storage
from dolma_py.endpoint_budget import BYTES_PER_TOKEN, NANO
from dolma_py.formats import Limits
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.pdf import PdfConfig
from dolma_py.pdf_process import PdfProcess
from dolma_py.pdf_vision import PAGE_PROMPT

SAMPLED_FILES = 50


def describe_requests(pieces: Iterable[dict[str, Any]], limits: Limits) -> list[str]:
    """A line for each model that pieces of ingest units would ask: files, pages, tokens, cost at most.

    Pages are counted in SAMPLED_FILES files, evenly spaced, and scaled up. Pages that were answered before are not taken off: to know them
    is to draw them.
    """
    files: dict[str, list[str]] = {}
    settings: dict[str, PdfConfig] = {}
    for piece in pieces:
        if piece["kind"] == "pdf" and piece["settings"]["endpoint"] is not None:
            pdf = PdfConfig.model_validate(piece["settings"])
            key = pdf.model_dump_json()
            settings[key] = pdf
            files.setdefault(key, []).append(piece["path"])
    return [_describe(settings[key], paths, limits) for key, paths in files.items()]


def _describe(pdf: PdfConfig, paths: list[str], limits: Limits) -> str:
    assert pdf.endpoint is not None
    step = max(1, -(-len(paths) // SAMPLED_FILES))
    sample = paths[::step]
    process = PdfProcess(pdf.limits)
    try:
        counted = [_count_pages(path, process, limits) for path in sample]
    finally:
        process.close()
    pages = round(sum(counted) * len(paths) / len(sample))
    prices = pdf.endpoint.prices
    prompt = pages * (prices.image_tokens + len(PAGE_PROMPT) // BYTES_PER_TOKEN)
    answers = pages * pdf.max_answer_tokens
    cost = prices.nano(prompt, answers) / NANO
    price = f"at most {cost:.4g} to pay" if cost else "no price is set"
    about = "" if len(sample) == len(paths) else "about "
    return (
        f"{len(paths)} PDFs with {about}{pages} pages, each a request to {pdf.endpoint.model}: about {prompt} prompt tokens, "
        f"at most {answers} tokens of answers, {price}; what was answered before and what is asked again apart"
    )


def _count_pages(path: str, process: PdfProcess, limits: Limits) -> int:
    with storage.open_read(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=limits)
    return 0 if reason else process.count_pages(data).num_pages
