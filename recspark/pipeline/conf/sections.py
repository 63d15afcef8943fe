"""The sections of a conf: each job's own options, and with those of other parts the whole conf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_type_hints

from recspark.config import (
    SEVERAL_NAMES,
    Check,
    Conf,
    Option,
    Section,
    above,
    at_least,
    build_sections,
    one_of,
    strictly_between,
)
from recspark.data.formats.generic import DataOptions
from recspark.data.generated.synthetic import SyntheticOptions
from recspark.data.lakehouse.names import TABLE_NAME
from recspark.data.quality import QualityOptions
from recspark.data.splitting.splits import SplitOptions
from recspark.engine.spark.session import SparkOptions
from recspark.evaluation.evaluate import EvaluationOptions
from recspark.evaluation.plots import RUN_COLOURS
from recspark.features.options import FeatureOptions
from recspark.lake.lake import FILE_NAME, WAIT_SECONDS
from recspark.pipeline.conf.model_section import ModelSection
from recspark.tracking.options import TrackingOptions

#: the value of recommend.users for all that a model knows
ALL = "all"

_METRIC = "rmse, mae, or a ranking metric such as ndcg_at_10"
_RESAMPLES = "draws of the test users"


class PathOptions(Section):
    """The places of files."""

    name = "paths"
    lake = Option(str, "lake", "root folder or URI of the lake")
    waitSeconds = Option(
        int,
        WAIT_SECONDS,
        "longest wait for another run that uses the same output of a local lake; 0: none",
        at_least(0),
    )


class AuditOptions(Section):
    """The extent of an audit."""

    name = "audit"
    rows = Option(int, 200, "rows of train, and as many of test, whose features are watched", at_least(1))
    seed = Option(int, 42, "seed of the draws")


class _Ids(Option[object]):
    """Ids in a list, or the name of a Parquet table with a column of them."""

    def parse(self, key: str, value: object) -> object:
        return value if isinstance(value, str) and value else super().parse(key, value)


_SAME_KIND = Check(
    lambda ids: bool(ids) and ({type(id) for id in ids} in ({int}, {str})),
    "not empty, of whole numbers or of strings; or the path of a Parquet table with a column user_id or "
    "item_id",
)


class RecommendOptions(Section):
    """The users who get a list, the items that may be on it, and its format."""

    name = "recommend"
    n = Option(int, 10, "length of a list; it is shorter if fewer candidates are left", at_least(1))
    users = _Ids(
        list,
        ALL,
        "who gets a list: all that the model knows, ids, or a Parquet table with user_id",
        _SAME_KIND,
    )
    user = Option(str, None, "one user, whose list is shown and not written; same as --user")
    explain = Option(
        bool,
        False,
        "say of each item on the list of one user which parts of its score lift it most; same as --explain",
    )
    excludeSeen = Option(
        bool,
        True,
        "leave out the items that a user rated in the model's split (except test rows) and in its updates",
    )
    candidates = _Ids(
        list,
        None,
        "items that may be on a list: ids, or a Parquet table with item_id; not set: all",
        _SAME_KIND,
    )
    blocked = _Ids(
        list, None, "items that may not be on a list: ids, or a Parquet table with item_id", _SAME_KIND
    )
    genre = Option(
        str, None, "only items of this genre, by the column genres (a list, or one genre) of tables/items"
    )
    minYear = Option(int, None, "only items of this year or later, by the column year of tables/items")
    maxYear = Option(int, None, "only items of this year or earlier")
    format = Option(
        str,
        "parquet",
        "format of the lists; parquet and json: a folder of files, csv: one file",
        one_of("parquet", "csv", "json"),
    )
    columns = Option(
        str,
        "lake",
        "names of ids and rating; lake: user_id, item_id, rating; source: those of data.source",
        one_of("lake", "source"),
    )
    table = Option(
        str,
        None,
        "table of a catalog, such as catalog.schema.lists, that gets the lists too",
        TABLE_NAME,
    )
    tableMode = Option(
        str,
        "overwrite",
        "overwrite: the lists replace all rows of the table; merge: those of the same users (Delta, Iceberg)",
        one_of("overwrite", "merge"),
    )


class UpdateOptions(Section):
    """The source of new ratings, and the rows to solve again."""

    name = "update"
    source = Option(
        str,
        None,
        "new ratings: a file, folder or URI, read as [data] says; not set: the update part of the model's "
        "split",
    )
    refreshItems = Option(bool, False, "solve again the items of the new ratings that training has seen, too")
    sweeps = Option(int, 3, "times that items and users alternate where both are solved", at_least(1))
    maxIter = Option(int, 20, "epochs over the ratings of a row, for models of gradient descent", at_least(1))
    stepSize = Option(
        float, None, "learning rate of these epochs; not set: that of the first epoch of training", above(0)
    )


class CrossvalidationOptions(Section):
    """The folds of a cross-validation."""

    name = "crossvalidation"
    folds = Option(
        list,
        None,
        "folds to run; not set: 1 to split.folds",
        Check(
            lambda folds: bool(folds) and len(set(map(str, folds))) == len(folds),
            'not empty, of different names, such as ["u1", "u2"]',
        ),
    )


class CurveOptions(Section):
    """The models of the figure, and its name."""

    name = "curves"
    models = Option(
        list,
        None,
        "names of models in the lake; same as the words after `recspark curves`",
        Check(
            lambda names: (
                all(isinstance(name, str) for name in names)
                and 1 <= len(set(names)) == len(names) <= len(RUN_COLOURS)
            ),
            f'of different names, at most {len(RUN_COLOURS)}, such as ["als", "mf"]',
        ),
    )
    figure = Option(str, "curves", "the figure is kept as metrics/FIGURE.png", FILE_NAME)


class BlendOptions(Section):
    """The models of a blend, and the choice of its weights.

    With evaluation.ratings = false it is a blend of lists; docs/recipes.md.
    """

    name = "blend"
    models = Option(
        list,
        None,
        "names of models in the lake, of one split with validation rows; same as the words after `recspark "
        "blend`",
        SEVERAL_NAMES,
    )
    regParam = Option(
        float,
        None,
        "of ratings: ridge penalty of the weights' difference from the plain mean; not set: by "
        "cross-validation",
        at_least(0),
    )
    seed = Option(
        int,
        42,
        "seed of the folds of that cross-validation, which are parts of the validation rows; of lists: seed "
        "of the draw of users",
    )
    on = Option(
        str,
        "score",
        "how scores of models that make lists are made alike, for each user: by their mean and deviation, or "
        "by their ranks",
        one_of("score", "rank"),
    )
    metric = Option(
        str,
        None,
        "ranking metric at one of evaluation.ks that the weights of lists maximize on the validation rows; "
        "not set: ndcg at the longest",
    )
    users = Option(
        int, 5000, "most users of the validation rows that the weights of lists are fitted on", at_least(1)
    )


# an option called `name` can't be a class attribute, which names the section itself
BlendOptions.options["name"] = Option(str, "blend", "the blend is kept as models/NAME", FILE_NAME)


class TuneOptions(Section):
    """The tuning of the Params of ``[model]``; docs/tuning.md."""

    name = "tune"
    space = Option(
        dict,
        None,
        "Params to search: NAME = {low, high}, with step or log, or NAME = {choices}; not set: usual ones",
    )
    study = Option(
        str, None, "the study is kept as tuning/STUDY.db; not set: the name of the model", FILE_NAME
    )
    folder = Option(
        str,
        None,
        "folder on the driver's disk for studies, needed if the lake is a URI; not set: tuning in the lake",
    )
    trials = Option(int, 20, "trials of the study, those of earlier jobs included", at_least(1))
    timeout = Option(float, None, "seconds after which no further trial begins", above(0))
    metric = Option(
        str, "rmse", "metric of the evaluation, on the validation rows, that trials are judged by"
    )
    sampler = Option(
        str, "tpe", "how values are drawn: grid takes all combinations", one_of("tpe", "random", "grid")
    )
    pruner = Option(
        str,
        "none",
        "which trials end early, by the curve of their validation rows so far: RMSE, or AUC of preferences",
        one_of("none", "median", "hyperband"),
    )
    warmup = Option(int, 5, "first iterations of a trial, at which it is not pruned", at_least(0))
    concurrent = Option(
        int,
        1,
        "trials at a time; where they share a machine, its threads are divided among them",
        at_least(1),
    )
    seed = Option(int, 42, "seed of all draws", at_least(0))


class CompareOptions(Section):
    """The models to compare, and the method."""

    name = "compare"
    models = Option(
        list,
        None,
        "models of the lake, or MLflow runs that lead to one; they are compared with the first; same as "
        "words after `recspark compare`",
        SEVERAL_NAMES,
    )
    metric = Option(str, "rmse", _METRIC)
    confidence = Option(float, 0.95, "of the intervals, two-sided", strictly_between(0, 1))
    resamples = Option(int, 2000, _RESAMPLES, at_least(100))
    seed = Option(int, 42, "seed of these draws", at_least(0))


class PromoteOptions(Section):
    """The model that may become the champion, and the test that it must pass; docs/gate.md."""

    name = "promote"
    candidate = Option(str, None, "model of the lake, evaluated on its test rows", FILE_NAME)
    registered = Option(
        str,
        None,
        "registered model in MLflow whose alias champion moves; not set: tracking.registeredModel, else "
        "recspark",
        FILE_NAME,
    )
    metric = Option(str, "rmse", _METRIC)
    margin = Option(
        float,
        0.005,
        "by how much the candidate may be worse, in the unit of the metric; 0: it must be better",
        at_least(0),
    )
    level = Option(
        float, 0.05, "chance of a candidate that is worse by the margin to pass", strictly_between(0, 0.5)
    )
    resamples = Option(int, 2000, _RESAMPLES, at_least(100))
    seed = Option(int, 42, "seed of these draws", at_least(0))


@dataclass(frozen=True)
class Sections:
    """The validated conf: all sections by their names. A section that the conf does not name has defaults."""

    paths: PathOptions
    data: DataOptions
    quality: QualityOptions
    split: SplitOptions
    features: FeatureOptions
    audit: AuditOptions
    model: ModelSection
    evaluation: EvaluationOptions
    recommend: RecommendOptions
    update: UpdateOptions
    crossvalidation: CrossvalidationOptions
    curves: CurveOptions
    blend: BlendOptions
    tune: TuneOptions
    compare: CompareOptions
    promote: PromoteOptions
    tracking: TrackingOptions
    spark: SparkOptions
    synthetic: SyntheticOptions


#: the classes of all sections
SECTIONS: tuple[type[Section], ...] = tuple(get_type_hints(Sections).values())


def validated(conf: Conf) -> Sections:
    """The conf's sections, every key checked."""
    return Sections(**build_sections(conf, SECTIONS))  # type: ignore[arg-type]  # each is of the class of its name
