"""Made lines that hold personal data, and lines that nearly do: 500 of each for every kind, the same for the same seed.

Nothing of ours is imported: account and card numbers get their check digits here, and what is true is what was put in. Some lines are
hard on purpose: numbers that people write without any label, versions without the word, order numbers whose check digit fits.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import NamedTuple

KINDS = ("email", "phone", "ip", "iban", "card")
NUM_LINES = 500


class Line(NamedTuple):
    """One line, and the part of it that is personal data; empty for a near miss."""

    kind: str
    text: str
    item: str


_NAMES = [
    "anna", "ben", "chloe", "david", "elif", "farid", "grace", "hugo", "ines", "jonas", "karim", "lena", "mateo", "nora", "olga",
    "pavel", "quinn", "rosa", "sven", "tariq", "uma", "vera", "wen", "yara", "zoe",
]  # fmt: skip
_WORDS = [
    "blue", "north", "river", "stone", "apex", "delta", "prime", "lumen", "terra", "nova", "orbit", "cedar", "maple", "harbor",
    "summit",
]  # fmt: skip
_TOPS = [
    "com", "org", "net", "de", "fr", "co.uk", "io", "edu", "gov.au", "it", "nl", "pl", "com.br", "jp", "info", "museum",
]  # fmt: skip
_IBANS = {
    "DE": "d18", "FR": "d10a11d2", "GB": "A4d14", "ES": "d20", "IT": "A1d10a12", "NL": "A4d10", "BE": "d12", "CH": "d5a12", "AT": "d16", "PL": "d24",
    "SE": "d20", "NO": "d11", "IE": "A4d14", "PT": "d21", "GR": "d7a16", "MT": "A4d5a18", "FI": "d14", "DK": "d14",
}  # fmt: skip
_CARDS = (
    ("4", 16),
    ("51", 16),
    ("55", 16),
    ("2300", 16),
    ("34", 15),
    ("37", 15),
    ("6011", 16),
    ("36", 14),
    ("3530", 16),
    ("622200", 16),
)


def make_lines(seed: int, num_lines: int = NUM_LINES) -> list[Line]:
    """num_lines with an item and num_lines near misses of every kind, in that order."""
    rng = random.Random(seed)
    lines = []
    for kind in KINDS:
        for _ in range(num_lines):
            item, texts = _ITEMS[kind](rng)
            lines.append(Line(kind, rng.choice(texts).format(item), item))
        for _ in range(num_lines):
            lines.append(Line(kind, rng.choice(_MISSES[kind])(rng), ""))
    return lines


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _hex(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789abcdef") for _ in range(count))


def _email(rng: random.Random) -> tuple[str, list[str]]:
    first, last = rng.choice(_NAMES), rng.choice(_NAMES)
    local = rng.choice(
        [
            f"{first}.{last}",
            f"{first}{rng.randint(1, 99)}",
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{first}+news",
            f"{first}-{last}",
            first.title(),
        ]
    )
    host = (
        rng.choice(["", "mail.", "cs."])
        + rng.choice(_WORDS)
        + rng.choice(["", "-" + rng.choice(_WORDS), str(rng.randint(1, 9))])
    )
    texts = [
        "Contact: {}", "Write to {} for details.", "{}", "<{}>", "Jane Roe <{}>, Monday", 'href="mailto:{}"', "E-Mail:{}, Fax: keine", "({}) wrote:",
        "\u90ae\u7bb1{} \u5ba2\u670d", "name,{},42", "Send a CV to {}!", "{}; office 12", "at {}\tsince 2019", "Bonjour, \u00e9crivez \u00e0 {}.",
    ]  # fmt: skip
    return f"{local}@{host}.{rng.choice(_TOPS)}", texts


def _american(rng: random.Random) -> str:
    area, line = f"{rng.randint(2, 9)}{rng.choice('02345678')}{rng.randint(0, 9)}", _digits(rng, 4)
    exchange = f"{rng.randint(2, 9)}{rng.choice('023456789')}{rng.randint(0, 9)}"
    form = rng.choice(
        [
            "({}) {}-{}",
            "{}-{}-{}",
            "{}.{}.{}",
            "{} {} {}",
            "1-{}-{}-{}",
            "+1 {} {} {}",
            "+1{}{}{}",
            "+1 ({}) {}-{}",
            "({}){}-{}",
        ]
    )
    return form.format(area, exchange, line)


def _foreign(rng: random.Random) -> str:
    code = rng.choice(
        ["44", "49", "33", "34", "39", "31", "46", "48", "61", "81", "86", "91", "351", "353", "420", "971"]
    )
    form = rng.choice(["+{} {} {} {}", "+{}{}{}{}", "+{}-{}-{}{}", "+{} (0){} {}{}", "+{} {}/{} {}", "+{}.{}.{}.{}"])
    return form.format(code, rng.randint(1, 99), _digits(rng, 3), _digits(rng, 4))


def _phone(rng: random.Random) -> tuple[str, list[str]]:
    texts = [
        "Call us at {}.",
        "{}",
        "Office {}, open daily",
        "reach me on {} tomorrow",
        "| {} |",
        "Anna ({})",
        "{} / ask for Ben",
    ]
    if rng.random() < 0.7:
        return (_american if rng.random() < 0.5 else _foreign)(rng), [*texts, "Tel: {}", "fax {}", "call {} or visit"]
    form = rng.choice(["0{} {}{}", "0{}/{}{}", "(0{}) {}{}", "0{}-{} {}", "{}{}{}"])
    item = form.format(rng.randint(20, 799), _digits(rng, 3), _digits(rng, 4))
    labels = [
        "Tel.: {}",
        "Telefon: {}",
        "phone {}",
        "Fax {}",
        "Mobile: {} (Anna)",
        "call {} today",
        "Tel {}, Mon-Fri",
        "t\u00e9l. {}",
        "GSM {}",
        "Hotline {}",
    ]
    # one in five of them has no label, and nothing says what it is
    return item, labels if rng.random() < 0.8 else ["Anna Roe, {}", "{} (after six)"]


def _public_ip(rng: random.Random) -> str:
    while True:
        first, second = rng.randint(1, 223), rng.randint(0, 255)
        if first not in (10, 100, 127, 169, 172, 192, 198, 203):
            return f"{first}.{second}.{rng.randint(0, 255)}.{rng.randint(0, 255)}"


def _ip(rng: random.Random) -> tuple[str, list[str]]:
    texts = [
        "from {} port 22",
        "{} - - [10/Oct/2020:13:55:36] GET",
        "IP: {}",
        "user at {} edited",
        "ping {}",
        "({}) joined",
        "blocked {}, {{}}",
        "host={}",
    ]
    if rng.random() < 0.7:
        return _public_ip(rng), [*texts, "http://{}/index.html", "{}:8080", "via {}/24"]
    groups = ["2" + rng.choice("4678a") + _hex(rng, 2)] + [
        rng.choice(["0", _hex(rng, 4), _hex(rng, 3), _hex(rng, 2)]) for _ in range(7)
    ]
    groups = [groups[0], *(group.lstrip("0") or "0" for group in groups[1:])]
    if rng.random() < 0.6:
        return ":".join(groups[: rng.randint(2, 5)]) + "::" + ":".join(groups[6:]), [
            *texts,
            "http://[{}]:80/",
            "{}%eth0",
        ]
    return ":".join(groups), texts


def _iban(rng: random.Random) -> tuple[str, list[str]]:
    country = rng.choice(sorted(_IBANS))
    body, pattern = "", _IBANS[country]
    for i, char in enumerate(pattern):
        if char.isalpha():
            count = int(pattern[i + 1 :].lstrip("dAa").split("d")[0].split("A")[0].split("a")[0])
            pool = {"d": string.digits, "A": string.ascii_uppercase, "a": string.digits * 3 + string.ascii_uppercase}[
                char
            ]
            body += "".join(rng.choice(pool) for _ in range(count))
    number = int("".join(str(int(char, 36)) for char in body + country + "00"))
    item = f"{country}{98 - number % 97:02d}{body}"
    if rng.random() < 0.5:
        item = " ".join(item[i : i + 4] for i in range(0, len(item), 4))
    return item, [
        "IBAN: {}",
        "Konto {}",
        "transfer to {} please",
        "{}",
        "IBAN {} BIC COBADEFFXXX",
        "({})",
        "Bankverbindung:{}.",
    ]


def _luhn_digit(digits: str) -> str:
    total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def _card_number(rng: random.Random) -> str:
    prefix, length = rng.choice(_CARDS)
    digits = prefix + _digits(rng, length - len(prefix) - 1)
    return digits + _luhn_digit(digits)


def _group_card(digits: str, joiner: str) -> str:
    cuts = {16: (4, 8, 12), 15: (4, 10), 14: (4, 10)}[len(digits)]
    parts = [digits[a:b] for a, b in zip((0, *cuts), (*cuts, len(digits)), strict=True)]
    return joiner.join(parts)


def _card(rng: random.Random) -> tuple[str, list[str]]:
    digits = _card_number(rng)
    item = digits if rng.random() < 0.4 else _group_card(digits, rng.choice(" -"))
    return item, [
        "Card: {}",
        "charged to {} on Monday",
        "{}",
        "Visa {} exp 12/27",
        "cc={}",
        "{},12/27,123",
        "number {} was declined",
        "Karte {}.",
    ]


def _bad_iban(rng: random.Random) -> str:
    item, _ = _iban(rng)
    return f"IBAN: {item[:2]}{(int(item[2:4]) + rng.randint(1, 8)) % 97:02d}{item[4:]}"


def _version(rng: random.Random, top: int) -> str:
    return ".".join(str(rng.randint(0, top)) for _ in range(4))


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1970, 2030)
    return rng.choice(
        [
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month}/{day}/{year}",
            f"{year}{month:02d}{day:02d}",
        ]
    )


def _wrong_luhn(rng: random.Random) -> str:
    digits = _card_number(rng)
    return digits[:-1] + str((int(digits[-1]) + rng.randint(1, 9)) % 10)


_Maker = Callable[[random.Random], str]
_ITEMS: dict[str, Callable[[random.Random], tuple[str, list[str]]]] = {
    "email": _email,
    "phone": _phone,
    "ip": _ip,
    "iban": _iban,
    "card": _card,
}
_COMMON: tuple[_Maker, ...] = (
    lambda rng: f"ISBN 978-{rng.randint(0, 9)}-{_digits(rng, 2)}-{_digits(rng, 6)}-{rng.randint(0, 9)}",
    lambda rng: f"published {_date(rng)} {rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}",
    lambda rng: f"Order {_digits(rng, rng.choice([7, 9, 10, 12, 16]))} has shipped",
    lambda rng: f"order no. {_digits(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
    lambda rng: f"commit {_hex(rng, 40)}",
    lambda rng: f"md5 {_hex(rng, 32).upper()}  file-{rng.randint(1, 9)}.tar.gz",
    lambda rng: f"id {_hex(rng, 8)}-{_hex(rng, 4)}-4{_hex(rng, 3)}-a{_hex(rng, 3)}-{_hex(rng, 12)}",
    lambda rng: f"x = {rng.uniform(-10, 1000):.{rng.randint(6, 16)}f}",
    lambda rng: f"created_at: {rng.randint(1_000_000_000, 1_800_000_000)}{rng.choice(['', '000', '000000'])}",
    lambda rng: f"version {_version(rng, 60)} fixes it",
    lambda rng: f"doi:10.{_digits(rng, 4)}/{_digits(rng, 3)}-{_digits(rng, 3)}-{_digits(rng, 4)}",
    lambda rng: (
        f"{rng.randint(1, 999)},{_digits(rng, 3)},{_digits(rng, 3)} inhabitants in {rng.randint(1980, 2024)}-{rng.randint(1980, 2024)}"
    ),
)
_MISSES: dict[str, tuple[_Maker, ...]] = {
    "email": (
        lambda rng: f"thanks @{rng.choice(_NAMES)} and @{rng.choice(_NAMES)}@{rng.choice(_WORDS)}.social",
        lambda rng: f"npm install {rng.choice(_WORDS)}@{rng.randint(0, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 20)}",
        lambda rng: f"git clone git@{rng.choice(_WORDS)}.com:{rng.choice(_NAMES)}/{rng.choice(_WORDS)}.git",
        lambda rng: f"images/{rng.choice(_WORDS)}@{rng.randint(2, 3)}x.png",
        lambda rng: f"@{rng.choice(_WORDS)}.route('/{rng.choice(_WORDS)}')",
        lambda rng: f"{rng.randint(2, 9)} items @ ${rng.randint(1, 9)}.{_digits(rng, 2)} each",
        lambda rng: f"{rng.choice(_NAMES)}@example.{rng.choice(['com', 'org', 'net'])} is a placeholder",
        lambda rng: f"ssh root@localhost -p {rng.randint(22, 9999)}",
        lambda rng: f"https://{rng.choice(_NAMES)}:{_hex(rng, 6)}@{rng.choice(_WORDS)}.com/path",
        lambda rng: f"C = A@B.T + {rng.randint(1, 9)}",
        lambda rng: f"{rng.choice(_NAMES)} at {rng.choice(_WORDS)} dot com",
        lambda rng: (
            f"{rng.choice(['Message-ID', 'References', 'In-Reply-To'])}: <{_digits(rng, 8)}.{_hex(rng, 6)}@{rng.choice(_WORDS)}.com>"
        ),
        lambda rng: (
            f"see {_digits(rng, 8)}.{_hex(rng, 6)}@{rng.choice(_WORDS)}.com in the archive"
        ),  # nothing says that it is a message id
    ),
    "phone": (
        *_COMMON,
        lambda rng: f"{_digits(rng, 3)}-{_digits(rng, 2)}-{_digits(rng, 4)} (SSN)",
        lambda rng: f"pp. {rng.randint(1000, 1999)}-{rng.randint(2000, 2999)}",
        lambda rng: f"lat {rng.uniform(-90, 90):.6f}, lon {rng.uniform(-180, 180):.7f}",
        lambda rng: f"{_digits(rng, 10)}",
        lambda rng: f"ticket #{rng.randint(200, 999)}-{rng.randint(200, 999)}-{_digits(rng, 4)}",
        lambda rng: (
            f"{rng.randint(200, 999)} {rng.randint(200, 999)} {_digits(rng, 4)} {_digits(rng, 3)} {_digits(rng, 2)}"
        ),
        lambda rng: f"UTC+{rng.randint(1, 12)}:00, +{rng.randint(1, 99)}% over {_date(rng)}",
        lambda rng: f"part {rng.randint(200, 999)}-{rng.randint(200, 999)}-{_digits(rng, 4)} rev B",
        lambda rng: f"call {_date(rng)} the end of it",
    ),
    "ip": (
        *_COMMON,
        lambda rng: f"v{_version(rng, 99)}",
        lambda rng: f"{rng.choice(_WORDS)}=={_version(rng, 99)}",
        lambda rng: f"{_version(rng, 9)} Scope of the {rng.choice(_WORDS)}",
        lambda rng: f"see section {_version(rng, 20)} and {_version(rng, 9)}",
        lambda rng: f"OID 1.3.6.1.4.1.{rng.randint(1, 99999)}.{rng.randint(1, 9)}",
        lambda rng: ":".join(_hex(rng, 2) for _ in range(6)),
        lambda rng: (
            f"std::{rng.choice(['vector', 'deque', 'fabs'])}<int> a = {rng.choice(['abc', 'dead', 'cafe'])}::{rng.choice(['beef', 'f', 'add'])}()"
        ),
        lambda rng: f"at {rng.randint(10, 23)}:{rng.randint(10, 59)}:{rng.randint(10, 59)}:{_digits(rng, 2)}",
        lambda rng: f"{rng.choice(_WORDS)}-{_version(rng, 40)}.tar.gz",
        lambda rng: f"{_version(rng, 400)}.{rng.randint(0, 9)}",
        lambda rng: f"they moved to {_version(rng, 60)} last week",  # nothing says that it is a version
    ),
    "iban": (
        *_COMMON,
        _bad_iban,
        lambda rng: f"VAT {rng.choice(['DE', 'FR', 'GB'])}{_digits(rng, 9)}",
        lambda rng: f"{rng.choice(sorted(_IBANS))}{_digits(rng, rng.choice([10, 22, 30]))}",
        lambda rng: "KEY " + "-".join(_hex(rng, 5).upper() for _ in range(5)),
        lambda rng: f"part {rng.choice(sorted(_IBANS))}{_digits(rng, 2)} {_digits(rng, 4)} {_digits(rng, 4)}",
    ),
    "card": (
        *_COMMON,
        lambda rng: f"Card: {_wrong_luhn(rng)}",
        lambda rng: f"number {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 3)}",
        lambda rng: f"order {_card_number(rng)} was paid",
        lambda rng: f"IMEI 35{_digits(rng, 13)}",
        lambda rng: f"4.{_digits(rng, 15)}",
        lambda rng: f"0x{_hex(rng, 16)}",
        lambda rng: f"{_digits(rng, 16)}",  # one in ten of those with an issuer's digits passes the checksum
        lambda rng: f"{_digits(rng, 4)}-{_digits(rng, 4)}-{_digits(rng, 4)}",
    ),
}
