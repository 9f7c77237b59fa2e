"""Slow twin of mixers.prefix_search: each pool by itself, plain integers."""

from __future__ import annotations


def fill_pools(documents, budgets, chains):
    """documents: (pool, high, low, place, weight). Per pool the set of places taken and the weight of its edge, 0 without one."""
    taken, rests, carried = [], [], {}
    for pool, budget in enumerate(budgets):
        mine = sorted(row[1:] for row in documents if row[0] == pool)
        places, total, edge = set(), 0, None
        for _, _, place, weight in mine if budget else []:
            if total + weight >= budget:
                edge = (place, weight, total - budget)
                break
            places.add(place)
            total += weight
        taken.append(places)
        rests.append(edge)
    for pool in sorted((p for p, edge in enumerate(rests) if edge), key=lambda p: (-rests[p][1], p)):
        place, weight, off = rests[pool]
        off += carried.get(chains[pool], 0)
        if abs(off + weight) < abs(off):
            taken[pool].add(place)
            off += weight
        carried[chains[pool]] = off
    return taken, [edge[1] if edge else 0 for edge in rests]
