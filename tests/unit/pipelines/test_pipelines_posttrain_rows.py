"""pipelines.posttrain_rows and posttrain_parts: a file's records as rows, counted losses, rows gathered again; without Spark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py import config, storage
from mixers.chat_templates import find_template
from mixers.label_masks import decode_trained
from mixers.posttrain_files import PAIRS_SCHEMA, PROMPTS_SCHEMA, work_schema
from pipelines import posttrain_rows
from pipelines.posttrain_config import PreparePosttrainConfig
from pipelines.posttrain_parts import PLAN_SCHEMA, gather_rows, write_part
from pipelines.posttrain_rows import prepare_file
from pipelines.posttrain_sample import find_sample
from tests.made_chats import make_tokenizer, write_tokenizer

USER = {"role": "user", "content": "What is two and two?"}


def answer(text):
    return {"role": "assistant", "content": text}


def prepare(tmp_path, lines, *, kind="sft", name="a.jsonl", source=None, contamination=None, **settings):
    """(rows, facts, losses) of a file of these lines."""
    folder = write_tokenizer(tmp_path / "tok")
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(lines), path)
    else:
        path.write_bytes(
            b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        )
    values = {
        "mix": "m",
        "rows": kind,
        "tokenizer": folder,
        "template": "instruct",
        "sources": [{"name": "s", "inputs": [str(path)], **(source or {})}],
    }
    made = config.build_config(PreparePosttrainConfig, values | settings)
    job = {
        "settings": config.dump_config(made), "tokenizer": f"{folder}/tokenizer.json",
        "tokenizer_checksum": storage.checksum_file(f"{folder}/tokenizer.json"),
        "template": list(find_template("instruct", folder, eos_token="<|endoftext|>")), "contamination": contamination,
    }  # fmt: skip
    file = [name, str(path), path.stat().st_size, "parquet" if name.endswith(".parquet") else "jsonl", "mark"]
    params = {
        "root": str(tmp_path),
        "job": job,
        "file": file,
        "source": config.dump_config(made.sources[0]),
        "rows": "rows.parquet",
        "losses": "l.gz",
    }
    written, facts = prepare_file(params, "attempts")
    losses = (
        [json.loads(line) for line in gzip.decompress(Path(written[1].attempt).read_bytes()).splitlines()]
        if len(written) > 1
        else []
    )
    assert facts["read"] == facts["rows"] + sum(facts["rejected"].values()) + sum(facts["dropped"].values())
    assert len(losses) == sum(facts["rejected"].values()) + sum(facts["dropped"].values())
    return pq.read_table(written[0].attempt).to_pylist(), facts, losses, params


LINES = [
    {"id": "good", "messages": [USER, answer("Four.")]},
    b"{torn",
    {"id": "no answer", "messages": [USER]},
    {"id": "loop", "messages": [USER, answer("I think that it is four. " * 11)]},
    {"id": "marker", "messages": [USER, answer("<|im_end|>")]},
    b"",
    {"messages": [USER, answer("Four, I would say.")], "license": "mit"},
]


def test_every_record_is_a_row_or_has_a_line_that_says_why(tmp_path):
    rows, facts, losses, _ = prepare(tmp_path, LINES)
    assert [(row["id"], row["line"], row["path"], row["source"]) for row in rows[:1]] == [("good", 1, "a.jsonl", "s")]
    assert len(rows) == 2 and len(rows[1]["id"]) == 32 and rows[1]["line"] == 7
    assert facts["rejected"] == {"ends_without_answer": 1, "invalid_json": 1}
    assert facts["dropped"] == {"repeated_sentences": 1, "special_token": 1} and facts["read"] == 6
    assert {(loss["line"], loss["reason"]) for loss in losses} == {
        (2, "invalid_json"), (3, "ends_without_answer"), (4, "repeated_sentences"), (5, "special_token"),
    }  # fmt: skip
    tokenizer = make_tokenizer()
    for row, said in zip(rows, ("Four.", "Four, I would say."), strict=True):
        ids, mask = np.array(row["ids"], np.uint32), np.array(row["mask"])
        assert decode_trained(ids, mask, tokenizer) == [said + "<|endoftext|>"]
        assert (row["tokens"], row["trained_tokens"]) == (len(ids), mask.sum())


def test_batches_change_no_row(tmp_path, monkeypatch):
    lines = [{"id": str(number), "messages": [USER, answer(f"It is {number}.")]} for number in range(7)]
    whole = prepare(tmp_path, lines)[:3]
    monkeypatch.setattr(posttrain_rows, "BATCH_RECORDS", 2)
    assert prepare(tmp_path, lines)[:3] == whole and whole[1]["rows"] == 7


def test_parquet_gives_the_rows_of_json_lines(tmp_path):
    lines = [LINES[0], {"id": "b", "messages": [USER, answer("4")]}]
    rows = prepare(tmp_path, lines)[0]
    other = prepare(tmp_path, lines, name="a.parquet")[0]
    assert [row | {"path": ""} for row in rows] == [row | {"path": ""} for row in other] and len(rows) == 2


def test_licences_and_long_rows(tmp_path):
    rows, facts, _, _ = prepare(tmp_path, LINES, licenses=["mit"])
    assert len(rows) == 1 and facts["dropped"]["license"] == 3
    full = max(row["tokens"] for row in prepare(tmp_path, LINES)[0])
    rows, facts, _, _ = prepare(tmp_path, LINES, max_tokens=full - 1)
    assert facts["truncated"] == 1 and max(row["tokens"] for row in rows) == full - 1
    _, facts, _, _ = prepare(tmp_path, LINES, max_tokens=5)
    assert facts["dropped"]["no_trained_token"] == 2 and facts["rows"] == facts["truncated"] == 0


def test_evaluation_items_are_found_by_eight_grams(tmp_path):
    question = "A farmer sells nine brown eggs each morning at the old market for two silver coins"
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "q", "question": question, "answer": "18"}) + "\n")
    options = {"preset": "olmo3-posttrain", "items_paths": [str(tmp_path / "items.jsonl")], "min_item_tokens": 5}
    lines = [
        LINES[0], {"id": "asks it", "messages": [{"role": "user", "content": f"Please: {question}?"}, answer("18")]},
        {"id": "half", "messages": [{"role": "user", "content": "A farmer sells nine brown eggs, does he?"}, answer("Yes.")]},
    ]  # fmt: skip
    rows, facts, losses, _ = prepare(tmp_path, lines, contamination=options)
    assert [row["id"] for row in rows] == ["good", "half"] and facts["dropped"] == {"contaminated": 1}
    assert losses[0]["line"] == 2


def test_pairs_have_the_index_of_their_last_answer(tmp_path):
    before = [USER, answer("Four."), {"role": "user", "content": "Sure?"}]
    good = {"id": "p", "chosen": [*before, answer("Yes, it is four.")], "rejected": [*before, answer("No.")]}
    loop = {"id": "r", "chosen": [USER, answer("Four.")], "rejected": [USER, answer("I think that it is four. " * 11)]}
    equal = {"id": "e", "chosen": [USER, answer("Four.")], "rejected": [USER, answer("Four.")]}
    rows, facts, _, _ = prepare(tmp_path, [good, loop, equal], kind="pairs")
    assert [row["id"] for row in rows] == ["p", "r"] and facts["dropped"] == {"answers_equal": 1}
    tokenizer = make_tokenizer()
    for side, said in (("chosen", "Yes, it is four."), ("rejected", "No.")):
        ids, last = np.array(rows[0][f"{side}_ids"], np.uint32), rows[0][f"{side}_last"]
        assert tokenizer.backend.decode(ids[last:].tolist(), skip_special_tokens=False) == f"{said}<|endoftext|>"
        assert np.array(rows[0][f"{side}_mask"])[last:].all() and not rows[0][f"{side}_mask"][last - 1]
    near = prepare(tmp_path, [good, loop], kind="pairs", source={"max_length_difference": 12})[1]
    assert near["dropped"] == {"length_difference": 1}
    last = rows[0]["chosen_last"]
    assert prepare(tmp_path, [good], kind="pairs", max_tokens=last + 1)[1]["dropped"] == {"last_turn_cut": 1}


def test_prompts_end_with_the_header_of_an_answer(tmp_path):
    record = {"id": "m", "messages": [USER], "verifier": "math", "ground_truth": 4}
    rows, facts, _, _ = prepare(tmp_path, [record, {"messages": [USER]}], kind="prompts")
    assert facts["rejected"] == {"no_verifier": 1}
    text = make_tokenizer().backend.decode(rows[0]["prompt_ids"], skip_special_tokens=False)
    assert text.endswith("What is two and two?<|im_end|>\n<|im_start|>assistant\n")
    assert (rows[0]["verifier"], rows[0]["ground_truth"], json.loads(rows[0]["messages"])) == ("math", "4", [USER])
    assert prepare(tmp_path, [record], kind="prompts", max_tokens=5)[1]["dropped"] == {"too_long": 1}


@pytest.mark.parametrize(("kind", "schema"), [("pairs", PAIRS_SCHEMA), ("prompts", PROMPTS_SCHEMA)])
def test_parts_have_the_planned_rows_in_their_order(tmp_path, kind, schema):
    if kind == "pairs":
        lines = [{"id": str(n), "chosen": [USER, answer(f"{n}.")], "rejected": [USER, answer("No.")]} for n in range(6)]
    else:
        lines = [{"id": str(n), "messages": [USER], "verifier": "math", "ground_truth": str(n)} for n in range(6)]
    rows = prepare(tmp_path, lines, kind=kind)[0]
    table = pa.Table.from_pylist(rows, schema=work_schema(kind))
    pq.write_table(table.slice(0, 4), tmp_path / "one.parquet", row_group_size=2)
    pq.write_table(table.slice(4), tmp_path / "two.parquet")
    plan = pa.table({"file": [1, 0, 0, 1], "row": [1, 3, 0, 0], "id": ["e", "d", "a", "c"]}, schema=PLAN_SCHEMA)
    found = gather_rows(str(tmp_path), ["one.parquet", "two.parquet"], plan, kind)
    assert found.drop(["id"]).to_pylist() == table.take([5, 3, 0, 4]).drop(["id"]).to_pylist()
    assert found.column("id").to_pylist() == ["e", "d", "a", "c"]
    pq.write_table(plan, tmp_path / "plan.parquet")
    params = {
        "root": str(tmp_path),
        "kind": kind,
        "part": 0,
        "plan": "plan.parquet",
        "rows": ["one.parquet", "two.parquet"],
        "out": "out",
    }
    (file,), facts = write_part(params, "attempts")
    made = pq.read_table(file.attempt)
    assert made.schema.equals(schema) and file.path == f"out/{kind}_part_0000.parquet"
    assert facts["documents"] == 4 and facts["sources"]["s"]["documents"] == 4
    assert made.column("id").to_pylist() == ["e", "d", "a", "c"]


def test_pairs_of_hh_rlhf_end_with_what_was_said(data_dir, tmp_path):
    lines = gzip.decompress((data_dir / "posttrain" / "hh_harmless_a.jsonl.gz").read_bytes()).splitlines()
    rows, facts, _, _ = prepare(tmp_path, lines, kind="pairs", source={"form": "transcript"})
    assert facts["read"] == len(lines) == 800 and len(rows) > 600
    for row in rows:
        said = json.loads(lines[row["line"] - 1])
        for side in ("chosen", "rejected"):
            ids = row[f"{side}_ids"][row[f"{side}_last"] :]
            text = make_tokenizer().backend.decode(ids, skip_special_tokens=False)
            assert text == said[side].rpartition("\n\nAssistant:")[2].strip() + "<|endoftext|>"


def test_answers_of_dolly_are_what_is_trained(data_dir, tmp_path):
    lines = (data_dir / "posttrain" / "dolly_hhrlhf_a.jsonl").read_bytes().splitlines()
    rows, facts, _, _ = prepare(tmp_path, lines, source={"form": "prompt_response"})
    assert facts["read"] == len(lines) == 500 and len(rows) > 450
    for row in rows:
        said = json.loads(lines[row["line"] - 1])["response"]
        ids, mask = np.array(row["ids"], np.uint32), np.array(row["mask"])
        assert decode_trained(ids, mask, make_tokenizer()) == [said + "<|endoftext|>"]


def test_the_sample_is_the_first_row_that_stays(tmp_path):
    params = prepare(tmp_path, [*LINES[1:4], LINES[0]])[3]
    worker = posttrain_rows.make_worker(params)
    files = [(worker.settings.sources[0], posttrain_rows.PlainFile(*params["file"]))]
    name, encoded = find_sample(worker, files)
    assert name == "a.jsonl:4" and encoded.mask.any()
    torn = prepare(tmp_path, LINES[1:4])[3]
    assert find_sample(worker, [(files[0][0], posttrain_rows.PlainFile(*torn["file"]))]) is None
