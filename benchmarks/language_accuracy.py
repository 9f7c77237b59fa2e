"""How often languages are told right: sentences, word pairs and single words in 42 languages, documents of the pool, mixed text.

    DOLMA_PY_DATA=<folder> python -m benchmarks.language_accuracy [--model lid.176.ftz] [--first first.bin] [--lingua PYTHON] [--speed] [--short]

<folder>/langid holds the test set and the table that Lingua's author published over it. Detectors: py3langid over all its labels and over the
75 languages of that table that it knows, the same for each --model (fastText language models), and both with --first, a model of languages
that the others lack (the tagger's option first_model_path). With --lingua, an interpreter that has lingua-language-detector, Lingua over its
75 languages answers in the same run; --speed prints documents per second of CPU time, one thread each.

Accuracy is the mean over languages; the interval is Wilson's at 95 %, over all texts together (1,000 of most languages).
"""

from __future__ import annotations

import argparse
import collections
import csv
import gzip
import io
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

from taggers.fasttext_model import load_model
from taggers.langid import load_langid
from taggers.registry import build_tagger

KINDS = ("sentences", "word-pairs", "single-words")
# the published table's 75 languages
CODES = {
    "Afrikaans": "af", "Albanian": "sq", "Arabic": "ar", "Armenian": "hy", "Azerbaijani": "az", "Basque": "eu", "Belarusian": "be",
    "Bengali": "bn", "Bokmal": "nb", "Bosnian": "bs", "Bulgarian": "bg", "Catalan": "ca", "Chinese": "zh", "Croatian": "hr", "Czech": "cs",
    "Danish": "da", "Dutch": "nl", "English": "en", "Esperanto": "eo", "Estonian": "et", "Finnish": "fi", "French": "fr", "Ganda": "lg",
    "Georgian": "ka", "German": "de", "Greek": "el", "Gujarati": "gu", "Hebrew": "he", "Hindi": "hi", "Hungarian": "hu", "Icelandic": "is",
    "Indonesian": "id", "Irish": "ga", "Italian": "it", "Japanese": "ja", "Kazakh": "kk", "Korean": "ko", "Latin": "la", "Latvian": "lv",
    "Lithuanian": "lt", "Macedonian": "mk", "Malay": "ms", "Maori": "mi", "Marathi": "mr", "Mongolian": "mn", "Nynorsk": "nn", "Persian":
    "fa", "Polish": "pl", "Portuguese": "pt", "Punjabi": "pa", "Romanian": "ro", "Russian": "ru", "Serbian": "sr", "Shona": "sn", "Slovak":
    "sk", "Slovene": "sl", "Somali": "so", "Sotho": "st", "Spanish": "es", "Swahili": "sw", "Swedish": "sv", "Tagalog": "tl", "Tamil": "ta",
    "Telugu": "te", "Thai": "th", "Tsonga": "ts", "Tswana": "tn", "Turkish": "tr", "Ukrainian": "uk", "Urdu": "ur", "Vietnamese": "vi",
    "Welsh": "cy", "Xhosa": "xh", "Yoruba": "yo", "Zulu": "zu",
}  # fmt: skip
SAME = {"no": "nb"}  # Norwegian without a word on its form is Bokmal in the test set
LINGUA = """
import json, sys, time
from lingua import LanguageDetectorBuilder
texts = json.load(open(sys.argv[1]))
detector = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()
[detector.detect_language_of(text) for text in texts[:50]]
begin = time.process_time()
found = [detector.detect_language_of(text) for text in texts]
seconds = time.process_time() - begin
json.dump([[language.iso_code_639_1.name.lower() if language else "und" for language in found], seconds], open(sys.argv[2], "w"))
"""


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    middle = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(right * (total - right) / total + z * z / 4)
    return middle - half, middle + half


def read_test(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "langid" / "lingua_testdata.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def list_detectors(models: list[str], first: str | None) -> dict[str, dict[str, Any]]:
    """Options of the language tagger by name."""
    wanted = {*CODES.values(), "no"}
    found: dict[str, dict[str, Any]] = {}
    choices: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [("py3langid", {}, load_langid().labels)]
    choices += [
        (Path(path).name, {"detector": "fasttext", "model_path": path}, load_model(path).labels) for path in models
    ]
    for name, options, labels in choices:
        asked = sorted(wanted & set(labels))
        found[f"{name}, all {len(set(labels))} labels"] = options
        found[f"{name}, {len(asked)} labels"] = options | {"languages": asked}
        if first:
            found[f"{name}, {len(asked)} labels + first"] = options | {"languages": asked, "first_model_path": first}
    return found


def ask(options: dict[str, Any], texts: list[str]) -> tuple[list[str], float]:
    """(languages, CPU seconds); the first call, which compiles, is not counted."""
    tagger = build_tagger("language", {"min_chars": 0, "min_score": 0} | options)
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    tagger.tag(batch.slice(0, 10))
    begin = time.process_time()
    langs = tagger.tag(batch).column("lang").to_pylist()
    return [SAME.get(lang, lang) for lang in langs], time.process_time() - begin


def ask_lingua(python: str, texts: list[str]) -> tuple[list[str], float]:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "texts.json"), Path(folder, "langs.json")
        asked.write_text(json.dumps(texts))
        subprocess.run([python, "-c", LINGUA, str(asked), str(answered)], check=True)
        langs, seconds = json.loads(answered.read_text())
    return langs, seconds


def score(wanted: list[str], found: list[str]) -> tuple[dict[str, float], float, int]:
    """(accuracy by language, mean of them, texts told right)."""
    right, total = collections.Counter(), collections.Counter(wanted)
    for truth, answer in zip(wanted, found, strict=True):
        right[truth] += truth == answer
    shares = {lang: right[lang] / total[lang] for lang in total}
    return shares, sum(shares.values()) / len(shares), sum(right.values())


def read_published(folder: Path) -> dict[str, dict[str, float]]:
    """Detector -> language -> accuracy; languages that a detector does not know are left out."""
    found: dict[str, dict[str, float]] = collections.defaultdict(dict)
    with (folder / "langid" / "published_sentences_accuracy.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for name, value in row.items():
                if name != "language" and value != "NaN":
                    found[name][CODES[row["language"]]] = float(value) / 100
    return found


def print_test_set(folder: Path, detectors: dict[str, dict[str, Any]], lingua: str | None, with_speed: bool) -> None:
    rows = read_test(folder)
    by_language: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        texts = [row["text"] for row in rows if row["kind"] == kind]
        wanted = [row["lang"] for row in rows if row["kind"] == kind]
        print(f"\n{kind}: {len(texts)} texts, {len(set(wanted))} languages")
        answers = {name: ask(options, texts) for name, options in detectors.items()}
        if lingua:
            answers["Lingua, 75 labels, this run"] = ask_lingua(lingua, texts)
        for name, (found, seconds) in answers.items():
            shares, mean, right = score(wanted, found)
            low, high = wilson(right, len(texts))
            speed = f"  {len(texts) / seconds:9.0f} texts/s" if with_speed else ""
            print(f"  {name:44s} {100 * mean:5.1f}  ({100 * low:.1f} - {100 * high:.1f}){speed}")
            if kind == "sentences":
                by_language[name] = shares
    published = read_published(folder)
    languages = sorted(next(iter(by_language.values())))
    for name, shares in published.items():
        known = [shares[lang] for lang in languages if lang in shares]
        print(
            f"  published, sentences: {name:22s} {100 * sum(known) / len(known):5.1f}  over {len(known)} of these languages"
        )
    columns = {**by_language, **{f"published {name}": shares for name, shares in published.items()}}
    print("\nsentences by language, %\n  columns: " + "; ".join(columns))
    for lang in languages:
        print(
            f"  {lang} "
            + " ".join(f"{100 * shares[lang]:6.1f}" if lang in shares else "     -" for shares in columns.values())
        )


BIBLES = {
    "Estonian": "et",
    "Ukranian": "uk",
    "Ewe": "ee",
    "Chamorro": "ch",
    "Cherokee": "chr",
    "Dinka": "din",
    "Ojibwa": "oj",
    "Syriac": "syr",
}
HPLT = {
    "srp": "sr", "tam": "ta", "bul": "bg", "ita": "it", "jpn": "ja", "eus": "eu", "zul": "zu", "zsm": "ms", "dan": "da", "kor": "ko", "epo": "eo",
    "isl": "is", "tha": "th", "ind": "id", "amh": "am", "fra": "fr", "swe": "sv", "heb": "he", "ell": "el", "hrv": "hr", "vie": "vi", "hin": "hi",
    "por": "pt", "gla": "gd", "zho": "zh", "pes": "fa", "ces": "cs", "slk": "sk", "pol": "pl", "bos": "bs", "mar": "mr", "ast": "ast",
    "deu": "de", "nob": "nb", "spa": "es", "ara": "ar", "nno": "nn", "swh": "sw", "ukr": "uk", "tur": "tr", "nld": "nl", "cat": "ca", "fin": "fi",
    "ben": "bn", "eng": "en", "rus": "ru",
}  # fmt: skip


def read_documents(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(set, language, text) of the pool's documents whose language their folder tells."""
    for path in sorted((folder / "pool").glob("*/*.jsonl.zst")):
        source = path.name.partition("-")[0]
        with path.open("rb") as file:
            lines = io.TextIOWrapper(
                zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True), "utf-8", newline="\n"
            )
            for line in lines:
                document = json.loads(line)
                metadata, lang = document.get("metadata") or {}, None
                if source == "docs_electron_i18n":
                    lang = metadata["locale"][:2]
                elif source == "multi_bible":
                    lang = BIBLES.get(metadata["language"])
                elif source == "web_hplt_v2":
                    lang = HPLT[metadata["hplt_lang"][:3]]
                else:
                    lang = {"law_de_gesetze": "de", "books_en_novels": "en"}.get(source)
                if lang and document["text"].strip():
                    yield source, lang, document["text"]


def print_documents(folder: Path, detectors: dict[str, dict[str, Any]]) -> None:
    rows = list(read_documents(folder))
    print(f"\ndocuments of the pool by folder: {len(rows)}; of languages that the detector has a label for")
    for name, options in detectors.items():
        labels = set(load_model(options["model_path"]).labels if "model_path" in options else load_langid().labels)
        labels = {SAME.get(label, label) for label in labels & set(options.get("languages") or labels)}
        found, _ = ask(options, [text for _, _, text in rows])
        for source in sorted({source for source, _, _ in rows}):
            pairs = [
                (lang, answer)
                for (its, lang, _), answer in zip(rows, found, strict=True)
                if its == source and lang in labels
            ]
            right = sum(lang == answer for lang, answer in pairs)
            low, high = wilson(right, len(pairs))
            wrong = collections.Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(4)
            shown = ", ".join(f"{lang} as {answer} {count}" for (lang, answer), count in wrong)
            print(
                f"  {name:39s} {source:20s} {right:5d} of {len(pairs):5d} {100 * right / len(pairs):5.1f} "
                f"({100 * low:.1f} - {100 * high:.1f}) {shown}"
            )


SHORT_CHARS = (4, 5, 6, 7, 10, 15, 20, 30)
LOW_SCORES = (0.05, 0.1, 0.15, 0.2, 0.3)
UNKNOWN = ("mi", "ts")  # languages of the test set that py3langid has no label for


def print_short(folder: Path) -> None:
    """Sentences cut to their first characters, as rows of a table: mean share told right over languages."""
    by_lang = collections.defaultdict(list)
    for row in read_test(folder):
        if row["kind"] == "sentences" and row["lang"] not in UNKNOWN:
            by_lang[row["lang"]].append(row["text"])
    by_lang["ko"] = [text for source, lang, text in read_documents(folder) if (source, lang) == ("web_hplt_v2", "ko")]
    groups = [
        ("Japanese", ["ja"]),
        ("Chinese", ["zh"]),
        ("Korean (HPLT)", ["ko"]),
        ("the other languages", sorted({*by_lang} - {"ja", "ko", "zh"})),
    ]
    for name, langs in groups:
        cells = []
        for num_chars in SHORT_CHARS:
            shares = []
            for lang in langs:
                texts = [text[:num_chars].strip() for text in by_lang[lang] if len(text) >= num_chars]
                found, _ = ask({}, texts)
                shares.append(sum(answer == lang for answer in found) / len(texts))
            cells.append(f"{100 * sum(shares) / len(shares):.1f}")
        print(f"| {name} ({sum(len(by_lang[lang]) for lang in langs):,}) | {' | '.join(cells)} |")


def print_low_scores(folder: Path) -> None:
    """What answers of a low probability are worth, as rows of a table."""
    sets = {
        kind: [(row["lang"], row["text"]) for row in read_test(folder) if row["kind"] == kind] for kind in KINDS[:2]
    }
    sets["hplt"] = [(lang, text) for source, lang, text in read_documents(folder) if source == "web_hplt_v2"]
    tagger = build_tagger("language", {"min_chars": 0, "min_score": 0})
    answers = {}
    for name, rows in sets.items():
        found = tagger.tag(pa.record_batch({"text": pa.array([text for _, text in rows], pa.large_string())}))
        langs = [SAME.get(lang, lang) for lang in found.column("lang").to_pylist()]
        right = [lang == truth for lang, (truth, _) in zip(langs, rows, strict=True)]
        answers[name] = list(zip(right, found.column("lang_score").to_pylist(), strict=True))
    for bound in (0.0, *LOW_SCORES):
        cells = []
        for name, found in answers.items():
            below = [is_right for is_right, share in found if share is not None and share < bound]
            cells.append(f"{sum(below):,}, {len(below) - sum(below):,}")
            if name == "sentences":
                rest = sum(is_right for is_right, _ in found) - sum(below)
                cells += [f"{100 * rest / len(found):.2f}", f"{100 * rest / (len(found) - len(below)):.2f}"]
        print(f"| {bound:g} | {' | '.join(cells)} |")


def print_mixed(folder: Path, detectors: dict[str, dict[str, Any]]) -> None:
    """Documents of four paragraphs of five sentences, two languages in turn."""
    by_lang = collections.defaultdict(list)
    for row in read_test(folder):
        if row["kind"] == "sentences":
            by_lang[row["lang"]].append(row["text"].replace("\n", " "))
    texts, wanted = [], []
    pairs = [
        ("en", "de"),
        ("en", "fr"),
        ("en", "es"),
        ("en", "ru"),
        ("en", "zh"),
        ("de", "pl"),
        ("es", "ca"),
        ("da", "sv"),
    ]
    for pair in pairs:
        for start in range(0, 400, 10):
            parts = [
                " ".join(by_lang[lang][start + 5 * (k // 2) : start + 5 * (k // 2) + 5])
                for k, lang in enumerate(pair * 2)
            ]
            texts.append("\n\n".join(parts))
            wanted.append(list(pair * 2))
    print(
        f"\nmixed text: {len(texts)} documents of four paragraphs in two languages ({', '.join('+'.join(pair) for pair in pairs)})"
    )
    for name, options in detectors.items():
        tagger = build_tagger("language", {"min_score": 0} | options | {"segments": "paragraphs"})
        found = (
            tagger.tag(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
            .column("segment_langs")
            .to_pylist()
        )
        right = sum(
            truth == SAME.get(answer, answer)
            for its, langs in zip(wanted, found, strict=True)
            for truth, answer in zip(its, langs, strict=True)
        )
        total = 4 * len(texts)
        print(
            f"  {name:44s} paragraphs right {100 * right / total:5.1f} ({100 * wilson(right, total)[0]:.1f} - {100 * wilson(right, total)[1]:.1f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], help="fastText language model; may be given again")
    parser.add_argument("--first", help="fastText model of languages that the others lack")
    parser.add_argument("--lingua", help="interpreter with lingua-language-detector")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--short", action="store_true", help="only short texts and low probabilities, by py3langid")
    parser.add_argument("--without-pool", action="store_true")
    arguments = parser.parse_args()
    folder = Path(os.environ["DOLMA_PY_DATA"])
    if arguments.short:
        print_short(folder)
        print_low_scores(folder)
        return
    detectors = list_detectors(arguments.model, arguments.first)
    print_test_set(folder, detectors, arguments.lingua, arguments.speed)
    if not arguments.without_pool:
        print_documents(folder, detectors)
    print_mixed(folder, detectors)


if __name__ == "__main__":
    main()
