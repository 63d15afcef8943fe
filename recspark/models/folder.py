"""The folder of a fitted model: its facts and its tables. Only this module knows their names.

    model.json       `Facts`: what the model is and can do, and what its predictions need beside the tables
    users, items     `ModelTable` as Parquet, of models of factors; a sampled machine has one such table per
                     side of a row
    parameters ...   arrays, of machines on vectors and on rows
    models/0 ...     the parts of a blend, one folder each

No Spark is imported here: a served model reads the same files.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, Required, TypedDict, TypeVar, Union, overload

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms.ratings import SIDES
from recspark.data.arrow import as_arrow, write_part
from recspark.errors import RecsparkError
from recspark.lake.folder import Folder
from recspark.models.registry import KINDS, find
from recspark.models.serving.response import Response

if TYPE_CHECKING:
    from recspark.models.serving.explanation import Explainer

FACTS = "model.json"
#: version of the folder's format; it changes when an older recspark could not read the folder of a newer one
FORMAT = 2
#: the files with the facts of models before format 2
_EARLIER = ("scorer.json", "fm.json", "blend.json")

#: most rows of a file: lists of factors count their elements with 31 bits
FILE_ROWS = 1 << 20

#: abilities of models, with the words of a refusal
ABILITIES = {
    "explain": "be explained: it has no users and items, or an earlier recspark has trained it",
    "lists": "make lists: it has no vectors of users and items",
    "serve": "be served by MLflow: its answers need Spark",
    "start": "start a fit: it is not a model of factors of users and items",
    "update": "take new ratings in: its rows can't be solved by themselves; train it again",
}


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag_field="layout"):
    """The facts of any model.

    `kind` is a key of `recspark.models.registry.KINDS`; `can` holds keys of `ABILITIES`. Every model gets a
    new stamp. A process that keeps a model in memory compares stamps to see whether the folder holds another
    one.
    """

    kind: str
    can: tuple[str, ...] = ()
    stamp: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    #: the classes that predict and explain from arrays, without Spark, as ``module:class``
    scorer: ClassVar[str] = ""
    explainer: ClassVar[str] = ""

    def find_scorer(self) -> Any:
        """The class `scorer`, whose ``load`` takes the folder."""
        return _find(self.scorer)

    def find_explainer(self) -> type[Explainer]:
        """The class `explainer`."""
        return _find(self.explainer)

    @property
    def content(self) -> tuple[str, ...]:
        """The files and folders of the model, beside these facts."""
        return ()

    def require(self, ability: str, what: str) -> None:
        """Raise RecsparkError, which calls the model `what`, if it does not have the ability."""
        if ability not in self.can:
            raise RecsparkError(f"{what} (kind {self.kind}) can't {ABILITIES[ability]}")


def _find(place: str) -> type:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


class SolverFacts(TypedDict):
    """How single rows of a model are solved: the algorithm and its settings, whether ratings come with
    weights, and of ALS alpha.
    """

    kind: str
    settings: dict[str, Any]
    weights: bool
    alpha: NotRequired[float]


class FitFacts(TypedDict, total=False):
    """The facts of a factorization that its algorithm decides: fields of `FactorFacts`."""

    rank: Required[int]
    mean: Required[float]
    level: Required[float]
    biased: Required[bool]
    response: Response
    solver: SolverFacts


class FactorFacts(Facts, tag="factors", frozen=True, kw_only=True):
    """The facts of a model of factors.

    A score is ``mean + bias_u + bias_i + <features_u, features_i>``; a rating is the `response` to it, cut to
    `clip`.

    level
        The score of a pair of which neither id is known; deviations are added to it. If the model is not
        `biased`, it is a rating.
    cold
        The prediction for a pair with a cold id (`recspark.models.serving.scorer.COLD_START`).
    id_kinds
        The kind of ids (`recspark.ids`), by side.
    solver
        How single rows are solved (`recspark.models.factors.row_solvers`); None if they can't be.
    trained
        The number of rows that training has left, by side; None until an update adds others.
    """

    scorer: ClassVar[str] = "recspark.models.serving.scorer:Scorer"
    explainer: ClassVar[str] = "recspark.models.factors.explain:FactorExplainer"

    rank: int
    mean: float
    level: float
    biased: bool
    id_kinds: dict[str, str]
    clip: tuple[float, float] | None = None
    cold: str = "mean"
    response: Response = Response()
    solver: SolverFacts | None = None
    trained: dict[str, int] | None = None

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return SIDES


class SideFacts(msgspec.Struct, frozen=True):
    """A side of a sampled machine.

    `name` is its table. `by_id` says whether rows give its ids (or positions), `absent` whether it was
    missing in a training row.
    """

    name: str
    by_id: bool
    absent: bool


class SampleFacts(msgspec.Struct, frozen=True):
    """One sample: the intercept, the precision of a rating, and the cuts between levels."""

    offset: float
    alpha: float
    cuts: tuple[float, ...] = ()


class SampledFacts(FactorFacts, tag="samples", frozen=True, kw_only=True):
    """A factorization machine on feature groups: samples whose predictions are averaged.

    Its mean score is a model of factors.
    """

    explainer: ClassVar[str] = "recspark.models.fm.explain:EntityExplainer"

    samples: tuple[SampleFacts, ...]
    link: str
    sides: tuple[SideFacts, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return ("layout.json", *(side.name for side in self.sides))


class RowFacts(SampledFacts, tag="rows", frozen=True, kw_only=True):
    """A machine that scores each row from the parameters of its features.

    It has no vectors of users and items.
    """

    explainer: ClassVar[str] = "recspark.models.fm.explain:RowExplainer"

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return ("layout.json", "parameters", "sides", "ids")


class VectorFacts(Facts, tag="vectors", frozen=True, kw_only=True):
    """A factorization machine on a column of vectors."""

    link: str

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return ("parameters",)


class BlendFacts(Facts, tag="blend", frozen=True, kw_only=True):
    """``intercept + sum of weight x prediction`` over models; penalty and RMSE are those of its fit."""

    scorer: ClassVar[str] = "recspark.models.serving.scorer:BlendScorer"

    models: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    penalty: float
    rmse: float


class ListBlendFacts(FactorFacts, tag="list_blend", frozen=True, kw_only=True):
    """``sum of weight x standardized score`` over models that rank items.

    `on` names the transform of scores (`recspark.models.serving.list_blend.standardized`). The weights gave
    the lists the `value` of the `metric` on the validation rows. The tables have the users and items that at
    least one of the models knows.
    """

    scorer: ClassVar[str] = "recspark.models.serving.list_blend:ListBlendScorer"
    explainer: ClassVar[str] = "recspark.models.serving.list_blend:ListBlendExplainer"

    models: tuple[str, ...]
    weights: tuple[float, ...]
    on: str
    metric: str
    value: float

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return (*SIDES, "models")


AnyFacts = TypeVar("AnyFacts", bound=Facts)


def write_facts(folder: str, facts: Facts) -> None:
    """Write `facts` into the folder or URI of their model."""
    Folder(folder).write_json(FACTS, msgspec.to_builtins(facts, enc_hook=lambda value: value.item()))


@overload
def read_facts(folder: str) -> Facts: ...
@overload
def read_facts(folder: str, layout: type[AnyFacts]) -> AnyFacts: ...
def read_facts(folder: str, layout: type[Facts] = Facts) -> Facts:
    """The facts of the model in a folder or URI.

    Raises
    ------
    RecsparkError
        If there is no model, or one of another format or layout.
    """
    place = Folder(folder)
    raw = place.read_json(FACTS)
    if raw is None:
        if any(place.exists(name) for name in _EARLIER):
            raise RecsparkError(
                f"{folder} holds a model of an earlier recspark, of a format that is not read any more: "
                "train it again"
            )
        raise RecsparkError(f"{folder} holds no model: there is no {FACTS}")
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise RecsparkError(
            f"{folder} holds a model of format {raw.get('format')}, this recspark reads format {FORMAT}: "
            "train it again"
        )
    try:
        facts = msgspec.convert(raw, _layouts(raw))
    except msgspec.ValidationError as error:
        raise RecsparkError(f"{place.path(FACTS)} is damaged: {error}") from None
    if not isinstance(facts, layout):
        raise RecsparkError(
            f"{folder} holds a model of kind {facts.kind}, which has another layout than is asked for"
        )
    return facts


def _layouts(raw: Mapping[str, object]) -> object:
    """The union of all classes of facts; a kind with facts of its own is imported first."""
    known = {found.__struct_config__.tag: found for found in _below(Facts)}
    kind = raw.get("kind")
    if raw.get("layout") not in known and isinstance(kind, str) and kind in KINDS:
        find(KINDS[kind].estimator)
    return Union[tuple(_below(Facts))]  # noqa: UP007


def _below(facts: type[Facts]) -> Iterator[type[Facts]]:
    for found in facts.__subclasses__():
        yield found
        yield from _below(found)


def has_facts(folder: str) -> bool:
    """Whether there is a model in the folder or URI."""
    return Folder(folder).exists(FACTS)


def stamp_of(folder: str) -> str | None:
    """The stamp of the model in a folder or URI; None if there is no model."""
    raw = Folder(folder).read_json(FACTS)
    return None if raw is None else raw.get("stamp", "")


def blended(folder: str, facts: BlendFacts | ListBlendFacts) -> list[str]:
    """The folders or URIs of the models of a blend."""
    return [blend_part(folder, number) for number in range(len(facts.models))]


def blend_part(folder: str, number: int) -> str:
    """The folder or URI of one model of a blend."""
    return f"{Folder(folder).root}/models/{number}"


@dataclass(frozen=True)
class ModelTable:
    """One side of a model, in the order of positions.

    It has ids (n), counts of the training ratings int64 (n), features (n, rank), bias and deviation (n); the
    last three are float32. The bias is a part of scores, 0 if the model fits none. The deviation is what is
    known of an id when the other one is cold: its bias, else how far its ratings lie from
    `FactorFacts.level`, damped.
    """

    ids: pa.Array
    counts: np.ndarray
    features: np.ndarray
    bias: np.ndarray
    deviation: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, folder: str, side: str, ids: pa.Array | None = None) -> ModelTable:
        """The table `side` of the model in a folder or URI, or only its rows of `ids`.

        More columns of a machine are not read.
        """
        columns = ["id", "count", "features", "bias", "deviation"]
        table = read_rows(folder, side, columns, ids).combine_chunks()
        ids, features = (
            table[name].chunk(0) if len(table) else table[name].combine_chunks()
            for name in ("id", "features")
        )
        matrix = features.flatten().to_numpy().reshape(len(table), len(features[0]) if len(table) else 0)
        counts, *numbers = (table[name].to_numpy() for name in ("count", "bias", "deviation"))
        return cls(ids, counts, np.ascontiguousarray(matrix), *numbers)

    @staticmethod
    def gram(folder: str, side: str) -> np.ndarray:
        """``F'F`` of the features of a table, float64 (rank, rank); a few rows at a time are in memory."""
        total: np.ndarray | float = 0.0
        for batch in _stored(folder, side).to_batches(columns=["features"]):
            rows = batch["features"].flatten().to_numpy().reshape(len(batch), -1).astype(np.float64)
            total = total + rows.T @ rows
        return np.asarray(total)

    def write(self, folder: str, side: str) -> None:
        """Write the table `side` of the model in a folder or URI, in place of an existing one."""
        place = Folder(folder)
        place.delete(side)
        arrays = {
            "count": self.counts,
            "features": self.features,
            "bias": self.bias,
            "deviation": self.deviation,
        }
        for number, first in enumerate(range(0, max(len(self), 1), FILE_ROWS)):
            rows = slice(first, first + FILE_ROWS)
            part = {"id": self.ids[rows]} | {name: as_arrow(array[rows]) for name, array in arrays.items()}
            write_part(place.fs, place.at(f"{side}/part-{number:05d}.parquet"), pa.table(part))

    def positions(self, ids: pa.Array) -> np.ndarray:
        """int32 positions of `ids`, -1 for those that are not here."""
        return pc.fill_null(pc.index_in(ids, value_set=self.ids), -1).to_numpy(zero_copy_only=False)

    def unknown(self, ids: pa.Array) -> pa.Array:
        """Those of `ids` that are not here, each once, in ascending order."""
        found = pc.unique(ids.filter(pc.invert(pc.is_in(ids, value_set=self.ids))))
        return found.take(pc.array_sort_indices(found))

    def extended(self, ids: pa.Array, features: np.ndarray, bias: np.ndarray) -> ModelTable:
        """A copy with more rows at the end, of ids that are not here and have no ratings yet."""
        return ModelTable(
            pa.concat_arrays([self.ids, ids]),
            np.concatenate([self.counts, np.zeros(len(ids), np.int64)]),
            np.concatenate([self.features, features]),
            np.concatenate([self.bias, bias]),
            np.concatenate([self.deviation, bias]),
        )


def read_rows(
    folder: str, side: str, columns: list[str] | None = None, ids: pa.Array | None = None
) -> pa.Table:
    """Columns of the table `side` of a model: all rows, or those of `ids`, in the order of the table.

    `ids` are of the kind of the table's ids.
    """
    stored = _stored(folder, side)
    if ids is None:
        return stored.to_table(columns=columns)
    # an id that does not fit the type of the table is not in it
    narrow = ids.cast(stored.schema.field("id").type, safe=False)
    fits = pc.equal(narrow.cast(ids.type, safe=False), ids)
    return stored.to_table(columns=columns, filter=pc.field("id").isin(narrow.filter(fits)))


def _stored(folder: str, side: str) -> ds.Dataset:
    place = Folder(folder)
    return ds.dataset(place.at(side), filesystem=place.fs, format="parquet")
