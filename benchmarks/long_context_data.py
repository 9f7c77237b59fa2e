"""What docs/long-context-data.md says in numbers: sections of real long documents, counted answers that are right, time, what REX would ask.

    DOLMA_PY_DATA=DIR python -m benchmarks.long_context_data [--answers 1000] [--sets novels laws]

Documents are stretches of 45,000 tokens or a little more of whole novels (English) and federal laws of 32,768 to 65,535 tokens (German), by a
tokenizer of 8,192 tokens that is trained on a part of both. Every answer is counted anew from the made document's own text, by two ways that share
no code with the kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

from dolma_py.hashing import derive_seed
from mixers import rex_forms, word_counts
from mixers.long_sections import FORCED, HEADING, LINE, PARAGRAPH, SENTENCE, SectionConfig, cut_document, find_breaks
from mixers.noun_phrases import Language, find_phrases, rank_phrases
from mixers.passages import remove_passages
from mixers.rex_forms import RexConfig
from mixers.tokenization import BpeConfig, LoadedTokenizer, build_tokenizer, encode_texts, train_bpe
from mixers.word_counts import WordCountConfig

RANKS = {HEADING: "heading", PARAGRAPH: "paragraph", SENTENCE: "sentence", LINE: "line", FORCED: "none"}
STRETCH = 45_000  # tokens of a stretch of a novel, before the paragraph ends


def read_texts(folder: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """(id, text) of the documents of the pool's files, in order."""
    for path in sorted(folder.glob(pattern)):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                yield record["id"], record["text"]


def cut_stretches(doc_id: str, text: str, tokenizer: LoadedTokenizer) -> Iterator[tuple[str, str]]:
    """Stretches of STRETCH tokens, to the end of their paragraph; what is left at the end of the novel is left out."""
    data = text.encode()
    breaks = find_breaks(np.frombuffer(data, np.uint8))
    edges = [0, *breaks.places[breaks.ranks >= PARAGRAPH].tolist(), len(data)]
    pieces = [data[start:end].decode() for start, end in zip(edges[:-1], edges[1:], strict=True)]
    start = tokens = number = 0
    for piece, (end, ids) in zip(pieces, zip(edges[1:], encode_texts(tokenizer, pieces), strict=True), strict=True):
        del piece
        tokens += len(ids)
        if tokens >= STRETCH:
            yield f"{doc_id}/{number}", data[start:end].decode()
            start, tokens, number = end, 0, number + 1


class Tally:
    """What one set of documents gave."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.number: Counter[int] = Counter()
        self.ranks: Counter[str] = Counter()
        self.tokens: list[int] = []
        self.answers: list[int] = []
        self.seconds: Counter[str] = Counter()
        self.requests: list[int] = []
        self.snippets: list[int] = []

    def add(self, doc_id: str, text: str, tokenizer: LoadedTokenizer, language: Language) -> None:
        """One document through all steps, each timed by the processor's clock."""
        began = time.process_time()
        found = cut_document(text, tokenizer, SectionConfig(), doc_id=doc_id, seed=0)
        self.seconds["sections"] += time.process_time() - began
        if isinstance(found, str):
            self.counts[found] += 1
            return
        sections, breaks = found
        data = text.encode()
        if b"".join(data[section.start : section.end] for section in sections) != data:
            raise SystemExit(f"{doc_id}: sections are not the document")
        self.counts["documents"] += 1
        self.counts["bytes"] += len(data)
        self.number[len(sections)] += 1
        self.tokens += [section.tokens for section in sections]
        places = np.searchsorted(breaks.places, [section.start for section in sections[1:]])
        self.ranks.update(RANKS[int(rank)] for rank in breaks.ranks[places])
        began = time.process_time()
        tagged = [find_phrases(data[section.start : section.end].decode(), language) for section in sections]
        self.seconds["noun phrases"] += time.process_time() - began
        self.counts["untagged"] += sum(one.untagged for one in tagged)
        began = time.process_time()
        key = derive_seed(0, "synth", doc_id)
        made = word_counts.make_document(
            text, sections, breaks, [one.counts for one in tagged], WordCountConfig(), key=key
        )
        self.seconds["cwe"] += time.process_time() - began
        if isinstance(made, str):
            self.counts[made] += 1
        else:
            self.check(text, *made)
        ranked = rank_phrases([one.counts for one in tagged])
        tasks = rex_forms.plan_passages(sections, breaks, tagged, ranked, RexConfig(), key=key)
        self.requests += [len(task.request.messages[0].text.encode()) for task in tasks]
        self.snippets += [task.num_snippets for task in tasks]

    def check(self, text: str, made: str, details: dict[str, object]) -> None:
        """Recount the made document's answers, and take its passages out again."""
        found = word_counts.recount(made, details)
        data = made.encode()
        passages, sections = details["passages"], details["sections"]
        again = [
            len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", data[slice(*sections[passage["section"]][:2])].decode()))
            for passage in passages
            for word in passage["words"]
        ]
        for one, number in zip(found, again, strict=True):
            self.counts["right"] += one.said == one.counted
            self.counts["right by a regular expression"] += one.said == number
            self.answers.append(one.said)
        self.counts["passages"] += len(passages)
        spans = [(passage["start"], passage["end"]) for passage in passages]
        self.counts["whole again"] += remove_passages(made, spans) == text


def describe(name: str, tally: Tally) -> None:
    """Print one set's numbers."""
    counts, seconds = tally.counts, tally.seconds
    mega = counts["bytes"] / 1e6
    print(
        f"{name}: {counts['documents']} documents, {mega:.1f} MB; left out {counts['short']} short, {counts['long']} long, {counts['uncut']} uncut"
    )
    print(
        f"  sections per document {dict(sorted(tally.number.items()))}; tokens {min(tally.tokens)} to {max(tally.tokens)}"
    )
    print(f"  borders {dict(tally.ranks.most_common())}; sentences that the tagger could not read {counts['untagged']}")
    answers = np.array(tally.answers)
    print(
        f"  cwe: {counts['passages']} passages of {len(tally.tokens)} sections, {len(answers)} answers, {counts['right']} right, "
        f"{counts['right by a regular expression']} by a regular expression; documents whole again {counts['whole again']}"
    )
    print(f"  answers: median {int(np.median(answers))}, {answers.min()} to {answers.max()}")
    print(
        f"  rex: {len(tally.requests)} requests of {np.mean(tally.requests):,.0f} bytes, {np.mean(tally.snippets):.2f} excerpts each"
    )
    print("  processor seconds per MB: " + ", ".join(f"{step} {value / mega:.2f}" for step, value in seconds.items()))  # fmt: skip


def main() -> None:
    """Make documents of both sets until each has half of the answers, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--sets", nargs="+", choices=["novels", "laws"], default=["novels", "laws"])
    options = parser.parse_args()
    pool = Path(os.environ["DOLMA_PY_DATA"]) / "pool"
    sample = [text[:200_000] for _, text in [*read_texts(pool, "books/*00000*")][:8]]
    sample += [text[:50_000] for _, text in [*read_texts(pool, "law/law_de_gesetze-00000*")][:40]]
    tokenizer = build_tokenizer(train_bpe(sample, BpeConfig(vocab_size=8192, special_tokens=("<|endoftext|>",))))
    novels = (
        part for doc_id, text in read_texts(pool, "books/*") for part in cut_stretches(doc_id, text, tokenizer)
    )  # fmt: skip
    laws = read_texts(pool, "law/law_de_gesetze-*")
    right = total = 0
    for name, documents, language in (("novels", novels, "en"), ("laws", laws, "de")):
        if name not in options.sets:
            continue
        tally = Tally()
        for doc_id, text in documents:
            tally.add(doc_id, text, tokenizer, language)
            if len(options.sets) * len(tally.answers) >= options.answers:
                break
        describe(name, tally)
        right, total = right + tally.counts["right"], total + len(tally.answers)
    print(f"right {right:,} of {total:,} answers")


if __name__ == "__main__":
    main()
