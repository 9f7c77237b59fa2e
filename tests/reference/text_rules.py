"""Slow twin of dedup/text_rules: each named rule as regular expressions over whole Python strings."""

import re
import string
import unicodedata

# the list of the tool in question: ASCII punctuation, controls but for tab and line feed, typographic signs
DATATROVE_MARKS = (
    string.punctuation
    + "".join(chr(code) for code in range(160) if code < 9 or 10 < code < 32 or code > 126)
    + "\u2014\u201d\uff1a\uff05\uff11\u3008\u3001\u2501\u3010\u300c\u300d\uff0c\u3011\uff1b\u201c\u300a\u201e\u2019\u2236\u00b4"
    + "\uff0e\uff08\u2013\uff1f\uff01\uff5e\u00ab\u3009\u300b\uff09\u3002\u2026\u25ba\u00bb"
)
ESCAPED = "\udc80-\udcff"  # bytes that are not UTF-8, as Python's surrogateescape shows them


def apply_rules(texts, rules):
    return [
        _rewrite(text.decode("utf-8", "surrogateescape"), rules).encode("utf-8", "surrogateescape") for text in texts
    ]


def _rewrite(text, rules):
    if rules == "duplodocus":
        text = text.lower().translate({ord(sign): None for sign in string.punctuation})
        return re.sub(r"\s+", " ", text).strip()
    if rules == "datatrove":
        text = text.lower().translate({ord(sign): " " for sign in DATATROVE_MARKS})
        text = re.sub(r"\s+", " ", text).strip()
        text = "".join(part for part in unicodedata.normalize("NFD", text) if unicodedata.category(part) != "Mn")
        return re.sub(r"\s+", " ", re.sub(r"\d+", "0", text)).strip()
    if rules == "text-dedup":
        return " ".join(re.split(rf"[^\w{ESCAPED}]", text.lower()))
    if rules == "bigcode":
        return " ".join(re.split(f"[^A-Za-z_0-9{ESCAPED}]", text))
    if rules == "whitespace":
        return re.sub(r"\s+", " ", text).strip()
    assert rules == "none"
    return text
