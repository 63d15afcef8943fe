"""The figures of docs/topn.md: one conf of conf/topn with five seeds, on a lake that its pipeline has filled.

    recspark pipeline --conf-file conf/topn/gowalla.toml --set data.source=gowalla.zip --set paths.lake=lake/g
    python benchmarks/topn_seeds.py conf/topn/gowalla.toml --lake lake/g

Prints one JSON line per seed, then means and standard deviations over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tomllib
from pathlib import Path

from pyspark.sql import functions as F

from recspark.engine.spark.session import build_session
from recspark.evaluation.ranking import per_user_ranking, ranking_metrics
from recspark.pipeline.conf.model_section import ModelSection

K = 20
METRICS = (f"recall_at_{K}", f"ndcg_at_{K}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("conf")
    parser.add_argument("--lake", required=True)
    parser.add_argument("--split", help="a split of the lake; not given: the conf's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--master", default="local[2]")
    options = parser.parse_args()
    conf = tomllib.loads(Path(options.conf).read_text())
    spark = build_session("topn-seeds", {"spark.master": options.master})
    split = f"{options.lake}/splits/{options.split or conf['split'].get('name', 'default')}"
    train, validation, test = (
        spark.read.parquet(f"{split}/{part}") for part in ("train", "validation", "test")
    )
    seen = train.unionByName(validation)
    columns = {"userCol": "user_id", "itemCol": "item_id"}
    found = []
    for seed in options.seeds:
        section = ModelSection(**conf["model"] | {"seed": seed})
        started = time.perf_counter()
        model = section.estimator(**columns, **section.params).fit(train.withColumn("rating", F.lit(1.0)))
        seconds = time.perf_counter() - started
        metrics = ranking_metrics(per_user_ranking(test, seen, model.scorer, [K]))
        found.append({name: metrics[name] for name in METRICS} | {"fit_seconds": seconds})
        print(json.dumps({"seed": seed} | found[-1]), flush=True)
    summary = {}
    for name in found[0]:
        values = [each[name] for each in found]
        summary[name] = [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]
    print(json.dumps(summary))
    spark.stop()


if __name__ == "__main__":
    main()
