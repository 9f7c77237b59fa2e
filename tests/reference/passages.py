"""Slow twin of dedup/passages: what each hash of an anchor inside a span says of the spans, a dictionary at a time."""

from tests.reference.anchors import anchors


def count(texts, spans, min_length_bytes, gram_bytes):
    """hash -> [times, documents, bytes, first places as (document, start)]; spans[i] are those of texts[i]."""
    found = {}
    for document, (text, own) in enumerate(zip(texts, spans, strict=True)):
        for start, end in own:
            inside = anchors(text[start:end], gram_bytes, min_length_bytes - gram_bytes + 1)
            for number, (value, at) in enumerate(inside):
                begin = inside[number][1] if number else 0
                stop = inside[number + 1][1] if number + 1 < len(inside) else end - start
                entry = found.setdefault(value, {"spans": set(), "documents": {}, "bytes": 0})
                entry["spans"].add((document, start))
                entry["documents"].setdefault(document, start + at)
                entry["bytes"] += stop - begin
    return {
        value: [len(e["spans"]), len(e["documents"]), e["bytes"], sorted(e["documents"].items())[:3]]
        for value, e in found.items()
    }
