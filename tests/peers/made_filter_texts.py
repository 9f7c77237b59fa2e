"""Made documents for the rule filters: for every rule one exactly at its threshold and one beyond, and odd ones for the words.

GOLDEN[preset][rule] is (a text that the rule keeps, one that it drops), alike but for a word, a line or a character.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator

STOPS = ("the", "be", "to", "of", "and", "that", "have", "with")


def fillers() -> Iterator[str]:
    """Words that no tool parts and that stand once: qaa, qab, ..."""
    return ("q" + first + second for first, second in itertools.product(string.ascii_lowercase, repeat=2))


def pad(text: str, chars: int, gap: str = " ") -> str:
    """The text followed by unique words, `chars` characters in all."""
    words = fillers()
    while len(text) + len(gap) + 3 <= chars - 3:
        text += gap + next(words)
    last = chars - len(text) - len(gap)
    return text + gap + (next(words) + "z" * last)[:last] if last > 0 else text + "z" * (chars - len(text))


def unique_words(count: int) -> str:
    return " ".join(itertools.islice(fillers(), count))


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


def lines(total: int, special: int, mark: str, *, at_end: bool = False) -> str:
    """Unique lines of which `special` begin or end with a mark."""
    plain = [
        f"{first} {second}" for first, second in zip(fillers(), itertools.islice(fillers(), 1, None), strict=False)
    ][:total]
    marked = [line + mark if at_end else mark + line for line in plain[:special]]
    return "\n".join(marked + plain[special:])


def copies(total: int, same: int, gap: str = "\n") -> str:
    """Segments of which `same` are equal."""
    return gap.join(["one line more"] * same + list(itertools.islice(fillers(), total - same)))


def repeated(segment: str, times: int, gap: str, chars: int) -> str:
    """A segment several times and one that fills the text up to `chars` characters."""
    text = gap.join([segment] * times) + gap
    return text + "z" * (chars - len(text))


def grams(sizes: list[int], times: int, chars: int) -> str:
    """A phrase of words of these sizes, several times, apart, in a text of `chars` characters."""
    phrase = " ".join(letter * size for letter, size in zip("abcdfghjkl", sizes, strict=False))
    parts = [phrase]
    for i in range(1, times):
        parts += [f"x{string.ascii_lowercase[i]}", phrase]
    return pad(" ".join(parts), chars)


def single_signs(length: int, extra: int, count: int) -> str:
    """Words of one character each: a phrase of length + extra - 1 words twice, so that 2 * extra n-grams of `count` repeat."""
    signs = (chr(code) for code in range(0x4E00, 0x9000))
    phrase = list(itertools.islice(signs, length + extra - 1))
    found = [*phrase, next(signs), *phrase]
    while len(found) < count + length - 1:
        found.append(next(signs))
    return " ".join(found)


_QUALITY = {
    "min_words": (words(50), words(49)),
    "max_words": (words(100_000), words(100_001)),
    "min_mean_word_chars": (words(60, "abc"), words(59, "abc") + " ab"),
    "max_mean_word_chars": (words(60, "abcdefghij"), words(59, "abcdefghij") + " abcdefghijk"),
    "alphabetic_words": (words(48) + " " + words(12, "7"), words(47) + " " + words(13, "7")),
}
_SYMBOLS = {
    "hash_signs": (words(54) + " " + words(6, "#"), words(53) + " " + words(7, "#")),
    "ellipses": (words(54) + " " + words(6, "\u2026"), words(53) + " " + words(7, "\u2026")),
}
_LINES = {
    "bullet_lines": (lines(10, 9, "- "), lines(10, 10, "- ")),
    "ellipsis_lines": (lines(10, 3, "\u2026", at_end=True), lines(10, 4, "\u2026", at_end=True)),
}

GOLDEN: dict[str, dict[str, tuple[str, str]]] = {
    "gopher-datatrove": {
        **_QUALITY,
        **_SYMBOLS,
        **_LINES,
        "stop_words": ("the word of", "the word the"),
        "empty": ("x", ""),
        "dup_lines": (copies(10, 4), copies(10, 5)),
        "dup_paragraphs": (copies(10, 4, "\n\n"), copies(10, 5, "\n\n")),
        "dup_line_chars": (repeated("a" * 20, 2, "\n", 100), repeated("a" * 20, 2, "\n", 99)),
        "dup_paragraph_chars": (repeated("a" * 20, 2, "\n\n", 100), repeated("a" * 20, 2, "\n\n", 99)),
        "top_2gram": (grams([2, 2], 2, 50), grams([2, 2], 2, 49)),
        "top_3gram": (grams([2, 3, 2], 2, 100), grams([2, 3, 2], 2, 99)),
        "top_4gram": (grams([1, 1, 2, 1], 2, 100), grams([1, 1, 2, 1], 2, 99)),
        "dup_5gram": (grams([3] * 5, 2, 100), grams([3] * 5, 2, 99)),
        "dup_6gram": (grams([3, 3, 2, 2, 2, 2], 2, 100), grams([3, 3, 2, 2, 2, 2], 2, 99)),
        "dup_7gram": (grams([2] * 6 + [1], 2, 100), grams([2] * 6 + [1], 2, 99)),
        "dup_8gram": (grams([2] * 4 + [1] * 4, 2, 100), grams([2] * 4 + [1] * 4, 2, 99)),
        "dup_9gram": (grams([2] * 2 + [1] * 7, 2, 100), grams([2] * 2 + [1] * 7, 2, 99)),
        "dup_10gram": (grams([1] * 10, 2, 100), grams([1] * 10, 2, 99)),
    },
    "gopher-dolma": {
        "min_words": _QUALITY["min_words"],
        "max_words": _QUALITY["max_words"],
        "min_median_word_chars": ("abc de fgh", "abc de fg hij"),
        "max_median_word_chars": ("abcdefghij", "abcdefghij abcdefghijk"),
        "symbol_words": (words(54) + " " + words(6, "a#b"), words(53) + " " + words(7, "a#b")),
        "alphabetic_words": _QUALITY["alphabetic_words"],
        "stop_words": ("the word the", "The word the"),
        **_LINES,
        "dup_lines": (copies(10, 3), copies(10, 4)),
        "dup_line_chars": (repeated("a" * 5, 3, "\n", 53), repeated("a" * 5, 3, "\n", 52)),
        "top_2gram": ("aa bbb xx aa bbb " + "z" * 38, "aa bbb xx aa bbb " + "z" * 37),
        "top_3gram": ("aaa bbb ccc xx aaa bbb ccc " + "z" * 80, "aaa bbb ccc xx aaa bbb ccc " + "z" * 79),
        "top_4gram": ("aa bb cc dd xx aa bb cc dd " + "z" * 82, "aa bb cc dd xx aa bb cc dd " + "z" * 81),
        **{
            f"dup_{n}gram": (single_signs(n, extra, count), single_signs(n, extra, count - 1))
            for n, extra, count in ((5, 3, 40), (6, 7, 100), (7, 13, 200), (8, 3, 50), (9, 11, 200), (10, 1, 20))
        },
    },
    "gopher-paper": {
        **_QUALITY,
        **_SYMBOLS,
        **_LINES,
        "stop_words": ("The word of", "the word The"),
        "dup_lines": (copies(10, 3), copies(10, 4)),
        "dup_paragraphs": (copies(10, 3, "\n\n"), copies(10, 4, "\n\n")),
        "dup_line_chars": (repeated("a" * 10, 2, "\n", 100), repeated("a" * 10, 2, "\n", 99)),
        "dup_paragraph_chars": (repeated("a" * 10, 2, "\n\n", 100), repeated("a" * 10, 2, "\n\n", 99)),
        "top_2gram": (grams([2, 2], 2, 50), grams([2, 2], 2, 49)),
        "top_3gram": (grams([2, 3, 2], 2, 100), grams([2, 3, 2], 2, 99)),
        "top_4gram": (grams([1, 1, 2, 1], 2, 100), grams([1, 1, 2, 1], 2, 99)),
        "dup_5gram": (grams([1] * 5, 2, 120), grams([1] * 5, 2, 119)),
        "dup_6gram": (grams([2] * 3 + [1] * 3, 2, 200), grams([2] * 3 + [1] * 3, 2, 199)),
        "dup_7gram": (grams([1] * 7, 2, 200), grams([1] * 7, 2, 199)),
        "dup_8gram": (grams([1] * 8, 2, 250), grams([1] * 8, 2, 249)),
        "dup_9gram": (grams([2] * 5 + [1] * 4, 2, 400), grams([2] * 5 + [1] * 4, 2, 399)),
        "dup_10gram": (grams([2] + [1] * 9, 2, 400), grams([2] + [1] * 9, 2, 399)),
    },
    "fineweb": {
        "empty": ("x", " \n\n"),
        "terminal_lines": (lines(25, 3, ".", at_end=True), lines(25, 2, ".", at_end=True)),
        "short_lines": ("\n".join(["x" * 30] * 67 + ["y" * 31] * 33), "\n".join(["x" * 30] * 68 + ["y" * 31] * 32)),
        "dup_line_chars": ("x\nx\n" + "z" * 98, "x\nx\n" + "z" * 97),
        "dup_line_chars_paper": ("x" * 10 + "\n" + "x" * 10 + "\n" + "z" * 80, "x" * 10 + "\n" + "x" * 10 + "\n" + "z" * 79),
        "newlines": (words(4) + "\n" + words(3) + "\n" + words(2) + "\n" + words(1), words(3) + "\n" + words(3) + "\n" + words(2) + "\n" + words(1)),
    },
}  # fmt: skip

_SENTENCE = "Here is one more sentence."
C4_TEXTS = (
    "\n".join([_SENTENCE] * 5),
    "\n".join([_SENTENCE] * 4),
    " ".join([_SENTENCE] * 5),
    "\n".join([_SENTENCE] * 3 + ["Two words.", "Now three words.", "no end here", "It ends so...", "It ends so\u2026", "'It ends so'"]),
    "\n".join([*[_SENTENCE] * 5, "a " * 3 + "x" * 1000 + ".", "a " * 3 + "x" * 1001 + "."]),
    "\n".join([*[_SENTENCE] * 5, "Please enable JavaScript now.", "Read our Privacy  Policy here.", "Read our Privacy Policy here.",
               "This site uses Coo\u212aies today.", "See the terms of use below."]),
    "\n".join([*[_SENTENCE] * 5, "Lorem IPSUM dolor sit amet."]),
    "\n".join([*[_SENTENCE] * 5, "lorem ipsum dolor sit amet"]),
    "\n".join([*[_SENTENCE] * 5, "if x { return 1 } else."]),
    "\n".join([*[_SENTENCE] * 5, "if x { return 1 }", "Lorem ipsum without an end"]),
    "[1] Cited [edit] words[citation needed] stay here[12].\r\n\r\n  Another[] one, [a] is none. [3]\r\n" + "\n".join([_SENTENCE] * 4),
    "We use [2]cookies on this page.\n" + "\n".join([_SENTENCE] * 5) + "\n\n  \n",
    "Dr. Smith of the U.S. went home. He slept!? (Well.) 'So it is.' 3.5 is more than 3. \u3053\u308c\u306f\u3002 Yes... no. End?",
    "a b c.\u2028d e f.\x0bg h i.\x0cj k l.\x1cm n o.\x85p q r.\n",
    "[1] [2] [3]\nmore words here\n [4] [5] [6] ",
)  # fmt: skip
WORD_TEXTS = (
    "Mr. O'Neil isn't  (yet) at example.org, is he? I can't, won't and didn't; it's Jan. 5th at 8p.m. in the U.S.A.",
    "$5, US$5, 5\u20ac, 10km, 3 km/h, 5%, 20\u00b0C. 1,000.50 1+1=2 3-4 a--b x~y and/or w/o C++ v.s. e.g. i.e. Ph.D.",
    "https://example.org/a?b=c, (http://user:pw@host.net:8080/x) mail@example.com 192.0.2.1/x 10.0.0.1/x a.b www.a-b.co.uk.",
    ":) :-( ;) <3 (see:) x:) ^_^ ... .. \u2026 \u2026\u2026 --- -- \u2014 \u2013 ''quoted'' ``so'' 'tis \u2019tis \u201cquoted\u201d",
    "def f(x): return {'a': [1, 2], \"b\": x**2}  # no comment\n\tif a<b && c>=d || !e: x+=1;",
    "\u4e2d\u534e\u4eba\u6c11\u3002\u3053\u308c\u306f\u3001\u00bfqu\u00e9? \u00a1s\u00ed! "
    "\u0645\u0631\u062d\u0628\u0627\u060c \u0928\u092e\u0938\u094d\u0924\u0947\u0964 Stra\u00dfe \u0130stanbul \u212a",
    "emoji \U0001f600\U0001f468\u200d\U0001f469 \u00a9\u00ae\u2122 \u2022 item\u00a0non-breaking\u200bzero\ufeffbom \u0301combining",
    "1 12 1 1 1 11 2 1 1 1 1 12 1 1 1 1 2 1 1 1 1 1 1 1 1 12 1 1 1",
)  # fmt: skip


def all_texts() -> list[str]:
    """Every made text once, in a fixed order."""
    golden = [text for rules in GOLDEN.values() for pair in rules.values() for text in pair]
    return list(dict.fromkeys([*golden, *C4_TEXTS, *WORD_TEXTS]))
