"""How many blocks and threads a fit gets where the user does not say."""

from __future__ import annotations

from pyspark.sql import SparkSession

from recspark.engine.jvm import is_local
from recspark.engine.session import default_threads, master_of, parallelism, task_cpus

#: ratings up to which one task on one machine beats tasks that exchange files; its blocks take about 16 bytes a rating
ONE_BLOCK_RATINGS = 500_000_000

#: ratings up to which one task is faster on a cluster too: an iteration takes less than the two Spark jobs of a step on each side
FEW_RATINGS = 5_000_000


def default_blocks(spark: SparkSession, ratings: int) -> int:
    """Blocks a side: 1 for few ratings, and on one machine unless they are very many; else one a core."""
    most = ONE_BLOCK_RATINGS if is_local(master_of(spark)) else FEW_RATINGS
    return 1 if ratings <= most else parallelism(spark)


def threads_per_task(spark: SparkSession, blocks: dict[str, int]) -> int:
    """Threads of a task: all cores of a local master where one task does everything, else ``spark.task.cpus``."""
    if any(count > 1 for count in blocks.values()):
        return task_cpus(spark)
    return default_threads(spark)
