"""Six hops through a lineage graph of a million edges, both ways, against a recursive query of the same run on the same engine.

    python benchmarks/metadata/lineage.py                                         # 1,000,000 edges on SQLite
    python benchmarks/metadata/lineage.py --edges 20000                           # small
    python benchmarks/metadata/lineage.py --url postgresql://rota:...@host/empty_database

The graph is what a platform writes: each run has five inputs (sources, a release, the champion before) and makes ten artifacts,
one of them a model that the next run of its pipeline uses; one source is shared by all pipelines. Walks begin in the middle of a
pipeline's life. The reference is one recursive common table expression over the same table and indexes, after ANALYZE, with the same limit of hops.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Engine, TextClause, text

from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.manage.lineage.graph import Direction, walk
from rota.ports.metadata import Batch

EDGES_A_RUN = 15
PIPELINES = 40
HOPS = 6
AT_ONCE = 20_000
WALKS: tuple[tuple[str, str, Direction], ...] = (
    ("6 hops from a model to its causes", "model_version:p{pipeline}@{turn}", "causes"),
    ("6 hops from a model to its effects", "model_version:p{pipeline}@{turn}", "effects"),
    ("6 hops from a source that all pipelines share to its effects", "source:shared@{turn}", "effects"),
)
REFERENCE = """
WITH RECURSIVE reached(node, hop) AS (
  SELECT {start}, 0 UNION SELECT e.{far}, r.hop + 1 FROM reached r JOIN edges e ON e.{near} = r.node WHERE r.hop < :hops
) SELECT e.cause, e.effect FROM edges e WHERE e.{near} IN (SELECT node FROM reached WHERE hop < :hops)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--url", default="", help="a SQLAlchemy URL of an empty database; default: SQLite in a temporary directory")
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--references", type=int, default=3, help="how often the reference is measured; it is slow")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = options.url or Path(folder) / "metadata.db"
        engine = open_engine(where)
        metadata = SqlMetadata(engine)
        runs = options.edges // EDGES_A_RUN
        began = time.perf_counter()
        fill(metadata, runs)
        with engine.connect() as connection:
            connection.execute(text("ANALYZE"))
            connection.commit()
        print(f"{runs * EDGES_A_RUN:,} edges of {runs:,} runs in {time.perf_counter() - began:.0f} s on {engine.dialect.name}")
        beginning = 'CAST(:node AS TEXT) COLLATE "C"' if engine.dialect.name == "postgresql" else ":node"
        for name, start, direction in WALKS:
            ours, found = measured(lambda node, way=direction: len(walk(metadata, node, way, depth=HOPS)), start, runs, options.walks)
            near, far = ("effect", "cause") if direction == "causes" else ("cause", "effect")
            query = text(REFERENCE.format(near=near, far=far, start=beginning))
            theirs, same = measured(lambda node, query=query: recursive(engine, query, node), start, runs, options.references)
            print(
                f"{name}: median {statistics.median(ours) * 1e3:.1f} ms, slowest {max(ours) * 1e3:.1f} ms, {found} edges; "
                f"recursive query {statistics.median(theirs) * 1e3:.1f} ms, {same} edges: walk / recursive "
                f"{statistics.median(ours) / statistics.median(theirs):.1f}"
            )
        metadata.close()


def fill(metadata: SqlMetadata, runs: int) -> None:
    """Write the graph in large batches."""
    batch = Batch()
    for number, (effect, causes) in enumerate(graph(runs)):
        batch.link(effect, causes, number)
        if len(batch.edges) >= AT_ONCE:
            metadata.commit(batch)
            batch = Batch()
    metadata.commit(batch)


def graph(runs: int) -> Iterator[tuple[str, list[str]]]:
    """Effects with their causes, in the order in which a platform would write them."""
    for number in range(runs):
        pipeline, turn = number % PIPELINES, number // PIPELINES
        run = f"run:train.p{pipeline}.{turn}"
        sources = [f"source:s{pipeline}@{turn}", f"source:shared@{turn}"]
        yield run, [*sources, f"pipeline_release:{pipeline:064x}", f"model_version:p{pipeline}@{turn}", f"schedule:p{pipeline}.{turn}"]
        for kind in ("dataset_version", "model_version", "release", "rollout", "approval"):
            yield f"{kind}:p{pipeline}@{turn + 1}", [run]
        for kind in ("statistics", "transformation", "bundle", "evaluation", "alert"):
            yield f"{kind}:{number:064x}", [run]


def recursive(engine: Engine, query: TextClause, node: str) -> int:
    """The reference."""
    with engine.connect() as connection:
        return len(connection.execute(query, {"node": node, "hops": HOPS}).fetchall())


def measured(act: Callable[[str], int], start: str, runs: int, times: int) -> tuple[list[float], int]:
    """Seconds of each walk from another node in the middle of its pipeline's life, and the edges of the last one."""
    took, found = [], 0
    for number in range(times):
        turn = max(1, runs // PIPELINES // 2 + number % 3)
        began = time.perf_counter()
        found = act(start.format(pipeline=number % PIPELINES, turn=turn))
        took.append(time.perf_counter() - began)
    return took, found


if __name__ == "__main__":
    main()
