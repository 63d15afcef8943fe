"""Factorization machines by Gibbs sampling (solver mcmc) or alternating least squares (als).

The kernels are `recspark.kernels.gibbs`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from recspark.algorithms.contract import Entities, Shared, State, Sums, Totals
from recspark.algorithms.ratings import ENTITY_WORK
from recspark.errors import RecsparkError
from recspark.kernels import gibbs, probit
from recspark.kernels.als import padded_rows
from recspark.kernels.arrays.random import normal_rows
from recspark.kernels.threads import over_rows

#: rows of an ordered model are counted by log noise and score, each from -edge to edge; beyond the edges of
#: scores a probability is 0 or 1 up to 1e-15
EDGES = np.array([2.0, 8.0])

#: numbers of these bins, without and with a noise per entity
BINS, SPREAD_BINS = (1, 8192), (32, 1024)

#: number of passes over the cuts in an iteration
CUT_PASSES = 5


@dataclass(frozen=True)
class FMSampler:
    """The hyper-parameters of `recspark.kernels.gibbs`.

    Precisions have the prior Gamma(1/2, 1/2), means N(0, 1 / precision): libFM's (Rendle 2012, section 4.4).
    With ``noise = 0`` the fit is the mode for the fixed penalties ``reg`` (entities around their features,
    biases) and ``feature_reg`` instead.

    A normal model fits (label - center) / unit, so that priors mean the same in any unit of the labels; it
    exports numbers in the unit of the labels.

    center, unit
        Mean and standard deviation of the labels; unit is 1 if penalties are fixed.
    levels
        Ratings of an ordered model, ascending; empty: a normal model. With two levels the one cut is 0.
    linear
        Sides whose entities have only a bias; they come last.
    spread
        Sides whose entities have a noise of their own.
    """

    rank: int
    noise: float
    reg: float
    feature_reg: float
    stdev: float
    center: float
    unit: float
    levels: tuple[float, ...]
    clip: tuple[float, float]
    seed: int
    linear: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether ratings are levels with cuts between them."""
        return len(self.levels) > 0

    @property
    def remedy(self) -> str:
        """The advice for a fit that diverges."""
        return "lower initStd, or raise regParam with solver als"

    @property
    def _score_unit(self) -> float:
        """The difference in labels that a difference of 1 in scores makes; scores of levels have no unit."""
        return 1.0 if self.ordered else self.unit

    def targets(self, values: np.ndarray) -> np.ndarray:
        """The numbers of levels, or labels in units around their mean."""
        if self.ordered:
            return np.searchsorted(np.array(self.levels, np.float32), values).astype(np.float32)
        return ((values - self.center) / self.unit).astype(np.float32)

    def begin(self, totals: Totals, shares: dict[str, float]) -> Shared:
        """Offset, precision, and cuts at the quantiles that the shares of levels give.

        These are quantiles of scores and latent noise together.
        """
        cuts: list[float] = []
        if self.ordered:
            counts = np.array([totals.levels[level] for level in self.levels])
            # one of two classes may have no row, which says little about how rare it is
            below = np.cumsum(counts)[:-1] / counts.sum() if counts.all() else np.array([0.5])
            cuts = (ndtri(below) / np.sqrt(_noise_share(shares))).tolist()
        return {"offset": 0.0, "alpha": 1.0, "cuts": cuts}

    def start(self, side: str, first: int, rows: State, shares: dict[str, float]) -> State:
        """Normal vectors, and biases drawn given their own rows only.

        Vectors are a function of (seed, side, position). With v the share of the side in the variance of
        labels, s the share that no side has, and labels z of variance 1:

            b ~ N(sum w z / (W + s / v), s / (W + s / v)),  W = sum w

        If all biases started at 0, the sampler would draw a precision near their number, which then falls
        slowly.

        Parameters
        ----------
        side, first, rows, shares
            See `recspark.algorithms.contract.Sampler.start`.
        """
        n, stream = len(rows["indptr"]) - 1, _number(side)
        noise = _noise_share(shares)
        weight, total = self._sums(rows)
        width = weight + noise / shares[side]
        # the columns of a row are the same for any number of them; the last column is not part of a vector
        draws = normal_rows(self.seed, stream, first, n, self._rank(side) + 1)
        bias = total / width + self.noise * draws[:, -1] * np.sqrt(noise / width)
        if self.ordered:
            bias /= np.sqrt(noise)  # latent values have noise 1
        state = {"factors": np.empty((n, 0), np.float32), "bias": bias.astype(np.float32)}
        if side not in self.linear:
            state["factors"] = padded_rows(draws[:, :-1] * np.float32(self.stdev))
        return state | ({"spread": np.zeros(n, np.float32)} if self.spread else {})

    def _sums(self, rows: State) -> tuple[np.ndarray, np.ndarray]:
        """The sum of weights of each entity's rows, and the weighted sum of its labels; float64.

        Labels are the targets of a normal model.
        """
        labels = rows["values"].astype(np.float64)
        if self.ordered:
            labels = (np.array(self.levels)[rows["values"].astype(np.int64)] - self.center) / self.unit
        n = len(rows["indptr"]) - 1
        entity = np.repeat(np.arange(n), np.diff(rows["indptr"]))
        weights = rows["weights"] if len(rows["weights"]) else np.ones(len(labels))
        return np.bincount(entity, weights, n), np.bincount(entity, weights * labels, n)

    def draw_prior(
        self, side: str, features: dict[str, State], own: State, before: State, iteration: int
    ) -> State:
        """Mean and precision of a side's entities: hyper-parameters first, then the vectors of each group.

        ``factors, bias``: the mean of each entity; ``center, precision`` (rank + 1); a group's own
        ``factors-GROUP, bias-GROUP``; ``spread_precision`` if the side has a noise per entity.

        Parameters
        ----------
        side, features, own, before, iteration
            See `recspark.algorithms.contract.Sampler.draw_prior`.
        """
        draw = np.random.default_rng((self.seed, iteration, _number(side)))
        factors, bias = np.array(own["factors"]), np.array(own["bias"])
        center = np.zeros(self._rank(side) + 1)
        if before:
            factors, bias, center = factors - before["factors"], bias - before["bias"], before["center"]
        residual, residual_bias, center, precision = self._hyper(draw, side, factors, bias, center)
        prior: State = {}
        for number, (group, csc) in enumerate(features.items()):
            columns = len(csc["indptr"]) - 1
            vectors = (
                np.array(before[f"factors-{group}"])
                if before
                else padded_rows(np.zeros((columns, self.rank), np.float32))
            )
            weights = np.array(before[f"bias-{group}"]) if before else np.zeros(columns, np.float32)
            # features that are all 0, before the first draw, say nothing about their precision: they start
            # with the precision of entities
            started = before or not self.noise
            group_precision = self._precision(draw, columns, vectors, weights) if started else precision
            key = self._keys(iteration, side, 10 + number)[0]
            around, own_precision = _split(precision), _split(group_precision)
            group_features = gibbs.Features(csc["indptr"], csc["entities"], csc["values"])
            tables = gibbs.Table(vectors, weights), gibbs.Table(residual, residual_bias)
            noise = np.float32(self.noise)
            gibbs.draw_features(group_features, *tables, around, own_precision, noise, key, self.rank)
            prior |= {f"factors-{group}": vectors, f"bias-{group}": weights}
        means = {"factors": own["factors"] - residual, "bias": own["bias"] - residual_bias}
        if side in self.spread:
            squares = np.square(own["spread"], dtype=np.float64).sum()
            prior["spread_precision"] = draw_precision(draw, len(bias), squares)
        return prior | means | {"center": center, "precision": precision}

    def _hyper(
        self, draw: np.random.Generator, side: str, factors: np.ndarray, bias: np.ndarray, center: np.ndarray
    ):
        """A new precision and center of a side.

        Also returned are the residuals of the entities after the center and the features.
        """
        n, rank = len(bias), self._rank(side)
        if not self.noise:
            return factors, bias, center, np.full(rank + 1, self.reg)
        rows = np.concatenate([factors[:, :rank], bias[:, None]], axis=1).astype(np.float64)
        precision = draw_precision(draw, n + 1, np.square(rows).sum(axis=0) + center**2)
        rows += center
        center = rows.sum(axis=0) / (n + 1) + draw.standard_normal(rank + 1) / np.sqrt((n + 1) * precision)
        rows -= center
        vectors = rows[:, :rank].astype(np.float32)
        return (
            vectors if side in self.linear else padded_rows(vectors),
            rows[:, rank].astype(np.float32),
            center,
            precision,
        )

    def _precision(
        self, draw: np.random.Generator, n: int, vectors: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """A new precision of a group's vectors around 0."""
        if not self.noise:
            return np.full(self.rank + 1, self.feature_reg)
        squares = np.append(
            np.square(vectors[:, : self.rank], dtype=np.float64).sum(axis=0),
            np.square(weights, dtype=np.float64).sum(),
        )
        return draw_precision(draw, n, squares)

    def draw_block(self, block: Entities, shared: Shared, iteration: int, threads: int) -> tuple[State, Sums]:
        """New vectors of a block's entities, and sums over the residuals of its rows.

        Parameters
        ----------
        block, shared, iteration, threads
            See `recspark.algorithms.contract.Sampler.draw_block`.
        """
        side, rows, table, prior = block.side, block.rows, block.table, block.prior
        state = {key: np.array(value) for key, value in block.own.items()}
        weights = rows["weights"]
        sums: Sums = {}
        if self.spread:
            weights = self._draw_spreads(block, state, shared, iteration, threads)
            sums["weight"] = float(weights.sum(dtype=np.float64))
        own = gibbs.Table(state["factors"], state["bias"])
        around = gibbs.Prior(prior["factors"], prior["bias"], *_split(prior["precision"]))
        read = _rows(rows, weights), gibbs.Table(table["factors"], table["bias"])
        given = gibbs.Constants(
            np.float32(shared["alpha"]),
            shared["offset"],
            np.float32(self.noise),
            self._keys(iteration, side, 0),
            block.first,
            self._cuts(shared),
        )
        work = np.diff(rows["indptr"]) + ENTITY_WORK
        if side in self.linear:
            out = over_rows(gibbs.draw_biases, work, threads, *read, own.biases, around, given)
        else:
            out = over_rows(gibbs.draw_entities, work, threads, *read, own, around, given, self.rank)
        left, left_square, failed = np.sum(out, axis=0) if out else (0.0, 0.0, 0)
        return state, sums | {"left": float(left), "left_square": float(left_square), "failed": int(failed)}

    def _draw_spreads(
        self, block: Entities, state: State, shared: Shared, iteration: int, threads: int
    ) -> np.ndarray:
        """Draw the log noise of a block's entities into `state`, and return the weights of its rows.

        It is drawn only if their side has it; the weights include the noise of all sides.
        """
        side, rows, table = block.side, block.rows, block.table
        work, weights = np.diff(rows["indptr"]) + ENTITY_WORK, np.empty(len(rows["values"]), np.float32)
        by_entity = _rows(rows, rows["weights"])
        if side in self.spread:
            given = gibbs.Constants(
                float(shared["alpha"]),
                shared["offset"],
                np.float32(self.noise),
                self._keys(iteration, side, 1),
                block.first,
                self._cuts(shared),
            )
            tables = (
                gibbs.Table(table["factors"], table["bias"]),
                gibbs.Table(state["factors"], state["bias"]),
            )
            precision = float(block.prior["spread_precision"])
            spreads = gibbs.Spreads(table["spread"], state["spread"], precision)
            over_rows(gibbs.draw_spreads, work, threads, by_entity, *tables, spreads, given)
        over_rows(gibbs.spread_weights, work, threads, by_entity, table["spread"], state["spread"], weights)
        return weights

    def watch(
        self,
        role: str,
        rows: State,
        table: State,
        shared: Shared,
        mean: np.ndarray,
        number: int,
        threads: int,
    ) -> tuple[np.ndarray, Sums]:
        """Count scores by level for training rows; update means and errors for the other roles.

        Parameters
        ----------
        role, rows, table, shared, mean, number, threads
            See `recspark.algorithms.contract.Sampler.watch`.
        """
        n, cuts = len(rows["values"]), self._cuts(shared)
        score, work = np.empty(n), np.ones(n)
        over_rows(
            gibbs.scores,
            work,
            threads,
            rows["places"],
            table["factors"],
            table["bias"],
            shared["offset"],
            score,
        )
        spread = table["spread"][rows["places"]].sum(axis=1, dtype=np.float64) if self.spread else np.zeros(n)
        if role == "train":
            counts = np.zeros((len(self.levels), *(SPREAD_BINS if self.spread else BINS)), np.int64)
            probit.count_scores(0, n, score, spread, rows["values"], EDGES, counts)
            return mean, {"counts": counts}
        if self.ordered:
            prediction = np.empty(n)
            over_rows(
                probit.expected_levels, work, threads, score, spread, cuts, np.array(self.levels), prediction
            )
            score = prediction
        else:
            score = self.center + self.unit * score
        mean = mean + (score - mean) / (number + 1)
        errors = rows["values"] - np.clip(mean, *self.clip)
        return mean, {f"{role}_error": float(errors @ errors), f"{role}_weight": float(n)}

    def close(
        self, sums: Sums, shared: Shared, totals: Totals, iteration: int
    ) -> tuple[Shared, dict[str, float]]:
        """New precision, offset and cuts, and the RMSE of each role.

        The RMSE of training rows is that of the scores just drawn, the RMSE of watched rows that of the mean
        prediction.

        Parameters
        ----------
        sums, shared, totals, iteration
            See `recspark.algorithms.contract.Sampler.close`.

        Raises
        ------
        RecsparkError
            If the numbers have left the range of floats.
        """
        if sums["failed"] or not np.isfinite(sums["left_square"]):
            raise RecsparkError(
                f"iteration {iteration} has no numbers to go on with ({sums['failed']} systems failed): "
                f"{self.remedy}"
            )
        draw = np.random.default_rng((self.seed, iteration, 1))
        metrics = {
            f"{key.removesuffix('_error')}_rmse": float(
                np.sqrt(sums[key] / sums[key.replace("_error", "_weight")])
            )
            for key in sums
            if key.endswith("_error")
        }
        n, weight = totals.rows, max(float(sums.get("weight", totals.weight)), 1e-9)
        square = max(float(sums["left_square"]), 1e-9)
        metrics["objective"] = self._score_unit**2 * square / weight
        if self.ordered:
            cuts = shared["cuts"]
            if len(self.levels) > 2:
                cuts = _draw_cuts(draw, np.asarray(sums["counts"]), cuts)
            return Shared(offset=shared["offset"], alpha=shared["alpha"], cuts=cuts), metrics
        metrics["train_rmse"] = self.unit * float(np.sqrt(square / weight))
        alpha = draw_precision(draw, n, square) if self.noise else 1.0
        change = self.noise * draw.standard_normal() / np.sqrt(alpha * weight)
        offset = shared["offset"] + float(sums["left"]) / weight + change
        return Shared(offset=float(offset), alpha=float(alpha), cuts=[]), metrics

    def export(self, side: str, samples: list[State]) -> State:
        """The columns of a side's table from the kept samples.

        ``features``, if the side has vectors, are those of all samples one after the other, divided by the
        root of their number, so that a product is a mean of products. ``bias`` and ``deviation`` are the mean
        over samples; ``biases`` and ``spreads`` have one number per sample.
        """
        unit = np.float32(self._score_unit)
        biases = np.stack([sample["bias"] for sample in samples], axis=1) * unit
        mean = biases.mean(axis=1)
        columns = {"bias": mean, "deviation": mean, "biases": np.ascontiguousarray(biases)}
        if side in self.spread:
            none = np.zeros(len(biases), np.float32)
            columns["spreads"] = np.ascontiguousarray(
                np.stack([sample.get("spread", none) for sample in samples], axis=1)
            )
        if side in self.linear:
            return columns
        scale = np.sqrt(unit / np.float32(len(samples)))
        features = np.concatenate([sample["factors"][:, : self.rank] for sample in samples], axis=1) * scale
        return {"features": np.ascontiguousarray(features), **columns}

    def export_shared(self, shared: Shared) -> Shared:
        """The values that all rows share, in the unit of the labels."""
        if self.ordered:
            return shared
        offset, alpha = self.center + self.unit * shared["offset"], shared["alpha"] / self.unit**2
        return Shared(offset=offset, alpha=alpha, cuts=shared["cuts"])

    def _rank(self, side: str) -> int:
        return 0 if side in self.linear else self.rank

    def _keys(self, iteration: int, side: str, purpose: int) -> np.ndarray:
        return np.random.SeedSequence((self.seed, iteration, _number(side), purpose)).generate_state(
            2, np.uint64
        )

    def _cuts(self, shared: Shared) -> np.ndarray:
        return np.array([-np.inf, *shared["cuts"], np.inf]) if self.ordered else np.empty(0)


def draw_precision(draw: np.random.Generator, n: int, squares: np.ndarray | float) -> np.ndarray:
    """A precision with the prior Gamma(1/2, 1/2), given n normal numbers whose squares sum to `squares`.

    It is Gamma((1 + n)/2, (1 + squares)/2), one draw for each of `squares`.
    """
    return np.asarray(draw.gamma((1 + n) / 2, 2 / (1 + squares)))


def _noise_share(shares: dict[str, float]) -> float:
    """The share of the labels' variance that no side has."""
    return 1 - sum(shares.values())


def _draw_cuts(draw: np.random.Generator, counts: np.ndarray, cuts: list[float]) -> list[float]:
    """Metropolis steps on the first cut and the logarithms of the gaps, latent values integrated out.

    The length of each step follows its own curvature.
    """

    def placed(at: np.ndarray) -> np.ndarray:
        return np.cumsum(np.append(at[0], np.exp(at[1:])))

    def likelihood(at: np.ndarray) -> float:
        return probit.binned_log_likelihood(counts, EDGES, np.array([-np.inf, *placed(at), np.inf]))

    at, h = np.append(cuts[0], np.log(np.diff(cuts))), 1e-2
    now = likelihood(at)
    steps = np.empty(len(at))
    for place, unit in enumerate(np.eye(len(at))):
        bend = (likelihood(at + h * unit) + likelihood(at - h * unit) - 2 * now) / h**2
        steps[place] = 2.4 / np.sqrt(max(-bend, 1.0))
    for _ in range(CUT_PASSES):
        for place in range(len(at)):
            tried = at.copy()
            tried[place] += steps[place] * draw.standard_normal()
            then = likelihood(tried)
            if np.log(draw.random()) < then - now:
                at, now = tried, then
    return placed(at).tolist()


def _number(side: str) -> int:
    return zlib.crc32(side.encode())


def _rows(rows: State, weights: np.ndarray) -> gibbs.Rows:
    return gibbs.Rows(rows["indptr"], rows["places"], rows["values"], weights)


def _split(values: np.ndarray) -> gibbs.Precision:
    """Numbers of the factors' columns, and of the bias."""
    return gibbs.Precision(np.ascontiguousarray(values[:-1], np.float32), np.float32(values[-1]))
