"""Documents of the day before: a filter or an index of day 1, asked on day 2, and what a wrong or damaged one says."""

import math

import numpy as np
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
    names = ("is_duplicate", "kept_id", "cluster_size", "similarity")
    found = [tuple(row[name] for name in names) for row in read_set(tmp_path / "day2", "exact-v1")]
    a, b, certain = ("0-0-0", "0-0-1", 1.0) if kind == "index" else (None, None, None)
    assert found == [
        (True, b, 2, certain),
        (False, "0-0-1", 2, 1.0),
        (True, "0-0-1", 2, 1.0),
        (True, a, 1, certain),
        (True, b, 2, certain),
        (False, "1-0-0", 1, 1.0),
    ]
    facts = second.manifest["facts"]
    assert (facts["duplicates"], facts["seen_before"], facts["members"], facts["kept_keys"]) == (4, 3, 5, 2)
    assert (
        sum(counts["documents"] for counts in second.manifest["funnel"]["kept"]["sources"].values())
        == len(flat_rows(DAY2)) - 4
    )


def test_what_an_index_holds_is_certain_whatever_a_filter_says(tmp_path):
    step = {"index": {"save": str(tmp_path / "index")}, "bloom": {"save": str(tmp_path / "day1.bloom")}}
    run_job("dedup_exact", tmp_path / "day1", DAY1, step)
    asked = {"index": {"against": str(tmp_path / "index")}, "bloom": {"against": str(tmp_path / "day1.bloom")}}
    run_job("dedup_exact", tmp_path / "day2", DAY2, asked)
    assert {row["similarity"] for row in read_set(tmp_path / "day2", "exact-v1")} == {1.0}


@pytest.mark.slow
def test_six_filters_of_six_days_say_what_one_index_of_all_says(tmp_path):
    """And are asked for every row group, of which there are eight."""
    days = [[[[{"text": f"day {day} {number}"}] for number in range(4)]] for day in range(7)]
    step = {"index": {"save": str(tmp_path / "index")}}
    run_job("dedup_exact", tmp_path / "all", [shard for day in days[:6] for shard in day], step)
    for day in range(6):
        run_job("dedup_exact", tmp_path / f"{day}", days[day], {"bloom": {"save": str(tmp_path / f"{day}.bloom")}})
    new = [[days[0][0][0], days[5][0][3], days[6][0][0], days[3][0][1]], days[6][0]]
    asked = {
        "bloom": {"bloom": {"against": [str(tmp_path / f"{day}.bloom") for day in range(6)]}},
        "index": {"index": {"against": str(tmp_path / "index")}},
    }
    found = {}
    for kind, step in asked.items():
        run_job("dedup_exact", tmp_path / kind, new, step)
        found[kind] = [row["is_duplicate"] for row in read_set(tmp_path / kind, "exact-v1")]
    assert found["bloom"] == found["index"] == [True, True, False, True, True, False, False, False]


@pytest.mark.slow
def test_a_filter_takes_as_many_new_documents_for_seen_as_its_manifest_says(tmp_path):
    """5,000 of day 1, 6,000 on day 2 of which 2,000 are new copies and 4,000 new: binomial, four standard deviations."""
    day1 = [[[{"text": f"document {number}"} for number in range(5000)]]]
    day2 = [[[{"text": f"document {number}"} for number in range(start, start + 3000)] for start in (3000, 6000)]]
    step = {
        "index": {"save": str(tmp_path / "index")},
        "bloom": {"save": str(tmp_path / "a.bloom"), "false_positive_share": 0.02},
    }
    share = run_job("dedup_exact", tmp_path / "day1", day1, step).manifest["facts"]["bloom"]["false_positive_share"]
    assert 0.01 < share <= 0.022  # the plan's formula leaves out the spread of bits inside a block
    found = {}
    for kind, path in (("index", "index"), ("bloom", "a.bloom")):
        run_job("dedup_exact", tmp_path / kind, day2, {kind: {"against": str(tmp_path / path)}})
        found[kind] = np.array([row["is_duplicate"] for row in read_set(tmp_path / kind, "exact-v1")])
    assert found["index"].tolist() == [True] * 2000 + [False] * 4000
    assert found["bloom"][:2000].all()
    false = int(found["bloom"].sum()) - 2000
    assert abs(false - 4000 * share) <= 4 * math.sqrt(4000 * share * (1 - share))


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
    for name in ("flipped", "cut"):
        content = (tmp_path / "day1.bloom").read_bytes()
        (tmp_path / name).write_bytes(content[:-1] + b"\x55" if name == "flipped" else content[:-1])
        with pytest.raises(DataError, match=f"{name}: .* bytes of bits that are not the .* written"):
            run_job("dedup_exact", tmp_path / "damaged", DAY2, {"bloom": {"against": str(tmp_path / name)}})
    part = tmp_path / "index" / "part-00000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-9] + b"x" + content[-8:])
    with pytest.raises(DataError, match="not the bytes written"):
        run_job("dedup_exact", tmp_path / "damaged", DAY2, asked["index"])
    part.write_bytes(content[:-1])
    with pytest.raises(DataError, match="part-00000"):
        run_job("dedup_exact", tmp_path / "damaged", DAY2, asked["index"])
    assert not list((tmp_path / "damaged").glob("runs/*/*/keys"))
    with pytest.raises(DataError, match="no such filter"):
        run_job("dedup_exact", tmp_path / "none", DAY2, {"bloom": {"against": str(tmp_path / "no")}})
    with pytest.raises(DataError, match="index.json is missing"):
        run_job("dedup_exact", tmp_path / "none", DAY2, {"index": {"against": str(tmp_path / "no")}})
