"""A trading day, the morning after: load, compute, report, compact. For Airflow 3.

Each step is a job file (deploy/jobs, copied to where the data is) that is done once for a day, so
clearing a task, a retry of Airflow's or a second scheduler repeats nothing. Exit status 75 is
"another one runs it": Airflow comes again.
"""

import os
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

DESK = os.environ.get("ONETAPE_DESK", "/srv/desk")  # the folder of the job files and the data
DAY_BEFORE = "{{ macros.ds_add(ds, -1) }}"
STEPS = ("load", "rows", "report", "compact")

with DAG(
    dag_id="onetape_day",
    schedule="0 2 * * 2-6",  # after each trading day, Monday to Friday
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["onetape"],
) as dag:
    before = None
    for step in STEPS:
        call = f"onetape job run {DESK}/{step}.toml --key {DAY_BEFORE}"
        task = BashOperator(task_id=step, bash_command=call)
        if before is not None:
            before >> task
        before = task
