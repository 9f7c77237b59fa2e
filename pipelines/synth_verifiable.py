"""Make problems with program-checked answers (mixers.verifiable_tasks), as a corpus of documents or as JSON lines of chats.

Reads no view: a problem follows from its family, level and seed. One unit and one file for each family and level, so the bytes are the same for any
partitions. Problems made = families x levels x num_problems, checked; draws that gave a question again, or one of the other part, are counted.

    spark-submit pipelines/synth_verifiable.py --config synth.yaml
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Literal

from pydantic import Field

from dolma_py import config, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, ConservationError
from dolma_py.storage import WrittenFile
from mixers.verifiable_corpus import VerifiableTasksConfig, identify, make_chats, make_documents
from mixers.verifiable_tasks import FAMILIES
from pipelines.new_corpus import write_corpus
from pipelines.shard_files import write_shard
from pipelines.steps import StepContext, StepResult, Unit, file_lists

VERSION = 1  # raised with a family's version, too
READS_VIEW = False
PROBLEM_BYTES = 620  # of text of one problem, about: the mean over all families and levels (docs/verifiable-tasks.md)
WORK_FOLDER = "_chats"  # below the output while chats are written


class SynthVerifiableConfig(VerifiableTasksConfig):
    """What is made, and where it goes."""

    recipe: Literal["verifiable"] = Field(default="verifiable", description="of synth")
    output: str = Field(
        min_length=1,
        description="folder of the new corpus, or of chats/; must not hold another one yet; {corpus} is the corpus folder",
    )
    source: str = Field(
        default="verifiable-{family}",
        pattern=r"^[A-Za-z0-9{}_.-]+$",
        description="source of the made documents; {family} is the family's name",
    )
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")


def run(context: StepContext, settings: SynthVerifiableConfig) -> StepResult:
    """One shard, or one file of chats, for each family and level."""
    target = Corpus(settings.output.replace("{corpus}", context.corpus.root))
    if target.root == context.corpus.root:
        raise ConfigError(
            "output",
            settings.output,
            "expected another folder than the corpus itself",
            "Such as {corpus}/made/verifiable.",
        )
    if settings.format == "chats":
        return _run_chats(context, target, settings)
    units = _plan_units(target, settings, context.seed)
    mark = config.fingerprint(
        "synth-verifiable", VERSION, context.seed, identify(settings), settings.source, settings.row_group_text_bytes
    )
    expected = len(units) * settings.num_problems
    return write_corpus(context, target, units, make_unit, mark, lambda facts: summarize(facts, expected))


def _run_chats(context: StepContext, target: Corpus, settings: SynthVerifiableConfig) -> StepResult:
    if storage.path_exists(target.listing_path):
        raise ConfigError("output", target.root, "expected a folder that is no corpus", "Give another folder.")
    units = _plan_units(target, settings, context.seed)
    _claim_folder(target, settings, config.fingerprint("synth-chats", VERSION, context.seed, identify(settings)))
    own = context._replace(corpus=target, folder=WORK_FOLDER)
    done, times = own.run_units("chats", units, make_unit)
    facts = [done.units[unit.name]["facts"] for unit in units]
    files = {target.path(file["path"]): file["bytes"] for file in file_lists(done)}
    storage.remove_tree(target.path(WORK_FOLDER))
    return StepResult(files=files, facts=summarize(facts, len(units) * settings.num_problems), times=times._asdict())


def _claim_folder(target: Corpus, settings: SynthVerifiableConfig, mark: str) -> None:
    """Say in chats/<part>.json whose the files of this part are; ConfigError where other settings or another seed have made some."""
    path, said = target.path("chats", f"{settings.part}.json"), f'{{"made_by": "{mark}"}}\n'.encode()
    if storage.path_exists(path) and storage.read_bytes(path) != said:
        raise ConfigError(
            "output",
            target.root,
            f"expected a folder without other chats of part {settings.part}",
            "Give another folder.",
        )
    storage.write_bytes(path, said)


def _plan_units(target: Corpus, settings: SynthVerifiableConfig, seed: int) -> list[Unit]:
    """In the order of families as they are known, not as they were given."""
    units = []
    for family in [name for name in FAMILIES if name in settings.families]:
        for number, level in enumerate(sorted(settings.levels)):
            source = settings.source.replace("{family}", family)
            part = f"{source}/part-{number:05d}" if "{family}" in settings.source else f"{source}/{family}-{number:05d}"
            params = {
                "target": target.root, "part": part, "source": source, "family": family, "level": level, "seed": seed,
                "settings": config.dump_config(settings),
            }  # fmt: skip
            units.append(Unit(f"{family}-level-{level}", params, settings.num_problems * PROBLEM_BYTES))
    return units


def make_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the problems of one family and level."""
    settings = SynthVerifiableConfig.model_validate(params["settings"])
    counts: Counter[str] = Counter()
    family, level, seed = params["family"], params["level"], params["seed"]
    if settings.format == "chats":
        path = f"chats/{settings.part}-{family}-level-{level}.jsonl"
        with storage.open_attempt(params["target"], attempts, path) as file:
            for line in make_chats(settings, family, level, seed=seed, counts=counts):
                file.sink.write(line)
        return [file.written(counts["made"])], {"counts": dict(sorted(counts.items()))}
    batches = make_documents(settings, family, level, seed=seed, source=params["source"], counts=counts)
    files, facts = write_shard(
        batches,
        root=params["target"],
        attempts=attempts,
        part=params["part"],
        row_group_text_bytes=settings.row_group_text_bytes,
    )
    return files, facts | {"counts": dict(sorted(counts.items()))}


def summarize(facts: list[dict[str, Any]], expected: int) -> dict[str, Any]:
    """What the units counted, in all: made, and draws that were left out."""
    total: Counter[str] = Counter()
    for fact in facts:
        total.update(fact["counts"])
    if total["made"] != expected:
        raise ConservationError("synth verifiable", dict(total) | {"expected": expected})
    return {name: total[name] for name in ("made", "repeated", "other_part")}


def fingerprint_inputs(corpus: Corpus, settings: SynthVerifiableConfig) -> dict[str, Any]:
    """The versions of the families, which the settings do not name."""
    return identify(settings)


def expected_text_bytes(settings: SynthVerifiableConfig) -> int:
    """For the dry run."""
    return len(settings.families) * len(settings.levels) * settings.num_problems * PROBLEM_BYTES


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("synth_verifiable", argv)


if __name__ == "__main__":
    sys.exit(main())
