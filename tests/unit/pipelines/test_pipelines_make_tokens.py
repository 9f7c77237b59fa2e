"""A mix tokenized in this process: the bytes of the view's edited texts come back, cut copies are named, and nothing depends on splits."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dolma_py import storage
from dolma_py.errors import ConfigError, ConservationError, DataError
from dolma_py.views import Step
from mixers import tokenization
from mixers.fim import FimConfig
from pipelines import make_tokens, merged_pieces, sample_mix, steps
from pipelines.make_tokens import MakeTokensConfig
from pipelines.shard_texts import compare_texts, main
from pipelines.steps import StepContext
from pipelines.units import UnitTimes
from tests import tiny_corpus
from tests.peers import olmo_core_reader

ODD = [
    "", "\u00e9",
    "def f(x):\n    return x\r\n", "<|endoftext|> spelled <|fim_prefix|>", "\U0001f600\u200d\U0001f469 e\u0301", "  \n\n\t ", "x" * 5_000,
    "\x00\x1f\u2028", "plain words, and 12345 more of them. " * 30,
]  # fmt: skip
COPIES = [1, 3, 0, 2]
SPECIALS = ("<|endoftext|>", "<|pad|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


def run_in_order(spark, units, work, *, done, attempts, **_):
    """The units, one after another, in this process."""
    for unit in units:
        done.publish(unit.name, *work(unit.params, attempts))
    return UnitTimes(0.0, 0)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two shards of two row groups; a view that cuts bytes out of every text of five bytes; a sample; a tokenizer."""
    monkeypatch.setattr(steps, "run_units", run_in_order)
    rows = [
        {"text": f"{text}{number}", "source": "code" if number % 3 else "web"} for number, text in enumerate(ODD * 4)
    ]
    rows[0]["text"] = ""
    shards = [[rows[:10], rows[10:13]], [rows[13:30], rows[30:]]]
    made = tiny_corpus.write_corpus(str(tmp_path / "corpus"), shards)
    spans = [[[{"spans": [{"start": 0, "end": 1, "score": 1.0}] if row["text"][:1] == "p" else []} for row in group] for group in groups]
             for groups in shards]  # fmt: skip
    tiny_corpus.write_attributes(made, "edits-v1", spans)
    place = iter(range(len(rows)))
    sample = [
        [[{"copies": COPIES[next(place) % 4], "is_heldout": False, "bucket": 0} for _ in group] for group in groups]
        for groups in shards
    ]
    tiny_corpus.write_attributes(made, "sample-v1", sample, sample_mix.SET_SCHEMA)
    view = made.load_view(None).extend("view", [Step(name="cut", attributes="edits-v1", edit="spans")])
    config = tokenization.BpeConfig(vocab_size=400, special_tokens=SPECIALS)
    (tmp_path / "tokenizer.json").write_bytes(tokenization.train_bpe([row["text"] for row in rows], config))
    return made, view, str(tmp_path / "tokenizer.json"), sum(COPIES[place % 4] for place in range(len(rows)))


def tokenize(corpus, *, fim=None, split_bytes=1 << 20, step="00-s", tokenizer=None, view=None):
    made, edited, path, _ = corpus
    context = StepContext(
        lambda: None, made, view or edited, "s", f"runs/r/{step}", "f", 7, {}, split_bytes=split_bytes
    )
    settings = MakeTokensConfig(mix="mix", tokenizer=tokenizer or path, tokens_per_part=1024, fim=fim)
    return make_tokens.run(context, settings)


def list_bytes(made):
    folder = made.path("tokens", "mix")
    return {info.path: storage.read_bytes(info.path) for info in storage.list_files(folder)}


CODE = FimConfig(sources={"code": 0.7})


@pytest.mark.parametrize("fim", [None, CODE, FimConfig(rate=1.0, spm_frac=1.0)])
def test_every_document_comes_back_byte_for_byte(corpus, fim):
    made, view, _, copies = corpus
    result = tokenize(corpus, fim=fim)
    assert result.facts["documents"] == compare_texts(made, view, "mix") == copies
    found = olmo_core_reader.check_folder(made.path("tokens", "mix"), vocab_size=result.facts["vocab_size"], eos=0)
    assert len(found) > 1 and sum(map(len, found.values())) == copies
    with pytest.raises(DataError, match="not the text"):
        compare_texts(made, made.load_view(None), "mix")  # without the view's edits


def test_cut_copies_are_named_and_stay_in_their_source(corpus):
    made, view, _, _ = corpus
    tokenize(corpus, fim=CODE)
    lineage = pq.read_table(made.path("tokens/mix/lineage.parquet")).to_pylist()
    cut = [row for row in lineage if row["fim_mode"] is not None]
    assert {row["fim_mode"] for row in cut} == {"psm", "spm"} and {row["source"] for row in cut} == {"code"}
    assert all(row["id"].endswith(f"#fim-{row['copy']}") and 0 <= row["fim_start"] <= row["fim_end"] for row in cut)
    others = [row for row in lineage if row["fim_mode"] is None]
    assert all("#" not in row["id"] and row["fim_start"] is row["fim_end"] is None for row in others)
    assert {row["source"] for row in others} == {"code", "web"}
    manifest = json.loads(storage.read_bytes(made.path("tokens/mix/manifest.json")))
    counted = {mode: sum(row["fim_mode"] == mode for row in cut) for mode in ("psm", "spm")}
    assert manifest["fim"] == {"prefix_token_id": 2, "middle_token_id": 3, "suffix_token_id": 4, "documents": counted}


def test_a_copy_has_the_place_that_it_has_uncut(corpus):
    made = corpus[0]
    order = []
    for fim in (None, CODE):
        tokenize(corpus, fim=fim, step=f"0{len(order)}-s")
        rows = pq.read_table(made.path("tokens/mix/lineage.parquet")).sort_by(
            [("part", "ascending"), ("start", "ascending")]
        )
        order.append(rows.select(["shard", "row", "copy"]).to_pylist())
    assert order[0] == order[1]


def test_copies_lie_far_apart_in_the_tokens(tmp_path, corpus):
    """Of 600 documents of about equal length, with 1 to 7 copies: the nearest two of k are 1/(2k) of all tokens apart, around the end too."""
    *_, path, _ = corpus
    rows = [{"text": f"{number:03d} {'some words ' * 9}", "source": "web"} for number in range(600)]
    made = tiny_corpus.write_corpus(str(tmp_path / "apart"), [[rows[:300], rows[300:]]])
    copies = {row: 1 + row % 7 for row in range(600)}
    values = [{"copies": copies[row], "is_heldout": False, "bucket": 0} for row in range(600)]
    tiny_corpus.write_attributes(made, "sample-v1", [[values[:300], values[300:]]], sample_mix.SET_SCHEMA)
    tokenize((made, made.load_view(None), path, sum(copies.values())))
    parts = json.loads(storage.read_bytes(made.path("tokens/mix/manifest.json")))["files"]
    assert len(parts) > 5
    before = np.cumsum([0, *(part["tokens"] for part in parts)])
    lineage = pq.read_table(made.path("tokens/mix/lineage.parquet"))
    place = before[lineage.column("part").to_numpy()] + lineage.column("start").to_numpy()
    row = lineage.column("row").to_numpy()
    for number in range(600):
        places = np.sort(place[row == number])
        assert len(places) == copies[number]
        gaps = np.diff([*places, places[0] + before[-1]])
        # the guarantee is of the hashes' range; 2400 copies fall into it unevenly by some 1/50
        assert gaps.min() / before[-1] > 1 / (2 * len(places)) - 0.03, number


def test_bytes_do_not_depend_on_splits(corpus):
    made = corpus[0]
    tokenize(corpus, fim=CODE)
    whole = list_bytes(made)
    tokenize(corpus, fim=CODE, split_bytes=1, step="01-s")
    assert len(whole) > 4 and list_bytes(made) == whole


def test_merged_work_files_give_the_same_bytes(corpus, monkeypatch):
    """Four splits, two at a time, over two levels; ranges that are not those of the parts."""
    made = corpus[0]
    tokenize(corpus, fim=CODE)
    whole, merged = list_bytes(made), []
    plain = merged_pieces.merge_unit
    monkeypatch.setattr(merged_pieces, "MAX_READS", 1)
    monkeypatch.setattr(merged_pieces, "FAN_IN", 2)
    monkeypatch.setattr(
        merged_pieces, "merge_unit", lambda params, attempts: merged.append(params["path"]) or plain(params, attempts)
    )
    monkeypatch.setattr(make_tokens, "plan_ranges", lambda *_: 5)
    tokenize(corpus, fim=CODE, split_bytes=1, step="01-s")
    assert len({path.rpartition("/")[0] for path in merged}) == 2 and list_bytes(made) == whole


def test_the_driver_knows_a_split_by_one_file_and_a_few_numbers(corpus, monkeypatch):
    """Whatever the number of parts: a line of the done file, and the parameters of a part's task, do not grow with it."""
    made, sizes = corpus[0], {}

    def measure(spark, units, work, *, done, attempts, **others):
        times = run_in_order(spark, units, work, done=done, attempts=attempts, **others)
        lines = [len(json.dumps(line)) for line in done.units.values()]
        sizes.setdefault(done.folder, []).append((max(lines), max(len(json.dumps(unit.params)) for unit in units)))
        return times

    monkeypatch.setattr(steps, "run_units", measure)
    for number, ranges in enumerate((2, 20_000)):
        monkeypatch.setattr(make_tokens, "plan_ranges", lambda *_, ranges=ranges: ranges)
        tokenize(corpus, split_bytes=1, step=f"0{number}-s")
    for phase in ("pieces", "parts"):
        (few_line, few_params), (many_line, many_params) = (sizes[f"runs/r/0{n}-s/work/{phase}"][0] for n in (0, 1))
        assert many_line < few_line + 10 and many_params < few_params + 10
    files = [file for file in storage.list_files(made.path("runs/r/01-s/work/pieces")) if file.path.endswith(".pieces")]
    assert len(files) == 4


def test_missing_tokens_stop_the_step_before_any_work(corpus, tmp_path):
    made = corpus[0]
    tokenize(corpus)
    before = list_bytes(made)
    (tmp_path / "bare.json").write_bytes(tokenization.train_bpe(["a b"], tokenization.BpeConfig(vocab_size=300)))
    with pytest.raises(ConfigError, match=r"fim\.prefix_token.*special_tokens"):
        tokenize(corpus, fim=CODE, step="01-s", tokenizer=str(tmp_path / "bare.json"))
    assert list_bytes(made) == before


def test_a_changed_token_and_a_lost_row_are_found(corpus):
    made, view, _, _ = corpus
    tokenize(corpus, fim=CODE)
    path = made.path("tokens/mix/part-00000.npy")
    ids = np.fromfile(path, "<u2")
    lineage = pq.read_table(made.path("tokens/mix/lineage.parquet"))
    whole = ids.copy()
    ids[0] = 300 if ids[0] != 300 else 301
    ids.tofile(path)
    with pytest.raises(DataError):
        compare_texts(made, view, "mix")
    whole.tofile(path)
    pq.write_table(lineage.slice(1), made.path("tokens/mix/lineage.parquet"))
    with pytest.raises(ConservationError):
        compare_texts(made, view, "mix")


def test_the_command_compares_a_mix_of_all_documents(corpus, capsys):
    made, _, _, copies = corpus
    tokenize(corpus, view=made.load_view(None))
    assert main([made.root, "mix"]) == 0
    assert f"{copies} copies" in capsys.readouterr().out
