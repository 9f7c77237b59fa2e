"""Slow twin of mixers.prefix_search: each pool by itself, plain integers."""

from __future__ import annotations


def fill_pools(documents, budgets, chains):
    """documents: (pool, high, low, place, weight). Per pool the set of places taken and the weight of its edge, 0 without one."""
    taken, edges, carried = [], [], {}
    for pool, (budget, chain) in enumerate(zip(budgets, chains, strict=True)):
        mine = sorted(row[1:] for row in documents if row[0] == pool)
        places, total, edge = set(), 0, 0
        for _, _, place, weight in mine if budget else []:
            if total + weight < budget:
                places.add(place)
                total += weight
                continue
            edge = weight
            off = carried.get(chain, 0) + total - budget
            if abs(off + weight) < abs(off):
                places.add(place)
                off += weight
            carried[chain] = off
            break
        taken.append(places)
        edges.append(edge)
    return taken, edges
