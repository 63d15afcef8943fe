"""The Params of the estimators of factorization machines."""

from __future__ import annotations

from recspark.config import Check, above, at_least, between, one_of
from recspark.errors import ConfigError
from recspark.kernels.anova import OPTIMIZERS
from recspark.models.engine_params import EngineParams
from recspark.models.fm.columns import FMColumns
from recspark.models.params import Hyperparameter
from recspark.models.unread import Unread

#: our solvers, and MLlib's names, which mean sgd
SOLVERS = ("mcmc", "als", "sgd", "adamW", "gd")


class FMParams(EngineParams, FMColumns):
    """The Params, and what they amount to."""

    groups = Hyperparameter(
        list,
        None,
        "feature groups, by name or as tables {group, scope, scale, unknown}, docs/fm.md; not set: "
        "featuresCol",
    )
    weightCol = Hyperparameter(str, None, "column of weights >= 0, one per row")
    factorSize = Hyperparameter(int, 8, "number of factors", at_least(1))
    maxIter = Hyperparameter(
        int, 100, "iterations; 0 leaves the start, with featuresCol or solver sgd", at_least(0)
    )
    solver = Hyperparameter(
        str,
        "mcmc",
        "mcmc: Gibbs sampling, predictions are means over samples; als: the mode for fixed penalties; "
        "sgd: stochastic gradients (adamW and gd are other names of it)",
        one_of(*SOLVERS),
    )
    burnIn = Hyperparameter(
        int, None, "first iterations that no prediction is from; not set: a tenth", at_least(0)
    )
    samples = Hyperparameter(
        int,
        100,
        "samples that the model keeps of each chain, spread evenly over the iterations after the burn-in",
        at_least(1),
    )
    chains = Hyperparameter(
        int,
        1,
        "solver mcmc with groups: chains from different starts, side by side if there are cores; "
        "predictions are means over all",
        at_least(1),
    )
    noisyChains = Hyperparameter(
        int,
        0,
        "solver mcmc with groups: chains in which each user and item has a noise of its own; two kinds of "
        "chains err apart",
        at_least(0),
    )
    regParam = Hyperparameter(
        float,
        0.0,
        "penalty of all parameters (als, sgd); als with groups: of an entity's difference from its features",
        at_least(0),
    )
    groupRegParam = Hyperparameter(
        dict,
        None,
        "solver sgd: penalties of groups by name, such as {user = 0.1}; those of others are regParam",
    )
    featureRegParam = Hyperparameter(
        float,
        None,
        "solver als with groups: penalty of the vectors of features; regParam if not set",
        at_least(0),
    )
    order = Hyperparameter(
        int,
        2,
        "solver sgd: up to this many features interact, each number of them with factors of its own (ANOVA "
        "kernel)",
        between(2, 6),
    )
    optimizer = Hyperparameter(
        str, "adagrad", "solver sgd: what the step size of a parameter follows", one_of(*OPTIMIZERS)
    )
    stepSize = Hyperparameter(
        float, 0.1, "solver sgd: adagrad's first step; adam takes about a hundredth", above(0)
    )
    miniBatchFraction = Hyperparameter(
        float,
        1.0,
        "accepted as MLlib's; solver sgd takes one row at a time",
        Check(lambda value: 0 < value <= 1, "greater than 0, at most 1"),
    )
    fitLinear = Hyperparameter(bool, True, "with featuresCol, or solver sgd: fit a weight of every column")
    fitIntercept = Hyperparameter(bool, True, "with featuresCol, or solver sgd: fit a constant")
    initStd = Hyperparameter(float, 0.1, "standard deviation of the starting factors", above(0))
    patience = Hyperparameter(
        int, 20, "iterations without gain on validation rows after which the fit stops", at_least(1)
    )

    unread: tuple[Unread, ...] = (
        Unread("miniBatchFraction", lambda *_: True, "gradients take one row at a time"),
        Unread("regParam featureRegParam", lambda e, _: e._solver() == "mcmc", "solver = {solver!r}"),
        Unread(
            "stepSize optimizer order groupRegParam", lambda e, _: e._solver() != "sgd", "solver = {solver!r}"
        ),
        Unread("burnIn samples chains", lambda e, _: e._solver() != "mcmc", "solver = {solver!r}"),
        Unread("featureRegParam", lambda e, _: e._solver() == "sgd", "solver = {solver!r}"),
        Unread(
            "fitLinear fitIntercept", lambda _, form: form == "entities", "groups with solver = {solver!r}"
        ),
        Unread("featuresCol", lambda _, form: form != "vectors", "groups are set"),
        Unread(
            "groupRegParam stdevCol levelsCol",
            lambda _, form: form == "vectors",
            "featuresCol, without groups",
        ),
        Unread(
            "chains featureRegParam userBlocks itemBlocks tasks threads",
            lambda _, form: form != "entities",
            "one task fits all rows",
        ),
        Unread(
            "tol patience",
            lambda e, form: form != "entities" and e._solver() == "mcmc",
            "solver = {solver!r} in one task",
        ),
        Unread("tol patience", lambda e, _: e._solver() == "als", "solver = {solver!r}"),
        Unread(
            "patience",
            lambda e, form: form == "vectors" or "validation" not in e._watched,
            "there are no validation rows",
        ),
    )

    def _solver(self) -> str:
        return "sgd" if self.getSolver() in ("adamW", "gd") else self.getSolver()

    def _burn_in(self) -> int:
        """Number of iterations that are not kept. Raise ConfigError if none would be left."""
        if self._solver() != "mcmc" or not self.getMaxIter():
            return max(0, self.getMaxIter() - 1)
        burn_in = self.getMaxIter() // 10 if self.getBurnIn() is None else self.getBurnIn()
        if burn_in >= self.getMaxIter():
            raise ConfigError(
                f"burnIn = {burn_in} is not allowed with maxIter = {self.getMaxIter()}: it must be less"
            )
        return burn_in
