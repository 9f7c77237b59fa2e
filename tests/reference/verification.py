"""Slow twins of dedup/verification: Python sets and fractions."""

from fractions import Fraction


def jaccard(a, b):
    return Fraction(len(a & b), len(a | b)) if a or b else Fraction(0)


def verify_representatives(sets, threshold):
    """(kept, similarity) per member of one component, best first."""
    kept, similarity = {}, {}
    remaining = list(range(len(sets)))
    while remaining:
        best = remaining[0]
        taken = [best] + [d for d in remaining[1:] if jaccard(sets[best], sets[d]) >= threshold]
        for d in taken:
            kept[d] = best
            similarity[d] = Fraction(1) if d == best else jaccard(sets[best], sets[d])
        remaining = [d for d in remaining if d not in taken]
    return [kept[d] for d in range(len(sets))], [similarity[d] for d in range(len(sets))]


def verify_pairs(sets, threshold):
    kept = list(range(len(sets)))
    changed = True
    while changed:
        changed = False
        for a in range(len(sets)):
            for b in range(len(sets)):
                if a != b and kept[a] < kept[b] and jaccard(sets[a], sets[b]) >= threshold:
                    kept[b] = kept[a]
                    changed = True
    similarity = [Fraction(1) if kept[d] == d else jaccard(sets[kept[d]], sets[d]) for d in range(len(sets))]
    return kept, similarity
