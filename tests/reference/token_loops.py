"""Slow twin of dolma_py.token_loops: every n-gram at every place, counted copy by copy."""


def find_looping(rows, min_period, max_period, min_repeats):
    """[whether a row, a list of tokens, has an n-gram that stands min_repeats times in a row]."""
    return [_most_copies(row, min_period, max_period) >= min_repeats for row in rows]


def _most_copies(row, min_period, max_period):
    most = 1 if row else 0
    for period in range(min_period, max_period + 1):
        for start in range(len(row) - period + 1):
            ngram, copies = row[start : start + period], 1
            while row[start + copies * period : start + (copies + 1) * period] == ngram:
                copies += 1
            most = max(most, copies)
    return most
