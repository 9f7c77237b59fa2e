"""Slow twin of dolma_py.packing: looks at every instance for every piece."""


def pack_best_fit(lengths, capacity):
    """(instance of each piece, number of instances)."""
    free, changed, instances = [], [], [None] * len(lengths)
    for time, piece in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fitting = [i for i in range(len(free)) if free[i] >= lengths[piece]]
        if fitting:
            chosen = min(fitting, key=lambda i: (free[i], -changed[i]))
        else:
            chosen = len(free)
            free.append(capacity)
            changed.append(0)
        free[chosen] -= lengths[piece]
        changed[chosen] = time
        instances[piece] = chosen
    return instances, len(free)


def rows_of_pieces(pieces, num_instances, capacity, pad):
    """[(ids, document numbers, is trained)] of pieces (instance, ids, is trained) in their order."""
    rows = [([], [], []) for _ in range(num_instances)]
    for instance, ids, trained in pieces:
        row = rows[instance]
        number = row[1][-1] + 1 if row[1] else 0
        row[0].extend(ids)
        row[1].extend([number] * len(ids))
        row[2].extend(trained)
    for ids, documents, trained in rows:
        missing = capacity - len(ids)
        documents.extend([documents[-1] + 1 if documents else 0] * missing)
        ids.extend([pad] * missing)
        trained.extend([False] * missing)
    return rows
