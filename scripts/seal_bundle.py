"""Seal what goes to production into one immutable document: model, scoring environment and code, settings, data and job, by digest.

Sealing the same content again gives the same bundle. It is kept as a data asset of the workspace, under its own digest.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential

from aml import (
    VERSION,
    azure,
    blobs,
    bundle,
    ci,
    command,
    deployment,
    digest,
    evidence,
    identity,
    jobs,
    metrics,
    project,
    source,
    spec,
    workspace,
)
from aml.azure import Client
from aml.command import Refusal
from aml.gate import Figure

STORE = "workspaceblobstore"


def model_part(client: Client, name: str, version: str) -> dict[str, Any]:
    """The model of the bundle, with the digest that register_model found."""
    found = client.find(f"models/{name}/versions/{version}") if version.isdecimal() else None
    if found is None:
        raise Refusal(f"there is no model {name}:{version} in this workspace", "it was never registered", "register it with register_model")
    known = (found["properties"].get("properties") or {}).get("digest")
    if not known:
        raise Refusal(f"model {name}:{version} has no digest", "it was not registered by register_model", "register it with register_model")
    return {"name": name, "version": version, "type": str(found["properties"]["modelType"]), "digest": known}


def environment_part(client: Client, folder: Path, file: str, described: list[str]) -> dict[str, Any] | None:
    """The environment that the deployment's file names, pinned to the version that register_environment gave it."""
    document = project.open_azure(folder / file)
    if isinstance(document.value.get("environment"), dict):
        why = "it would be built anew in each workspace, without a version to compare"
        raise Refusal(f"{file} describes its environment in itself", why, "keep it in .cloud/environments and name it")
    used = next((use for use in project.uses(document) if use.what == "environment"), None)
    if used is None:
        return None
    ours = {asset.name: asset for asset in (project.asset(folder / path, "environment") for path in described)}
    if used.file:
        name, version = (made := project.asset(used.file, "environment")).name, made.version
    else:
        name, version, _ = project.reference(used.value) or ("", "", "")
        if not version and name in ours:
            version = ours[name].version
    if not version:
        raise Refusal(
            f"{file} names the environment {used.value!r}, which may be another one tomorrow",
            "a bundle pins everything by version and digest",
            "name a file or azureml:<name>:<version>, or list the environment's file under train.environments in .cloud/release.yml",
        )
    found = client.find(f"environments/{name}/versions/{version}")
    if found is None:
        raise Refusal(f"there is no environment {name}:{version} in this workspace", "it was not registered", "run register_environment")
    if not found["properties"].get("image"):
        raise Refusal(
            f"environment {name}:{version} is built from a Docker context",
            "a registry takes such an environment without a digest that could be checked",
            "describe it by image and conda_file",
        )
    return {"name": name, "version": version, "image": found["properties"]["image"], "digest": bundle.definition(found["properties"])}


def job_part(made_by: Mapping[str, Any], name: str, figures: list[Figure]) -> dict[str, Any]:
    """The job of the bundle, with every metric that has one meaning: the job's own value, or the only one among its child runs.

    A figure that is no finite number has no place in JSON and is left out.
    """
    by_name: dict[str, list[Figure]] = {}
    for figure in figures:
        by_name.setdefault(figure.metric, []).append(figure)
    chosen = {}
    for metric, found in by_name.items():
        own = [figure for figure in found if figure.run == name]
        if (own or len(found) == 1) and math.isfinite(value := (own or found)[0].value):
            chosen[metric] = value
    made = {"name": name, "content_key": jobs.content_key(made_by, name), "commit": jobs.commit(made_by), "metrics": chosen}
    return {**made, "submitter": who[:250]} if (who := jobs.submitter(made_by)) else made


def file_parts(folder: Path, release: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files that decide how the model is judged, deployed and tested, with the requests of the smoke cases, and of those
    that protect production."""
    settings = release["deploy"]
    paths = {spec.RELEASE, settings["endpoint"], settings["deployment"], settings["smoke"], *bundle.guards(folder)}
    paths |= {case["request_file"] for case in spec.trusted(folder, settings["smoke"], "smoke")["cases"] if "request_file" in case}
    return {path: digest.of_file(folder / path) for path in sorted(paths)}


def data_part(made_by: Mapping[str, Any]) -> list[dict[str, str]]:
    """The data versions that the job read, as submit_job wrote them on it."""
    named = sorted(set(json.loads(jobs.marks(made_by).get("data") or "[]")))
    return [{"name": name, "version": version} for name, _, version in (reference.partition(":") for reference in named)]


def source_part(folder: Path) -> dict[str, str]:
    """Repository and commit of the project, as git tells them; empty where there is no git."""
    known = source.properties(folder)
    return {"repository": known.get("mlflow.source.git.repoURL", ""), "commit": known.get("commit", "")}


def keep(client: Client, credential: TokenCredential, model: str, document: dict[str, Any]) -> bool:
    """Keep the bundle as a data asset of the workspace; whether it was new."""
    bundle_id = bundle.identify(document)
    name, version = bundle.asset(model, bundle_id)
    path = f"data/{name}/versions/{version}"
    new = client.find(path) is None
    if new:
        blob = f"bundles/{model}/{bundle_id.removeprefix('sha256:')}/{bundle.FILE}"
        blobs.write(blobs.datastore(client, STORE, credential), blob, bundle.canonical(document))
        uri = f"azureml://datastores/{STORE}/paths/{blob}"
        client.put(path, {"properties": {"dataType": "uri_file", "dataUri": uri, "properties": {"bundle_id": bundle_id}}})
    bundle.from_workspace(client, credential, model, bundle_id)
    return new


def seal(folder: Path, name: str, job_name: str, model_version: str, catalog_commit: str, evidence_folder: Path) -> str:
    """Seal the bundle; its id."""
    started = evidence.now()
    at = workspace.load(folder, name)
    release = spec.release(folder)
    model, settings = release["model"]["name"], release["deploy"]
    scoring = deployment.scoring_files(folder, settings["deployment"])
    if scoring:
        deployment.check_syntax(folder / scoring[0] / scoring[1])
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    made_by = jobs.completed(client, job_name)
    mlflow = azure.dataplane(at, credential, client.get()["location"], "mlflow/v2.0")
    document: dict[str, Any] = {
        "form": 1,
        "model": model_part(client, model, model_version),
        "files": file_parts(folder, release),
        "data": data_part(made_by),
        "job": job_part(made_by, job_name, metrics.of_job(client, mlflow, job_name)),
        "source": source_part(folder),
        "catalog": {"version": VERSION, "commit": catalog_commit or source.commit(Path(__file__).parent)},
    }
    if served_in := environment_part(client, folder, settings["deployment"], release["train"]["environments"]):
        document["environment"] = served_in
    if scoring:
        document["code"] = {"path": scoring[0], "digest": digest.of_tree(folder / scoring[0])}
    if problems := bundle.invalid(document) + bundle.unpinned(document):
        raise Refusal("this can't be sealed", "; ".join(problems), "correct what is named, then run this again")
    bundle_id = bundle.identify(document)
    new = keep(client, credential, model, document)
    ci.say(f"{'created' if new else 'unchanged'}  bundle {bundle_id}")
    subject = evidence.about_bundle(model, bundle_id)
    evidence.write(
        evidence_folder,
        evidence.statement(subject, "seal_bundle", "passed", workspace=at.name, started=started, facts={"bundle": document}),
    )
    return bundle_id


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--job-name", required=True, help="Name of the job that made the model.")
    command.argument(made, "--model-version", required=True, help="Version of the model, an output of register_model.")
    command.argument(made, "--catalog-commit", default="", help="Commit of the catalog, where its scripts are in no git repository.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and seal the bundle."""
    given = parser().parse_args(argv)
    ci.output("bundle_id", seal(given.project, given.workspace, given.job_name, given.model_version, given.catalog_commit, given.evidence))
    return 0


if __name__ == "__main__":
    command.run(main)
