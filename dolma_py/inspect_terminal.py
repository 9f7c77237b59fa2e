"""Documents on a terminal: two columns where there is a pair, differing words coloured; no sign of the text steers the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dolma_py.pages import name_hidden
from dolma_py.report_excerpts import Part

if TYPE_CHECKING:
    from dolma_py.inspect_documents import Section
    from dolma_py.report_examples import Example

NARROW_WIDTH = 70  # below it the two texts stand one above the other
STYLES = {"": "", "cut": "red strike", "found": "black on yellow", "differs": "bold magenta", "gap": "dim italic"}


def print_sections(sections: list[Section], console: Console | None = None) -> None:
    """Show every section."""
    console = console or Console()
    for section in sections:
        console.rule(plain_text(section.title))
        if section.table is not None:
            console.print(draw_table(section.table))
        for example in section.examples:
            console.print(draw_example(example, console.width))


def draw_table(lines: list[tuple[str, ...]]) -> Table:
    """The first line is the head; numbers stand to the right."""
    table = Table()
    for index, name in enumerate(lines[0]):
        is_number = all(line[index].replace(",", "").isdigit() for line in lines[1:])
        table.add_column(plain_text(name), justify="right" if is_number else "left")
    for line in lines[1:]:
        table.add_row(*(plain_text(value) for value in line))
    return table


def draw_example(example: Example, width: int) -> Panel:
    """One document, or a removed one and the one that stays."""
    why = plain_text(" | ".join(example.reasons))
    other = example.other
    if other is None or not other.parts:
        lines = [draw_parts(example.parts)]
        if other is not None:
            lines.insert(0, plain_text(f"stays: {other.id} of {other.source}", "green"))
        body = Text("\n").join(lines)
        return Panel(body, title=describe(example, ""), title_align="left", subtitle=why, subtitle_align="left")
    table = Table.grid(padding=(0, 2), expand=True)
    sides = [
        (describe(example, example.role), draw_parts(example.parts)),
        (describe(other, other.role), draw_parts(other.parts)),
    ]
    if width < NARROW_WIDTH:
        table.add_column(overflow="fold")
        for head, text in sides:
            table.add_row(head)
            table.add_row(text)
    else:
        for _ in sides:
            table.add_column(ratio=1, overflow="fold")
        table.add_row(*(head for head, _ in sides))
        table.add_row(*(text for _, text in sides))
    return Panel(table, subtitle=why, subtitle_align="left")


def describe(example: Example, word: str) -> Text:
    """Who it is."""
    return plain_text(f"{word}{example.id} of {example.source}, {example.text_bytes:,} bytes", "bold")


def draw_parts(parts: tuple[Part, ...]) -> Text:
    """An excerpt; nothing in it is taken as markup."""
    text = Text()
    for part in parts:
        words = f"[{name_hidden(part.text)}]" if part.mark == "gap" else name_hidden(part.text)
        text.append(words, STYLES[part.mark])
    return text


def plain_text(words: str, style: str = "") -> Text:
    """Words of the data on one line, without markup and without hidden signs."""
    return Text(name_hidden(words).replace("\n", " "), style)
