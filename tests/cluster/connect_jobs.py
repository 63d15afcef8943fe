"""What test_connect.py asks of the command on a Spark Connect server: ``python connect_jobs.py < LINES``.

A line is the JSON list of the words of one command; so is the report on stdout, of exit code, summary and
stderr.
"""

import contextlib
import io
import json
import sys

from recspark.cli import main


def attempt(words):
    """The outcome of one command, as its own process would have it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return {"code": code, "summary": json.loads(out.getvalue() or "null"), "err": err.getvalue()}


if __name__ == "__main__":
    report = [attempt(json.loads(line)) for line in sys.stdin]
    # nothing of this process has been a JVM
    from pyspark import SparkContext

    print(json.dumps({"jobs": report, "jvm": SparkContext._gateway is not None}))
