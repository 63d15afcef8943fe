#!/usr/bin/env bash
# make airflow: run the DAG of this folder once, for real: an Airflow with sqlite in a scratch folder, Spark from .venv, all tasks in
# their order. On ML-100K where RECSPARK_DATA is a folder that has it, else on generated ratings. Fails where any task fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=$(cd "$here/../.." && pwd)
day=2026-11-22

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export AIRFLOW_HOME=$scratch/airflow RECSPARK_HOME=$home
export AIRFLOW__CORE__DAGS_FOLDER=$here AIRFLOW__CORE__LOAD_EXAMPLES=false AIRFLOW__CORE__UNIT_TEST_MODE=false
export AIRFLOW_CONN_SPARK_DEFAULT='{"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}'
# spark-submit is that of .venv, whatever else the environment of Airflow has brought
export PATH=$home/.venv/bin:$PATH SPARK_LOCAL_IP=127.0.0.1
# many short jobs: to compile them well takes longer than to run them
export SPARK_SUBMIT_OPTS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
unset SPARK_HOME PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

mkdir "$scratch/incoming"
if [ -f "${RECSPARK_DATA:-/nowhere}/ml-100k.zip" ]; then
    ln -s "$(realpath "$RECSPARK_DATA")/ml-100k.zip" "$scratch/incoming/$day.zip"
    source="$scratch/incoming/{ds}.zip"
else
    "$home/.venv/bin/python" -c "
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
write_movielens(generate(SyntheticOptions(users=300, items=200, ratings=20_000)), '$scratch/incoming/$day')"
    source="$scratch/incoming/{ds}"
fi

airflow() { "$home/.venv-airflow/bin/python" -m airflow "$@"; }
quietly() { "$@" > "$scratch/log" 2>&1 || { cat >&2 "$scratch/log"; exit 1; }; }

quietly airflow db migrate
quietly airflow dags reserialize
airflow dags test recspark_nightly "$day" --conf "{\"lake\": \"$scratch/lake\", \"source\": \"$source\"}"
# the first candidate of a lake passes its gate, so its lists are there
test -f "$scratch/lake/recommendations/recspark-champion/manifest.json"
echo "airflow: all tasks of recspark_nightly $day ended well"
