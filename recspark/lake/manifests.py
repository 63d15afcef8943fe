"""The manifests of the lake's products, one class per kind: the input of each product and its contents.

``manifest.json`` has the fields of the class under their names. A field that is not set is not written.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from recspark.errors import RecsparkError

#: the file of a manifest in the folder of its product
MANIFEST = "manifest.json"

#: a table that is read but not published: its columns become a part of items
LINKS = "links"


class Manifest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The fields of every manifest.

    fingerprint
        A hash of all that the product is made from (:func:`recspark.lake.lake.fingerprint`).
    created
        The time of the publication, UTC, such as ``2026-01-31T08:00:00Z``; the lake sets it.
    """

    fingerprint: str
    created: str | None = None


#: a kind of manifest
AnyManifest = TypeVar("AnyManifest", bound=Manifest)


class TableFacts(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One table of a source. Only `LINKS`, which is not published, has no rows, digest and schema.

    rows, digest, schema
        The published table: number of rows, hash of the set of rows, columns as DDL.
    read, kept, quarantined
        Rows of the files, if the table is read from files: read = kept + quarantined + merged.
    merged
        Rows that became part of another row, if repeated pairs are merged.
    added
        Ids that the ratings or tags name and the user's own table does not.
    reasons
        Number of quarantined rows by reason.
    """

    rows: int | None = None
    digest: str | None = None
    schema: str | None = None
    read: int | None = None
    kept: int | None = None
    quarantined: int | None = None
    merged: int | None = None
    added: int | None = None
    reasons: dict[str, int] | None = None

    def published(self) -> tuple[int, str, str]:
        """Rows, digest and schema. Raise RecsparkError for a table that is not published."""
        if self.rows is None or self.digest is None or self.schema is None:
            raise RecsparkError("the manifest lacks rows, digest or schema of a table: run `recspark ingest`")
        return self.rows, self.digest, self.schema


class TablesManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``tables``: the ratings, users, items, tags and quarantine of one source.

    source, users, items
        The paths, URIs or tables that were read; users and items only if the user has such tables.
    dataset
        The edition of MovieLens or the format, such as ``ml-1m`` or ``csv``.
    digest
        A hash of the contents of all files, or the version of the table that was read.
    parts
        The options of ``[split]`` that name the parts of a split of one's own, without ``split.``.
    versions
        The versions of the tables of catalogs that were read, by option, such as ``iceberg:`` and the id of a
        snapshot.
    options
        The options of ``[data]`` that change the tables.
    files
        The names of the files that were read.
    tables
        The tables by name, and `LINKS` if there are some.
    """

    source: str
    dataset: str
    digest: str
    options: dict[str, object]
    files: tuple[str, ...]
    tables: dict[str, TableFacts]
    users: str | None = None
    items: str | None = None
    parts: dict[str, str] = {}
    versions: dict[str, str] = {}

    def __post_init__(self) -> None:
        _require_facts(self.tables)


class BatchManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``updates/ID``: the ratings and the quarantine of a batch, with the source and digest of its files."""

    source: str
    digest: str
    tables: dict[str, TableFacts]

    def __post_init__(self) -> None:
        _require_facts(self.tables)


class IndexManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``index``: the positions of all ids.

    source
        The fingerprint of the tables.
    ratings, users, items
        The number of rows of the ratings and of both sides of the index.
    updates
        The batches whose ids the index has as well.
    """

    source: str
    ratings: int
    users: int
    items: int
    updates: tuple[str, ...] = ()


class ColdRows(msgspec.Struct, kw_only=True, frozen=True):
    """The test rows (`rows`) with a user, an item, or both, that no training row has.

    `share` is the share of rows with either.
    """

    both: int
    item: int
    rows: int
    share: float
    user: int


class SplitManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``splits/NAME``: the parts of one split.

    source
        The fingerprint of the tables.
    options
        The section ``[split]``.
    counts
        Rows by part, such as train, validation and test.
    overlap
        Of a split that the data give: rows whose pair is in another part, too, by name, such as
        ``test_in_train``, and the rows that were left out for it, ``dropped``.
    """

    source: str
    options: dict[str, object]
    counts: dict[str, int]
    cold: ColdRows
    overlap: dict[str, int] = {}


class BlendedModels(msgspec.Struct, kw_only=True, frozen=True):
    """The models of a blend and their weights.

    `intercept`, `penalty` (ridge) and the RMSE on the validation rows tell how the weights were fitted.
    """

    models: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    penalty: float
    rmse: float


class BlendedLists(msgspec.Struct, kw_only=True, frozen=True):
    """The models of a blend of lists and their weights.

    The weights gave lists made by `on` (score or rank) the `value` of the `metric` on the validation rows.
    """

    models: tuple[str, ...]
    weights: tuple[float, ...]
    on: str
    metric: str
    value: float


class Registration(msgspec.Struct, kw_only=True, frozen=True):
    """The registered model in MLflow, its version, and the model of the lake that was registered."""

    name: str
    version: int
    candidate: str


class ModelManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``models/NAME``: one version of a model, or a blend.

    split
        The product of the training rows, such as ``splits/default``.
    history
        The figures of each iteration by name; empty for a blend.
    split_fingerprint
        The fingerprint of that split when the model was trained; not set for a blend.
    params, features
        The sections ``[model]`` and ``[features]``; empty for a blend.
    best_iteration, fit_seconds
        The iteration that the model is from, and the time of the fit; not set for a blend.
    version, previous
        The number of this version, and the product of the version before; not set for a model that was
        never updated or kept.
    updates, update
        The batches that have updated the model, and the counts of the last update.
    registered
        Only for models with a role, such as ``models/recspark-champion``.
    blend, list_blend
        Only for a blend of ratings, and of lists.
    """

    split: str
    history: list[dict[str, int | float]]
    split_fingerprint: str | None = None
    params: dict[str, object] = {}
    features: dict[str, object] = {}
    best_iteration: int | None = None
    fit_seconds: float | None = None
    version: int | None = None
    previous: str | None = None
    updates: tuple[str, ...] = ()
    update: dict[str, int | float] | None = None
    registered: Registration | None = None
    blend: BlendedModels | None = None
    list_blend: BlendedLists | None = None

    @property
    def positive_from(self) -> float | None:
        """The option ``model.positiveFrom`` of the training."""
        found = self.params.get("positiveFrom")
        return found if isinstance(found, (int, float)) else None


class PredictionsManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``predictions/NAME``: the fingerprint of the model; the split of the test rows and its fingerprint.

    Products of early commits lack them.
    """

    model: str | None = None
    split: str | None = None
    split_fingerprint: str | None = None


class ListsManifest(Manifest, kw_only=True, frozen=True, omit_defaults=True):
    """``recommendations/NAME``: the name of the model, the options of the lists and their counts.

    `options` is the section ``[recommend]``; `counts` are of rows, users and items.
    """

    model: str
    options: dict[str, object]
    counts: dict[str, int]


def parsed(raw: object, kind: type[AnyManifest], path: str) -> AnyManifest:
    """The manifest `raw`, read from the file `path`.

    Raise RecsparkError, which names the file and the field, if a field is missing or of another type.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise RecsparkError(f"{path} is damaged: {error}") from None


def content(manifest: msgspec.Struct) -> dict[str, object]:
    """The fields that are set, by name, with numbers of numpy as Python's own."""
    return msgspec.to_builtins(manifest, enc_hook=lambda value: value.item())


def _require_facts(tables: dict[str, TableFacts]) -> None:
    """Raise ValueError for a published table without its facts."""
    for name, facts in tables.items():
        for field in ("rows", "digest", "schema"):
            if name != LINKS and getattr(facts, field) is None:
                raise ValueError(f"table `{name}` is missing the required field `{field}`")
