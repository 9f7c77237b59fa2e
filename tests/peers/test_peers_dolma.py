"""Documents and attributes against Ai2's dolma: its recorded output everywhere, dolma itself where make peers has installed it."""

from __future__ import annotations

import json

import pytest

from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import plan_splits
from dolma_py.views import read_attributes
from tests.peers import made_tree, our_side, record_dolma

RECORDED = our_side.RECORDED / "dolma"
needs_dolma = pytest.mark.skipif(
    not (our_side.ENVIRONMENTS / "dolma" / ".installed").exists(), reason="dolma is not there: run make peers"
)
ATTRIBUTES = sorted(
    path for command in ("tag", "dedupe", "dedupe-documents") for path in (RECORDED / command).glob("*/*/*.jsonl")
)


def read_texts(folder, view):
    """id -> text of a view."""
    corpus = Corpus(str(folder / "corpus"))
    view = corpus.load_view(view)
    texts = {}
    for split in plan_splits(corpus.read_listing(), 1 << 30):
        for batch in read_view(corpus, view, split):
            pairs = zip(
                batch.documents.column("id").to_pylist(), batch.documents.column("text").to_pylist(), strict=True
            )
            texts.update(pairs)
    return texts


def read_tree(folder, kind="documents"):
    """The records of a tree by id."""
    return {row["id"]: row for path in sorted(folder.glob(f"{kind}/*/*.gz")) for row in made_tree.read_lines(path)}


def list_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_dolmas_mixer_and_our_view_agree(ours):
    """Same rows, same texts: dolma mix over our export, filtering and cutting by our attributes; and our view over the corpus."""
    about = json.loads((RECORDED / "mix" / "recorded.json").read_text())
    assert about["tree_sha256"] == record_dolma.digest_tree(ours / "export"), "the export has changed: record again"
    mixed = {row["id"]: row["text"] for row in made_tree.read_lines(RECORDED / "mix" / "mixed-0000.json")}
    assert mixed == read_texts(ours, "ingest")
    all_ids = {document["id"] for source in made_tree.TEXTS for document in made_tree.make_documents(source)}
    assert 5 < len(mixed) < len(all_ids) and "" in mixed.values()
    assert any(made_tree.NOTICE in text for texts in made_tree.TEXTS.values() for text in texts)
    assert not any(made_tree.NOTICE in text or not text.isascii() for text in mixed.values())


def test_exported_documents_are_those_that_came_in(ours):
    made = {document["id"]: document for source in made_tree.TEXTS for document in made_tree.make_documents(source)}
    exported = read_tree(ours / "export")
    assert list(exported) == [*[name for name in made if "notes" in name], *[name for name in made if "web" in name]]
    for name, document in made.items():
        found = exported[name]
        assert found["metadata"].pop("origin").startswith(document["source"])
        assert [found.get(key) for key in ("text", "source")] == [document["text"], document["source"]]
        assert found["metadata"] == document.get("metadata", {})
        assert ("added" in found) == ("added" in document) and None not in found.values()


def test_exported_attributes_are_those_that_came_in(ours):
    """From characters to bytes and back. A name that a line does not have came in as no spans."""
    exported = read_tree(ours / "export", "attributes/dolma_made_v1")
    for source in made_tree.TEXTS:
        for document in made_tree.make_documents(source):
            expected = {"made__odd__notice": []} | made_tree.make_attributes(document)
            values = exported[document["id"]]["attributes"].items()
            found = {key.replace("dolma_made_v1__dolma_made_v1", "made"): value for key, value in values}
            assert found == expected


def test_an_edited_view_is_exported_with_its_spans_moved(ours):
    texts = read_texts(ours, "ingest")
    documents, attributes = read_tree(ours / "edited"), read_tree(ours / "edited", "attributes/dolma_made_v1")
    assert {name: row["text"] for name, row in documents.items()} == texts
    assert list(attributes) == list(documents)
    for name, row in attributes.items():
        values = {key.removeprefix("dolma_made_v1__dolma_made_v1__"): value for key, value in row["attributes"].items()}
        assert values["odd__run"] == values["odd__notice"] == []
        assert [value[:2] for value in values["size__length"]] == ([[0, len(texts[name])]] if texts[name] else [])


@pytest.mark.parametrize("path", ATTRIBUTES, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_attributes_that_dolma_wrote_are_read(ours, path):
    """Every span and score of the recorded file, at the bytes that Python's own str gives for its characters."""
    experiment, source = path.parts[-3:-1]
    corpus = Corpus(str(ours / "corpus"))
    shard = next(shard for shard in corpus.read_listing().shards if shard.source == source)
    table = read_attributes(corpus.root, f"dolma-{experiment}-v1", shard, [0])
    rows = made_tree.read_lines(path)
    assert table.num_rows == len(rows) == len(made_tree.TEXTS[source])
    names = {name for row in rows for name in row["attributes"]}
    assert names or source == "notes"
    for name in names:
        column = name.removeprefix(f"{experiment}__")
        spans, scores = (table.column(key).to_pylist() for key in (column, f"{column}__score"))
        for row, text, found, score in zip(rows, made_tree.TEXTS[source], spans, scores, strict=True):
            given = [
                [min(start, len(text)), min(end, len(text)), value]
                for start, end, value in row["attributes"].get(name, [])
            ]
            places = [[len(text[:start].encode()), len(text[:end].encode())] for start, end, _ in sorted(given)]
            assert [[span["start"], span["end"]] for span in found] == places
            assert [span["score"] for span in found] == pytest.approx(
                [value for _, _, value in sorted(given)], rel=1e-6
            )
            whole = [value for start, end, value in given if (start, end) == (0, len(text))]
            assert score == (whole[0] if len(given) == len(whole) == 1 else None)


def test_spans_behind_the_end_are_clipped_and_counted(ours):
    """dolma's deduplication of documents ends its spans at the byte length: web-8, a copy with a two-byte character."""
    made = json.loads((ours / "corpus" / "runs" / "ingest" / "00-ingest" / "manifest.json").read_text())["facts"][
        "attributes"
    ]
    recorded = made_tree.read_lines(RECORDED / "dedupe-documents" / "copies" / "web" / "0.jsonl")
    copy = next(row for row in recorded if row["id"] == "web-8")["attributes"]["copies"]
    text = made_tree.TEXTS["web"][8]
    assert copy == [[0, len(text.encode()), 1]] and len(text.encode()) == len(text) + 1
    assert {name: facts["clipped_spans"] for name, facts in made.items() if facts["clipped_spans"]} == {
        "dolma-copies-v1": 1
    }
    assert made["dolma-copies-v1"]["documents"] == 15


@needs_dolma
@pytest.mark.parametrize("command", ["tag", "dedupe", "dedupe-documents"])
def test_dolma_still_makes_the_recorded_attributes(tmp_path, command):
    made_tree.write_tree(tmp_path / "tree")
    our_side.record_dolma_of(tmp_path / "tree", tmp_path / "recorded", command)
    assert list_files(tmp_path / "recorded" / command) == list_files(RECORDED / command)


@needs_dolma
def test_dolma_still_mixes_our_export_as_recorded(ours, tmp_path):
    our_side.record_dolma_of(ours / "export", tmp_path, "mix")
    assert list_files(tmp_path / "mix") == list_files(RECORDED / "mix")
