"""Holds: signed entries of a workspace's ledger that keep a bundle from being promoted, until another entry lets it go.

A hold counts in the workspace whose ledger has it: one in dev keeps the bundle from being shared, one in prod from being deployed and from
taking traffic. The last entry of a ledger says what is held, so looking is two calls however long the ledger is. Rolling back is not
held: it is the way out.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from aml import azure, bundle, ci, command, evidence, identity, ledger, registry, signing, spec, workspace
from aml.azure import Client
from aml.command import Refusal
from aml.identity import SCOPE
from aml.ledger import Entry
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

LONGEST = 1000  # characters of a reason


def refuse(at: Workspace, client: Client, credential: TokenCredential, bundle_id: str) -> None:
    """Raises Refusal if a bundle is held in a workspace, with the reason and who held it. Where nothing is signed, nothing is held."""
    if found := standing(at, client, credential, bundle_id):
        raise refusal(at, bundle_id, found)


def refusal(at: Workspace, bundle_id: str, why: str) -> Refusal:
    """What is said of a bundle that is held."""
    return Refusal(f"bundle {bundle_id} is held in {at.name}", why, "once the reason is gone, run release_hold")


def standing(at: Workspace, client: Client, credential: TokenCredential, bundle_id: str) -> str:
    """Who holds a bundle in a workspace, since when and why; '' if nobody does. Raises Refusal if the ledger cannot be trusted."""
    if not at.signing:
        return ""
    found = ledger.of(at, client, credential)
    head = found.head()
    if head is None or bundle_id not in head.held:
        return ""
    entry = found.read(head.held[bundle_id])
    ledger.check(entry, found.id, found.keys)
    return said(entry)


def said(entry: Entry) -> str:
    """Who held a bundle, since when and why, as the entry of the ledger says that holds it."""
    facts = entry.statement["predicate"]["facts"]
    return f"{ci.plain(str(facts.get('who')))} held it at {entry.document['time']}: {ci.plain(str(facts.get('reason')))}"


def change(project: Path, name: str, verb: str, bundle_id: str, reason: str, folder: Path) -> str:
    """Hold a bundle (`verb` hold_release) or let it go (release_hold); updated or unchanged. Writes the entry and leaves evidence."""
    started = evidence.now()
    at = workspace.load(project, name)
    model = spec.release(project)["model"]["name"]
    bundle.checked_id(bundle_id)
    signing.trusted(at)
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    found, signer = ledger.of(at, client, credential), signing.signer(at, credential)
    known = standing(at, client, credential, bundle_id)
    if bool(known) == (verb == "hold_release"):
        ci.say(f"unchanged  bundle {bundle_id} {'is held' if known else 'is not held'} in {at.name}. {known}".rstrip())
        return "unchanged"
    if not known and not _known(at, client, credential, model, bundle_id):
        ci.warning(f"No bundle {bundle_id} of {model} is known where {at.name} takes bundles from. The hold counts once there is one.")
    signed_in = identity.who(identity.claims(credential.get_token(SCOPE).token))
    facts = {"reason": reason, "who": ci.started_by() or signed_in, "signed_in": signed_in}
    subject = evidence.about_bundle(model, bundle_id)
    path = evidence.write(folder, evidence.statement(subject, verb, "passed", workspace=at.name, started=started, facts=facts))
    payload = path.read_bytes()
    entry, _ = found.append(payload, lambda: signer.envelope(payload), signer)
    evidence.replace(signing.signed_path(path), json.dumps(entry.document["envelope"], indent=2).encode() + b"\n")
    ledger.keep_head(folder, at, entry)
    ci.say(f"updated  bundle {bundle_id} {'is held' if not known else 'is not held any more'} in {at.name}, entry {entry.sequence}")
    return "updated"


def _known(at: Workspace, client: Client, credential: TokenCredential, model: str, bundle_id: str) -> bool:
    name, version = bundle.asset(model, bundle_id)
    if bundle.source(at, "") == "registry":
        return registry.version_of(registry.connect(at, credential), "data", name, version) is not None
    return client.find(f"data/{name}/versions/{version}") is not None


def reason(text: str) -> str:
    """A reason, in one line; as a flag's type."""
    found = " ".join(ci.plain(text).split())
    if not found or len(found) > LONGEST:
        raise ArgumentTypeError(f"a reason has 1 to {LONGEST} characters, this one has {len(found)}")
    return found


def arguments(to: ArgumentParser, why: str) -> None:
    """Add the flags of the two verbs."""
    command.argument(to, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    command.argument(to, "--reason", required=True, type=reason, help=why)
    evidence.argument(to)
