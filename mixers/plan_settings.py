"""What a mix shall be: the settings of a plan."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dolma_py.config import Config
from mixers.curve import CurveConfig, Rule
from mixers.duplicate_weights import DuplicateWeightsConfig

MAX_RATE = 1e6
OTHER_TOPICS = "*"  # in `rates`: the topics that are not named
Copies = Annotated[float, Field(ge=0, le=MAX_RATE)]


class SourceConfig(Config):
    """How one source takes part."""

    share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the budget, 0 to 1; null: the rest, in proportion to the sources' tokens",
    )
    max_repetition: float = Field(
        7.0, gt=0, description="most copies of a document on average over any cell; Olmo 3 report 3.4.4 (4 to 7), A.2.4"
    )
    curve: bool | Rule = Field(
        False,
        description="rates by quality: false, one rate for all buckets; true, along plan.curve.rule; a rule's name, along that one",
    )
    throwaway_frac: float | None = Field(
        None, ge=0, lt=1, description="in place of plan.curve.throwaway_frac for this source, 0 to 1 (exclusive)"
    )
    topics: dict[str, float] = Field(
        default_factory=dict,
        description="share of the source's tokens by topic, 0 to 1; topics that are not named divide the rest in proportion to their tokens",
    )
    rates: dict[str, Copies | list[Copies]] = Field(
        default_factory=dict,
        description="rates given by hand, copies per document: by topic (* for those not named, and for a source without topics), one number or "
        "one for each bucket, lowest quality first; they fix the topic's tokens, and no curve or share is for it",
    )


class PlanConfig(Config):
    """What the mix shall be."""

    token_budget: int = Field(gt=0, description="tokens of the whole mix, end-of-text tokens included")
    sources: dict[str, SourceConfig] = Field(default_factory=dict, description="settings by source name")
    default: SourceConfig = Field(SourceConfig(), description="for sources that are not named")
    curve: CurveConfig = Field(CurveConfig(), description="rule and ranges of the curve")
    duplicates: DuplicateWeightsConfig = Field(
        DuplicateWeightsConfig(), description="weights of the buckets under rule duplicates"
    )
    on_shortage: Literal["redistribute", "error"] = Field(
        "redistribute",
        description="when a source or topic cannot give its share: the others give more in proportion, or stop",
    )


def find_rule(source: SourceConfig, curve: CurveConfig) -> str:
    """The rule of a source's rates: one of Rule, or flat."""
    if isinstance(source.curve, str):
        return source.curve
    return curve.rule if source.curve else "flat"
