"""`recspark warm`, on a cache of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import recspark

ROOT = Path(recspark.__file__).parents[1]


@pytest.mark.long
def test_warm_compiles_what_models_need(tmp_path):
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [sys.executable, "-c", "import sys; from recspark.cli import main; sys.exit(main(['warm']))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert summary["job"] == "warm" and Path(summary["folder"]).is_relative_to(tmp_path)
    compiled = {file.name.rpartition("-")[0] for file in tmp_path.rglob("*.nbi")}
    wanted = (
        "als.solve_rows implicit.solve_rows_cg sgd.descend sgd.full_gradient topn._scan_inplace "
        "topn.ranks_of pairs._sparse_rows "
    )
    wanted += (
        "gibbs.draw_entities gibbs.draw_features user_metrics.ndcg encode._digest probit.level_likelihood"
    )
    assert {*wanted.split()} - compiled == set()
    assert "compiling for the first time" not in done.stderr
