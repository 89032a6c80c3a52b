"""MLflow models without a scoring script: environment and script are made from the model."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from emulator.online import nocode

NAME = "nocode"


def test_packages_are_added_only_where_they_are_not_named() -> None:
    conda = "channels: [conda-forge]\ndependencies:\n- python=3.11\n- numpy\n- pip:\n  - mlflow==3.1\n  - Azureml_Inference-server.http\n"
    once = yaml.safe_load(nocode.with_packages(conda, ["azureml-inference-server-http", "mlflow-skinny"]))
    assert once["channels"] == ["conda-forge"]
    assert once["dependencies"][-1] == {"pip": ["mlflow==3.1", "Azureml_Inference-server.http", "azureml-inference-server-http"]}
    again = nocode.with_packages(yaml.safe_dump(once), ["azureml-inference-server-http", "mlflow-skinny"])
    assert yaml.safe_load(again) == once
    assert yaml.safe_load(nocode.with_packages("dependencies: [python]", ["a"]))["dependencies"] == ["python", {"pip": ["a"]}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A pyfunc model with a signature and a parameter, as MLflow itself saves it: its text files, and the pickle that is one."""
    import mlflow
    import pandas
    from mlflow.models import infer_signature

    folder = tmp_path_factory.mktemp("mlflow") / "model"
    script = folder.parent / "adder.py"
    script.write_text(
        "import mlflow\n\n\n"
        "class Adder(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return model_input['a'] + model_input['b'] + (params or {}).get('bias', 0.0)\n\n\n"
        "mlflow.models.set_model(Adder())\n"
    )
    table = pandas.DataFrame({"a": [1.0], "b": [2.0]})
    signature = infer_signature(table, [3.0], params={"bias": 0.0})
    mlflow.pyfunc.save_model(folder, python_model=str(script), signature=signature, pip_requirements=["mlflow-skinny", "pandas", "numpy"])
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"}


def test_an_mlflow_model_serves_without_a_script(site: Any, model: dict[str, str]) -> None:
    site.endpoint(NAME)
    asset = site.asset("models", {"modelType": "mlflow_model"}, model, folder="model")
    body = site.body(codeConfiguration=None, environmentId=None, model=asset)
    assert site.deploy(NAME, "blue", body)["status"] == "Succeeded", site.logs(NAME, "blue")
    key = site.key(NAME)
    table = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}
    assert site.score(NAME, {"input_data": table}, key, "blue").json() == [3.0, 7.0]
    assert site.score(NAME, {"input_data": table, "params": {"bias": 0.5}}, key, "blue").json() == [3.5, 7.5]
    assert site.score(NAME, {"input_data": {"columns": ["b", "a"], "index": [0], "data": [[1, 2]]}}, key, "blue").json() == [3.0]
    for wrong in ({"dataframe_split": table}, {"input_data": {"columns": ["a"], "index": [0], "data": [[1]]}}, {"input_data": "?"}, [1]):
        answer = site.score(NAME, wrong, key, "blue")
        assert answer.status_code == 424, (wrong, answer.text)
        assert answer.headers["ms-azureml-model-error-statuscode"] in ("400", "500")
    schema = site.score(NAME, None, key, "blue", path="swagger.json").json()
    assert "input_data" in str(schema)
    site.remove(NAME)


def test_a_model_that_is_no_pyfunc_is_refused(site: Any) -> None:
    site.endpoint(NAME)
    for name, files in (("no-mlmodel", {"model.pkl": ""}), ("no-pyfunc", {"MLmodel": "flavors: {sklearn: {}}"})):
        asset = site.asset("models", {"modelType": "mlflow_model"}, files, folder="model")
        error = site.deploy(NAME, name, site.body(codeConfiguration=None, environmentId=None, model=asset))["error"]
        assert error["code"] == "BadArgument", error
    site.remove(NAME)
