"""What test_workers.py tries on a standalone cluster.

``python broken_workers.py MASTER ARCHIVE NAME=PYTHON ...`` makes each PYTHON that of the workers in turn. A
JSON report on stdout has the errors of `check_workers` by name.
"""

import json
import sys

from pyspark.sql import SparkSession

from recspark.engine.spark import session
from recspark.errors import RecsparkError


def main(master, archive, *cases):
    conf = {
        "spark.archives": f"{archive}#environment",
        "spark.executor.memory": "512m",
        "spark.ui.enabled": "false",
    }
    spark = SparkSession.builder.master(master).config(map=conf).getOrCreate()
    context, report = spark.sparkContext, {}
    version = context.pythonVer
    for name, python in (case.split("=") for case in cases):
        context.pythonExec = python
        # the worker compares its own version with the driver's
        context.pythonVer = "3.8" if name == "version" else version
        session._checked.clear()
        try:
            session.check_workers(spark)
            report[name] = None
        except RecsparkError as error:
            report[name] = str(error)
    print(json.dumps(report))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
