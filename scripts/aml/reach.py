"""Who reaches production, and what is switched on in it, as Azure, its directory and Azure DevOps show it to the auditing application.

What can't be read is a finding: nobody is taken for absent who was not looked for. What of it should not be, aml/audit.py says.
Source: "List owners" of application and servicePrincipal (learn.microsoft.com/graph/api).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError

from aml import access, azure, azure_devops, ci, federation, registry, roles
from aml.command import Refusal
from aml.federation import Credential, Presented
from aml.findings import Finding
from aml.graph import Client as Graph
from aml.graph import NotAllowed
from aml.identity import SCOPE, claims
from aml.roles import Assignment, Role
from aml.workspace import FOLDER, Workspace

T = TypeVar("T")
Document = dict[str, Any]

# What an auditing application needs of Microsoft Graph, with the ids of these permissions ("Microsoft Graph permissions reference").
GRAPH = {
    "Application.Read.All": "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30",
    "GroupMember.Read.All": "98830695-27a2-44f7-8c18-0c3ebc9698f6",
}
_GRAPH_APPLICATION = "00000003-0000-0000-c000-000000000000"
_VERSIONS = {"storage": "2023-01-01", "vault": "2023-07-01", "images": "2023-07-01", "registry": "2023-10-01"}
_PROPERTIES = {"storage": "storageAccount", "vault": "keyVault", "images": "containerRegistry"}
_NAMES = {"storage": "the storage account", "vault": "the key vault", "images": "the container registry", "registry": "the registry"}


@dataclass
class Seen:
    """What was read. What could not be read is a finding in `missing`, and empty where it would stand."""

    at: Workspace
    auditor: str = ""  # the client id of whoever reads
    own_id: str = ""  # the object id of production's principal
    parts: dict[str, str] = field(default_factory=dict)  # workspace, storage, vault, images, registry, managed: their ARM ids
    documents: dict[str, Document] = field(default_factory=dict)
    endpoints: list[Document] = field(default_factory=list)
    computes: list[Document] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    application: Document | None = None
    principal: Document | None = None
    credentials: list[Credential] = field(default_factory=list)
    owners: list[tuple[str, Document]] = field(default_factory=list)  # of which object: applications or servicePrincipals
    people: dict[str, Document] | None = (
        None  # everybody with an assignment, by object id in lower case; None if the directory does not say
    )
    members: dict[str, list[Document]] = field(default_factory=dict)  # of groups, by object id
    planned: dict[str, str] = field(default_factory=dict)  # object ids of the plan's principals: their workspace
    connection: Document | None = None
    missing: list[Finding] = field(default_factory=list)

    def gone(self, object_id: str) -> bool:
        """Whether the directory says that it has nobody of this id."""
        return self.people is not None and object_id.lower() not in self.people

    def name(self, object_id: str) -> str:
        """Somebody's name, with the id that is theirs alone."""
        found = (self.people or {}).get(object_id.lower())
        return called(found) if found else object_id


def called(found: Mapping[str, Any]) -> str:
    """A directory object's name: it may be anything, and may be anybody's, so the id follows."""
    name = found.get("userPrincipalName") or found.get("displayName")
    return f"{name} ({found['id']})" if name else str(found["id"])


def look(at: Workspace, credential: TokenCredential, plan: Document | None, presented: Presented | None = None) -> Seen:
    """Read all that there is. `presented` is what the job itself shows to Entra, if it is one of Azure DevOps'."""
    seen = Seen(at)
    _resources(seen, credential)
    _held(seen, credential)
    _directory(seen, credential, plan)
    if plan:
        _connection(seen, credential, plan, presented)
    return seen


def _ask(seen: Seen, what: str, id: str, ask: Callable[[], T], otherwise: T, fix: str) -> T:
    """What was asked for, or `otherwise` with a note that it was not seen."""
    try:
        return ask()
    except (NotAllowed, HttpResponseError) as error:
        if isinstance(error, HttpResponseError) and error.status_code not in (401, 403, 404):
            raise
        why = f"{error.what}: {error.why}" if isinstance(error, Refusal) else azure.said(error)
    except Refusal as refusal:
        why = str(refusal)
    seen.missing.append(Finding("not-seen", id, f"{what} could not be read: {' '.join(why.split())}", fix))
    return otherwise


def _resources(seen: Seen, credential: TokenCredential) -> None:
    at, client = seen.at, azure.management(seen.at, credential, patient=False)
    fix = _grant(at)
    none: Document = {}
    nobody: list[Document] = []
    seen.parts["workspace"] = at.arm_id
    found = _ask(seen, f"workspace {at.workspace_name}", "workspace", client.get, none, fix)
    seen.documents["workspace"] = found
    for part, name in _PROPERTIES.items():
        if id := (found.get("properties") or {}).get(name):
            seen.parts[part] = str(id)
    if at.registry_name:
        connected = functools.partial(registry.connect, at, credential)
        if known := _ask(seen, f"registry {at.registry_name}", "registry", connected, None, fix):
            seen.parts["registry"] = known.id
    for part in [part for part in _VERSIONS if part in seen.parts]:
        id = seen.parts[part]
        get = functools.partial(client.get, id, **{"api-version": _VERSIONS[part]})
        seen.documents[part] = _ask(seen, f"{_NAMES[part]} {id.rpartition('/')[2]}", part, get, none, fix)
    managed = (seen.documents.get("registry", {}).get("properties") or {}).get("managedResourceGroup") or {}
    if managed.get("resourceId"):
        seen.parts["managed"] = str(managed["resourceId"])
    if found:
        seen.endpoints = _ask(seen, "the endpoints", "endpoints", lambda: list(client.list("onlineEndpoints")), nobody, fix)
        seen.computes = _ask(seen, "the computes", "computes", lambda: list(client.list("computes")), nobody, fix)


def _held(seen: Seen, credential: TokenCredential) -> None:
    at, client = seen.at, roles.client(credential)
    subscription = f"/subscriptions/{at.subscription_id}"
    fix = _grant(at)
    found: dict[str, Assignment] = {}
    for scope in [subscription, *(id for id in seen.parts.values() if not roles.within(id, subscription))]:
        nothing: dict[str, Role] = {}
        seen.roles |= _ask(
            seen, f"the roles at {scope}", f"roles {scope}", functools.partial(roles.definitions, client, scope), nothing, fix
        )
        ask = functools.partial(roles.assignments, client, scope, seen.roles)
        nobody: list[Assignment] = []
        held = _ask(seen, f"the role assignments at {scope}", f"assignments {scope}", ask, nobody, fix)
        found |= {one.id.lower(): one for one in held}
    seen.assignments = [one for one in found.values() if any(roles.reaches(one.scope, part) for part in seen.parts.values())]
    for one in seen.assignments:
        if one.role_id not in seen.roles:
            says = f"role {one.role_id} of {one.id} could not be read: the list of roles at its scope has none of that id"
            seen.missing.append(Finding("not-seen", one.id, says, fix))


def _directory(seen: Seen, credential: TokenCredential, plan: Document | None) -> None:
    at, graph = seen.at, Graph(credential)
    token = claims(credential.get_token(SCOPE).token)
    me = str(token.get("appid") or token.get("azp") or at.client_id)
    seen.auditor, fix = me, permit(me)
    if me.lower() == at.client_id.lower():
        seen.own_id = str(token.get("oid") or "")
    application = functools.partial(graph.application, at.client_id)
    seen.application = _ask(seen, f"application {at.client_id}", "application", application, None, fix)
    principal = functools.partial(graph.service_principal, at.client_id)
    seen.principal = _ask(seen, f"the service principal of {at.client_id}", "principal", principal, None, fix)
    if seen.application:
        nothing: list[Credential] = []
        ask = functools.partial(graph.federated, seen.application)
        seen.credentials = _ask(seen, "the federated credentials", "federated", ask, nothing, fix)
    asked = {one.id for one in seen.missing}
    for id, what, found in (("application", "application", seen.application), ("principal", "service principal", seen.principal)):
        if found is None and id not in asked:  # production has one: whoever does not find it looked in another place
            says = f"the {what} of {at.client_id} could not be read: tenant {at.tenant_id} shows none of that client id"
            seen.missing.append(Finding("not-seen", id, says, f"correct client_id in {FOLDER}/{at.name}.yml, or have it made", "client_id"))
    for kind, found in (("applications", seen.application), ("servicePrincipals", seen.principal)):
        if found:
            nobody: list[Document] = []
            owners = _ask(seen, f"the owners among {kind}", f"owners {kind}", functools.partial(graph.owners, found, kind), nobody, fix)
            seen.owners += [(kind, owner) for owner in owners]
    seen.own_id = str((seen.principal or {}).get("id") or seen.own_id)
    if seen.own_id:
        seen.planned[seen.own_id] = at.name
    for entry in (plan or {}).get("workspaces", ()):
        if entry["workspace"] != at.name:
            what, id = f"the service principal of workspace {entry['workspace']}", entry["client_id"]
            if other := _ask(seen, what, f"principal {id}", functools.partial(graph.service_principal, id), None, fix):
                seen.planned[str(other["id"])] = entry["workspace"]
    ids = sorted({one.principal_id for one in seen.assignments})
    try:
        seen.people = graph.directory_objects(ids) if ids else {}
    except NotAllowed:
        seen.people = None  # without names; what they are, their assignments say
    for one in seen.assignments:
        _open(seen, graph, one, fix)


def _open(seen: Seen, graph: Graph, one: Assignment, fix: str) -> None:
    """Read who is in the group that holds a right; a group that is gone has nobody."""
    group, role = one.principal_id, seen.roles.get(one.role_id)
    if one.principal_type != "Group" or group in seen.members or (role and not role.right) or seen.gone(group):
        return
    what = f"who is in group {seen.name(group)}, which holds {one.role_name} at {one.scope},"
    members = _ask(seen, what, f"group {group}", functools.partial(graph.members, group), None, fix)
    if members is not None:
        seen.members[group] = members


def _connection(seen: Seen, credential: TokenCredential, plan: Document, presented: Presented | None) -> None:
    """What the plan's service connection presents: as Azure DevOps shows it, or as this job presents it, if it is the planned one's.

    A connection of any other name can be made to production's application too, and a job may be of that one.
    """
    entry = entry_of(plan, seen.at)
    if not entry or not any("connection" in one for one in entry["credentials"]):
        return
    trust, name = plan["trust"], entry["connection"]
    found = _of_azure_devops(trust, name, credential)
    own = presented.subject if presented else ""
    named = own == f"sc://{trust['organization']}/{trust['project']}/{name}"  # the old form has no id, and the whole name
    if presented and (named or (found and federation.connection_id(own) == str(found.get("id")).lower())):
        given = {"workloadIdentityFederationIssuer": presented.issuer, "workloadIdentityFederationSubject": own}
        found = {"authorization": {"parameters": given}}
    shown = ((found or {}).get("authorization") or {}).get("parameters") or {}
    seen.connection = found if shown.get("workloadIdentityFederationSubject") else None


def _of_azure_devops(trust: Mapping[str, str], name: str, credential: TokenCredential) -> Document | None:
    """A service connection as Azure DevOps shows it to the job, or else to the sign-in; None if it shows it to neither."""
    *_, token, personal = ci.azure_devops()
    if token and not personal:
        with contextlib.suppress(Refusal):
            client = azure_devops.Client(token, f"https://dev.azure.com/{trust['organization']}/", trust["project"])
            listed = (client.get("serviceendpoint/endpoints", endpointNames=name) or {}).get("value") or []
            if found := next((one for one in listed if one and one.get("name") == name), None):
                return dict(found)
    try:
        return access.Directory(credential).connection(trust, name)
    except (AzureError, ValueError, LookupError):  # not let in: it answers 401, 404, or a page to sign in on
        return None


def entry_of(plan: Document | None, at: Workspace) -> Document | None:
    """What the plan says of a workspace."""
    return next((one for one in (plan or {}).get("workspaces", ()) if one["workspace"] == at.name), None)


def _grant(at: Workspace) -> str:
    return (
        f"python scripts/plan_identity.py --apply, which assigns the role '{roles.AUDITOR}'; or: az role assignment create "
        f"--assignee {at.client_id} --role '{roles.AUDITOR}' --scope /subscriptions/{at.subscription_id}"
    )


def permit(client_id: str) -> str:
    """The command that lets an application see the directory."""
    wanted = " ".join(f"{id}=Role" for id in GRAPH.values())
    return (
        f"az ad app permission add --id {client_id} --api {_GRAPH_APPLICATION} --api-permissions {wanted} && "
        f"az ad app permission admin-consent --id {client_id}  # {' and '.join(GRAPH)}"
    )
