"""What `dolma-py mix optimize` is told: sources, budget, proxies, mixes to try, tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError
from mixers.mix_swarm import SwarmConfig

OWN_OVERRIDES = ("run.steps", "data.batch_instances", "data.sequence_tokens", "data.sources")


class MixSource(Config):
    """One source of the mix."""

    shards: str = Field(
        min_length=1, description="folder of token shards with manifest.json; all sources have one tokenizer"
    )
    tokens: int | None = Field(
        None,
        gt=0,
        description="tokens that there are for the budget, where the shards are a sample; null: the shards' own",
    )
    max_repetition: float = Field(
        4.0, gt=0, description="most copies in the budget on average; Olmo 3 report 3.4.4: about 4 to 7"
    )
    fixed_share: float | None = Field(None, ge=0, le=1, description="share that is not searched")


class FrozenMix(Config):
    """A mix that was found before and keeps its proportions: one virtual source (conditional mixing)."""

    weights: dict[str, float] = Field(
        min_length=1, description="weight of each of its sources, such as the shares of weights.yaml"
    )
    fixed_share: float | None = Field(None, ge=0, le=1, description="share of the whole that is not searched")


class ProxyConfig(Config):
    """The small model that is trained on every mix."""

    config: str = Field(
        "quickstart/pretrain", min_length=1, description="of `dolma-py train`: packaged name or YAML file"
    )
    steps: int = Field(ge=1, description="updates of each run")
    batch_instances: int = Field(ge=1, description="instances of an update")
    sequence_tokens: int = Field(ge=2, description="tokens of an instance")
    overrides: list[str] = Field(
        default_factory=list,
        description="further settings of `dolma-py train`, a.b=c; Olmo 3: model.preset=ladder_30m, 3B tokens",
    )
    workers: int = Field(1, ge=1, description="runs at a time; changes no result")
    retries: int = Field(2, ge=0, description="more tries of a run that failed")
    keep_weights: bool = Field(True, description="whether checkpoints stay; without them new tasks need new runs")

    @model_validator(mode="after")
    def _check_overrides(self) -> ProxyConfig:
        for override in self.overrides:
            key = override.partition("=")[0]
            if any(key == own or key.startswith(own + ".") for own in OWN_OVERRIDES):
                raise OptionError(
                    "overrides", override, "expected no setting that proxies have from the mix and from proxy itself"
                )
        return self


class TaskConfig(Config):
    """What a mix is judged by: bits per byte of held-out documents or of answers."""

    heldout: str | None = Field(None, min_length=1, description="name of held-out documents; or give items")
    shards: str | None = Field(
        None, min_length=1, description="with heldout: folder of shards that has them; null: the source of that name"
    )
    items: str | None = Field(None, min_length=1, description="JSON lines of {id, question, answer, passage}")
    weight: float = Field(1.0, ge=0, description="in the mean that is minimised; 0: measured and predicted only")

    @model_validator(mode="after")
    def _check_one(self) -> TaskConfig:
        if (self.heldout is None) == (self.items is None):
            raise OptionError("heldout", self.heldout, "expected either heldout or items")
        if self.items is not None and self.shards is not None:
            raise OptionError("shards", self.shards, "expected none beside items")
        return self


class OptimizeConfig(Config):
    """The search for a mix."""

    sources: dict[str, MixSource] = Field(min_length=2, description="by name")
    frozen: dict[str, FrozenMix] = Field(default_factory=dict, description="virtual sources by name")
    budget: int = Field(gt=0, description="tokens of the mix that is chosen; with max_repetition it caps shares")
    proxy: ProxyConfig = Field(description="the runs")
    runs: int = Field(ge=3, description="mixes that are fitted; Olmo 3: about five for each source")
    heldout_runs: int = Field(5, ge=0, description="further mixes that are only predicted, and compared")
    swarm: SwarmConfig = Field(SwarmConfig(), description="how mixes are drawn")
    tasks: dict[str, TaskConfig] = Field(min_length=1, description="by name")
    max_docs: int | None = Field(100, ge=1, description="held-out documents of each source that are read; null: all")
    regression: Literal["log_linear", "boosted_trees"] = Field(
        "log_linear", description="what predicts a task; boosted_trees: LightGBM (extra trees), for hundreds of runs"
    )
    measure_chosen: bool = Field(
        True, description="whether the chosen and the natural mix are trained and measured too"
    )
