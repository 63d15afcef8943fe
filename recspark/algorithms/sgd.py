"""Gradient descent as steps of the engine: hyper-parameters in, sums out.

`recspark.kernels.sgd` runs on cells or sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recspark.algorithms.contract import Given, State
from recspark.algorithms.ranks import summarize
from recspark.algorithms.ratings import (
    CSR,
    SIDES,
    Block,
    Cells,
    Visit,
    as_columns,
    damped_deviation,
    stages,
    without_ratings,
)
from recspark.kernels import sgd
from recspark.kernels.als import padded_rows
from recspark.kernels.arrays.random import normal_rows
from recspark.kernels.ranking.factors import descend_preferences
from recspark.kernels.ranking.losses import Ranking
from recspark.kernels.ranking.negatives import Unrated
from recspark.kernels.sgd import Entries, Penalties, Penalty, Rows, Rules
from recspark.kernels.threads import in_threads, over_rows

#: adagrad's sums start here, so that a first step is no longer than the rate (Chin et al. 2015)
FIRST_SQUARE = 1.0

_EMPTY = np.empty((0, 0), np.float32)
SCHEDULES = ("constant", "inverse", "exponential")


@dataclass(frozen=True)
class SGDSolver:
    """The objectives of `recspark.kernels.sgd`, with penalties per side.

    ``batch`` is the number of ratings per step; 0 takes all (the full gradient of the mean cost, ``weight``
    being the sum of the ratings' weights). ``mean`` is added to every score by the model; ``level`` is the
    rating that a cold id falls back to. Errors count in units of ``unit``; with the linear kernel the rows
    and scores in a fit's states are those of ratings / unit, but not in models. ``ranking`` is the loss if it
    compares items, which `loss` names.
    """

    rank: int
    kernel: str
    loss: str
    optimizer: str
    batch: int
    rate: float
    schedule: str
    decay: float
    penalty: dict[str, Penalty]
    reg_power: float
    biased: bool
    mean: float
    level: float
    weight: float
    low: float
    high: float
    gamma: float
    nonnegative: bool
    stdev: float
    clip: tuple[float, float]
    seed: int
    unit: float = 1.0
    ranking: Ranking | None = None

    row_arrays = ("factors", "bias", "scale", "squares", "moments", "counts")
    remedy = "lower stepSize, or raise regParam"

    @property
    def ranks(self) -> bool:
        """Whether watched rows are preferences."""
        return self.ranking is not None

    @property
    def sweep(self) -> str:
        """The kind of an iteration, as `recspark.engine.sweeps` names it."""
        return "strata" if self.batch else "simultaneous"

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """Normal factors, no biases, and an optimizer that has seen nothing.

        Factors are a function of (seed, side, position) only.

        Parameters
        ----------
        side, first, block, given, added
            See `recspark.algorithms.contract.Solver.start`.
        """
        counts = np.diff(block.train.indptr)
        n = len(counts)
        factors = normal_rows(self.seed, SIDES.index(side), first, n, self.rank) * np.float32(self.stdev)
        state = {"factors": np.abs(factors) if self.nonnegative else factors, "bias": np.zeros(n, np.float32)}
        # a penalty that every rating pays counts n times already; the full gradient pays it once
        state["scale"] = np.maximum(counts, 1).astype(np.float32) ** np.float32(
            self.reg_power - (1 if self.batch else 0)
        )
        if given:
            rows, factors, bias = given
            state["factors"][rows], state["bias"][rows] = self._in_units(factors, bias, 1 / self._score_unit)
        if added:
            rows, factors, bias = added
            factors, bias = self._in_units(factors, bias, 1 / self._score_unit)
            state["factors"][rows] += factors
            state["bias"][rows] += bias
        if self.kernel == "cosine":
            state["factors"] = of_length_1(state["factors"])
        if self.optimizer == "adagrad":
            state["squares"] = np.full((n, 2), FIRST_SQUARE, np.float32)
        if self.optimizer == "adam":
            state |= {
                "moments": np.zeros((n, 2, self.rank + 1), np.float32),
                "counts": np.zeros(n, np.float32),
            }
        return state

    def fresh(self, side: str, first: int, n: int) -> State:
        """Rows for ids of which nothing is known, in the unit of models."""
        state = self.start(side, first, without_ratings(n))
        factors, bias = self._in_units(state["factors"], state["bias"], self._score_unit)
        return {"factors": factors, "bias": bias}

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """An epoch over the cells of a user block and an item block, by `stages`.

        Parameters
        ----------
        cells, users, items, iteration, pair, threads
            See `recspark.algorithms.contract.Solver.step_pair`.
        """
        rules, entries = (
            self._rules(iteration),
            Entries(cells.users, cells.items, cells.values, cells.weights),
        )
        sides = self._rows(users, padded=self._in_registers), self._rows(items, padded=self._in_registers)
        seed = (self.seed, iteration, *pair)
        descend = self._descend_cells if self.ranks else self._descend_cell

        def take(visits: Sequence[Visit]) -> list[tuple[Visit, tuple]]:
            return [(visit, descend(cells, visit, entries, rules, sides, seed)) for visit in visits]

        sums: dict[Visit, tuple] = {}
        for areas in stages(cells.grid, seed, threads, pairs=self.ranks):
            for area in in_threads(take, areas, threads):
                sums.update(area)
        # in the same order for any number of threads: a sum of floats depends on it
        squared, total, cost = np.sum([sums[visit] for visit in sorted(sums)], axis=0)
        users, items = (self._state(rows) for rows in sides)
        return (
            users,
            items,
            {"train_error": float(squared), "train_weight": float(total), "train_cost": float(cost)},
        )

    def _descend_cell(
        self,
        cells: Cells,
        visit: Visit,
        entries: Entries,
        rules: Rules,
        sides: tuple[Rows, Rows],
        seed: tuple,
    ) -> tuple:
        a, [b] = visit
        cell = a * cells.grid + b
        arguments = (entries, rules, *sides, self._penalties)
        if self._in_registers:
            return sgd.descend(cells.first_runs[cell], cells.first_runs[cell + 1], cells.runs, *arguments)
        lo, hi = cells.offsets[cell : cell + 2]
        order = lo + np.random.default_rng((*seed, a, b)).permutation(hi - lo)
        return sgd.descend_batches(order, self.batch, *arguments)

    def _descend_cells(
        self,
        cells: Cells,
        visit: Visit,
        entries: Entries,
        rules: Rules,
        sides: tuple[Rows, Rows],
        seed: tuple,
    ) -> tuple:
        """A loss that compares items, on one user range and the items of some item ranges."""
        a, ranges = visit
        candidates = np.concatenate([np.arange(*cells.item_cuts[b : b + 2]) for b in ranges])
        if len(cells.untrained):
            candidates = candidates[~np.isin(candidates, cells.untrained)]
        sums = []
        for b in ranges:
            lo, hi = cells.offsets[a * cells.grid + b : a * cells.grid + b + 2]
            [key] = np.random.SeedSequence((*seed, a, b)).generate_state(1, np.uint64)
            unrated = Unrated(candidates, cells.rated_indptr, cells.rated_indices, key)
            sums.append(descend_preferences(lo, hi, entries, unrated, rules, *sides, self._penalties))
        return tuple(np.sum(sums, axis=0))

    @property
    def _penalties(self) -> Penalties:
        return Penalties(self.penalty["users"], self.penalty["items"])

    @property
    def _in_registers(self) -> bool:
        plain = self.batch == 1 and self.optimizer != "adam" and not self.nonnegative
        return plain and all(penalty.l1 == penalty.bias_l1 == 0 for penalty in self.penalty.values())

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """A full-batch step of one side.

        Parameters
        ----------
        side, block, source, own, threads
            See `recspark.algorithms.contract.Solver.step`.
        """
        stepped, csr = self._rows(own), block.train
        rows = (self._rows(source), (self._rows(own), stepped), self.penalty[side])
        over_rows(sgd.full_gradient, csr.work, threads, csr.entries, 1 / self.weight, self._rules(1), *rows)
        return self._state(stepped), {}

    def solve_rows(
        self, side: str, csr: CSR, fixed: State, own: State, epochs: int, rate: float, threads: int
    ) -> State:
        """Solve rows of one side by epochs over their own ratings, while the other side is fixed.

        Parameters
        ----------
        side
            The side of the rows: ``users`` or ``items``.
        csr
            The ratings of the n rows; indices are positions of the other side.
        fixed
            The whole other side: ``factors`` float32 (n_other, rank) and ``bias`` float32 (n_other,).
        own
            The rows before: ``factors`` float32 (n, rank) and ``bias`` float32 (n,); they are not changed.
        epochs
            Number of passes over the ratings of each row.
        rate
            The learning rate, the same in all epochs.
        threads
            Number of threads of the kernels.

        Returns
        -------
        State
            The new ``factors`` and ``bias`` of the rows.
        """
        counts = np.diff(csr.indptr)
        down, up = 1 / self._score_unit, self._score_unit
        (factors, bias), (source_factors, source_bias) = (
            self._in_units(each["factors"], each["bias"], down) for each in (own, fixed)
        )
        fresh = self.start(side, 0, Block(csr)) | {"factors": factors, "bias": bias}
        if not self.batch:
            # the full gradient pays the penalty once, beside the mean cost
            fresh["scale"] = fresh["scale"] * (self.weight / np.maximum(counts, 1)).astype(np.float32)
        rows = self._rows(fresh, padded=False)
        source = Rows(
            np.ascontiguousarray(source_factors),
            source_bias,
            source_bias,
            _EMPTY,
            np.empty((0, 2, 0), np.float32),
            source_bias,
        )
        rules = self._rules(1)._replace(rate=float(rate))
        over_rows(
            sgd.descend_rows,
            csr.work,
            threads,
            csr.entries,
            epochs,
            rules,
            source,
            rows,
            self.penalty[side],
        )
        factors, bias = self._in_units(rows.factors, rows.bias, up)
        return {"factors": factors, "bias": bias}

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Errors of watched rows.

        In full-batch steps, which do not visit training rows in turn, those are included.

        Parameters
        ----------
        block, source, own, threads
            See `recspark.algorithms.contract.Solver.watch`.
        """
        sums: dict[str, float] = {}
        roles = block.watched if self.batch else {"train": block.train, **block.watched}
        for role, csr in roles.items():
            low, high = self.clip if role != "train" else (-np.inf, np.inf)
            arguments = (csr.entries, self._rows(source), self._rows(own), self._rules(1), low, high)
            ranges = over_rows(sgd.squared_error, csr.work, threads, *arguments)
            squared, total, cost = np.sum(ranges, axis=0) if ranges else (0.0, 0.0, 0.0)
            sums |= {
                f"{role}_error": float(squared),
                f"{role}_weight": float(total),
                f"{role}_cost": float(cost),
            }
        return sums

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """The RMSE of every role, and the mean cost of a training row.

        Training rows count with their error at their visit in the epoch. With `ranking`: the share of
        drawn items that score lower, the AUC of watched rows, the mean cost of a preferred item.
        """
        weights = {
            key.removesuffix("_weight"): max(value, 1e-300)
            for key, value in sums.items()
            if key.endswith("_weight")
        }
        objective = {"objective": sums["train_cost"] / weights["train"]}
        if self.ranks:
            return {
                "train_pairs_right": sums["train_error"] / weights["train"],
                **summarize(sums),
                **objective,
            }
        return {
            f"{role}_rmse": float(np.sqrt(sums[f"{role}_error"] / weight)) for role, weight in weights.items()
        } | objective

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns features, bias and deviation of the model's table.

        The deviation is the bias, or without biases how far an id's ratings lie from the level.

        Parameters
        ----------
        side, block, state, n_other
            See `recspark.algorithms.contract.Solver.export`.
        """
        factors, bias = self._in_units(state["factors"], state["bias"], self._score_unit)
        if self.biased:
            return {"features": factors, **as_columns(bias, bias)}
        return {
            "features": factors,
            **as_columns(np.zeros_like(bias), damped_deviation(block.train, self.level)),
        }

    @property
    def _score_unit(self) -> float:
        """The difference in ratings that a difference of 1 in scores makes, if scores are ratings."""
        return self.unit if self.kernel == "linear" else 1.0

    @staticmethod
    def _in_units(factors: np.ndarray, bias: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose scores are `unit` times the scores of the given rows."""
        return (
            (factors, bias) if unit == 1 else (factors * np.float32(np.sqrt(unit)), bias * np.float32(unit))
        )

    def _rules(self, iteration: int) -> Rules:
        kernel, optimizer = sgd.KERNELS.index(self.kernel), sgd.OPTIMIZERS.index(self.optimizer)
        loss = 0 if self.ranking else sgd.LOSSES.index(self.loss)
        scale = (float(self.mean), float(self.low), float(self.high), float(self.gamma))
        rate, biased, nonnegative = self.rate_at(iteration), bool(self.biased), bool(self.nonnegative)
        rules = Rules(kernel, loss, optimizer, *scale, rate, biased, nonnegative, self.rank, float(self.unit))
        return rules._replace(ranking=self.ranking) if self.ranking else rules

    def rate_at(self, iteration: int) -> float:
        """The step size of an epoch, counted from 1."""
        epoch = iteration - 1
        if self.schedule == "inverse":
            return self.rate / (1 + self.decay * epoch)
        return self.rate * (1 - self.decay) ** epoch if self.schedule == "exponential" else self.rate

    def _rows(self, state: State, padded: bool = False) -> Rows:
        """A copy of a state to work on; kernels that work in registers need rows as wide as their tiles."""
        factors = padded_rows(state["factors"], copy=True) if padded else np.array(state["factors"])
        moments = np.array(state["moments"]) if "moments" in state else np.empty((0, 2, 0), np.float32)
        counts = np.array(state["counts"]) if "counts" in state else np.empty(0, np.float32)
        return Rows(
            factors,
            np.array(state["bias"]),
            np.array(state["scale"]),
            np.array(state.get("squares", _EMPTY)),
            moments,
            counts,
        )

    def _state(self, rows: Rows) -> State:
        state = {
            "factors": np.ascontiguousarray(rows.factors[:, : self.rank]),
            "bias": rows.bias,
            "scale": rows.scale,
        }
        optimizer = {
            "adagrad": {"squares": rows.squares},
            "adam": {"moments": rows.moments, "counts": rows.counts},
        }
        return state | optimizer.get(self.optimizer, {})


def of_length_1(rows: np.ndarray) -> np.ndarray:
    """The rows divided by their lengths; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.float32(1))
