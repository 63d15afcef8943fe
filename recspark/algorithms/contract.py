"""The two contracts of algorithms: numpy in and out, no Spark and no files.

    Solver     two sides, users and items: ALS, SGD, counts (`recspark.engine.sweeps`)
    Sampler    any number of sides, drawn one after the other: Gibbs (`recspark.engine.sampling`)

The engine knows nothing else about them. Both are frozen dataclasses of hyper-parameters. They are pickled
into tasks and never hold data.
"""

from __future__ import annotations

from dataclasses import Field
from typing import ClassVar, NamedTuple, Protocol, TypedDict

import numpy as np

from recspark.algorithms.ratings import Block, Cells

State = dict[str, np.ndarray]

#: rows (positions in a block) for which a start is given, their factors and biases
Given = tuple[np.ndarray, np.ndarray, np.ndarray]


class Totals(NamedTuple):
    """Sums over all training rows together.

    Parameters
    ----------
    rows, weight
        Their number, and the sum of their weights.
    mean, deviation
        Weighted mean and standard deviation, rounded to float32, so that row order does not matter.
    levels
        The number of rows of each distinct value, in ascending order.
    range
        The smallest and the largest value.
    """

    rows: int
    weight: float
    mean: float
    deviation: float
    levels: dict[float, int]
    range: tuple[float, float]


class Shared(TypedDict):
    """The values that all rows of a sampler share: offset, precision of the noise, cuts between levels."""

    offset: float
    alpha: float
    cuts: list[float]


class Solver(Protocol):
    """An algorithm on blocks of users and of items."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def rank(self) -> int:
        """The number of factors."""

    @property
    def mean(self) -> float:
        """The constant of every score."""

    @property
    def level(self) -> float:
        """The score of a pair of which neither id is known."""

    @property
    def biased(self) -> bool:
        """Whether a bias of every user and item is part of the score."""

    @property
    def sweep(self) -> str:
        """The kind of an iteration: a name in `recspark.engine.sweeps.SWEEPS`."""

    @property
    def row_arrays(self) -> tuple[str, ...]:
        """Keys of a state that hold one row per id; all others are summed over blocks before a step reads
        them.
        """

    @property
    def ranks(self) -> bool:
        """Whether watched rows are preferences, which are ranked (`recspark.algorithms.ranks`), not
        ratings.
        """

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""

    @property
    def remedy(self) -> str:
        """Advice for a fit that diverges: what to change."""

    @property
    def clip(self) -> tuple[float, float]:
        """The range that predictions are cut to."""

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """The state of a block before the first iteration.

        Parameters
        ----------
        side
            ``users`` or ``items``.
        first
            The position of the block's first row.
        block
            The ratings of the block's n rows.
        given, added
            Rows with a given start, and rows with numbers to add to the start: positions in the block,
            factors float32 (rows, rank) and biases float32 (rows,), in the unit of models.

        Returns
        -------
        State
            Among others ``factors`` float32 (n, rank) and ``bias`` float32 (n,).
        """

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """The block's new state from the other side's state (sweeps on sides).

        Parameters
        ----------
        side
            The side of the block: ``users`` or ``items``.
        block
            The ratings of the block's n rows.
        source
            The state of the other side: rows ``block.needed`` of its `row_arrays` (empty: all rows), and the
            sums over blocks of its other arrays.
        own
            The state of the block before; it is not changed.
        threads
            Number of threads of the kernels.

        Returns
        -------
        State, dict
            The new state, and sums over rows: they are added up over tasks and passed to `summarize`.
        """

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """New states of a block of users and a block of items from the ratings between them (strata).

        Parameters
        ----------
        cells
            The ratings between the two blocks.
        users, items
            The states of the two blocks before; they are not changed.
        iteration
            The number of the epoch, from 1.
        pair
            Numbers of the user block and the item block.
        threads
            Number of threads of the kernels.

        Returns
        -------
        State, State, dict
            The new states, and sums over ratings: they are added up over tasks and passed to `summarize`.
        """

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Sums over the rows of a user block at the end of an iteration (not in alternating sweeps).

        Parameters
        ----------
        block, own
            The block, and its state.
        source
            The state of the items that the block needs.
        threads
            Number of threads of the kernels.
        """

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """The metrics of an iteration from its sums.

        They are ``train_rmse``, ``objective``, ``validation_rmse`` or ``validation_auc`` ...
        """

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns of the model's table of this side.

        Parameters
        ----------
        side, block, state
            The side, one of its blocks, and the block's state.
        n_other
            The number of ids of the other side.

        Returns
        -------
        State
            ``features`` float32 (rows, rank), ``bias`` and ``deviation`` float32 (rows,).
        """


class NoSteps:
    """The steps of `Solver` that only some sweeps ask for; each raises NotImplementedError. A solver
    overrides those of its own sweep.
    """

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """Raise NotImplementedError.

        Parameters
        ----------
        side, block, source, own, threads
            See `Solver.step`.
        """
        raise NotImplementedError

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """Raise NotImplementedError.

        Parameters
        ----------
        cells, users, items, iteration, pair, threads
            See `Solver.step_pair`.
        """
        raise NotImplementedError

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Raise NotImplementedError.

        Parameters
        ----------
        block, source, own, threads
            See `Solver.watch`.
        """
        raise NotImplementedError


class Entities(NamedTuple):
    """A block of entities of one side, as a sampler draws it.

    Parameters
    ----------
    side, first
        The side, and the position of the block's first entity.
    rows
        Rows by entity: indptr int64, places int32 (rows, other sides) in `table`, values and weights float32.
    table
        The states of the entities of other sides that the rows name, one row per entity.
    own, prior
        The state of the block's entities, and their prior.
    """

    side: str
    first: int
    rows: State
    table: State
    own: State
    prior: State


#: sums over rows, which add up over blocks: numbers, and counts as arrays
Sums = dict[str, float | np.ndarray]


class Sampler(Protocol):
    """An algorithm that draws the entities of one side after the other."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def ordered(self) -> bool:
        """Whether values are levels."""

    @property
    def remedy(self) -> str:
        """The advice for a fit that diverges."""

    def targets(self, values: np.ndarray) -> np.ndarray:
        """The values that the sampler fits, for given labels."""

    def begin(self, totals: Totals, shares: dict[str, float]) -> Shared:
        """The values that all rows share before the first iteration.

        `shares` are the shares of the sides in the variance of labels.
        """

    def start(self, side: str, first: int, rows: State, shares: dict[str, float]) -> State:
        """The state of a block's entities before the first iteration, from their rows.

        Parameters
        ----------
        side, first
            The side, and the position of the block's first entity.
        rows
            Rows by entity: see `Entities`.
        shares
            The shares of the sides in the variance of labels.
        """

    def draw_prior(
        self, side: str, features: dict[str, State], own: State, before: State, iteration: int
    ) -> State:
        """The prior of a side's entities.

        Parameters
        ----------
        side
            The name of the side.
        features
            The columns of each feature group: indptr int64, entities int32, values float32.
        own
            The state of all entities of the side.
        before
            The prior of the last iteration; empty before the first.
        iteration
            The number of the iteration, from 1.

        Returns
        -------
        State
            Keys of `own` have one row per entity.
        """

    def draw_block(self, block: Entities, shared: Shared, iteration: int, threads: int) -> tuple[State, Sums]:
        """The block's new state, and sums over its rows.

        Parameters
        ----------
        block
            The entities, with the states that their rows name.
        shared
            The values that all rows share after the last iteration.
        iteration, threads
            The iteration, from 1, and the number of threads of the kernels.
        """

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
        """Follow the predictions for the rows of a role.

        Parameters
        ----------
        role
            A name of `recspark.algorithms.ratings.ROLES`.
        rows
            Places in `table` (rows, sides) int32, and values float32 (rows,).
        table
            The newest states of the entities that the places name.
        shared
            The values that all rows share.
        mean
            float64 (rows,): the mean of the predictions so far.
        number
            The number of predictions so far.
        threads
            Number of threads of the kernels.

        Returns
        -------
        ndarray, Sums
            The new means, and sums over the rows.
        """

    def close(
        self, sums: Sums, shared: Shared, totals: Totals, iteration: int
    ) -> tuple[Shared, dict[str, float]]:
        """The values that all rows share after an iteration, and its metrics.

        Parameters
        ----------
        sums
            Sums over all rows, of `draw_block` for the first side and of `watch`.
        shared, iteration
            The values before the iteration, and its number, from 1.
        totals
            Sums over the training rows that no iteration changes.
        """

    def export(self, side: str, samples: list[State]) -> State:
        """Columns of a side's table from the kept states."""

    def export_shared(self, shared: Shared) -> Shared:
        """The values that all rows share in a kept iteration, in the unit of the model."""
