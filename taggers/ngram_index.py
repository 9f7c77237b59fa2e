"""Evaluation items as an inverted n-gram index.

Legend: I items, G distinct n-grams, E (item, n-gram) entries; see taggers/ngram_index_kernels.py, and there what the tiers are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError
from taggers import ngram_index_kernels as kernels
from taggers.ngram_counts import (
    Float64,
    Ngrams,
    choose_seeds,
    count_distinct,
    first_ngrams,
    idf,
    number_keys,
    offsets_of,
    order_grams,
    weigh_tokens,
)
from taggers.ngram_score_kernels import SURE_NGRAMS, Settings
from taggers.ngram_tokens import Int64, Tokens, UInt64, split_words

SURE_ANSWER_TOKENS = 4  # distinct tokens from which an answer speaks for itself
# question, answer, passage: Olmo 3 A.5
WEIGHTS_QAP, WEIGHTS_QA, WEIGHTS_QP = (0.7, 0.2, 0.1), (0.75, 0.25), (0.85, 0.15)
# a bit for each n-gram among so many: one in eight foreign n-grams passes the filter, fewer in a small index
FILTER_BITS = 8
# 1 MiB, what a core's own cache holds; a larger index lets more foreign n-grams pass
MAX_FILTER_BITS = 1 << 23
# of an item where items are aligned; of a long question with every fifth word edited half of its 3-grams are left, some eight of these
MAX_SEEDS = 16
# what more items share tells none of them from the others; an item that has nothing else keeps up to FEW_HOT_SEEDS of it
HOT_SEED_ITEMS, FEW_HOT_SEEDS = 256, 3

# why an item is not looked for
REPEATED = "same_as_another"  # of its benchmark, in all parts
LACKS = ("too_few_question_tokens", "too_short", "too_few_different_tokens")
_WALL = np.uint64(0)  # stands between an item's parts where they are one text; no token's hash but by a chance of 2^-64


class Item(NamedTuple):
    """One evaluation item; decontamination looks for its question, then for its answer behind it and its passage before it."""

    id: str
    question: str
    answer: str | None
    passage: str | None = None
    benchmark: str = ""
    source: str = ""  # where it was read from, for reports; no part of what is looked for


class ItemRules(NamedTuple):
    """Which items are looked for, and by which of their words."""

    min_tokens: int = 1  # of question, answer and passage together
    min_unique_tokens: int = 1
    use_answers: bool = True
    use_passages: bool = True
    final_mark: str | None = None  # what stands between a worked answer and its final answer
    plain_parts: tuple[str, ...] = ("question",)  # plain rule: parts whose n-grams are the item's
    max_single_chars: float = 1.0  # share of one-character tokens from which on an n-gram is ignored: above it
    common_phrases: Mapping[str, Sequence[str]] = {}  # benchmark ("" for all): phrases whose n-grams are ignored


class ItemIndex(NamedTuple):
    """The index and what it was built from."""

    arrays: kernels.Index
    items: tuple[Item, ...]  # indexed, in the order of their numbers
    skipped: tuple[Item, ...]  # not looked for
    reasons: tuple[str, ...]  # of each of those, one of REASONS
    num_read: int

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the indexed items."""
        return tuple(item.id for item in self.items)

    @property
    def skipped_ids(self) -> tuple[str, ...]:
        """Of the items that cannot be found."""
        return tuple(item.id for item in self.skipped)

    def count_skipped(self) -> dict[str, dict[str, int]]:
        """benchmark -> reason -> how many of its items are not looked for."""
        counts = Counter(zip((item.benchmark for item in self.skipped), self.reasons, strict=True))
        found: dict[str, dict[str, int]] = {}
        for (benchmark, reason), count in sorted(counts.items()):
            found.setdefault(benchmark, {})[reason] = count
        return found


class _Part(NamedTuple):
    """Tokens of one part of I items."""

    tokens: UInt64
    offsets: Int64
    num_chars: Int64  # of each token
    num_bytes: Int64  # of each token

    @property
    def lengths(self) -> Int64:
        return np.diff(self.offsets)


Encode = Callable[[TextView], Tokens]


def build_index(
    items: list[Item], *, settings: Settings, rules: ItemRules = ItemRules(), encode: Encode = split_words
) -> ItemIndex:
    """Index the items that are long enough, each once.

    idf of a question n-gram is ln((I + 1) / items with it), of an answer or passage n-gram and a question token likewise among answers,
    passages and questions; the + 1 keeps it above 0 when an n-gram stands in every item.

    Parameters
    ----------
    items : list[Item]      ids are distinct
    settings : Settings     of the search that the index is for
    rules : ItemRules       what is left out
    encode                  how texts become tokens; documents must be encoded in the same way

    Raises
    ------
    ConfigError             no item is left, or two items share an id
    """
    repeated = len(items) - len({item.id for item in items})
    if repeated:
        raise ConfigError("items", f"{repeated} repeated ids", "expected each id once")
    kept, skipped = _drop_copies(items)
    parts = _split_parts(kept, rules, encode)
    wanted = _questions_of(kept, rules, encode) if settings.plain else parts[0]
    ignored = _ignored_tokens(kept, wanted, rules, encode)
    grams = first_ngrams(
        wanted.tokens, wanted.offsets, settings.ngram_tokens, _ignored_grams(wanted, ignored, settings, rules)
    )
    num_grams = np.bincount(grams.items, minlength=len(kept))
    lacks = _find_lacks(parts[:3], num_grams, rules)
    usable = np.flatnonzero(lacks < 0)
    if not len(usable):
        least = max(rules.min_tokens, settings.ngram_tokens)
        raise ConfigError("items", f"{len(items)} items", f"expected one of at least {least} tokens")
    numbers = np.full(len(kept), -1, np.int64)
    numbers[usable] = np.arange(len(usable))
    chosen = numbers[grams.items] >= 0
    grams = Ngrams(numbers[grams.items[chosen]], grams.hashes[chosen], grams.places[chosen])
    arrays = _make_arrays([_take(part, usable) for part in parts], grams, settings, _take_rows(ignored, wanted, usable))
    left_out = np.flatnonzero(lacks >= 0).tolist()
    reasons = [REPEATED] * len(skipped) + [LACKS[lacks[row]] for row in left_out]
    skipped += [kept[row] for row in left_out]
    return ItemIndex(arrays, tuple(kept[row] for row in usable.tolist()), tuple(skipped), tuple(reasons), len(items))


def _drop_copies(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """(first of equal items, the others): the same texts for one benchmark would count twice in every idf."""
    seen: set[tuple[str | None, ...]] = set()
    kept: list[Item] = []
    copies: list[Item] = []
    for item in items:
        key = (item.question, item.answer, item.passage, item.benchmark)
        (copies if key in seen else kept).append(item)
        seen.add(key)
    return kept, copies


def _split_parts(items: list[Item], rules: ItemRules, encode: Encode) -> list[_Part]:
    """Tokens of questions, answers, passages and final answers."""
    return [
        _encode([item.question for item in items], encode),
        _encode([(item.answer or "") if rules.use_answers else "" for item in items], encode),
        _encode([(item.passage or "") if rules.use_passages else "" for item in items], encode),
        _encode([_final_answer(item.answer, rules) if rules.use_answers else "" for item in items], encode),
    ]


def _final_answer(answer: str | None, rules: ItemRules) -> str:
    """What a worked answer ends in, behind the last mark."""
    return "" if answer is None or rules.final_mark is None else answer.rpartition(rules.final_mark)[2]


def _encode(texts: list[str], encode: Encode) -> _Part:
    view = view_text(pa.array(texts, pa.large_string()))
    tokens = encode(view)
    # characters are the bytes that do not continue one
    begins = np.zeros(len(view.data) + 1, np.int32 if len(view.data) < 1 << 31 else np.int64)
    np.cumsum((view.data & 0xC0) != 0x80, dtype=begins.dtype, out=begins[1:])
    base = np.repeat(view.offsets[:-1], np.diff(tokens.offsets))
    num_chars = (begins[base + tokens.ends] - begins[base + tokens.starts]).astype(np.int64)
    return _Part(tokens.hashes, tokens.offsets, num_chars, tokens.ends - tokens.starts)


def _questions_of(items: list[Item], rules: ItemRules, encode: Encode) -> _Part:
    """What the plain rule takes for an item: the tokens of its parts one after another, a token that is no text's between them."""
    parts = [_encode([getattr(item, name) or "" for item in items], encode) for name in rules.plain_parts]
    tokens, chars, counts = [], [], np.zeros(len(items), np.int64)
    wall = np.full(1, _WALL)
    for row in range(len(items)):
        for part in parts:
            span = slice(part.offsets[row], part.offsets[row + 1])
            if span.start < span.stop:
                tokens += [wall] * bool(counts[row]) + [part.tokens[span]]
                chars += [np.zeros(1, np.int64)] * bool(counts[row]) + [part.num_chars[span]]
                counts[row] += span.stop - span.start + bool(counts[row])
    empty = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    num_chars = np.concatenate(empty[1] + chars)
    return _Part(np.concatenate(empty[0] + tokens), offsets, num_chars, num_chars)


def _ignored_tokens(items: list[Item], part: _Part, rules: ItemRules, encode: Encode) -> npt.NDArray[np.bool_]:
    """bool (W,): tokens of the questions that stand in a common phrase of their benchmark."""
    ignored = np.zeros(len(part.tokens), bool)
    phrases = {name: _encode(list(texts), encode) for name, texts in rules.common_phrases.items()}
    for row, item in enumerate(items):
        first, end = int(part.offsets[row]), int(part.offsets[row + 1])
        for phrase in [phrases[name] for name in dict.fromkeys(("", item.benchmark)) if name in phrases]:
            for k in range(len(phrase.offsets) - 1):
                wanted = phrase.tokens[phrase.offsets[k] : phrase.offsets[k + 1]]
                _mark_phrase(part.tokens[first:end], wanted, ignored[first:end])
    return ignored


def _mark_phrase(tokens: UInt64, wanted: UInt64, out_ignored: npt.NDArray[np.bool_]) -> None:
    if 0 < len(wanted) <= len(tokens):
        windows = np.lib.stride_tricks.sliding_window_view(tokens, len(wanted))
        for at in np.flatnonzero((windows == wanted).all(axis=1)).tolist():
            out_ignored[at : at + len(wanted)] = True


def _ignored_grams(
    part: _Part, ignored: npt.NDArray[np.bool_], settings: Settings, rules: ItemRules
) -> npt.NDArray[np.bool_]:
    """bool (W,): n-grams, by their first token, of which most stands in a common phrase, or too much is of one character.

    An n-gram that would run over the part's end is ignored with them, and one over the wall between parts.
    """
    length = settings.ngram_tokens
    walls = part.tokens == _WALL if settings.plain else np.zeros(len(part.tokens), bool)
    in_phrases, single, walls_in = (_sum_windows(flags, length) for flags in (ignored, part.num_chars <= 1, walls))
    dropped: npt.NDArray[np.bool_] = (
        (2 * in_phrases > length) | (single > rules.max_single_chars * length) | (walls_in > 0)
    )
    return dropped


def _sum_windows(flags: npt.NDArray[np.bool_], length: int) -> Int64:
    """int64 (W,): how many of flags[i:i + length] are true; what lies behind the end is false."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags)])
    ends = np.minimum(np.arange(len(flags)) + length, len(flags))
    return sums[ends] - sums[: len(flags)]


def _find_lacks(parts: list[_Part], num_grams: Int64, rules: ItemRules) -> Int64:
    """int64 (I,): what an item lacks, the first that applies of LACKS; -1: nothing, it can be looked for.

    A question without an n-gram of its own has fewer tokens than one, or all its n-grams are ignored.
    """
    num_unique = count_distinct([(part.tokens, part.offsets) for part in parts])
    total = sum(part.lengths for part in parts)
    conditions = [num_grams == 0, total < rules.min_tokens, num_unique < rules.min_unique_tokens]
    return np.select(conditions, range(len(LACKS)), -1)


def _take(part: _Part, rows: Int64) -> _Part:
    chosen = _token_rows(part.offsets, rows)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(part.lengths[rows])])
    return _Part(part.tokens[chosen], offsets, part.num_chars[chosen], part.num_bytes[chosen])


def _take_rows(flags: npt.NDArray[np.bool_], part: _Part, rows: Int64) -> npt.NDArray[np.bool_]:
    return flags[_token_rows(part.offsets, rows)]


def _token_rows(offsets: Int64, rows: Int64) -> Int64:
    """Numbers of the tokens of the given rows, one row after another."""
    counts = np.diff(offsets)[rows]
    begins = np.cumsum(counts) - counts
    return np.repeat(offsets[:-1][rows] - begins, counts) + np.arange(int(counts.sum()))


def _make_arrays(
    parts: list[_Part], grams: Ngrams, settings: Settings, ignored: npt.NDArray[np.bool_]
) -> kernels.Index:
    questions, answers, passages, finals = parts
    num_items = len(questions.lengths)
    weights = _weigh_parts(parts, np.bincount(grams.items, minlength=num_items), settings)
    # bits of a common phrase are worth nothing; the plain rule weighs no tokens
    token_idf = weigh_tokens(questions.tokens, questions.offsets)
    if not settings.plain:
        token_idf[ignored] = 0.0
    owner_of = np.arange(num_items, dtype=np.int32)
    if settings.aligned:
        grams = _choose_seeds(grams, questions.offsets, token_idf, settings.ngram_tokens)
        # items with one question have the same seeds: those of its first item are the question's
        owner_of = _group_questions(questions, token_idf)
        firsts = np.unique(owner_of, return_index=True)[1]
        kept = np.isin(grams.items, firsts)
        grams = Ngrams(owner_of[grams.items[kept]].astype(np.int64), grams.hashes[kept], grams.places[kept])
    num_owners = int(owner_of.max(initial=-1)) + 1
    keys, ngram_of = np.unique(grams.hashes, return_inverse=True)
    ngram_idf = idf(np.bincount(ngram_of, minlength=len(keys)), num_items)
    bit_filter, shift = _make_filter(keys)
    passage_grams = _make_grams(passages, settings.passage_ngram_tokens, passages.lengths > 0)
    passage_filter, passage_shift = _make_filter(passage_grams.hashes)
    needed, least = _thresholds(questions, answers, passages, settings)
    return kernels.Index(
        filter=bit_filter,
        filter_shift=shift,
        passage_filter=passage_filter,
        passage_filter_shift=passage_shift,
        slots=_make_slots(keys),
        keys=keys,
        idf=ngram_idf,
        posting_offsets=offsets_of(ngram_of, len(keys)),
        postings=np.argsort(ngram_of, kind="stable").astype(np.int32),
        entry_ngrams=ngram_of.astype(np.int32),
        entry_owners=grams.items.astype(np.int32),
        entry_places=grams.places.astype(np.int32),
        entry_offsets=offsets_of(grams.items, num_owners),
        # bincount adds in order, as the kernel does: a question matched whole has an overlap of exactly 1
        item_idf=np.bincount(grams.items, weights=ngram_idf[ngram_of], minlength=num_owners),
        token_offsets=questions.offsets,
        owner_offsets=offsets_of(owner_of, num_owners),
        owner_items=np.argsort(owner_of, kind="stable").astype(np.int32),
        question_tokens=questions.tokens,
        token_idf=token_idf,
        answer_offsets=answers.offsets,
        answer_tokens=answers.tokens,
        answer_idf=weigh_tokens(answers.tokens, answers.offsets),
        final_offsets=finals.offsets,
        final_tokens=finals.tokens,
        passage_tokens=passages.lengths,
        # answers that are looked for token by token need no n-grams
        answer_grams=_make_grams(answers, settings.answer_ngram_tokens, answers.lengths > settings.short_answer_tokens),
        passage_grams=passage_grams,
        weights=weights,
        needed=needed,
        least_overlap=least,
        needed_alone=_needed_alone(_count_telling(questions), settings),
    )


def _choose_seeds(grams: Ngrams, offsets: Int64, token_idf: Float64, length: int) -> Ngrams:
    """The seeds of every item: those of its n-grams whose tokens weigh most together."""
    starts = offsets[grams.items] + grams.places
    weights = np.zeros(len(starts))
    for k in range(length):  # in one order, so that equal tokens give equal sums
        weights += token_idf[starts + k]
    return choose_seeds(
        grams, weights, len(offsets) - 1, most=MAX_SEEDS, hot_items=HOT_SEED_ITEMS, most_hot=FEW_HOT_SEEDS
    )


def _group_questions(part: _Part, token_idf: Float64) -> npt.NDArray[np.int32]:
    """int32 (I,): the same number for items whose questions have the same tokens and weights."""
    numbers: dict[bytes, int] = {}
    groups = np.empty(len(part.lengths), np.int32)
    for item, (first, end) in enumerate(zip(part.offsets.tolist(), part.offsets[1:].tolist(), strict=False)):
        key = part.tokens[first:end].tobytes() + token_idf[first:end].tobytes()
        groups[item] = numbers.setdefault(key, len(numbers))
    return groups


def _make_slots(keys: UInt64) -> npt.NDArray[np.int32]:
    """The table of the distinct keys."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    slots = np.zeros(size, np.int32)
    kernels.build_slots_kernel(keys, slots)
    return slots


def _make_filter(keys: UInt64) -> tuple[npt.NDArray[np.uint8], np.uint64]:
    """(filter, its shift) of keys."""
    num_bits = 16
    while num_bits < min(FILTER_BITS * len(keys), MAX_FILTER_BITS):
        num_bits *= 2
    bit_filter, shift = np.zeros(num_bits // 8, np.uint8), np.uint64(64 - (num_bits.bit_length() - 1))
    kernels.build_filter_kernel(keys, shift, bit_filter)
    return bit_filter, shift


def _weigh_parts(parts: list[_Part], num_grams: Int64, settings: Settings) -> Float64:
    """float64 (I, 3): weights of question, answer and passage.

    What a question of few distinct n-grams loses goes to the answer, the passage, or half to each; what an answer of few distinct
    tokens loses then goes to the passage, if there is one.
    """
    _, answers, passages, _ = parts
    has_answer = answers.lengths > 0
    has_passage = passages.lengths >= settings.passage_ngram_tokens
    sure = 0.5 + 0.5 * np.minimum(num_grams / SURE_NGRAMS, 1.0)
    answer_sure = 0.5 + 0.5 * np.minimum(_count_answers(answers) / SURE_ANSWER_TOKENS, 1.0)
    weights = np.zeros((len(num_grams), 3))
    weights[:, 0] = 1.0
    for mask, base in ((has_answer & ~has_passage, WEIGHTS_QA), (has_passage & ~has_answer, WEIGHTS_QP)):
        other = 1 if base is WEIGHTS_QA else 2
        weights[mask, 0] = base[0] * sure[mask]
        weights[mask, other] = base[1] + base[0] * (1.0 - sure[mask])
    both = has_answer & has_passage
    question, answer, passage = WEIGHTS_QAP
    moved = question * (1.0 - sure[both]) * 0.5
    unsure = (answer + moved) * (1.0 - answer_sure[both])
    weights[both, 0] = question * sure[both]
    weights[both, 1] = (answer + moved) * answer_sure[both]
    weights[both, 2] = passage + moved + unsure
    return weights


def _count_answers(answers: _Part) -> Int64:
    return count_distinct([(answers.tokens, answers.offsets)])


def _thresholds(questions: _Part, answers: _Part, passages: _Part, settings: Settings) -> tuple[Float64, Float64]:
    """(raw score that each item needs, least overlap of its question).

    An item of up to decay_start tokens needs 1, one of decay_end or more the threshold, linear between; an answer's tokens count once
    each. The least overlap of a question is the threshold's after a whole answer and passage, (T - 0.3) / 0.7; with
    whole_short_questions it grows to 1 for short questions in the same way.
    """
    lengths = questions.lengths + _count_answers(answers) + passages.lengths
    needed = _interpolate(lengths, settings.threshold, settings)
    question, answer, passage = WEIGHTS_QAP
    floor = max((settings.threshold - (answer + passage)) / question, 0.0)
    least = _interpolate(questions.lengths, floor, settings)
    return needed, least if settings.whole_short_questions else np.full(len(lengths), floor)


def _count_telling(part: _Part) -> Int64:
    """int64 (I,): distinct tokens of two bytes or more of each item. "x - y = 1 and x + y = 7" has one, and stands in many a text."""
    telling = part.num_bytes > 1
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(telling)])
    return count_distinct([(part.tokens[telling], begins[part.offsets])])


def _needed_alone(lengths: Int64, settings: Settings) -> Float64:
    """Overlap that a question needs without its answer, by its telling tokens: short_question_alone at alone_start_tokens, question_alone from
    alone_end_tokens on, linear in between; above 1, which nothing reaches, for fewer.
    """
    share = (lengths - settings.alone_start_tokens) / (settings.alone_end_tokens - settings.alone_start_tokens)
    short, long = settings.short_question_alone, settings.question_alone
    needed = short - np.clip(share, 0.0, 1.0) * (short - long)
    return np.where((lengths < settings.alone_start_tokens) | (settings.question_alone > 1), 2.0, needed)


def _interpolate(lengths: Int64, threshold: float, settings: Settings) -> Float64:
    share = (lengths - settings.decay_start_tokens) / (settings.decay_end_tokens - settings.decay_start_tokens)
    return 1.0 - np.clip(share, 0.0, 1.0) * (1.0 - threshold)


def _make_grams(part: _Part, length: int, chosen: npt.NDArray[np.bool_]) -> kernels.Grams:
    """n-grams of the chosen items' part."""
    num_items = len(part.lengths)
    found = first_ngrams(part.tokens, part.offsets, length, ~np.repeat(chosen, part.lengths))
    numbers, num_grams = number_keys(found.hashes)
    offsets = offsets_of(found.items, num_items)
    return kernels.Grams(
        offsets=offsets,
        hashes=found.hashes,
        idf=idf(np.bincount(numbers, minlength=num_grams), num_items)[numbers],
        by_hash=order_grams(found.hashes, offsets),
    )
