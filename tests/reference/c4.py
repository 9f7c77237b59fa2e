"""Slow twin: C4's cleaning in its three readings, with Python strings."""

import re

from tests.reference.bad_words import count_bad_words
from tests.reference.spacy_words import count_sentences

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
REASONS = ("kept", "long word", "no end", "short", "javascript", "policy", "lorem", "curly")


def judge_line(line, preset):
    """(reason, the line without citation marks)"""
    is_code = preset == "c4-code"
    words = line.split()
    if any(len(word) > 1000 for word in words):
        return "long word", line
    line = CITATION.sub("", line)
    ends = (".", "?", "!", '"') if is_code else (".", "?", "!", '"', "'")
    if preset != "c4-fineweb" and (not line.endswith(ends) or line.endswith("...")):
        return "no end", line
    if is_code:
        words = line.split()
    if len(words) < (5 if is_code else 3):
        return "short", line
    small = line.lower()
    if "lorem ipsum" in small:
        return "lorem", line
    if "javascript" in small:
        return "javascript", line
    if "{" in line:
        return "curly", line
    if any(policy in small for policy in POLICIES):
        return "policy", line
    return "kept", line


def clean_lines(text, preset, bad_words=()):
    """(counts in the order of the kernel's columns, the text that is left)"""
    counts = dict.fromkeys(REASONS, 0)
    kept, sentences, bad = [], 0, 0
    for line in text.splitlines():
        reason, line = judge_line(line.strip(), preset)
        counts[reason] += 1
        if reason == "kept":
            kept.append(line)
            sentences += count_sentences(line)
            bad += count_bad_words(line, bad_words, ascii_only=True) if preset == "c4-code" else 0
    row = [counts[reason] for reason in ("kept", "long word", "no end", "short", "javascript", "policy")]
    return [sum(counts.values()), *row, sentences, counts["lorem"], counts["curly"], bad], "\n".join(kept).strip()
