"""What `dolma-py mix microanneal` and `mix integrate` are told: a checkpoint, sources, mixes to compare, tasks."""

from __future__ import annotations

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError
from mixers.mix_optimize_config import TaskConfig

OWN_OVERRIDES = (
    "run.steps", "schedule", "data.batch_instances", "data.sequence_tokens", "data.sources", "data.seed", "data.source_seed",
)  # fmt: skip
WEB = "web"  # name of microanneals' other source and of the mix of it alone


class AnnealConfig(Config):
    """The runs: from the checkpoint, as many tokens each, the rate linear to zero."""

    steps: int = Field(ge=1, description="updates of each run")
    peak_lr: float = Field(gt=0, description="learning rate of the first update, from which it falls linearly to zero")
    warmup_steps: int = Field(
        0, ge=0, description="updates in which the rate rises to peak_lr; Olmo 3's midtraining: none"
    )
    seeds: int = Field(
        3, ge=1, description="runs of each mix; one says nothing of how much runs of one mix differ: no verdicts"
    )
    first_seed: int = Field(0, ge=0, description="of the order and choice of instances; the others follow it")
    config: str | None = Field(
        None, min_length=1, description="of `dolma-py train`: packaged name or YAML file; null: the checkpoint's own"
    )
    batch_instances: int | None = Field(None, ge=1, description="instances of an update; null: as the checkpoint's run")
    sequence_tokens: int | None = Field(None, ge=2, description="tokens of an instance; null: as the checkpoint's run")
    overrides: list[str] = Field(default_factory=list, description="further settings of `dolma-py train`, a.b=c")
    workers: int = Field(1, ge=1, description="runs at a time; changes no result")
    retries: int = Field(2, ge=0, description="more tries of a run that failed")
    keep_weights: bool = Field(True, description="whether checkpoints stay; without them new tasks need new runs")

    @model_validator(mode="after")
    def _check(self) -> AnnealConfig:
        for override in self.overrides:
            key = override.partition("=")[0]
            if any(key == own or key.startswith(own + ".") for own in OWN_OVERRIDES):
                raise OptionError(
                    "overrides", override, "expected no setting that runs have from the mix and from anneal itself"
                )
        for name in ("batch_instances", "sequence_tokens"):
            if self.config is not None and getattr(self, name) is None:
                raise OptionError(name, None, "expected a number beside config")
        return self


class ShardsConfig(Config):
    """Text to train on."""

    shards: str = Field(
        min_length=1, description="folder of token shards with manifest.json; all have the checkpoint's tokenizer"
    )


class CandidateConfig(ShardsConfig):
    """A source on trial."""

    share: float | None = Field(None, gt=0, le=1, description="of the tokens; null: candidate_share")


class MicroannealConfig(Config):
    """Candidate and web against web alone."""

    base: str = Field(
        min_length=1, description="RUN@STEP, or RUN for its newest checkpoint, or a folder in Hugging Face's form"
    )
    web: ShardsConfig = Field(description="the text that candidates are mixed with, and compared with")
    candidates: dict[str, CandidateConfig] = Field(min_length=1, description="by name")
    candidate_share: float = Field(
        0.5, gt=0, le=1, description="of a candidate in its mix; the rest is web (Olmo 3: half)"
    )
    anneal: AnnealConfig = Field(description="the runs")
    tasks: dict[str, TaskConfig] = Field(min_length=1, description="by name")
    max_docs: int | None = Field(None, ge=1, description="held-out documents of each source that are read; null: all")

    @model_validator(mode="after")
    def _check_names(self) -> MicroannealConfig:
        if WEB in self.candidates:
            raise OptionError("candidates", WEB, "expected another name: web is what candidates are compared with")
        return self


class MixShares(Config):
    """One mix."""

    shares: dict[str, float] = Field(
        default_factory=dict, description="weight of each of its sources; they need not sum to 1; or give weights"
    )
    weights: str | None = Field(
        None, min_length=1, description="weights.yaml of `dolma-py mix optimize`, in place of shares"
    )

    @model_validator(mode="after")
    def _check_one(self) -> MixShares:
        if bool(self.shares) == (self.weights is not None):
            raise OptionError("shares", self.shares, "expected either shares or weights")
        if self.shares and (min(self.shares.values()) < 0 or sum(self.shares.values()) <= 0):
            raise OptionError("shares", self.shares, "expected weights of 0 or more, one above 0")
        return self


class SftConfig(Config):
    """Fine-tuning that follows each anneal."""

    config: str = Field(min_length=1, description="of `dolma-py sft`: packaged name or YAML file")
    shards: str = Field(min_length=1, description="folder of SFT shards")
    overrides: list[str] = Field(default_factory=list, description="further settings of `dolma-py sft`, a.b=c")


class IntegrateConfig(Config):
    """Whole anneals of mixes against that of a reference mix, and fine-tuning after them."""

    base: str = Field(
        min_length=1, description="RUN@STEP, or RUN for its newest checkpoint, or a folder in Hugging Face's form"
    )
    sources: dict[str, ShardsConfig] = Field(min_length=1, description="by name")
    mixes: dict[str, MixShares] = Field(min_length=2, description="by name")
    reference: str = Field(min_length=1, description="name of the mix that the others are compared with")
    anneal: AnnealConfig = Field(description="the runs")
    sft: SftConfig | None = Field(None, description="null: the anneals are compared alone")
    tasks: dict[str, TaskConfig] = Field(min_length=1, description="by name")
    max_docs: int | None = Field(None, ge=1, description="held-out documents of each source that are read; null: all")

    @model_validator(mode="after")
    def _check_names(self) -> IntegrateConfig:
        if self.reference not in self.mixes:
            raise OptionError("reference", self.reference, f"expected one of {sorted(self.mixes)}")
        for name, mix in self.mixes.items():
            unknown = sorted(set(mix.shares) - set(self.sources))
            if unknown:
                raise OptionError(f"mixes.{name}.shares", unknown[0], f"expected some of {sorted(self.sources)}")
        if self.sft is not None and not self.anneal.keep_weights:
            raise OptionError("anneal.keep_weights", False, "expected true with sft, which starts from the weights")
        return self
