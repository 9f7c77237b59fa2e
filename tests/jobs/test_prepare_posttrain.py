"""`posttrain prepare` over files: the same bytes for any partitions, what trainers read, counts that add up, errors before any work."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from dolma_py import storage
from dolma_py.errors import ConfigError, TooManyRejectedError
from mixers.label_masks import decode_trained
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import plan_step_file, run_step_file
from tests.made_chats import CHATML, make_tokenizer, write_tokenizer
from train_bridge.manifest import read_manifest
from train_bridge.packed_dataset import PackedDataset
from train_bridge.token_files import TokenFiles


def write_lines(path: Path, records) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def chats(name, count):
    return [
        {"id": f"{name}-{n}", "messages": [{"role": "user", "content": f"{name} {n}?"}, {"role": "assistant", "content": f"It is {n}, {name}."}]}
        for n in range(count)
    ]  # fmt: skip


def values(root, folder, **step):
    first = write_lines(folder / "in" / "first" / "a.jsonl", chats("first", 30))
    write_lines(
        folder / "in" / "first" / "b.jsonl",
        [*chats("other", 9), {"id": "first-0", "messages": chats("again", 1)[0]["messages"]}],
    )
    second = write_lines(folder / "in" / "second.jsonl", [*chats("second", 20), {"id": "loop", "messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "I say it again and again. " * 12}]}])  # fmt: skip
    sources = [
        {"name": "first", "inputs": [str(Path(first).parent)]},
        {"name": "second", "inputs": [second], "count": 8},
    ]
    settings = {
        "mix": "sft",
        "tokenizer": write_tokenizer(folder / "tok"),
        "template": "instruct",
        "sources": sources,
        "tokens_per_part": 2000,
    }
    return {"corpus": str(root), "name": "prepare", "seed": 3, "step": settings | step}


def run(root, given, partitions=1):
    return run_step_file("prepare_posttrain", given, BuildOptions(show_progress=False, partitions=partitions))


def read_tree(root: Path) -> dict[str, bytes]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in ("run.json", ".lock")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_the_same_bytes_for_any_partitions_and_what_a_trainer_reads(_spark_of_this_run, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="dolma_py")
    given = values(tmp_path / "one", tmp_path)
    (outcome,) = run(tmp_path / "one", given)
    run(tmp_path / "two", given | {"corpus": str(tmp_path / "two")}, 3)
    tree = read_tree(tmp_path / "one")
    assert tree == read_tree(tmp_path / "two")
    assert "\u27e6It is 0, first.<|endoftext|>\u27e7" in caplog.text
    sources = outcome.manifest["facts"]["sources"]
    assert sources["first"] | {"tokens": 0, "trained_tokens": 0} == {
        "read": 40, "rejected": {}, "dropped": {}, "truncated": 0, "asked": None, "not_taken": 0, "documents": 40, "tokens": 0, "trained_tokens": 0,
    }  # fmt: skip
    assert sources["second"]["documents"] == 8 and sources["second"]["not_taken"] == 12
    assert sources["second"]["dropped"] == {"repeated_sentences": 1}
    (lost,) = [
        json.loads(line)
        for name in tree
        if name.startswith("rejected/")
        for line in gzip.decompress(tree[name]).splitlines()
    ]
    assert (lost["path"], lost["line"], lost["reason"]) == ("second.jsonl", 21, "repeated_sentences")
    assert run(tmp_path / "one", given)[0].skipped

    folder = tmp_path / "one" / "tokens" / "sft"
    manifest = read_manifest(folder)
    assert len(manifest.files) > 1 and manifest.documents == 48
    files = TokenFiles(folder, manifest)
    said, ids = [], []
    for place, entry in enumerate(manifest.files):
        assert storage.checksum_file(str(folder / entry.path)) == entry.checksum
        assert storage.checksum_file(str(folder / entry.labels_mask.path)) == entry.labels_mask.checksum
        tokens, mask = files.read_ids(place, 0, entry.tokens), files.read_trained(place, 0, entry.tokens)
        said += decode_trained(tokens, mask, make_tokenizer())
        ids += [
            line.split(",")[2]
            for line in gzip.decompress((folder / entry.sidecar.path).read_bytes()).decode().splitlines()
        ]
        spans = files.document_spans(place)
        assert np.flatnonzero(tokens == manifest.eos_token_id).tolist() == (spans[:, 1] - 1).tolist()
    assert len(said) == 48 and all(text.startswith("It is ") and text.endswith(".<|endoftext|>") for text in said)
    assert "first-0#2" in ids and "first-0" in ids and len(set(ids)) == 48
    assert (folder / "chat_template.jinja").read_text().startswith("{#- Chat template of this project")
    packed = PackedDataset(str(folder), manifest, sequence_tokens=512)
    rows = packed.read(range(packed.num_instances))
    assert int(rows.is_trained.sum()) == sum(counts["trained_tokens"] for counts in sources.values())


def test_another_count_and_fewer_parts_take_the_place_of_an_earlier_mix(_spark_of_this_run, tmp_path):
    root = tmp_path / "corpus"
    given = values(
        root,
        tmp_path,
        tokenizer=write_tokenizer(tmp_path / "own", template=CHATML),
        template="own",
        tokens_per_part=500,
    )
    run(root, given)
    before = {path.name for path in (root / "tokens" / "sft").iterdir()}
    given["step"] |= {"tokens_per_part": 1 << 20}
    run(root, given)
    after = {path.name for path in (root / "tokens" / "sft").iterdir()}
    assert after < before and "token_ids_part_0000.npy" in after and "token_ids_part_0001.npy" not in after
    assert json.loads((root / "tokens" / "sft" / "manifest.json").read_text())["template"]["name"] == "own"


def test_too_many_records_that_are_no_rows_stop_the_job(_spark_of_this_run, tmp_path):
    given = values(tmp_path / "corpus", tmp_path)
    write_lines(tmp_path / "in" / "second.jsonl", [{"id": n, "text": "no messages"} for n in range(30)])
    with pytest.raises(
        TooManyRejectedError, match=r"30 of 70 records were rejected, 30 of them in .*second\.jsonl: no_messages"
    ):
        run(tmp_path / "corpus", given)
    assert not (tmp_path / "corpus" / "tokens").exists()
    (done,) = (tmp_path / "corpus" / "runs").rglob("work/rows/_done.jsonl")
    assert len(done.read_text().splitlines()) == 3  # the files are not read again
    given["step"] |= {"max_rejected_frac": 0.5}
    (outcome,) = run(tmp_path / "corpus", given)
    assert outcome.manifest["facts"]["sources"]["second"]["rejected"] == {"no_messages": 30}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"template": "olmo"}, "expected own, own:NAME, instruct, think"),
        ({"template": "own"}, "has no chat template"),
        ({"decontaminate": {"preset": "no such"}}, "no such preset"),
        ({"decontaminate": {}}, "expected evaluation_sets or items_paths"),
        ({"max_tokens": 1}, "max_tokens"),
        ({"tokenizer": "missing.json"}, "no such file"),
        ({"sources": [{"name": "a", "inputs": ["x"]}, {"name": "a", "inputs": ["y"]}]}, "each source's name once"),
        ({"sources": [{"name": "a", "inputs": ["x"], "columns": {"message": "y"}}]}, "no such column message"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(tmp_path, step, words):
    given = values(tmp_path / "corpus", tmp_path)
    with pytest.raises(ConfigError, match=words):
        run(tmp_path / "corpus", {**given, "step": given["step"] | step})


def test_a_plan_does_nothing(tmp_path):
    plan = plan_step_file("prepare_posttrain", values(tmp_path / "corpus", tmp_path))
    assert plan["steps"][0]["kind"] == "prepare_posttrain" and plan["text_bytes"] > 0
    assert not (tmp_path / "corpus" / "tokens").exists()
