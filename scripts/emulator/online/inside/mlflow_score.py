"""Scores an MLflow model that was deployed without a script. Run by the inference server, in the environment of the model.

The contract is Azure's: a JSON object with ``input_data`` (columns, index and data; tensors by name; or a nested list) and, for
models that take them, ``params``; the answer is what the model predicted, tables as a list of records
(https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models#models-deployed-in-azure-machine-learning-vs-models-deployed-in-the-mlflow-built-in-server).
"""

import inspect
import json
import logging
import os

import mlflow.pyfunc
import numpy as np
import pandas as pd
from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema
from mlflow.models import Model

log = logging.getLogger(__name__)
FOLDER = os.path.join(os.environ["AZUREML_MODEL_DIR"], os.environ["MLFLOW_MODEL_FOLDER"])


class Anything(AbstractParameterType):
    """A parameter of which no example is known: it passes as it is."""

    def __init__(self):
        super().__init__(None)

    def deserialize_input(self, input_data):
        return input_data

    def input_to_swagger(self):
        return {"type": "object", "example": {}}


def sample(schema):
    """A value of the schema's form: an empty table with typed columns, or zeros of the tensor's shape."""
    if schema is None:
        return None
    if schema.is_tensor_spec():
        zeros = {spec.name: np.zeros([1 if size == -1 else size for size in spec.shape], dtype=spec.type) for spec in schema.inputs}
        return zeros if schema.has_input_names() else next(iter(zeros.values()))
    if not schema.has_input_names():
        return None
    frame = pd.DataFrame(columns=schema.input_names())
    return frame.astype(dict(zip(schema.input_names(), schema.pandas_types(), strict=True)))


def parameter(example, orient):
    if isinstance(example, pd.DataFrame):
        return PandasParameterType(example, enforce_shape=False, orient=orient)
    if isinstance(example, np.ndarray):
        return NumpyParameterType(example, enforce_shape=False)
    if isinstance(example, dict) and example:
        return StandardPythonParameterType({name: NumpyParameterType(value, enforce_shape=False) for name, value in example.items()})
    return Anything()


def sample_params(signature):
    listed = getattr(signature, "params", None)
    return {one.name: one.default for one in listed.params} if listed else None


signature = Model.load(FOLDER).signature
try:
    given, answered = sample(signature.inputs if signature else None), sample(signature.outputs if signature else None)
except Exception as problem:  # a signature that has no example only costs the swagger its types
    log.warning("No example could be made from the model's signature: %s", problem)
    given = answered = None
params_example = sample_params(signature) if signature else None
model = mlflow.pyfunc.load_model(FOLDER)
TAKES_PARAMS = "params" in inspect.signature(model.predict).parameters


def init():
    log.info("The MLflow model is loaded from %s", FOLDER)


@input_schema("input_data", parameter(given, "split"))
@input_schema("params", StandardPythonParameterType(params_example) if params_example else Anything(), optional=True)
@output_schema(parameter(answered, "records"))
def run(input_data, params=None):
    data = table_or_tensor(input_data)
    predicted = model.predict(data, params=params) if TAKES_PARAMS and params else model.predict(data)
    return plain(predicted)


def table_or_tensor(data):
    """What the model is called with, where the schema left the input as it came."""
    data = json.loads(data) if isinstance(data, str) else data
    if isinstance(data, list):
        return np.asarray(data)
    if isinstance(data, dict) and {"columns", "data"} <= set(data):
        return pd.DataFrame(data["data"], columns=data["columns"], index=data.get("index"))
    if isinstance(data, dict):
        return {name: np.asarray(value) for name, value in data.items()}
    return data


def plain(predicted):
    """What JSON can say."""
    if isinstance(predicted, pd.DataFrame):
        return json.loads(predicted.to_json(orient="records"))
    if isinstance(predicted, pd.Series):
        return json.loads(predicted.to_json(orient="values"))
    if isinstance(predicted, np.ndarray):
        return predicted.tolist()
    if isinstance(predicted, dict):
        return {name: plain(value) for name, value in predicted.items()}
    return predicted.item() if isinstance(predicted, np.generic) else predicted
