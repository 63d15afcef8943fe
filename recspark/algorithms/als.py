"""ALS as steps of the engine: hyper-parameters in, the kernels of a device on each block, sums out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recspark.algorithms import devices, rotated
from recspark.algorithms.contract import Given, NoSteps, State
from recspark.algorithms.devices import Device
from recspark.algorithms.devices.cpu import Cpu
from recspark.algorithms.ranks import summarize
from recspark.algorithms.ratings import CSR, SIDES, Block, as_columns, damped_deviation, other
from recspark.kernels import als
from recspark.kernels.arrays.random import normal_rows
from recspark.kernels.cuda.layout import MOST_RANK
from recspark.kernels.implicit import solve_rows_cg
from recspark.kernels.projection import project_rows
from recspark.kernels.threads import over_rows

_NO_GRAM = np.zeros((0, 0), np.float32)

#: added to the confidence of a preferred pair whose confidence is 1, as of an unseen pair: the weighted form
#: divides by the excess over 1
LEAST_EXCESS = 1e-4

#: directions whose eigenvalue is below this share of the largest one are not determined by the ratings
SINGULAR = 1e-9


@dataclass(frozen=True)
class ALSSolver(NoSteps):
    """The explicit and implicit objectives of `recspark.kernels.als`, with penalties and powers per side.

    ``mean`` is added to every prediction by the model. ``level`` is the mean of the ratings, the fallback for
    a cold id. ``length`` is the length of a user's row at the start. ``rotates`` allows `solve_rotated` on
    the processor where it pays. ``device`` is one of `recspark.algorithms.devices.DEVICES`; a state of a card
    has arrays that stay there until somebody reads them.
    """

    rank: int
    reg: dict[str, float]
    bias_reg: dict[str, float]
    reg_power: dict[str, float]
    mean: float
    level: float
    targets: float
    biased: bool
    nonnegative: bool
    implicit: bool
    cg_steps: int
    clip: tuple[float, float]
    seed: int
    length: float = 1.0
    rotates: bool = True
    device: str = "cpu"

    sweep = "alternating"
    row_arrays = ("factors", "bias")
    remedy = "raise regParam"

    @property
    def ranks(self) -> bool:
        """Whether watched rows are preferences."""
        return self.implicit

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """Start users from their ratings, and items from zeros.

        Users are projected (`recspark.kernels.projection`); items are solved before they are read.

        Parameters
        ----------
        side, first, block, given, added
            See `recspark.algorithms.contract.Solver.start`.
        """
        n = len(block.train.indptr) - 1
        factors, bias = np.zeros((n, self.rank), np.float32), np.zeros(n, np.float32)
        if side == SIDES[0]:
            csr, source = block.train, self._random_rows(other(side), block)
            project_rows(0, n, csr.entries, source, np.float32(self.mean), self.length, factors)
        if given:
            _, factors[given[0]], bias[given[0]] = given
        if added:
            factors[added[0]] += added[1]
            bias[added[0]] += added[2]
        return self.state(np.abs(factors) if self.nonnegative else factors, bias)

    def fresh(self, side: str, first: int, n: int) -> State:
        """Random rows, for ids of which nothing is known, of `length` on average.

        They are a function of (seed, side, position) only.
        """
        factors = np.abs(normal_rows(self.seed, SIDES.index(side), first, n, self.rank))
        return self.state(
            factors * np.float32(self.length / np.sqrt(max(self.rank, 1))), np.zeros(n, np.float32)
        )

    def _random_rows(self, side: str, block: Block) -> np.ndarray:
        """Nonnegative random rows for the places that the entries of `block` name.

        They are a function of (seed, side, position) only.
        """
        needed = block.needed if len(block.needed) else np.arange(block.train.indices.max(initial=-1) + 1)
        rows = normal_rows(self.seed, SIDES.index(side), 0, int(needed.max(initial=-1)) + 1, self.rank)
        return np.abs(rows[needed])

    def state(self, factors: np.ndarray, bias: np.ndarray) -> State:
        """The state of rows with these factors and biases."""
        state = {"factors": factors, "bias": bias}
        if self.implicit:
            state["gram"] = self._device.gram(factors)
        return state

    @property
    def _device(self) -> Device:
        """The device of this process; auto leaves to the processor what a card can't do."""
        leaves = self.device == "auto" and (self.nonnegative or self.cg_steps or self.rank > MOST_RANK)
        return devices.find("cpu" if leaves else self.device)

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """Solve the block's rows; errors are summed on the side that is solved last.

        Parameters
        ----------
        side, block, source, own, threads
            See `recspark.algorithms.contract.Solver.step`.
        """
        rows, penalty = self._how(side, block.train, source)(side, block.train, source, own, threads)
        state = self.state(*rows)
        sums = {"penalty": penalty}
        if side == SIDES[0]:
            measured = {"train": block.train} | ({} if self.ranks else block.watched)
            for role, csr in measured.items():
                sums |= self._errors(role, csr, source, state, threads)
            if self.implicit:
                sums["interaction"] = _trace(state["gram"], source["gram"])
        return state, sums

    def _how(self, side: str, csr: CSR, source: State) -> Callable[..., tuple[als.Side, float]]:
        """The way to solve rows: see ``solver`` and ``cgSteps`` of `recspark.models.ALS`."""
        if self.cg_steps:
            return self._solve_by_cg
        if self.rotates and self.implicit and not self.nonnegative and isinstance(self._device, Cpu):
            pays = rotated.pays(csr.indptr, len(source["factors"]), self.rank)
            if pays and rotated.is_safe(source["gram"], self.reg[side]):
                return self._solve_rotated
        return self._solve

    def _solve(self, side: str, csr: CSR, source: State, own: State, threads: int) -> tuple[als.Side, float]:
        read = als.Source(source["factors"], source["bias"], source.get("gram", _NO_GRAM))
        rows, how = als.Side(own["factors"], own["bias"]), (self.biased, self.nonnegative)
        return self._device.solve_rows(csr, read, rows, self._penalty(side), how, threads)

    def _penalty(self, side: str) -> als.Penalty:
        return als.Penalty(np.float32(self.mean), self.reg[side], self.bias_reg[side], self.reg_power[side])

    def _solve_by_cg(
        self, side: str, csr: CSR, source: State, own: State, threads: int
    ) -> tuple[als.Side, float]:
        rows, read = _copied(own), (csr.entries, source["factors"], self._whole_gram(source))
        how = self._penalty(side), self.cg_steps
        penalties = over_rows(solve_rows_cg, csr.work, threads, *read, rows.factors, *how)
        return rows, float(np.sum(penalties))

    def _solve_rotated(
        self, side: str, csr: CSR, source: State, own: State, threads: int
    ) -> tuple[als.Side, float]:
        rows, gram, penalty = _copied(own), self._whole_gram(source), self._penalty(side)
        return rows, rotated.solve_rotated(csr, source["factors"], gram, rows.factors, penalty, threads)

    def _whole_gram(self, source: State) -> np.ndarray:
        """The Gram matrix of the other side, (rank, rank), with both halves."""
        gram = np.triu(source["gram"])[: self.rank, : self.rank]
        return np.ascontiguousarray(gram + np.triu(gram, 1).T)

    def _errors(self, role: str, csr: CSR, source: State, state: State, threads: int) -> dict[str, float]:
        low, high = self.clip if role != "train" else (-np.inf, np.inf)
        sides = als.Side(source["factors"], source["bias"]), als.Side(state["factors"], state["bias"])
        bounds = als.Bounds(np.float32(self.mean), np.float32(low), np.float32(high))
        error, weight = self._device.squared_error(csr, *sides, bounds, threads)
        return {f"{role}_error": error, f"{role}_weight": weight}

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """RMSE (implicit: AUC of watched rows), and the objective: the minimised loss with its penalties."""
        roles = [key.removesuffix("_error") for key in sums if key.endswith("_error")]
        rmse = {
            f"{role}_rmse": np.sqrt(sums[f"{role}_error"] / max(sums[f"{role}_weight"], 1e-300))
            for role in roles
        }
        if self.implicit:
            # the confidence-weighted targets are not ratings: of training rows only the loss has a meaning
            rmse = summarize(sums)
        loss = sums["train_error"] + sums.get("interaction", 0.0) - (self.targets if self.implicit else 0.0)
        return {key: float(value) for key, value in rmse.items()} | {"objective": loss + sums["penalty"]}

    def shares(
        self, rated: als.Source, values: np.ndarray, weights: np.ndarray, user: np.ndarray, asked: np.ndarray
    ) -> np.ndarray:
        """The share of each rating of a user in the products of the user's factors with those of items.

        The row of the user solves ``A (x, b) = sum_i w_i (r_i - mean - c_i) z_i``. Here z_i is (y_i, 1), or
        y_i if there are no biases. So the share of rating i in ``<x, y_j>`` is
        ``w_i (r_i - mean - c_i) (y_j, 0)' A^-1 z_i``. A nonnegative row solves the same equations in those of
        its factors that are not 0. The user's rating of i is not part of A, so a share is linear in it.

        Parameters
        ----------
        rated
            The rated items, one row per rating; the Gram matrix has both halves, and is empty unless the
            ratings are implicit.
        values, weights
            The values to fit and their weights, one per rating.
        user
            The factors of the user, (rank,).
        asked
            The factors of the items of the products, (n, rank).

        Returns
        -------
        ndarray
            float64 (n, ratings).

        Sources
        -------
        Hu, Koren, Volinsky 2008, section 5, where ratings are implicit.
        """
        rank, n = self.rank, len(values)
        w, z = weights.astype(np.float64), rated.factors.astype(np.float64)
        scale = (np.sum(values > 0) if self.implicit else w.sum()) ** self.reg_power["users"]
        penalty, solved = np.full(rank, scale * self.reg[SIDES[0]]), np.full(rank, True)
        if self.nonnegative:
            solved = user > 0
        if self.biased:
            z = np.column_stack([z, np.ones(n)])
            penalty, solved = np.append(penalty, scale * self.bias_reg[SIDES[0]]), np.append(solved, True)
        system = z.T @ (w[:, None] * z) + np.diag(penalty)
        if self.implicit:
            system += rated.gram
        targets = w * (values.astype(np.float64) - np.float32(self.mean) - rated.bias)
        products = np.zeros((len(asked), len(penalty)))
        products[:, :rank] = asked
        # without a penalty there may be many solutions: the fit takes the shortest
        inverse = np.linalg.pinv(system[np.ix_(solved, solved)], SINGULAR, hermitian=True)
        return products[:, solved] @ inverse @ (targets[:, None] * z[:, solved]).T

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns features, bias and deviation of the model's table.

        The deviation is the bias, or without biases how far an id's targets lie from the level.

        Parameters
        ----------
        side, block, state, n_other
            See `recspark.algorithms.contract.Solver.export`.
        """
        factors, bias = np.asarray(state["factors"]), np.asarray(state["bias"])
        if self.biased:
            return {"features": factors, **as_columns(bias, bias)}
        if self.implicit:
            deviation = np.diff(block.train.indptr) / n_other - self.level
        else:
            deviation = damped_deviation(block.train, self.level)
        return {"features": factors, **as_columns(np.zeros_like(deviation), deviation)}


def _copied(own: State) -> als.Side:
    return als.Side(np.array(own["factors"]), np.array(own["bias"]))


def _trace(a: np.ndarray, b: np.ndarray) -> float:
    """``trace(A B)`` of two symmetric matrices, of which only the upper halves are filled."""
    upper = np.triu(a.astype(np.float64)) * np.triu(b)
    return float(2 * upper.sum() - np.trace(upper))
