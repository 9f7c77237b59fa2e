"""Tables of the personal-data kernels: classes of bytes, words that tell what a number is, country tables.

Source: IBAN lengths: the IBAN registry of SWIFT (ISO 13616); calling codes: ITU-T E.164 assigned codes; names that belong to
nobody: RFC 2606 and 6761. Word lists and file endings are ours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# bits of BYTE_BITS
DIGIT, UPPER, WORD, LOCAL, HEX, TRIGGER, GLUE, SEPARATOR = 1, 2, 4, 8, 16, 32, 64, 128

_UPPERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWERS = _UPPERS.lower()
_DIGITS = b"0123456789"
# a number right behind one of these is a part of something longer: a path, an identifier, a query, a formula
_GLUE = _UPPERS + _LOWERS + _DIGITS + b"_-./#&%+$\\^~@="

# what a word before a number says of it
PHONE_WORD, VERSION_WORD, NUMBER_WORD = 1, 2, 4
PHONE_WORDS = (
    "tel telefon telefone telefono telephone phone phones fax telefax call mobile mob cell cellphone handy mobil whatsapp "
    "hotline tlf tlfn puh gsm sms dial landline helpline "
    "t\u00e9l t\u00e9l\u00e9phone tel\u00e9fono tel\u00e9fonos \u0442\u0435\u043b \u0422\u0435\u043b "
    "\u0442\u0435\u043b\u0435\u0444\u043e\u043d \u0444\u0430\u043a\u0441 \u0424\u0430\u043a\u0441 \u03c4\u03b7\u03bb \u03a4\u03b7\u03bb "
    "\u03c4\u03b7\u03bb\u03ad\u03c6\u03c9\u03bd\u03bf \u0647\u0627\u062a\u0641"
)
VERSION_WORDS = (
    "v ver vers version versions release releases build builds rev revision firmware driver section sections sec chapter "
    "clause paragraph oid assembly kernel bios update upgrade upgraded patch abschnitt unterabschnitt kapitel"
)
NUMBER_WORDS = (
    "isbn issn doi order orders invoice ref reference references reply serial patent id ids ticket case part model sku tracking account item "
    "lot batch ean upc gtin asin pmid arxiv oclc imei uuid hash checksum timestamp epoch seed code"
)
# endings of files that are no top-level domain, and the reserved ones
NO_DOMAINS = (
    "png jpg jpeg gif svg webp bmp ico js css scss json html htm xml txt pdf exe dll tar gz yml yaml tsx jsx woff ttf mp4 mp3 log "
    "test invalid localhost example local internal lan"
)

_IBAN = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 "
    "LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 "
    "SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN.split()}
_CALLING = (
    "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "
    "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 "
    "249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 "
    "359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 "
    "592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 "
    "855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 996 998"
)
CALLING_CODES = _CALLING.split()


def pack_word(word: str) -> int:
    """The last seven bytes of a word in UTF-8, ASCII in lower case, the first byte highest.

    >>> pack_word("assemblyversion") == pack_word("version")
    True
    """
    return int.from_bytes(word.encode()[-7:], "big")


def _byte_bits() -> npt.NDArray[np.uint8]:
    bits = np.zeros(256, np.uint8)
    for chars, bit in (
        (_DIGITS, DIGIT),
        (_UPPERS, UPPER),
        (_UPPERS + _LOWERS + _DIGITS, WORD),
        (_UPPERS + _LOWERS + _DIGITS + b"._%+'-", LOCAL),
        (_DIGITS + b"abcdefABCDEF", HEX),
        (_DIGITS + b"@:+(", TRIGGER),
        (_GLUE, GLUE),
        (b" -./()", SEPARATOR),
    ):
        bits[list(chars)] |= bit
    return bits


def _words() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    classes: dict[int, int] = {}
    for words, kind in ((PHONE_WORDS, PHONE_WORD), (VERSION_WORDS, VERSION_WORD), (NUMBER_WORDS, NUMBER_WORD)):
        classes |= {pack_word(word): kind for word in words.split()}
    packed = sorted(classes)
    return np.array(packed, np.uint64), np.array([classes[word] for word in packed], np.int64)


def _calling_codes() -> npt.NDArray[np.bool_]:
    """bool (1000,): whether three digits begin with an assigned calling code."""
    known = set(CALLING_CODES)
    prefixes = (f"{number:03d}" for number in range(1000))
    return np.array([bool({text[:1], text[:2], text} & known) for text in prefixes], np.bool_)


def _iban_lengths() -> npt.NDArray[np.int64]:
    """int64 (676,): length of an account number by its two letters, 0 for no country."""
    lengths = np.zeros(26 * 26, np.int64)
    for country, length in IBAN_LENGTHS.items():
        lengths[(ord(country[0]) - 65) * 26 + ord(country[1]) - 65] = length
    return lengths


BYTE_BITS = _byte_bits()
WORDS, WORD_CLASSES = _words()
NO_DOMAIN_WORDS = np.array(sorted(pack_word(word) for word in NO_DOMAINS.split()), np.uint64)
IS_CALLING_CODE = _calling_codes()
IBAN_LENGTH_TABLE = _iban_lengths()
