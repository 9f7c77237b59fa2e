"""The configuration of one training run: from a name or a path, overrides and the shards to checked values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError, apply_overrides, build_config, load_yaml
from dolma_py.errors import ConfigError
from dolma_py.settings_text import render_settings
from train_bridge.checkpoint_config import CheckpointConfig
from train_bridge.instance_filter import InstanceFilterConfig
from train_bridge.launch_config import LaunchConfig
from train_bridge.loss import LossConfig
from train_bridge.manifest import MANIFEST_NAME, ShardManifest
from train_bridge.mixed_sources import SourceConfig
from train_bridge.model import ModelConfig, pad_vocab_size
from train_bridge.optimizer import OptimizerConfig
from train_bridge.parallel_config import LAYOUT_OPTIONS, ParallelConfig, check_fits
from train_bridge.preference_loss import PreferenceConfig
from train_bridge.presets import preset_values
from train_bridge.run_log_config import LogsConfig
from train_bridge.schedule import ScheduleConfig
from train_bridge.shard_cache import ShardCacheConfig
from train_bridge.stages import StageConfig
from train_bridge.validation_config import ValidationConfig

CONFIG_FOLDER = Path(__file__).parent / "configs"


class DataConfig(Config):
    """Instances and batches."""

    sequence_tokens: int = Field(ge=2, description="Tokens of one instance (Olmo 3 pretraining: 8,192).")
    batch_instances: int = Field(ge=1, description="Instances of one update over all ranks.")
    micro_batch_instances: int = Field(
        ge=1, description="Instances of one forward pass on one rank; changes memory only."
    )
    instances: Literal["fixed", "packed"] = Field(
        "fixed",
        description="fixed: files cut every sequence_tokens (Olmo 3's pretraining and mid-training); packed: whole documents, "
        "best fit, each seen alone, the rest padding (its long-context stage and SFT).",
    )
    document_mask: bool = Field(
        False, description="fixed: tokens see only their own document; off in Olmo 3's pretraining. packed: always on."
    )
    long_documents: Literal["truncate", "split"] = Field(
        "truncate",
        description="packed: a document above sequence_tokens keeps its beginning (Olmo 3), or goes in pieces.",
    )
    pack_group_files: int = Field(
        8, ge=1, description="packed: files whose documents are packed together (OLMo-core: 8)."
    )
    sources: dict[str, SourceConfig] = Field(
        default_factory=dict,
        description="Name and shares of each source of a mixture; empty: the shards of --shards as they are.",
    )
    source_seed: int = Field(0, ge=0, description="Of which instances of a source are used, with `sources`.")
    seed: int = Field(ge=0, description="Of the order of instances.")
    instance_filter: InstanceFilterConfig | None = Field(
        None, description="Instances with loops teach nothing (Olmo 3 32B; its 7B had none); null: no filter."
    )
    prefetch_batches: int = Field(2, ge=0, description="Batches read ahead while a step computes; 0: read when needed.")
    cache: ShardCacheConfig = Field(
        default_factory=ShardCacheConfig, description="Copies of remote shards (s3://, gs://) on this machine."
    )


class RunConfig(Config):
    """Length, machine and bookkeeping of the run."""

    steps: int = Field(
        ge=1, description="Updates, skipped ones included; with epochs, what a dry run without data supposes."
    )
    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the data, from which steps are counted: whole batches alone; null: steps as given.",
    )
    init_seed: int = Field(0, ge=0, description="Of the first weights (OLMo-core: 0).")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of products; auto: bfloat16 on cuda only."
    )
    attention: Literal["auto", "sdpa", "flex", "flash"] = Field(
        "auto", description="Back end of attention; auto: flex on cuda, sdpa elsewhere. The same sums in other orders."
    )
    num_threads: int | None = Field(None, ge=1, description="CPU threads of torch; null: torch decides.")
    log_every_steps: int = Field(10, ge=1, description="Steps between two lines of progress.")


# these change how fast and how talkative a run is, not what it computes
_SECTIONS_NOT_IN_FINGERPRINT = ("launch", "stage", "logs", "validation")
_NOT_IN_FINGERPRINT = {
    "data": ("prefetch_batches", "cache"),
    "run": ("device", "attention", "num_threads", "log_every_steps"),
    "checkpoints": (
        "permanent_every_steps",
        "ephemeral_every_steps",
        "keep_ephemeral",
        "writing",
        "change_parent_yarn",
    ),
    "parallel": LAYOUT_OPTIONS,
}


class TrainConfig(Config):
    """Everything that a training run is made of."""

    model: ModelConfig = Field(description="Shape of the model.")
    data: DataConfig = Field(description="Instances and batches.")
    schedule: ScheduleConfig = Field(description="Learning rate.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="AdamW and step skipping.")
    loss: LossConfig = Field(default_factory=LossConfig, description="Loss.")
    run: RunConfig = Field(description="Length, machine and bookkeeping.")
    checkpoints: CheckpointConfig = Field(default_factory=CheckpointConfig, description="Which are taken and stay.")
    launch: LaunchConfig = Field(default_factory=LaunchConfig, description="Machines and processes, for --launcher.")
    stage: StageConfig | None = Field(None, description="Place in a chain of runs, as published; for --dry-run.")
    parallel: ParallelConfig = Field(
        default_factory=ParallelConfig, description="Spread over ranks, memory, compilation."
    )
    logs: LogsConfig = Field(
        default_factory=LogsConfig, description="What a run says about itself, and when it gives up."
    )
    validation: ValidationConfig = Field(default_factory=ValidationConfig, description="Loss on held-out documents.")
    preference: PreferenceConfig | None = Field(
        None,
        description="Preference pairs in place of documents, for `dolma-py dpo`: data.batch_instances are then pairs, and a row of "
        "data.sequence_tokens holds whole pairs.",
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        micro, whole = self.data.micro_batch_instances, self.data.batch_instances
        if whole % micro:
            raise OptionError(
                "data.micro_batch_instances", micro, f"expected a divisor of data.batch_instances={whole}"
            )
        if self.preference is not None:
            self._check_pairs(self.preference)
        return self

    def _check_pairs(self, preference: PreferenceConfig) -> None:
        data = self.data
        rules = [
            ("data.instances", data.instances, data.instances == "packed", "expected packed, as rows of pairs are"),
            ("data.sources", sorted(data.sources), not data.sources, "expected none: pairs are mixed when they are prepared"),
            ("data.instance_filter", data.instance_filter, data.instance_filter is None, "expected null: it knows no pairs"),
            ("data.sequence_tokens", data.sequence_tokens, data.sequence_tokens >= 2 * preference.max_tokens,
             f"expected two conversations of preference.max_tokens={preference.max_tokens} or more"),
            ("validation.every_steps", self.validation.every_steps, self.validation.every_steps is None,
             "expected null: no held-out documents come with pairs"),
            ("checkpoints.load_parent_optimizer", True, not self.checkpoints.load_parent_optimizer,
             "expected false: moments of another loss do not fit"),
        ]  # fmt: skip
        for option, got, is_kept, rule in rules:
            if not is_kept:
                raise OptionError(option, got, f"{rule}, with `preference`")

    def fit_length(self, num_instances: int | None) -> TrainConfig:
        """Steps from run.epochs, where the number of instances is known, and the warm-up from schedule.warmup_frac."""
        run, schedule = self.run, self.schedule
        if run.epochs is not None and num_instances is not None:
            batches = num_instances // self.data.batch_instances
            run = run.model_copy(update={"steps": max(1, round(run.epochs * batches))})
        if schedule.warmup_frac is not None:
            schedule = schedule.model_copy(update={"warmup_steps": round(schedule.warmup_frac * run.steps)})
        return self.model_copy(update={"run": run, "schedule": schedule})

    def values_for_fingerprint(self) -> dict[str, Any]:
        """The fields that change the result."""
        values = self.model_dump(mode="json", exclude=set(_SECTIONS_NOT_IN_FINGERPRINT))
        for section, keys in _NOT_IN_FINGERPRINT.items():
            for key in keys:
                del values[section][key]
        # what came later and is not used leaves a run the same
        late = [(values, "preference"), (values["run"], "epochs")]
        schedule = values["schedule"]
        while schedule is not None:
            late.append((schedule, "warmup_frac"))
            schedule = schedule["then"]
        for tree, key in late:
            if tree[key] is None:
                del tree[key]
        return values


def find_config(name: str) -> Path:
    """A file by path, or a packaged one by name: quickstart/pretrain."""
    if Path(name).is_file():
        return Path(name)
    packaged = CONFIG_FOLDER / f"{name}.yaml"
    if packaged.is_file() and packaged.resolve().is_relative_to(CONFIG_FOLDER.resolve()):
        return packaged
    known = sorted(path.relative_to(CONFIG_FOLDER).with_suffix("").as_posix() for path in CONFIG_FOLDER.rglob("*.yaml"))
    raise ConfigError("config", name, f"expected a file or one of {', '.join(known)}")


def load_train_config(
    name: str, *, overrides: list[str], manifest: ShardManifest | None, shards: str = ""
) -> TrainConfig:
    """Values of the file, then overrides; model.preset is replaced by its shape, a missing vocab_size comes from the shards.

    shards: where the manifest was looked for, for the error when it is needed and absent.
    """
    path = find_config(name)
    values = apply_overrides(load_yaml(path), overrides)
    model = values.get("model")
    if isinstance(model, dict):
        model = dict(model)
        preset = model.pop("preset", None)
        if preset is not None:
            model = {**preset_values(preset), **model}
        if model.get("vocab_size", 0) is None:
            if manifest is None:
                raise _shards_needed(shards, str(path))
            model["vocab_size"] = pad_vocab_size(manifest.vocab_size)
        values = {**values, "model": model}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("sources"), dict):
        # --set data.sources.NAME=null leaves a source out
        sources = {name: source for name, source in data["sources"].items() if source is not None}
        values = {**values, "data": {**data, "sources": sources}}
    config = build_config(TrainConfig, values, where=str(path))
    if manifest is not None and config.model.vocab_size != pad_vocab_size(manifest.vocab_size):
        expected = pad_vocab_size(manifest.vocab_size)
        rule = f"expected {expected}, the {manifest.vocab_size} entries of the shards' tokenizer rounded up to 128"
        raise ConfigError("model.vocab_size", config.model.vocab_size, rule, "Use: --set model.vocab_size=null")
    check_fits(config.parallel, config.model, sequence_tokens=config.data.sequence_tokens)
    _refuse_counted(config, overrides)
    config = config.fit_length(None)
    # not in the validator: what was trained before this was asked is read all the same
    config.schedule.check_fits(config.run.steps, key="schedule")
    return config


def _refuse_counted(config: TrainConfig, overrides: list[str]) -> None:
    """ConfigError where a number is asked for that would be counted from another setting of the file."""
    counted = {
        "run.steps": ("run.epochs", config.run.epochs),
        "schedule.warmup_steps": ("schedule.warmup_frac", config.schedule.warmup_frac),
    }
    for override in overrides:
        key, _, value = override.partition("=")
        source, is_set = counted.get(key, ("", None))
        if is_set is not None:
            raise ConfigError(
                key,
                value,
                f"expected {source} to be null beside it, which it is counted from",
                f"Use: --set {source}=null",
            )


def _shards_needed(shards: str, where: str) -> ConfigError:
    rule = (
        f"expected a folder with {MANIFEST_NAME}, because model.vocab_size is null and comes from the shards' tokenizer"
    )
    below = sorted(str(path.parent) for path in Path(shards).glob(f"tokens/*/{MANIFEST_NAME}"))
    hint = f"Use: --shards {below[0]}" if below else "Run: dolma-py tokenize. Or name it: --set model.vocab_size=N"
    return ConfigError("--shards", shards, rule, hint, where=where)


def print_settings() -> None:
    """`dolma-py settings train`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(TrainConfig)))
