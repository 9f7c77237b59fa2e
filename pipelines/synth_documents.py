"""Make documents of a view's documents, as a corpus of their own: long ones with passages that make a model look back (mixers.long_context), and
those that a model makes by recipes: rewritten, asked about, reasoned about (mixers.synthesis).

Documents of the view = used + left out by reason, checked. What a model answers is kept in the endpoint's cache, so a killed run asks only for
what was not answered, and a whole one gives the same bytes without a server.

    spark-submit pipelines/synth_documents.py --config synth.yaml
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import Any

from pydantic import Field, model_validator

from dolma_py import config
from dolma_py.config import OptionError
from dolma_py.corpus import Corpus
from dolma_py.endpoint import EndpointConfig
from dolma_py.endpoint_budget import NANO
from dolma_py.errors import ConfigError
from dolma_py.python_sources import PythonSources
from mixers.long_context import RECIPES, LongContextConfig, identify
from mixers.synthesis import SynthesisSettings
from mixers.synthesis_named import build_kind, load_recipe, name_maker
from mixers.tokenizer_files import checksum_tokenizer
from pipelines.named_tokenizers import cached_tokenizer, place_tokenizer
from pipelines.new_corpus import open_target, plan_units, write_corpus
from pipelines.steps import StepContext, StepResult
from pipelines.synth_tasks import make_long_split, make_recipe_split

VERSION = 1


class SynthConfig(LongContextConfig):
    """What is made, and where the new corpus goes."""

    recipe: str = Field(
        description="cwe or rex: docs/long-context-data.md; a name of docs/synthesis.md; or the YAML file of a recipe like those"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="of a recipe of docs/synthesis.md, over those in its file: --set options.max_chars=9000",
    )
    answers_license: str = Field(
        default="",
        description="under which the model's answers may be used, as its terms say; needed by the recipes of docs/synthesis.md, and recorded",
    )
    output: str = Field(min_length=1, description="folder of the new corpus; must not hold another one yet")
    source: str = Field(
        default="{source}-{recipe}",
        pattern=r"^[A-Za-z0-9{}_.-]+$",
        description="source of the made documents; {source} is the parent's, {recipe} the recipe's name",
    )
    documents_frac: float = Field(
        default=1.0, gt=0, le=1, description="share of the view's documents that are looked at, by a hash of their ids"
    )
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")

    @model_validator(mode="after")
    def _check_recipe(self) -> SynthConfig:
        if self.recipe in RECIPES:
            if self.recipe == "rex" and self.endpoint is None:
                raise ValueError("recipe rex needs endpoint: base_url, model and cache")
            if self.options:
                raise OptionError("options", self.options, f"expected none with recipe {self.recipe}")
            return self
        try:
            name_maker(self.recipe)
            build_kind(load_recipe(self.recipe), self.options, PythonSources())
        except ConfigError as error:
            raise OptionError(error.key, error.got, error.rule, error.hint) from error
        if self.endpoint is None:
            raise ValueError(f"recipe {self.recipe} needs endpoint: base_url, model and cache")
        if not self.answers_license.strip():
            raise OptionError("answers_license", self.answers_license, "expected the licence of the model's answers")
        return self


def run(context: StepContext, settings: SynthConfig) -> StepResult:
    """One shard per split of the view, in corpus order; a split of which nothing is made has a shard without rows."""
    target = open_target(context, settings.output)
    common = {"seed": context.seed, "row_group_text_bytes": settings.row_group_text_bytes}
    common["share"] = [
        settings.recipe if settings.recipe in RECIPES else name_maker(settings.recipe),
        settings.documents_frac,
    ]
    if settings.recipe in RECIPES:
        params, made = _prepare_long(context, settings)
        work = make_long_split
    else:
        params, made = _prepare_recipe(context, settings)
        work = make_recipe_split
    made += [settings.source, settings.row_group_text_bytes]
    made += [settings.documents_frac] if settings.documents_frac < 1 else []
    mark = config.fingerprint("synth", VERSION, context.need_view().fingerprint, context.seed, *made)
    units = plan_units(context, target, params | common, lambda source: name_source(settings, source))
    return write_corpus(context, target, units, work, mark, partial(summarize, settings))


def _prepare_long(context: StepContext, settings: SynthConfig) -> tuple[dict[str, Any], list[Any]]:
    """(what the tasks get, what decides their output)"""
    name = settings.tokenizer
    name = context.artifact(name.removeprefix("artifact:")) if name.startswith("artifact:") else name
    path, checksum = place_tokenizer(context, name, context.work)
    own = {key: value for key, value in config.dump_config(settings).items() if key in LongContextConfig.model_fields}
    values = own | {"tokenizer": path}
    if settings.endpoint is not None:
        values["endpoint"] = place_endpoint(settings.endpoint, context.corpus)
    tokenizer = cached_tokenizer(path, checksum, where=name)
    return {"settings": values, "tokenizer_checksum": checksum}, [identify(settings), tokenizer.fingerprint]


def _prepare_recipe(context: StepContext, settings: SynthConfig) -> tuple[dict[str, Any], list[Any]]:
    assert settings.endpoint is not None
    own = make_settings(settings)
    values = own._asdict() | {"recipe": config.dump_config(own.recipe)}
    return {"synthesis": values, "endpoint": place_endpoint(settings.endpoint, context.corpus)}, [own.identify()]


def make_settings(settings: SynthConfig) -> SynthesisSettings:
    """Those of the maker, with the recipe as its file has it now."""
    assert settings.endpoint is not None
    return SynthesisSettings(
        name_maker(settings.recipe), load_recipe(settings.recipe), settings.options, settings.endpoint.model,
        settings.endpoint.revision, settings.answers_license.strip(),
    )  # fmt: skip


def place_endpoint(endpoint: EndpointConfig, corpus: Corpus) -> dict[str, Any]:
    """JSON values with the cache's folder."""
    return config.dump_config(endpoint) | {"cache": endpoint.cache.replace("{corpus}", corpus.root)}


def name_source(settings: SynthConfig, source: str) -> str:
    """The source of what is made of documents of `source`."""
    recipe = settings.recipe if settings.recipe in RECIPES else name_maker(settings.recipe)
    return settings.source.replace("{source}", source).replace("{recipe}", recipe)


def summarize(settings: SynthConfig, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the units counted, in all, and of whom the answers are."""
    total: Counter[str] = Counter()
    for fact in facts:
        total.update(fact["counts"])
    long = settings.recipe in RECIPES
    names = (
        {"left_out": "left_out", "passage": "passages"}
        if long
        else {"left_out": "left_out", "answer": "answers", "part": "parts"}
    )
    groups: dict[str, dict[str, int]] = {name: {} for name in names.values()}
    for name, number in sorted(total.items()):
        kind, colon, what = name.partition(":")
        if colon:
            groups[names[kind]][what] = number
    counted = {"read": total["documents"], "made": total["made"]}
    counted |= {"sections": total["sections"]} if long else {"used": total["used"]}
    return counted | groups | _describe_teacher(settings, total)


def _describe_teacher(settings: SynthConfig, total: Counter[str]) -> dict[str, Any]:
    """Who was asked, under which licence, by which prompts, and what all answers cost when they were first asked for."""
    endpoint = settings.endpoint
    if endpoint is None or settings.recipe == "cwe":
        return {}
    prompt, completion = total["prompt_tokens"], total["completion_tokens"]
    teacher = {
        "model": endpoint.model,
        "revision": endpoint.revision,
        "answers_license": settings.answers_license,
        "asked": total["asked"],
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cost": endpoint.prices.nano(prompt, completion) / NANO,
    }
    if settings.recipe not in RECIPES:
        recipe = load_recipe(settings.recipe)
        teacher |= {"recipe_version": recipe.version, "prompts": recipe.prompts_fingerprint}
    return {"teacher": teacher}


def fingerprint_inputs(corpus: Corpus, settings: SynthConfig) -> list[object]:
    """The tokenizer's file, whatever names it, unless a step of the recipe makes it; of other recipes what their files hold."""
    if settings.recipe not in RECIPES:
        return [config.dump_config(load_recipe(settings.recipe))]
    return [None if settings.tokenizer.startswith("artifact:") else checksum_tokenizer(settings.tokenizer)]


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("synth", argv)


if __name__ == "__main__":
    sys.exit(main())
