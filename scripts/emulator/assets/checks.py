"""What the body of an asset's version may hold."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from emulator.assets.models import Kind
from emulator.errors import AzureError, bad_request

Document = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9_][\w.-]{0,254}")

DATA_TYPES = ("uri_file", "uri_folder", "mltable")

MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")


def checked(kind: Kind, name: str, version: str, body: Any) -> Document:
    """The properties of a request body, without what is null; 400 names the property that cannot be."""
    properties = {key: value for key, value in needed_object(body, "properties").items() if value is not None}
    if not NAME.fullmatch(name):
        raise bad_name(kind, name)
    if not re.fullmatch(r"[\w.-]{1,255}", version):
        raise bad_request(
            "version", f"The version '{version}' of {kind.name} '{name}' is invalid: letters, digits, '-', '_' and '.' are allowed."
        )
    for needed in kind.needed:
        if not properties.get(needed):
            raise bad_request(f"properties.{needed}", f"The property '{needed}' is required for a {kind.name} version.")
    for field in ("tags", "properties"):
        values = properties.get(field, {})
        if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
            raise bad_request(f"properties.{field}", f"The property '{field}' must be an object whose values are strings.")
        if field in properties:
            properties[field] = {key: _text(value) for key, value in values.items()}
    for field in ("isArchived", "isAnonymous"):
        if not isinstance(properties.get(field, False), bool):
            raise bad_request(f"properties.{field}", f"The property '{field}' must be true or false.")
    if kind.uri and not isinstance(properties[kind.uri], str):
        raise bad_request(f"properties.{kind.uri}", f"The property '{kind.uri}' must be a string.")
    if kind.name == "data" and properties["dataType"] not in DATA_TYPES:
        raise bad_request("properties.dataType", f"'{properties['dataType']}' is not a data type; it is one of {', '.join(DATA_TYPES)}.")
    if kind.name == "model" and properties.get("modelType", "custom_model") not in MODEL_TYPES:
        raise bad_request(
            "properties.modelType", f"'{properties['modelType']}' is not a model type; it is one of {', '.join(MODEL_TYPES)}."
        )
    if kind.name == "component" and not isinstance(properties["componentSpec"], dict):
        raise bad_request("properties.componentSpec", "The property 'componentSpec' must be an object.")
    if kind.name == "environment":
        _check_environment(properties)
    return properties


def _check_environment(properties: Document) -> None:
    image, build, conda = properties.get("image"), properties.get("build"), properties.get("condaFile")
    if not image and not build:
        raise bad_request("properties.image", "An environment needs either 'image' or 'build'.")
    if image and build:
        raise bad_request("properties.build", "An environment has either 'image' or 'build', not both.")
    if build and not (isinstance(build, dict) and build.get("contextUri")):
        raise bad_request("properties.build.contextUri", "The property 'contextUri' is required for a build context.")
    if conda is not None:
        try:
            parsed = yaml.safe_load(conda) if isinstance(conda, str) else None
        except yaml.YAMLError as error:
            raise bad_request("properties.condaFile", f"The conda file is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(parsed, dict):
            raise bad_request("properties.condaFile", "The conda file must be a YAML mapping with 'dependencies'.")


def plain(value: Any) -> Any:
    """For comparison: without what is null, and with the Dockerfile that a build context has by default."""
    if isinstance(value, dict):
        value = {key: plain(one) for key, one in value.items() if one is not None}
        return {"dockerfilePath": "Dockerfile", **value} if "contextUri" in value else value
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.rstrip("/") if isinstance(value, str) and "://" in value else value


def needed_object(body: Any, name: str) -> Document:
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise bad_request(name, f"The property '{name}' is required and must be an object.")
    return found


def bad_name(kind: Kind, name: str) -> AzureError:
    return bad_request(
        "name",
        f"The {kind.name} name '{name}' is invalid: letters, digits, '-', '_' and '.', at most 255, starting with a letter or digit.",
    )


def _text(value: Any) -> Any:
    """A scalar as the text that the service keeps of it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
