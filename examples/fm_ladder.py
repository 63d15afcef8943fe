"""The ladder of Rendle, Zhang and Koren 2019: one factorization machine, a feature more on every rung, and
what each gains.

    python examples/fm_ladder.py ml-100k --source ml-100k.zip --lake lake/ladder-100k
    python examples/fm_ladder.py ml-1m --source ml-1m.zip --lake lake/ladder-1m
    python examples/fm_ladder.py ml-10m --source ml-10m.zip --lake lake/ladder-10m

The confs are conf/ladder/*.toml; `--set model.maxIter=100` changes all rungs. Each rung is a model of the
lake and runs in MLflow; rungs that the lake has are not trained again, and a rung that was killed goes on
where it was. Prints the table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from lake_runs import LakeRuns, markdown, toml

from recspark.engine.spark.session import session

CONFS = Path(__file__).parents[1] / "conf" / "ladder"
FLIPPED = ["user", "item", "day", "rated", "raters"]
#: what is known of users and items, by data set
SIDE = {
    "ml-100k": ["age_decade", "gender", "occupation", "zip1", "year", "genres"],
    "ml-1m": ["age_decade", "gender", "occupation", "zip1", "year", "genres"],
    "ml-10m": ["year", "genres"],
}


@dataclass(frozen=True)
class Rung:
    """One model: what its row says, its groups, whether ratings are ordered levels, whether the side features
    of the data set come in.
    """

    text: str
    groups: list[str]
    ordered: bool = False
    side: bool = False


#: by the name of the model in the lake
RUNGS = {
    "mf": Rung("user + item", FLIPPED[:2]),
    "time": Rung("user + item + day", FLIPPED[:3]),
    "svdpp": Rung("user + item + items rated (SVD++)", ["user", "item", "rated"]),
    "timesvdpp": Rung("user + item + day + items rated (timeSVD++)", FLIPPED[:4]),
    "flipped": Rung("+ users who rated the item (flipped)", FLIPPED),
    "ordered": Rung("+ ordered probit", FLIPPED, ordered=True),
    "side": Rung("+ side features", FLIPPED, ordered=True, side=True),
}
#: RMSE of others: measured with myFM on the same rows of ML-100K, on other draws of ML-1M; published for
#: ML-10M
ELSEWHERE = {
    "ml-100k": {"mf": ".908", "flipped": ".888", "ordered": ".8840", "side": ".8824"},
    "ml-1m": {"mf": ".843 (rank 16)", "flipped": ".8161", "ordered": ".8140"},
    "ml-10m": {"mf": ".7633 (by SGD .7720)", "svdpp": ".7563", "timesvdpp": ".7523", "flipped": ".7485"},
}


def settings(rung: Rung, dataset: str) -> list[str]:
    """What a rung sets beside the conf."""
    groups = rung.groups + (SIDE[dataset] if rung.side else [])
    return [f"features.groups={toml(groups)}", f"model.ordered={toml(rung.ordered)}"]


def line(runs: LakeRuns, name: str, dataset: str) -> list[str]:
    """The cells of a rung."""
    found = runs.measure(name, *settings(RUNGS[name], dataset))
    return [
        RUNGS[name].text,
        f"{found['rmse']:.4f}",
        f"{found['fit_seconds']:.0f}",
        ELSEWHERE[dataset].get(name, ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", choices=list(SIDE), help="the conf of conf/ladder")
    parser.add_argument("--source", required=True, help="archive of the data set")
    parser.add_argument("--lake", required=True, help="folder for all that is made")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="overrides the conf on all rungs",
    )
    given = parser.parse_args()
    runs = LakeRuns(CONFS / f"{given.dataset}.toml", given.lake, tuple(given.set))
    with session("ladder"):
        runs.prepare(given.source)
        rows = [line(runs, name, given.dataset) for name in RUNGS]
    print(markdown(["features", "RMSE", "fit, s", "elsewhere"], rows))


if __name__ == "__main__":
    main()
