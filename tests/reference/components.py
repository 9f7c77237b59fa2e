"""Slow twins of dedup/components: flood fill."""


def connected_components(edges):
    """{address: smallest address of its component} for every address in an edge."""
    neighbours = {}
    for a, b in edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    root = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            vertex = waiting.pop()
            if vertex not in root:
                root[vertex] = start
                waiting.extend(neighbours[vertex])
    return root
