"""Slow twins of dedup/exact and dedup/keepers."""


def choose_kept(keys, addresses, places=None):
    """(is_duplicate, cluster_id, cluster_size, kept_address) per document; keys may be the texts themselves."""
    places = addresses if places is None else places
    clusters = {}
    for key, address, place in zip(keys, addresses, places, strict=True):
        clusters.setdefault(key, []).append((place, address))
    rows = []
    for key, address in zip(keys, addresses, strict=True):
        members = clusters[key]
        kept = min(members)[1]
        rows.append((address != kept, min(a for _, a in members), len(members), kept))
    return rows


def keep_order(rows, sources, attributes):
    """Place of each row (a dict with address); attributes = [(name, descending)]; None and NaN last."""

    def key(row):
        parts = [sources.index(row["source"]) if row["source"] in sources else len(sources)]
        for name, descending in attributes:
            value = row[name]
            is_missing = value is None or value != value
            parts += [is_missing, 0 if is_missing else (-value if descending else value)]
        return (*parts, row["address"])

    order = sorted(range(len(rows)), key=lambda i: key(rows[i]))
    return [order.index(i) for i in range(len(rows))]
