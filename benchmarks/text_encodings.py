"""Texts of many languages in their old encodings, without a word of which: read right, refused, or read wrong.

    DOLMA_PY_DATA=DIR python -m benchmarks.text_encodings [--docs 60] [--chars 2000]

The texts are DATA/pool/multilingual/web_hplt_v2-*.jsonl.zst, web pages with a label of their language; of each the first characters, where
the encoding has them all and a tenth of a percent of them are beyond ASCII. The same as pages that say their encoding is the second number.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import zstandard

from dolma_py.formats.html import decode_page
from dolma_py.formats.text_encoding import decode_text

LANGUAGES = {
    "windows-1252": "deu_Latn fra_Latn spa_Latn por_Latn ita_Latn nld_Latn swe_Latn dan_Latn nob_Latn fin_Latn cat_Latn isl_Latn",
    "windows-1251": "rus_Cyrl ukr_Cyrl bul_Cyrl mkd_Cyrl", "koi8-r": "rus_Cyrl", "iso-8859-5": "rus_Cyrl", "iso-8859-7": "ell_Grek",
    "windows-1250": "pol_Latn ces_Latn hun_Latn ron_Latn hrv_Latn slv_Latn", "iso-8859-2": "pol_Latn ces_Latn hun_Latn",
    "windows-1254": "tur_Latn", "windows-1255": "heb_Hebr", "windows-1256": "ara_Arab",
    "shift_jis": "jpn_Jpan", "euc-jp": "jpn_Jpan", "gb18030": "zho_Hans", "euc-kr": "kor_Hang", "windows-874": "tha_Thai",
}  # fmt: skip
PYTHON = {"shift_jis": "cp932", "euc-kr": "cp949", "windows-874": "cp874"}


def read_texts(folder: Path, wanted: set[str], docs: int, chars: int) -> dict[str, list[str]]:
    """Language -> the beginnings of its texts."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("web_hplt_v2-*.jsonl.zst")):
        with zstandard.open(path, "rt") as lines:
            for line in lines:
                record = json.loads(line)
                language = record["metadata"].get("hplt_lang", "")
                if language in wanted and len(found[language]) < docs:
                    found[language].append(record["text"][:chars])
    return found


def judge(text: str, encoding: str) -> tuple[str, str] | None:
    """(what becomes of it as a text file, as a page that says its encoding): right, refused or wrong; None where it does not fit."""
    try:
        data = text.encode(PYTHON.get(encoding, encoding))
    except UnicodeEncodeError:
        return None
    if sum(byte > 127 for byte in data) * 1000 < len(data):
        return None
    page = f"<meta charset={encoding}>".encode() + data
    answers = decode_text(data), decode_page(page)
    wanted = text, f"<meta charset={encoding}>{text}"
    return tuple(
        "refused" if got.reason else "right" if got.text == want else "wrong"
        for got, want in zip(answers, wanted, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=int, default=60)
    parser.add_argument("--chars", type=int, default=2000)
    arguments = parser.parse_args()
    wanted = {language for names in LANGUAGES.values() for language in names.split()}
    texts = read_texts(
        Path(os.environ["DOLMA_PY_DATA"]) / "pool" / "multilingual", wanted, arguments.docs, arguments.chars
    )
    print(
        "| encoding | texts | right | refused | wrong | that say it: right | refused | wrong |\n|---|---|---|---|---|---|---|---|"
    )
    for encoding, names in LANGUAGES.items():
        plain, declared = Counter[str](), Counter[str]()
        for text in (text for language in names.split() for text in texts[language]):
            judged = judge(text, encoding)
            if judged:
                plain[judged[0]] += 1
                declared[judged[1]] += 1
        cells = [str(counts[name]) for counts in (plain, declared) for name in ("right", "refused", "wrong")]
        print(f"| {encoding} | {plain.total()} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
