"""The process behind MLflow tracking: MLflow's own server, with a database per workspace, answering on a Unix socket.

Started as ``python -m emulator.mlflow.server SOCKET FOLDER``. Two things are Azure's and not MLflow's: which database a request means is
said by a header, and jobs are runs whose ids are the jobs' names; the emulator writes them with ``POST /emulator/jobs``.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

gc.disable()  # until all is imported: a quarter of that would be a search for garbage where there is none

from flask import request  # noqa: E402
from mlflow import entities  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.server import app, handlers  # noqa: E402
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun  # noqa: E402
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: E402
from mlflow.version import VERSION  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

gc.enable()

WORKSPACE, ARTIFACTS = "X-Emulator-Workspace", "X-Emulator-Artifacts"


class WorkspaceStore(SqlAlchemyStore):
    """A workspace's tracking store: MLflow's, with artifacts where Azure ML's client looks for them."""

    def __init__(self, file: Path, artifacts: str) -> None:
        self._artifacts = artifacts
        super().__init__(f"sqlite:///{file}", artifacts)
        with self.ManagedSessionMaker(read_only=False) as session:
            session.query(SqlExperiment).filter(SqlExperiment.experiment_id == 0).update({"artifact_location": self._location("Default")})

    def _location(self, experiment: str) -> str:
        return f"{self._artifacts}/experiments/{quote(experiment, safe='')}/runs"

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: list[Any] | None = None) -> str:
        """Where an experiment's artifacts are is not the client's choice on Azure."""
        return str(super().create_experiment(name, self._location(name), tags))

    def experiment(self, name: str) -> Any:
        """The experiment with this name, made if there is none."""
        found = self.get_experiment_by_name(name)
        return found or self.get_experiment(self.create_experiment(name))

    def write_job(self, job: dict[str, Any]) -> None:
        """Make the run of a job, or bring it up to date."""
        experiment = self.experiment(job["experiment"])
        with self.ManagedSessionMaker(read_only=False) as session:
            row = session.get(SqlRun, job["run_id"]) or SqlRun(
                run_uuid=job["run_id"],
                experiment_id=experiment.experiment_id,
                source_type="JOB",
                source_name="",
                entry_point_name="",
                source_version="",
                lifecycle_stage="active",
                artifact_uri=f"{experiment.artifact_location}/{job['run_id']}/artifacts",
            )
            row.name, row.user_id, row.status = job["name"], job["user"], job["status"]
            row.start_time, row.end_time = job["start_time"], job["end_time"]
            session.add(row)
        self.log_batch(job["run_id"], [], [], [entities.RunTag(key, value) for key, value in job["tags"].items()])


class Stores:
    """The stores of all workspaces. A new database is a copy of one made before: making one takes MLflow seconds."""

    def __init__(self, folder: Path, template: Path) -> None:
        self._folder, self._template = folder, template
        self._stores: dict[str, WorkspaceStore] = {}
        self._lock = threading.Lock()

    def of_request(self, *_: Any) -> WorkspaceStore:
        """The store that the current request is for."""
        key, artifacts = request.headers[WORKSPACE], request.headers[ARTIFACTS]
        with self._lock:
            if key not in self._stores:
                self._stores[key] = self._open(self._folder / f"{key}.db", artifacts)
            return self._stores[key]

    def _open(self, file: Path, artifacts: str) -> WorkspaceStore:
        partial = self._template.with_suffix(f".{os.getpid()}.partial")
        if not file.exists() and not self._template.exists():
            SqlAlchemyStore(f"sqlite:///{partial}", "nowhere:").engine.dispose()
            partial.replace(self._template)
        if not file.exists():
            shutil.copy(self._template, partial)
            partial.replace(file)
        return WorkspaceStore(file, artifacts)


class Quiet(WSGIRequestHandler):
    """Keeps connections open, and writes no line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def address_string(self) -> str:
        return "emulator"


def main(socket: str, folder: Path) -> None:
    """Serve until the process is ended."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "azureml-emulator" / "mlflow"
    cache.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    stores = Stores(folder, cache / f"{VERSION}.db")
    handlers._get_tracking_store = stores.of_request

    @app.route("/emulator/jobs", methods=["POST"])
    def write_jobs() -> dict[str, Any]:
        store = stores.of_request()
        for job in request.get_json():
            store.write_job(job)
        return {}

    @app.route("/emulator/metrics/<run_id>", methods=["GET"])
    def metrics(run_id: str) -> dict[str, Any]:
        try:
            return dict(stores.of_request().get_run(run_id).data.metrics)
        except MlflowException:
            return {}

    make_server(f"unix://{socket}", 0, app, threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
