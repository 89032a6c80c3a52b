"""Deploy a bundle beside what is live, without traffic: the endpoint if it is missing, and a deployment named after its content.

The same content has the same name, so a second run finds it. What is live keeps its traffic. A deployment that fails shows its logs,
has them kept with the evidence, and is deleted, so that it holds no quota and the next run starts clean.
"""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from aml import azure, blobs, bundle, ci, command, endpoint, evidence, identity, registry, spec, workspace
from aml.azure import Client
from aml.command import LimitReached, Refusal
from aml.workspace import Workspace

LIMIT_MINUTES = 60
LOG_LINES = 200  # fetched and kept of each container's log
SHOWN_LINES = 25  # printed of it
CHANGING = ("Creating", "Updating", "Scaling", "Deleting")
COUNT = "instance_count"  # tag: the count that was asked for, so that what autoscaling made of it is left alone


def ensure_endpoint(client: Client, at: Workspace, name: str, file: str, location: str) -> None:
    """Create the endpoint if it is missing; otherwise bring over what its file says, and keep all the rest."""
    found = endpoint.find(client, name)
    if found is None or found["properties"].get("provisioningState") in ("Failed", "Canceled"):
        try:
            azure.retrying(lambda: client.put(f"onlineEndpoints/{name}", endpoint_body(at, name, file, location)))
        except HttpResponseError as error:
            if "unique within the region" not in str(error) and "unique within a region" not in str(error):
                raise
            raise Refusal(
                f"the endpoint name {name} is taken in {location}",
                "names are unique in a region, and another workspace has this one",
                f"set another endpoint_name in .cloud/workspaces/{at.name}.yml",
            ) from None
        ci.say(f"created  endpoint {name}")
        return
    import yaml

    declared = yaml.safe_load((at.project / file).read_text(encoding="utf-8")) or {}

    def bring(document: dict[str, Any]) -> None:
        properties = document["properties"]
        document["tags"] = {**(document.get("tags") or {}), **{key: str(value) for key, value in (declared.get("tags") or {}).items()}}
        if "description" in declared:
            properties["description"] = declared["description"]
        if "public_network_access" in declared:
            properties["publicNetworkAccess"] = str(declared["public_network_access"]).capitalize()
        if "auth_mode" in declared:
            properties["authMode"] = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}[declared["auth_mode"].lower()]

    _, written = endpoint.change(client, name, bring)
    ci.say(f"{'updated' if written else 'unchanged'}  endpoint {name}")


def endpoint_body(at: Workspace, name: str, file: str, location: str) -> dict[str, Any]:
    """What the SDK would send to create the endpoint of a file, under our name and without traffic: nothing is deployed yet."""
    from azure.ai.ml import load_online_endpoint

    overrides = [{"name": name}, {"traffic": {}}, {"mirror_traffic": {}}]
    loaded = load_online_endpoint(at.project / file, params_override=overrides)
    body: dict[str, Any] = loaded._to_rest_online_endpoint(location).as_dict(exclude_readonly=True)
    return body


def deployment_body(at: Workspace, file: str, name: str, names: dict[str, str], code: str, location: str) -> dict[str, Any]:
    """What the SDK would send to create the deployment of a file, with the bundle's model, environment and code in place of the file's."""
    from azure.ai.ml import load_online_deployment

    overrides: list[dict[str, Any]] = [{"name": name}, {"endpoint_name": names["endpoint"]}, {"model": names["model"]}]
    if names.get("environment"):
        overrides.append({"environment": names["environment"]})
    if at.instance_type:
        overrides.append({"instance_type": at.instance_type})
    if at.instance_count:
        overrides.append({"instance_count": at.instance_count})
    loaded = load_online_deployment(at.project / file, params_override=overrides)
    loaded.model, loaded.environment = names["model"], names.get("environment")
    if loaded.code_configuration:
        loaded.code_configuration.code = code
    body: dict[str, Any] = loaded._to_rest_object(location).as_dict(exclude_readonly=True)
    return body


def upload_code(client: Client, project: Path, document: dict[str, Any], script: str) -> str:
    """The id of the code version with the bundle's scoring code, uploaded if it is not there yet."""
    from aml import digest

    folder = project / document["code"]["path"]
    check_syntax(folder / script)
    hex_digest = document["code"]["digest"].removeprefix("sha256:")
    path = f"codes/{hex_digest[:32]}/versions/1"
    if (found := client.find(path)) is None:
        pending = client.post(f"{path}/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"})
        reference = pending["blobReferenceForConsumption"]
        blobs.write_tree(blobs.signed(reference["credential"]["sasUri"]), folder.name, folder, digest.files_of(folder))
        properties = {"codeUri": f"{reference['blobUri'].rstrip('/')}/{folder.name}", "properties": {"digest": document["code"]["digest"]}}
        found = client.put(path, {"properties": properties})
        ci.say(f"created  code {folder.name} ({document['code']['digest']})")
    return str(found["id"])


def check_syntax(script: Path) -> None:
    """Raises Refusal at the line of a scoring script that is no Python, before minutes are spent on starting it."""
    try:
        ast.parse(script.read_bytes(), str(script))
    except SyntaxError as error:
        ci.error(f"{error.msg}: {(error.text or '').strip()}", script, error.lineno or 0, error.offset or 0)
        raise Refusal(f"the scoring script {script.name} has a syntax error in line {error.lineno}", error.msg, "correct the script") from None


def settled(client: Client, path: str) -> dict[str, Any] | None:
    """A deployment once nothing is under way on it, or None: an earlier run that was killed may have left one being created."""
    ends, pause = time.monotonic() + 60 * LIMIT_MINUTES, 1.0
    while True:
        found = client.find(path)
        state = found["properties"].get("provisioningState") if found else None
        if state not in CHANGING:
            return found
        if time.monotonic() > ends:
            raise LimitReached(f"{path} is still {state} after {LIMIT_MINUTES} minutes", "Azure has not finished", "run this again later")
        ci.say(f"{path.rpartition('/')[2]} is {state}; waiting for the end of it")
        time.sleep(pause)
        pause = min(1.5 * pause, 15)


def adopt(client: Client, path: str, found: dict[str, Any], count: int, bundle_id: str) -> bool:
    """Bring an existing deployment's bundle id and, if another one was asked for, its number of instances up to date."""
    tags = endpoint.tags(found)
    wanted = {**tags, endpoint.BUNDLE: bundle_id, COUNT: str(count)}
    change: dict[str, Any] = {} if wanted == tags else {"tags": wanted}
    if tags.get(COUNT, str(count)) != str(count):
        change["sku"] = {**(found.get("sku") or {"name": "Default"}), "capacity": count}
    if change:
        azure.retrying(lambda: client.patch(path, change))
    return bool(change)


def logs(client: Client, path: str, message: str, credential: TokenCredential) -> dict[str, str]:
    """{title: text} of what a failed deployment left: the log of each container, and of the image's build if Azure points to one."""
    found = {}
    for title, container in (("storage-initializer", "StorageInitializer"), ("inference-server", "InferenceServer")):
        try:
            found[title] = str(client.post(f"{path}/getLogs", {"containerType": container, "tail": LOG_LINES}).get("content") or "")
        except ResourceNotFoundError:
            continue  # refused before there was a container
    if place := endpoint.build_log(message):
        account, container, blob = place
        from azure.storage.blob import ContainerClient

        opened = _container_of(client, account, container, credential)
        if isinstance(opened, ContainerClient):
            found["image-build"] = blobs.read(opened, blob).decode("utf-8", "replace")
    return {title: text for title, text in found.items() if text.strip()}


def _container_of(client: Client, account: str, container: str, credential: TokenCredential) -> Any:
    for store in client.list("datastores"):
        if store["properties"].get("accountName") == account and store["properties"].get("containerName") == container:
            return blobs.datastore(client, store["name"], credential)
    return None


def explained(error: HttpResponseError) -> tuple[str, str]:
    """(code, message) of a failed operation, the innermost ones that Azure gives."""
    found: Any = error.error
    code, message = str(getattr(found, "code", "") or ""), str(getattr(found, "message", "") or error.message)
    for detail in getattr(found, "details", None) or []:
        message = f"{message} {detail.code}: {detail.message}"
    return code, message


def create(client: Client, path: str, body: dict[str, Any], names: dict[str, str], credential: TokenCredential, folder: Path, at: Workspace) -> None:
    """Create the deployment and wait for it; on failure show and keep its logs, delete it, and raise Refusal with its class and the fix."""
    name = path.rpartition("/")[2]
    try:
        azure.retrying(lambda: client.put(path, body, limit_minutes=LIMIT_MINUTES))
    except HttpResponseError as error:
        code, message = explained(error)
        kind, fix = endpoint.failure_class(code, message)
        folder.mkdir(parents=True, exist_ok=True)
        for title, text in logs(client, path, message, credential).items():
            kept = folder / f"deploy_online-{at.name}-{title}.log"
            kept.write_text(text, encoding="utf-8")
            with ci.group(f"{title}, last lines (all of it: {kept})"):
                ci.say("\n".join(text.rstrip().splitlines()[-SHOWN_LINES:]))
        left = discard(client, names["endpoint"], name)
        raise Refusal(f"deployment {name} failed: {kind}", f"{message}. {left}", fix) from None


def discard(client: Client, endpoint_name: str, name: str) -> str:
    """Delete a failed deployment if nothing is sent to it; one sentence on what was done."""
    standing = endpoint.need(client, endpoint_name)
    if name in {**endpoint.traffic(standing), **endpoint.mirrored(standing)}:
        return f"It stays, since endpoint {endpoint_name} sends traffic to it: {endpoint.shown(endpoint.traffic(standing))}"
    azure.retrying(lambda: client.delete(f"onlineEndpoints/{endpoint_name}/deployments/{name}"))
    return f"It was deleted; the traffic of {endpoint_name} is as before: {endpoint.shown(endpoint.traffic(standing))}"


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
    location = client.get()["location"]
    names = {"endpoint": endpoint.name_of(at, settings["endpoint"])}
    names["model"] = f"{below}/models/{document['model']['name']}/versions/{document['model']['version']}"
    if wanted := document.get("environment"):
        names["environment"] = f"{below}/environments/{wanted['name']}/versions/{wanted['version']}"
    ensure_endpoint(client, at, names["endpoint"], settings["endpoint"], location)
    deployment = bundle.deployment_name(document, settings["deployment"], at.instance_type)
    path = f"onlineEndpoints/{names['endpoint']}/deployments/{deployment}"
    size, count = machine(at, settings["deployment"])

    found, quota = settled(client, path), ""
    if found is not None and found["properties"].get("provisioningState") != "Succeeded":
        ci.say(f"deployment {deployment} of an earlier run is {found['properties'].get('provisioningState')}")
        ci.say(discard(client, names["endpoint"], deployment))
        found = settled(client, path)
    if found is not None:
        ci.say(f"{'updated' if adopt(client, path, found, count, bundle_id) else 'unchanged'}  deployment {deployment}")
    else:
        quota = endpoint.check_quota(client, at, location, size, count)
        ci.say(quota)
        scoring = endpoint.scoring_files(project, settings["deployment"])
        code = upload_code(client, project, document, scoring[1]) if scoring else ""
        body = deployment_body(at, settings["deployment"], deployment, names, code, location)
        body["tags"] = {**(body.get("tags") or {}), endpoint.BUNDLE: bundle_id, COUNT: str(count)}
        ci.say(f"creating deployment {deployment} ({count} x {size}); Azure takes some minutes")
        create(client, path, body, names, credential, folder, at)
        ci.say(f"created  deployment {deployment}, without traffic")
    facts = {"bundle_id": bundle_id, "from": where, **names, "deployment": deployment, "instance_type": size, "instance_count": count, "quota": quota}
    evidence.write(
        folder,
        evidence.statement(
            evidence.about_bundle(model, bundle_id),
            "deploy_online",
            "passed",
            workspace=at.name,
            started=started,
            figures={"seconds": round(time.monotonic() - began, 3)},
            facts=facts,
        ),
    )
    return names["endpoint"], deployment


def machine(at: Workspace, file: str) -> tuple[str, int]:
    """(size, number of instances): the workspace spec's, or else the deployment file's."""
    import yaml

    declared = yaml.safe_load((at.project / file).read_text(encoding="utf-8"))
    size = at.instance_type or declared.get("instance_type")
    if not size:
        raise Refusal(f"{file} names no instance_type", "a managed deployment runs on machines of one size", "set instance_type in it")
    return str(size), at.instance_count or int(declared.get("instance_count") or 1)


def main(argv: list[str] | None = None) -> int:
    """Read the command line and deploy."""
    parser = command.parser(__doc__)
    bundle.arguments(parser)
    evidence.argument(parser)
    given = parser.parse_args(argv)
    endpoint_name, deployment = deploy(given.project, given.workspace, given.bundle_id, getattr(given, "from"), given.evidence)
    ci.output("endpoint_name", endpoint_name)
    ci.output("deployment_name", deployment)
    return 0


if __name__ == "__main__":
    command.run(main)
