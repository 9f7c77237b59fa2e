"""Slow twin: repeated segments and word n-grams in DCLM's reading."""

from collections import Counter


def count_repeated(segments):
    """(copies of segments that stand at least twice, their chars, chars of all segments)."""
    counts = Counter(segments)
    repeated = [segment for segment in segments if counts[segment] > 1]
    return len(repeated), sum(map(len, repeated)), sum(map(len, segments))


def count_top_chars(words, length):
    """Chars of the most frequent n-gram that stands at least twice, times its count; of equals the one with most chars."""
    counts = Counter(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    sizes = [(count, sum(map(len, ngram))) for ngram, count in counts.items() if count > 1]
    count, chars = max(sizes, default=(0, 0))
    return count * chars


def count_covered_chars(words, length):
    """Chars of the words that lie in an n-gram that stands at least twice."""
    ngrams = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    counts = Counter(ngrams)
    covered = {i + k for i, ngram in enumerate(ngrams) if counts[ngram] > 1 for k in range(length)}
    return sum(len(words[i]) for i in covered)


def count_repetition(words, lines, paragraphs):
    """The counts behind the repetition rules, in the order of the fast one's columns."""
    dup_lines, dup_line_chars, line_chars = count_repeated(lines)
    dup_paragraphs, dup_paragraph_chars, paragraph_chars = count_repeated(paragraphs)
    tops = [count_top_chars(words, length) for length in (2, 3, 4)]
    covered = [count_covered_chars(words, length) for length in range(5, 11)]
    return (
        len(words),
        sum(map(len, words)),
        dup_lines,
        dup_line_chars,
        line_chars,
        len(paragraphs),
        dup_paragraphs,
        dup_paragraph_chars,
        paragraph_chars,
        *tops,
        *covered,
    )
