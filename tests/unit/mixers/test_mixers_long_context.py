"""mixers.long_context: documents made of documents, the same in any batch; what is left out is counted; a model that answers badly."""

from __future__ import annotations

import datetime
import json
from collections import Counter

import pyarrow as pa
import pytest
import xxhash
from pydantic import ValidationError

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Endpoint
from dolma_py.made_documents import read_making
from mixers import tokenization, word_counts
from mixers.long_context import VERSION, LongContextConfig, LongContextMaker
from mixers.long_sections import cut_document
from mixers.passages import KEY, remove_passages
from mixers.word_counts import recount
from tests.chat_server import ChatServer, question_of

SECTIONS = {
    "min_document_tokens": 600,
    "max_document_tokens": 4000,
    "min_tokens": 200,
    "max_tokens": 1200,
    "near_tokens": 60,
}
CWE = {"recipe": "cwe", "tokenizer": "t", "sections": SECTIONS, "cwe": {"num_words": 3, "min_count": 2}}
NAMES = ["abbey", "river", "bridge", "garden", "winter", "letter", "window", "horse"]


def write_story(number: int, paragraphs: int) -> str:
    """English sentences about things, other ones in each paragraph."""
    lines = []
    for part in range(paragraphs):
        one, two = NAMES[(part + number) % 8], NAMES[(part // 3 + number) % 8]
        lines.append(
            f"In chapter {part} of story {number} the old {one} stood near the {two}. People saw the {one} and the {two} from far away. "
            f"Nobody had painted the {one} for {part + 3} years."
        )
    return "\n\n".join(lines) + "\n"


TEXTS = {
    "short": write_story(1, 3),
    "a": write_story(2, 30),
    "b": write_story(3, 40),
    "long": write_story(4, 400),
    "none": "x1 y2. " * 400,
}


def make_batch(names) -> pa.RecordBatch:
    day = datetime.datetime(2025, 1, 1)
    rows = [
        {"id": name, "text": TEXTS[name], "source": "s", "added": day, "created": day, "metadata": '{"title": "T"}'}
        for name in names
    ]
    return pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)


@pytest.fixture(scope="module")
def tokenizer():
    config = tokenization.BpeConfig(vocab_size=400, special_tokens=("<|endoftext|>",))
    return tokenization.build_tokenizer(tokenization.train_bpe([TEXTS["a"], TEXTS["b"]], config))


def test_a_made_document_tells_what_it_is_and_counts_right(tokenizer):
    maker = LongContextMaker(LongContextConfig(**CWE), tokenizer, seed=5)
    made = maker.make(make_batch(TEXTS))
    assert made.schema == DOCUMENT_SCHEMA and made.column("id").to_pylist() == ["a#cwe-0", "b#cwe-0"]
    left_out = {name: number for name, number in maker.counts.items() if name.startswith("left_out:")}
    assert left_out == {"left_out:short": 1, "left_out:long": 1, "left_out:no_words": 1}
    assert (maker.counts["documents"], maker.counts["made"]) == (5, 2)
    for row in made.to_pylist():
        making, metadata = read_making(row["metadata"]), json.loads(row["metadata"])
        parent = row["id"].split("#")[0]
        assert making == (((parent,), maker.recipe, 5, None, None)) and metadata["title"] == "T"
        found = recount(row["text"], metadata[KEY])
        assert len(found) >= 6 and all(one.said == one.counted for one in found)
        spans = [(passage["start"], passage["end"]) for passage in metadata[KEY]["passages"]]
        assert remove_passages(row["text"], spans) == TEXTS[parent]


def test_documents_do_not_depend_on_their_batch_but_on_the_seed(tokenizer):
    def make(seed, *batches):
        maker = LongContextMaker(LongContextConfig(**CWE), tokenizer, seed=seed)
        return sorted(
            (row["id"], row["text"], row["metadata"])
            for names in batches
            for row in maker.make(make_batch(names)).to_pylist()
        )

    assert make(5, ["a", "b"]) == make(5, ["b"], ["short", "a"], [])
    assert make(5, ["a", "b"]) != make(6, ["a", "b"])


def test_rex_without_an_endpoint_is_refused():
    with pytest.raises(ValidationError, match="needs endpoint"):
        LongContextConfig(recipe="rex")


FILL = " ".join(["and the excerpts tell of it once more"] * 12)


def answer_any_form(body) -> str:
    """Lines of every form."""
    phrase = question_of(body).split('Write "')[1].split('"')[0]
    names = [
        "Professor",
        "Student",
        "Host",
        "Contestant",
        "For",
        "Against",
        "Claim",
        "True",
        "Front",
        "Back",
        "Question",
        "Answer",
    ]
    lines = [f"{name}: {phrase} {FILL}" for name in names for _ in range(5)]
    return "\n".join(["Scene: a house", *lines])


def make_rex(tokenizer, server, folder, seed=5):
    endpoint = {"base_url": server.url, "model": "m", "cache": str(folder), "max_tries": 1, "max_failed_frac": 1.0}
    settings = LongContextConfig(**CWE | {"recipe": "rex", "endpoint": endpoint, "rex": {"min_snippets": 2}})
    maker = LongContextMaker(settings, tokenizer, seed=seed)
    with Endpoint(settings.endpoint) as opened:
        made = maker.make(make_batch(["a", "b"]), opened)
    return made.to_pylist(), maker.counts


def test_rex_sets_answers_in_and_asks_nothing_twice(tokenizer, tmp_path):
    with ChatServer(answer_any_form) as server:
        made, counts = make_rex(tokenizer, server, tmp_path)
        num_asked = len(server.bodies)
        again, _ = make_rex(tokenizer, server, tmp_path)
        assert again == made and len(server.bodies) == num_asked == counts["passage:taken"] == counts["sections"]
    for row in made:
        making, details = read_making(row["metadata"]), json.loads(row["metadata"])[KEY]
        assert row["id"].endswith("#rex-0") and making.model == "m"
        assert making.cache_key == details["passages"][0]["cache_key"]
        spans = [(passage["start"], passage["end"]) for passage in details["passages"]]
        assert remove_passages(row["text"], spans) == TEXTS[row["id"].split("#")[0]]
        for passage in details["passages"]:
            assert passage["phrase"] in row["text"].encode()[passage["start"] : passage["end"]].decode()
            assert passage["start"] >= details["sections"][passage["section"]][1]


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (lambda body: "", {"empty"}),
        (lambda body: "I cannot help with that. " + FILL, {"form", "phrase"}),
        (lambda body: question_of(body), {"marked"}),
    ],
)
def test_bad_answers_are_counted_and_never_used(tokenizer, tmp_path, answer, reasons):
    with ChatServer(answer) as server:
        made, counts = make_rex(tokenizer, server, tmp_path)
    assert made == [] and counts["left_out:no_answers"] == 2
    found = {name.removeprefix("passage:"): number for name, number in counts.items() if name.startswith("passage:")}
    assert set(found) <= reasons and sum(found.values()) == len(server.bodies) > 2


def test_a_server_that_fails_now_and_then_leaves_the_rest(tokenizer, tmp_path):
    with ChatServer(answer_any_form, lambda number, body: "400" if number % 3 == 0 else "") as server:
        made, counts = make_rex(tokenizer, server, tmp_path)
    assert counts["passage:failed:refused"] > 0 and counts["passage:taken"] > 0 and made
    assert sum(len(json.loads(row["metadata"])[KEY]["passages"]) for row in made) == counts["passage:taken"]


def test_the_bytes_that_the_version_stands_for(tokenizer):
    """From given noun phrases on: other bytes need another VERSION, or corpora are finished by another program."""
    config = LongContextConfig(**CWE)
    sections, breaks = cut_document(TEXTS["b"], tokenizer, config.sections, doc_id="b", seed=5)
    counts = [Counter(dict.fromkeys(NAMES, 9))] * len(sections)
    made, details = word_counts.make_document(TEXTS["b"], sections, breaks, counts, config.cwe, key=7)
    found = xxhash.xxh3_128_hexdigest(made.encode() + json.dumps(details).encode())
    assert (VERSION, found) == (1, "704a37455c3efd3b4bfce2739a1cd31d")


def test_a_scale_makes_the_documents_that_its_numbers_make(tokenizer):
    """Bytes, the fingerprint of the settings included, are those of the divided numbers written out."""
    scaled = {key: value * 4 for key, value in SECTIONS.items()} | {"max_document_tokens": 4000 * 4 + 3, "scale": 4}
    made = [
        LongContextMaker(LongContextConfig(**CWE | {"sections": own}), tokenizer, seed=5).make(make_batch(TEXTS))
        for own in (SECTIONS, scaled)
    ]
    assert made[0].num_rows == 2 and made[0].equals(made[1])
