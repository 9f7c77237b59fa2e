"""Labels by a language model, for a small classifier to learn from: asked through the endpoint client, read strictly, never guessed.

Every answer is one JSON object with one known key, or it is counted under the reason why it is none and the text gets no label.
Answers are kept (dolma_py.endpoint): a killed run asks only what was not answered, and a whole one gives the same bytes without a server.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import xxhash
from pydantic import Field, model_validator
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from dolma_py import config as configuration
from dolma_py.config import Config, dump_config
from dolma_py.endpoint import Answer, Endpoint, EndpointConfig, Estimate, Message, Request
from dolma_py.errors import ConfigError, DataError
from dolma_py.manifest import render_json, render_line
from dolma_py.question_frames import frame_text
from dolma_py.storage import checksum_file, file_bytes, path_exists, read_bytes, write_bytes, write_file
from taggers.labelled_texts import NO_TEXT, Drawn, Example, ExampleSource, draw_examples, has_text, is_label

logger = logging.getLogger("dolma_py.annotate")

VERSION = 2
TEXT_HOLE, LABELS_HOLE = "{text}", "{labels}"
EXCERPT_CHARS = 200
FIRST_TRIES = 3  # of a request while no server was ever reached: a wrong address is told within seconds
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_WHOLE_NUMBER = re.compile(r"\A(?:0|[1-9][0-9]{0,8})\Z")


class AnnotateConfig(Config):
    """What is asked of which model about which texts."""

    about: str = Field(default="", description="what the labels are for")
    endpoint: EndpointConfig = Field(description="the model, its cache, its prices and bounds: docs/endpoint.md")
    examples: list[ExampleSource] = Field(
        default_factory=list, description="where the texts come from; --input adds files to them"
    )
    prompt: str = Field(
        description="what is asked; {text} is the text in its frame, {labels} the list of labels with what they mean"
    )
    system: str = Field(default="", description="message of the system before it; empty: none")
    kind: Literal["label", "score"] = Field(
        default="label", description="label: one of `labels`; score: a whole number from lowest to highest"
    )
    labels: dict[str, str] = Field(default_factory=dict, description="label -> what it means, as the model is told it")
    lowest: int = Field(default=0, ge=0, description="smallest score")
    highest: int = Field(default=5, ge=1, description="largest score")
    key: str = Field(
        default="", description="the key of the answer's JSON object; empty: `label` or `score`, as the kind is called"
    )
    may_explain: str | None = Field(
        default=None, description="a second key that an answer may have, with words that are not kept; null: none"
    )
    max_chars: int = Field(default=8000, ge=1, description="characters of a text that are shown, from its beginning")
    max_answer_tokens: int = Field(default=200, ge=1, description="of an answer")
    temperature: float = Field(default=0.0, ge=0, description="of the model")
    answer_tries: int = Field(
        default=2, ge=1, description="times a text is asked about until an answer is what was asked for"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="more fields of the request, such as response_format"
    )
    max_bad_frac: float = Field(
        default=0.2, ge=0, le=1, description="share of texts that may stay without label; with more nothing is written"
    )

    @model_validator(mode="after")
    def _check(self) -> AnnotateConfig:
        if self.prompt.count(TEXT_HOLE) != 1:
            raise ValueError("prompt: expected {text} once")
        if self.kind == "label" and len(self.labels) < 2:
            raise ValueError("labels: expected two or more for kind label")
        if self.kind == "score" and self.lowest >= self.highest:
            raise ValueError("expected lowest < highest")
        for label in self.labels:
            if not is_label(label):
                raise ValueError(f"labels: {label!r} is no label of letters, digits, dots and hyphens")
        if self.may_explain == self.answer_key:
            raise ValueError("may_explain: expected another key than that of the answer")
        return self

    @property
    def answer_key(self) -> str:
        """The key that holds the label."""
        return self.key or self.kind


class Judged(NamedTuple):
    """What an answer says: a label, or why it says none."""

    label: str | None
    problem: str = ""


def make_request(text: str, config: AnnotateConfig, sample: int = 0) -> Request:
    """What is asked about a text, which stands in a frame that it cannot end."""
    shown = text[: config.max_chars]
    framed = frame_text(shown)
    told = "\n".join(f"{label}: {meaning}" if meaning else label for label, meaning in config.labels.items())
    # the text goes in last: what stands in it is no hole of ours
    before, _, after = config.prompt.partition(TEXT_HOLE)
    question = before.replace(LABELS_HOLE, told) + framed + after.replace(LABELS_HOLE, told)
    messages = (Message("system", config.system),) if config.system else ()
    return Request(
        (*messages, Message("user", _without_surrogates(question))),
        config.max_answer_tokens,
        config.temperature,
        sample,
        config.options,
    )


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def judge_answer(answer: Answer, config: AnnotateConfig) -> Judged:
    """Read an answer strictly.

    Problems: failed_<kind> (no answer came), refused, cut_off, empty, not_json (words beside the object are none), not_an_object,
    repeated_key, missing_key, unknown_key, not_a_string, unknown_label, not_a_number, out_of_range. A code fence around the whole
    object is let pass. Nothing is mended: neither case nor blanks of a label, nor a number as text.
    """
    if answer.failure:
        return Judged(None, f"failed_{answer.failure}")
    if answer.finish_reason in ("refusal", "content_filter"):
        return Judged(None, "refused")
    if answer.finish_reason == "length":
        return Judged(None, "cut_off")
    text = answer.text.strip()
    if not text:
        return Judged(None, "empty")
    fenced = _FENCE.match(text)
    try:
        pairs = json.loads(fenced[1] if fenced else text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # a number of 5,000 digits is a ValueError too
        return Judged(None, "not_json")
    if not isinstance(pairs, _Pairs):
        return Judged(None, "not_an_object")
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        return Judged(None, "repeated_key")
    if config.answer_key not in keys:
        return Judged(None, "missing_key")
    if set(keys) - {config.answer_key, config.may_explain}:
        return Judged(None, "unknown_key")
    value = dict(pairs)[config.answer_key]
    return _judge_label(value, config) if config.kind == "label" else _judge_score(value, config)


def _judge_label(value: Any, config: AnnotateConfig) -> Judged:
    if not isinstance(value, str):
        return Judged(None, "not_a_string")
    return Judged(value) if value in config.labels else Judged(None, "unknown_label")


def _judge_score(value: Any, config: AnnotateConfig) -> Judged:
    if isinstance(value, bool) or not isinstance(value, int) or not _WHOLE_NUMBER.match(str(value)):
        return Judged(None, "not_a_number" if not isinstance(value, int) or isinstance(value, bool) else "out_of_range")
    return Judged(str(value)) if config.lowest <= value <= config.highest else Judged(None, "out_of_range")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object whose keys may repeat."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


class Annotated(NamedTuple):
    """What became of the texts."""

    judged: list[Judged]  # of each text
    counts: dict[str, int]  # texts, labelled, asked_again, no_label:<problem>, answer:<problem>, label:<label>
    excerpts: dict[int, str]  # of the last answer to a text without label


def annotate(texts: list[str], config: AnnotateConfig, endpoint: Endpoint) -> Annotated:
    """Ask about every text; about those without a usable answer again, as another sample, up to answer_tries times.

    Raises EndpointError as `Endpoint.ask` does; answers that came are kept.
    """
    judged = [Judged(None, "not_asked")] * len(texts)
    excerpts: dict[int, str] = {}
    counts: Counter[str] = Counter({"texts": len(texts)})
    rows = list(range(len(texts)))
    for sample in range(config.answer_tries):
        if sample:
            counts["asked_again"] += len(rows)
        answers = endpoint.ask(make_request(texts[row], config, sample) for row in rows)
        for row, answer in zip(rows, _show_progress(answers, len(rows), sample), strict=True):
            judged[row] = judge_answer(answer, config)
            if judged[row].label is None:
                counts[f"answer:{judged[row].problem}"] += 1
                excerpts[row] = _shorten(answer.text or answer.detail)
            else:
                excerpts.pop(row, None)
        rows = [row for row in rows if judged[row].label is None]
    counts.update(f"no_label:{one.problem}" for one in judged if one.label is None)
    counts.update(f"label:{one.label}" for one in judged if one.label is not None)
    counts["labelled"] = sum(one.label is not None for one in judged)
    return Annotated(judged, dict(sorted(counts.items())), excerpts)


def _show_progress(answers: Iterable[Answer], total: int, sample: int) -> Iterator[Answer]:
    """The answers, with a bar on a terminal and a line each tenth of the way elsewhere."""
    what = "answers, second asking" if sample == 1 else f"answers, asking {sample + 1}" if sample else "answers"
    if sys.stderr.isatty():
        columns = ("{task.description}", MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(answers, total=total, description=what)
        return
    step = max(1, -(-total // 10))
    for count, answer in enumerate(answers, 1):
        if count % step == 0 or count == total:
            logger.info("%d of %d %s", count, total, what)
        yield answer


def _shorten(text: str) -> str:
    return text[:EXCERPT_CHARS].encode("unicode_escape").decode("ascii")


def estimate(texts: Iterable[str], config: AnnotateConfig, endpoint: Endpoint) -> Estimate:
    """What asking once about every text costs at most, without asking; answers that are no use are asked again, up to answer_tries."""
    return endpoint.estimate(make_request(text, config) for text in texts)


def read_texts(
    config: AnnotateConfig, *, seed: int, folder: str | None = None
) -> tuple[list[Example], dict[str, Drawn]]:
    """The texts to be labelled, each once, in the order of sources and hashes; those of which nothing would be shown are counted alone.

    Raises ConfigError without sources, DataError when no text is left.
    """
    if not config.examples:
        raise ConfigError("examples", [], "expected texts to be labelled", "Give --input FILES.")
    drawn = {
        source.name: draw_examples(source, seed=seed, folder=folder, needs_label=False) for source in config.examples
    }
    for name, part in drawn.items():
        shown = [example for example in part.examples if has_text(example.text[: config.max_chars])]
        blank = part.counts.get(NO_TEXT, 0) + len(part.examples) - len(shown)
        drawn[name] = part._replace(examples=shown, counts=part.counts | ({NO_TEXT: blank} if blank else {}))
    rows = [example for part in drawn.values() for example in part.examples]
    if not rows:
        raise DataError(
            ", ".join(drawn), "every text is blank in the part that would be shown", hint="Raise max_chars."
        )
    unique = {example.text: example for example in reversed(rows)}
    return [example for example in rows if unique[example.text] is example], drawn


def count_blank(drawn: dict[str, Drawn]) -> int:
    """Texts of all sources with nothing to be read, which are neither asked about nor labelled."""
    return sum(part.counts.get(NO_TEXT, 0) for part in drawn.values())


def write_annotations(
    examples: list[Example],
    drawn: dict[str, Drawn],
    found: Annotated,
    config: AnnotateConfig,
    output_path: str,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the label file (JSON lines: id, text, label), what got no label beside it, and a summary, which it returns.

    Raises DataError when more than max_bad_frac of the texts have no label: nothing is written then.
    """
    bad = len(examples) - found.counts["labelled"]
    if bad > config.max_bad_frac * len(examples):
        reasons = ", ".join(f"{name} {count}" for name, count in found.counts.items() if name.startswith("no_label:"))
        hint = "Look at the prompt and the model, or raise max_bad_frac."
        raise DataError(output_path, f"{bad} of {len(examples)} texts got no label ({reasons})", hint=hint)
    blank = count_blank(drawn)
    summary = {
        "format": "dolma-py-annotations",
        "version": VERSION,
        "about": config.about,
        "model": config.endpoint.model,
        "revision": config.endpoint.revision,
        "prompt_fingerprint": configuration.fingerprint(VERSION, config.prompt, config.system, config.labels),
        # not how hard the model was asked, nor where the answers are kept
        "config": {name: value for name, value in dump_config(config).items() if name != "endpoint"},
        "sources": {name: {"counts": part.counts, "fingerprint": part.fingerprint} for name, part in drawn.items()},
        "counts": found.counts | ({"no_text": blank} if blank else {}),
        "made_from": _made_from(config, drawn, seed),
        "labels_fingerprint": _digest_lines(_labelled(examples, found)),
    }
    _write_lines(output_path + ".rejected.jsonl", _rejected(examples, found))
    write_bytes(output_path + ".summary.json", render_json(summary))
    _write_lines(output_path, _labelled(examples, found))
    return summary


def _made_from(config: AnnotateConfig, drawn: dict[str, Drawn], seed: int) -> str:
    """What the labels follow from: settings, model, seed and texts; not the places of texts and answers, nor how hard the model is asked."""
    examples = [source.model_copy(update={"about": "", "inputs": [], "corpus": None}) for source in config.examples]
    asked = dump_config(config.model_copy(update={"about": "", "examples": examples}))
    asked["endpoint"] = [config.endpoint.model, config.endpoint.revision]
    return configuration.fingerprint(VERSION, asked, seed, {name: part.fingerprint for name, part in drawn.items()})


def _digest_lines(rows: Iterable[dict[str, Any]]) -> str:
    """checksum_file of what _write_lines writes."""
    digest = xxhash.xxh3_128()
    for row in rows:
        digest.update(render_line(row))
    return digest.hexdigest()


def find_summary(output_path: str) -> dict[str, Any] | None:
    """The summary beside a label file, None when there is none or it is another file's."""
    path = output_path + ".summary.json"
    if file_bytes(output_path) is None or not file_bytes(path):
        return None
    try:
        summary = json.loads(read_bytes(path))
    except ValueError:
        return None
    is_its = isinstance(summary, dict) and summary.get("labels_fingerprint") == checksum_file(output_path)
    return summary if is_its else None


def _labelled(examples: list[Example], found: Annotated) -> Iterator[dict[str, Any]]:
    for example, one in zip(examples, found.judged, strict=True):
        if one.label is not None:
            yield {"id": example.id, "text": _without_surrogates(example.text), "label": one.label}


def _rejected(examples: list[Example], found: Annotated) -> Iterator[dict[str, Any]]:
    for row, (example, one) in enumerate(zip(examples, found.judged, strict=True)):
        if one.label is None:
            yield {"id": example.id, "problem": one.problem, "answer": found.excerpts.get(row, "")}


def _write_lines(path: str, rows: Iterable[dict[str, Any]]) -> None:
    with write_file(path) as stream:
        for row in rows:
            stream.write(render_line(row))


def run_annotation(
    config: AnnotateConfig, *, output_path: str, seed: int = 0, folder: str | None = None, replace: bool = False
) -> tuple[dict[str, Any], bool]:
    """Read, ask, write; (the summary, whether labels were made: False when those of the same texts, settings and seed stood there).

    Raises
    ------
    ConfigError     other labels stand at output_path and `replace` is false
    EndpointError   the model fails too often, or would cost more than allowed; answers that came are kept
    DataError       too many texts without label
    """
    examples, drawn = read_texts(config, seed=seed, folder=folder)
    if path_exists(output_path) and not replace:
        standing = find_summary(output_path)
        if standing is not None and standing.get("made_from") == _made_from(config, drawn, seed):
            return standing, False
        hint = "Choose another name, or give --replace: answers that are kept cost nothing."
        raise ConfigError("--output", output_path, "other labels stand there", hint)
    with Endpoint(config.endpoint, first_tries=FIRST_TRIES) as endpoint:
        found = annotate([example.text for example in examples], config, endpoint)
    return write_annotations(examples, drawn, found, config, output_path, seed=seed), True
