"""GraphFilter: a user's items, smoothed over the graph of users and items."""

from __future__ import annotations

from functools import partial

from msgspec.structs import asdict

from recspark.algorithms.item_item.graph_filter import normalized, smooth_basis
from recspark.config import at_least, between
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.spark.session import default_threads
from recspark.engine.storage import Store
from recspark.models.folder import FactorFacts
from recspark.models.item_item.estimator import ItemItem, ItemItemModel, ratings_of
from recspark.models.params import Hyperparameter
from recspark.models.serving.graph_filter import GraphFilterFacts


class GraphFilterModel(ItemItemModel):
    """The history of each user, and what is smooth on the graph of users and items."""


class GraphFilter(ItemItem):
    """Items of a user, smoothed over the graph of users and items; nothing is trained by steps.

    N has the ratings times ``n^-userPower`` per user and ``n^-itemPower`` per item; ``K = N' N``.
    The scores of a user are

        x (K + lowPass I V V' I^-1) p(K),

    where x are the user's items, I is the diagonal matrix of ``n^-itemPower``, V has the `rank` leading
    eigenvectors of K, and p(K) is ``exp(-sharpening K)`` up to its fourth power. The defaults are those
    published for Gowalla.

    A fit takes `rank` singular vectors, in one task that holds the ratings. Scores are made when they are
    asked for. Those of one user take 10 multiplications per rating of the training data, and 2 without
    sharpening, so lists for all users take some 10 x users x ratings.

    Sources
    -------
    Shen et al. 2021, "How powerful is graph convolution for recommendation?", equation 13, which has no
    sharpening, a lowPass of .3, and rank 256. Choi et al. 2023, "Blurring-sharpening process models for
    collaborative filtering", section 4.
    """

    model_class = GraphFilterModel

    rank = Hyperparameter(int, 448, "singular vectors that are kept", at_least(1))
    lowPass = Hyperparameter(float, 0.2, "weight of what is smooth, beside that of neighbours", at_least(0))
    sharpening = Hyperparameter(
        float, 2.5, "how much is taken away of what items have in common; 0: nothing", at_least(0)
    )
    userPower = Hyperparameter(float, 0.5, "a user of n items counts n^-userPower times", between(0, 1))
    itemPower = Hyperparameter(float, 0.5, "an item with n users counts n^-itemPower times", between(0, 1))

    def _facts(self, common: FactorFacts) -> FactorFacts:
        return GraphFilterFacts(
            user_power=self.getUserPower(),
            item_power=self.getItemPower(),
            low_pass=self.getLowPass(),
            sharpening=self.getSharpening(),
            **asdict(common),
        )

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        powers = self.getUserPower(), self.getItemPower()
        threads = default_threads(runner.spark)
        runner.map(partial(_write_basis, folder, self.getBinary(), powers, self.getRank(), threads), [blocks])


def _write_basis(
    folder: str,
    binary: bool,
    powers: tuple[float, float],
    rank: int,
    threads: int,
    store: Store,
    blocks: range,
) -> None:
    n = normalized(ratings_of(store, "users", 0, binary), *powers)
    Store(folder).save("basis", vectors=smooth_basis(n, rank, threads))
