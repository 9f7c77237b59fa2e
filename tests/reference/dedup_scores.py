"""Slow twins of benchmarks/dedup_scores and benchmarks/near_duplicates: every pair of documents looked at, exact fractions."""

import re
from fractions import Fraction
from itertools import combinations


def score_clusters(predicted, true):
    """(right, predicted, true) numbers of pairs with equal labels."""
    right = together = truly = 0
    for a, b in combinations(range(len(true)), 2):
        right += predicted[a] == predicted[b] and true[a] == true[b]
        together += predicted[a] == predicted[b]
        truly += true[a] == true[b]
    return right, together, truly


def adjusted_rand_index(predicted, true):
    """From the four kinds of pairs: 2 (ad - bc) / ((a + b)(b + d) + (a + c)(c + d)); None for 0 / 0."""
    a = b = c = d = 0
    for i, j in combinations(range(len(true)), 2):
        in_predicted, in_true = predicted[i] == predicted[j], true[i] == true[j]
        a += in_predicted and in_true
        b += in_predicted and not in_true
        c += in_true and not in_predicted
        d += not in_predicted and not in_true
    divisor = (a + b) * (b + d) + (a + c) * (c + d)
    return Fraction(2 * (a * d - b * c), divisor) if divisor else None


def word_set(text, num_words):
    """The set of n-grams of \\w+ tokens of the lower-cased text; one of all tokens when there are fewer than n."""
    tokens = re.findall(r"\w+", text.lower())
    if not tokens:
        return set()
    width = min(num_words, len(tokens))
    return {tuple(tokens[k : k + width]) for k in range(len(tokens) - width + 1)}


def jaccard_pairs(texts, num_words, threshold):
    """{(a, b): similarity} of all pairs a < b that reach the threshold."""
    sets = [word_set(text, num_words) for text in texts]
    found = {}
    for a, b in combinations(range(len(texts)), 2):
        union = len(sets[a] | sets[b])
        if union and Fraction(len(sets[a] & sets[b]), union) >= threshold:
            found[a, b] = Fraction(len(sets[a] & sets[b]), union)
    return found
