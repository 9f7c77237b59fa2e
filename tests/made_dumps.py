"""MediaWiki XML dumps in the form that dumps.wikimedia.org gives them: header, pages, end; multistream bzip2 too."""

from __future__ import annotations

import bz2
from xml.sax.saxutils import escape, quoteattr

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <generator>MediaWiki 1.44.0</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
END = "</mediawiki>\n"


def make_page(
    number: int,
    title: str,
    text: str,
    *,
    namespace: int = 0,
    redirect: str = "",
    model: str = "wikitext",
    time: str = "2024-05-06T07:08:09Z",
) -> str:
    """One page as pages-articles dumps have it."""
    moved = f"    <redirect title={quoteattr(redirect)} />\n" if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{moved}    <revision>\n"
        f"      <id>{9000 + number}</id>\n      <parentid>1</parentid>\n      <timestamp>{time}</timestamp>\n      <contributor>\n"
        f"        <username>Somebody</username>\n        <id>77</id>\n      </contributor>\n      <comment>a page &amp; more</comment>\n"
        f"      <model>{model}</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text.encode())}" sha1="0" xml:space="preserve">{escape(text)}</text>\n      <sha1>0</sha1>\n'
        f"    </revision>\n  </page>\n"
    )


def make_dump(pages: list[str]) -> bytes:
    """A whole dump."""
    return (HEADER + "".join(pages) + END).encode()


def make_multistream(pages: list[str], per_stream: int) -> list[bytes]:
    """The bzip2 streams of a multistream dump: the header, pages by `per_stream`, the end."""
    groups = [pages[start : start + per_stream] for start in range(0, len(pages), per_stream)]
    return [bz2.compress(text.encode()) for text in (HEADER, *map("".join, groups), END)]
