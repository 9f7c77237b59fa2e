"""Slow twins of dedup/substring: every window of L bytes in a dictionary; spans as sets of byte positions."""

from fractions import Fraction


def runs(positions):
    """Ascending maximal runs (start, end) of a set of integers."""
    spans = []
    for p in sorted(positions):
        if spans and spans[-1][1] == p:
            spans[-1] = (spans[-1][0], p + 1)
        else:
            spans.append((p, p + 1))
    return spans


def find_repeats(texts, min_length_bytes, keep_first=True):
    """Spans per text: bytes of windows that also stand earlier (keep_first) or elsewhere."""
    windows = {}
    for d, text in enumerate(texts):
        for p in range(len(text) - min_length_bytes + 1):
            windows.setdefault(text[p : p + min_length_bytes], []).append((d, p))
    marked = [set() for _ in texts]
    for places in windows.values():
        for d, p in places[1:] if keep_first else places if len(places) > 1 else []:
            marked[d].update(range(p, p + min_length_bytes))
    return [runs(positions) for positions in marked]


def union_spans(spans, num_docs):
    """Spans (document, start, end) in any order, as runs of each document."""
    places = [set() for _ in range(num_docs)]
    for document, start, end in spans:
        places[document].update(range(start, end))
    return [runs(positions) for positions in places]


def join_spans(spans, min_covered_frac):
    """Every stretch between two spans of one text that is covered densely enough goes whole."""
    share = Fraction(str(min_covered_frac))
    stretches = []
    for i in range(len(spans)):
        for j in range(i, len(spans)):
            if sum(end - start for start, end in spans[i : j + 1]) >= share * (spans[j][1] - spans[i][0]):
                stretches.append((i, j))
    return _union(spans, stretches)


def _union(spans, stretches):
    """Union of stretches (first span, last span); two are one when they share a span."""
    result = []
    for first, last in sorted(stretches):
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return [(spans[first][0], spans[last][1]) for first, last in result]


def join_spans_greedy(spans, min_covered_frac):
    """Stretches of a scan from the front and of one from the back, united."""
    share = Fraction(str(min_covered_frac))

    def passes(first, last):
        return sum(end - start for start, end in spans[first : last + 1]) >= share * (spans[last][1] - spans[first][0])

    stretches = []
    first = 0
    while first < len(spans):
        last = first
        while last + 1 < len(spans) and passes(first, last + 1):
            last += 1
        stretches.append((first, last))
        first = last + 1
    last = len(spans) - 1
    while last >= 0:
        first = last
        while first > 0 and passes(first - 1, last):
            first -= 1
        stretches.append((first, last))
        last = first - 1
    return _union(spans, stretches)


def clip_spans(text, spans):
    """Spans without the characters that they cut. A character: a byte outside 80-BF and the bytes 80-BF after it."""
    clipped = []
    for start, end in spans:
        inside = set(range(start, end))
        borders = {p for p in range(len(text)) if not 0x80 <= text[p] < 0xC0} | {0, len(text)}
        begin = min((p for p in borders if p >= start), default=end)
        stop = max((p for p in borders if p <= end), default=start)
        if begin < stop and {begin, stop - 1} <= inside:
            clipped.append((begin, stop))
    return clipped
