"""The first row of a job that becomes tokens, to be shown before the job begins."""

from __future__ import annotations

from itertools import islice

from mixers import chat_filters
from mixers.chat_rows import read_row
from mixers.label_masks import Encoded
from pipelines.plain_inputs import PlainFile
from pipelines.posttrain_config import PosttrainSource
from pipelines.posttrain_rows import Broken, Worker, encode_sides, read_records

FIRST_RECORDS = 50  # of each file, looked at for a sample


def find_sample(worker: Worker, files: list[tuple[PosttrainSource, PlainFile]]) -> tuple[str, Encoded] | None:
    """(FILE:LINE, tokens) of the first row that stays; of a pair the chosen side. None where none of the first records does."""
    settings = worker.settings
    for source, file in files:
        for line, value in islice(read_records(file, settings.limits), FIRST_RECORDS):
            if isinstance(value, Broken):
                continue
            row = read_row(
                value, kind=settings.rows, form=source.form, columns=source.columns, verifier=source.verifier
            )
            if isinstance(row, str):
                continue
            reasons = chat_filters.find_dropped(
                [row],
                template=worker.template,
                licenses=settings.licenses,
                default_license=source.license,
                traces=settings.traces,
            )
            (encoded,) = encode_sides(worker, [row.messages], reasons)
            if isinstance(encoded, Encoded):
                return f"{file.name}:{line}", encoded
    return None
