"""Features of ratings: fitted on training rows, given out as sparse rows of users, items and contexts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.features.context import sparse_part, with_context
from recspark.features.frames import Tables
from recspark.features.groups import IDS, Group
from recspark.features.layout import Layout
from recspark.features.sides import side_rows
from recspark.features.sparse import concatenated, shifted, sparse
from recspark.features.vocabulary import fit_layout


@dataclass(frozen=True)
class FeatureSet:
    """A layout, and the tables that rows are made from.

    The layout is all that is saved or pickled; a feature set that was loaded is bound to its tables again
    with :meth:`bind`.

    Examples
    --------
    >>> from recspark.features.groups import parse_groups
    >>> groups = parse_groups(["user", "item", "rated", "day"])
    >>> features = FeatureSet.fit(groups, train, users, items)  # doctest: +SKIP
    >>> features.side("user").columns  # doctest: +SKIP
    ['id', 'columns', 'values']
    """

    layout: Layout
    tables: Tables | None = None

    @classmethod
    def fit(
        cls,
        groups: Iterable[Group],
        train: DataFrame,
        users: DataFrame | None = None,
        items: DataFrame | None = None,
    ) -> FeatureSet:
        """Levels and moments from the training rows.

        Parameters
        ----------
        groups
            See :func:`~recspark.features.groups.parse_groups`.
        train : DataFrame
            user_id, item_id, timestamp (seconds UTC; needed for groups of time and of scope past) and the
            columns that ``ratings.COLUMN`` groups name. Read several times: cache it if it is costly. Test
            rows are never read.
        users, items : DataFrame, optional
            One row per id, ``user_id`` or ``item_id`` first among its columns.

        Raises
        ------
        ConfigError
            See :func:`~recspark.features.vocabulary.fit_layout`.
        """
        tables = Tables(train, users, items)
        return cls(fit_layout(groups, tables), tables)

    def bind(
        self, train: DataFrame, users: DataFrame | None = None, items: DataFrame | None = None
    ) -> FeatureSet:
        """The same layout with these tables: histories come from them, levels and moments stay."""
        tables = Tables(train, users, items)
        for block in self.layout:
            tables.require(block.group)
        return replace(self, tables=tables)

    def side(self, side: str) -> DataFrame:
        """The sparse rows of a side: ``id, columns array<int>, values array<float>``.

        There is one row per ``user`` or ``item`` of the training rows or of the side's table. Columns ascend
        and count from the first of the side. An id that is in neither has :meth:`Layout.unseen`.
        """
        if side not in IDS:
            raise RecsparkError(
                f"side {side!r} is not allowed: it must be one of {', '.join(IDS)}; for rows call context(df)"
            )
        return side_rows(side, self.layout.side(side), self.bound())

    def context(self, df: DataFrame) -> DataFrame:
        """`df` (user_id, item_id, timestamp, ...) with the columns of its context groups.

        There is one column per group, named :attr:`Block.column`; positions count within the group. A level
        is an int, -1 for none; a real group a float, standardised, 0 if it is missing; a set has the two
        columns ``NAME_columns array<int>`` and ``NAME_values array<float>``.

        Raises
        ------
        RecsparkError
            If `df` already has a column of such a name, or lacks one that a group needs.
        """
        return with_context(df, self.layout, self.bound())

    def rows(self, df: DataFrame) -> DataFrame:
        """`df` with the sparse row of all sides.

        The columns are ``columns array<int>``, ascending, and ``values array<float>``. Sides stand one after
        the other: user, item, context; ``layout.starts`` says where each begins.
        """
        frame, starts = self.context_rows(df), self.layout.starts
        for side, key in IDS.items():
            row = shifted(sparse(F.col("columns"), F.col("values")), starts[side])
            frame = frame.join(
                self.side(side).select(F.col("id").alias(key), row.alias(f"_{side}")), key, "left"
            )
        parts = [F.coalesce(f"_{side}", self._unseen(side)) for side in IDS] + [
            shifted(F.col("_context"), starts["context"])
        ]
        frame = frame.withColumn("_row", concatenated(parts))
        return frame.select(*(f"`{name}`" for name in df.columns), "_row.*")

    def context_rows(self, df: DataFrame) -> DataFrame:
        """`df` with the sparse row of its context.

        The column is ``_context struct<columns array<int>, values array<float>>``, counted from the first
        column of the context.
        """
        parts = [sparse_part(block, 0) for block in self.layout.side("context")]
        frame = self.context(df).withColumn("_context", concatenated(parts) if parts else sparse([], []))
        return frame.select(*(f"`{name}`" for name in df.columns), "_context")

    def assemble(self, df: DataFrame) -> DataFrame:
        """`df` with ``features``, a SparseVector of ``layout.size``, for estimators that don't use groups."""
        size = self.layout.size
        vector = F.udf(lambda columns, values: SparseVector(size, columns, values), VectorUDT())
        rows = self.rows(df)
        return rows.withColumn("features", vector("columns", "values")).drop("columns", "values")

    def save(self, folder: str) -> None:
        """Write the layout as ``layout.json`` into `folder`, a path or URI; the tables are not part of it."""
        self.layout.save(folder)

    @classmethod
    def load(cls, folder: str) -> FeatureSet:
        """The layout that :meth:`save` wrote; :meth:`bind` it before use."""
        return cls(Layout.load(folder))

    def bound(self) -> Tables:
        """The tables; RecsparkError for features that were loaded without them."""
        if self.tables is None:
            raise RecsparkError(
                "these features were loaded without tables: call bind(train, users, items) first"
            )
        return self.tables

    def __reduce__(self) -> tuple[type[FeatureSet], tuple[Layout]]:
        return type(self), (self.layout,)

    def _unseen(self, side: str) -> Column:
        columns, values = self.layout.unseen(side)
        start = self.layout.starts[side]
        return sparse([F.lit(column + start) for column in columns], [F.lit(value) for value in values])
