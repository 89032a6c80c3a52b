"""Deploy a bundle beside what is live, without traffic: the endpoint if it is missing, and a deployment named after its content.

The same content has the same name, so a second run finds it. What is live keeps its traffic. In production only what verify_approval has
passed in the same job is deployed. A deployment that fails shows its logs, has them kept with the evidence, and is deleted, so that it
holds no quota and the next run starts clean.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError

from aml import approval, azure, bundle, ci, command, deployment, digest, endpoint, evidence, identity, registry, spec, workspace
from aml.azure import Client
from aml.command import Refusal
from aml.loading import sdk
from aml.logs import Logs
from aml.quota import Quota
from aml.workspace import Workspace

SHOWN_LINES = 25  # of each log, when a deployment failed
FILE = "endpoint_file"  # tag of an endpoint: digest of the file that it was last brought up to date with
COUNT = "instance_count"  # tag: the count that was asked for, so that what autoscaling made of it is left alone


def ensure_endpoint(client: Client, at: Workspace, name: str, file: str, location: str) -> None:
    """Create the endpoint if it is missing; bring over what its file says if the file has changed since; keep all the rest."""
    found = endpoint.find(client, name)
    said = digest.of_file(at.project / file)
    broken = found is not None and endpoint.broken(found)
    if found is None or (broken and not (endpoint.traffic(found) or endpoint.mirrored(found) or endpoint.deployments(client, name))):
        body = endpoint_body(at, name, file, location)
        body["tags"] = {**(body.get("tags") or {}), FILE: said}
        try:
            azure.retrying(lambda: client.put(f"onlineEndpoints/{name}", body))
        except HttpResponseError as error:
            if "unique within the region" not in str(error) and "unique within a region" not in str(error):
                raise
            raise Refusal(
                f"the endpoint name {name} is taken in {location}",
                "names are unique in a region, and another workspace has this one",
                f"set another endpoint_name in .cloud/workspaces/{at.name}.yml",
            ) from None
        ci.say(f"created  endpoint {name}")
    elif endpoint.tags(found).get(FILE) == said and not broken:
        ci.say(f"unchanged  endpoint {name}")
    else:
        body = endpoint_body(at, name, file, location)

        def bring(document: dict[str, Any]) -> None:
            document["tags"] = {**endpoint.tags(document), **(body.get("tags") or {}), FILE: said}
            for key, value in body["properties"].items():
                if value is not None and key not in ("traffic", "mirrorTraffic", "properties"):
                    document["properties"][key] = value

        endpoint.change(client, name, bring)
        ci.say(f"updated  endpoint {name}")


def endpoint_body(at: Workspace, name: str, file: str, location: str) -> dict[str, Any]:
    """What the SDK would send to create the endpoint of a file, under our name and without traffic."""
    overrides = [{"name": name}, {"traffic": {}}, {"mirror_traffic": {}}]
    loaded = sdk().load_online_endpoint(at.project / file, params_override=overrides)
    body: dict[str, Any] = loaded._to_rest_online_endpoint(location).as_dict(exclude_readonly=True)
    return body


def deployment_body(at: Workspace, file: str, names: dict[str, str], code: str, location: str) -> dict[str, Any]:
    """What the SDK would send to create the deployment of a file, with the bundle's model, environment and code in place of the file's."""
    ours = {"instance_type": at.instance_type, "instance_count": at.instance_count}
    ours |= {"name": names["deployment"], "endpoint_name": names["endpoint"]}
    loaded = sdk().load_online_deployment(at.project / file, params_override=[{key: value} for key, value in ours.items() if value])
    # The SDK's schema takes these in forms of its own; the request has plain ids.
    loaded.model, loaded.environment = names["model"], names.get("environment")
    if loaded.code_configuration:
        loaded.code_configuration.code = code
    body: dict[str, Any] = loaded._to_rest_object(location).as_dict(exclude_readonly=True)
    return body


def more_than(found: dict[str, Any], count: int) -> int:
    """How many instances an existing deployment has if another, larger number is asked for now; or else 0."""
    has = int((found.get("sku") or {}).get("capacity") or 1)
    return has if count > has and endpoint.tags(found).get(COUNT, str(count)) != str(count) else 0


def adopt(client: Client, path: str, found: dict[str, Any], count: int, bundle_id: str) -> bool:
    """Bring an existing deployment's bundle id and, if another one was asked for, its number of instances up to date."""
    tags = endpoint.tags(found)
    wanted = {**tags, deployment.BUNDLE: bundle_id, COUNT: str(count)}
    change: dict[str, Any] = {} if wanted == tags else {"tags": wanted}
    if tags.get(COUNT, str(count)) != str(count):
        change["sku"] = {**(found.get("sku") or {"name": "Default"}), "capacity": count}
    if change:
        azure.retrying(lambda: client.patch(path, change))
    return bool(change)


def create(client: Client, path: str, body: dict[str, Any], at: Workspace, credential: TokenCredential, folder: Path) -> None:
    """Create the deployment and wait for it; on failure show and keep its logs, delete it, and raise Refusal with its class and the fix."""
    try:
        azure.retrying(lambda: client.put(path, body, limit_minutes=deployment.LIMIT_MINUTES))
    except HttpResponseError as error:
        if error.status_code not in (200, 201, 202, 400):  # no deployment that failed, but a request that was not let through
            raise
        code, message = deployment.explained(error)
        kind, fix = deployment.failure_class(code, message)
        try:
            kept = Logs(folder, "deploy_online", at.name)
            for title, text in deployment.logs(client, path, message, credential).items():
                show(title, text, kept)
        finally:  # an interruption too: what failed holds quota
            done = discard(client, path)
        raise Refusal(f"deployment {path.rpartition('/')[2]} failed: {kind}", f"{message}. {done}", fix) from None


def show(title: str, text: str, logs: Logs) -> None:
    """Keep a log and show the end of it."""
    path = logs.put(title, text)
    with ci.group(f"{title}, last lines ({f'all of it: {path}' if path else 'the rest is lost'})"):
        ci.say("\n".join(text.rstrip().splitlines()[-SHOWN_LINES:]))


def discard(client: Client, path: str) -> str:
    """Delete a failed deployment if nothing is sent to it; one sentence on what was done."""
    _, endpoint_name, _, name = path.split("/")
    standing = endpoint.need(client, endpoint_name)
    split = endpoint.shown(endpoint.traffic(standing))
    if name in {**endpoint.traffic(standing), **endpoint.mirrored(standing)}:
        return f"It stays, since endpoint {endpoint_name} sends traffic to it: {split}"
    azure.retrying(lambda: client.delete(path))
    return f"It was deleted; the traffic of {endpoint_name} is as before: {split}"


def deploy(project: Path, name: str, bundle_id: str, source: str, folder: Path) -> tuple[str, str]:
    """Deploy the bundle to the workspace; (endpoint, deployment)."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    release = spec.release(project)
    model, settings = release["model"]["name"], release["deploy"]
    where = bundle.source(at, source)
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    if where == "registry":
        document = bundle.from_registry(registry.connect(at, credential), model, bundle_id)
        below = f"azureml://registries/{at.registry_name}"
    else:
        document = bundle.from_workspace(client, credential, model, bundle_id)
        below = at.arm_id
    if lines := bundle.mismatches(document, project):
        raise Refusal("the checkout is not what was sealed", "; ".join(lines), "check out the commit of the bundle")
    if at.stage == "prod":
        approval.require(folder, at, bundle_id)
    location = client.get()["location"]
    names = {
        "endpoint": endpoint.name_of(at, settings["endpoint"]),
        "deployment": bundle.deployment_name(document, settings["deployment"], at.instance_type),
        "model": f"{below}/models/{document['model']['name']}/versions/{document['model']['version']}",
    }
    if scored_in := document.get("environment"):
        names["environment"] = f"{below}/environments/{scored_in['name']}/versions/{scored_in['version']}"
    ensure_endpoint(client, at, names["endpoint"], settings["endpoint"], location)

    path = f"onlineEndpoints/{names['endpoint']}/deployments/{names['deployment']}"
    size, count = deployment.machine(at, settings["deployment"])
    quota = ""
    found = deployment.settled(client, path)
    if found is not None and (state := found["properties"].get("provisioningState")) != "Succeeded":
        ci.say(f"deployment {names['deployment']} of an earlier run is {state}. {discard(client, path)}")
        found = deployment.settled(client, path)
        if found is not None and (state := found["properties"].get("provisioningState")) != "Succeeded":
            split = endpoint.shown(endpoint.traffic(endpoint.need(client, names["endpoint"])))
            raise Refusal(
                f"deployment {names['deployment']} of this bundle is {state}",
                f"endpoint {names['endpoint']} sends traffic to it ({split}), so it can't be made anew",
                "take its traffic away, with roll_back if there is an earlier split, then run this again",
            )
    standing = 0 if found is None else more_than(found, count)
    if found is None or standing:
        quota = deployment.check_quota(Quota(client, at, location).room(size), count, standing)
        ci.say(quota)
    if found is not None:
        ci.say(f"{'updated' if adopt(client, path, found, count, bundle_id) else 'unchanged'}  deployment {names['deployment']}")
    else:
        scoring = deployment.scoring_files(project, settings["deployment"])
        code = deployment.upload_code(client, project, document, scoring[1]) if scoring else ""
        body = deployment_body(at, settings["deployment"], names, code, location)
        body["tags"] = {**(body.get("tags") or {}), deployment.BUNDLE: bundle_id, COUNT: str(count)}
        ci.say(f"creating deployment {names['deployment']} ({count} x {size}); Azure takes some minutes")
        create(client, path, body, at, credential, folder)
        ci.say(f"created  deployment {names['deployment']}, without traffic")
    subject = evidence.about_bundle(model, bundle_id)
    figures = {"seconds": round(time.monotonic() - began, 3)}
    facts = {"from": where, **names, "instance_type": size, "instance_count": count, "quota": quota}
    made = evidence.statement(subject, "deploy_online", "passed", workspace=at.name, started=started, figures=figures, facts=facts)
    evidence.write(folder, made)
    return names["endpoint"], names["deployment"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    bundle.arguments(made)
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and deploy."""
    given = parser().parse_args(argv)
    endpoint_name, deployment_name = deploy(given.project, given.workspace, given.bundle_id, getattr(given, "from"), given.evidence)
    ci.output("endpoint_name", endpoint_name)
    ci.output("deployment_name", deployment_name)
    return 0


if __name__ == "__main__":
    command.run(main)
