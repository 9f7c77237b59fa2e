"""One spelling per URL, by named rules, and the keys that URL deduplication compares.

Legend: N documents.

Always, because the result names the same resource:
- case: scheme and host are lower-cased, hex digits of escapes upper-cased (RFC 3986, 6.2.2.1); a host beyond ASCII is written in IDNA;
- escapes: %7E becomes ~ for letters, digits and - . _ ~ (6.2.2.2), characters that need an escape get one;
- dot segments: /a/./b/../c becomes /a/c (6.2.2.3);
- the port that the scheme has anyway, an empty path, an empty query, a dot that ends the host (6.2.3);
- user info and fragment leave: they do not change what a crawler is sent.
By option, because it nearly always does: see UrlRules.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from pydantic import Field, field_validator

from dedup.exact import Digests
from dedup.keepers import KeepPolicy
from dolma_py.config import Config
from dolma_py.xxh3 import digest_ranges

DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}
# set by advertisers and mailing tools on links to a page that is the same without them
TRACKING_PARAMETERS = (
    "utm_*", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "yclid", "twclid", "igshid", "mc_cid", "mc_eid",
    "_hsenc", "_hsmi", "mkt_tok",
)  # fmt: skip
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SAFE = "%:/?#[]@!$&'()*+,;="  # the reserved characters, and escapes as they are


class UrlRules(Config):
    """Which URLs are taken for the same beyond what the standard says."""

    http_is_https: bool = Field(True, description="http://a/ is https://a/")
    strip_www: bool = Field(False, description="www.a.org is a.org")
    trailing_slash: bool = Field(True, description="/a/ is /a")
    sort_query: bool = Field(False, description="?b=1&a=2 is ?a=2&b=1")
    tracking_parameters: tuple[str, ...] = Field(
        TRACKING_PARAMETERS, description="query parameters that leave; a name may end in *; empty: none leaves"
    )


class UrlConfig(Config):
    """Where the URL stands, how it is spelled, and which copy stays."""

    fields: tuple[str, ...] = Field(
        ("url", "warc_url"), min_length=1, description="metadata fields, the first that a document has is its URL"
    )
    spelling: UrlRules = Field(UrlRules(), description="which spellings are the same URL")
    scope: Literal["global", "source"] = Field("global", description="across all sources, or within each source alone")
    keep: KeepPolicy = Field(KeepPolicy(), description="which copy stays; default: the first in corpus order")

    @field_validator("fields", mode="before")
    @classmethod
    def _accept_one(cls, value: Any) -> Any:
        """One name is a list of one; metadata.url is url."""
        names = [value] if isinstance(value, str) else value
        return [name.removeprefix("metadata.") if isinstance(name, str) else name for name in names]


def normalise_url(url: str, rules: UrlRules) -> str | None:
    """The URL in its one spelling; None when it is no URL with a scheme and a host. Normalising twice changes nothing.

    Examples
    --------
    >>> normalise_url("HTTP://User@Example.COM:80/a/./%7Eb/?utm_source=x&k=1#top", UrlRules())
    'https://example.com/a/~b?k=1'
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # a broken bracket, a port that is no number
        return None
    scheme = parts.scheme
    host = _normalise_host(host or "", rules)
    if not scheme or not host:
        return None
    if port == DEFAULT_PORTS.get(scheme):
        port = None
    if rules.http_is_https and scheme == "http":
        scheme = "https"
        port = None if port == DEFAULT_PORTS["https"] else port
    path = _remove_dot_segments(_normalise_escapes(parts.path))
    if rules.trailing_slash:
        path = path.rstrip("/")
    query = _normalise_query(parts.query, rules)
    return f"{scheme}://{host}{'' if port is None else f':{port}'}{path or '/'}{'?' if query else ''}{query}"


def _normalise_host(host: str, rules: UrlRules) -> str:
    host = host.rstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = quote(host)
    host = host.lower()
    if rules.strip_www and host.startswith("www.") and host.count(".") > 1:
        host = host[4:]
    return f"[{host}]" if ":" in host else host


def _normalise_escapes(text: str) -> str:
    return _ESCAPE.sub(_normalise_escape, quote(text, safe=_SAFE))


def _normalise_escape(match: re.Match[str]) -> str:
    sign = chr(int(match.group()[1:], 16))
    return sign if sign in _UNRESERVED else match.group().upper()


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")  # what is left is a folder
    return "/" + "/".join(kept)


def _normalise_query(query: str, rules: UrlRules) -> str:
    pattern = _tracking_pattern(rules.tracking_parameters)
    kept = []
    for item in query.split("&"):
        if item and not (pattern and pattern.fullmatch(unquote(item.partition("=")[0]).lower())):
            kept.append(_normalise_escapes(item))
    return "&".join(sorted(kept) if rules.sort_query else kept)


@functools.lru_cache(maxsize=16)
def _tracking_pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    parts = [re.escape(name.lower().removesuffix("*")) + (".*" if name.endswith("*") else "") for name in names]
    return re.compile("|".join(parts), re.DOTALL) if parts else None


class UrlKeys(NamedTuple):
    """Keys of N documents and how many had none."""

    digests: Digests  # xxh3-128 of the normalised URL; not valid where there is none
    without_url: int
    invalid_urls: int


def digest_urls(values: list[list[Any]], rules: UrlRules) -> UrlKeys:
    """Keys of documents from the values of their URL fields, the most wanted first; values[k] has field k of N documents."""
    found: list[bytes] = []
    is_valid = np.zeros(len(values[0]), np.bool_)
    invalid = 0
    for row, fields in enumerate(zip(*values, strict=True)):
        url = next((value for value in fields if isinstance(value, str) and value.strip()), None)
        normal = None if url is None else normalise_url(url, rules)
        invalid += url is not None and normal is None
        is_valid[row] = normal is not None
        found.append(b"" if normal is None else normal.encode())
    bounds = np.cumsum([0, *map(len, found)]).astype(np.int64)
    digests = digest_ranges(np.frombuffer(b"".join(found), np.uint8), bounds[:-1], bounds[1:])
    return UrlKeys(Digests(*digests, is_valid), int((~is_valid).sum()) - invalid, invalid)
