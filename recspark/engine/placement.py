"""Default blocks, tasks and threads of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import SparkSession

from recspark.engine.spark.jvm import is_local
from recspark.engine.spark.session import default_threads, master_of, parallelism, task_cpus

#: number of ratings up to which one task on one machine beats tasks that exchange files; its blocks take
#: about 16 bytes per rating
ONE_TASK_RATINGS = 500_000_000

#: number of ratings up to which one task is faster on a cluster too: an iteration takes less time than the
#: two Spark jobs of a step on each side
FEW_RATINGS = 5_000_000

#: values of the Param `tasks`
TASKS = ("auto", "one", "blocks")


@dataclass(frozen=True)
class Placement:
    """The blocks, tasks and threads of a fit.

    blocks
        Number of blocks by side.
    one_task
        Whether one task does all blocks and all iterations; else each block of each step is a task.
    threads
        Threads of one task.
    """

    blocks: dict[str, int]
    one_task: bool
    threads: int

    @property
    def kernel_threads(self) -> int:
        """Threads of one block.

        A task with several blocks works on as many blocks at a time as it has threads.
        """
        return max(1, self.threads // min(self.blocks.values())) if self.one_task else self.threads


def place(
    spark: SparkSession,
    ratings: int,
    blocks: Mapping[str, int | None],
    hints: Mapping[str, int],
    tasks: str,
    threads: int | None,
) -> Placement:
    """Choose the placement of a fit.

    Parameters
    ----------
    spark
        The session that runs the tasks.
    ratings
        Number of rows to fit.
    blocks
        Ordered number of blocks by side; None if not ordered. A side without an order gets that of the other
        side.
    hints
        Wished number of blocks by side: it counts if there would be several blocks anyway.
    tasks
        One of `TASKS`. auto: one task on one machine unless ratings are very many, and on a cluster if they
        are few. A single block is one task anyway.
    threads
        Ordered threads of a task; None: all cores if one task does all, else Spark's ``task.cpus``.
    """
    most = ONE_TASK_RATINGS if is_local(master_of(spark)) else FEW_RATINGS
    alone = tasks == "one" or (tasks == "auto" and ratings <= most)
    by_default = 1 if alone else parallelism(spark)
    wished = {} if alone else hints
    [(users, ordered_users), (items, ordered_items)] = blocks.items()
    found = {
        users: ordered_users or wished.get(users) or ordered_items or by_default,
        items: ordered_items or wished.get(items) or ordered_users or wished.get(users) or by_default,
    }
    alone = alone or set(found.values()) == {1}
    return Placement(found, alone, threads or (default_threads(spark) if alone else task_cpus(spark)))
