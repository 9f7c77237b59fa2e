"""Slow twin: evaluation items found in one document at a time, with strings, sets and dictionaries."""

from collections import defaultdict
from typing import NamedTuple

from tests.reference.ngram_index import ngrams

MIN_PART_SPAN = 0.5
NEARLY_ONE = 1.0 - 1e-9


class Finding(NamedTuple):
    """What one document holds: spans are (start byte, end byte, score, item)."""

    score: float
    item: int
    overlaps: tuple
    spans: list


def find_items(tokens, items):
    """Finding of one document; tokens: [(token, start byte, end byte)]."""
    s = items.settings
    words = [token for token, _, _ in tokens]
    grams = ngrams(words, s.ngram_tokens)
    seen_until = defaultdict(lambda: -1)
    best = (0.0, -1, (0.0, 0.0, 0.0))
    spans = []
    position = 0
    while position < len(grams):
        posting = items.postings.get(grams[position], [])
        if len(posting) > items.hot:
            position += 1
            continue
        cluster = None
        for item in posting:
            if seen_until[item] >= position:
                continue
            matched = expand(position, item, grams, items)
            first, last = min(matched), max(matched)
            score, overlaps, places = score_item(item, {grams[at] for at in matched}, first, last, words, items)
            seen_until[item] = last
            if score > best[0] or (score == best[0] and item < best[1]):
                best = (score, item, overlaps)
            if cluster is None or score > cluster[0]:
                cluster = (score, item, [*places[:1], (first, last + s.ngram_tokens), *places[1:]])
        if cluster is not None and cluster[0] >= s.threshold:
            score, item, places = cluster
            for place in places:
                if place is not None:
                    spans = add_span(spans, tokens[place[0]][1], tokens[place[1] - 1][2], score, item)
        position += s.stride_tokens
    return Finding(*best, spans)


def expand(position, item, grams, items):
    """Positions at which the item matches around a hit, walking until max_misses in a row to each side."""
    matched = {position}
    own = set(items.grams[item])
    for step in (1, -1):
        misses, at = 0, position + step
        while 0 <= at < len(grams) and misses < items.settings.max_misses:
            if grams[at] in own:
                matched.add(at)
                misses = 0
            else:
                misses += 1
            at += step
    return matched


def score_item(item, matched, first, last, words, items):
    """(score, (overlap of question, answer, passage), [place of the passage or None, of the answer or None])."""
    s = items.settings
    overlap = ordered_share(items.grams[item], items.idf, matched)
    question_weight, answer_weight, passage_weight = items.part_weights(item)
    needed = items.needed(item)
    raw = question_weight * overlap
    enough = overlap >= items.least_overlap(item)
    answer, passage, places = 0.0, 0.0, [None, None]
    if enough and raw + answer_weight + passage_weight >= needed * NEARLY_ONE:
        if answer_weight > 0:
            answer, places[1] = find_answer(item, first, last, words, items)
        if passage_weight > 0:
            passage, places[0] = find_passage(item, first, words, items)
        raw += answer_weight * answer + passage_weight * passage
    places = [places[0] if passage >= MIN_PART_SPAN else None, places[1] if answer >= MIN_PART_SPAN else None]
    score = raw * s.threshold / needed
    if raw >= NEARLY_ONE:
        score = 1.0
    elif not enough:
        score = min(score, s.threshold * overlap)
    return score, (overlap, answer, passage), places


def find_answer(item, first, last, words, items):
    """(overlap of the answer, (first token, end) or None)."""
    s, answer = items.settings, items.answers[item]
    match_end, question_end = last + s.ngram_tokens, first + len(items.questions[item])
    begin, end = min(match_end, question_end), max(match_end, question_end)
    if len(answer) <= s.short_answer_tokens:
        window = ngrams(words[begin : end + s.answer_window_tokens], len(answer))
        if tuple(answer) not in window:
            return 0.0, None
        at = begin + window.index(tuple(answer))
        return 1.0, (at, at + len(answer))
    n = s.answer_ngram_tokens
    window = ngrams(words[begin : end + max(s.long_answer_window_tokens, 2 * len(answer))], n)
    places = [at for at, gram in enumerate(window) if gram in items.answer_grams[item]]
    place = (begin + min(places), begin + max(places) + n) if places else None
    overlap = ordered_share(items.answer_grams[item], items.answer_idf, set(window))
    return find_final(
        item, overlap, place, begin, end + max(s.long_answer_window_tokens, 2 * len(answer)), words, items
    )


def find_final(item, overlap, place, begin, end, words, items):
    """The overlap of an answer and its place, or 1 when the final answer stands in words[begin:end]."""
    final = items.finals[item]
    rows = ngrams(words[begin:end], len(final)) if final else []
    if overlap < 1.0 and tuple(final) in rows:
        at = begin + rows.index(tuple(final))
        return 1.0, place if overlap >= MIN_PART_SPAN else (at, at + len(final))
    return overlap, place


def find_passage(item, first, words, items):
    """(overlap of the passage, (first token, end) or None), walking back from the question."""
    s, n = items.settings, items.settings.passage_ngram_tokens
    begin = max(first - max(s.passage_window_tokens, 2 * len(items.passages[item])), 0)
    window = ngrams(words[begin:first], n)
    places, misses = [], 0
    for at in reversed(range(len(window))):
        if window[at] in items.passage_grams[item]:
            places.append(at)
            misses = 0
        elif places:
            misses += 1
        if misses > s.passage_max_misses:
            break
    place = (begin + min(places), begin + max(places) + n) if places else None
    return ordered_share(items.passage_grams[item], items.passage_idf, {window[at] for at in places}), place


def ordered_share(members, idf, matched):
    found = whole = 0.0
    for member in members:
        whole += idf[member]
        found += idf[member] if member in matched else 0.0
    return found / whole


def add_span(spans, start, end, score, item):
    """The spans with one more; those that it meets become one with it, of the best score and then of the lowest item."""
    met = [span for span in spans if span[0] <= end and span[1] >= start]
    apart = [span for span in spans if not (span[0] <= end and span[1] >= start)]
    together = [*met, (start, end, score, item)]
    best = min((-span[2], span[3]) for span in together)
    joined = (min(span[0] for span in together), max(span[1] for span in together), -best[0], best[1])
    return sorted([*apart, joined])


def find_ngrams(tokens, items):
    """The plain rule."""
    s = items.settings
    present = ngrams([token for token, _, _ in tokens], s.ngram_tokens)
    shares = [len(set(grams) & set(present)) / len(grams) for grams in items.grams]
    best = max(shares)
    spans = []
    for at, gram in enumerate(present):
        owners = [(-shares[item], item) for item in items.postings.get(gram, [])]
        if owners and -min(owners)[0] >= s.threshold:
            share, item = min(owners)
            spans = add_span(spans, tokens[at][1], tokens[at + s.ngram_tokens - 1][2], -share, item)
    return Finding(best, shares.index(best) if best > 0 else -1, (best, 0.0, 0.0), spans)
