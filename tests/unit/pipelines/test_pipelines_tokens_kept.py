"""What tokenizing keeps and refuses: an earlier mix, a user's files, another tokenizer under the same name, chat markup, lost texts."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from dolma_py import hashing, storage
from dolma_py.errors import ConfigError, DataError
from mixers import tokenization
from pipelines import make_tokens, named_tokenizers, sample_mix, steps, tag_documents
from pipelines.make_tokens import MakeTokensConfig
from pipelines.steps import StepContext
from tests import tiny_corpus
from tests.jobs.made_mix import run_in_order

CHAT = "<|im_start|>user\nHi<|im_end|>"
TEXTS = [f"some plain words, {number} times over" for number in range(40)]
OTHER = ["quite another choice of letters and so of merges"] * 9


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(steps, "run_units", run_in_order)


def train(path, *, specials=("<|endoftext|>", "<|pad|>"), texts=TEXTS):
    Path(path).write_bytes(
        tokenization.train_bpe(texts, tokenization.BpeConfig(vocab_size=300, special_tokens=specials))
    )
    return str(path)


def write(root, texts=TEXTS, heldout=()):
    """A corpus of two shards of two row groups, every document drawn once but those held out."""
    rows = [{"id": f"d{n}", "text": text, "source": "web"} for n, text in enumerate(texts)]
    drawn = [{"copies": int(n not in heldout), "is_heldout": n in heldout, "bucket": 0} for n in range(len(texts))]
    quarter = len(texts) // 4

    def cut(values):
        return [
            [values[:quarter], values[quarter : 2 * quarter]],
            [values[2 * quarter : 3 * quarter], values[3 * quarter :]],
        ]

    made = tiny_corpus.write_corpus(str(root), cut(rows))
    tiny_corpus.write_attributes(made, "sample-v1", cut(drawn), sample_mix.SET_SCHEMA)
    return made


def tokenize(made, tokenizer, step="00-s", split_bytes=1, **settings):
    context = StepContext(
        lambda: None, made, made.load_view(None), "s", f"runs/r/{step}", step, 7, {}, split_bytes=split_bytes
    )
    return make_tokens.run(context, MakeTokensConfig(mix="mix", tokenizer=str(tokenizer), **settings))


def read_manifest(made):
    return json.loads(storage.read_bytes(made.path("tokens/mix/manifest.json")))


def test_an_error_in_the_first_pass_leaves_the_earlier_mix(tmp_path):
    made = write(tmp_path / "corpus", [*TEXTS, "and <|pad|>"])
    tokenizer = train(tmp_path / "tokenizer.json")
    tokenize(made, tokenizer)
    before = {info.path: storage.read_bytes(info.path) for info in storage.list_files(made.path("tokens/mix"))}
    with pytest.raises(DataError, match="special token"):
        tokenize(made, tokenizer, "01-s", special_tokens="error")
    after = {info.path: storage.read_bytes(info.path) for info in storage.list_files(made.path("tokens/mix"))}
    assert made.path("tokens/mix/manifest.json") in before and after == before


def test_files_of_the_user_stay_and_those_of_a_larger_mix_go(tmp_path):
    made = write(tmp_path / "corpus", heldout={3, 9})
    tokenizer = train(tmp_path / "tokenizer.json")
    tokenize(made, tokenizer)
    folder = Path(made.path("tokens/mix"))
    for name in (
        "README.txt",
        "heldout/notes.md",
        "part-of-mine.npy",
        "part-00007.npy",
        "part-00007.csv.gz",
        "heldout/old.jsonl.gz",
    ):
        (folder / name).write_text("here before")
    result = tokenize(made, tokenizer, "01-s")
    assert {name for name in ("README.txt", "heldout/notes.md", "part-of-mine.npy") if (folder / name).exists()} == {
        "README.txt", "heldout/notes.md", "part-of-mine.npy",
    }  # fmt: skip
    assert not [
        path for path in folder.rglob("*") if path.name in ("part-00007.npy", "part-00007.csv.gz", "old.jsonl.gz")
    ]
    assert sorted(result.files) == [
        f"tokens/mix/{name}"
        for name in ("heldout/web.jsonl.gz", "lineage.parquet", "part-00000.csv.gz", "part-00000.npy", "tokenizer.json")
    ]


def test_a_tokenizer_changed_in_its_folder_is_another_step(tmp_path):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    made = write(tmp_path / "corpus")
    seen = []
    for texts in (TEXTS, OTHER):
        train(folder / "tokenizer.json", texts=texts)
        settings = MakeTokensConfig(mix="mix", tokenizer=str(folder))
        counter = {"tagger": "mixers.token_count:TokenCountTagger", "options": {"tokenizer": str(folder)}}
        tag = tag_documents.TagConfig(taggers=[counter])
        seen.append((make_tokens.fingerprint_inputs(made, settings), tag_documents.fingerprint_inputs(made, tag)))
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]
    assert seen[1][0] == make_tokens.fingerprint_inputs(
        made, MakeTokensConfig(mix="mix", tokenizer=str(folder / "tokenizer.json"))
    )


def test_workers_take_the_tokenizer_that_the_step_began_with(tmp_path):
    """Replaced while the step runs: nobody reads it again. The step's own copy replaced: told."""
    made = write(tmp_path / "corpus")
    path = train(tmp_path / "tokenizer.json")
    whole = tokenize(made, path).facts["fingerprint"], read_manifest(made)["tokenizer"]
    copy = train(tmp_path / "copy.json", texts=OTHER)
    with pytest.raises(DataError, match="began with"):
        named_tokenizers.cached_tokenizer(copy, storage.checksum_file(path), "<|pad|>")
    plain = make_tokens.place_tokenizer

    def place_and_replace(*given):
        placed = plain(*given)
        train(path, texts=OTHER)
        return placed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_tokens, "place_tokenizer", place_and_replace)
        tokenize(made, path)
    assert (whole[0], read_manifest(made)["tokenizer"]) == whole


def test_a_step_that_stopped_in_its_second_pass_goes_on(tmp_path, monkeypatch):
    """The first pass is not done again, the manifest of the earlier mix is gone, and the bytes are those of a run that did not stop."""
    made = write(tmp_path / "corpus", TEXTS * 9)
    path = train(tmp_path / "tokenizer.json")
    tokenize(made, path, tokens_per_part=1024)
    whole = {info.path: storage.read_bytes(info.path) for info in storage.list_files(made.path("tokens/mix"))}
    assert len(whole) > 8
    plain = make_tokens.write_unit

    def stop(params, attempts):
        if params["bucket"] == 2:
            raise DataError("part", "stopped")
        return plain(params, attempts)

    with monkeypatch.context() as patch:
        patch.setattr(make_tokens, "write_unit", stop)
        with pytest.raises(DataError, match="stopped"):
            tokenize(made, path, "01-s", tokens_per_part=1024)
    assert not Path(made.path("tokens/mix/manifest.json")).exists()
    monkeypatch.setattr(make_tokens, "encode_split", None)
    tokenize(made, path, "01-s", tokens_per_part=1024)
    again = {info.path: storage.read_bytes(info.path) for info in storage.list_files(made.path("tokens/mix"))}
    manifests = [json.loads(files.pop(made.path("tokens/mix/manifest.json"))) for files in (whole, again)]
    assert again == whole
    assert manifests[0] | {"fingerprint": ""} == manifests[1] | {"fingerprint": ""}


def test_an_end_token_is_named(tmp_path):
    made = write(tmp_path / "corpus")
    path = train(tmp_path / "tokenizer.json", specials=("<|pad|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"))
    with pytest.raises(ConfigError) as caught:
        tokenize(made, path)
    assert caught.value.key == "eos_token" and "end\u2581of" in str(caught.value.got) and caught.value.where == path
    tokenize(made, path, "01-s", eos_token="<\uff5cend\u2581of\u2581sentence\uff5c>")
    ids = np.fromfile(made.path("tokens/mix/part-00000.npy"), "<u2")
    assert read_manifest(made)["eos_token_id"] == 1 and np.count_nonzero(ids == 1) == len(TEXTS)


def test_parts_hold_about_as_many_tokens_as_said(tmp_path):
    """Of text that the vocabulary does not merge, three bytes a character and three tokens."""
    made = write(tmp_path / "corpus", ["\u4e2d\u6587\u5b57\u7b26" * 3] * 900)
    tokenize(made, train(tmp_path / "tokenizer.json"), tokens_per_part=4096)
    tokens = [part["tokens"] for part in read_manifest(made)["files"]]
    assert sum(tokens) == 900 * 37 and len(tokens) == 9 and max(tokens) < 1.3 * 4096


def make_lossy(path):
    backend = Tokenizer(models.WordLevel({"some": 0, "[UNK]": 1}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    backend.add_special_tokens([AddedToken("</s>", special=True)])
    Path(path).write_text(backend.to_str())
    return str(path)


def test_a_vocabulary_that_loses_text_is_told(tmp_path, caplog):
    made = write(tmp_path / "corpus")
    tokenize(made, train(tmp_path / "tokenizer.json"))
    assert read_manifest(made)["lossless"] is True and not caplog.records
    with caplog.at_level(logging.WARNING, "dolma_py.build"):
        result = tokenize(made, make_lossy(tmp_path / "lossy.json"), "01-s")
    assert read_manifest(made)["lossless"] is False and result.facts["lossless"] is False
    assert "lossy.json does not give texts back" in caplog.text


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normalizers_lose_text(form):
    values = json.loads(tokenization.train_bpe(TEXTS, tokenization.BpeConfig(vocab_size=300)))
    plain = tokenization.build_tokenizer(json.dumps(values).encode())
    changed = tokenization.build_tokenizer(json.dumps(values | {"normalizer": {"type": form}}).encode())
    assert tokenization.find_loss(plain) is None
    text, back = tokenization.find_loss(changed)
    assert text != back and "e\u0301" in text


def test_chat_markup_is_an_error_in_any_vocabulary(tmp_path):
    made = write(tmp_path / "corpus", [*TEXTS, CHAT])
    path = train(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"<\|im_start\|>user"):
        tokenize(made, path, special_tokens="error")
    with pytest.raises(DataError, match=r"<\|im_end\|>"):
        tokenize(made, path, "01-s", special_tokens="error", allowed_special_tokens=["<|im_start|>"])
    allowed = ["<|im_start|>", "<|im_end|>"]
    tokenize(made, path, "02-s", special_tokens="error", allowed_special_tokens=allowed)
    assert read_manifest(made)["documents"] == len(TEXTS) + 1


@pytest.mark.parametrize("most", [0, 1, 5, 100])
@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
def test_the_smallest_hashes_are_held_out(tmp_path, most, split_bytes):
    chosen = set(range(0, 40, 2))
    made = write(tmp_path / "corpus", heldout=chosen)
    tokenize(made, train(tmp_path / "tokenizer.json"), split_bytes=split_bytes, max_heldout_docs=most)
    content = gzip.decompress(storage.read_bytes(made.path("tokens/mix/heldout/web.jsonl.gz")))
    found = [json.loads(line) for line in content.splitlines()]
    ids = [f"d{n}" for n in sorted(chosen)]
    hashes = hashing.hash_ids(ids, seed=7, name="heldout order").tolist()
    assert [row["id"] for row in found] == [ids[n] for n in np.argsort(np.array(hashes, np.uint64))][:most]
    assert all(row["text"] == TEXTS[int(row["id"][1:])] for row in found)


def test_a_split_writes_no_more_held_out_documents_than_are_kept(tmp_path, monkeypatch):
    made = write(tmp_path / "corpus", heldout=set(range(0, 40, 2)))
    written = []

    def keep(spark, units, work, *, done, attempts, **others):
        times = run_in_order(spark, units, work, done=done, attempts=attempts, **others)
        written.extend(file for unit in done.units.values() for file in unit["files"] if "/heldout/" in file["path"])
        return times

    monkeypatch.setattr(steps, "run_units", keep)
    tokenize(made, train(tmp_path / "tokenizer.json"), split_bytes=1 << 20, max_heldout_docs=3)
    work = [file["rows"] for file in written if "/work/" in file["path"]]
    assert work and max(work) <= 3
