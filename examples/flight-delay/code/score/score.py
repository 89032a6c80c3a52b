"""Answers how likely flights are to arrive late.

A request is `{"input_data": [{"carrier": "UA", "origin": "EWR", ...}, ...]}`, or the table form of Azure ML's own serving of MLflow models,
`{"input_data": {"columns": [...], "data": [[...], ...]}}`. The answer is `{"probability_late": [0.23, ...]}`, one for each flight in order.
What a flight must have comes from the model's signature; a request that lacks it gets a 400 that says all that is wrong with it.
(A managed endpoint passes the answer on with the status 424 and this one in the header ms-azureml-model-error-statuscode:
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes)
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import skops.io
import yaml
from azureml_inference_server_http.api.aml_response import AMLResponse
from sklearn.pipeline import Pipeline

# Named here and not taken from the model's own list: a model must not say itself what to trust. See code/train/train.py.
TRUSTED_TYPES = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]
MAX_FLIGHTS = 1000
# What can be true of a flight and its weather, in the data's units: hhmm local time, degrees Fahrenheit, percent, miles an hour, inches,
# millibars, miles.
RANGES = {
    "weekday": (1, 7),
    "sched_dep_time": (0, 2400),
    "sched_arr_time": (0, 2400),
    "temp": (-60, 130),
    "humid": (0, 100),
    "wind_speed": (0, 200),
    "precip": (0, 20),
    "pressure": (870, 1085),
    "visib": (0, 100),
}
CLOCK = ("sched_dep_time", "sched_arr_time")


class BadRequestError(Exception):
    """A request that cannot be answered; the message is for its sender."""


class Model(NamedTuple):
    """A trained pipeline, its columns with their MLflow types, and the values that it knows of each category."""

    pipeline: Pipeline
    columns: dict[str, str]
    categories: dict[str, list[str]]


def find_model(folder: Path) -> Path:
    """The folder of the one MLflow model at or below a folder. How deep it is depends on how the model was registered."""
    found = sorted(file.parent for file in folder.rglob("MLmodel"))
    if len(found) != 1:
        places = ", ".join(map(str, found)) or "no file named MLmodel"
        raise FileNotFoundError(f"Expected one MLflow model in {folder}, found {len(found)}: {places}")
    return found[0]


def load(folder: Path) -> Model:
    """Opens an MLflow model without importing mlflow: that alone would double the start-up, and serving needs nothing else of it."""
    about = yaml.safe_load((folder / "MLmodel").read_text())
    pipeline = skops.io.load(folder / about["flavors"]["sklearn"]["pickled_model"], trusted=TRUSTED_TYPES)
    columns = {column["name"]: column["type"] for column in json.loads(about["signature"]["inputs"])}
    model = Model(pipeline, columns, about["metadata"]["categories"])
    example = json.loads((folder / about["saved_input_example_info"]["artifact_path"]).read_text())
    # A model that cannot answer must not become ready.
    predict(model, [dict(zip(example["columns"], row, strict=True)) for row in example["data"]])
    return model


def read_flights(request: str) -> list[Any]:
    """The flights of a request's text; BadRequestError if it holds none."""
    try:
        body = json.loads(request)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The request is not JSON: {error}") from None
    flights = body.get("input_data") if isinstance(body, dict) else None
    if isinstance(flights, dict) and isinstance(flights.get("columns"), list) and isinstance(flights.get("data"), list):
        columns, rows = flights["columns"], flights["data"]
        if not all(isinstance(column, str) for column in columns):
            raise BadRequestError("input_data.columns must be the names of columns.")
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(columns):
                raise BadRequestError(f"Row {number} of input_data.data must be a list of {len(columns)} values, one for each column.")
        flights = [dict(zip(columns, row, strict=True)) for row in rows]
    if not isinstance(flights, list):
        forms = '{"input_data": [...]} with a list of flights, or {"input_data": {"columns": [...], "data": [[...], ...]}}'
        raise BadRequestError(f"The request must be {forms}.")
    if not 1 <= len(flights) <= MAX_FLIGHTS:
        raise BadRequestError(f"input_data must hold 1 to {MAX_FLIGHTS} flights, not {len(flights)}.")
    return flights


def shown(value: Any) -> str:
    """A value as JSON, cut to a length that a message bears."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def problem(model: Model, column: str, value: Any) -> str | None:
    """What is wrong with a value, or None. A weather reading may be null, as stations do fail; nothing else may."""
    kind = model.columns[column]
    if kind == "string":
        known = model.categories.get(column, [])
        some = ", ".join(known if len(known) <= 3 else [*known[:3], "..."])
        return None if value in known else f"{column} must be one of the {len(known)} that the model knows ({some}), not {shown(value)}"
    if kind == "double" and value is None:
        return None
    whole = kind in ("integer", "long")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value != value:
        return f"{column} must be {'a whole number' if whole else 'a number or null'}, not {shown(value)}"
    low, high = RANGES.get(column, (-math.inf, math.inf))
    if not low <= value <= high or (column in CLOCK and value % 100 > 59):
        return f"{column} must be {'a time from 0 to 2400 as hhmm' if column in CLOCK else f'from {low} to {high}'}, not {shown(value)}"
    return None


def check(model: Model, flights: list[Any]) -> None:
    """Raises BadRequestError with all that is wrong with the flights, up to ten problems."""
    found = []
    for number, flight in enumerate(flights):
        if not isinstance(flight, dict):
            found.append(f"flight {number}: must be an object with the columns {', '.join(model.columns)}")
            continue
        if missing := [column for column in model.columns if column not in flight]:
            found.append(f"flight {number}: {', '.join(missing)} missing")
        found += [f"flight {number}: {shown(column)} is not a column of the model" for column in flight if column not in model.columns]
        there = [column for column in model.columns if column in flight]
        found += [f"flight {number}: {text}" for column in there if (text := problem(model, column, flight[column]))]
    if found:
        raise BadRequestError("; ".join(found[:10]) + (f"; and {len(found) - 10} more" if len(found) > 10 else ""))


def predict(model: Model, flights: list[dict[str, Any]]) -> list[float]:
    """The probability of being late, flight by flight."""
    table = pd.DataFrame(flights, columns=list(model.columns))
    numbers = [column for column, kind in model.columns.items() if kind != "string"]
    table[numbers] = table[numbers].astype("float64")
    return [round(float(value), 6) for value in model.pipeline.predict_proba(table)[:, 1]]


def init() -> None:
    """Loads the model, once, when the server starts."""
    global model
    model = load(find_model(Path(os.environ["AZUREML_MODEL_DIR"])))


def run(request: str) -> dict[str, list[float]] | AMLResponse:
    """Answers one request; called by the inference server with the body's text."""
    try:
        flights = read_flights(request)
        check(model, flights)
    except BadRequestError as refused:
        return AMLResponse({"error": str(refused)}, 400, json_str=True)
    return {"probability_late": predict(model, flights)}
