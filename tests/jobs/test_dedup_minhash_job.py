"""The MinHash step on made corpora: what leaves, with what evidence, the same for any partitions and either way of components."""

from __future__ import annotations

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DolmaError
from mixers.tokenization import BpeConfig, train_bpe
from pipelines import candidate_graph, components_spark, dedup_decisions, packed_pairs
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe
from pipelines.shuffles import write_runs
from pipelines.steps import StepContext
from tests.reference import components as components_reference
from tests.reference import verification as reference

WRITE_DUPLICATES = dedup_decisions.write_duplicates


def words(rng, count):
    return [f"w{rng.randrange(10**9)}" for _ in range(count)]


def make_texts():
    """source -> texts: a chain whose ends are unlike, 12 identical, 4 empty, near copies; a few texts of another source."""
    rng = random.Random(11)
    line = words(rng, 230)
    chain = [" ".join(line[start : start + 200]) for start in range(0, 30, 10)]  # neighbours 0.9, ends 0.81 on words
    far = [" ".join(line[:190]), " ".join(line[15:205]), " ".join(line[30:220])]
    base = words(rng, 300)
    near = [" ".join([*base[:at], "changed", *base[at + 1 :]]) for at in range(0, 300, 60)]
    unlike = [" ".join(words(rng, 100)) for _ in range(8)]
    big = words(rng, 3000)
    return {
        "web": [*far, *chain, *near, *unlike, *[""] * 4, *["The same text again and again. " * 5] * 12],
        "big": [" ".join(big), "short", " ".join([*big[:-1], "end"])],
    }


def write_inputs(folder, texts):
    for source, lines in texts.items():
        (folder / source).mkdir(parents=True, exist_ok=True)
        rows = [json.dumps({"id": f"{source}-{n}", "text": text, "source": source}) for n, text in enumerate(lines)]
        (folder / source / "part.jsonl").write_text("\n".join(rows) + "\n")


def run(corpus, folder, sources, *, partitions=None, **step):
    ingest = {
        "kind": "ingest", "row_group_text_bytes": 20_000,
        "sources": [{"name": source, "inputs": [str(folder / source)]} for source in sources],
    }  # fmt: skip
    recipe = Recipe(recipe="made", seed=1, split_bytes=30_000, steps=[ingest, {"kind": "dedup_minhash", **step}])
    return build(recipe, str(corpus), BuildOptions(partitions=partitions, show_progress=False))[-1].manifest


def read_decisions(corpus):
    """id -> row of minhash-v1."""
    found = {}
    for path in sorted(Path(corpus).glob("documents/*/*.parquet")):
        ids = pq.read_table(path, columns=["id"]).column("id").to_pylist()
        own = Path(corpus) / "attributes" / "minhash-v1" / path.relative_to(Path(corpus) / "documents")
        found.update(zip(ids, pq.read_table(own).to_pylist(), strict=True))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory, _spark_of_this_run):
    folder = tmp_path_factory.mktemp("minhash")
    write_inputs(folder / "in", make_texts())
    manifest = run(folder / "corpus", folder / "in", ["web", "big"], unit_docs=7)
    return folder, manifest


def shingles(text):
    items = text.lower().replace(".", " ").split()
    return {tuple(items[i : i + 3]) for i in range(max(1, len(items) - 2))} if items else set()


def test_every_removal_has_evidence_that_a_recount_confirms(made):
    found = read_decisions(made[0] / "corpus")
    texts = {f"{s}-{n}": text for s, lines in make_texts().items() for n, text in enumerate(lines)}
    removed = {name: row for name, row in found.items() if row["is_duplicate"]}
    assert len(removed) >= 11 + 4 + 1
    for name, row in removed.items():
        similarity = reference.jaccard(shingles(texts[name]), shingles(texts[row["kept_id"]]))
        assert row["similarity"] == np.float32(float(similarity)) and similarity >= Fraction("0.8")
        assert not found[row["kept_id"]]["is_duplicate"]
    clusters = {}
    for row in found.values():
        clusters.setdefault(row["cluster_id"], []).append(row)
    for rows in clusters.values():
        assert {row["cluster_size"] for row in rows} == {len(rows)}
        assert len({row["kept_id"] for row in rows}) == 1
        assert sum(not row["is_duplicate"] for row in rows) == 1
    assert not any(found[f"web-{n}"]["is_duplicate"] for n, text in enumerate(make_texts()["web"]) if not text)
    assert found["big-2"]["kept_id"] == "big-0"


def test_both_rules_are_counted(made):
    facts = made[1]["facts"]
    counts = facts["would_remove"]
    assert counts["representative"] == facts["duplicates"]
    assert counts["representative"] <= counts["pairs"] <= counts["unverified"]
    assert counts["pairs_not_counted"] == 0


@pytest.mark.parametrize(("partitions", "settings"), [(1, {}), (7, {}), (2, {"components": "spark"})])
def test_attributes_do_not_depend_on_partitions_or_the_way(made, tmp_path, partitions, settings):
    run(tmp_path / "corpus", made[0] / "in", ["web", "big"], partitions=partitions, unit_docs=7, **settings)
    for path in sorted((made[0] / "corpus" / "attributes" / "minhash-v1").rglob("*.parquet")):
        other = tmp_path / "corpus" / path.relative_to(made[0] / "corpus")
        assert other.read_bytes() == path.read_bytes()


def test_a_chain_keeps_its_far_end_under_representative_and_not_under_pairs(tmp_path, _spark_of_this_run):
    rng = random.Random(3)
    line = words(rng, 260)
    texts = [" ".join(line[start : start + 200]) for start in (0, 15, 30)]  # 183/213 = 0.86, ends 168/228 = 0.74
    write_inputs(tmp_path / "in", {"web": texts})
    run(tmp_path / "a", tmp_path / "in", ["web"], minhash={"num_bands": 64, "num_rows": 3})
    assert [row["is_duplicate"] for row in read_decisions(tmp_path / "a").values()] == [False, True, False]
    step = {"minhash": {"num_bands": 64, "num_rows": 3}, "verification": {"rule": "pairs"}}
    manifest = run(tmp_path / "b", tmp_path / "in", ["web"], **step)
    assert [row["is_duplicate"] for row in read_decisions(tmp_path / "b").values()] == [False, True, True]
    assert manifest["facts"]["would_remove"] == {
        "representative": 1, "pairs": 2, "pairs_not_counted": 0, "unverified": 2,
    }  # fmt: skip


def test_olmo_3s_preset_of_tokens_runs_with_a_tokenizer(tmp_path, _spark_of_this_run):
    """Shingles of BPE tokens, as a twin that forms all pairs of the same token 5-grams would find them, and Olmo 3's verification."""
    rng = random.Random(8)
    lines = [words(rng, 80) for _ in range(6)]
    texts = (
        [" ".join(line) for line in lines] + [" ".join([*line[:-1], "end"]) for line in lines[:3]] + ["one, two", ""]
    )
    (tmp_path / "tokenizer.json").write_bytes(train_bpe(texts, BpeConfig(vocab_size=300)))
    write_inputs(tmp_path / "in", {"web": texts})
    tokenizer = {"shingles": {"tokenizer": str(tmp_path / "tokenizer.json")}}
    manifest = run(tmp_path / "corpus", tmp_path / "in", ["web"], preset="olmo3-web-tokens", minhash=tokenizer)
    found = read_decisions(tmp_path / "corpus")
    assert [found[f"web-{n}"]["kept_id"] for n in range(11)] == [f"web-{n}" for n in (0, 1, 2, 3, 4, 5, 0, 1, 2, 9, 10)]
    settings = manifest["config"]
    assert (settings["minhash"]["num_bands"], settings["minhash"]["num_rows"]) == (26, 11)
    assert settings["minhash"]["shingles"]["unit"] == "tokens"
    assert (settings["verification"]["rule"], settings["verification"]["large_index"]) == ("pairs", "olmo3")
    other = tmp_path / "other.json"
    other.write_bytes(train_bpe(texts[:3], BpeConfig(vocab_size=280)))
    other.replace(tmp_path / "tokenizer.json")  # another file of the same name is another step
    again = run(tmp_path / "corpus", tmp_path / "in", ["web"], preset="olmo3-web-tokens", minhash=tokenizer)
    assert again["fingerprint"] != manifest["fingerprint"] and again["config"] == settings


def test_decisions_lie_by_shard_and_are_counted_over_all(tmp_path, _spark_of_this_run):
    """13 clusters of 2 to 14 copies over four sources, so that each bucket has rows of each shard and more clusters than are named."""
    rng = random.Random(12)
    copies = [(" ".join(words(rng, 40)), size) for size in range(2, 15)]
    everything = [text for text, size in copies for _ in range(size)]
    rng.shuffle(everything)
    sources = {f"s{n}": everything[n::4] for n in range(4)}
    write_inputs(tmp_path / "in", sources)
    seen = []

    def look(context, *arguments, **options):
        seen.extend(sorted(Path(context.corpus.path(context.work, "decisions")).glob("part-*.parquet")))
        seen.append([pq.read_table(path).column("address").to_pylist() for path in seen])
        return WRITE_DUPLICATES(context, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup_decisions, "write_duplicates", look)
        facts = run(tmp_path / "corpus", tmp_path / "in", sorted(sources), unit_docs=10)["facts"]
    *paths, addresses = seen
    assert [path.name for path in paths] == [f"part-{n:05d}.parquet" for n in range(4)]
    assert [{address >> 40 for address in rows} for rows in addresses] == [{0}, {1}, {2}, {3}]
    assert all(rows == sorted(rows) for rows in addresses) and sum(map(len, addresses)) == len(everything)
    assert (facts["clusters"], facts["members"], facts["duplicates"]) == (13, len(everything), len(everything) - 13)
    assert [row["size"] for row in facts["largest"]] == list(range(14, 4, -1))
    found = read_decisions(tmp_path / "corpus")
    assert all(found[row["kept_id"]]["cluster_size"] == row["size"] for row in facts["largest"])


@pytest.mark.parametrize("way", ["driver", "spark"])
def test_nothing_alike_gives_no_candidates(tmp_path, _spark_of_this_run, way):
    rng = random.Random(4)
    write_inputs(tmp_path / "in", {"web": [*(" ".join(words(rng, 50)) for _ in range(3)), "", ""]})
    manifest = run(tmp_path / "corpus", tmp_path / "in", ["web"], components=way)
    assert manifest["facts"]["candidates"] == manifest["facts"]["duplicates"] == 0


@pytest.mark.slow
def test_a_document_of_20_mb_and_its_near_copy(tmp_path, _spark_of_this_run):
    """Half a minute: 2 million distinct words twice."""
    big = words(random.Random(5), 1_900_000)
    write_inputs(tmp_path / "in", {"big": [" ".join(big), "short", " ".join([*big[:-1], "end"])]})
    manifest = run(tmp_path / "corpus", tmp_path / "in", ["big"])
    assert manifest["facts"]["duplicates"] == 1


def test_a_bucket_beyond_its_bound_names_the_setting(tmp_path, _spark_of_this_run):
    write_inputs(tmp_path / "in", {"web": ["one two three four five six " * 50] * 60})
    with pytest.raises(DolmaError, match="max_bucket_bytes"):
        run(tmp_path / "corpus", tmp_path / "in", ["web"], max_bucket_bytes=1024)


def test_its_advice_can_be_followed_and_costs_no_finished_phase(tmp_path, _spark_of_this_run, monkeypatch):
    """After the error the bound is raised: bands and components stand, and the end is that of a run that never failed."""
    rng = random.Random(6)
    base = words(rng, 60)
    texts = [*[" ".join([*base, f"x{n}"]) for n in range(20)], *(" ".join(words(rng, 40)) for _ in range(20))]
    write_inputs(tmp_path / "in", {"web": texts})
    run(tmp_path / "whole", tmp_path / "in", ["web"])
    with pytest.raises(DolmaError, match="max_bucket_bytes"):
        run(tmp_path / "corpus", tmp_path / "in", ["web"], max_bucket_bytes=1024)

    def refuse(*args, **kwargs):
        raise AssertionError("done again")

    with monkeypatch.context() as patched:
        patched.setattr(candidate_graph, "write_edges", refuse)
        run(tmp_path / "corpus", tmp_path / "in", ["web"], max_bucket_bytes=1 << 30, max_edges=1, unit_docs=3)
    for name in ("attributes/minhash-v1", "runs/made/01-dedup_minhash"):
        for path in sorted((tmp_path / "whole" / name).rglob("*")):
            if path.is_file() and path.name != "run.json":
                assert (tmp_path / "corpus" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), (
                    path
                )
    costs = [
        json.loads((tmp_path / name / "runs/made/01-dedup_minhash/run.json").read_text())
        for name in ("whole", "corpus")
    ]
    assert costs[0]["bands_task_sec"] > 0 and costs[1]["bands_task_sec"] == 0


def test_a_finished_step_stands_when_settings_that_change_no_byte_do(made):
    names = ["web", "big"]
    with_others = {
        "unit_docs": 5,
        "max_edges": 1,
        "components": "spark",
        "max_bucket_bytes": 1 << 20,
        "keep_bands": False,
    }
    ingest = {
        "kind": "ingest", "row_group_text_bytes": 20_000,
        "sources": [{"name": name, "inputs": [str(made[0] / "in" / name)]} for name in names],
    }  # fmt: skip
    recipe = Recipe(recipe="made", seed=1, split_bytes=30_000, steps=[ingest, {"kind": "dedup_minhash", **with_others}])
    outcomes = build(recipe, str(made[0] / "corpus"), BuildOptions(show_progress=False))
    assert [outcome.skipped for outcome in outcomes] == [True, True]


# graphs


def make_context(folder, spark, partitions):
    (folder / "corpus").mkdir(exist_ok=True)
    return StepContext(
        spark=lambda: spark, corpus=Corpus(str(folder / "corpus")), view=None, name="t", folder="runs/t/t",
        fingerprint="f", seed=0, artifacts={}, partitions=partitions,
    )  # fmt: skip


def random_edges():
    rng = random.Random(9)
    edges = {tuple(sorted(rng.sample(range(400), 2))) for _ in range(300)}
    return [(a * 7 << 20, b * 7 << 20) for a, b in edges]


def shuffled_chain(length):
    numbers = list(range(length))
    random.Random(2).shuffle(numbers)
    return [tuple(sorted(pair)) for pair in zip(numbers, numbers[1:], strict=False)]


GRAPHS = {
    "random": random_edges(),
    "star": [(0, leaf) for leaf in range(1, 1000)],
    "star_of_the_largest": [(leaf, 1000) for leaf in range(1000)],
    "clique": [(a, b) for b in range(60) for a in range(b)],
    "chain": shuffled_chain(200),
}


@pytest.mark.parametrize(
    ("graph", "partitions"),
    [
        pytest.param("random", 1, marks=pytest.mark.slow),
        pytest.param("random", 2, marks=pytest.mark.slow),
        ("random", 7),
        ("clique", 2),
        pytest.param("chain", 7, marks=pytest.mark.slow),
    ],
)
def test_spark_components_equal_the_twin(spark, tmp_path, graph, partitions):
    compare_components(spark, tmp_path, GRAPHS[graph], partitions)


@pytest.mark.parametrize("graph", ["star", "star_of_the_largest"])
def test_a_giant_star_is_one_component(spark, tmp_path, graph):
    compare_components(spark, tmp_path, GRAPHS[graph], 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chain", ["ordered", "shuffled"])
def test_a_chain_of_10_000_converges(spark, tmp_path, chain):
    edges = [(n, n + 1) for n in range(10_000)] if chain == "ordered" else shuffled_chain(10_000)
    compare_components(spark, tmp_path, edges, 2)


def compare_components(spark, folder, edges, partitions):
    context = make_context(folder, spark, partitions)
    runs = write_edges(context, spark, edges)
    found = components_spark.spark_components(context, runs, max_rounds=40).toArrow()
    roots = dict(zip(found.column("address").to_pylist(), found.column("root").to_pylist(), strict=True))
    assert len(roots) == found.num_rows
    assert roots == components_reference.connected_components(edges)


def write_edges(context, spark, edges):
    table = pa.table({"first": [a for a, _ in edges], "member": [b for _, b in edges]})
    return [path for path, _ in write_runs(context, spark.createDataFrame(table), by=["first", "member"])]


def test_too_few_rounds_are_an_error(spark, tmp_path):
    context = make_context(tmp_path, spark, 2)
    runs = write_edges(context, spark, shuffled_chain(300))
    with pytest.raises(ConfigError, match="vertices are not settled"):
        components_spark.spark_components(context, runs, max_rounds=1)


def test_roots_that_split_an_edge_are_an_error(spark):
    edges = spark.createDataFrame([(1, 2), (2, 3)], components_spark.EDGE_SPARK)
    right = spark.createDataFrame([(1, 1), (2, 1), (3, 1)], candidate_graph.MEMBER_SPARK)
    components_spark.check_components(edges, right)
    for rows in ([(1, 1), (2, 1), (3, 3)], [(1, 1), (2, 1)], [(1, 2), (2, 2), (3, 2)]):
        with pytest.raises(DolmaError, match="under different roots"):
            components_spark.check_components(edges, spark.createDataFrame(rows, candidate_graph.MEMBER_SPARK))


# hot buckets


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
@pytest.mark.parametrize("held_pairs", [2, 1000])
def test_edges_do_not_depend_on_batches_or_on_what_is_held(batch_rows, held_pairs):
    rows = sorted({(k, a) for k, a in zip([5, 5, 5, 9, 5, 7, 7, 5, 8] * 3, range(27), strict=True)})
    random.Random(batch_rows).shuffle(rows)
    batches = [np.array(rows[start : start + batch_rows], np.uint64) for start in range(0, len(rows), batch_rows)]
    found = candidate_graph.connect_pairs(iter(batches), held_pairs=held_pairs)
    edges = {edge for b in found for edge in zip(b.first.tolist(), b.member.tolist(), strict=True)}
    least = {k: min(a for key, a in rows if key == k) for k, _ in rows}
    assert edges == {(least[k], a) for k, a in rows if a != least[k]}


@pytest.mark.parametrize(
    ("num_pairs", "num_keys", "hot"),
    [(3_000_000, 1000, True), (3_000_000, 180_000, True), (249_000, 249_000, False), (249_000, 1, True)],
)  # fmt: skip
def test_what_a_task_holds_of_a_part(num_pairs, num_keys, hot):
    """Hot keys and many keys, in a file or in memory, with all that comes after: no more than the plan says."""
    import tracemalloc

    held_pairs = 250_000

    def batches(end=num_pairs):
        for start in range(0, end, 50_000):
            address = np.arange(start, min(start + 50_000, end), dtype=np.uint64)
            yield np.stack(
                [
                    np.where(address % np.uint64(2) if hot else False, 7, 10 + address % num_keys).astype(np.uint64),
                    address,
                ],
                axis=1,
            )

    def run(end):
        found = candidate_graph.connect_pairs(batches(end), held_pairs)
        packed = packed_pairs.pack_pairs((candidate_graph.place_edges(edges, 4) for edges in found), 4)
        return sum(len(pairs) for pairs in packed_pairs.unpack_pairs(packed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_pairs, "FLUSH_PAIRS", held_pairs // 3)  # as it is to HELD_PAIRS
        run(1000)  # compiled
        tracemalloc.start()
        num_edges = run(num_pairs)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    keys = np.concatenate([pairs[:, 0] for pairs in batches()])
    assert num_edges == len(keys) - len(np.unique(keys))
    factor = peak / (packed_pairs.PAIR_BYTES * held_pairs)
    assert factor <= packed_pairs.HELD_FACTOR, factor


@pytest.mark.parametrize("held_pairs", [2, 10, 1000])
def test_edges_of_a_part_are_united(held_pairs):
    rng = random.Random(held_pairs)
    edges = [(rng.randrange(5), 5 + rng.randrange(6)) for _ in range(200)]
    arrays = [np.array(edges[start : start + 7], np.uint64) for start in range(0, 200, 7)]
    found = [edge for part in candidate_graph.unite_edges(iter(arrays), held_pairs)
             for edge in zip(part.first.tolist(), part.member.tolist(), strict=True)]  # fmt: skip
    assert sorted(found) == sorted(set(edges))
    assert list(candidate_graph.unite_edges(iter([]), held_pairs)) == []


@pytest.mark.parametrize("num_pairs", [249_000, 2_000_000])
def test_what_uniting_edges_holds(num_pairs):
    """All of them different: in memory, in a file."""
    import tracemalloc

    numbers = np.arange(num_pairs, dtype=np.uint64)
    pairs = np.stack([numbers, numbers + np.uint64(num_pairs)], axis=1)
    tracemalloc.start()
    found = sum(
        len(part.first)
        for part in candidate_graph.unite_edges((pairs[s : s + 50_000] for s in range(0, num_pairs, 50_000)), 250_000)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == num_pairs
    assert peak <= packed_pairs.HELD_FACTOR * packed_pairs.PAIR_BYTES * 250_000


def test_a_slice_of_a_band_file_is_spread_as_the_rows_it_is():
    """Also where the two columns are cut differently."""
    keys = np.arange(60, dtype=np.uint64).reshape(20, 3)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(24), 20, [None, pa.py_buffer(keys)])
    whole = pa.table({"address": np.arange(20), "keys": column})
    expected = spread(whole)
    assert len(expected) == 60 and spread(whole.slice(4, 9)) == {pair for pair in expected if 4 <= pair[1] < 13}
    cut = pa.table(
        {
            "address": pa.chunked_array([np.arange(13), np.arange(13, 20)]),
            "keys": pa.chunked_array([column[:5], column[5:]]),
        }
    )
    assert spread(cut) == expected


def spread(table):
    return {tuple(pair) for _, pairs in candidate_graph.spread_keys(table, 3, 2) for pair in pairs.tolist()}


@pytest.mark.parametrize("held_pairs", [1000, 1 << 20])  # in files, in memory
def test_3_000_identical_documents_cost_one_edge_each_after_all_bands(tmp_path, _spark_of_this_run, held_pairs):
    """Band files of 3,000 copies: 26 keys each, the same for all."""
    context = make_context(tmp_path, _spark_of_this_run, 2)
    keys = np.tile(np.arange(26, dtype=np.uint64), (3000, 1))
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(208), 3000, [None, pa.py_buffer(keys)])
    pq.write_table(
        pa.table({"address": np.arange(3000), "keys": column}), tmp_path / "corpus" / "bands.parquet", row_group_size=1000
    )  # fmt: skip
    ((path, rows), *others) = candidate_graph.write_edges(
        context, ["bands.parquet"], num_bands=26, num_docs=3000, held_pairs=held_pairs
    )
    assert sum(rows for _, rows in others) + rows == 2999
    edges = pq.read_table(path)
    assert set(edges["first"].to_pylist()) == {0}
    assert sorted(edges["member"].to_pylist()) == list(range(1, 3000)) or others
