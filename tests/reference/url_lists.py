"""Slow twins of the URL lists: Python strings, one URL at a time."""

import re

WORD = re.compile(rb"[A-Za-z0-9]")


def url_parts(url):
    """(host, URL) in lower case, without scheme, user, "www.", the URL's last slashes, the host's port and last dots."""
    rest = re.sub(rb"\A(?:[A-Za-z0-9+.-]*://|//)", b"", url)
    authority = re.match(rb"[^/?#\\]*", rest).group()
    rest = rest[authority.rfind(b"@") + 1 :]
    authority = authority[authority.rfind(b"@") + 1 :]
    tail = rest[len(authority) :].rstrip(b"/")
    host = re.sub(rb":[0-9]*\Z", b"", authority).rstrip(b".")
    skip = 4 if host[:4].lower() == b"www." and len(host) > 4 else 0
    return lower(host[skip:]), lower(((authority if tail else host) + tail)[skip:])


def lower(data):
    return re.sub(rb"[A-Z]", lambda match: match.group().lower(), data)


def find_hosts(url, keys, with_parents):
    host = url_parts(url)[0]
    labels = host.split(b".")
    names = [b".".join(labels[i:]) for i in range(len(labels))] if with_parents else [host]
    return any(name in keys for name in names if name)


def find_urls(url, keys):
    whole = url_parts(url)[1]
    return whole != b"" and whole in keys


def read_entries(data, keep, is_url):
    entries = []
    for line in data.split(b"\n"):
        line = line.strip(bytes(range(33)))
        if line and not line.startswith(b"#"):
            if is_url:
                line = url_parts(line)[1]
            entry = bytes(byte for byte in lower(line) if keep[byte])
            if entry:
                entries.append(entry)
    return entries


def count_hits(url, lists, keep):
    """lists: (mode, entries); mode "substrings", "words" or "distinct words"."""
    text = bytes(byte for byte in lower(url) if keep[byte])
    counts = []
    for mode, entries in lists:
        entries = set(entries)
        if mode == "substrings":
            count = last = 0
            for end in range(1, len(text) + 1):
                if any(end - len(entry) >= last and text[:end].endswith(entry) for entry in entries):
                    count, last = count + 1, end
        else:
            places = [(entry, at) for entry in entries for at in range(len(text)) if text.startswith(entry, at)]
            places = [(entry, at) for entry, at in places if is_whole(text, at, at + len(entry))]
            count = len(places) if mode == "words" else len({entry for entry, _ in places})
        counts.append(count)
    return counts


def is_whole(text, start, end):
    return not (start and WORD.match(text[start - 1 : start])) and not WORD.match(text[end : end + 1])
