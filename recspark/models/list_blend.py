"""A blend of lists: one ranking from the rankings of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn, Self

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from recspark.algorithms.ratings import SIDES
from recspark.errors import RecsparkError
from recspark.ids import as_ids
from recspark.lake.folder import Folder
from recspark.models.factors.model import FactorModel
from recspark.models.folder import (
    FactorFacts,
    ListBlendFacts,
    ModelTable,
    blend_part,
    read_facts,
    write_facts,
)
from recspark.models.saving import PathExists, write_metadata
from recspark.models.serving.list_blend import united


@dataclass(frozen=True)
class ListWeights:
    """The weights of a blend of lists, and the `value` of the `metric` that they have reached.

    `on` names the transform of scores: `recspark.models.serving.list_blend.standardized`.
    """

    weights: tuple[float, ...]
    on: str = "score"
    metric: str = ""
    value: float = float("nan")


class ListBlendModel(FactorModel):
    """``sum of weight x standardized score`` over models that rank items.

    It recommends items to users; ``transform`` adds the blended score, which is no rating. It knows every
    user and item that one of its models knows. An item that a model does not know has its lowest score there.
    A model has no part in the lists of a user that it does not know. Users that no model knows get the items
    that most training rows have.
    """

    scores_whole_users = True

    @classmethod
    def of(cls, models: Mapping[str, FactorModel], fitted: ListWeights, path: str) -> Self:
        """Write a blend of `models`, by name, into the folder or URI `path`, and open it.

        Raise RecsparkError if a model can't make lists or has ids of another kind, PathExists if `path` is
        not empty.
        """
        folder = Folder(path)
        if folder.is_there and not folder.is_prepared:
            raise PathExists(f"{path} already exists: a blend is written to a new folder")
        kinds = []
        for number, (name, model) in enumerate(models.items()):
            place = blend_part(folder.root, number)
            model.write().save(place)
            read_facts(place).require("lists", name)
            kinds.append(read_facts(place, FactorFacts).id_kinds)
        if any(kind != kinds[0] for kind in kinds):
            raise RecsparkError(f"models with ids of different kinds can't be blended: {kinds}")
        for side in SIDES:
            parts = [ModelTable.read(blend_part(folder.root, number), side) for number in range(len(models))]
            _united(parts).write(folder.root, side)
        facts = ListBlendFacts(
            kind="list_blend",
            can=("explain", "lists"),
            models=tuple(models),
            rank=0,
            mean=0.0,
            level=0.0,
            biased=False,
            id_kinds=kinds[0],
            **asdict(fitted),
        )
        write_facts(folder.root, facts)
        first = next(iter(models.values()))
        blend = cls(folder=folder.root, userCol=first.getUserCol(), itemCol=first.getItemCol())
        write_metadata(blend, folder.root, SparkSession.active())
        return blend

    def recommendForAllItems(self, *_: object, **__: object) -> NoReturn:
        """Raise RecsparkError: the blend ranks items for users only."""
        raise RecsparkError(
            "a blend of lists ranks items for users only: use recommendForAllUsers or "
            "recommendForUserSubset, or one of its models"
        )

    recommendForItemSubset = recommendForAllItems
    similarItems = recommendForAllItems
    similarUsers = recommendForAllItems


def _united(parts: Sequence[ModelTable]) -> ModelTable:
    """The ids of all tables, with the largest count of each, and the share of that count as deviation.

    Cold users get the items with the largest deviation.
    """
    known = [part.ids.to_numpy(zero_copy_only=False) for part in parts]
    ids = united(known)
    counts = np.zeros(len(ids), np.int64)
    order = np.argsort(ids, kind="stable")
    for part, of_part in zip(parts, known, strict=True):
        places = order[np.searchsorted(ids, of_part, sorter=order)]
        counts[places] = np.maximum(counts[places], part.counts)
    nothing = np.zeros(len(ids), np.float32)
    share = (counts / max(1, counts.max(initial=0))).astype(np.float32)
    table_ids: pa.Array = parts[0].ids if np.array_equal(ids, known[0]) else as_ids(ids)
    return ModelTable(table_ids, counts, np.empty((len(ids), 0), np.float32), nothing, share)
