"""Preference pairs by asking models: the whole of `dolma-py posttrain pairs`.

    delta       chosen by a strong model, rejected by a weak one, to the same prompts; the rejected answers are not looked at
    judged      the best and the worst of a pool by a judge's scores; the worst is always the rejected one, a weak model is in every pool
    multi_turn  delta pairs after turns that were made for the prompt; chosen and rejected differ in their last turn alone

Prompts are gone through in groups, so memory is bounded by what a group's answers take and the rows that were made. Source: Olmo 3 report,
delta learning and preference data of Think and Instruct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dolma_py import config as configuration
from dolma_py.endpoint import Answer, Estimate
from dolma_py.input_files import find_files
from dolma_py.storage import checksum_file
from dolma_py.tool_sessions import ChatMessage, make_message
from mixers.asked_rows import Dropped, find_failure, find_standing, shorten, write_rows
from mixers.pair_asking import Answers, Asker, EndpointAsker, EstimatingAsker, ask_until_usable
from mixers.pair_config import LengthControl, PairsConfig, Responder
from mixers.pair_contexts import make_contexts
from mixers.pair_judge import Candidate, choose_pair, draw_pool, make_judgement, name_of, read_judgement
from mixers.pair_prompts import Prompt, read_prompts
from mixers.tokenization import LoadedTokenizer, encode_texts, load_tokenizer
from mixers.tokenizer_files import checksum_tokenizer

VERSION = 1
GROUP = 1000  # prompts whose answers are held at a time


class Pair(NamedTuple):
    """Two answers to one conversation."""

    prompt: Prompt
    messages: Sequence[ChatMessage]  # what both answer
    chosen: str
    rejected: str
    chosen_model: str
    rejected_model: str
    facts: dict[str, Any]


Found = tuple[list[Pair], list[Dropped]]


def make_pairs(prompts: Sequence[Prompt], config: PairsConfig, asker: Asker, answers: Answers, seed: int) -> Found:
    """The pairs of one group of prompts, in their order, and the prompts without one."""
    if config.kind == "judged":
        return make_judged(prompts, config, asker, answers, seed)
    strong, weak = _need(config.strong), _need(config.weak)
    if config.kind == "delta":
        waiting = [(prompt, list(prompt.messages), {}) for prompt in prompts]
        return make_delta(waiting, strong, weak, answers)
    contexts, dropped = make_contexts(
        prompts, config.contexts, teacher=config.teacher, speaker=strong, asker=asker, answers=answers, seed=seed
    )
    pairs, more = make_delta(
        [(one.prompt, one.messages, {"context": one.kind}) for one in contexts], strong, weak, answers
    )
    return pairs, [*dropped, *more]


def _need(responder: Responder | None) -> Responder:
    if responder is None:
        raise ValueError("the configuration has no such model")
    return responder


def make_delta(
    waiting: Sequence[tuple[Prompt, list[ChatMessage], dict[str, Any]]],
    strong: Responder,
    weak: Responder,
    answers: Answers,
) -> Found:
    """Strong over weak. A chosen answer must be whole; a rejected one must be there, and may be cut off or wrong in any way.

    Reasons: chosen:<problem>, chosen:incomplete_thinking, rejected:<problem>, identical.
    """
    conversations = [messages for _, messages, _ in waiting]
    ids = [prompt.id for prompt, _, _ in waiting]
    best = answers.collect(strong, conversations, ids)
    worst = answers.collect(weak, conversations, ids)
    pairs, dropped = [], []
    for (prompt, messages, facts), good, bad in zip(waiting, best, worst, strict=True):
        problem = _find_delta_problem(good, bad)
        if problem:
            dropped.append(Dropped(prompt.id, problem, shorten(good.detail or bad.detail)))
        else:
            pairs.append(Pair(prompt, messages, good.text, bad.text, strong.model, weak.model, facts))
    return pairs, dropped


def _find_delta_problem(good: Answer, bad: Answer) -> str:
    problem = find_failure(good) or ("incomplete_thinking" if has_open_thinking(good.text) else "")
    if problem:
        return f"chosen:{problem}"
    problem = find_failure(bad)
    if problem and problem != "cut_off":
        return f"rejected:{problem}"
    if not bad.text.strip():  # cut off before its first word
        return "rejected:empty"
    return "identical" if good.text == bad.text else ""


def has_open_thinking(text: str) -> bool:
    """Whether thinking was begun and not ended."""
    return text.rfind("<think>") > text.rfind("</think>")


def make_judged(prompts: Sequence[Prompt], config: PairsConfig, asker: Asker, answers: Answers, seed: int) -> Found:
    """Best over worst of each prompt's pool. Reasons: those of choose_pair."""
    pools = [draw_pool(config, prompt.id, seed) for prompt in prompts]
    said: dict[tuple[int, int], Answer] = {}
    for place, responder in enumerate(config.pool):
        rows = [row for row, pool in enumerate(pools) if place in pool]
        found = answers.collect(responder, [prompts[row].messages for row in rows], [prompts[row].id for row in rows])
        said.update({(row, place): answer for row, answer in zip(rows, found, strict=True)})
    there = sorted(
        key for key, answer in said.items() if find_failure(answer) in ("", "cut_off") and answer.text.strip()
    )
    judge = config.judge
    if judge is None:
        raise ValueError("the configuration has no judge")
    scores = ask_until_usable(
        asker, "judge", judge.endpoint,
        lambda number, sample: make_judgement(prompts[there[number][0]].messages, said[there[number]].text, judge, sample),
        lambda number, answer: read_judgement(answer, judge),
        range(len(there)), judge.answer_tries,
    )  # fmt: skip
    candidates: dict[int, list[Candidate]] = {row: [] for row in range(len(prompts))}
    for number, (row, place) in enumerate(there):
        score, problem = scores[number]
        answer = said[row, place]
        is_whole = not find_failure(answer) and not has_open_thinking(answer.text)
        if not problem:
            candidates[row].append(Candidate(place, config.pool[place].is_weak, is_whole, answer.text, score))
    pairs, dropped = [], []
    for row, prompt in enumerate(prompts):
        choice = choose_pair(candidates[row])
        if choice.best is None or choice.worst is None:
            dropped.append(Dropped(prompt.id, choice.problem))
            continue
        best, worst = choice.best, choice.worst
        facts = {
            "chosen_score": best.score,
            "rejected_score": worst.score,
            "pool": [config.pool[place].name for place in pools[row]],
        }
        models = name_of(best, config.pool), name_of(worst, config.pool)
        pairs.append(Pair(prompt, prompt.messages, best.text, worst.text, *models, facts))
    return pairs, dropped


class Measured(NamedTuple):
    """Pairs that stay under length control, with the differences of all that were measured."""

    pairs: list[Pair]
    dropped: list[Dropped]
    differences: list[int]  # tokens, before control


def control_length(pairs: Sequence[Pair], control: LengthControl | None, tokenizer: LoadedTokenizer | None) -> Measured:
    """Leave out pairs whose last turns differ by more tokens than allowed; reason too_different."""
    if control is None or tokenizer is None:
        return Measured(list(pairs), [], [])
    chosen = [len(ids) for ids in encode_texts(tokenizer, [pair.chosen for pair in pairs])]
    rejected = [len(ids) for ids in encode_texts(tokenizer, [pair.rejected for pair in pairs])]
    kept, dropped, differences = [], [], []
    for pair, long, short in zip(pairs, chosen, rejected, strict=True):
        difference = abs(long - short)
        differences.append(difference)
        is_bound = control.sources is None or pair.prompt.source in control.sources
        if is_bound and difference > control.max_difference:
            dropped.append(Dropped(pair.prompt.id, "too_different", f"{long} and {short} tokens"))
        else:
            kept.append(pair._replace(facts={**pair.facts, "chosen_tokens": long, "rejected_tokens": short}))
    return Measured(kept, dropped, differences)


def make_row(pair: Pair, kind: str) -> dict[str, Any]:
    """The row of a pair, as `posttrain prepare` reads it."""
    return {
        "id": f"{pair.prompt.id}#pair-{kind}",
        "chosen": [*pair.messages, make_message("assistant", pair.chosen)],
        "rejected": [*pair.messages, make_message("assistant", pair.rejected)],
        "source": pair.prompt.source,
        "chosen_model": pair.chosen_model,
        "rejected_model": pair.rejected_model,
        "kind": kind,
        **pair.facts,
    }


def run_pairs(config: PairsConfig, *, output: str, seed: int, replace: bool = False) -> tuple[dict[str, Any], bool]:
    """Ask, choose, write; (the summary, whether rows were made).

    Raises ConfigError, EndpointError, DataError as find_standing, Endpoint.ask and write_rows do.
    """
    made_from = fingerprint(config, seed)
    standing = find_standing(output, made_from, replace=replace)
    if standing is not None:
        return standing, False
    read = read_prompts(config.prompts, at_most=config.max_prompts)
    control = config.length
    tokenizer = None if control is None else load_tokenizer(control.tokenizer)
    rows: list[dict[str, Any]] = []
    dropped = list(read.dropped)
    differences: list[int] = []
    with EndpointAsker() as asker:
        answers = Answers(config.responders, asker)
        for start in range(0, len(read.prompts), GROUP):
            pairs, lost = make_pairs(read.prompts[start : start + GROUP], config, asker, answers, seed)
            measured = control_length(pairs, control, tokenizer)
            rows += [make_row(pair, config.kind) for pair in measured.pairs]
            dropped += [*lost, *measured.dropped]
            differences += measured.differences
        asked = dict(sorted(asker.counts.items()))
    summary = {
        "format": "dolma-py-pairs", "version": VERSION, "kind": config.kind, "seed": seed, "asked": asked,
        "models": {one.name: one.model for one in config.responders},
        "length_difference_tokens": describe_differences(differences),
    }  # fmt: skip
    return write_rows(output, rows, dropped, summary, made_from=made_from, max_bad_frac=config.max_bad_frac), True


def describe_differences(differences: Sequence[int]) -> dict[str, int]:
    """Median, 80th percentile and largest difference of lengths before control, in tokens; nothing without control.

    >>> describe_differences([5, 1, 9, 3, 7])
    {'median': 5, 'p80': 9, 'max': 9}
    """
    ordered = sorted(differences)
    if not ordered:
        return {}
    return {
        name: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        for name, share in (("median", 0.5), ("p80", 0.8), ("max", 1.0))
    }


def estimate_pairs(config: PairsConfig, *, seed: int) -> dict[str, Estimate]:
    """What each part costs at most, without asking: answers to come are taken to be as long as they may be, and to be usable at once."""
    read = read_prompts(config.prompts, at_most=config.max_prompts)
    asker = EstimatingAsker()
    answers = Answers(config.responders, asker)
    for start in range(0, len(read.prompts), GROUP):
        make_pairs(read.prompts[start : start + GROUP], config, asker, answers, seed)
    return asker.estimates


def fingerprint(config: PairsConfig, seed: int) -> str:
    """What the rows follow from: settings, seed, prompts and files of answers; not places, nor how hard models are asked."""
    values = configuration.dump_config(config)
    responders = [values["strong"], values["weak"], *values["pool"]]
    for part in [*responders, values["judge"], values["teacher"]]:
        if part and part.get("endpoint"):
            part["endpoint"] = [part["endpoint"]["model"], part["endpoint"]["revision"]]
        if part and part.get("answers"):
            part["answers"] = checksum_file(part["answers"])
    values["prompts"] = [checksum_file(found.path) for place in config.prompts for found in find_files(place).files]
    if config.length is not None:
        values["length"]["tokenizer"] = checksum_tokenizer(config.length.tokenizer)
    return configuration.fingerprint("pairs", VERSION, values, seed)


def describe_estimates(estimates: dict[str, Estimate], ask_again: Callable[[str], str] = lambda who: "") -> list[str]:
    """One line for each model, and the sum."""
    lines = [f"{who}: {found.describe()}{ask_again(who)}" for who, found in estimates.items()]
    return [
        *lines,
        f"in all: at most {sum(found.max_cost for found in estimates.values()):.2f} to pay. Nothing was asked.",
    ]
