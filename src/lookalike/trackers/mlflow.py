"""MLflow: a folder, a database, or a server."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lookalike.trackers.group import Status, check_every, flatten_config, plain_value, require_package

ENDED = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
LONGEST, AT_ONCE = 500, 100


class MLflow:
    """Logs parameters, numbers and pictures; by default to `mlruns/` in the run folder, without sending
    anything.

    MLflow's telemetry is turned off, and its environment variables for URIs are not read.

    Args:
        uri: a folder, `sqlite:///file.db` (needs the full mlflow package) or `http://server`; none for
            `mlruns/` in the run folder.
        experiment: of the run.
        every: logging interval of the training loss, in steps.
    """

    def __init__(self, uri: str | None = None, experiment: str = "lookalike", every: int = 20):
        check_every("mlflow", every)
        require_package("mlflow", "mlflow")
        self.uri, self.experiment, self.every = uri, experiment, every

    def start(self, folder: Path, config: dict[str, Any], step: int, run_id: str | None) -> str:
        """Start a run or resume `run_id`; returns its id."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        self.client = MlflowClient(self.uri or (folder / "mlruns").absolute().as_uri())
        existing = self._existing_run(run_id) if run_id else None
        if existing:
            self.run = existing
            self.client.update_run(self.run, status="RUNNING")
        else:
            self.run = self.client.create_run(self._experiment(folder), run_name=folder.name).info.run_id
            self._log_config(config)
        return self.run

    def _existing_run(self, run_id: str) -> str | None:
        """The earlier run, if it still exists."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.run_id
        except MlflowException:
            return None

    def _experiment(self, folder: Path) -> str:
        experiment = self.client.get_experiment_by_name(self.experiment)
        if experiment is not None:
            return experiment.experiment_id
        database = (self.uri or "").startswith("sqlite:")
        pictures = (folder / "mlartifacts").absolute().as_uri() if database else None
        return self.client.create_experiment(self.experiment, pictures)

    def _log_config(self, config: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [
            Param(plain_value(key), str(value)[:LONGEST]) for key, value in flatten_config(config).items()
        ]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.run, params=params[first : first + AT_ONCE])

    def log_numbers(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log_numbers`."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(plain_value(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def log_text(self, name: str, text: str, step: int) -> None:
        """See `Tracker.log_text`."""
        self.client.log_text(self.run, text, f"{plain_value(name)}/step_{step}.txt")

    def log_image(self, name: str, file: Path, step: int) -> None:
        """See `Tracker.log_image`."""
        self.client.log_artifact(self.run, str(file))

    def finish(self, status: Status) -> None:
        """See `Tracker.finish`."""
        self.client.set_terminated(self.run, ENDED[status])
