"""Connected components by Spark, for graphs whose edges do not fit the driver: alternating stars until nothing is left to do.

A large star hangs every vertex' larger neighbours onto its smallest one, a small star its smaller ones; in the end each component is
one star around its smallest address (Kiveris et al. 2014, "Connected Components in MapReduce and Beyond", algorithm 2). Each
round is written to files, so that a round reads files and not the history of all rounds. That the rounds are at their end is counted,
and that the answer is right is checked on the edges that came in: a job that did neither would split clusters in silence.
"""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dolma_py import storage
from dolma_py.errors import ConfigError, DolmaError
from pipelines.shuffles import read_frame, write_runs
from pipelines.steps import StepContext

logger = logging.getLogger(__name__)

EDGE_SPARK = "first long, member long"  # first < member
# on disk for each edge, of the round that runs and the one before: shuffles of 62 and files of 11 bytes
EDGE_DISK_BYTES = 2 * (62 + 11)


def spark_components(context: StepContext, edge_paths: list[str], *, max_rounds: int) -> DataFrame:
    """(address, root) of every document in an edge, root the smallest address of its component.

    edge_paths: absolute paths of files of edges (first < member).

    Raises
    ------
    ConfigError     vertices are left to settle after `max_rounds` rounds
    DolmaError      an edge's ends came under different roots: our defect, and no result
    Cost            a round shuffles the edges four times and has EDGE_DISK_BYTES an edge on disk at most; rounds grow with the logarithm
                    of the longest chain; one of 10,000 settles within 40
    """
    edges = _read(context, edge_paths)
    stars, paths, left = edges, [], -1
    for number in range(1, max_rounds + 1):
        runs = write_runs(context, small_star(large_star(stars)), by=["first", "member"])
        for path in paths:
            storage.remove_file(path)
        paths = [path for path, _ in runs]
        stars = _read(context, paths)
        left = count_unsettled(stars)
        logger.info("components: round %d, %d edges, %d vertices to settle", number, sum(r for _, r in runs), left)
        if left == 0:
            break
        # Spark removes a shuffle's files when the JVM collects what stands for it, which by itself may be never in a long job
        context.spark().sparkContext._jvm.System.gc()
    if left:
        raise ConfigError(
            "max_rounds", max_rounds, f"expected enough rounds, {left} vertices are not settled", "Raise max_rounds."
        )
    roots = stars.select(F.col("first").alias("address")).distinct()
    members = stars.select(F.col("member").alias("address"), F.col("first").alias("root"))
    found = members.unionByName(roots.select("address", F.col("address").alias("root")))
    check_components(edges, found)
    return found


def large_star(edges: DataFrame) -> DataFrame:
    """Every larger neighbour of a vertex becomes a neighbour of the smallest among the vertex and its neighbours."""
    there = edges.select(F.col("first").alias("vertex"), F.col("member").alias("other"))
    back = edges.select(F.col("member").alias("vertex"), F.col("first").alias("other"))
    both = there.unionByName(back)
    least = both.groupBy("vertex").agg(F.least(F.col("vertex"), F.min("other")).alias("first"))
    joined = both.join(least, "vertex").where("other > vertex")
    return joined.select("first", F.col("other").alias("member")).distinct()


def small_star(edges: DataFrame) -> DataFrame:
    """A vertex and its smaller neighbours become neighbours of the smallest of them."""
    least = edges.groupBy("member").agg(F.min("first").alias("least"))
    joined = edges.join(least, "member").where("first > least")
    moved = joined.select(F.col("least").alias("first"), F.col("first").alias("member"))
    return moved.unionByName(least.select(F.col("least").alias("first"), "member")).distinct()


def count_unsettled(edges: DataFrame) -> int:
    """Vertices that are not yet the centre of a star or a leaf of exactly one."""
    up = edges.select(F.col("member").alias("vertex"), F.lit(1).alias("up"), F.lit(0).alias("down"))
    down = edges.select(F.col("first").alias("vertex"), F.lit(0).alias("up"), F.lit(1).alias("down"))
    counts = up.unionByName(down).groupBy("vertex").agg(F.sum("up").alias("up"), F.max("down").alias("down"))
    return int(counts.where("up > 1 or (up > 0 and down > 0)").count())


def check_components(edges: DataFrame, found: DataFrame) -> None:
    """Raise DolmaError unless both ends of every edge are found under one root that is not larger than either."""
    first = found.select(F.col("address").alias("first"), F.col("root").alias("first_root"))
    member = found.select(F.col("address").alias("member"), F.col("root").alias("member_root"))
    joined = edges.join(first, "first", "left").join(member, "member", "left")
    wrong = joined.where(
        "first_root is null or member_root is null or first_root != member_root or first_root > first"
    ).count()
    if wrong:
        raise DolmaError(
            f"components: {wrong} edges have ends under different roots. Please report this with the run folder."
        )


def _read(context: StepContext, paths: list[str]) -> DataFrame:
    relative = [path.removeprefix(context.corpus.root).lstrip("/") for path in paths]
    return read_frame(context, relative, ["first", "member"], schema=EDGE_SPARK)
