"""Every token of a made mix leads back to its bytes, every document to its tokens; edits, copies, cut copies, odd ids and bytes."""

from __future__ import annotations

import gzip
import json
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dolma_py import manifest, parquet_files, storage, views
from dolma_py.errors import ConfigError, DataError
from dolma_py.token_texts import TokenTexts, byte_alphabet
from dolma_py.trace_commands import run_trace_document, run_trace_token
from dolma_py.trace_document import trace_document
from dolma_py.trace_mix import find_copies, find_mixes, may_hold, read_range
from dolma_py.trace_text import read_text
from dolma_py.trace_token import trace_token
from mixers import tokenization
from mixers.fim import FimConfig, FimTokens, undo_fim
from mixers.shards import LINEAGE_SCHEMA
from pipelines import steps
from tests import tiny_corpus
from tests.made_mixes import SPECIALS, STEPS, MadeDocument, made_documents, run_in_order, write_mix
from tests.remote_places import open_s3_bucket

CUTS = FimConfig(rate=0.6)
PLAIN = {"n": 1, "flag": True, "word": "x", "spans": []}


@pytest.fixture(scope="module", autouse=True)
def in_order():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "run_units", run_in_order)
        yield


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A byte-level vocabulary so small that most characters outside ASCII are several tokens."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    config = tokenization.BpeConfig(vocab_size=280, special_tokens=SPECIALS)
    path.write_bytes(tokenization.train_bpe(["ab ba \u00e9a \u4e2d\u4e2d a\nb"] * 9, config))
    return str(path)


def one(name, text, **values):
    attributes = {"a-v1": PLAIN | values.pop("a", {}), "b-v1": PLAIN | values.pop("b", {})}
    return MadeDocument(
        name, text, values.pop("source", "code"), attributes, values.pop("copies", 1), values.pop("heldout", False)
    )


def token(corpus, place, **options):
    return trace_token(corpus, place, **{"mix": None, "view": None, "with_attributes": False} | options)


def document(corpus, name, **options):
    return trace_document(corpus, name, **{"mix": None, "view": None, "with_attributes": False} | options)


def check_tokens(corpus, made):
    """Each token of each part, traced: the bytes that it stands for are, in order, the document's."""
    roles = {
        "psm": ["prefix_token", "suffix_token", "middle_token", "end"],
        "spm": ["suffix_token", "prefix_token", "middle_token", "end"],
    }
    lineage = pq.read_table(corpus.path("tokens/mix/lineage.parquet")).to_pylist()
    for copy in lineage:
        found = [token(corpus, f"part-{copy['part']:05d}:{offset}") for offset in range(copy["start"], copy["end"])]
        mine = made[found[0]["document"]["id"]]
        original, kept = mine.text.encode(), mine.kept_bytes()
        spans = [(answer["edited"], answer["original"]) for answer in found if answer["token"]["role"] == "text"]
        if copy["fim_mode"] is not None:
            spans.sort(key=lambda pair: pair[0])
        assert [place for (start, end), _ in spans for place in range(start, end)] == list(range(len(kept)))
        assert [place for _, pieces in spans for start, end in pieces for place in range(start, end)] == kept
        assert [answer["token"]["role"] for answer in found if answer["token"]["role"] != "text"] == roles.get(
            copy["fim_mode"], ["end"]
        )
        for answer in found:
            assert (answer["copy"]["id"], answer["copy"]["copy"]) == (copy["id"], copy["copy"])
            assert answer["copy"]["copies"] == mine.copies and answer["document"]["id"] == mine.id
            context = answer["context"]
            assert context["token"] == b"".join(original[start:end] for start, end in answer["original"]).decode(
                "utf-8", "backslashreplace"
            )
    return len(lineage)


def check_documents(corpus, made, tokenizer):
    """Each document, traced: what became of it, and its tokens are the edited text."""
    loaded = tokenization.load_tokenizer(tokenizer)
    for mine in made.values():
        found = document(corpus, mine.id)
        (fate,) = found["fates"]
        told = fate["steps"][-1]["step"] if fate["verdict"] == "dropped" else fate["verdict"]
        assert told == mine.fate(), mine
        assert [copy["copy"] for copy in fate["copies"]] == (list(range(mine.copies)) if told == "written" else [])
        for copy in fate["copies"]:
            ids = np.fromfile(corpus.path("tokens/mix", copy["part"]), "<u2")[copy["start"] : copy["end"]]
            original = mine.text.encode()
            assert undo_fim(loaded, ids, FimTokens(2, 3, 4)).text.encode() == bytes(
                original[place] for place in mine.kept_bytes()
            )


@pytest.mark.parametrize("fim", [None, CUTS])
@given(groups=made_documents())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_both_ways_through_edits_copies_and_cuts(tokenizer, fim, groups):
    made = {mine.id: mine for group in groups for mine in group}
    with tempfile.TemporaryDirectory() as folder:
        corpus, _ = write_mix(folder, groups, tokenizer, fim=fim)
        written = check_tokens(corpus, made)
        assert written == sum(mine.copies for mine in made.values() if mine.fate() == "written")
        check_documents(corpus, made, tokenizer)


DOCUMENTS = [
    [one("first", "a \u00e9\U0001f600 b", copies=3, a={"spans": [{"start": 2, "end": 4, "score": 1.0}]}), one("second", "ab" * 200)],
    [one("out", "ba", a={"flag": False}), one("kept back", "b", copies=0, heldout=True), one("none", "a", copies=0), one("empty", "")],
]  # fmt: skip


@pytest.fixture
def corpus(tmp_path, tokenizer):
    return write_mix(str(tmp_path / "corpus"), DOCUMENTS, tokenizer)[0]


def test_a_token_says_where_it_came_from(corpus):
    rows = find_copies(find_mixes(corpus, None)[0], "first")
    answer = token(corpus, f"mix/part-00000.npy:{rows[1].start + 2}", with_attributes=True)
    assert answer["token"] == {"mix": "mix", "part": "part-00000.npy", "offset": rows[1].start + 2, "id": answer["token"]["id"],
                               "role": "text", "text": "\\xf0"}  # fmt: skip
    assert answer["copy"]["copy"] == 1 and answer["copy"]["copies"] == 3
    assert (answer["document"]["file"], answer["document"]["line"]) == ("documents/web/part-00000.parquet", 1)
    assert (answer["edited"], answer["original"]) == ([2, 3], [[4, 5]])
    assert answer["context"] == {"before": "a ", "token": "\\xf0", "after": "\\x9f\\x98\\x80 b"}
    assert [step["outcome"] for step in answer["steps"]] == ["cut", "kept", "not for its source", "kept", "kept"]
    assert answer["steps"][0]["cut_bytes"] == 2 and answer["values"]["a-v1"]["flag"] is True
    end = token(corpus, f"part-00000:{rows[1].end - 1}")
    assert (end["token"]["role"], end["token"]["text"], end["original"]) == ("end", SPECIALS[0], [[10, 10]])


def test_a_document_says_why_it_is_not_there(corpus):
    told = {name: document(corpus, name)["fates"][0] for name in ("first", "out", "kept back", "none", "empty")}
    assert told["first"]["why"] == "written 3 times" and len(told["first"]["copies"]) == 3
    assert told["out"]["why"] == "dropped by step flagged" and told["out"]["steps"][0]["reasons"] == [
        "flag = False, must be true"
    ]
    assert told["kept back"]["why"] == "held out for validation, line 1 of tokens/mix/heldout/code.jsonl.gz"
    assert told["none"]["why"] == "sample-v1 drew no copy of it"
    assert told["empty"]["steps"][0]["reasons"] == ["0 bytes of text are left, must be >= 1"]


def test_a_duplicate_names_the_one_that_stays(corpus):
    schema = pa.schema(
        [
            ("is_duplicate", pa.bool_()),
            ("cluster_id", pa.int64()),
            ("kept_id", pa.string()),
            ("similarity", pa.float32()),
        ]
    )
    rows = [[{"is_duplicate": mine.id == "second", "cluster_id": 0, "kept_id": "first", "similarity": 0.5} for mine in group]
            for group in DOCUMENTS]  # fmt: skip
    tiny_corpus.write_attributes(corpus, "minhash-v1", [rows], schema)
    view = corpus.load_view(None).extend(
        "near", [views.Step(name="near", attributes="minhash-v1", keep="not is_duplicate")]
    )
    views.save_view(view, corpus.path("views/near.yaml"))
    (fate,) = document(corpus, "second", view="near")["fates"]
    assert fate["verdict"] == "dropped" and fate["why"] == "dropped by step near; first stays for it"
    assert fate["steps"][0]["evidence"] == {"cluster_id": 0, "kept_id": "first", "similarity": 0.5}


def test_the_commands_print_lines_or_json(corpus):
    options = {"corpus": corpus.root, "mix": None, "view": None, "attributes": True}
    lines = run_trace_token(place="part-00000:0", as_json=False, **options)
    assert "original  bytes" in lines and ">>>" in lines and "\x1b" not in lines
    assert json.loads(run_trace_token(place="part-00000:0", as_json=True, **options))["token"]["offset"] == 0
    told = run_trace_document(name="out", as_json=False, **options)
    assert "dropped by step flagged" in told and "flag = False, must be true" in told and "not reached" in told
    assert json.loads(run_trace_document(name="out", as_json=True, **options))["document"]["row"] == 2


def test_signs_that_steer_a_terminal_are_named(tmp_path, tokenizer):
    made = write_mix(str(tmp_path / "c"), [[one("x\x1b[2J", "a\x1b[31mb")]], tokenizer)[0]
    options = {"corpus": made.root, "mix": None, "view": None, "attributes": True, "as_json": False}
    for lines in (run_trace_token(place="part-00000:1", **options), run_trace_document(name="x\x1b[2J", **options)):
        assert "\x1b" not in lines and "<U+001B>" in lines


@pytest.mark.parametrize("place", ["part-00000", "part-00000:", "part-00000:-1", ":3", "part-00000:x", "nope/part-00000:0", "part-00009:0",
                                   "part-00000:99999999"])  # fmt: skip
def test_what_is_no_token_is_told(corpus, place):
    with pytest.raises(ConfigError, match="expected"):
        token(corpus, place)


def test_what_is_not_there_is_told(corpus):
    with pytest.raises(ConfigError, match=r"expected the id of a document.*rejected"):
        document(corpus, "no such document")
    with pytest.raises(ConfigError, match="expected a complete mix"):
        document(corpus, "first", mix="none")


def test_a_cut_copy_stands_for_its_document(tmp_path, tokenizer):
    made = write_mix(
        str(tmp_path / "c"),
        [[one("x", "abab", copies=2), one("x#fim-0", "b", copies=0)]],
        tokenizer,
        fim=FimConfig(rate=1.0),
    )[0]
    assert document(made, "x#fim-1")["document"]["id"] == "x"
    assert [copy["id"] for copy in document(made, "x")["fates"][0]["copies"]] == ["x#fim-0", "x#fim-1"]
    with pytest.raises(ConfigError):
        document(made, "y#fim-0")


def test_without_a_mix_the_views_are_walked(corpus):
    storage.remove_tree(corpus.path("tokens"))
    assert [fate["view"] for fate in document(corpus, "out")["fates"]] == ["view"]
    assert document(corpus, "out")["fates"][0]["verdict"] == "dropped"
    assert document(corpus, "first", view="view")["fates"][0]["verdict"] == "kept"


def test_a_changed_view_and_an_unknown_one_are_told(corpus):
    run = json.loads(storage.read_bytes(corpus.path("runs/r/00-s/manifest.json")))
    manifest.write_manifest(corpus.path("runs/r/00-s"), run | {"view_fingerprint": "other"})
    with pytest.raises(ConfigError, match="has changed since"):
        token(corpus, "part-00000:0")
    storage.remove_tree(corpus.path("runs"))
    with pytest.raises(ConfigError, match="no run of the corpus says which"):
        token(corpus, "part-00000:0")
    assert token(corpus, "part-00000:0", view="view")["edited"][0] == 0


def test_edits_of_another_view_are_found_out(corpus):
    start = find_copies(find_mixes(corpus, None)[0], "first")[0].start
    bare = corpus.load_view(None)
    views.save_view(bare, corpus.path("views/bare.yaml"))
    with pytest.raises(DataError, match="not those of the document's text"):
        token(corpus, f"part-00000:{start}", view="bare")


def test_torn_and_foreign_files_are_told(corpus):
    side = corpus.path("tokens/mix/part-00000.csv.gz")
    whole = storage.read_bytes(side)
    storage.write_bytes(side, whole[:-20])
    last = find_mixes(corpus, None)[0].made["tokens"] - 1
    with pytest.raises(DataError):
        token(corpus, f"part-00000:{last}")
    storage.write_bytes(
        side, gzip.compress(gzip.decompress(whole).replace(b"first", b"other").replace(b"second", b"other"))
    )
    with pytest.raises(DataError, match=r"lineage\.parquet, expected one"):
        token(corpus, "part-00000:0")
    storage.write_bytes(side, whole)
    ids = np.fromfile(corpus.path("tokens/mix/part-00000.npy"), "<u2")
    storage.write_bytes(corpus.path("tokens/mix/part-00000.npy"), ids[:-1].tobytes())
    with pytest.raises(DataError, match="ends before token"):
        token(corpus, f"part-00000:{last}")


def test_only_row_groups_that_may_hold_the_id_are_read(tmp_path):
    names = sorted(["", "a", "a#fim-0", "b", "\u00e9", "\U0001f600", "\uffff"], key=str.encode)
    rows = [{"id": name, "copy": 0, "part": 0, "start": place, "end": place + 1, "source": "s", "shard": 0, "row": place,
             "fim_mode": "psm" if "#" in name else None} for place, name in enumerate(names)]  # fmt: skip
    path = str(tmp_path / "lineage.parquet")
    with storage.write_file(path) as sink:
        parquet_files.write_rows(sink, LINEAGE_SCHEMA, [pa.Table.from_pylist(rows, LINEAGE_SCHEMA)], group_rows=2)
    with parquet_files.open_parquet(path) as file:
        assert file.num_row_groups == 4
        for place, name in enumerate(names):
            assert place // 2 in may_hold(file, name, name) and len(may_hold(file, name, name)) == 1
            assert [copy.row for copy in read_range(file, name, name)] == [place]
        assert may_hold(file, "a", "a#z") == [0, 1] and may_hold(file, "zz", "zzz") == []
        assert [copy.document for copy in read_range(file, "a#fim-", "a#fim-:")] == ["a"]


def test_places_of_edited_bytes_in_the_original(corpus):
    text = read_text(corpus, corpus.load_view("view"), 0, 0)
    assert text.removed == ((2, 4),) and text.edited == b"a \xf0\x9f\x98\x80 b"
    assert text.to_original(0, 8) == [(0, 2), (4, 10)] and text.to_original(1, 3) == [(1, 2), (4, 5)]
    assert (
        text.to_original(2, 2) == [(4, 4)]
        and text.to_original(0, 0) == [(0, 0)]
        and text.to_original(8, 8) == [(10, 10)]
    )


def test_byte_alphabet_is_that_of_the_library():
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    (written,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        "\u4e2d \x00~\u00ad"
    )
    assert bytes(byte_alphabet()[sign] for sign in written[0]) == "\u4e2d \x00~\u00ad".encode()


@given(text=st.text("ab \u00e9\u4e2d", max_size=12))
@settings(max_examples=30, deadline=None)
def test_other_vocabularies_are_placed_by_the_library(text):
    names = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "\u2581": 4, "\u2581a": 5, "\u00e9": 6}
    backend = Tokenizer(models.BPE(names, [("a", "b"), ("\u2581", "a")], unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace()
    ids = np.array(backend.encode(text).ids, np.int64)
    starts, ends = TokenTexts(backend.to_str().encode(), "t").place(ids, text.encode())
    covered = {place for start, end in zip(starts.tolist(), ends.tolist(), strict=True) for place in range(start, end)}
    assert covered == set(range(len(text.encode()))) and (np.diff(starts) >= 0).all()
    with pytest.raises(DataError, match="not those of the document's text"):
        TokenTexts(backend.to_str().encode(), "t").place(np.append(ids, 1), text.encode())


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model": {}}', b"\xff"])
def test_what_is_no_tokenizer_is_told(content):
    with pytest.raises(DataError, match="not a tokenizer"):
        TokenTexts(content, "t")


def test_on_an_object_store_as_on_disk(corpus, tmp_path):
    with open_s3_bucket("trace") as bucket:
        for info in storage.list_files(corpus.root):
            storage.copy_file(info.path, storage.join_path(bucket, "c", info.path.removeprefix(corpus.root + "/")))
        for options in ({"place": "mix/part-00000.npy:3"}, {"name": "first"}, {"name": "out"}, {"name": "kept back"}):
            run = run_trace_token if "place" in options else run_trace_document
            answers = [
                run(corpus=root, mix=None, view=None, attributes=True, as_json=True, **options)
                for root in (corpus.root, f"{bucket}/c")
            ]
            assert answers[0] == answers[1]


def test_the_steps_of_made_mixes_are_all_walked(corpus):
    assert len(token(corpus, "part-00000:0", with_attributes=True)["steps"]) == len(STEPS)
