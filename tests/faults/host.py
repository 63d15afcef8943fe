"""A process that runs commands one after the other in one Spark session, until it is killed:
``python -m tests.faults.host MASTER``.

Each line of stdin is ``{"arguments": [...], "code": path}``; when the command has ended, its exit code stands
in that file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from recspark.cli import main
from recspark.engine.spark.session import build_session


def serve(master: str) -> None:
    """Run what stdin asks for."""
    conf = {"spark.driver.memory": "800m", "spark.sql.shuffle.partitions": "2", "spark.ui.enabled": "false"}
    conf |= {"spark.sql.codegen.factoryMode": "NO_CODEGEN", "spark.sql.codegen.wholeStage": "false"}
    build_session("host", conf | {"spark.master": master})
    for line in sys.stdin:
        order = json.loads(line)
        code = main(order["arguments"])
        part = Path(f"{order['code']}.part")
        part.write_text(str(code))
        os.replace(part, order["code"])


if __name__ == "__main__":
    serve(sys.argv[1])
