"""Documents of the day before: a filter or an index of day 1, asked on day 2, and what a wrong or damaged one says."""

import pyarrow.parquet as pq
import pytest
import xxhash

from dedup import bloom
from dolma_py.errors import ConfigError, DataError
from tests.dedup_jobs import flat_rows, read_set, run_job

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")

DAY1 = [[[{"text": "a"}, {"text": "b"}, {"text": "a"}], [{"text": "c"}]]]
DAY2 = [[[{"text": "b"}, {"text": "d"}], [{"text": "d"}, {"text": "a"}, {"text": "b"}]], [[{"text": "e"}]]]


@pytest.mark.parametrize("kind", ["index", "bloom"])
def test_what_day_1_kept_is_a_duplicate_on_day_2(tmp_path, kind):
    path = str(tmp_path / "seen")
    first = run_job("dedup_exact", tmp_path / "day1", DAY1, {kind: {"save": path}})
    assert first.manifest["facts"]["kept_keys"] == 3
    second = run_job("dedup_exact", tmp_path / "day2", DAY2, {kind: {"against": path, "save": str(tmp_path / "seen2")}})
    found = [
        (row["is_duplicate"], row["kept_id"], row["cluster_size"]) for row in read_set(tmp_path / "day2", "exact-v1")
    ]
    a, b = ("0-0-0", "0-0-1") if kind == "index" else (None, None)
    assert found == [
        (True, b, 2),
        (False, "0-0-1", 2),
        (True, "0-0-1", 2),
        (True, a, 1),
        (True, b, 2),
        (False, "1-0-0", 1),
    ]
    facts = second.manifest["facts"]
    assert (facts["duplicates"], facts["seen_before"], facts["members"], facts["kept_keys"]) == (4, 3, 5, 2)
    assert (
        sum(counts["documents"] for counts in second.manifest["funnel"]["kept"]["sources"].values())
        == len(flat_rows(DAY2)) - 4
    )


def test_files_hold_the_keys_of_what_stays_and_no_others(tmp_path):
    step = {"index": {"save": str(tmp_path / "index")}, "bloom": {"save": str(tmp_path / "day1.bloom")}}
    outcome = run_job("dedup_exact", tmp_path / "day1", DAY1, step)
    rows = pq.read_table(tmp_path / "index" / "part-00000.parquet").to_pylist()
    assert [row["digest"] for row in rows] == sorted(xxhash.xxh3_128_digest(text) for text in (b"a", b"b", b"c"))
    assert {row["id"] for row in rows} == {"0-0-0", "0-0-1", "0-1-0"}
    made = bloom.load_filter(str(tmp_path / "day1.bloom"), {"unit": "document", "text": "raw", "scope": "global"})
    assert made.num_keys == 3
    assert outcome.manifest["facts"]["bloom"]["false_positive_share"] == bloom.measure_share(made)
    (tmp_path / "day1.bloom").unlink()
    assert not run_job("dedup_exact", tmp_path / "day1", DAY1, step).skipped  # a removed file is made again
    assert (tmp_path / "day1.bloom").is_file()
    assert run_job("dedup_exact", tmp_path / "day1", DAY1, step).skipped


def test_wrong_or_damaged_files_are_refused_before_any_work(tmp_path):
    step = {"index": {"save": str(tmp_path / "index")}, "bloom": {"save": str(tmp_path / "day1.bloom")}}
    run_job("dedup_exact", tmp_path / "day1", DAY1, step)
    asked = {
        "bloom": {"bloom": {"against": str(tmp_path / "day1.bloom")}},
        "index": {"index": {"against": str(tmp_path / "index")}},
    }
    for kind in ("bloom", "index"):
        with pytest.raises(ConfigError, match=f"{kind}.against.*normalised"):
            run_job("dedup_exact", tmp_path / f"wrong-{kind}", DAY2, {"text": "normalised"} | asked[kind])
    part = tmp_path / "index" / "part-00000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-9] + b"x" + content[-8:])
    with pytest.raises(DataError, match="not the bytes written"):
        run_job("dedup_exact", tmp_path / "flipped", DAY2, asked["index"])
    part.write_bytes(content[:-1])
    with pytest.raises(DataError, match="part-00000"):
        run_job("dedup_exact", tmp_path / "cut", DAY2, asked["index"])
    with pytest.raises(DataError, match="no such filter"):
        run_job("dedup_exact", tmp_path / "none", DAY2, {"bloom": {"against": str(tmp_path / "no")}})
    with pytest.raises(DataError, match="index.json is missing"):
        run_job("dedup_exact", tmp_path / "none", DAY2, {"index": {"against": str(tmp_path / "no")}})
