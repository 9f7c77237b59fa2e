"""Many problems of mixers.verifiable_tasks as made documents or as rows of chats, each question once.

A made document is question, worked solution and answer as plain text. It has no parent document: its parent's name is what it can be made again
from, `verifiable/<family>-v<version>/<level>/<seed>`, with the problem's own seed; metadata `verifiable` has the same values and the evidence.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import orjson
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from dolma_py import config
from dolma_py.config import Config, OptionError
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.formats.json_values import dump_json
from dolma_py.hashing import derive_seed
from dolma_py.made_documents import Making, add_making, make_made_id
from mixers.verifiable_problem import LEVELS, Problem
from mixers.verifiable_tasks import ASK_FOR_LINE, FAMILIES, PREFIX, Part, find_family, make, part_of, write_response

VERSION = 1  # of a document's or row's bytes, beside the families' own
MAKER = "verifiable"
MAX_REPEATS = 2_000  # draws in a row that gave no new question; then there are no more
ROWS_AT_ONCE = 256
LEAST_HELDOUT_FRAC = 0.001  # for the held-out part: all draws but so many are thrown away


class VerifiableTasksConfig(Config):
    """Which problems are made, how many, and in which form."""

    families: list[str] = Field(default=list(FAMILIES), min_length=1, description=f"of {', '.join(FAMILIES)}")
    levels: list[int] = Field(default=list(LEVELS), min_length=1, description="1 (easy) to 5 (hard)")
    num_problems: int = Field(
        default=100, ge=1, le=1_000_000, description="of each family and level, each question once"
    )
    part: Part = Field(default="train", description="train, or heldout: the questions that no training set gets")
    heldout_frac: float = Field(
        default=0.05, ge=0, le=0.5, description="share of questions that are held out, by a hash of their text"
    )
    format: Literal["documents", "chats"] = Field(
        default="documents",
        description="documents: a corpus; chats: JSON lines with messages, verifier and ground_truth",
    )

    @model_validator(mode="after")
    def _check_part(self) -> VerifiableTasksConfig:
        if self.part == "heldout" and self.heldout_frac < LEAST_HELDOUT_FRAC:
            raise OptionError(
                "heldout_frac", self.heldout_frac, f"expected {LEAST_HELDOUT_FRAC} or more for part heldout"
            )
        return self

    @field_validator("families")
    @classmethod
    def _check_families(cls, names: list[str]) -> list[str]:
        for name in names:
            try:
                find_family(name)
            except ConfigError as error:
                raise ValueError(f"{error.rule}, got {name!r}. {error.hint}") from None
        return _check_once(names)

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: list[int]) -> list[int]:
        if not set(levels) <= set(LEVELS):
            raise ValueError(f"expected levels from {LEVELS[0]} to {LEVELS[-1]}")
        return _check_once(levels)


def _check_once(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("expected each once")
    return values


class Drawn(NamedTuple):
    """A problem and what it is made again from."""

    family: str
    level: int
    seed: int  # of the problem: make(family, seed, level)
    problem: Problem

    @property
    def parent(self) -> str:
        return f"{PREFIX}{self.family}-v{FAMILIES[self.family].version}/{self.level}/{self.seed}"


def draw_problems(
    settings: VerifiableTasksConfig, family: str, level: int, *, seed: int, counts: Counter[str]
) -> Iterator[Drawn]:
    """`num_problems` problems of the settings' part, no question twice; a larger number only adds problems at the end.

    counts: gets made, repeated and other_part, which add up to the draws. Raises ConfigError where a level has not so many questions.
    """
    seen: set[bytes] = set()
    number = idle = 0
    while len(seen) < settings.num_problems:
        own = derive_seed(seed, MAKER, family, level, number) >> 1  # 63 bits, as far as JSON readers agree
        number += 1
        drawn = Drawn(family, level, own, make(family, own, level))
        question = drawn.problem.question
        if part_of(question, settings.heldout_frac) != settings.part:
            counts["other_part"] += 1
            continue
        mark = hashlib.blake2b(question.encode(), digest_size=16).digest()
        if mark in seen:
            counts["repeated"] += 1
            idle += 1
            if idle == MAX_REPEATS:
                rule = f"expected at most {len(seen)}: level {level} of {family} has no more questions that differ in part {settings.part}"
                raise ConfigError("num_problems", settings.num_problems, rule)
            continue
        seen.add(mark)
        idle = 0
        counts["made"] += 1
        yield drawn


def identify(settings: VerifiableTasksConfig) -> dict[str, Any]:
    """What of the settings decides the bytes of a family and level, with the families' versions."""
    values = config.dump_config(settings)
    names = ("num_problems", "part", "heldout_frac", "format")
    return {
        "version": VERSION,
        **{name: values[name] for name in names},
        "families": {name: family.version for name, family in FAMILIES.items() if name in settings.families},
        "levels": sorted(settings.levels),
    }


def recipe_mark(settings: VerifiableTasksConfig) -> str:
    """The fingerprint that made documents carry: of the form and of the split, not of how many others were made."""
    return config.fingerprint("verifiable", VERSION, settings.part, settings.heldout_frac)


def make_documents(
    settings: VerifiableTasksConfig, family: str, level: int, *, seed: int, source: str, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """The problems of one family and level as batches of DOCUMENT_SCHEMA, without times: a made document has none of its own."""
    recipe = recipe_mark(settings)
    rows: list[dict[str, Any]] = []
    for drawn in draw_problems(settings, family, level, seed=seed, counts=counts):
        problem = drawn.problem
        details = {
            "family": family, "version": FAMILIES[family].version, "level": level, "seed": drawn.seed, "evidence": problem.evidence,
        }  # fmt: skip
        making = Making(parents=(drawn.parent,), recipe=recipe, seed=seed)
        rows.append({
            "id": make_made_id(drawn.parent, MAKER, 0), "text": f"{problem.question}\n\n{write_response(problem)}\n", "source": source,
            "added": None, "created": None, "metadata": add_making(dump_json({MAKER: details}), making),
        })  # fmt: skip
        if len(rows) == ROWS_AT_ONCE:
            yield pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
            rows = []
    yield pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def make_chats(
    settings: VerifiableTasksConfig, family: str, level: int, *, seed: int, counts: Counter[str]
) -> Iterator[bytes]:
    """The problems of one family and level as JSON lines: id, messages (user, assistant), verifier, ground_truth (JSON of the evidence)."""
    for drawn in draw_problems(settings, family, level, seed=seed, counts=counts):
        problem = drawn.problem
        row = {
            "id": make_made_id(drawn.parent, MAKER, 0),
            "messages": [
                {"role": "user", "content": f"{problem.question}\n\n{ASK_FOR_LINE}"},
                {"role": "assistant", "content": write_response(problem)},
            ],
            "verifier": f"{PREFIX}{family}",
            "ground_truth": dump_json(problem.evidence),
        }
        yield orjson.dumps(row) + b"\n"
