"""How many blocks and threads a fit gets where the user does not say."""

from __future__ import annotations

from pyspark.sql import SparkSession

from recspark.engine.session import default_threads, is_local

#: ratings up to which one task on one machine beats tasks that exchange files; its blocks take about 16 bytes a rating
ONE_BLOCK_RATINGS = 500_000_000


def default_blocks(spark: SparkSession, ratings: int) -> int:
    """Blocks a side: 1 on one machine unless the data are very large, else one a core."""
    master = spark.sparkContext.master
    return 1 if is_local(master) and ratings <= ONE_BLOCK_RATINGS else spark.sparkContext.defaultParallelism


def threads_per_task(spark: SparkSession, blocks: dict[str, int]) -> int:
    """Threads of a task: all cores of a local master where one task does everything, else ``spark.task.cpus``."""
    if any(count > 1 for count in blocks.values()):
        return int(spark.sparkContext.getConf().get("spark.task.cpus", "1"))
    return default_threads(spark)
