"""Slow twins of dolma_py/suffix_array: sort the suffixes, count equal bytes."""


def build_suffix_array(text):
    return sorted(range(len(text)), key=lambda i: text[i:])


def permuted_lcp(text, suffixes, step=1):
    plcp = [0] * len(text)
    for before, suffix in zip(suffixes, suffixes[1:], strict=False):
        while (
            max(before, suffix) + plcp[suffix] < len(text)
            and text[before + plcp[suffix]] == text[suffix + plcp[suffix]]
        ):
            plcp[suffix] += 1
    return plcp[::step]
