"""The model itself, signed: a signature in the OpenSSF's format for models (OMS), which anybody can verify with the model's files alone.

Source of the form: https://github.com/ossf/model-signing-spec, version 1.0. A Sigstore bundle holds a DSSE envelope, whose statement
names every file of the model with its digest. The format's own tool verifies it: `model_signing verify key --signature model.sig
--public_key <pem> <folder>`, with `--no-ignore-git-paths` for a model that has files such as .gitattributes. It is written here and not
by that tool, because the tool needs the model's files on disk and a private key beside them, where a workspace has digests, read through
once, and a key in a vault that only signs.

It is kept as a data asset under the version of the model that it is of, and shared with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aml import blobs, registry, signing, workspace
from aml.azure import Client
from aml.command import Refusal
from aml.registry import Registry
from aml.signing import Key, Signer
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://model_signing/signature/v1.0"
STORE = "workspaceblobstore"
FILE = "model.sig"


def made(model: str, files: Mapping[str, str], signer: Signer) -> bytes:
    """The signature of a model's files, given as {relative path: digest of the form sha256:<hex>}."""
    digests = {name: files[name].removeprefix("sha256:") for name in sorted(files)}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model, "digest": {"sha256": _whole(digests.values())}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": name, "algorithm": "sha256", "digest": found} for name, found in digests.items()],
        },
    }
    envelope = signer.envelope(json.dumps(statement).encode())
    [by] = [one for one in signer.keys if one.id == envelope["signatures"][0]["keyid"]]
    material = {"publicKey": {"hint": hashlib.sha256(by.pem()).hexdigest()}, "tlogEntries": []}
    return json.dumps({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


def problems(data: bytes, files: Mapping[str, str], keys: Iterable[Key]) -> list[str]:
    """How a model's files differ from what one of the keys signed; one line each."""
    try:
        found = json.loads(data)
        payload = signing.verify(found["dsseEnvelope"] if found["mediaType"] == MEDIA_TYPE else None, keys)
        statement = json.loads(payload)
        if statement["predicateType"] != PREDICATE:
            raise Refusal("what is signed is no model", f"it is {statement['predicateType']!r}")
        resources = {one["name"]: (one["algorithm"], one["digest"]) for one in statement["predicate"]["resources"]}
    except Refusal as refusal:
        return [f"the model's signature does not count: {refusal.what}; {refusal.why}"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [f"the model's signature cannot be read ({type(error).__name__} {error})"]
    lines = [f"{name} is signed, and the model does not have it" for name in sorted(resources.keys() - files.keys())]
    lines += [f"{name} is in the model, and is not signed" for name in sorted(files.keys() - resources.keys())]
    for name in sorted(files.keys() & resources.keys()):
        if resources[name] != ("sha256", files[name].removeprefix("sha256:")):
            lines.append(f"{name} is {files[name]} in the model, and is signed as {':'.join(map(str, resources[name]))}")
    return lines


def asset(model: str, version: str) -> tuple[str, str]:
    """(name, version) of the data asset that keeps a signature."""
    return f"signature-{model}", version


def keep(client: Client, credential: TokenCredential, model: str, version: str, files: Mapping[str, str], signer: Signer) -> bool:
    """Sign a model's version and keep the signature in the workspace; False if it has one."""
    name, _ = asset(model, version)
    path = f"data/{name}/versions/{version}"
    if client.find(path) is not None:
        return False
    blob = f"signatures/{model}/{version}/{FILE}"
    blobs.write(blobs.datastore(client, STORE, credential), blob, made(model, files, signer))
    client.put(path, {"properties": {"dataType": "uri_file", "dataUri": f"azureml://datastores/{STORE}/paths/{blob}"}})
    return True


def in_workspace(client: Client, credential: TokenCredential, model: Mapping[str, Any]) -> bytes | None:
    """The signature that the workspace keeps of a bundle's model, or None."""
    name, version = asset(model["name"], model["version"])
    found = client.find(f"data/{name}/versions/{version}")
    if found is None:
        return None
    datastore, path = blobs.place(found["properties"]["dataUri"])
    return blobs.read(blobs.datastore(client, datastore, credential), path, limit=_LARGEST)


def in_registry(found: Registry, model: Mapping[str, Any]) -> bytes | None:
    """The signature that the registry keeps of a bundle's model, or None."""
    name, version = asset(model["name"], model["version"])
    there = registry.version_of(found, "data", name, version)
    return registry.read(found, "data", name, version, there["properties"]["dataUri"], limit=_LARGEST) if there else None


def checked(at: Workspace, data: bytes | None, files: Mapping[str, str]) -> list[str]:
    """What is wrong with the signature of a model that a workspace is about to use, one line each; nothing in a project that signs nothing.

    Any workspace of the project may have signed it: it is registered in one and deployed in another.
    """
    if not at.signing:
        if at.stage == "prod" and project_keys(at.project):  # or a spec without keys would let in what is unsigned, and what is held
            return [f"other workspaces of the project sign, and {at.name} trusts no key; add signing to .cloud/workspaces/{at.name}.yml"]
        return []
    if data is None:
        return ["the model is not signed; register it again with register_model where signing is set, then share it"]
    return problems(data, files, project_keys(at.project))


def project_keys(project: Path) -> list[Key]:
    """Every key that a workspace of the project trusts."""
    specs = [workspace.load(project, name) for name in workspace.names(project)]
    return [one for spec in specs if spec.signing for one in signing.trusted(spec)]


def _whole(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(one) for one in digests)).hexdigest()


_LARGEST = 64 << 20  # bytes; a model of shards has many files
