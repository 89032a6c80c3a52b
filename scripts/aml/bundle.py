"""The unit of promotion: one immutable JSON document that names everything that goes to production, by digest.

Its id is the digest of its canonical form (RFC 8785), so a bundle can't be changed without becoming another one, and there is no
time in it, so sealing the same content again gives the same bundle. It is kept as a data asset, in the workspace where it was
sealed and, once shared, in the registry.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import rfc8785

from aml import access, blobs, command, digest, gates, registry, workspace
from aml.azure import Client
from aml.command import Refusal
from aml.registry import Registry
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

FILE = "bundle.json"
SCHEMA = Path(__file__).parents[2] / "schemas" / "bundle.schema.json"

_ID = re.compile(r"sha256:[0-9a-f]{64}")


Also: TypeAlias = Callable[[Mapping[str, str]], list[str]]


def _nothing(files: Mapping[str, str]) -> list[str]:
    return []


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed, stored and compared."""
    made: bytes = rfc8785.dumps(dict(document))
    return made


def load(data: bytes) -> Any:
    """The document of canonical bytes. Whole numbers beyond 2**53 were floating-point numbers: RFC 8785 has no others."""

    def number(text: str) -> float:
        return int(text) if abs(int(text)) < 2**53 else float(text)

    return json.loads(data, parse_int=number)


def identify(document: Mapping[str, Any]) -> str:
    """A bundle's id, `sha256:<hex>`."""
    return digest.of_bytes(canonical(document))


def checked_id(text: str) -> str:
    """The text, if it is a bundle id. Raises Refusal for anything else, `latest` above all."""
    if not _ID.fullmatch(text):
        raise Refusal(
            f"{text!r} is not a bundle id",
            "a bundle is named by the digest of its content (sha256:<64 hex digits>), never by a label that may move",
            "take bundle_id from the output of seal_bundle",
        )
    return text


def arguments(to: ArgumentParser) -> None:
    """Add `--bundle-id` and `--from`."""
    command.argument(to, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    where = "Where it is read from; a workspace of stage prod reads from the registry only, others from themselves unless told."
    command.argument(to, "--from", default="", choices=("", "workspace", "registry"), help=where)


def source(at: Workspace, wanted: str) -> str:
    """`workspace` or `registry`: where a workspace takes a bundle from. Raises Refusal where production would not read the registry."""
    if at.stage == "prod" and wanted == "workspace":
        raise Refusal(
            f"workspace {at.name} is production and takes bundles from the registry only",
            "what is deployed there must be what was shared, with its digests checked",
            "share it with share_model, and leave --from out",
        )
    return wanted or ("registry" if at.stage == "prod" else "workspace")


def asset(model: str, bundle_id: str) -> tuple[str, str]:
    """(name, version) of the data asset that keeps a bundle."""
    return f"bundle-{model}", bundle_id.removeprefix("sha256:")[:16]


def from_workspace(client: Client, credential: TokenCredential, model: str, bundle_id: str) -> dict[str, Any]:
    """The bundle that the workspace keeps. Raises Refusal when there is none or it is not the one asked for."""
    name, version = asset(model, checked_id(bundle_id))
    found = client.find(f"data/{name}/versions/{version}")
    if found is None:
        raise Refusal(f"bundle {bundle_id} is not in this workspace", f"it has no data asset {name}:{version}", "seal it with seal_bundle")
    datastore, path = blobs.place(found["properties"]["dataUri"])
    return parse(blobs.read(blobs.datastore(client, datastore, credential), path), bundle_id, "the workspace")


def from_registry(found: Registry, model: str, bundle_id: str) -> dict[str, Any]:
    """The bundle that the registry keeps. Raises Refusal when there is none or it is not the one asked for."""
    name, version = asset(model, checked_id(bundle_id))
    there = registry.version_of(found, "data", name, version)
    if there is None:
        raise Refusal(
            f"bundle {bundle_id} is not in registry {found.name}", f"it has no data asset {name}:{version}", "share it with share_model"
        )
    return parse(registry.read(found, "data", name, version, there["properties"]["dataUri"]), bundle_id, f"registry {found.name}")


def parse(data: bytes, bundle_id: str, source: str) -> dict[str, Any]:
    """The document in `data`, read from `source`. Raises Refusal when its digest is not `bundle_id` or its form is not a bundle's."""
    if (found := digest.of_bytes(data)) != bundle_id:
        raise Refusal(
            f"the bundle in {source} is {found}, not {bundle_id}",
            "it was changed after it was sealed, or another one was put in its place",
            "find out who wrote it; then seal and share anew",
        )
    document = load(data)
    if problems := invalid(document):
        raise Refusal(f"the bundle in {source} is not one this version of the catalog reads", "; ".join(problems), "seal it anew")
    return dict(document)


def invalid(document: Any) -> list[str]:
    """What keeps a document from being a bundle, one line each; [] when it is one."""
    import jsonschema_rs

    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return sorted(f"{'/'.join(map(str, error.instance_path)) or 'bundle'}: {error.message}" for error in schema.iter_errors(document))


def definition(properties: Mapping[str, Any]) -> str:
    """Digest of what an environment version is made of, from its properties as Azure returns them.

    Image, conda file and serving routes count; descriptions, tags and the spelling of the conda file don't.
    """
    import yaml

    conda = properties.get("condaFile")
    return digest.of_document(
        {
            "image": properties.get("image"),
            "conda": yaml.safe_load(conda) if isinstance(conda, str) else conda,
            "inference": properties.get("inferenceConfig"),
        }
    )


def deployment_name(document: Mapping[str, Any], deployment_file: str, instance_type: str = "") -> str:
    """The name that the same content always gets, so that it is found again: model, environment, code, settings and machine.

    `deployment_file` is the path of the deployment's YAML in the bundle; `instance_type` is set where the workspace overrides it.
    The workspace's number of instances is no content: a change of it scales what is there. The one in the deployment's file is.
    """
    content = {
        "model": [document["model"]["name"], document["model"]["digest"]],
        "environment": (document.get("environment") or {}).get("digest"),
        "code": (document.get("code") or {}).get("digest"),
        "settings": document["files"][deployment_file],
        "instance_type": instance_type,
    }
    return f"d-{digest.of_document(content).removeprefix('sha256:')[:10]}"


def guards(project: Path) -> list[str]:
    """The files of a checkout that protect production: the workspace specs, which pin the signing keys, the gates and the identity plan."""
    specs = [f"{workspace.FOLDER}/{name}.yml" for name in workspace.names(project)]
    return [*specs, *(path for path in (gates.FILE, access.FILE) if (project / path).exists())]


def mismatches(document: Mapping[str, Any], project: Path) -> list[str]:
    """How a checkout differs from a bundle: one line for each file or folder that is missing, new or has other content."""
    lines = []
    expected = dict(document["files"])
    if document.get("code"):
        expected[document["code"]["path"]] = document["code"]["digest"]
    for path, wanted in sorted(expected.items()):
        if not (project / path).exists():
            lines.append(f"{path} is not in the checkout; the bundle has it with {wanted}")
        elif (found := digest.of_tree(project / path)) != wanted:
            lines.append(f"{path} is {found} in the checkout, {wanted} in the bundle")
    lines += [f"{path} is in the checkout, and the bundle was sealed without it" for path in guards(project) if path not in expected]
    return lines


def unpinned(document: Mapping[str, Any]) -> list[str]:
    """Whatever in a bundle may mean something else tomorrow: versions that are labels, images without a tag of their own."""
    lines = []
    named = [("model", document["model"])] + [("data", entry) for entry in document["data"]]
    if document.get("environment"):
        named.append(("environment", document["environment"]))
        image = document["environment"]["image"].rpartition("/")[2]
        if "@sha256:" not in image and image.rpartition(":")[2] in (image, "latest"):
            lines.append(f"environment {document['environment']['name']} is made from {image!r}, an image without a tag of its own")
    for kind, entry in named:
        if entry["version"].lower() == "latest" or "@" in entry["version"]:
            lines.append(f"{kind} {entry['name']} has the version {entry['version']!r}, which may move")
    return lines


def in_workspace(client: Client, credential: TokenCredential, document: Mapping[str, Any], also: Also = _nothing) -> list[str]:
    """How what a workspace holds differs from a bundle, read now: one line for each asset that is missing or has other content.

    `also` says what else is wrong with the model's files, which are read but once.
    """
    lines, model = [], document["model"]
    if found := client.find(f"models/{model['name']}/versions/{model['version']}"):
        datastore, path = blobs.place(found["properties"]["modelUri"])
        files = blobs.files(blobs.datastore(client, datastore, credential), path)
        lines += _compared("model", model, digest.of_files(files), "the workspace") + also(files)
    else:
        lines.append(f"model {model['name']}:{model['version']} is not in the workspace")
    if wanted := document.get("environment"):
        if found := client.find(f"environments/{wanted['name']}/versions/{wanted['version']}"):
            lines += _compared("environment", wanted, definition(found["properties"]), "the workspace")
        else:
            lines.append(f"environment {wanted['name']}:{wanted['version']} is not in the workspace")
    return lines


def in_registry(found: Registry, document: Mapping[str, Any], also: Also = _nothing) -> list[str]:
    """How what a registry holds differs from a bundle, read now; as `in_workspace`."""
    lines, model, where = [], document["model"], f"registry {found.name}"
    if there := registry.version_of(found, "models", model["name"], model["version"]):
        files = registry.files(found, "models", model["name"], model["version"], there["properties"]["modelUri"])
        lines += _compared("model", model, digest.of_files(files), where) + also(files)
    else:
        lines.append(f"model {model['name']}:{model['version']} is not in {where}")
    if wanted := document.get("environment"):
        if there := registry.version_of(found, "environments", wanted["name"], wanted["version"]):
            lines += _compared("environment", wanted, definition(there["properties"]), where)
        else:
            lines.append(f"environment {wanted['name']}:{wanted['version']} is not in {where}")
    return lines


def _compared(kind: str, wanted: Mapping[str, Any], found: str, where: str) -> list[str]:
    if found == wanted["digest"]:
        return []
    return [f"{kind} {wanted['name']}:{wanted['version']} is {found} in {where}, {wanted['digest']} in the bundle"]
