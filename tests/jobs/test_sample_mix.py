"""A mix drawn from its plan: what was planned, the same bytes by sorting and by passes, excluded documents nowhere."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py.errors import ConfigError, ConservationError, DataError, DolmaError
from mixers.tokenization import BpeConfig, train_bpe
from pipelines import steps
from pipelines.job_main import run_step_file
from pipelines.sample_mix import SET_SCHEMA
from tests.dedup_jobs import list_output, read_set
from tests.jobs.made_mix import (
    CELLS,
    NUM_DOCS,
    OPTIONS,
    SCORES,
    SIZED,
    VARIANTS,
    make,
    plan,
    read_table,
    run_in_order,
    sample,
    write,
)
from tests.tiny_corpus import write_attributes, write_corpus


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def made(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    heldout, settings = VARIANTS[request.param]
    return root, make(root, heldout, **settings), heldout, settings


def test_the_table_says_what_the_attributes_say(made):
    """Recounted from the attributes; every pool within its edge, every source within half of the longest."""
    root, rows, _, settings = made
    sums = defaultdict(lambda: [0, 0, 0])
    for row, values in zip(rows, read_set(root, "sample-v1"), strict=True):
        assert values["is_heldout"] == (values["bucket"] == -1) and (not values["is_heldout"] or values["copies"] == 0)
        if values["copies"]:
            found = sums[row["source"], row["topic"], values["bucket"]]
            for place, number in enumerate((row["tokens"] * values["copies"], 1, values["copies"])):
                found[place] += number
    table = read_table(root)
    told = {(row["source"], row["topic"], row["bucket"]): row for row in table}
    for key, row in told.items():
        assert [row["sampled_tokens"], row["sampled_documents"], row["copies"]] == sums[key]
    assert set(sums) <= set(told) and len(table) == 2 * 2 * 5
    pools, sources = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
    for row in table:
        for found in (pools[row["pool"]], sources[row["source"]]):
            found[0] += row["sampled_tokens"] - row["planned_tokens"]
            found[1] = max(found[1], row["edge_tokens"])
    assert all(abs(off) <= edge <= 700 for off, edge in pools.values())
    assert all(2 * abs(off) <= edge for off, edge in sources.values())
    assert len(pools) == (4 if "selection" in settings else 20)
    facts = json.loads((root / "runs/sample/00-sample/manifest.json").read_text())["facts"]
    assert facts["sampled_tokens"] == sum(row["sampled_tokens"] for row in table)
    assert 2 * abs(facts["sampled_tokens"] - facts["planned_tokens"]) <= 2 * 700 and facts["planned_tokens"] == 60_000


@pytest.mark.parametrize(
    ("partitions", "max_docs"),
    [
        (2, 10_000_000),
        (7, 1),
        pytest.param(1, 60, marks=pytest.mark.slow),
        pytest.param(2, 200, marks=pytest.mark.slow),
    ],
)
def test_partitions_and_passes_change_no_byte(made, tmp_path, partitions, max_docs):
    root, _, heldout, settings = made
    make(tmp_path, heldout, partitions=partitions, max_docs=max_docs, **settings)
    assert list_output(tmp_path) == list_output(root)
    for step in ("plan", "sample"):
        passes = json.loads((tmp_path / f"runs/{step}/00-{step}/run.json").read_text())["passes"]
        assert bool(passes) == (max_docs < NUM_DOCS)


@pytest.mark.slow
def test_a_task_may_count_several_splits(made, tmp_path, monkeypatch):
    root, _, heldout, settings = made
    monkeypatch.setattr("pipelines.mix_passes.MAX_UNITS", 2)
    make(tmp_path, heldout, max_docs=1, **settings)
    assert list_output(tmp_path) == list_output(root)


def test_top_and_reservoir_take_who_they_should(made):
    root, rows, _, settings = made
    drawn = [
        row | values for row, values in zip(rows, read_set(root, "sample-v1"), strict=True) if not values["is_heldout"]
    ]
    for row in drawn:
        row["score"] = float("-inf") if row["score"] is None else row["score"]  # below all that have one
    best = [row for row in drawn if row["source"] == "web" and not row["dirty"]]
    for topic in ("art", "law") if "selection" in settings else ():
        mine = [row for row in best if row["topic"] == topic]
        most = max(row["copies"] for row in mine)
        # those with the copy more have no smaller score than those without
        assert min(row["score"] for row in mine if row["copies"] == most) >= max(
            (row["score"] for row in mine if row["copies"] < most), default=float("-inf")
        )
    low = [row for row in drawn if row["source"] == "code" and row["bucket"] < 3]
    assert low and any(row["copies"] for row in low) == ("selection" not in settings)
    assert any(row["dirty"] and row["copies"] for row in drawn) == ("exclude" not in settings)
    sized = {(row["size"], row["bucket"]) for row in drawn if row["source"] == "web"}
    assert (sized == {(1, 0), (2, 1), (3, 1), (9, 2)}) == ("duplicates" in settings)


def test_held_out_and_flagged_documents_are_nowhere_in_the_mix(tmp_path):
    """The held-out documents of an earlier mix by its file, one by its line in a list, contaminated ones by their attribute."""
    rows = make(tmp_path, {"heldout_docs": 5})
    before = read_set(tmp_path, "sample-v1")
    taken = [number for number, values in enumerate(before) if values["copies"]]
    flagged = {row["id"] for row in rows if row["dirty"]}
    planted = [rows[number]["id"] for number in taken if rows[number]["id"] not in flagged][:3]
    with gzip.open(tmp_path / "web.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps({"id": name, "text": "kept for validation"}) + "\n" for name in planted[:2])
    (tmp_path / "more.txt").write_text(f"\n{planted[2]}\nnobody\n")
    exclude = {"flags": ["scores-v1.dirty"], "ids": [str(tmp_path / "web.jsonl.gz"), str(tmp_path / "more.txt")]}
    sample(tmp_path, {"heldout_docs": 5}, exclude=exclude)
    after = read_set(tmp_path, "sample-v1")
    copies = {row["id"]: values["copies"] for row, values in zip(rows, after, strict=True)}
    assert not any(copies[name] for name in {*flagged, *planted})
    assert [values["bucket"] for values in after] == [values["bucket"] for values in before]
    facts = json.loads((tmp_path / "runs/sample/00-sample/manifest.json").read_text())["facts"]
    assert facts["excluded_documents"] == {"scores-v1.dirty": len(flagged), "ids": 3}
    assert sum(row["excluded_documents"] for row in read_table(tmp_path)) <= len(flagged) + 3
    assert abs(facts["sampled_tokens"] - facts["planned_tokens"]) <= 700
    # the list is part of what decides: a longer one is not taken for done
    (tmp_path / "more.txt").write_text(f"{planted[2]}\n{rows[taken[-1]]['id']}\n")
    sample(tmp_path, {"heldout_docs": 5}, exclude=exclude)
    assert read_set(tmp_path, "sample-v1")[taken[-1]]["copies"] == 0


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"exclude": {"flags": ["scores-v1.score"]}}, ConfigError, "expected a column of booleans"),
        ({"exclude": {"flags": ["scores-v1.nosuch"]}}, ConfigError, "expected a column of scores-v1"),
        ({"exclude": {"ids": ["{corpus}/nosuch.txt"]}}, ConfigError, "expected at least one file"),
        ({"exclude": {"ids": ["{corpus}/bad.jsonl"]}}, DataError, "expected an id, or JSON with one"),
        ({"exclude": {"ids": ["{corpus}/empty.txt"]}}, ConfigError, "expected ids, the files have none"),
        ({"selection": {"pdf": {}}}, ConfigError, "expected one of"),
        (SIZED | {"selection": {"web": {"mode": "top"}}}, ConfigError, "cluster sizes, not quality"),
        ({"selection": {"web": {"top_buckets": 6}}}, ConfigError, "at most num_buckets"),
        (
            {"selection": {"web": {"top_buckets": 4, "max_repetition": 0.25}}},
            ConfigError,
            "for at most 0.25 times as many",
        ),
        ({"num_buckets": 4}, ConfigError, "num_buckets: expected 5 as in the plan"),
        ({"tokens": "scores-v1.size"}, ConfigError, "tokens: expected 'scores-v1.tokens' as in the plan"),
        ({"heldout": {"heldout_frac": 0.7}}, ConfigError, "heldout: expected .* as in the plan"),
        ({"score": "scores-v1.size"}, ConfigError, "score: expected 'scores-v1.score' as in the plan"),
        (SIZED, ConfigError, "duplicates: expected None as in the plan"),
    ],
)
def test_mistakes_are_told(tmp_path, settings, error, said):
    write(tmp_path, num_docs=60)
    plan(tmp_path, {"heldout_docs": 1}, budget=3000)
    (tmp_path / "bad.jsonl").write_text('{"id": "a"}\n{"text": "no id"}\n')
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(error, match=said):
        sample(tmp_path, **{"heldout": {"heldout_docs": 1}} | settings)


@pytest.mark.parametrize("max_docs", [1, 10_000])
def test_a_plan_of_other_cells_is_refused(tmp_path, monkeypatch, max_docs):
    """Same settings, and as many groups and buckets: another seed holds out others; the plan's cells are changed one by one."""
    monkeypatch.setattr(steps, "run_units", run_in_order)
    write(tmp_path, num_docs=60)
    plan(tmp_path, {"heldout_docs": 4}, budget=3000)
    before = (tmp_path / CELLS).read_bytes()
    with pytest.raises(
        ConfigError, match=r"cells are not those of this view, the first \w+/\w+/bucket \d: here it has \d+ documents"
    ):
        sample(tmp_path, {"heldout_docs": 4}, seed=1, max_docs=max_docs)
    # one cell's tokens, or its name, of another view
    table = pq.read_table(tmp_path / CELLS)
    tokens = table.column("tokens").to_pylist()
    tokens[7] += 1
    for name, values in (("tokens", tokens), ("topic", ["other"] * len(tokens))):
        at = table.schema.get_field_index(name)
        changed = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
        pq.write_table(changed, tmp_path / CELLS)
        with pytest.raises(
            ConfigError, match="1 of 20 cells" if name == "tokens" else "expected the 20 cells of this view"
        ):
            sample(tmp_path, {"heldout_docs": 4}, max_docs=max_docs)
    pq.write_table(table.drop_columns(["max_repetition"]), tmp_path / CELLS)
    with pytest.raises(ConfigError, match="Plan again with this version"):
        sample(tmp_path, {"heldout_docs": 4}, max_docs=max_docs)
    (tmp_path / CELLS).write_bytes(before)
    sample(tmp_path, {"heldout_docs": 4}, max_docs=max_docs)
    assert sum(values["copies"] for values in read_set(tmp_path, "sample-v1")) > 0


@pytest.mark.parametrize("max_docs", [1, 10_000])
def test_what_is_excluded_raises_no_copies_above_the_cap(tmp_path, monkeypatch, max_docs):
    """Three of four documents are excluded at rate 4, cap 5: the others give 5 copies, and each cell says what it lacks."""
    monkeypatch.setattr(steps, "run_units", run_in_order)
    rows = write(tmp_path, num_docs=360, tokens=10)
    budget = {"token_budget": 360 * 10 * 4, "default": {"max_repetition": 5}}
    plan(tmp_path, {"heldout_docs": 1}, plan=budget)
    out = {row["id"] for number, row in enumerate(rows) if number % 4}
    (tmp_path / "ids.txt").write_text("\n".join(out))
    answer = sample(tmp_path, {"heldout_docs": 1}, exclude={"ids": [str(tmp_path / "ids.txt")]}, max_docs=max_docs)
    drawn = read_set(tmp_path, "sample-v1")
    copies = [values["copies"] for values in drawn]
    assert max(copies) == 5
    table = read_table(tmp_path)
    for row in table:
        left = [row["tokens"], row["excluded_documents"] * 10]
        assert row["cut_tokens"] == (max(0, row["planned_tokens"] - 5 * left[0]) if left[1] else 0), row
        assert abs(row["planned_tokens"] - row["cut_tokens"] - row["sampled_tokens"]) <= row["edge_tokens"]
    facts = json.loads((tmp_path / "runs/sample/00-sample/manifest.json").read_text())["facts"]
    assert facts["cut_tokens"] == sum(row["cut_tokens"] for row in table) > 7200
    assert facts["planned_tokens"] == 14_400 and facts["sampled_tokens"] == 10 * sum(copies) and answer is not None


def test_a_cell_that_keeps_enough_gives_its_plan_without_the_excluded(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "run_units", run_in_order)
    rows = write(tmp_path, num_docs=360, tokens=10)
    plan(tmp_path, {"heldout_docs": 1}, plan={"token_budget": 3600, "default": {"max_repetition": 5}})
    (tmp_path / "ids.txt").write_text("\n".join(row["id"] for number, row in enumerate(rows) if number % 4 == 0))
    sample(tmp_path, {"heldout_docs": 1}, exclude={"ids": [str(tmp_path / "ids.txt")]})
    facts = json.loads((tmp_path / "runs/sample/00-sample/manifest.json").read_text())["facts"]
    assert facts["cut_tokens"] == 0 and abs(facts["sampled_tokens"] - 3600) <= 10


@pytest.mark.parametrize("max_docs", [1, 10_000])
def test_documents_of_no_tokens_are_told_with_their_shard(tmp_path, monkeypatch, max_docs):
    """The same sentence by sorting and by passes, in the plan and in the sample."""
    monkeypatch.setattr(steps, "run_units", run_in_order)
    documents = [[[{"text": f"t{i}", "source": "web"} for i in range(20)]]]
    corpus = write_corpus(str(tmp_path), documents)
    values = [{"score": float(i), "topic": "a", "tokens": 5, "dirty": False, "size": 1} for i in range(20)]
    write_attributes(corpus, "scores-v1", [[values]], SCORES)
    plan(tmp_path, {"heldout_docs": 0}, budget=50, max_docs=max_docs)
    values[3] = values[3] | {"tokens": 0}
    write_attributes(corpus, "scores-v1", [[values]], SCORES)
    (shard,) = corpus.read_listing().shards
    said = rf"{shard.path}.*a document of the view has 0 tokens by scores-v1\.tokens.*Count tokens with the end token"
    for run in (lambda: plan(tmp_path, {"heldout_docs": 0}, budget=60, max_docs=max_docs),
                lambda: sample(tmp_path, {"heldout_docs": 0}, max_docs=max_docs)):  # fmt: skip
        with pytest.raises(DataError, match=said):
            run()


def test_a_plan_of_excluded_documents_alone_is_an_error(tmp_path):
    write(tmp_path, num_docs=60, dirty=True)
    plan(tmp_path, {"heldout_docs": 1}, budget=3000)
    with pytest.raises(ConfigError, match="which has no document that may be sampled"):
        sample(tmp_path, {"heldout_docs": 1}, exclude={"flags": ["scores-v1.dirty"]})


@pytest.mark.parametrize("max_docs", [1, 10_000])
def test_a_planted_loss_stops_the_job(tmp_path, monkeypatch, max_docs):
    """Copies of one document that nobody counted: the tokens are not those of the plan any more."""
    from pipelines import mix_passes

    kind = mix_passes.RowsHere if max_docs > NUM_DOCS else mix_passes.RowPasses
    draw = kind.draw

    def lose(self, pools, whole, rest):
        drawn = draw(self, pools, whole, rest)
        drawn.sampled_tokens[drawn.sampled_tokens.argmax()] -= 701
        return drawn

    write(tmp_path)
    plan(tmp_path, {"heldout_docs": 1})
    monkeypatch.setattr(kind, "draw", lose)
    with pytest.raises(ConservationError, match="sample of"):
        sample(tmp_path, {"heldout_docs": 1}, max_docs=max_docs)


def test_a_special_token_in_midtraining_text_is_an_error(tmp_path):
    """Cut by a rule of the view it is none; by default it is text like any other."""
    documents = [[[{"text": "plain"}, {"text": "<|user|>\nA<|endoftext|>", "id": "planted"}]]]
    corpus = write_corpus(str(tmp_path / "corpus"), documents)
    (tmp_path / "tokenizer.json").write_bytes(train_bpe(["some plain text"], BpeConfig(vocab_size=300)))
    write_attributes(corpus, "sample-v1", [[[{"copies": 1, "is_heldout": False, "bucket": 0}] * 2]], SET_SCHEMA)

    def tokenize(name, view=None, **settings):
        step = {"mix": name, "tokenizer": str(tmp_path / "tokenizer.json")} | settings
        run_step_file("tokenize", {"corpus": corpus.root, "view": view, "name": name, "step": step}, OPTIONS)
        return json.loads((tmp_path / "corpus/tokens" / name / "manifest.json").read_text())["tokens"]

    assert tokenize("plain") > 20
    with pytest.raises(DolmaError, match=r"document planted.*its text spells a special token, '<\|user\|>"):
        tokenize("strict", special_tokens="error")
    tagger = {"tagger": "mixers.instruction_text:InstructionTextTagger"}
    rules = [{"name": "chat_markup", "edit": "markup"}]
    run_step_file(
        "tag", {"corpus": corpus.root, "name": "chat", "step": {"taggers": [tagger], "rules": rules}}, OPTIONS
    )
    assert tokenize("strict", "chat", special_tokens="error") == len("plain") + 1 + len("A") + 1
