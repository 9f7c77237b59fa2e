"""Slow twins of the loop kernels: every period, every place."""


def find_loops(items, max_period):
    """(most copies in a row, shortest period that has them) of a list of items."""
    if not items:
        return 0, 0
    best, best_period = 1, 1
    for period in range(1, max_period + 1):
        run = 0
        for at in range(period, len(items)):
            run = run + 1 if items[at] == items[at - period] else 0
            if run // period + 1 > best:
                best, best_period = run // period + 1, period
    return best, best_period


def find_word_loops(text, max_period):
    return find_loops(text.split(), max_period)
