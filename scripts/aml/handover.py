"""What production is handed with a bundle: the dossier that was approved and the signed statements behind it, in one document.

It travels through the registry, as the bundle does, since production may not read where the statements were made. Its name is the dossier's
id, which the approver saw; its statements are signed, each by the workspace that it is about. Nothing else in it is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aml import blobs, bundle, dossier, registry, signing, spec
from aml.azure import Client
from aml.command import Refusal
from aml.registry import Registry
from aml.signing import Envelope

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

STORE = "workspaceblobstore"
FILE = "handover.json"
LARGEST = 16 << 20  # bytes


@dataclass(frozen=True)
class Handover:
    """A dossier that is the one that was asked for, and envelopes that nobody has verified yet."""

    dossier: dict[str, Any]
    envelopes: list[Envelope]


def asset(model: str, dossier_id: str) -> tuple[str, str]:
    """(name, version) of the data asset that keeps a handover. Raises Refusal for what is no dossier's id."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", dossier_id):
        why = "a dossier is named by the digest of its content (sha256:<64 hex digits>)"
        raise Refusal(f"{dossier_id!r} is not a dossier id", why, "take dossier_id from the output of compile_dossier")
    return f"dossier-{model}", dossier_id.removeprefix("sha256:")[:16]


def chosen(statements: Iterable[tuple[Mapping[str, Any], Envelope]], own: Iterable[Envelope]) -> list[Envelope]:
    """Of each verb, workspace and subject the first that passed and the last, by when they were finished: one says since when, the other
    what counts. Runs of the same bundle would add up otherwise. Those of the job's own come last, all of them."""
    kept: dict[tuple[str, str, str, str], tuple[str, Envelope]] = {}
    for statement, envelope in sorted(statements, key=lambda one: str(one[0]["predicate"]["finished"])):
        said = statement["predicate"]
        key = (said["verb"], said["workspace"], str(statement["subject"][0]["digest"]["sha256"]))
        if said["verdict"] == "passed":
            kept.setdefault((*key, "first"), (said["finished"], envelope))
        kept |= {(*key, "last"): (said["finished"], envelope)}
    made: list[Envelope] = []
    for envelope in [*(envelope for _, envelope in sorted(kept.values(), key=lambda one: one[0])), *own]:
        if envelope not in made:
            made.append(envelope)
    return made


def made(bundle_id: str, document: Mapping[str, Any], envelopes: list[Envelope]) -> bytes:
    """The document's bytes."""
    return bundle.canonical({"form": 1, "bundle": bundle_id, "dossier": document, "statements": envelopes})


def keep(client: Client, credential: TokenCredential, model: str, dossier_id: str, data: bytes) -> None:
    """Keep a handover as a data asset of the workspace. One that is there stays: the dossier names it, and what it adds is signed."""
    name, version = asset(model, dossier_id)
    path = f"data/{name}/versions/{version}"
    if client.find(path) is None:
        blob = f"dossiers/{model}/{dossier_id.removeprefix('sha256:')}/{FILE}"
        blobs.write(blobs.datastore(client, STORE, credential), blob, data)
        client.put(path, {"properties": {"dataType": "uri_file", "dataUri": f"azureml://datastores/{STORE}/paths/{blob}"}})


def read(found: Registry, model: str, dossier_id: str, bundle_id: str) -> Handover:
    """The handover of a dossier. Raises Refusal if there is none, or it is not of this dossier and bundle."""
    name, version = asset(model, dossier_id)
    there = registry.version_of(found, "data", name, version)
    if there is None:
        why = f"it has no data asset {name}:{version}"
        raise Refusal(f"dossier {dossier_id} is not in registry {found.name}", why, "run the promotion again, from its first job")
    data = registry.read(found, "data", name, version, there["properties"]["dataUri"], limit=LARGEST)
    again = "find out who wrote it; then run the promotion again, from its first job, and have it approved again"
    try:
        document = json.loads(data)
        dossier_there, envelopes, of = document["dossier"], document["statements"], document["bundle"]
        problems = spec.invalid(dossier_there, "dossier") or ([] if isinstance(envelopes, list) else ["it has no list of statements"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problems = [f"{type(error).__name__} {error}"]
    if problems:
        raise Refusal(f"the handover of dossier {dossier_id} can't be read", "; ".join(problems[:3]), again)
    if (seen := dossier.identify(dossier_there)) != dossier_id:
        raise Refusal(f"the dossier in registry {found.name} is {seen}, not {dossier_id}", "it was changed after it was approved", again)
    if not of == dossier_there["bundle"]["id"] == bundle_id:
        why = f"it is about {dossier_there['bundle']['id']}"
        raise Refusal(f"dossier {dossier_id} is not about bundle {bundle_id}", why, "promote the bundle whose dossier was approved")
    return Handover(dossier_there, envelopes)


def verified(envelopes: Iterable[Envelope], project: Path) -> list[dict[str, Any]]:
    """The statements of envelopes, each signed by the workspace that it is about. Raises Refusal for the first that is not."""
    return [signing.verified(envelope, project) for envelope in envelopes]
