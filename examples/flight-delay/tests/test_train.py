from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import train
import yaml


def test_training_twice_gives_the_same_model(trained: Any, prepared: Path) -> None:
    table = pd.read_parquet(prepared / "train" / "flights.parquet")
    flights = table.drop(columns="late")
    again = train.build(seed=0, max_iter=20, min_samples_leaf=50).fit(flights, table["late"])
    assert (again.predict_proba(flights) == trained.predict_proba(flights)).all()


def test_the_model_learned_something(trained: Any, prepared: Path) -> None:
    table = pd.read_parquet(prepared / "train" / "flights.parquet")
    metrics = train.fit_metrics(trained, table.drop(columns="late"), table["late"])
    assert metrics["train_roc_auc"] > 0.7
    assert metrics["train_flights"] == len(table)


def test_a_carrier_never_seen_counts_as_missing(trained: Any, prepared: Path) -> None:
    flights = pd.read_parquet(prepared / "test" / "flights.parquet").drop(columns="late").head(1)
    unknown, missing = flights.assign(carrier="ZZ"), flights.assign(carrier=None)
    assert (trained.predict_proba(unknown) == trained.predict_proba(missing)).all()


def test_the_saved_model_says_what_it_takes_and_knows(model_folder: Path, prepared: Path) -> None:
    about = yaml.safe_load((model_folder / "MLmodel").read_text())
    columns = {column["name"]: column["type"] for column in json.loads(about["signature"]["inputs"])}
    assert list(columns) == list(pd.read_parquet(prepared / "train" / "flights.parquet").drop(columns="late").columns)
    assert (columns["carrier"], columns["weekday"], columns["temp"]) == ("string", "integer", "double")
    assert about["metadata"]["categories"]["origin"] == ["EWR", "JFK", "LGA"]


def test_the_saved_model_opens_with_mlflow_and_answers_the_same(model_folder: Path, trained: Any, prepared: Path) -> None:
    flights = pd.read_parquet(prepared / "test" / "flights.parquet").drop(columns="late").head(50)
    flavour, generic = mlflow.sklearn.load_model(str(model_folder)), mlflow.pyfunc.load_model(str(model_folder))
    expected = trained.predict_proba(flights)
    assert (flavour.predict_proba(flights) == expected).all()
    assert (generic.predict(flights) == expected).all()


def test_the_model_is_written_without_pickle(model_folder: Path) -> None:
    assert not [file.name for file in model_folder.rglob("*") if file.suffix in (".pkl", ".pickle", ".joblib")]


def test_the_whole_script_logs_and_writes(prepared: Path, tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train.py", "--train", prepared / "train", "--model", tmp_path / "model", "--max-iter", "3", "--learning-rate", "0.5"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    train.main()
    run = mlflow.MlflowClient(tracking).search_runs(["0"])[0].data
    assert (run.params["max_iter"], run.params["learning_rate"]) == ("3", "0.5")
    assert set(run.metrics) == {"train_flights", "train_log_loss", "train_roc_auc"}
    assert (tmp_path / "model" / "MLmodel").is_file()
