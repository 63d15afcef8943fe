"""The parts of a factorization machine's scores: shares of sides or groups, and of their pairs.

A score is a mean over samples, and so is each part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from recspark.algorithms.machine import TABLES, join, matrix, scores
from recspark.features.groups import IDS
from recspark.features.layout import Layout
from recspark.ids import IdIndex, as_ids
from recspark.kernels.anova import Parameters
from recspark.models.folder import SampledFacts, SideFacts, read_facts, read_rows
from recspark.models.serving.explanation import Explanation, Id, Part, positions_of
from recspark.models.serving.fm_scorer import Answer, RowScorer

#: names of parts, and the sign between the two names of a pair
INTERCEPT, PAIR = "intercept", " x "

#: the part that a model of order 3 or more adds beyond pairs
HIGHER = "three groups or more"

#: the entity of a side that a row does not have, or whose level training has not seen
NONE = -1


@dataclass(frozen=True)
class Entity:
    """What an entity of a side adds to scores, by sample.

    It has biases (samples,), a vector (samples * rank,), empty for a side without vectors, and the spread of
    the noise (samples,).
    """

    biases: np.ndarray
    vector: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class EntityExplainer:
    """``w0 + sum of b_c + sum of <v_c, v_d>`` over the sides of a row: user, item, and groups of its context.

    The features of a user are inside the vector of the user, so they have no part of their own; nor have
    those of an item.
    """

    folder: str
    facts: SampledFacts
    layout: Layout

    reads_ratings = False

    @classmethod
    def load(cls, folder: str) -> EntityExplainer:
        """Open the model in `folder`, a path or a URI."""
        return cls(folder, read_facts(folder, SampledFacts), Layout.load(folder))

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """Explain scores without a context, which are those of lists."""
        return self.in_context(user, items, {})

    def in_context(self, user: Id, items: Sequence[Id], context: Mapping[str, int]) -> list[Explanation]:
        """Explain the scores of rows with these positions in groups of the context, by column."""
        sides = [side for side in self.facts.sides if side.by_id or side.name in context]
        shared = {side.name: self._level(side, context[side.name]) for side in sides if not side.by_id}
        [shared["users"]] = self._entities("users", [user])
        found = []
        for item, entity in zip(items, self._entities("items", items), strict=True):
            entities = shared | {"items": entity}
            found.append(self._explained(item, {self._name(side): entities[side.name] for side in sides}))
        return found

    def _explained(self, item: Id, entities: Mapping[str, Entity]) -> Explanation:
        offsets = np.array([sample.offset for sample in self.facts.samples])
        scores = offsets + sum(entity.biases for entity in entities.values())
        parts = [Part(INTERCEPT, float(offsets.mean()), shared=True)]
        item_name = self._name(next(side for side in self.facts.sides if side.name == "items"))
        parts += [
            Part(name, float(entity.biases.mean()), shared=name != item_name)
            for name, entity in entities.items()
        ]
        for (one, a), (two, b) in combinations(entities.items(), 2):
            if len(a.vector) and len(b.vector):
                # vectors are divided by the root of the number of samples: a product is a mean
                by_sample = (a.vector * b.vector).reshape(len(offsets), -1).sum(axis=1)
                scores = scores + by_sample * len(offsets)
                parts.append(
                    Part(f"{one}{PAIR}{two}", float(by_sample.sum()), shared=item_name not in (one, two))
                )
        noise = np.exp(sum(entity.spread for entity in entities.values()))
        prediction = Answer.of(self.facts)(scores[None, :], noise).mean[0]
        return Explanation.of(item, float(scores.mean()), float(prediction), parts)

    def _name(self, side: SideFacts) -> str:
        """The name of a side in parts, with the groups that are inside its vectors."""
        if not side.by_id:
            return next(block.name for block in self.layout.side("context") if block.column == side.name)
        own = next(own for own, table in TABLES.items() if table == side.name)
        inside = [block.name for block in self.layout.side(own) if block.name != own]
        return f"{own} with {', '.join(inside)}" if inside else own

    def _entities(self, side: str, ids: Sequence[Id]) -> list[Entity]:
        table = self._read(side, as_ids(ids))
        places = positions_of(side, ids, IdIndex(table["id"]))
        return [self._entity(table, np.eye(1, len(table), place)[0]) for place in places.tolist()]

    def _level(self, side: SideFacts, position: int) -> Entity:
        """The entity of a context; that of no level is an average one, or nothing if some rows lacked it."""
        if position != NONE:
            return self._entity(self._read(side.name, pa.array([position])), np.ones(1))
        table = self._read(side.name, None)
        return self._entity(table, np.full(len(table), 0.0 if side.absent else 1 / len(table)))

    def _read(self, side: str, ids: pa.Array | None) -> pa.Table:
        return read_rows(self.folder, side, ids=ids).combine_chunks()

    def _entity(self, table: pa.Table, shares: np.ndarray) -> Entity:
        """The sum of rows of a side's table with these shares."""
        nothing = np.zeros(len(self.facts.samples))
        sums = {
            name: shares
            @ table[name].chunk(0).flatten().to_numpy().reshape(len(table), -1).astype(np.float64)
            for name in ("biases", "features", "spreads")
            if name in table.column_names
        }
        return Entity(sums["biases"], sums.get("features", nothing[:0]), sums.get("spreads", nothing))


@dataclass(frozen=True)
class RowExplainer:
    """``w0 + sum_j w_j x_j + sum_{j < l} <v_j, v_l> x_j x_l``, summed by the groups of j and l.

    The pairs inside a group are a part of its share.
    """

    scorer: RowScorer

    reads_ratings = False

    @classmethod
    def load(cls, folder: str) -> RowExplainer:
        """Open the model in `folder`, a path or a URI."""
        return cls(RowScorer.load(folder))

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """Explain the scores of rows without a context."""
        return [self.in_context(user, item, [], []) for item in items]

    def in_context(self, user: Id, item: Id, columns: Sequence[int], values: Sequence[float]) -> Explanation:
        """Explain the score of a row with a context.

        Parameters
        ----------
        user, item
            The ids of the row.
        columns, values
            The feature columns of its context, and the value of each.

        Raises
        ------
        RecsparkError
            If the model does not know an id.
        """
        scorer, layout = self.scorer, self.scorer.layout
        for side, id in zip(IDS, (user, item), strict=True):
            positions_of(TABLES[side], [id], scorer.sides[side][0])
        users, items = (pa.chunked_array([as_ids([id])]) for id in (user, item))
        lists = pa.array([columns], pa.list_(pa.int32())), pa.array([values], pa.list_(pa.float32()))
        row = join(scorer.sides, layout, users, items, *lists)
        found = np.array([scores(row, sample)[0] for sample in scorer.samples])
        by_sample = [self._shares(matrix(row, layout.size), sample) for sample in scorer.samples]
        means = {name: float(np.mean([shares[name] for shares in by_sample])) for name in by_sample[0]}
        if len(scorer.samples[0].v) > 1:
            means[HIGHER] = float(found.mean()) - sum(means.values())
        users = {block.name for block in layout.side("user")}
        parts = [
            Part(name, value, shared=name == INTERCEPT or set(name.split(PAIR)) <= users)
            for name, value in means.items()
        ]
        prediction = scorer.answer(found[None, :]).mean[0]
        return Explanation.of(item, float(found.mean()), float(prediction), parts)

    def _shares(self, row: csr_matrix, sample: Parameters) -> dict[str, float]:
        """The shares of groups and of pairs of groups in one sample's score of a row."""
        layout, v = self.scorer.layout, sample.v[0]
        found, sums = {INTERCEPT: float(sample.w0[0])}, {}
        for block in layout:
            first = layout.starts[block.group.side] + block.offset
            span = slice(first, first + block.size)
            x = row[:, span].toarray()[0]
            sums[block.name] = x @ v[span]
            inside = 0.5 * (np.square(sums[block.name]).sum() - np.square(x) @ np.square(v[span]).sum(axis=1))
            found[block.name] = float(x @ sample.w[span] + inside)
        pairs = combinations(sums, 2)
        return found | {f"{one}{PAIR}{two}": float(sums[one] @ sums[two]) for one, two in pairs}
