"""A corpus that grew: the second day gives what both days at once give, makes no key again, and says which earlier decisions changed."""

import json
import random

import pyarrow.parquet as pq
import pytest

from dolma_py.errors import DedupAlarmError
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe
from tests.dedup_jobs import flat_rows, list_output, metadata, read_set, run_job
from tests.tiny_corpus import write_corpus

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")

NEWEST = {"attributes": [{"name": "metadata.date", "order": "descending"}]}
LONGEST = {"attributes": [{"name": "length", "order": "descending"}]}
# kind -> (attribute set, phase whose files are kept)
KINDS = {
    "dedup_exact": ("exact-v1", "keys"), "dedup_urls": ("urls-v1", "keys"), "dedup_minhash": ("minhash-v1", "bands"),
    "dedup_paragraphs": ("paragraphs-v1", "units"),
}  # fmt: skip


def make_days():
    """Shards of two days: texts 0 to 2 come again as they are, 3 and 4 a little longer; every second document of a day has the same URL."""
    rng = random.Random(9)
    texts = [" ".join(f"w{rng.randrange(10**9)}" for _ in range(60)) for _ in range(9)]
    rows = []
    for day, chosen in enumerate([[0, 1, 1, 2, 3, 3, 4], [0, 2, 3, 4, 4, 5], [6, 2, 1, 7, 0]]):
        for place, number in enumerate(chosen):
            longer = "" if number < 3 else " more" * (day + place % 2)
            values = metadata(date=f"2026-0{day + 1}-1{place}", url=f"https://a.org/{number if place % 2 else place}")
            rows.append((day, {"text": texts[number] + longer, "metadata": values}))
    first = [[[row for day, row in rows if day == 0][:4], [row for day, row in rows if day == 0][4:]]]
    return first, [[[row for day, row in rows if day == 1]], [[row for day, row in rows if day == 2]]]


DAY_1, DAY_2 = make_days()


def settle(root):
    """Every file, without what only a grown corpus has."""
    files = {name: content for name, content in list_output(root).items() if not name.endswith("/changed.parquet")}
    (name,) = [name for name in files if name.startswith("runs/") and name.endswith("manifest.json")]
    manifest = json.loads(files.pop(name))
    manifest["facts"].pop("changed", None)
    manifest["files"] = {path: size for path, size in manifest["files"].items() if "changed" not in path}
    return files, manifest


def grow(root, shards):
    (root / "listing.jsonl").unlink()
    write_corpus(str(root), shards)


def kept_files(root, phase):
    return {path.name: path.stat().st_mtime_ns for path in root.glob(f"runs/*/*/{phase}/*.parquet")}


@pytest.mark.parametrize(("keep", "partitions"), [({}, 7), ("best", 1)], ids=["oldest", "best"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_second_day_equals_both_days_at_once(tmp_path, kind, keep, partitions):
    name, phase = KINDS[kind]
    best = {"dedup_minhash": LONGEST, "dedup_paragraphs": "none"}.get(kind, NEWEST)
    step = {} if keep == {} else {"keep": best}
    grown, fresh = tmp_path / "grown", tmp_path / "fresh"
    run_job(kind, grown, DAY_1, step, partitions)
    before, first = read_set(grown, name), kept_files(grown, phase)
    grow(grown, DAY_1 + DAY_2)
    outcome = run_job(kind, grown, DAY_1 + DAY_2, step, partitions)
    assert not outcome.skipped
    fresh_outcome = run_job(kind, fresh, DAY_1 + DAY_2, step, 8 - partitions)
    assert settle(grown) == settle(fresh)
    assert first and first.items() < kept_files(grown, phase).items()
    times = json.loads(next(grown.glob("runs/*/*/run.json")).read_text())
    assert times[f"{phase}_found"] == len(first)
    if kind == "dedup_paragraphs":
        return
    rows, after = flat_rows(DAY_1 + DAY_2), read_set(fresh, name)
    assert sum(row["is_duplicate"] for row in after) > 4
    expected = [
        (row["id"], row["address"], was["is_duplicate"], now["is_duplicate"], now["kept_id"])
        for row, was, now in zip(rows[: len(before)], before, after[: len(before)], strict=True)
        if was["is_duplicate"] != now["is_duplicate"]
    ]
    table = pq.read_table(next(grown.glob("runs/*/*/changed.parquet")))
    assert [
        tuple(row[key] for key in ("id", "row", "was_duplicate", "is_duplicate", "kept_id"))
        for row in table.to_pylist()
    ] == expected
    assert set(table.column("path").to_pylist()) <= {"documents/web/part-00000.parquet"}
    assert bool(expected) == (keep != {})
    leave = sum(row[3] for row in expected)
    assert outcome.manifest["facts"]["changed"] == {
        "earlier_shards": 1, "now_leave": leave, "now_stay": len(expected) - leave,
    }  # fmt: skip
    assert "changed" not in fresh_outcome.manifest["facts"]


def test_a_stop_between_does_not_lose_the_changes(tmp_path):
    """The alarm rings when the earlier files are replaced already; the same command, allowed, still says what changed."""
    root, step = tmp_path / "corpus", {"keep": NEWEST}
    run_job("dedup_exact", root, DAY_1, step)
    grow(root, DAY_1 + DAY_2)
    with pytest.raises(DedupAlarmError):
        run_job(
            "dedup_exact",
            root,
            DAY_1 + DAY_2,
            step | {"alarms": {"min_source_docs": 1, "max_source_removed_frac": 0.1}},
        )
    outcome = run_job("dedup_exact", root, DAY_1 + DAY_2, step)
    assert outcome.manifest["facts"]["changed"]["now_leave"] > 0
    changed = pq.read_table(next(root.glob("runs/*/*/changed.parquet"))).to_pylist()
    assert (
        len(changed)
        == outcome.manifest["facts"]["changed"]["now_leave"] + outcome.manifest["facts"]["changed"]["now_stay"]
    )
    again = run_job("dedup_exact", root, DAY_1 + DAY_2, {})  # the corpus stands as it was: nothing to compare
    assert "changed" not in again.manifest["facts"] and not list(root.glob("runs/*/*/changed.parquet"))


def test_a_recipe_given_again_over_new_files(tmp_path):
    """As users do it: files are added to the inputs, and the same recipe runs again over the same corpus."""
    days = {"a": DAY_1, "b": DAY_2}
    recipe = Recipe(recipe="made", seed=1, steps=[
        {"kind": "ingest", "sources": [{"name": "web", "inputs": [str(tmp_path / "in")]}]},
        {"kind": "dedup_exact"}, {"kind": "dedup_minhash", "keep": LONGEST},
    ])  # fmt: skip
    options = BuildOptions(show_progress=False)
    (tmp_path / "in").mkdir()
    for name, shards in days.items():
        lines = [json.dumps({"text": row["text"]}) for groups in shards for rows in groups for row in rows]
        (tmp_path / "in" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        outcomes = build(recipe, str(tmp_path / "grown"), options)
    lines = (tmp_path / "grown" / "listing.jsonl").read_text().splitlines()
    assert len(lines) == 2
    facts = {outcome.name: outcome.manifest["facts"] for outcome in outcomes[1:]}
    assert facts["dedup_exact"]["changed"] == {"earlier_shards": 1, "now_leave": 0, "now_stay": 0}
    assert facts["dedup_minhash"]["changed"]["now_leave"] > 0
    for name in ("02-dedup_minhash", "01-dedup_exact"):
        run = json.loads((tmp_path / "grown" / "runs" / "made" / name / "run.json").read_text())
        assert run.get("bands_found", run.get("keys_found")) == 1


def test_keys_are_made_again_for_what_decides_them_and_dropped_when_nobody_wants_them(tmp_path):
    root = tmp_path / "corpus"
    run_job("dedup_exact", root, DAY_1, {})
    first = kept_files(root, "keys")
    run_job("dedup_exact", root, DAY_1, {"rules": [], "alarms": {"max_cluster_size": 50}})
    assert kept_files(root, "keys") == first
    run_job("dedup_exact", root, DAY_1, {"text": "normalised"})
    second = kept_files(root, "keys")
    assert len(second) == len(first) and not set(second) & set(first)
    run_job("dedup_exact", root, DAY_1, {"keep_keys": False})
    assert not kept_files(root, "keys")
    expected = tmp_path / "expected"
    run_job("dedup_exact", expected, DAY_1, {})
    assert read_set(root, "exact-v1") == read_set(expected, "exact-v1")


def test_keys_follow_the_attributes_that_the_policy_compares(tmp_path):
    """Shard and settings stay the same, an attribute file does not."""
    root = tmp_path / "corpus"
    run_job("tag", root, DAY_1, {"taggers": [{"tagger": "lengths"}]})
    keep = {"keep": {"attributes": [{"name": "lengths-v1.num_words", "order": "descending"}]}}
    run_job("dedup_exact", root, DAY_1, keep)
    first = kept_files(root, "keys")
    path = root / "attributes" / "lengths-v1" / "_done.jsonl"
    line = json.loads(path.read_text())
    line["files"][0]["checksum"] = "0" * 32
    path.write_text(json.dumps(line) + "\n")
    next(root.glob("runs/*/*dedup-exact/manifest.json")).unlink()
    run_job("dedup_exact", root, DAY_1, keep)
    assert not set(kept_files(root, "keys")) & set(first)
