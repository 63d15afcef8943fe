"""The nightly run as an Airflow DAG: data -> tables -> index -> split -> models side by side -> the best ->
gate -> lists.

`make airflow` runs it once, for real; docs/operations.md says how to put it into an Airflow of yours. Each
job is one spark-submit of a file in jobs/ on the connection ``spark_default`` (its host is the master, its
extra the deploy mode). All jobs are idempotent and publish whole products or none, so any task may be
retried, cleared or run again for an old date; a training that was killed goes on where it was.

The params are the run's: ``airflow dags trigger recspark_nightly --conf '{"lake": "s3://bucket/lake"}'``.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, ObjectStoragePath, Param, task
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

#: the checkout of recspark that jobs and conf files are taken from
HOME = Path(os.environ.get("RECSPARK_HOME", Path(__file__).resolve().parents[2]))

#: the models that are trained side by side: a conf file of the folder `conf` each
MODELS = ("als", "mf", "baseline")

PARAMS = {
    "lake": Param("lake/nightly", type="string", description="root folder or URI of the lake"),
    "source": Param(
        "incoming/{ds}.zip",
        type="string",
        description="the ratings, as ingest takes them; {ds} is the date of the run",
    ),
    "champion": Param(
        "recspark-champion",
        type="string",
        description="name in the lake of the model that the gate has passed last",
    ),
    "conf": Param(
        str(HOME / "examples/airflow/conf"), type="string", description=f"folder of {', '.join(MODELS)} .toml"
    ),
}

#: exit codes that a retry would not change, and what they mean (recspark/errors.py)
FINAL = {2: "the conf is wrong", 3: "the data were rejected", 5: "the input is not there"}
GATE_NOT_PASSED, INPUT_MISSING = 4, 5

#: how long the input of the day is waited for: that it exists, then that it is whole; and the time between
#: two looks
WINDOW = timedelta(seconds=float(os.environ.get("RECSPARK_WINDOW", 12 * 3600)))
PAUSE = timedelta(seconds=float(os.environ.get("RECSPARK_PAUSE", 300)))
#: the job that reads what others bring; what the jobs after it read, jobs before them make, so it does not
#: come by waiting
FIRST = "ingest"


class Job(SparkSubmitOperator):
    """A spark-submit of one of recspark's jobs whose exit code decides: wait, retry, fail for good, or skip
    what follows.
    """

    def execute(self, context: Any) -> None:
        """Run the job; AirflowSkipException where the gate was not passed: the champion stays, the night is
        no failure.
        """
        try:
            super().execute(context)
        except AirflowException as error:
            found = re.search(r"Error code is: (\d+)", str(error))
            code = int(found[1]) if found else 1
            if code == GATE_NOT_PASSED:
                raise AirflowSkipException(
                    "the gate was not passed: the champion and its lists stay"
                ) from error
            if code == INPUT_MISSING and self.task_id == FIRST:
                _wait(context)
            if code in FINAL:
                raise AirflowFailException(f"{FINAL[code]}: see the last lines of this log") from error
            raise


def _wait(context: Any) -> None:
    """AirflowRescheduleException, by which the task is tried again after PAUSE, unless WINDOW is over by
    then.
    """
    now = datetime.now(UTC)
    begun = context["ti"].get_first_reschedule_date(context) or now
    if now + PAUSE < begun + WINDOW:
        raise AirflowRescheduleException(now + PAUSE)


def job(name: str, model: str = MODELS[0], task_id: str | None = None, **settings: str) -> Job:
    """The task that submits jobs/NAME.py with the conf of `model`; `settings` are more of ``--set``, with _
    for the dot.
    """
    given = {
        "paths.lake": "{{ params.lake }}",
        "data.source": "{{ params.source.replace('{ds}', ds) }}",
        "model.name": model,
        "tracking.runName": f"{task_id or name} {{{{ ds }}}}",
    } | {key.replace("_", "."): value for key, value in settings.items()}
    return Job(
        task_id=task_id or name,
        name=f"recspark {name} {{{{ ds }}}}",
        application=str(HOME / "jobs" / f"{name}.py"),
        application_args=[
            "--conf-file",
            f"{{{{ params.conf }}}}/{model}.toml",
            *(f"--set={key}={value}" for key, value in given.items()),
        ],
    )


@task.sensor(poke_interval=PAUSE, timeout=WINDOW, mode="reschedule")
def data(params: dict[str, Any] | None = None, ds: str | None = None) -> bool:
    """Wait until the source of the day is there, on any storage that Airflow has a provider for; whether it
    is whole the job says.
    """
    return ObjectStoragePath(params["source"].replace("{ds}", ds)).exists()


@task
def best(params: dict[str, Any] | None = None) -> str:
    """The name of the model with the lowest RMSE on the test rows."""
    metrics = ObjectStoragePath(params["lake"]) / "metrics"
    rmse = {name: json.loads((metrics / f"{name}.json").read_text())["rmse"] for name in MODELS}
    print(
        "test RMSE: "
        + ", ".join(f"{name} {value:.4f}" for name, value in sorted(rmse.items(), key=lambda named: named[1]))
    )
    return min(rmse, key=rmse.get)


with DAG(
    dag_id="recspark_nightly",
    description="ratings of the day -> models -> gate -> recommendations",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params=PARAMS,
    # one run at a time on a lake; trainings share a machine or a cluster: raise this with its size
    max_active_runs=1,
    max_active_tasks=2,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["recspark"],
):
    chosen = best()
    split = job("split")
    data() >> job(FIRST) >> job("index") >> split
    for model in MODELS:
        (
            split
            >> job("train", model, f"train_{model}")
            >> job("evaluate", model, f"evaluate_{model}")
            >> chosen
        )
    gate = job("promote", promote_candidate="{{ ti.xcom_pull('best') }}")
    chosen >> gate >> job("recommend", model_name="{{ params.champion }}")
