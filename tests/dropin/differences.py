"""Where recspark differs from MLlib on purpose: the tests of this folder read the list, and docs/mllib.md is
written from it.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Default(NamedTuple):
    """A Param whose default is another one; None where it has none."""

    of: str
    param: str
    mllib: Any
    recspark: Any
    why: str


class Difference(NamedTuple):
    """What both do in one case, and the reason."""

    case: str
    mllib: str
    recspark: str
    why: str


#: MLlib's default seed is a hash of the class's name
HASH = "a hash of the class's name"

_SEED = "a number that a user can name"
_STEP = "the optimizer is adagrad, whose first step is this long"
_SOLVER = (
    "Gibbs sampling is the most exact, and has no step size or penalty to find; adamW and gd run stochastic "
    "gradients"
)
_START = "factors that start near 0 take longer to leave it"
_TOL = "a fit makes the iterations that were asked for"

DEFAULTS = [
    Default(
        "ALS",
        "coldStartStrategy",
        "nan",
        "mean",
        "an unknown id has a prediction: the mean rating and what is known of the other id",
    ),
    Default("ALSModel", "coldStartStrategy", "nan", "mean", "as of ALS"),
    Default("ALS", "seed", HASH, 42, _SEED),
    *(
        Default(of, param, mllib, recspark, why)
        for of in ("FMRegressor", "FMClassifier")
        for param, mllib, recspark, why in (
            ("seed", HASH, 42, _SEED),
            ("solver", "adamW", "mcmc", _SOLVER),
            ("stepSize", 1.0, 0.1, _STEP),
            ("initStd", 0.01, 0.1, _START),
            ("tol", 1e-6, 0.0, _TOL),
        )
    ),
]

DIFFERENCES = [
    Difference(
        "ids",
        "whole numbers of 32 bits; every output has int",
        "whole numbers of up to 64 bits, strings and dates; outputs have the type that trained",
        "ids of most data are longer, or text",
    ),
    Difference(
        "a null id in `transform`",
        "an exception when rows are read",
        "a row of an unknown id: see `coldStartStrategy`",
        "no row is lost",
    ),
    Difference(
        "a null or NaN rating in `fit`",
        "SparkRuntimeException",
        "RecsparkError, which says how many rows",
        "one sentence in place of a failed job",
    ),
    Difference(
        "no rows in `fit`",
        "IllegalArgumentException (ALS), Py4JJavaError (FM)",
        "RecsparkError",
        "one sentence",
    ),
    Difference(
        "a value that a Param does not take",
        "IllegalArgumentException from `fit`",
        "the same exception where it is set",
        "a mistake shows where it was made",
    ),
    Difference(
        "numbers of numpy as Params",
        "refused but for whole numbers",
        "taken",
        "`numpy.linspace` makes the grids of searches",
    ),
    Difference(
        "`coldStartStrategy` in capitals",
        "kept as it was set",
        "kept in small letters",
        "one spelling inside",
    ),
    Difference("a getter of a Param that is not set", "KeyError", "None", "what is not set can be asked for"),
    Difference(
        "`numUserBlocks`, `numItemBlocks`",
        "10 blocks",
        "10 as a value; a set value counts where blocks are tasks (else the log says so); `userBlocks`, "
        "`itemBlocks` are orders",
        "the result is the same for any number of blocks, and one task is quicker for few ratings",
    ),
    Difference(
        "`blockSize`, `checkpointInterval`, storage levels, `miniBatchFraction`",
        "change how a fit runs",
        "checked, and without effect",
        "blocks are files, each iteration is a checkpoint, and gradients take one row at a time",
    ),
    Difference(
        '`userCol="user"` and a column USER',
        "`fit` and `transform` of ALS refuse it",
        "taken, as Spark resolves names",
        "as in SQL",
    ),
    Difference(
        "a column PREDICTION",
        "a second column prediction",
        "refused, as prediction would be",
        "neither name could be read again",
    ),
    Difference(
        "a dot in an input's or output's name",
        "refused in places",
        "taken",
        "such names are allowed in Spark",
    ),
    Difference(
        '`predictionCol=""` of ALS',
        "a column with no name",
        "no column, as other estimators of MLlib",
        "nobody can name it",
    ),
    Difference(
        "a column prediction in `fit`", "refused", "not looked at", "the column is not written by a fit"
    ),
    Difference(
        '`ratingCol=""`', "refused in Python", "every rating is 1", "MLlib's Scala documentation says so"
    ),
    Difference(
        "`intercept`, `linear`, `factors` of solver mcmc",
        "one machine, which predicts",
        "the last sample; predictions are means over `w0_samples`, `w_samples`, `V_samples`",
        "a mean of factors is none: two samples may be turned against each other",
    ),
    Difference(
        "`rawPrediction` of solvers mcmc and als",
        "the score, whose logistic function is the probability",
        "the logit of the probability, which is a mean over samples of a probit",
        "`probability` follows from it in the same way",
    ),
    Difference(
        "`summary` of a classifier's model",
        "a method",
        "a method, whose object has `history` and `best_iteration` as well; `objectiveHistory` begins after "
        "the first iteration",
        "models of recspark have the history of the fit as `summary.history`",
    ),
    Difference(
        "Params of models",
        "ALSModel has five",
        "every model has those of its estimator, and `parent`",
        "what a saved model was fitted with can be asked",
    ),
    Difference(
        "`_java_obj` of a model",
        "the Java object",
        "answers `parent()`, the getters and properties",
        "programs print their best model so; there is no Java object",
    ),
    Difference(
        "`threshold` of a classifier",
        "there is none",
        "as in LogisticRegression: setting it clears `thresholds`",
        "two labels",
    ),
    Difference(
        "a folder that MLlib's ALS or ALSModel wrote",
        "read",
        "read, too; folders of its factorization machines are refused in one sentence",
        "a model in use can be taken over",
    ),
    Difference(
        "`save` to a path that is taken",
        "Py4JJavaError",
        "RecsparkError (a FileExistsError) that names `write().overwrite()`; overwriting replaces the folder "
        "by a rename",
        "the old model is there until the new one is whole",
    ),
    Difference(
        "a loaded model whose path is overwritten",
        "fails, or reads the new files",
        "RecsparkError: load it again",
        "a model never answers with the numbers of another",
    ),
    Difference(
        "the length of a list", "an int", "any whole number; less than 1 is a ConfigError", "one sentence"
    ),
    Difference(
        "equal scores in a list",
        "in any order",
        "the lower id first",
        "lists are the same for any number of blocks",
    ),
    Difference(
        "summaries over Spark Connect",
        "there",
        "not there: one sentence",
        "they are computed by classes of the JVM",
    ),
]
