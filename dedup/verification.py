"""Are candidates really near-duplicates? Exact Jaccard on shingle sets, component by component.

Why it is needed: bands let unlike documents meet, and components chain A-B-C although A and C have nothing in common; whole
sources have been lost that way. Under the rule `representative` every removed document is at least `threshold` similar to the
document that stays in its place.

Legend: D documents in keep order within their component, C components, H shingle hashes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dedup.shingles import Shingles
from dedup.verification_join import join_component, olmo3_keys, prefix_keys
from dedup.verification_kernels import jaccard_pairs_kernel, verify_pairs_kernel, verify_representatives_kernel
from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.hashing import check_offsets


class VerificationConfig(Config):
    """How candidates are checked."""

    rule: Literal["representative", "pairs"] = Field(
        "representative",
        description="representative: the best remaining member takes every member similar enough to it, repeat; pairs: union of all "
        "pairs that are similar enough (Olmo 3 A.2.2)",
    )
    threshold: float = Field(
        0.80, gt=0.0, le=1.0, description="Jaccard similarity that makes a duplicate; 0.80: Olmo 3 A.2.2"
    )
    shingle_words: int = Field(
        3, ge=1, le=64, description="words per shingle of the compared sets; 3: Olmo 3 A.2.2 (there: tokens)"
    )
    large_component: int = Field(
        500, ge=2, description="members from which a component is compared through an index; 500: Olmo 3 A.2.2"
    )
    large_index: Literal["prefix", "olmo3"] = Field(
        "prefix",
        description="prefix: every pair that can reach the threshold is compared, nothing is missed; olmo3: pairs that share one of 200 "
        "MinHash bands of 31 rows (A.2.2), which misses 4 of 5 pairs at 0.80 and 1 of 4 at 0.85",
    )


class Verified(NamedTuple):
    """The decision for each of D documents."""

    kept: npt.NDArray[
        np.int64
    ]  # int64 (D,)  number of the document that stays in this one's place; itself when it stays
    similarity: npt.NDArray[np.float32]  # float32 (D,)  exact Jaccard with that document; 1 for itself


def verify_components(
    sets: Shingles, component_offsets: npt.NDArray[np.int64], *, config: VerificationConfig
) -> Verified:
    """Split candidate components into real clusters and name who stays.

    Parameters
    ----------
    sets : Shingles                     sets of D documents, from shingles.shingle_sets with config.shingle_words; documents of
                                        one component stand together, in keep order (best first)
    component_offsets : int64 (C + 1,)  component c is documents component_offsets[c]:component_offsets[c + 1]; covers 0..D

    Returns
    -------
    verified : Verified                 documents without shingles are never duplicates

    Raises
    ------
    SchemaError                         offsets that fall or do not cover all documents, sets not ascending

    Guarantees                          a function of each component alone: any batch of components, any machine
    Cost                                components below config.large_component: O(members^2) set comparisons; larger ones
                                        through an index, about one comparison per member where members are near copies
    Source                              Olmo 3 A.2.2 (pairs, 0.80 on 3-grams); representative is our default
    """
    num_docs = len(sets.offsets) - 1
    check_offsets(len(sets.hashes), sets.offsets)
    check_offsets(num_docs, component_offsets, "component_offsets")
    if int(component_offsets[0]) != 0 or int(component_offsets[-1]) != num_docs:
        raise SchemaError("component_offsets", f"0..{num_docs}", f"{component_offsets[0]}..{component_offsets[-1]}")
    _check_ascending(sets)
    kept, similarity = np.empty(num_docs, np.int64), np.empty(num_docs, np.float32)
    kernel = verify_representatives_kernel if config.rule == "representative" else verify_pairs_kernel
    done = 0
    for large in [*np.flatnonzero(np.diff(component_offsets) >= config.large_component), len(component_offsets) - 1]:
        small = component_offsets[done : large + 1]
        kernel(sets.hashes, sets.offsets, small, config.threshold, kept, similarity)
        if large < len(component_offsets) - 1:
            first, last = component_offsets[large], component_offsets[large + 1]
            members = Shingles(sets.hashes, sets.offsets[first : last + 1])
            own = slice(first, last)
            kept[own], similarity[own] = _verify_large(members, config)
            kept[own] += first
        done = large + 1
    return Verified(kept, similarity)


def _verify_large(sets: Shingles, config: VerificationConfig) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    start, end = int(sets.offsets[0]), int(sets.offsets[-1])
    sets = Shingles(sets.hashes[start:end], sets.offsets - start)
    index = prefix_keys(sets, threshold=config.threshold) if config.large_index == "prefix" else olmo3_keys(sets)
    return join_component(sets, index, rule=config.rule, threshold=config.threshold)


def count_rules(
    sets: Shingles, component_offsets: npt.NDArray[np.int64], verified: Verified, *, config: VerificationConfig
) -> dict[str, int]:
    """How many documents each rule removes from the same components, whatever rule decided.

    Both are exact for components below config.large_component. In larger ones `representative` is exact as well, unless
    config.large_index is olmo3, under which both compare what that index proposes. `pairs` is not run beside `representative` there,
    because members that share rare words and yet differ cost it a comparison per pair: their number is `pairs_not_counted`.
    """
    sizes = np.diff(component_offsets)
    is_small = np.repeat(sizes < config.large_component, sizes)
    removed = verified.kept != np.arange(len(verified.kept))
    if config.rule == "pairs":
        other = verify_components(sets, component_offsets, config=config.model_copy(update={"rule": "representative"}))
        representative = int((other.kept != np.arange(len(other.kept))).sum())
        return {"representative": representative, "pairs": int(removed.sum()), "pairs_not_counted": 0}
    kept, similarity = np.arange(len(verified.kept)), np.empty(len(verified.kept), np.float32)
    starts, ends = component_offsets[:-1], component_offsets[1:]
    for c in np.flatnonzero((sizes > 1) & (sizes < config.large_component)):
        bounds = np.array([starts[c], ends[c]])
        verify_pairs_kernel(sets.hashes, sets.offsets, bounds, config.threshold, kept, similarity)
    pairs = int((kept != np.arange(len(kept)))[is_small].sum())
    return {
        "representative": int(removed.sum()), "pairs": pairs, "pairs_not_counted": int((~is_small).sum()),
    }  # fmt: skip


def jaccard_pairs(
    sets: Shingles, *, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Exact Jaccard similarity of the documents first[e] and second[e], float32 (E,); 0 when either set is empty.

    Raises
    ------
    SchemaError     a number outside 0..D - 1, lengths that differ, sets not ascending
    """
    num_docs = len(sets.offsets) - 1
    check_offsets(len(sets.hashes), sets.offsets)
    _check_ascending(sets)
    if len(first) != len(second):
        raise SchemaError("second", f"{len(first)} values, one per first", len(second))
    numbers = np.concatenate([first, second])
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= num_docs):
        raise SchemaError(
            "first, second", f"document numbers in 0..{num_docs - 1}", f"{numbers.min()}..{numbers.max()}"
        )
    similarity = np.empty(len(first), np.float32)
    jaccard_pairs_kernel(sets.hashes, sets.offsets, first, second, similarity)
    return similarity


def _check_ascending(sets: Shingles) -> None:
    if sets.hashes.dtype != np.uint64:
        raise SchemaError("sets", "uint64", sets.hashes.dtype)
    if len(sets.hashes) < 2:
        return
    is_fall = sets.hashes[1:] <= sets.hashes[:-1]
    borders = sets.offsets[1:-1]
    borders = borders[(borders > 0) & (borders < len(sets.hashes))]
    is_fall[borders - 1] = False
    # hashes outside the offsets belong to nobody
    is_fall[: max(int(sets.offsets[0]), 0)] = False
    is_fall[max(int(sets.offsets[-1]) - 1, 0) :] = False
    if is_fall.any():
        raise SchemaError(
            "sets", "ascending hashes without repeats per document", f"a fall after {int(is_fall.argmax())}"
        )
