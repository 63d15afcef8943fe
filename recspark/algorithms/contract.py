"""The two contracts of algorithms: numpy in and out, no Spark and no files.

    Solver     two sides, users and items: ALS, SGD, counts (`recspark.engine.sweeps`)
    Sampler    any number of sides, drawn one after the other: Gibbs (`recspark.engine.sampling`)

The engine knows nothing else of them. Both are frozen dataclasses of hyper-parameters. They are pickled into
tasks and never hold data.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol, TypedDict

import numpy as np

from recspark.algorithms.ratings import Block, Cells

State = dict[str, np.ndarray]

#: rows (positions in a block) for which a start is given, their factors and biases
Given = tuple[np.ndarray, np.ndarray, np.ndarray]


class Totals(NamedTuple):
    """What is known of all rows that train together.

    Parameters
    ----------
    rows, weight
        Their number, and the sum of their weights.
    mean, deviation
        By weight, to the precision of float32, so that row order does not matter.
    levels
        The number of rows of each different value, in ascending order.
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
    """What all rows of a sampler share: offset, precision of the noise, cuts between levels."""

    offset: float
    alpha: float
    cuts: list[float]


class Solver(Protocol):
    """An algorithm on blocks of users and of items."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    #: the number of factors
    rank: int
    #: what an iteration is made of: a name in `recspark.engine.sweeps.SWEEPS`
    sweep: str
    #: keys of a state that hold one row per id; all others are summed over blocks before a step reads them
    row_arrays: tuple[str, ...]
    #: whether watched rows are preferences, which are ranked (`recspark.algorithms.ranks`), not ratings
    ranks: bool
    #: start of what is random
    seed: int
    #: what to change where a fit diverges
    remedy: str
    #: what predictions are cut to
    clip: tuple[float, float]

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """The state of a block before the first iteration.

        Parameters
        ----------
        first
            The position of the block's first row.
        given, added
            Rows, with the factors and biases that they start with, and that are then added; in the unit of
            models.
        """

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """The block's new state from the other side's, and sums that `summarize` gets added up over tasks
        (sweeps on sides).
        """

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """New states of a block of users and a block of items from the ratings between them, and sums (sweep
        on strata).
        """

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Sums over the rows of a user block once an iteration is over (all sweeps but the alternating
        one).
        """

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """Metrics of an iteration: ``train_rmse``, ``objective``, ``validation_rmse`` or ``validation_auc``
        ...
        """

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns of the model's table of this side."""


class Entities(NamedTuple):
    """A block of entities of one side, as a sampler draws it.

    Parameters
    ----------
    side, first
        The side, and the position of the block's first entity.
    rows
        Rows by entity: indptr int64, places int32 (rows, other sides) in `table`, values and weights float32.
    table
        The states of the entities of other sides that the rows name, one row each.
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
Sums = dict[str, Any]


class Sampler(Protocol):
    """An algorithm that draws the entities of one side after the other."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def ordered(self) -> bool:
        """Whether values are levels."""

    @property
    def remedy(self) -> str:
        """What to change where a fit diverges."""

    def targets(self, values: np.ndarray) -> np.ndarray:
        """Labels as the sampler fits them."""

    def begin(self, totals: Totals, shares: dict[str, float]) -> Shared:
        """What all rows share before the first iteration; `shares` are those of each side in the variance of
        labels.
        """

    def start(self, side: str, first: int, rows: State, shares: dict[str, float]) -> State:
        """The state of the entities from position `first` on before the first iteration, from their rows."""

    def draw_prior(
        self, side: str, features: dict[str, State], own: State, before: State, iteration: int
    ) -> State:
        """The prior of a side's entities.

        Parameters
        ----------
        features
            The columns of each feature group: indptr int64, entities int32, values float32.
        own
            The state of all entities of the side.
        before
            The prior of the last iteration; empty before the first.

        Returns
        -------
        State
            Keys of `own` have one row per entity.
        """

    def draw_block(self, block: Entities, shared: Shared, iteration: int, threads: int) -> tuple[State, Sums]:
        """The block's new state, and sums over its rows."""

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
        rows, table
            Places (rows, sides) int32 and values float32; the newest states that the places name.
        mean
            float64 (rows,): the mean of the `number` predictions so far.

        Returns
        -------
        ndarray, Sums
            The new means, and sums over the rows.
        """

    def close(
        self, sums: Sums, shared: Shared, totals: Totals, iteration: int
    ) -> tuple[Shared, dict[str, float]]:
        """What all rows share after an iteration, and its metrics."""

    def export(self, side: str, samples: list[State]) -> State:
        """Columns of a side's table from the kept states."""

    def export_shared(self, shared: Shared) -> Shared:
        """What all rows share in a kept iteration, in the unit of the model."""
