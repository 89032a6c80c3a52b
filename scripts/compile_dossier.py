"""Compile what the person who approves a release needs, on one page: what changes, who, proof, where, risk, the way back, and control.

It runs before the approval, as the workspace that sealed the bundle: production may not be read then, so what runs there is what the
registry says. It reads, and writes nothing to Azure. What nobody supplied is said as loudly as what is known. The folder `dossier` of the
evidence gets the document, a page without scripts, Markdown, and a text for a protection rule. On GitHub it asks who wrote the commits
with the job's token, AML_GITHUB_TOKEN.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import yaml
from azure.core.exceptions import HttpResponseError

from aml import (
    approval,
    azure,
    bundle,
    ci,
    command,
    commits,
    deployment,
    digest,
    dossier,
    dossier_page,
    dossier_text,
    endpoint,
    evidence,
    gates,
    holds,
    identity,
    proof,
    registry,
    spec,
    workspace,
)
from aml.azure import Client
from aml.command import Refusal
from aml.dossier import Champion, Known
from aml.quota import Quota
from aml.registry import Registry
from aml.workspace import Workspace

EARLIER = 12  # bundles whose figures are drawn
READERS = 4  # bundles read at a time

T = TypeVar("T")


class Unknown(dict[str, str]):
    """Why something is not known, by what it is."""

    def unless(self, what: str, read: Callable[[], T]) -> T | None:
        """What `read` finds; None, with the reason kept, where it is refused."""
        try:
            return read()
        except Refusal as refusal:
            self[what] = ". ".join(part.rstrip(".") for part in (refusal.what, refusal.why) if part)
        except HttpResponseError as error:
            self[what] = azure.said(error)
        return None


def champion_of(found: Registry, model: str, stage: str, candidate: str) -> Champion:
    """What a stage runs, as the registry has it. Where other bundles were shared and none is recorded as live, it is not known."""
    bundle_id = registry.live(found, model, stage)
    if bundle_id is None:
        name, own = bundle.asset(model, candidate)
        others = (
            [one for one in found.client.list(f"data/{name}/versions") if one["name"] != own] if found.client.find(f"data/{name}") else []
        )
        why = f"registry {found.name} has {len(others)} other bundles and no record of a live one: none was released, or the record is gone"
        return Champion("unknown", why=why) if others else Champion("nothing")
    if not bundle_id.startswith("sha256:"):
        return Champion("unknown", why=bundle_id)
    return Champion("live", bundle_id, bundle.from_registry(found, model, bundle_id))


def history(found: Registry, model: str) -> list[dict[str, Any]]:
    """The last bundles of a model that were shared, oldest first. One that can't be read, or is not what its name says, is left out."""
    name, _ = bundle.asset(model, "")
    if found.client.find(f"data/{name}") is None:
        return []
    listed = sorted(found.client.list(f"data/{name}/versions"), key=lambda one: str((one.get("systemData") or {}).get("createdAt")))[
        -EARLIER:
    ]

    def read(one: Mapping[str, Any]) -> dict[str, Any] | None:
        version = str(one["name"])
        try:
            data = registry.read(found, "data", name, version, one["properties"]["dataUri"])
            bundle_id = digest.of_bytes(data)
            if bundle.asset(model, bundle_id)[1] != version:
                return None
            return {"id": bundle_id, "document": bundle.parse(data, bundle_id, found.name)}
        except (Refusal, HttpResponseError, ValueError):
            return None

    with ThreadPoolExecutor(READERS) as readers:
        return [one for one in readers.map(read, listed) if one]


def still_there(found: Registry, champion: Champion) -> list[dict[str, str]]:
    """What of the champion the registry still has; its bundle was read, and has its digest."""
    document = champion.document or {}
    made = [{"what": "bundle", "state": "there", "says": f"in registry {found.name}, with its digest"}]
    model, served = document["model"], document.get("environment")
    there = registry.version_of(found, "models", model["name"], model["version"])
    words = "its files were not read again" if there else "is gone"
    says = f"{model['name']}:{model['version']} in registry {found.name}, {words}"
    made.append({"what": "model", "state": "there" if there else "missing", "says": says})
    if served:
        properties = _environment(found, served)
        state = "missing" if properties is None else "there" if bundle.definition(properties) == served["digest"] else "other"
        words = {"missing": "is gone", "there": "with its digest", "other": "has another content than was sealed"}[state]
        made.append(
            {"what": "environment", "state": state, "says": f"{served['name']}:{served['version']} in registry {found.name}, {words}"}
        )
    return made


def _environment(found: Registry, served: Mapping[str, Any]) -> dict[str, Any] | None:
    there = registry.version_of(found, "environments", served["name"], served["version"])
    return there["properties"] if there else None


def environments(client: Client, found: Registry, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """The scoring environments of both bundles as Azure has them; None for one that is gone or has another content than was sealed."""

    def sound(properties: Mapping[str, Any] | None, served: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return properties if properties is not None and bundle.definition(properties) == served["digest"] else None

    sides: list[Mapping[str, Any] | None] = []
    for document in (new, old or {}):
        if not (served := document.get("environment")):
            sides.append({} if document else None)  # none of its own: nothing is declared
        elif document is new:
            there = client.find(f"environments/{served['name']}/versions/{served['version']}")
            sides.append(sound(there["properties"] if there else None, served))
        else:
            sides.append(sound(_environment(found, served), served))
    return sides[0], sides[1]


def machine_then(project: Path, target: Workspace, path: str, old: Mapping[str, Any]) -> tuple[str, int]:
    """What production's deployment runs on: as its file says, which the bundle's digest proves, and the workspace spec of that commit."""
    commit = old["source"]["commit"]
    declared = commits.file_at(project, commit, path)
    if declared is not None and digest.of_bytes(declared) != old["files"].get(path):
        declared = None
    spec_then = commits.file_at(project, commit, f"{workspace.FOLDER}/{target.name}.yml")
    if declared is None or spec_then is None:
        raise Refusal(
            "git does not have the settings of what production runs", "the commit is not in this checkout, or the file is not in it"
        )
    try:
        found, at = yaml.safe_load(declared), yaml.safe_load(spec_then)
        return str(at.get("instance_type") or found["instance_type"]), int(at.get("instance_count") or found.get("instance_count") or 1)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refusal("the settings of what production runs can't be read", str(error)) from error


def gate_of(project: Path, environment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`.cloud/gates.yml`, and what it asks for of an environment."""
    written, (gate,) = gates.load(project, environment)
    return written, gate


def quota_after(client: Client, target: Workspace, size: str, count: int) -> dict[str, Any]:
    """The cores of the machine's family in production's region, with the new deployment beside what stands now."""
    if not target.location:
        why = f".cloud/workspaces/{target.name}.yml names no location, and production is not read before the approval"
        raise Refusal("production's region is not supplied", why)
    room = Quota(client, target, target.location).room(size)
    needs = deployment.reserved(room.size, count) * room.cores
    says = f"{room.used + needs} of {room.limit} cores of {room.family} in {target.location}, {needs} of them new"
    if room.limit is None:
        says = f"{needs} new cores of {room.family} in {target.location}; Azure shows no quota of it"
    return {"says": says, "fits": room.holds(needs), "used": room.used, "needs": needs, "limit": room.limit}


def prices_of(project: Path) -> dict[str, Any]:
    """The project's own price list. Raises Refusal where it has none."""
    if not (project / spec.PRICES).is_file():
        raise Refusal(f"the project keeps no {spec.PRICES}", "prices are the project's to know")
    return spec.trusted(project, spec.PRICES, "prices")


def known(
    project: Path, name: str, to: str, environment: str, bundle_id: str, ticket: str, statements: Path, own: Path, now: datetime
) -> Known:
    """Read everything that can be read before the approval. Raises Refusal where a dossier would speak of something else."""
    source, target = workspace.load(project, name), workspace.load(project, to)
    release = spec.release(project)
    model, settings = release["model"]["name"], release["deploy"]
    credential = identity.sign_in(source, writes=False)
    client = azure.management(source, credential)
    document = bundle.from_workspace(client, credential, model, bundle_id)
    if lines := bundle.mismatches(document, project):
        raise Refusal("the checkout is not what was sealed", "; ".join(lines), "check out the commit of the bundle")
    needed = (spec.RELEASE, settings["endpoint"], settings["deployment"], settings["smoke"])
    if missing := [path for path in needed if path not in document["files"]]:
        raise Refusal("the bundle does not have what this project deploys by", ", ".join(missing), "check out the commit of the bundle")
    if target.registry_name != source.registry_name:
        why = f"{source.name} shares to {source.registry_name or 'none'}, {target.name} reads from {target.registry_name or 'none'}"
        raise Refusal("the two workspaces have not the same registry", why, "set the same registry_name in both workspace specs")
    found, unknown = registry.connect(source, credential), Unknown()
    champion = champion_of(found, model, target.stage, bundle_id)
    if champion.why:
        unknown["champion"] = champion.why
    old = champion.document
    before = {path: commits.file_at(project, old["source"]["commit"], path) for path in old["files"]} if old else {}
    path = settings["deployment"]
    written, gate = unknown.unless("gate", lambda: gate_of(project, environment)) or ({}, None)
    machine = deployment.machine(target, path)
    job = client.find(f"jobs/{document['job']['name']}") or {"properties": {}}
    digests = {bundle_id.removeprefix("sha256:"), document["job"]["content_key"].removeprefix("sha256:")}
    pieces, unreadable = proof.read(statements, project, digests)
    if statements != own:
        more, wrong = proof.read(own, project, digests, own=True)
        pieces, unreadable = pieces + more, unreadable + wrong
    commit = document["source"]["commit"]
    since = old["source"]["commit"] if old else ""  # '' is since the beginning, which is all that may be new
    system, names = unknown.unless("accounts", approval.connect), approval.accounts(written)
    authors = unknown.unless("accounts", lambda: system.authors(project, since, commit, names)) if system else None

    return Known(
        now=now,
        bundle_id=bundle_id,
        bundle=document,
        champion=champion,
        release=release,
        source=source,
        target=target,
        environment=environment,
        endpoint=endpoint.name_of(target, settings["endpoint"]),
        gate=gate,
        cases=spec.smoke(project, settings["smoke"]),
        machine=machine,
        machine_before=unknown.unless("machine_before", lambda: machine_then(project, target, path, old)) if old else None,
        files={each: (project / each).read_bytes() for each in document["files"]},
        files_before=before,
        environments=environments(client, found, document, old),
        commits=unknown.unless("commits", lambda: commits.between(project, since, commit)),
        accounts={one.address.casefold(): one.account for one in authors or ()},
        approvals=unknown.unless("approvals", lambda: [one.mark() for one in system.approvals(gate)]) if system and gate else None,
        job=job,
        initiator=ci.started_by(),
        pieces=pieces,
        unreadable=unreadable,
        history=history(found, model),
        back=still_there(found, champion) if old else [],
        quota=unknown.unless("quota", lambda: quota_after(client, target, *machine)),
        prices=unknown.unless("prices", lambda: prices_of(project)),
        ticket=ticket,
        message=commits.message_of(project, commit),
        hold=unknown.unless("hold", lambda: holds.standing(source, client, credential, bundle_id)),
        unknown=unknown,
    )


def write(folder: Path, document: Mapping[str, Any], dossier_id: str) -> str:
    """Write the four files; created, updated or unchanged."""
    made = {
        dossier.FILE: bundle.canonical(document),
        dossier.PAGE: dossier_page.page(document, dossier_id).encode(),
        dossier.MARKDOWN: dossier_text.markdown(document, dossier_id).encode(),
        dossier.SHORT: dossier_text.short(document, dossier_id).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    before = {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name in made}
    if before == made:
        return "unchanged"
    for name, content in made.items():
        evidence.replace(folder / name, content)
    return "updated" if before[dossier.FILE] is not None else "created"


def earlier(folder: Path) -> Any:
    """The dossier that the folder has, or None."""
    try:
        return json.loads((folder / dossier.FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def compile(
    project: Path, name: str, to: str, environment: str, bundle_id: str, ticket: str, statements: Path, folder: Path
) -> tuple[dict[str, Any], str]:
    """Compile the dossier, write it, leave evidence of it; (document, id)."""
    started = evidence.now()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    read = known(project, name, to, environment, bundle.checked_id(bundle_id), ticket, statements, folder, now)
    document = dossier.settled(dossier.compile(read), earlier(folder / "dossier"))
    dossier_id = dossier.identify(document)
    how = write(folder / "dossier", document, dossier_id)
    ci.say(f"{how}  dossier {dossier_id} of bundle {bundle_id}")
    for one in document["missing"]:
        ci.say(f"not supplied  {one['what']}: {one['why']}")
    if read.approvals is None:
        why = read.unknown.get("approvals") or read.unknown.get("accounts") or read.unknown.get("gate", "")
        ci.warning(f"Which approvals are older than this dossier is not supplied, and production may refuse it: {why}")
    facts = {"dossier": dossier_id, "risk": document["risk"]["class"], "to": to, "environment": environment, "approvals": read.approvals}
    if glass := document["control"]["break_glass"]:
        facts["break_glass"] = glass["review"]
    figures = {"missing": len(document["missing"]), "reasons": len(document["risk"]["reasons"])}
    subject = evidence.about_bundle(document["bundle"]["model"], bundle_id)
    evidence.write(
        folder, evidence.statement(subject, dossier.OWN, "passed", workspace=name, started=started, figures=figures, facts=facts)
    )
    ci.summary(dossier_text.markdown(document, dossier_id), "dossier")
    return document, dossier_id


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--bundle-id", required=True, help="Id of the bundle to promote, sha256:<hex>, an output of seal_bundle.")
    command.argument(made, "--prod-workspace", default="prod", help="Workspace to deploy in; it is described, and not read.")
    command.argument(made, "--environment", default="production", help="The environment whose gate says who may approve.")
    command.argument(made, "--ticket", default="", help="The release's ticket; else the bundle's commit must name one, if the gate asks.")
    command.argument(made, "--statements", default=None, type=Path, help="Folder of the evidence of the jobs before; else --evidence.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and compile the dossier."""
    given = parser().parse_args(argv)
    document, dossier_id = compile(
        given.project, given.workspace, given.prod_workspace, given.environment, given.bundle_id, given.ticket,
        given.statements or given.evidence, given.evidence,
    )  # fmt: skip
    ci.output("dossier_id", dossier_id)
    ci.output("dossier_page", str(given.evidence / "dossier" / dossier.PAGE))
    ci.output("risk_class", document["risk"]["class"])
    return 0


if __name__ == "__main__":
    command.run(main)
