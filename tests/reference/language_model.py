"""Interpolated modified Kneser-Ney by its definition, over dictionaries of word tuples. Imports nothing of ours.

Chen and Goodman 1998, section 5; the treatment of sentence starts and of what is pruned is that of Heafield et al. 2013.
"""

import math
from collections import Counter, defaultdict

FALLBACK = (0.5, 1.0, 1.5)


def count_ngrams(sentences, order):
    """Per order, how often each n-gram stands, sentence marks around each sentence; the sentence start alone is none."""
    found = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = ["<s>", *sentence, "</s>"]
        for end in range(1, len(words)):
            for n in range(1, min(order, end + 1) + 1):
                found[n - 1][tuple(words[end - n + 1 : end + 1])] += 1
    return found


def find_discounts(adjusted):
    """Equation 26; the fallback where it cannot be used."""
    num = Counter(adjusted.values())
    if all(num[k] for k in (1, 2, 3)):
        share = num[1] / (num[1] + 2 * num[2])
        found = tuple(k - (k + 1) * share * num[k + 1] / num[k] for k in (1, 2, 3))
        if all(0 < amount <= k for k, amount in zip((1, 2, 3), found, strict=True)):
            return found
    return FALLBACK


def estimate_model(sentences, order, thresholds):
    """n-gram -> (log10 probability, log10 backoff); thresholds: per order, the largest count that is left out."""
    counts = count_ngrams(sentences, order)
    vocabulary = {gram[0] for gram in counts[0]} | {"</s>", "<unk>"}
    probs = {(): 1 / len(vocabulary)}
    weights = {}
    for n in range(1, order + 1):
        adjusted = dict(counts[n - 1])
        if n < order:
            befores = Counter(gram[1:] for gram in counts[n])
            adjusted = {gram: count if gram[0] == "<s>" else befores[gram] for gram, count in adjusted.items()}
        discounts = (0, *find_discounts(adjusted))
        followers = defaultdict(list)
        for gram in adjusted:
            followers[gram[:-1]].append(gram)
        for context, grams in followers.items():
            total = sum(adjusted[gram] for gram in grams)
            kept = [gram for gram in grams if n == 1 or counts[n - 1][gram] > thresholds[n - 1]]
            left = sum(adjusted[gram] for gram in grams if gram not in kept)
            weights[context] = (left + sum(discounts[min(adjusted[gram], 3)] for gram in kept)) / total
            for gram in kept:
                plain = (adjusted[gram] - discounts[min(adjusted[gram], 3)]) / total
                probs[gram] = plain + weights[context] * probs[gram[1:]]
        if n == 1:
            probs["<unk>",] = weights[()] * probs[()]
    probs["<s>",] = 1.0
    del probs[()]
    return {gram: (math.log10(prob), math.log10(weights.get(gram, 1.0))) for gram, prob in probs.items()}


def score_word(model, context, word):
    """log10 probability of a word after a context, by the recursion of backing off."""
    if (*context, word) in model:
        return model[*context, word][0]
    if not context:
        return -100.0
    return model.get(context, (0.0, 0.0))[1] + score_word(model, context[1:], word)


def score_units(model, order, units):
    """(log10 probability, unknown words) of each unit."""
    found = []
    for unit in units:
        known = [word if (word,) in model else "<unk>" for word in unit]
        words = ["<s>", *known, "</s>"]
        total = sum(
            score_word(model, tuple(words[max(0, end - order + 1) : end]), words[end]) for end in range(1, len(words))
        )
        found.append((total, known.count("<unk>")))
    return found
