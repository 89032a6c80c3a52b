"""Register the model that a job made, with the digest of its files and where it came from.

The files stay where the job wrote them and are only read through for their digest. A version with the same digest is used again;
another model gets the next number. Where the workspace spec has `signing`, the model is signed in the OpenSSF's format for models.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError

from aml import azure, blobs, ci, command, digest, evidence, identity, jobs, model_signature, registry, signing, spec, workspace
from aml.command import Refusal

# How run history names the types of outputs that hold models.
# Source: azure/ai/ml/operations/_job_ops_helper.py, get_job_output_uris_from_dataplane
_MODELS = ("CustomModel", "MLFlowModel", "TritonModel")


def output_uri(at: workspace.Workspace, credential: Any, location: str, name: str, output: str) -> str:
    """Where an output of a job is stored: azureml://.../datastores/<name>/paths/<path>."""
    history = azure.dataplane(at, credential, location, "history/v1.0")
    run = history.post("rundata", {"runId": name, "selectRunMetadata": True})["runMetadata"]
    outputs = run.get("outputs") or {}
    if output not in outputs:
        raise Refusal(
            f"job {name} has no output {output}",
            f"it has {', '.join(sorted(outputs)) or 'none'}",
            "declare the output in the job's YAML, or correct model.output in .cloud/release.yml",
        )
    asset, is_model = outputs[output]["assetId"], outputs[output].get("type") in _MODELS
    service, path, field = ("modelregistry/v1.0", "models", "path") if is_model else ("data/v1.0", "dataversion", "uri")
    found = azure.dataplane(at, credential, location, service).post(f"{path}/batchGetResolvedUris", {"values": [asset]})
    return str(found["values"][asset][field])


def lineage(made_by: dict[str, Any], name: str, found: str) -> dict[str, str]:
    """The properties that say for good what a version is and where it came from."""
    marks = jobs.marks(made_by)
    known = {"digest": found, "job_name": name, "content_key": jobs.content_key(made_by, name), "commit": jobs.commit(made_by)}
    return {key: value for key, value in {**known, "data": marks.get("data", "")}.items() if value}


def same(client: azure.Client, model: str, found: str) -> str | None:
    """The version of a model that already has these files, or None."""
    for version in client.list(f"models/{model}/versions"):
        if (version["properties"].get("properties") or {}).get("digest") == found:
            return str(version["name"])
    return None


def following(holders: Sequence[azure.Client], model: str) -> str:
    """The next number that is free wherever the model will be kept: in the workspace, and in the registry that it may be shared to.

    A number that was deleted is not given again, so Azure's own count (nextVersion) matters beside the versions that are there.
    """
    highest = 0
    for client in holders:
        if container := client.find(f"models/{model}"):
            counted = str(container["properties"].get("nextVersion") or "")
            known = [str(version["name"]) for version in client.list(f"models/{model}/versions")]
            highest = max([highest, int(counted) - 1 if counted.isdecimal() else 0, *(int(name) for name in known if name.isdecimal())])
    return str(highest + 1)


def create(client: azure.Client, model: str, version: str, properties: dict[str, Any]) -> None:
    """Create a version, and check that it is the one now there: somebody else may have taken the number at the same moment."""
    wanted = properties["properties"]["digest"]
    try:
        client.put(f"models/{model}/versions/{version}", {"properties": properties})
    except HttpResponseError as error:
        if error.status_code not in (400, 409):
            raise
        there = client.find(f"models/{model}/versions/{version}")
        if there is None:
            raise
    else:
        there = client.get(f"models/{model}/versions/{version}")
    has = (there["properties"].get("properties") or {}).get("digest")
    if has != wanted:
        raise Refusal(
            f"model {model} has a version {version} with other files ({has or 'no digest'}, not {wanted})",
            "a version is never changed",
            "run this again: it takes the next number",
        )


def register(project: Path, name: str, job_name: str, folder: Path) -> tuple[str, str]:
    """Register the job's model; (name, version)."""
    started = evidence.now()
    at = workspace.load(project, name)
    wanted = spec.release(project)["model"]
    model = wanted["name"]
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    made_by = jobs.completed(client, job_name)
    key = jobs.content_key(made_by, job_name)
    uri = output_uri(at, credential, client.get()["location"], job_name, wanted["output"])
    datastore, path = blobs.place(uri)
    files = blobs.files(blobs.datastore(client, datastore, credential), path)
    if wanted["type"] == "mlflow_model" and "MLmodel" not in files:
        raise Refusal(
            f"output {wanted['output']} of job {job_name} is no MLflow model",
            f"there is no MLmodel among its {len(files)} files",
            "save it with mlflow.<flavor>.save_model, or set model.type to custom_model",
        )
    found = digest.of_files(files)
    version = same(client, model, found)
    if version:
        ci.say(f"unchanged  model {model}:{version} ({found}, {len(files)} files)")
    else:
        holders = [client, *([registry.connect(at, credential).client] if at.registry_name else [])]
        version = following(holders, model)
        create(
            client,
            model,
            version,
            {
                "modelUri": f"azureml://jobs/{job_name}/outputs/{wanted['output']}/paths/",
                "modelType": wanted["type"],
                "jobName": job_name,
                "properties": lineage(made_by, job_name, found),
            },
        )
        ci.say(f"created  model {model}:{version} ({found}, {len(files)} files)")
    if at.signing:
        new = model_signature.keep(client, credential, model, version, files, signing.signer(at, credential))
        ci.say(f"{'created' if new else 'unchanged'}  signature of model {model}:{version}")
    facts = {"model": model, "version": version, "digest": found, "files": files}
    evidence.write(
        folder,
        evidence.statement(evidence.about_job(job_name, key), "register_model", "passed", workspace=at.name, started=started, facts=facts),
    )
    return model, version


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--job-name", required=True, help="Name of the job that made the model.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and register the model."""
    given = parser().parse_args(argv)
    model, version = register(given.project, given.workspace, given.job_name, given.evidence)
    ci.output("model_name", model)
    ci.output("model_version", version)
    return 0


if __name__ == "__main__":
    command.run(main)
