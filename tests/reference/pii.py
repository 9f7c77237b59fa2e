"""Slow twin of the personal-data kernels: regular expressions and the ipaddress module, one document at a time."""

import ipaddress
import re

PHONE_WORD, VERSION_WORD, NUMBER_WORD = 1, 2, 4
OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = re.compile(rb"%b(?:\.%b){3}(?![A-Za-z0-9_@])(?!\.[A-Za-z0-9])(?!-[A-Za-z])" % (OCTET, OCTET))
SEPARATOR = rb"(?:[ ./()-]|\xc2\xa0|\xe2\x80[\x90-\x93])"
CHAIN = re.compile(rb"[0-9]+|%b{1,3}(?=[0-9])" % SEPARATOR)
AREA = rb"[2-9](?!11)[0-9][0-9]"
AMERICAN = re.compile(rb"(?:1[ .-])?(?:\(%b\)[ .-]?|%b(?P<gap>[ .-]))%b(?P<second>[ .-])[0-9]{4}" % (AREA, AREA, AREA))
ENDS = re.compile(rb"(?![A-Za-z0-9_@])(?![-./:][0-9])")
SPECIAL = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
]  # fmt: skip
SPECIAL_V6 = ["fc00::/7", "fe80::/10", "ff00::/8", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]


class Tables:
    """words: last seven bytes -> class; countries: IBAN lengths; calling codes; endings that are no domain."""

    def __init__(self, words, countries, codes, no_domains):
        self.words, self.countries, self.codes, self.no_domains = words, countries, set(codes), set(no_domains)


def find_pii(text, tables):
    """(kind, start, end) of each find in a text of bytes, in order."""
    found = []
    at = floor = 0
    while at < len(text):
        if text[at] not in b"0123456789@:+(":
            at += 1
            continue
        hit, after = find_at(text, floor, at, tables)
        if hit is None:
            at = after
        else:
            found.append(hit)
            at = floor = hit[2]
    return found


def find_at(text, floor, at, tables):
    """(find or None, where to go on without one)."""
    char = text[at : at + 1]
    if char == b"@":
        return email(text, floor, at, tables), at + 1
    if char == b":":
        return ipv6(text, floor, at), at + 1
    if char == b"+":
        return foreign_phone(text, at, tables), at + 1
    if char == b"(":
        return (phone(text, at, tables) if re.match(rb"[0-9]", text[at + 1 :]) else None), at + 1
    run = len(re.match(rb"[0-9]+", text[at:]).group())
    before = text[at - 1 : at] if at else b" "
    if re.match(rb"[A-Za-z0-9]", before):
        return iban(text, floor, at, tables), at + run
    hit = None
    if not is_glue(before) or before == b"=":
        hit = card(text, at, tables) if run == 4 or run >= 14 else None
    if hit is None and run <= 3:
        hit = ipv4(text, floor, at, tables)
    return hit or phone(text, at, tables), at + run


def is_glue(char):
    return re.match(rb"[A-Za-z0-9_\-./#&%+$\\^~@=]", char) is not None


def word_class(text, at, tables):
    """Class of the nearest known word of the line, of the last four within 32 bytes."""
    tokens = re.findall(rb"\n|#|(?:[A-Za-z]|[\xc3-\xdf][\x80-\xbf])+", text[max(at - 32, 0) : at])
    for num_words, token in enumerate(reversed(tokens)):
        if token == b"\n" or num_words == 4:
            return 0
        if token == b"#":
            return NUMBER_WORD
        said = tables.words.get(token.lower()[-7:])
        if said is not None:
            return said
    return 0


def email(text, floor, at, tables):
    run = re.search(rb"[A-Za-z0-9._%+'-]*\Z", text[floor:at]).group()
    before = text[max(at - len(run) - 1, 0) : at - len(run)]
    local = re.sub(rb"\A[^A-Za-z0-9_]+", b"", run.rsplit(b"..", 1)[-1])
    if len(run) > 64 or before == b"@" or not local or local.endswith(b".") or local == b"git":
        return None
    start = at - len(local)
    if text[start - 1 : start] == b"<" and word_class(text, start - 1, tables) == NUMBER_WORD:
        return None
    if re.search(rb"//[^\x00-\x20/]{0,62}\Z", text[: at - len(local)]) is not None:
        return None
    stop = domain_end(text, at + 1)
    if stop is None or text[stop : stop + 1] == b"@":
        return None
    host = text[at + 1 : stop].decode().lower().split(".")
    if host[-1][-7:] in tables.no_domains or (host[-2] == "example" and host[-1] in ("com", "org", "net")):
        return None
    return "email", at - len(local), stop


def domain_end(text, at):
    """End of the last label of 2 to 24 letters that has another before it."""
    found, num_labels = None, 0
    while True:
        label = re.match(rb"[A-Za-z0-9-]{0,64}", text[at:]).group()
        bare = label.rstrip(b"-")
        if not bare or len(bare) > 63 or bare.startswith(b"-"):
            return found
        num_labels += 1
        if num_labels > 1 and bare.isalpha() and label == bare and 2 <= len(bare) <= 24:
            found = at + len(bare)
        at += len(label)
        if label != bare or text[at : at + 1] != b"." or at + 1 >= len(text):
            return found
        at += 1


def is_special(address):
    return any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network) for network in SPECIAL)


def ipv4(text, floor, at, tables):
    match = IPV4.match(text, at)
    if match is None:
        return None
    before, earlier = text[at - 1 : at] if at else b" ", text[at - 2 : at - 1] if at > 1 else b" "
    is_range = floor == at - 1 and floor > 0
    if re.match(rb"[A-Za-z0-9_.~^]", before) or (before == b"-" and earlier > b" " and not is_range):
        return None
    if before in b"/\\" and earlier != before and earlier > b" ":
        return None
    if before == b"=" and earlier in b"=<>~!":
        return None
    octets = [int(octet) for octet in match.group().split(b".")]
    special = is_special(match.group().decode())
    if (not special and (max(octets) < 32 or sorted(octets)[2] < 10)) or word_class(text, at, tables) == VERSION_WORD:
        return None
    return ("private_ip" if special else "ip"), at, match.end()


def ipv6(text, floor, at):
    start = at - len(re.search(rb"[0-9A-Fa-f]{0,5}\Z", text[floor:at]).group())
    if at - start > 4 or re.match(rb"[A-Za-z0-9_.:]", text[start - 1 : start] if start else b" "):
        return None
    for stop in range(min(len(text), start + 45), start + 1, -1):
        try:
            address = ipaddress.IPv6Address(text[start:stop].decode("latin-1"))
        except ValueError:
            continue
        break
    else:
        return None
    written = text[start:stop]
    if re.match(rb"[A-Za-z0-9_]|[:.][A-Za-z0-9:]", text[stop:]):
        return None
    if b"." in written and not IPV4.match(text, start + written.rindex(b":") + 1):
        return None
    kind = ipv6_kind(written, address)
    return (kind, start, stop) if kind else None


def ipv6_kind(written, address):
    kind = None
    if written.startswith(b"::"):
        if address.ipv4_mapped is not None and b"." in written and written.count(b":") == 3:
            return "private_ip" if is_special(str(address.ipv4_mapped)) else "ip"
        return "private_ip" if re.fullmatch(rb"::0{0,3}1", written) else None
    if address in ipaddress.IPv6Network("2000::/3"):
        kind = "ip"
    if any(address in ipaddress.IPv6Network(network) for network in SPECIAL_V6):
        kind = "private_ip"
    return kind


def iban(text, floor, at, tables):
    start = at - 2
    country = text[start:at].decode("latin-1") if start >= floor else ""
    length = tables.countries.get(country)
    if length is None or (start and re.match(rb"[A-Za-z0-9_]", text[start - 1 : start])):
        return None
    groups = [4] * (length // 4) + ([length % 4] if length % 4 else [])
    joiner = rb" " if text[at + 2 : at + 3] == b" " else rb""
    pattern = joiner.join(rb"[0-9A-Z]{%d}" % group for group in groups)
    match = re.compile(rb"[A-Z]{2}[0-9]{2}(?=.)", re.DOTALL).match(text, start) and re.compile(pattern).match(
        text, start
    )
    if not match or re.match(rb"[A-Za-z0-9_]", text[match.end() :]):
        return None
    chars = match.group().replace(b" ", b"").decode()
    number = int("".join(str(int(char, 36)) for char in chars[4:] + chars[:4]))
    return ("iban", start, match.end()) if number % 97 == 1 else None


def is_issued(digits):
    ranges = {
        14: [("300", "305"), ("36", "36"), ("38", "39")],
        15: [("34", "34"), ("37", "37")],
        16: [
            ("4", "4"), ("51", "55"), ("2221", "2720"), ("6011", "6011"), ("644", "649"), ("65", "65"), ("62", "62"), ("3528", "3589"),
            ("5018", "5018"), ("5020", "5020"), ("5038", "5038"), ("6304", "6304"), ("6759", "6763"),
        ],
        19: [("62", "62"), ("4", "4")],
    }  # fmt: skip
    return any(low <= digits[: len(low)] <= high for low, high in ranges.get(len(digits), []))


def luhn(digits):
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def card(text, at, tables):
    for joiner in (b" ", b"-"):
        groups = re.compile(rb"[0-9]+(?:%b[0-9]+)*" % joiner).match(text, at).group().split(joiner)
        for count in range(1, len(groups) + 1):
            sizes = [len(group) for group in groups[:count]]
            fits = (
                count == 1
                or sizes in ([4, 6, 4], [4, 6, 5])
                or (count > 3 and set(sizes[:-1]) == {4} and sizes[-1] <= 4)
            )
            digits = b"".join(groups[:count]).decode()
            stop = at + len(digits) + count - 1
            if fits and is_issued(digits) and luhn(digits) and not re.match(rb"[A-Za-z0-9_@]|[-.][0-9]", text[stop:]):
                if count == 1 and word_class(text, at, tables) & (NUMBER_WORD | VERSION_WORD):
                    return None
                return "card", at, stop
    return None


def chain(text, at, max_digits):
    """(end, runs of digits) from `at`, and whether they look like a date, years, a decimal or thousands."""
    runs, gaps, position, gap = [], [], at, b""
    while match := CHAIN.match(text, position):
        part = match.group()
        if part.isdigit():
            if sum(map(len, runs)) + len(part) > max_digits:
                break
            runs.append(part)
            gaps.append(gap)
            end = match.end()
        gap = part
        position = match.end()
    if not runs:
        return at, [], False
    sizes = [len(run) for run in runs]
    is_date = (
        len(sizes) == 3
        and sizes[1] <= 2
        and ((sizes[0], sizes[2]) in {(4, 1), (4, 2), (1, 4), (2, 4)} or max(sizes) <= 2)
    )
    is_date |= (
        re.fullmatch(rb"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])", b" ".join(runs)) is not None
    )
    years = len(runs) == 2 and all(re.fullmatch(rb"(19|20)[0-9]{2}", run) for run in runs)
    dots = len(runs) > 1 and set(gaps[1:]) == {b"."} and not runs[0].startswith(b"0")
    is_number = dots and (len(runs) == 2 or (sizes[0] <= 3 and set(sizes[1:]) == {3}))
    return end, runs, is_date or years or is_number


def foreign_phone(text, at, tables):
    before = text[at - 1 : at] if at else b" "
    if re.match(rb"[0-9]", before) or (
        re.match(rb"[A-Za-z_)+]", before) and word_class(text, at, tables) != PHONE_WORD
    ):
        return None
    if not re.match(rb"[1-9]", text[at + 1 :]):
        return None
    american = text[at + 1 : at + 2] == b"1"
    stop, runs, is_odd = chain(text, at + 1, 11 if american else 15)
    digits = b"".join(runs).decode()
    if len(digits) < (9 if len(runs) > 1 else 10) or is_odd or not ENDS.match(text, stop):
        return None
    if american and (len(digits) != 11 or digits[1] < "2" or digits[4] < "2"):
        return None
    known = any(digits[:count] in tables.codes for count in (1, 2, 3))
    return ("phone", at, stop) if known else None


def american_phone(text, at, tables):
    match = AMERICAN.match(text, at)
    if match is None or not ENDS.match(text, match.end()):
        return None
    gap, second = match["gap"], match["second"]
    if gap is not None and gap not in (second, b" "):
        return None
    said = word_class(text, at, tables)
    if said in (NUMBER_WORD, VERSION_WORD):
        return None
    beside = re.match(rb" [0-9]", text[match.end() :]) or re.search(rb"[0-9] \Z", text[:at])
    if gap == second == b" " and said != PHONE_WORD and beside:
        return None
    return "phone", at, match.end()


def local_phone(text, at, tables):
    opens = text[at : at + 1] == b"("
    start = at + opens
    stop, runs, is_odd = chain(text, start, 15)
    if sum(map(len, runs)) < 7 or is_odd or not ENDS.match(text, stop):
        return None
    first = len(runs[0])
    has_area = (
        opens
        and runs[0].startswith(b"0")
        and 2 <= first <= 5
        and len(runs) > 1
        and text[start + first : start + first + 1] == b")"
    )
    said = word_class(text, at, tables)
    return ("phone", at, stop) if said == PHONE_WORD or (has_area and said == 0) else None


def phone(text, at, tables):
    if at and is_glue(text[at - 1 : at]):
        return None
    return american_phone(text, at, tables) or local_phone(text, at, tables)
