"""Slow twin: evaluation items aligned with one document at a time, with lists, dictionaries and a full table."""

from collections import defaultdict

from tests.reference.ngram_index import ngrams
from tests.reference.ngram_match import MIN_PART_SPAN, NEARLY_ONE, Finding, add_span, find_final, find_passage

LEAST_OVERLAP = 0.6


class Cluster:
    """Seeds of one item that agree on a place."""

    def __init__(self, begin):
        self.low = self.high = begin
        self.seeds = set()
        self.last = None  # position of the last seed
        self.is_tried = False


def align(wanted, weights, words, first, end):
    """(share of the weight of `wanted` in words[first:end] in order, first word, end): the earliest end, then the latest begin."""
    # cells are (weight, begin) of the best alignment of wanted[:k] with words[first:at]; an empty one begins at `end`
    table = [[(0.0, end)] * (end - first + 1)]
    for word, weight in zip(wanted, weights, strict=True):
        row = [(0.0, end)]
        for at in range(1, end - first + 1):
            cells = [table[-1][at], row[at - 1]]
            if words[first + at - 1] == word:
                before = table[-1][at - 1]
                cells.append((before[0] + weight, before[1] if before[0] > 0 else first + at - 1))
            row.append(max(cells))
        table.append(row)
    last = [cell[0] for cell in table[-1]]
    whole = 0.0
    for weight in weights:
        whole += weight
    if whole <= 0 or last[-1] <= 0:
        return 0.0, first, first
    at = last.index(last[-1])
    return last[at] / whole, table[-1][at][1], first + at


def find_items(tokens, items):
    """Finding of one document; tokens: [(token, start byte, end byte)]."""
    s = items.settings
    words = [token for token, _, _ in tokens]
    owners = defaultdict(list)
    for item, seeds in enumerate(items.seeds):
        for seed in seeds:
            owners[seed].append(item)
    clusters, seen_until = {}, defaultdict(int)
    best, spans = (0.0, -1, (0.0, 0.0, 0.0)), []
    for position, gram in enumerate(ngrams(words, s.ngram_tokens)):
        for item in owners[gram]:
            if position < seen_until[item]:
                continue
            cluster = add_seed(clusters, item, position, gram, items)
            if cluster.is_tried or len(cluster.seeds) < (1 if len(items.seeds[item]) <= 6 else 2):
                continue
            cluster.is_tried = True
            length = len(items.questions[item])
            slack = 8 + length // 8
            first = max(cluster.low - slack, 0, seen_until[item])
            end = min(cluster.high + length + slack, len(words))
            score, overlaps, places = score_place(item, first, end, words, items)
            if score >= s.threshold:
                seen_until[item] = places[0][1]
                del clusters[item]
            if score > best[0] or (score == best[0] and item < best[1]):
                best = (score, item, overlaps)
            for place in places if score >= s.threshold else []:
                if place is not None:
                    spans = add_span(spans, tokens[place[0]][1], tokens[place[1] - 1][2], score, item)
    return Finding(*best, spans)


def add_seed(clusters, item, position, gram, items):
    """The item's cluster with one seed more, or a new one where the seed does not belong to it."""
    length = len(items.questions[item])
    slack = 8 + length // 8
    reach = length + slack
    begin = position - items.seeds[item][gram]
    cluster = clusters.get(item)
    if cluster is not None:
        if cluster.is_tried:
            belongs = cluster.low - slack <= begin <= cluster.high + slack
        else:
            belongs = cluster.high - reach <= begin <= cluster.low + reach
        if not belongs or position - cluster.last > reach:
            cluster = None
    if cluster is None:
        cluster = clusters[item] = Cluster(begin)
    cluster.last = position
    if not cluster.is_tried:
        cluster.seeds.add(gram)
        cluster.low, cluster.high = min(cluster.low, begin), max(cluster.high, begin)
    return cluster


def score_place(item, first, end, words, items):
    """(score, (overlap of question, answer, passage), [place of the question, of the answer or None, of the passage or None])."""
    s = items.settings
    question_weight, answer_weight, passage_weight = items.part_weights(item)
    overlap, begin, last = align(items.questions[item], items.word_weights(item), words, first, end)
    raw = question_weight * overlap
    answer = passage = 0.0
    places = [(begin, last), None, None]
    if overlap >= LEAST_OVERLAP:
        if answer_weight > 0:
            answer, places[1] = find_answer(item, last, words, items)
        if passage_weight > 0:
            passage, places[2] = find_passage(item, begin, words, items)
        raw += answer_weight * answer + passage_weight * passage
    places[1] = places[1] if answer >= MIN_PART_SPAN else None
    places[2] = places[2] if passage >= MIN_PART_SPAN else None
    score = raw
    if raw >= NEARLY_ONE:
        score = 1.0
    elif overlap >= items.needed_alone(item):
        score = s.threshold + (1.0 - s.threshold) * raw
    return score, (overlap, answer, passage), places


def find_answer(item, begin, words, items):
    """(overlap of the answer, (first word, end) or None)."""
    s, answer = items.settings, items.answers[item]
    if len(answer) <= s.short_answer_tokens:
        window = ngrams(words[begin : begin + s.answer_window_tokens], len(answer))
        if tuple(answer) not in window:
            return 0.0, None
        at = begin + window.index(tuple(answer))
        return 1.0, (at, at + len(answer))
    end = min(begin + max(s.long_answer_window_tokens, 2 * len(answer)), len(words))
    beginning = answer[:400]
    near = min(end, begin + max(s.long_answer_window_tokens, 800))
    overlap, first, last = align(beginning, [items.answer_word_idf[word] for word in beginning], words, begin, near)
    return find_final(item, overlap, (first, last), begin, end, words, items)
