"""Commands that are run once for a key, by cron, Airflow or Argo, with a record of each run."""
