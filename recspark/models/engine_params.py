"""The Params of every fit that the engine runs on blocks: where it runs, and when it ends."""

from __future__ import annotations

from pyspark.sql import SparkSession

from recspark.config import at_least, one_of
from recspark.engine.placement import TASKS, Placement, place
from recspark.models.params import Configurable, Hyperparameter


class Indexed(Configurable):
    """An estimator whose fit has a position for each id."""

    index = Hyperparameter(
        str,
        None,
        "folder or URI of an index (such as that of a lake) that gives the positions of ids; not set: their "
        "ascending order",
    )


class EngineParams(Indexed):
    """An estimator whose fit is a `recspark.engine.plan.Plan`."""

    tol = Hyperparameter(
        float, 0.0, "stop when the watched metric gains less than this, relatively", at_least(0)
    )
    seed = Hyperparameter(int, 42, "seed of all that is random")
    userBlocks = Hyperparameter(
        int,
        None,
        "blocks that users are cut into; not set: 1, or one per core of a cluster for over 5 M rows",
        at_least(1),
    )
    itemBlocks = Hyperparameter(
        int, None, "blocks that items are cut into; not set: as userBlocks", at_least(1)
    )
    tasks = Hyperparameter(
        str,
        "auto",
        "one: a task does all blocks and iterations; blocks: each block of a step is a task; auto: one for "
        "few rows",
        one_of(*TASKS),
    )
    threads = Hyperparameter(
        int,
        None,
        "threads of a task; not set: all cores where one task does all, else Spark's task.cpus",
        at_least(1),
    )
    workDir = Hyperparameter(
        str,
        None,
        "folder or URI that all workers reach, for blocks and checkpoints; one that stays lets a killed fit "
        "resume",
    )

    def _place(self, spark: SparkSession, rows: int) -> Placement:
        """Where the fit of so many rows runs."""
        ordered = {"users": self.getUserBlocks(), "items": self.getItemBlocks()}
        return place(spark, rows, ordered, self._wished_blocks(), self.getTasks(), self.getThreads())

    def _wished_blocks(self) -> dict[str, int]:
        """Blocks by side that count where blocks are tasks."""
        return {}
