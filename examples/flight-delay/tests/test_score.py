from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import score
import yaml

FLIGHT = {"carrier": "DL", "origin": "JFK", "dest": "SEA", "weekday": 7, "sched_dep_time": 745, "sched_arr_time": 1058}
FLIGHT |= {"temp": 53.1, "humid": 89.3, "wind_speed": 4.6, "precip": 0, "pressure": 1023.4, "visib": 8.0}


@pytest.fixture(scope="module")
def client(model_folder: Path, project: Path) -> Iterator[Any]:
    """Azure ML's inference server with the scoring script, in this process: everything but the socket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZUREML_MODEL_DIR", str(model_folder.parent))
        patch.setenv("AML_APP_ROOT", str(project / "code" / "score"))
        patch.setenv("AZUREML_ENTRY_SCRIPT", "score.py")
        from azureml_inference_server_http.server.create_app import create

        app = create()
        app.azml_blueprint.setup()
        yield app.test_client()


def ask(client: Any, body: Any) -> tuple[int, Any]:
    answer = client.post("/score", data=body if isinstance(body, (str, bytes)) else json.dumps(body), content_type="application/json")
    return answer.status_code, answer.get_json()


def test_the_answers_are_the_models(client: Any, trained: Any, prepared: Path) -> None:
    flights = pd.read_parquet(prepared / "test" / "flights.parquet").drop(columns="late").head(100)
    rows = json.loads(flights.to_json(orient="records", double_precision=15))
    status, answer = ask(client, {"input_data": rows})
    assert status == 200
    assert answer["probability_late"] == pytest.approx(trained.predict_proba(flights)[:, 1], abs=1e-6)


def test_both_forms_of_a_request_get_the_same_answer(client: Any) -> None:
    table = {"columns": list(FLIGHT), "data": [list(FLIGHT.values())]}
    assert ask(client, {"input_data": table}) == ask(client, {"input_data": [FLIGHT]})


def test_the_order_of_columns_does_not_matter(client: Any) -> None:
    assert ask(client, {"input_data": [dict(reversed(FLIGHT.items()))]}) == ask(client, {"input_data": [FLIGHT]})


def test_a_weather_reading_may_be_missing(client: Any) -> None:
    status, answer = ask(client, {"input_data": [{**FLIGHT, "pressure": None, "visib": None}]})
    assert status == 200
    assert 0 < answer["probability_late"][0] < 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"not json", "not JSON"),
        ([], "must be"),
        ({}, "must be"),
        ({"data": [1]}, "must be"),
        ({"input_data": "x"}, "must be"),
        ({"input_data": {"columns": ["carrier"]}}, "must be"),
        ({"input_data": []}, "1 to 1000 flights, not 0"),
        ({"input_data": [FLIGHT] * 1001}, "not 1001"),
        ({"input_data": {"columns": ["carrier", "dest"], "data": [["DL"]]}}, "Row 0 of input_data.data must be a list of 2"),
        ({"input_data": {"columns": ["carrier", "dest"], "data": ["DL"]}}, "Row 0 of input_data.data must be a list of 2"),
        ({"input_data": {"columns": [["carrier"]], "data": [["DL"]]}}, "must be the names of columns"),
        ({"input_data": [7]}, "flight 0: must be an object"),
        ({"input_data": [FLIGHT, {}]}, "flight 1: carrier, origin, dest"),
        ({"input_data": [{**FLIGHT, "dep_delay": 3}]}, '"dep_delay" is not a column'),
        ({"input_data": [{**FLIGHT, "weekday": 0}]}, "weekday must be from 1 to 7, not 0"),
        ({"input_data": [{**FLIGHT, "weekday": 1.5}]}, "weekday must be a whole number, not 1.5"),
        ({"input_data": [{**FLIGHT, "weekday": True}]}, "weekday must be a whole number, not true"),
        ({"input_data": [{**FLIGHT, "weekday": None}]}, "weekday must be a whole number, not null"),
        ({"input_data": [{**FLIGHT, "weekday": 10**400}]}, "weekday must be"),
        ({"input_data": [{**FLIGHT, "sched_dep_time": 860}]}, "sched_dep_time must be a time"),
        ({"input_data": [{**FLIGHT, "temp": "warm"}]}, 'temp must be a number or null, not "warm"'),
        ('{"input_data": ' + "[" * 5000 + "]" * 5000 + "}", "not JSON"),
        ({"input_data": [{**FLIGHT, "temp": float("inf")}]}, "temp must be from -60 to 130, not Infinity"),
        ({"input_data": [{**FLIGHT, "temp": 451}]}, "temp must be from -60 to 130, not 451"),
        (json.dumps({"input_data": [{**FLIGHT, "temp": float("nan")}]}), "temp must be a number or null, not NaN"),
        ({"input_data": [{**FLIGHT, "origin": "LHR"}]}, 'origin must be one of the 3 that the model knows (EWR, JFK, LGA), not "LHR"'),
        ({"input_data": [{**FLIGHT, "dest": ["SEA"]}]}, "dest must be one of"),
        ({"input_data": [{}] * 12}, "and 2 more"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_its_reason(client: Any, body: Any, says: str) -> None:
    status, answer = ask(client, body)
    assert status == 400
    assert says in answer["error"]
    assert len(answer["error"]) < 2000


def test_the_smoke_cases_get_their_status(client: Any, project: Path) -> None:
    """Their figures belong to the real model; what is accepted and refused does not depend on it. An endpoint makes a 424 of a 400."""
    for case in yaml.safe_load((project / "tests" / "smoke" / "cases.yml").read_text())["cases"]:
        body = case["request"] if "request" in case else json.loads((project / case["request_file"]).read_text())
        status, answer = ask(client, body)
        assert (case["name"], status) == (case["name"], {200: 200, 424: 400}[case["expect"]["status"]])
        assert case["expect"].get("contains", "") in json.dumps(answer)


def test_the_ranges_hold_for_all_the_data(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    import prepare

    table = prepare.with_weather(prepare.with_label(flights, 15), weather, 1)
    for column, (low, high) in score.RANGES.items():
        assert table[column].dropna().between(low, high).all(), column


@pytest.mark.parametrize("below", ["", "flight-delay", "flight-delay/model", "INPUT_model_path/1/artifacts"])
def test_the_model_is_found_however_deep_it_lies(model_folder: Path, tmp_path: Path, below: str) -> None:
    shutil.copytree(model_folder, tmp_path / "models" / below, dirs_exist_ok=True)
    assert score.find_model(tmp_path / "models") == tmp_path / "models" / below


def test_no_model_and_two_models_stop_the_start(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found 0"):
        score.find_model(tmp_path)
    for name in ("one", "two"):
        shutil.copytree(model_folder, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="found 2"):
        score.find_model(tmp_path)


def test_a_model_that_holds_other_code_is_not_opened(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "TRUSTED_TYPES", [])
    with pytest.raises(Exception, match="Untrusted types"):
        score.load(model_folder)


def test_a_model_that_cannot_answer_does_not_become_ready(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    about = yaml.safe_load((tmp_path / "model" / "MLmodel").read_text())
    about["signature"]["inputs"] = json.dumps([column for column in json.loads(about["signature"]["inputs"]) if column["name"] != "temp"])
    (tmp_path / "model" / "MLmodel").write_text(yaml.safe_dump(about))
    with pytest.raises(ValueError, match="temp"):
        score.load(tmp_path / "model")
