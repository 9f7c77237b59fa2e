"""What a recipe will cost before it runs: time, memory and disk per step, from the size of its input.

The rates are those of benchmarks/quickstart_steps.py on two cores of a cloud machine, start-up of Spark apart; a plan is a
guide to within a factor of two, its memory figures are bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.views import View
from pipelines.done_steps import DONE, RECOUNT, State, find_standing
from pipelines.ingest_inputs import IngestConfig, NewInputs, describe_inputs
from pipelines.recipe import Recipe, Step, name_settings
from pipelines.session import SessionConfig, count_cores, driver_heap_bytes
from pipelines.step_outputs import find_maker, list_outputs
from pipelines.steps import Rule

SESSION_SEC = 8.0  # start of a Spark session
READING_KINDS = ("installed_text", "ingest", "read_plain")  # they handle what is new, the others all there is
WORKER_BYTES = 500 << 20  # a Python worker with numba and Arrow loaded, before any text
DRIVER_BYTES = (
    700 << 20
)  # the driver's Python process: the quickstart's, which trains its models in it, has a peak of 604 MB
JVM_BYTES = 384 << 20  # what a JVM takes beside its heap, or a tenth of the heap: Spark's own estimate for an executor


class Cost(NamedTuple):
    """Of one kind of step."""

    mb_per_core_sec: float  # 10^6 bytes of text per second and core
    fixed_sec: float  # whatever the size
    memory_per_split: float  # bytes of memory per byte of text in a split or pool
    disk_frac: float  # bytes written per byte of text


COSTS = {
    "installed_text": Cost(2.5, 2.0, 0.0, 0.35),
    "ingest": Cost(8.0, 1.5, 0.0, 0.35),
    "train_classifier": Cost(1e6, 8.0, 0.0, 0.02),
    "tag": Cost(8.0, 3.0, 4.0, 0.02),
    "dedup_exact": Cost(60.0, 2.0, 2.0, 0.0),
    "dedup_urls": Cost(200.0, 2.0, 1.0, 0.0),
    "dedup_paragraphs": Cost(30.0, 3.0, 6.0, 0.2),
    "dedup_minhash": Cost(18.0, 4.0, 4.0, 0.0),
    "dedup_substring": Cost(4.0, 2.0, 7.0, 0.01),  # its module has the rate of each way to search
    "train_tokenizer": Cost(1e6, 8.0, 0.0, 0.01),
    "train_language_model": Cost(1e6, 8.0, 0.0, 0.5),
    "partition": Cost(1e3, 3.0, 0.0, 0.01),
    "plan_mix": Cost(1e3, 2.0, 0.0, 0.0),
    "sample_mix": Cost(1e3, 2.0, 0.0, 0.01),
    "tokenize": Cost(
        10.0, 3.0, 8.0, 0.5
    ),  # by tiktoken; a vocabulary that it does not take goes at 1.5 (docs/tokenize.md)
    "materialize": Cost(20.0, 2.0, 4.0, 0.35),
    "synth": Cost(0.09, 3.0, 6.0, 0.4),  # cwe; the tagger of words takes nearly all of it (docs/long-context-data.md)
    "synth_verifiable": Cost(1.0, 3.0, 0.0, 0.25),  # docs/verifiable-tasks.md
    "synth_variants": Cost(1e3, 3.0, 4.0, 4.0),  # the endpoint and its programs take the time: docs/verifiable-tasks.md
    "read_plain": Cost(40.0, 1.5, 4.0, 0.35),
    "write_plain": Cost(40.0, 1.5, 4.0, 0.5),
    "export_dolma": Cost(15.0, 2.0, 6.0, 0.5),
    "prepare_posttrain": Cost(2.0, 3.0, 6.0, 1.5),
}


class Rate(NamedTuple):
    """A measured speed."""

    mb_per_core_sec: float  # 10^6 bytes per second and core, start-up apart
    shown_in: str  # the page with the run and its command; empty: the quickstart's (COSTS)


# of whole steps, and of their parts, where a page shows a run; for plans of whole mixes (pipelines.size_estimates). A tagger's is that of the
# tagger alone: a step of kind tag reads its text at that of Parquet before. What is not here has its COSTS
RATES = {
    "ingest warc": Rate(64.0, "docs/inputs.md"),  # of unpacked archives
    "ingest jsonl": Rate(534.0, "docs/inputs.md"),  # zstd
    "ingest parquet": Rate(757.0, "docs/inputs.md"),
    "ingest in place": Rate(757.0, "docs/inputs.md"),  # its texts are measured once
    "tag web-filter": Rate(49.3, "docs/filters.md"),
    "tag web-filter, short_circuit": Rate(118.0, "docs/filters.md"),
    "tag language": Rate(35.6, "docs/classifier-speed.md"),  # lid.176: 52.9 microseconds for 1,886 bytes of text
    "tag classifiers": Rate(24.0, "docs/classifier-speed.md"),  # two models: 78.7 microseconds for 1,886 bytes
    "tag quality": Rate(55.3, "docs/classifier-speed.md"),
    "tag topic": Rate(51.3, "docs/classifier-speed.md"),
    "tag url-lists": Rate(46.0, "docs/url-lists.md"),  # of URLs, which are a small part of the text
    "tag pdf-text": Rate(146.0, "docs/rule-taggers.md"),
    "tag code-rules": Rate(730.0, "docs/rule-taggers.md"),
    "tag gzip-ratio": Rate(32.0, "docs/rule-taggers.md"),
    "tag pii": Rate(687.0, "docs/rule-taggers.md"),
    "tag contamination": Rate(59.0, "docs/decontamination.md"),
    "tag gopher-dclm": Rate(72.0, "docs/filters.md"),
    "tag lengths": Rate(72.0, "docs/filters.md"),  # at least that of gopher-dclm, which counts words too, and more
    "tag mixers.token_count:TokenCountTagger": Rate(12.6, "docs/tokenize.md"),  # dolma2's layout, encoding alone
    "dedup_exact": Rate(110.0, "docs/dedup.md"),
    "dedup_minhash": Rate(42.0, "docs/dedup.md"),  # 26 x 11 with verification
    "tag mixers.length_buckets:LengthBucketsTagger": Rate(12.6, "docs/tokenize.md"),  # it encodes, as that does
    "synth": Rate(0.09, "docs/long-context-data.md"),  # of text that documents are made of
    "tokenize": Rate(15.3, "docs/tokenize.md"),  # dolma2's layout, both passes
}


class Estimate(NamedTuple):
    """What a sample of its documents says of a step in place of the size of its text; None where it says nothing."""

    details: dict[str, Any]
    seconds: float | None  # beside Cost.fixed_sec
    disk_bytes: int | None
    driver_memory_bytes: int | None  # beside DRIVER_BYTES


NO_ESTIMATE = Estimate({}, None, None, None)


class StepPlan(NamedTuple):
    """One line of a plan."""

    name: str
    kind: str
    standing: str  # "done", "to do", or why it is done again
    seconds: float  # of what is not done
    worker_memory_bytes: int
    disk_bytes: int
    driver_memory_bytes: int
    details: dict[str, Any] = {}  # what only this kind of step can say, by name; the last word of a name is its unit
    driver_is_estimate: bool = False  # driver_memory_bytes is no bound but what a sample says
    shared_memory_bytes: int = 0  # of files that all tasks of a machine map


def describe_new_inputs(steps: list[Step], corpus: Corpus) -> NewInputs:
    """What the ingest steps would read that the corpus has not, but for what an earlier step of them is to write."""
    makes = any(hasattr(step.module, "expected_text_bytes") for step in steps)
    found = NewInputs(0, [], [], [])
    for number, step in enumerate(steps):
        if not isinstance(step.settings, IngestConfig):
            continue
        # what lies in the corpus itself an earlier step writes: it is counted as made, and not there yet
        sources = step.settings.sources
        own = [source for source in sources if not (makes and all("{corpus}" in path for path in source.inputs))]
        outputs = list_outputs(steps[:number])
        own = [source for source in own if not all(find_maker(path, outputs) for path in source.inputs)]
        if own:
            more = describe_inputs(corpus, step.settings.model_copy(update={"sources": own}))
            found = NewInputs(*(mine + its for mine, its in zip(found, more, strict=True)))
    return found


def name_inputs(inputs: NewInputs) -> dict[str, Any]:
    """A plan's words about its inputs: a row per source, and what they leave out."""
    return {"inputs": inputs.rows, "left_out": inputs.left_out, "documents": inputs.documents}


def estimate_text_bytes(steps: list[Step], corpus: Corpus, inputs: NewInputs | None = None) -> tuple[int, int]:
    """(bytes of text the steps will handle, those of them new to the corpus): what it has, and what inputs or steps bring.

    inputs: describe_new_inputs of the same, where the caller has it.
    """
    listing = corpus.read_listing()
    new = (inputs or describe_new_inputs(steps, corpus)).text_bytes
    known = {shard.source for shard in listing.shards}
    made = list_made_sources(steps)
    has_ingest = any(isinstance(step.settings, IngestConfig) for step in steps)
    if None in made or not has_ingest:  # no names by which to tell whether the corpus has it
        is_new = not listing.shards
    else:
        is_new = any(name not in known for name in made)
    if is_new:
        makers = [step for step in steps if hasattr(step.module, "expected_text_bytes")]
        new += int(sum(step.module.expected_text_bytes(step.settings) for step in makers))
    return listing.text_bytes + new, new


def list_made_sources(steps: list[Step]) -> list[str | None]:
    """Sources that are ingested from what an earlier step writes into the corpus' folder, without any input; None: unnamed."""
    if not any(hasattr(step.module, "expected_text_bytes") for step in steps):
        return []
    sources = [source for step in steps if isinstance(step.settings, IngestConfig) for source in step.settings.sources]
    return [source.name for source in sources if all("{corpus}" in path for path in source.inputs)]


def plan_recipe(
    recipe: Recipe, steps: list[Step], corpus: Corpus, state: State = State(None, {}), *,
    text_bytes: int | None = None, inputs: NewInputs | None = None,
) -> tuple[int, list[StepPlan]]:  # fmt: skip
    """(bytes of text, one line per step); `state` is what the first step finds, all documents where it has no view.

    text_bytes: of all steps, where the caller knows better than estimate_text_bytes. inputs: describe_new_inputs of the
    same, where the caller has it.
    """
    all_bytes, new_bytes = (text_bytes,) * 2 if text_bytes is not None else estimate_text_bytes(steps, corpus, inputs)
    cores = count_cores()
    lines = []
    for step, standing in zip(steps, find_standing(recipe, steps, corpus, state), strict=True):
        cost = COSTS[step.kind]
        text_bytes = new_bytes if step.kind in READING_KINDS else all_bytes
        if hasattr(step.module, "expected_text_bytes"):
            text_bytes = int(step.module.expected_text_bytes(step.settings))
        if hasattr(step.module, "mb_per_core_sec"):  # of a kind that works in several ways
            cost = cost._replace(mb_per_core_sec=step.module.mb_per_core_sec(step.settings, text_bytes))
        held = held_bytes(step, recipe.split_bytes, text_bytes)
        sampled = (
            NO_ESTIMATE if standing.is_done else sample_step(step, corpus, standing.state.view, text_bytes, recipe.seed)
        )
        shared = getattr(step.module, "shared_memory_bytes", None)
        lines.append(StepPlan(
            step.name, step.kind, standing.word, _estimate_seconds(standing.word, cost, text_bytes, cores, sampled),
            WORKER_BYTES + held, 0 if standing.word in (DONE, RECOUNT) else estimate_disk(step, corpus, text_bytes, sampled),
            DRIVER_BYTES + estimate_driver(step, text_bytes, sampled), sampled.details | _tell_rules(step), sampled.driver_memory_bytes is not None,
            shared(step.settings, corpus, text_bytes) if shared else 0,
        ))  # fmt: skip
    return all_bytes, lines


def held_bytes(step: Step, split_bytes: int, text_bytes: int) -> int:
    """What a task of the step holds beside WORKER_BYTES."""
    in_flight = float(getattr(step.settings, "pool_bytes", None) or split_bytes)
    held = int(COSTS[step.kind].memory_per_split * min(in_flight, text_bytes))
    if hasattr(step.module, "worker_memory_bytes"):  # of tasks that hold something else than a split
        held = max(held, step.module.worker_memory_bytes(step.settings, text_bytes))
    return held


def _tell_rules(step: Step) -> dict[str, Any]:
    """The rules of a tag step, those of presets among them, which the settings do not spell out."""
    if step.kind != "tag" or not step.rules:
        return {}
    return {"rules": {rule.name: _tell_rule(rule) for rule in step.rules}}


def _tell_rule(rule: Rule) -> str:
    return rule.keep or (f"cut {rule.edit}" if rule.edit else f"at least {rule.min_text_bytes} bytes of text")


def estimate_disk(step: Step, corpus: Corpus, text_bytes: int, sampled: Estimate = NO_ESTIMATE) -> int:
    """What a step writes, with what it needs while it runs."""
    if sampled.disk_bytes is not None:
        return sampled.disk_bytes
    more = getattr(step.module, "work_disk_bytes", None)
    return int(COSTS[step.kind].disk_frac * text_bytes) + (more(step.settings, corpus, text_bytes) if more else 0)


def estimate_driver(step: Step, text_bytes: int, sampled: Estimate = NO_ESTIMATE) -> int:
    """Of steps that hold what grows with the documents, beside DRIVER_BYTES."""
    if sampled.driver_memory_bytes is not None:
        return sampled.driver_memory_bytes
    on_driver = getattr(step.module, "driver_memory_bytes", None)
    return on_driver(step.settings, text_bytes) if on_driver else 0


def _estimate_seconds(standing: str, cost: Cost, text_bytes: int, cores: int, sampled: Estimate) -> float:
    """Of a step; its view alone is counted anew in about the fixed part."""
    if standing in (DONE, RECOUNT):
        return 0.0 if standing == DONE else cost.fixed_sec
    by_text = text_bytes / 1e6 / cost.mb_per_core_sec / cores
    return cost.fixed_sec + (by_text if sampled.seconds is None else sampled.seconds)


def sample_step(step: Step, corpus: Corpus, view: View | None, text_bytes: int, seed: int = 0) -> Estimate:
    """Of a step whose kind can tell from a sample and whose corpus has documents; text_bytes: of these and those to come."""
    if step.kind not in ("dedup_minhash", "plan_mix", "synth") or not corpus.read_listing().shards:
        return NO_ESTIMATE
    if step.kind == "synth":
        from pipelines import synth_costs

        with name_settings(step):
            return synth_costs.estimate(step.settings, corpus, view or corpus.load_view(None), text_bytes, seed)
    if step.kind == "plan_mix":
        from pipelines import mix_estimate

        with name_settings(step):
            return mix_estimate.estimate(step.settings, corpus, view or corpus.load_view(None), text_bytes, seed)
    from pipelines import minhash_plan  # compiled kernels, which no other plan needs

    with name_settings(step):
        return minhash_plan.estimate(step.settings, corpus, view or corpus.load_view(None), text_bytes)


def make_plan(
    recipe: Recipe, steps: list[Step], corpus: Corpus, state: State = State(None, {}), *, text_bytes: int | None = None,
    inputs: NewInputs | None = None, session: SessionConfig = SessionConfig(),
) -> dict[str, Any]:  # fmt: skip
    """plan_recipe and describe_plan in one, and the free space where the corpus lies."""
    planned = plan_recipe(recipe, steps, corpus, state, text_bytes=text_bytes, inputs=inputs)
    return describe_plan(*planned, session) | {"free_disk_bytes": free_disk_bytes(corpus.root)}


def describe_plan(text_bytes: int, lines: list[StepPlan], session: SessionConfig = SessionConfig()) -> dict[str, Any]:
    """A plan as plain values, with totals over what is not done: memory_bytes of all tasks at once, of the driver, and of its JVM.

    shared_memory_bytes, of files that the tasks of a machine map together, are not in memory_bytes: the system's cache of files has them.
    """
    heap = driver_heap_bytes(session)
    todo = [line for line in lines if line.standing != DONE]
    most = max((line.driver_memory_bytes for line in todo), default=DRIVER_BYTES)
    return {
        "text_bytes": text_bytes,
        "cores": count_cores(),
        "seconds": sum(line.seconds for line in todo) + (SESSION_SEC if todo else 0),
        "disk_bytes": sum(line.disk_bytes for line in lines),
        "memory_bytes": count_cores() * max((line.worker_memory_bytes for line in todo), default=0),
        "shared_memory_bytes": max((line.shared_memory_bytes for line in todo), default=0),
        "driver_memory_bytes": most,
        "driver_is_estimate": any(line.driver_is_estimate for line in todo if line.driver_memory_bytes == most),
        "jvm_memory_bytes": heap + max(JVM_BYTES, heap // 10) if todo else 0,
        "steps": [line._asdict() for line in lines],
    }


def free_disk_bytes(path: str) -> int | None:
    """Free space where the corpus will lie; None for object stores."""
    import os
    import shutil

    if storage.is_remote(path):
        return None
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free
