"""How good is near-duplicate detection? Recall, precision and adjusted Rand index against truths, datasketch beside it.

    DOLMA_PY_DATA=<folder> python -m benchmarks.dedup_quality              all tables
    DOLMA_PY_DATA=<folder> python -m benchmarks.dedup_quality curve labels some of: curve threshold clusters labels estimate

CURVE_SEEDS=64 before it gives the curve that many seeds in place of 24.
Truths (folder neardup/ of the sample data): every pair of Jaccard similarity >= 0.5 among 4,056 pages of documentation and 1,375
German laws, found by exhaustive comparison; labelled sets of plagiarised answers, programs and news. Without DOLMA_PY_DATA: made
texts. What recall and precision are of is said above each table; they differ a lot between pairs and clusters.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import datasketch
import numpy as np

from benchmarks.dedup_scores import (
    Int64s,
    PairScores,
    adjusted_rand_index,
    pair_codes,
    score_bins,
    score_clusters,
    score_pairs,
)
from benchmarks.near_duplicate_sets import (
    SETS,
    LabelledPairs,
    LabelledSet,
    made_labelled_pairs,
    read_labelled_pairs,
    read_labelled_sets,
)
from benchmarks.near_duplicates import (
    band_sets,
    candidate_pairs,
    equal_pairs,
    exact_similarity,
    find_duplicates,
    find_in_texts,
    text_sets,
)
from dedup import minhash
from dedup.candidates import Edges
from dedup.components import connected_components
from dedup.minhash import MinHashConfig, candidate_probability
from dedup.shingles import ShingleConfig, Shingles
from dedup.verification import VerificationConfig

THRESHOLD = 0.8
CURVE_EDGES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
CURVE_SEEDS = int(os.environ.get("CURVE_SEEDS", "24"))
DEFAULT = (32, 8)
# (b, r): Olmo 3's web, FineWeb's and Olmo 3's PDFs', datasketch's optimum at 0.8 and 128, BigCode's, and three with more recall at 0.8
SETTINGS = [(26, 11), (14, 8), (9, 13), (25, 10), (32, 8), (40, 7), (20, 5)]


def bands_config(num_bands: int, num_rows: int, seed: int = 1) -> MinHashConfig:
    return MinHashConfig(num_bands=num_bands, num_rows=num_rows, seed=seed)


def curve_table(labelled: LabelledPairs, num_bands: int, num_rows: int, num_seeds: int = CURVE_SEEDS) -> list[str]:
    """Recall of candidate pairs per decile of Jaccard beside the S-curve; the mean over seeds of the permutations."""
    probability = candidate_probability(labelled.similarity, num_bands=num_bands, num_rows=num_rows)
    found = np.zeros((num_seeds, len(CURVE_EDGES) - 1))
    for seed in range(num_seeds):
        pairs = candidate_pairs(band_sets(labelled.sets, bands_config(num_bands, num_rows, seed + 1)))
        bins = score_bins(labelled.similarity, np.isin(labelled.codes, pairs), probability, edges=CURVE_EDGES)
        found[seed] = bins.found
    mean, spread = found.mean(0), found.std(0, ddof=1) / np.sqrt(num_seeds)
    return [
        f"{labelled.name:16s} {num_bands:3d} x {num_rows:<3d} {CURVE_EDGES[k]:.1f}-{CURVE_EDGES[k + 1]:.1f} {bins.num_pairs[k]:6d} "
        f"{bins.predicted[k]:10.3f} {found[0, k]:7.3f} {100 * bins.error[k]:4.1f} {mean[k]:9.3f} {100 * spread[k]:4.1f} "
        f"{100 * (mean[k] - bins.predicted[k]):+8.1f}"
        for k in range(len(CURVE_EDGES) - 1)
    ]


def print_curve(labelled: list[LabelledPairs]) -> None:
    print("\n## Candidate pairs (two documents with an equal band) beside the S-curve 1 - (1 - s^r)^b")
    print(
        f"share of the true pairs of the bin that share a band: with seed 1 and its binomial error in points, the mean of {CURVE_SEEDS} seeds\n"
        "and its standard error in points as the seeds scatter, and how many points the mean differs from the prediction"
    )
    print("set              b x r     Jaccard   pairs  predicted  seed 1  +-  all seeds  +-   differs")
    for one in labelled:
        for shape in [DEFAULT, (26, 11), (14, 8)]:
            print("\n".join(curve_table(one, *shape)))


class ThresholdScores(NamedTuple):
    """One method at one threshold."""

    candidates: PairScores  # pairs that share a band, as they come
    verified: PairScores  # those of them whose exact similarity reaches the threshold
    components: PairScores  # all pairs inside candidate components that reach it: what rule `pairs` compares
    left: int  # true pairs of which both documents stay under rule `representative`
    removed: int  # documents removed
    wrong: int  # of these, documents that do not reach the threshold with the one that stays in their place
    sec: float  # CPU time of shingles to candidates, per run


def score_threshold(
    labelled: LabelledPairs, bands: Callable[[], minhash.BandKeys], threshold: float = THRESHOLD
) -> ThresholdScores:
    """Candidates, verified pairs and removals at a threshold; the sets compared are those of the truth."""
    begin = time.process_time()
    keys = bands()
    sec = time.process_time() - begin
    rule = VerificationConfig(rule="representative", threshold=threshold)
    found = find_duplicates(keys, labelled.sets, verification=rule)
    true = labelled.codes[labelled.similarity >= threshold]
    removed = np.flatnonzero(found.kept != np.arange(len(found.kept)))
    with_kept = exact_similarity(labelled.sets, pair_codes(removed, found.kept[removed]))
    is_kept = found.kept == np.arange(len(found.kept))
    left = int((is_kept[true >> 32] & is_kept[true & 0xFFFFFFFF]).sum())
    return ThresholdScores(
        score_pairs(found.candidates, true),
        score_pairs(keep_similar(labelled, found.candidates, threshold), true),
        score_pairs(keep_similar(labelled, equal_pairs(found.components, np.arange(len(found.kept))), threshold), true),
        left, len(removed), int((with_kept < np.float32(threshold)).sum()), sec,
    )  # fmt: skip


def keep_similar(labelled: LabelledPairs, codes: Int64s, threshold: float) -> Int64s:
    """The pairs whose exact similarity reaches the threshold."""
    return codes[exact_similarity(labelled.sets, codes) >= np.float32(threshold)]


def datasketch_pairs(sets: Shingles, *, threshold: float, num_perm: int) -> Int64s:
    """pair_codes of what MinHashLSH finds, each document asked for the others; the same hashed n-grams go in."""
    lsh = datasketch.MinHashLSH(threshold=threshold, num_perm=num_perm)
    sketches = []
    for start, end in zip(sets.offsets, sets.offsets[1:], strict=False):
        sketch = datasketch.MinHash(num_perm=num_perm, hashfunc=lambda value: int(value) & 0xFFFFFFFF)
        sketch.update_batch(sets.hashes[start:end].tolist())
        sketches.append(sketch)
    codes = []
    for number, sketch in enumerate(sketches):
        if sets.offsets[number + 1] > sets.offsets[number]:
            codes += [(number, other) for other in lsh.query(sketch)]
            lsh.insert(number, sketch)
    pairs = np.array(codes, np.int64).reshape(-1, 2)
    return pair_codes(pairs[:, 0], pairs[:, 1])


def print_threshold(labelled: list[LabelledPairs]) -> None:
    print(f"\n## All true pairs of Jaccard >= {THRESHOLD}")
    print(
        "candidates: pairs that share a band, unverified. verified: those with exact Jaccard >= 0.8. components: all pairs inside one"
        " candidate component with exact Jaccard >= 0.8.\nleft: true pairs of which both documents stay (rule representative); removed:"
        " documents; wrong: of these, below 0.8 with the kept one. MB/s: n-gram hashes to band keys, one core."
    )
    print(
        "set              method             pairs | candidates: all      P       R | verified: P       R | components: P       R |"
        " left  removed  wrong  MB/s"
    )
    for one in labelled:
        num_bytes = sum(len(text.encode()) for text in one.texts)
        true = one.codes[one.similarity >= THRESHOLD]
        for shape in SETTINGS:
            scores = score_threshold(one, lambda one=one, shape=shape: band_sets(one.sets, bands_config(*shape)))
            print(
                f"{one.name:16s} {shape[0]:3d} x {shape[1]:<12d}{len(true):6d} | {format_pairs(scores.candidates)} | "
                f"    {scores.verified.precision:7.3f} {scores.verified.recall:7.4f} |       {scores.components.precision:7.3f} "
                f"{scores.components.recall:7.4f} | {scores.left:4d}  {scores.removed:7d}  {scores.wrong:5d}  {num_bytes / scores.sec / 1e6:4.0f}"
            )
        begin = time.process_time()
        peer = score_pairs(datasketch_pairs(one.sets, threshold=THRESHOLD, num_perm=128), true)
        rate = num_bytes / (time.process_time() - begin) / 1e6
        print(f"{one.name:16s} datasketch .8/128 {len(true):6d} | {format_pairs(peer)} | {'':54s}{rate:28.0f}")


def format_pairs(scores: PairScores) -> str:
    return f"{scores.num_predicted:15d} {scores.precision:6.3f} {scores.recall:7.4f}"


def exhaustive_kept(labelled: LabelledPairs, rule: VerificationConfig) -> Int64s:
    """The rule's decision when no candidate is missed: the components of all true pairs are what it gets."""
    true = labelled.codes[labelled.similarity >= rule.threshold]
    components = connected_components(Edges(true >> 32, true & 0xFFFFFFFF))
    labels = np.arange(len(labelled.texts))
    labels[components.address] = components.root
    together = minhash.BandKeys(labels.astype(np.uint64)[:, None], np.ones(len(labels), bool))
    return find_duplicates(together, labelled.sets, verification=rule).kept


def cluster_rows(one: LabelledPairs) -> list[tuple[str, Int64s, VerificationConfig]]:
    """(name, label per document, rule of the truth) of the ways to cluster."""
    bands = band_sets(one.sets, bands_config(*DEFAULT))
    pairs = VerificationConfig(rule="pairs", threshold=THRESHOLD)
    best = VerificationConfig(rule="representative", threshold=THRESHOLD)
    rows = [
        ("candidate components, not verified", find_duplicates(bands, one.sets, verification=pairs).components, pairs)
    ]
    rows += [
        (f"rule {rule.rule}", find_duplicates(bands, one.sets, verification=rule).kept, rule) for rule in (pairs, best)
    ]
    for words in (5, 3):
        sets = text_sets(one.texts, ShingleConfig(num_items=words))
        found = find_in_texts(one.texts, bands_config(*DEFAULT), best, sets)
        rows.append((f"from text, representative, {words}-grams", found.kept, best))
    return rows


def print_clusters(labelled: list[LabelledPairs]) -> None:
    print(f"\n## Clusters at {THRESHOLD}, {DEFAULT[0]} x {DEFAULT[1]}")
    print(
        "pairs of documents with one label, against the labels that exhaustive comparison gives under the same rule (not verified: against"
        " rule pairs)\nfrom text: words as the job finds them; 3: its default 3-grams, which call other pairs similar than the truth's 5-grams"
    )
    print(
        "set              method                                precision  recall     F1    ARI  clusters  duplicates"
    )
    for one in labelled:
        for name, labels, rule in cluster_rows(one):
            true = exhaustive_kept(one, rule)
            scores = score_clusters(labels, true)
            sizes = np.bincount(np.unique(labels, return_inverse=True)[1])
            print(
                f"{one.name:16s} {name:38s} {scores.precision:8.3f} {scores.recall:7.3f} {scores.f1:6.3f} {adjusted_rand_index(labels, true):6.3f} "
                f"{int((sizes > 1).sum()):9d} {int((sizes - 1).sum()):11d}"
            )


def recall_bands(threshold: float, num_permutations: int = 256, recall: float = 0.99) -> tuple[int, int]:
    """(b, r) with the most rows, hence the fewest chance meetings, that still let a pair at the threshold meet with chance `recall`."""
    shapes = [(num_permutations // rows, rows) for rows in range(1, num_permutations + 1)]
    good = [
        shape for shape in shapes if candidate_probability(threshold, num_bands=shape[0], num_rows=shape[1]) >= recall
    ]
    return good[-1]


# the thresholds 0.21, 0.08 and 0.05 were read off these very sets: what shingles can separate, not what to expect elsewhere
LABEL_SETTINGS = [
    ("words", 5, 0.8), ("words", 5, 0.5), ("words", 3, 0.3), ("words", 2, 0.2), ("words", 2, 0.08), ("words", 2, 0.05),
    ("words", 1, 0.4), ("words", 1, 0.21), ("characters", 10, 0.3), ("characters", 5, 0.4), ("characters", 5, 0.2),
]  # fmt: skip


def print_labels(sets: list[LabelledSet]) -> None:
    print("\n## Sets labelled by people")
    print(
        "pairs: of those that were judged, named when both stand in one candidate component and reach the Jaccard similarity. ARI: of the\n"
        "clusters of rule pairs. Bands: the most rows of 256 permutations that meet 0.99 of pairs at the threshold. datasketch: MinHashLSH at\n"
        "the same threshold, 256 permutations and the same shingles; its candidates as pairs, their components as clusters"
    )
    print(
        "set              shingles       Jaccard  b x r     precision  recall     F1    ARI | datasketch: precision  recall     F1    ARI"
    )
    for one in sets:
        for unit, size, threshold in LABEL_SETTINGS:
            print(label_line(one, ShingleConfig(unit=unit, num_items=size), threshold))


def label_line(one: LabelledSet, shingles: ShingleConfig, threshold: float) -> str:
    """Ours and datasketch's scores at one setting."""
    shape = recall_bands(threshold)
    sets = text_sets(one.texts, shingles)
    config = MinHashConfig(shingles=shingles, num_bands=shape[0], num_rows=shape[1])
    found = find_in_texts(one.texts, config, VerificationConfig(rule="pairs", threshold=threshold), sets)
    inside = equal_pairs(found.components, np.arange(len(one.texts)))
    ours = inside[exact_similarity(sets, inside) >= np.float32(threshold)]
    theirs = datasketch_pairs(sets, threshold=threshold, num_perm=256)
    groups = connected_components(Edges(theirs >> 32, theirs & 0xFFFFFFFF))
    labels = np.arange(len(one.texts))
    labels[groups.address] = groups.root
    parts = []
    for pairs, clusters in ((ours, found.kept), (theirs, labels)):
        scores = score_pairs(np.intersect1d(pairs, one.pairs), one.true)
        parts.append(
            f"{scores.precision:9.3f} {scores.recall:7.3f} {scores.f1:6.3f} {adjusted_rand_index(clusters, one.labels):6.3f}"
        )
    name = f"{shingles.num_items} {shingles.unit}"
    return f"{one.name:16s} {name:13s} {threshold:8.2f}  {shape[0]:3d} x {shape[1]:<3d} {parts[0]} | {'':11s}{parts[1]}"


def print_estimate(labelled: list[LabelledPairs], num_pairs: int = 12_000, num_seeds: int = 240) -> None:
    print("\n## Share of equal signature values minus exact Jaccard, 286 permutations, word 5-grams")
    print(
        f"{num_seeds} seeds; pairs below 0.5 were met under other permutations, so that meeting says nothing about these"
    )
    job = [one._replace(sets=text_sets(one.texts, ShingleConfig(num_items=5))) for one in labelled]
    for title, chosen in [("as the truth has them, xxh64", labelled), ("as the job has them, rolling hash", job)]:
        print(f"words {title}\nJaccard     pairs   mean error   +- of seeds   spread   sqrt(s (1 - s) / P)")
        similarity, estimates = estimate_pairs(chosen, num_pairs, num_seeds)
        for low, high in [(0.0, 1.01), (0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)]:
            inside = (similarity >= low) & (similarity < high)
            errors = estimates[:, inside] - similarity[inside]
            means, true = errors.mean(1), similarity[inside]
            print(
                f"{low:.2f}-{min(high, 1.0):.2f} {int(inside.sum()):7d} {means.mean():+12.5f} {means.std(ddof=1) / np.sqrt(num_seeds):12.5f} "
                f"{errors.std():9.4f} {np.sqrt((true * (1 - true)).mean() / 286):12.4f}"
            )


def estimate_pairs(labelled: list[LabelledPairs], num_pairs: int, num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """(similarity (E,), estimates (seeds, E)) of the true pairs and of about as many below 0.5; similarity is that of the sets."""
    similarity, estimates = [], []
    for one in labelled:
        other = candidate_pairs(band_sets(one.sets, bands_config(20, 2, 991)))
        other = np.setdiff1d(other, one.codes)
        share = num_pairs * len(one.texts) // sum(len(each.texts) for each in labelled)
        room = min(max(share - len(one.codes), 0), len(other))
        codes = np.concatenate([one.codes, np.random.default_rng(1).choice(other, room, replace=False)])
        similarity.append(exact_similarity(one.sets, codes).astype(np.float64))
        rows = []
        for seed in range(1, num_seeds + 1):
            multiplier, increment = minhash.draw_permutations(286, seed=seed)
            signatures = minhash.signatures(one.sets, multiplier=multiplier, increment=increment)
            rows.append((signatures[codes >> 32] == signatures[codes & 0xFFFFFFFF]).mean(1))
        estimates.append(np.array(rows))
    return np.concatenate(similarity), np.concatenate(estimates, axis=1)


def main() -> None:
    folder = os.environ.get("DOLMA_PY_DATA")
    wanted = sys.argv[1:] or ["curve", "threshold", "clusters", "labels", "estimate"]
    labelled = [read_labelled_pairs(Path(folder), name) for name in SETS] if folder else [made_labelled_pairs()]
    tables = {
        "curve": print_curve,
        "threshold": print_threshold,
        "clusters": print_clusters,
        "estimate": print_estimate,
    }
    for name in wanted:
        if name in tables:
            tables[name](labelled)
        elif name == "labels" and folder:
            print_labels(read_labelled_sets(Path(folder)))


if __name__ == "__main__":
    main()
