"""Slow twin: evaluation items found in one document at a time, with strings, sets and dictionaries."""

import math
import unicodedata
from collections import defaultdict

from tests.reference.word_stats import word_class

MIN_NGRAM_OVERLAP = 0.2


def split_tokens(text):
    """[(token, start byte, end byte)], lower-cased."""
    tokens = []
    at = 0
    open_token = False
    for char in text:
        width = len(char.encode("utf-8", "surrogatepass"))
        extends = unicodedata.category(char)[0] == "M" or (unicodedata.category(char) == "Cf" and char != "\u200b")
        if char.isalnum() or (open_token and extends):
            lower = char.lower() if len(char.lower()) == 1 else char
            single = word_class(char) == "S"
            if open_token and not single:
                token, start, _ = tokens.pop()
                tokens.append((token + lower, start, at + width))
            else:
                tokens.append((lower, at, at + width))
            open_token = not single
        else:
            open_token = False
        at += width
    return tokens


def ngrams(tokens, length):
    return [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]


def weights(groups):
    """idf of everything that occurs in the groups: ln((groups + 1) / groups with it)."""
    counts = defaultdict(int)
    for group in groups:
        for member in set(group):
            counts[member] += 1
    return {member: math.log((len(groups) + 1) / count) for member, count in counts.items()}


class Items:
    """questions and answers: lists of token strings, in the order of the items."""

    def __init__(self, questions, answers, settings):
        self.questions, self.answers, self.settings = questions, answers, settings
        self.grams = [list(dict.fromkeys(ngrams(question, settings.ngram_tokens))) for question in questions]
        self.idf = weights(self.grams)
        self.word_idf = weights(questions)
        self.answer_grams = [
            list(dict.fromkeys(ngrams(answer, settings.answer_ngram_tokens)))
            if len(answer) > settings.short_answer_tokens
            else []
            for answer in answers
        ]
        self.answer_idf = weights(self.answer_grams)
        self.postings = defaultdict(list)
        for item, grams in enumerate(self.grams):
            for gram in grams:
                self.postings[gram].append(item)


def find_items(text, items):
    """(best score, best item or -1, [(start byte, end byte, score)]) of one document."""
    s = items.settings
    tokens = split_tokens(text)
    words = [token for token, _, _ in tokens]
    grams = ngrams(words, s.ngram_tokens)
    seen_until = defaultdict(lambda: -1)
    best_score, best_item, spans = 0.0, -1, []
    position = 0
    while position < len(grams):
        posting = items.postings.get(grams[position], [])
        if len(posting) > s.hot_ngram_items:
            position += 1
            continue
        cluster = None
        for item in posting:
            if seen_until[item] >= position:
                continue
            matched = expand(position, item, grams, items)
            first, last = min(matched), max(matched)
            score = score_item(item, {grams[at] for at in matched}, first, last, words, items)
            seen_until[item] = last
            if score > best_score or (score == best_score and item < best_item):
                best_score, best_item = score, item
            if cluster is None or score > cluster[0]:
                cluster = (score, tokens[first][1], tokens[last + s.ngram_tokens - 1][2])
        if cluster is not None and cluster[0] >= s.threshold:
            add_span(spans, *cluster)
        position += s.stride_tokens
    return best_score, best_item, spans


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
    s = items.settings
    overlap = ordered_share(items.grams[item], items.idf, matched)
    num_words = len(items.questions[item])
    match_end = last + s.ngram_tokens
    question_end = max(match_end, first + num_words)
    if s.count_words and overlap >= MIN_NGRAM_OVERLAP:
        window = words[max(min(first, match_end - num_words) - s.max_misses, 0) : question_end + s.max_misses]
        found = whole = 0.0
        for word in items.questions[item]:
            whole += items.word_idf[word]
            if word in window:
                window.remove(word)
                found += items.word_idf[word]
        overlap = found / whole
    length = len(items.questions[item]) + len(items.answers[item])
    raw = overlap
    if items.answers[item]:
        question_weight = 0.75 * (0.5 + 0.5 * min(len(items.grams[item]) / 20.0, 1.0))
        answer_weight = 0.25 * (0.5 + 0.5 * min(len(items.answers[item]) / 4.0, 1.0))
        reachable = question_weight * overlap + answer_weight >= s.threshold * (question_weight + answer_weight)
        answer = find_answer(item, words[match_end:], question_end - match_end, items) if reachable else 0.0
        raw = (question_weight * overlap + answer_weight * answer) / (question_weight + answer_weight)
    if length <= s.decay_start_tokens:
        needed = 1.0
    elif length >= s.decay_end_tokens:
        needed = s.threshold
    else:
        share = (length - s.decay_start_tokens) / (s.decay_end_tokens - s.decay_start_tokens)
        needed = 1.0 - share * (1.0 - s.threshold)
    return raw * s.threshold / needed


def find_answer(item, behind, gap, items):
    s, answer = items.settings, items.answers[item]
    if len(answer) <= s.short_answer_tokens:
        return 1.0 if tuple(answer) in ngrams(behind[: gap + s.answer_window_tokens], len(answer)) else 0.0
    window = behind[: gap + max(s.long_answer_window_tokens, 2 * len(answer))]
    return ordered_share(items.answer_grams[item], items.answer_idf, set(ngrams(window, s.answer_ngram_tokens)))


def ordered_share(members, idf, matched):
    found = whole = 0.0
    for member in members:
        whole += idf[member]
        found += idf[member] if member in matched else 0.0
    return found / whole


def add_span(spans, score, start, end):
    while spans and spans[-1][1] >= start:
        old_start, old_end, old_score = spans.pop()
        start, end, score = min(start, old_start), max(end, old_end), max(score, old_score)
    spans.append((start, end, score))


def find_ngrams(text, items):
    """The plain rule: (largest share of an item's n-grams, that item or -1, [(start byte, end byte)])."""
    tokens = split_tokens(text)
    length = items.settings.ngram_tokens
    present = ngrams([token for token, _, _ in tokens], length)
    spans = []
    for at, gram in enumerate(present):
        if gram in items.postings:
            add_span(spans, 1.0, tokens[at][1], tokens[at + length - 1][2])
    shares = [(len(set(grams) & set(present)) / len(grams), -item) for item, grams in enumerate(items.grams)]
    share, item = max(shares)
    return (share, -item if share > 0 else -1, spans)
