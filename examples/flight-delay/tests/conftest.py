"""What the tests share: the steps' scripts as modules, a week of real flights, and a small model trained on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

PROJECT = Path(__file__).parent.parent
sys.dont_write_bytecode = True  # what lies in code/ is uploaded
sys.path[:0] = [str(PROJECT / "code" / step) for step in ("prepare", "train", "evaluate", "score")]


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    return pd.read_parquet(PROJECT / "data" / "flights" / "flights.parquet")


@pytest.fixture(scope="session")
def weather() -> pd.DataFrame:
    return pd.read_parquet(PROJECT / "data" / "flights" / "weather.parquet")


@pytest.fixture(scope="session")
def prepared(flights: pd.DataFrame, weather: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and test/: four weeks of July in which much went wrong, the last of them held out."""
    import prepare

    folder = tmp_path_factory.mktemp("prepared")
    july = flights[(flights["month"] == 7) & (flights["day"] <= 28)]
    train, test = prepare.split(prepare.with_weather(prepare.with_label(july, 15), weather, 1), "2013-07-22")
    prepare.write(train, folder / "train")
    prepare.write(test, folder / "test")
    return folder


@pytest.fixture(scope="session")
def trained(prepared: Path) -> Any:
    """A small pipeline fitted on the training part."""
    import train

    table = pd.read_parquet(prepared / "train" / "flights.parquet")
    return train.build(seed=0, max_iter=20, min_samples_leaf=50).fit(table.drop(columns="late"), table["late"])


@pytest.fixture(scope="session")
def model_folder(trained: Any, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline as an MLflow model."""
    import train

    folder = tmp_path_factory.mktemp("models") / "flight-delay"
    train.save(trained, pd.read_parquet(prepared / "train" / "flights.parquet").drop(columns="late"), folder)
    return folder


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow writes to a folder of this test alone; gives its address."""
    address = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the light MLflow of the steps has no other place to write to
    return address
