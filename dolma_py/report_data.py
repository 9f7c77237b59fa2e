"""The numbers of a report: what the steps of a recipe and a training run left, as plain tuples. Nothing is rendered here.

A piece that is not there (no run, no plan, a recipe stopped half way) is None or a sentence in `notes`; what is there must be
consistent, and `checks` says whether it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa

from dolma_py import manifest, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Shard
from dolma_py.report_repeats import ARTIFACT, Repeated, read_repeats
from dolma_py.report_training import Training, collect_training, read_json, read_text
from dolma_py.views import Step, View, attribute_path

STEP_FOLDER = re.compile(r"^(\d+)-(.+)$")
MAX_SAMPLE_CHARS = 4000


class Counts(NamedTuple):
    documents: int
    num_bytes: int


class StepRun(NamedTuple):
    """One complete step."""

    number: int  # in the recipe
    name: str
    kind: str
    manifest: dict[str, Any]
    run: dict[str, Any]  # times and memory, empty when run.json is missing


class Rule(NamedTuple):
    """One line of the funnel; counts by source."""

    name: str
    condition: str  # what a document must be to stay, or what an edit cuts
    is_edit: bool
    entering: dict[str, Counts]
    dropped: dict[str, Counts]  # for an edit: 0 documents, and the bytes it cut
    leaving: dict[str, Counts]
    examples: tuple[int, ...]  # packed addresses
    # (documents asked, those that it would drop) where no other rule of its step is asked; None for edits and sizes
    alone: tuple[int, int] | None = None


class Funnel(NamedTuple):
    entering: dict[str, Counts]
    rules: tuple[Rule, ...]
    kept: dict[str, Counts]
    kept_examples: tuple[int, ...]


class Check(NamedTuple):
    """A line that must hold; `failures` name where it does not."""

    text: str
    failures: tuple[str, ...]


class Rate(NamedTuple):
    """Copies per document of one quality bucket, None where the bucket is empty."""

    source: str
    rates: tuple[float | None, ...]
    planned_tokens: int


class Mix(NamedTuple):
    token_budget: int
    sources: tuple[dict[str, Any], ...]  # source tokens wanted_tokens planned_tokens repetition binds
    rates: tuple[Rate, ...]  # most planned tokens first
    cells: pa.Table  # source, topic, bucket, tokens, planned_tokens
    groups: tuple[dict[str, Any], ...]  # of source and topic, with their curves
    sample: dict[str, Any] | None  # what sample_mix drew


class NearCopies(NamedTuple):
    """What the rules of a MinHash step remove from the same candidates."""

    step: str
    rule: str  # the one that decided
    threshold: float
    large_component: int
    large_index: str
    unverified: int  # candidates but one of each component
    representative: int
    pairs: int
    pairs_not_counted: int  # members of large components, which `pairs` was not run over


class Report(NamedTuple):
    recipe: str
    steps: tuple[StepRun, ...]
    view: View | None
    notes: tuple[str, ...]
    funnel: Funnel | None
    rejected: dict[str, dict[str, int]] | None  # source -> reason -> records
    near_copies: tuple[NearCopies, ...]
    mix: Mix | None
    shards: dict[str, Any] | None  # facts of the tokenize step
    checks: tuple[Check, ...]
    training: Training | None
    evaluation: dict[str, Any] | None
    sample_text: str | None
    repeats: tuple[Repeated, ...] | None  # what was cut most often


def total(counts: dict[str, Counts]) -> Counts:
    """All sources together."""
    return Counts(sum(each.documents for each in counts.values()), sum(each.num_bytes for each in counts.values()))


def collect(corpus: Corpus, *, recipe: str | None, run: str | None) -> Report:
    """Read all there is. ConfigError when the corpus has no runs, or several recipes and none is named."""
    name = find_recipe(corpus, recipe)
    steps, view, notes = load_steps(corpus, name)
    funnel = collect_funnel(steps, view)
    mix = collect_mix(corpus, steps)
    shards = last_facts(steps, "tokenize")
    ingested = last_facts(steps, "ingest")
    training = evaluation = sample_text = None
    if run is not None:
        folder = storage.resolve_path(run)
        training, evaluation = collect_training(folder), read_json(storage.join_path(folder, "eval.json"))
        sample_text = read_text(storage.join_path(folder, "sample.txt"))
        if training is None and evaluation is None:
            notes = [*notes, f"{run} holds neither metrics.jsonl nor eval.json."]
    rejected = None if ingested is None else dict(ingested["rejected"])
    return Report(
        recipe=name, steps=tuple(steps), view=view, notes=tuple(notes), funnel=funnel, rejected=rejected,
        near_copies=collect_near_copies(steps), mix=mix, shards=shards,
        checks=check_all(funnel, mix, shards) + check_run(corpus, steps, training), training=training, evaluation=evaluation,
        sample_text=None if sample_text is None else sample_text[:MAX_SAMPLE_CHARS], repeats=collect_repeats(corpus, steps),
    )  # fmt: skip


def collect_repeats(corpus: Corpus, steps: list[StepRun]) -> tuple[Repeated, ...] | None:
    """What the last step that cut repeats has cut most often; None without one, or where it left no word of it."""
    found = [step.manifest for step in steps if ARTIFACT in step.manifest["artifacts"]]
    return read_repeats(corpus, found[-1]) if found else None


def find_recipe(corpus: Corpus, wanted: str | None) -> str:
    """The recipe to show: the one named, or the only one under runs/."""
    root = corpus.path("runs") + "/"
    found = set()
    for info in storage.list_files(corpus.path("runs")):
        parts = info.path.removeprefix(root).split("/")
        if len(parts) == 3 and parts[2] == "manifest.json" and STEP_FOLDER.match(parts[1]):
            found.add(parts[0])
    if not found:
        raise ConfigError(
            "corpus", corpus.root, "expected a corpus with a finished step under runs/", "Run: dolma-py build"
        )
    if wanted is None and len(found) == 1:
        return found.pop()
    if wanted not in found:
        raise ConfigError("--recipe", wanted, f"expected one of {sorted(found)}")
    return wanted


def load_steps(corpus: Corpus, recipe: str) -> tuple[list[StepRun], View | None, list[str]]:
    """The complete steps that continue each other, the view of the last one, and a sentence on each that was left out.

    A step belongs when its view is that of the step before plus its own rules; what an earlier form of the recipe left
    does not, nor what stands behind a step that is not complete.
    """
    folders: dict[int, list[str]] = {}
    root = corpus.path("runs", recipe) + "/"
    names = {info.path.removeprefix(root).split("/")[0] for info in storage.list_files(corpus.path("runs", recipe))}
    for name in sorted(names):
        if match := STEP_FOLDER.match(name):
            folders.setdefault(int(match[1]), []).append(name)
    steps: list[StepRun] = []
    view, notes = None, []
    for number in range(max(folders, default=-1) + 1):
        runs = [_load_step(corpus, recipe, number, name) for name in folders.get(number, [])]
        complete = sorted((run for run in runs if run), key=lambda run: str(run.run.get("finished", "")), reverse=True)
        for run in complete:
            belongs, after = find_view(corpus, view, run.manifest)
            if belongs:
                steps.append(run)
                view = after
                break
        else:
            left = [name for later, group in sorted(folders.items()) if later >= number for name in group]
            why = "not shown, because unfinished or left by an earlier build"
            notes.append(f"Stopped before step {number:02d}; {why}: {', '.join(left)}.")
            break
    return steps, view, notes


def _load_step(corpus: Corpus, recipe: str, number: int, name: str) -> StepRun | None:
    folder = corpus.path("runs", recipe, name)
    made = manifest.read_manifest(folder)
    if made is None:
        return None
    if made.get("format") != "dolma-py-step":
        raise DataError(storage.join_path(folder, "manifest.json"), "not the manifest of a step")
    run = read_json(storage.join_path(folder, "run.json")) or {}
    return StepRun(number, str(made["step"]), str(made["kind"]), made, run)


def find_view(corpus: Corpus, before: View | None, made: dict[str, Any]) -> tuple[bool, View | None]:
    """(whether the step belongs behind the view `before`, the view after it): its view must be that and the step's own rules."""
    if made["view"] is None:
        return True, before  # it reads none, and the step after it that of the step before it
    view = corpus.load_view(made["view"])
    if view.fingerprint != made["view_fingerprint"]:
        return False, view
    if before is None or made["kind"] == "ingest":
        return True, view
    head = view.model_copy(update={"steps": view.steps[: len(view.steps) - len(made["rules"])]})
    return head.fingerprint == before.fingerprint, view


def last_facts(steps: Iterable[StepRun], kind: str) -> dict[str, Any] | None:
    """The facts of the last step of a kind."""
    found = [step.manifest["facts"] for step in steps if step.kind == kind]
    return found[-1] if found else None


def collect_funnel(steps: list[StepRun], view: View | None) -> Funnel | None:
    """All rules since the last ingest, in order; None before the first step that counts documents."""
    start = max((number for number, step in enumerate(steps) if step.kind == "ingest"), default=0)
    steps = steps[start:]
    funnels = [step.manifest["funnel"] for step in steps if step.manifest["funnel"] is not None]
    if not funnels or view is None:
        return None
    lines = [line for funnel in funnels for line in funnel["steps"]]
    first = funnels[0]["steps"][0] if funnels[0]["steps"] else funnels[0]["kept"]
    kept = funnels[-1]["kept"]
    view_steps = view.steps[len(view.steps) - len(lines) :]
    rules = []
    for line, step, after in zip(lines, view_steps, [*lines, kept][1:], strict=True):
        rules.append(
            Rule(
                name=step.name,
                condition=describe_condition(step),
                is_edit=step.edit is not None,
                entering=_counts(line),
                dropped=_counts(line, "dropped_"),
                leaving=_counts(after),
                examples=_addresses(line),
                alone=_alone(line),
            )  # fmt: skip
        )
    return Funnel(_counts(first), tuple(rules), _counts(kept), _addresses(kept))


def collect_near_copies(steps: list[StepRun]) -> tuple[NearCopies, ...]:
    """One of each MinHash step that counted its rules."""
    found = []
    for step in steps:
        counts = step.manifest["facts"].get("would_remove")
        if step.kind == "dedup_minhash" and counts is not None:
            checked = step.manifest["config"]["verification"]
            said = {name: checked[name] for name in ("rule", "threshold", "large_component", "large_index")}
            found.append(NearCopies(step=step.name, **said, **counts))
    return tuple(found)


def describe_condition(step: Step) -> str:
    """What a line of a view asks of a document, or cuts, and for which sources."""
    if step.min_text_bytes is not None:
        text = f"at least {step.min_text_bytes:,} bytes of text are left"
    else:
        text = f"{step.keep or f'cuts {step.edit}'} of {step.attributes}"
    if step.sources is not None:
        text += f"; only {', '.join(step.sources)}"
    if step.except_sources is not None:
        text += f"; not {', '.join(step.except_sources)}"
    return text


def _counts(line: dict[str, Any], prefix: str = "") -> dict[str, Counts]:
    return {
        name: Counts(each[f"{prefix}documents"], each[f"{prefix}bytes"])
        for name, each in sorted(line["sources"].items())
    }


def _alone(line: dict[str, Any]) -> tuple[int, int] | None:
    """Over all sources."""
    if "alone" not in line:
        return None
    counts = line["alone"].values()
    return sum(each["documents"] for each in counts), sum(each["dropped"] for each in counts)


def _addresses(line: dict[str, Any]) -> tuple[int, ...]:
    return tuple(address for _, address in line["examples"])


def collect_mix(corpus: Corpus, steps: list[StepRun]) -> Mix | None:
    """The plan and its rates by quality bucket; topics of a source together."""
    plans = [step.manifest for step in steps if step.kind == "plan_mix"]
    if not plans:
        return None
    facts = plans[-1]["facts"]
    cells = parquet_files.read_row_groups(
        corpus.path(plans[-1]["artifacts"]["cells"]), None, ["source", "topic", "bucket", "tokens", "planned_tokens"]
    )
    sums: dict[tuple[str, int], list[int]] = {}
    for cell in cells.to_pylist():
        pair = sums.setdefault((cell["source"], cell["bucket"]), [0, 0])
        pair[0] += cell["tokens"]
        pair[1] += cell["planned_tokens"]
    rates = []
    for source in sorted({source for source, _ in sums}):
        pairs = [sums[source, bucket] for bucket in range(facts["num_buckets"])]
        values = tuple(planned / tokens if tokens else None for tokens, planned in pairs)
        rates.append(Rate(source, values, sum(planned for _, planned in pairs)))
    rates.sort(key=lambda rate: (-rate.planned_tokens, rate.source))
    groups = tuple(facts.get("groups", ()))
    return Mix(
        facts["token_budget"], tuple(facts["sources"]), tuple(rates), cells, groups, last_facts(steps, "sample_mix")
    )


def check_all(funnel: Funnel | None, mix: Mix | None, shards: dict[str, Any] | None) -> tuple[Check, ...]:
    """The sums that must agree, as far as their sides are there."""
    checks = []
    if funnel is not None:
        checks.append(check_conservation(funnel))
    if mix is not None:
        planned = sum(source["planned_tokens"] for source in mix.sources)
        checks.append(_compare("tokens planned over all sources = token budget", planned, mix.token_budget))
    if mix is not None and mix.sample is not None and shards is not None:
        checks.append(_compare("copies drawn = documents in the shards", mix.sample["copies"], shards["documents"]))
        checks.append(_compare("tokens drawn = tokens in the shards", mix.sample["sampled_tokens"], shards["tokens"]))
    if shards is not None:
        tokens = sum(source["tokens"] for source in shards["sources"].values())
        checks.append(_compare("tokens over all sources = tokens in the shards", tokens, shards["tokens"]))
    return tuple(checks)


def check_run(corpus: Corpus, steps: list[StepRun], training: Training | None) -> tuple[Check, ...]:
    """Whether the training run can be one over these shards."""
    mixes = [step.manifest["config"]["mix"] for step in steps if step.kind == "tokenize"]
    written = read_json(corpus.path("tokens", mixes[-1], "manifest.json")) if mixes else None
    if training is None or training.tokenizer is None or written is None:
        return ()
    mine, theirs = training.tokenizer, written["tokenizer"]["fingerprint"]
    failures = () if mine == theirs else (f"{mine} and {theirs}: the run is over other shards",)
    return (Check("tokenizer of the training run = tokenizer of the shards", failures),)


def _compare(text: str, left: int, right: int) -> Check:
    return Check(text, () if left == right else (f"{left:,} and {right:,}",))


def check_conservation(funnel: Funnel) -> Check:
    """in = out + dropped for documents and bytes, per rule and source, and what the first rule gets is what was ingested."""
    failures = []
    zero = Counts(0, 0)
    before = funnel.entering
    for rule in funnel.rules:
        for source in sorted({*before, *rule.entering}):
            came, counted = before.get(source, zero), rule.entering.get(source, zero)
            if came != counted:
                failures.append(f"{rule.name}, {source}: {came} came out of the step before, {counted} went in")
        for source in sorted({*rule.entering, *rule.leaving}):
            entered, out = rule.entering.get(source, zero), rule.leaving.get(source, zero)
            lost = rule.dropped.get(source, zero)
            if entered != (out.documents + lost.documents, out.num_bytes + lost.num_bytes):
                failures.append(f"{rule.name}, {source}: in {entered}, dropped {lost}, out {out}")
        before = rule.leaving
    ends = [] if before == funnel.kept else [f"kept: {before} and {funnel.kept}"]
    return Check("documents and bytes in = out + dropped, for every rule and source", tuple(failures + ends))


def attribute_columns(corpus: Corpus, name: str, shards: tuple[Shard, ...]) -> list[str]:
    """The columns of an attribute set, from the footer of its first file; empty when there is none."""
    for shard in shards:
        path = corpus.path(attribute_path(name, shard))
        if storage.file_bytes(path) is not None:
            with parquet_files.open_parquet(path) as file:
                return list(file.schema_arrow.names)
    return []
