"""The Params that several estimators share: where a fit runs, when it ends, items that a loss compares."""

from __future__ import annotations

from pyspark.sql import SparkSession

from recspark.config import above, at_least, one_of
from recspark.engine.placement import TASKS, Placement, place
from recspark.kernels.ranking import losses
from recspark.kernels.ranking.losses import Ranking
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.unread import Unread


class Indexed(Configurable):
    """An estimator whose fit has a position for each id."""

    index = Hyperparameter(
        str,
        None,
        "folder or URI of an index (such as that of a lake) that gives the positions of ids; not set: their "
        "ascending order",
    )


class ComparesItems(Configurable):
    """An estimator with a Param ``loss`` that can be one of `recspark.kernels.ranking.losses`."""

    negatives = Hyperparameter(
        int,
        None,
        "items drawn for each preferred item, evenly from those that the user has not rated; loss bpr takes "
        "the one with the highest score; not set: 1, with the losses softmax and ccl 64",
        at_least(1),
    )
    temperature = Hyperparameter(
        float, None, "loss softmax: scores are divided by it; not set: 1, with kernel cosine 0.2", above(0)
    )

    unread: tuple[Unread, ...] = (
        Unread("negatives", lambda e, _: not e._compares_items(), "loss = {loss!r}"),
        Unread("temperature", lambda e, _: e.getLoss() != "softmax", "loss = {loss!r}"),
    )

    def _compares_items(self) -> bool:
        return self.getLoss() in losses.LOSSES

    def _ranking(self) -> Ranking | None:
        """The loss that compares items; None if it is one of single ratings."""
        if not self._compares_items():
            return None
        loss, cosine = self.getLoss(), self.hasParam("kernel") and self.getKernel() == "cosine"
        temperature = self.getTemperature() or (0.2 if cosine else 1.0)
        return Ranking(
            losses.LOSSES.index(loss),
            self.getNegatives() or (1 if loss == "bpr" else 64),
            temperature if loss == "softmax" else 1.0,
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
