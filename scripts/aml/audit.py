"""Production without people: who reaches it, what is switched on in it, and what of that is not in the plan.

`look` reads, `judge` compares what was read with the plan (`.cloud/identity.json`, aml/access.py). What can't be read is a finding too:
nobody is taken for absent who was not looked for. What the plan's `keep` names by its id is accepted, with the reason given there.

Not looked at, because other tools own it: roles that somebody may activate for a time (Privileged Identity Management), delegations to
other tenants (Lighthouse), and directory roles such as Application Administrator, which reach every application of the tenant.
Sources: "Access control best practices" and "Set up authentication for online endpoints" (learn.microsoft.com/azure/machine-learning),
"Prevent Shared Key authorization" (learn.microsoft.com/azure/storage), "Assign a Key Vault access policy" (…/azure/key-vault),
"List owners" of application and servicePrincipal (learn.microsoft.com/graph/api).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError

from aml import access, azure, azure_devops, ci, federation, registry, roles
from aml.command import Refusal
from aml.federation import Credential, Presented
from aml.graph import Client as Graph
from aml.graph import NotAllowed
from aml.identity import SCOPE, claims
from aml.roles import Assignment, Role
from aml.sarif import Rule
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


RULES = {
    rule.id: rule
    for rule in (
        Rule(
            "person-write", "error", 9.0, "A person may change production",
            "Whoever can change production by hand can pass by every gate, and no evidence tells of it.",
            "Delete the role assignment, or take the person out of the group that holds it. Let the pipeline do what they did.",
        ),
        Rule(
            "person-data", "error", 8.0, "A person may reach production's data",
            "Models, data and secrets of production are read, or replaced, without a trace in any release.",
            "Delete the role assignment, or take the person out of the group that holds it.",
        ),
        Rule(
            "principal-access", "error", 8.5, "A service principal may do more than the plan says",
            "Whoever can sign in as it can change production, and it is no part of the reviewed plan.",
            "Delete the role assignment; if it is meant, give it a place in the plan's keep, with the reason.",
        ),
        Rule(
            "role-changed", "error", 8.0, "A role of ours allows more than the plan says",
            "Everybody who holds the role has got rights that nobody reviewed.",
            "Apply the plan again, which sets the role to the planned actions.",
        ),
        Rule(
            "application-owner", "error", 9.0, "Somebody owns production's application",
            "An owner can add a credential to the application at any time, and then act in production as the pipeline.",
            "Remove the owner. An application needs none: a directory administrator can always change it.",
        ),
        Rule(
            "client-secret", "error", 8.5, "Production's application has a client secret",
            "A secret can be copied, and works from anywhere, without any gate.",
            "Delete it, and let the pipeline sign in by a federated credential.",
        ),
        Rule(
            "certificate", "error", 7.5, "Production's application has a certificate",
            "Whoever has its key acts in production from anywhere, without any gate.",
            "Delete it, and let the pipeline sign in by a federated credential.",
        ),
        Rule(
            "federated-credential", "error", 9.0, "Production's application trusts somebody who is not in the plan",
            "The jobs that this credential accepts act in production, whatever protects the environment.",
            "Delete the credential, or plan it: plan_identity.",
        ),
        Rule(
            "storage-keys", "error", 7.5, "The storage account accepts its keys",
            "A key opens all of production's data and models to whoever has it, and tells nobody who it was.",
            "Let the workspace's datastores use identities, and disable the keys.",
        ),
        Rule(
            "endpoint-keys", "error", 7.0, "An endpoint accepts a key",
            "A key does not expire, is shared by all who call, and cannot be told from another caller's.",
            "Set auth_mode: aad_token in the endpoint's file, and at the endpoint.",
        ),
        Rule(
            "registry-admin", "error", 7.0, "The container registry has an admin account",
            "Its password lets whoever has it replace the images that production runs.",
            "Disable the admin account; the workspace pulls images by its identity.",
        ),
        Rule(
            "vault-policy", "error", 8.0, "An access policy of the key vault lets somebody in",
            "Access policies stand beside role assignments, and show in none of their lists.",
            "Delete the policy, or better, let roles decide: az keyvault update --enable-rbac-authorization true.",
        ),
        Rule(
            "orphan", "warning", 3.0, "A role is assigned to somebody who is gone",
            "Nobody can use it today, but nobody should have to wonder.",
            "Delete the role assignment.",
        ),
        Rule(
            "not-seen", "error", 6.0, "The audit is incomplete",
            "What can't be read can't be found clean.",
            "Give the auditing application the right that is named, or accept it with allow_incomplete.",
        ),
    )
}  # fmt: skip
_ORDER = list(RULES)


@dataclass(frozen=True)
class Finding:
    """Something that should not be. `id` names what it is about, for the plan's `keep` and for fingerprints; `key` is the key of the
    workspace spec that leads there; `accepted` is the reason why it may stay, '' if it may not."""

    rule: str
    id: str
    says: str
    fix: str
    key: str = "workspace_name"
    accepted: str = ""

    @property
    def level(self) -> str:
        """`error`, `warning`, or `none` for what is accepted."""
        return "none" if self.accepted else RULES[self.rule].level

    @property
    def fingerprint(self) -> str:
        """The same for the same thing in every run, whatever it is called and wherever it stands in the file."""
        return hashlib.sha256(f"{self.rule}\0{self.id.lower()}".encode()).hexdigest()


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
    seen.auditor, fix = me, _permit(me)
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
    entry = _entry(plan, seen.at)
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


def _entry(plan: Document | None, at: Workspace) -> Document | None:
    return next((one for one in (plan or {}).get("workspaces", ()) if one["workspace"] == at.name), None)


def judge(seen: Seen, plan: Document | None) -> list[Finding]:
    """What should not be, worst first. What the plan keeps is among it, accepted."""
    entry = _entry(plan, seen.at)
    found = [*seen.missing, *_no_plan(seen, plan), *_of_assignments(seen, plan), *_of_roles(seen, plan)]
    found += [*_of_application(seen), *_of_federation(seen, entry), *_of_settings(seen)]
    kept = {one["id"].lower(): one["why"] for one in (entry or {}).get("keep", ())}
    found = [_accept(one, kept.get(one.id.lower(), "")) for one in found]
    return sorted(found, key=lambda one: (["error", "warning", "none"].index(one.level), _ORDER.index(one.rule), one.id.lower()))


def _accept(one: Finding, why: str) -> Finding:
    # What was not seen is accepted for a run, by the flag, and not for good.
    return one if one.rule == "not-seen" else Finding(one.rule, one.id, one.says, one.fix, one.key, why)


def _no_plan(seen: Seen, plan: Document | None) -> Iterator[Finding]:
    if _entry(plan, seen.at) is None:
        says = f"the plan for workspace {seen.at.name} could not be read: the project has no {access.FILE} that names it"
        yield Finding("not-seen", "plan", says, "python scripts/plan_identity.py, and review what it writes", "client_id")


def allowed(seen: Seen, plan: Document | None) -> dict[str, set[tuple[str, str]]]:
    """What the plan gives to the principal of each workspace: role and scope. Without a plan, what one would give to production's."""
    if plan is None:
        trust = dict.fromkeys(("repository", "repository_ids", "organization", "project", "catalog", "tags"), "") | {"binding": "none"}
        scopes = {"subscription": f"/subscriptions/{seen.at.subscription_id}", **seen.parts}
        entries = [access.planned(seen.at, trust, scopes)]
    else:
        entries = plan["workspaces"]
    return {one["workspace"]: {(role["role"].lower(), _flat(role["scope"])) for role in one["roles"]} for one in entries}


def _of_assignments(seen: Seen, plan: Document | None) -> Iterator[Finding]:
    planned, ours = allowed(seen, plan), identities(seen)
    unknown = [pairs for workspace, pairs in planned.items() if workspace not in seen.planned.values()]
    own = {one["name"].lower() for one in _roles_of_ours(seen, plan)}
    for one in seen.assignments:
        role = seen.roles.get(one.role_id)
        right = role.right if role else "do what its role allows, which could not be read"
        where, key = f"at {one.scope}", _key(seen, one.scope)
        what = f"{one.role_name} {where}{' (its condition is not evaluated)' if one.condition else ''} and so may {right}"
        fix = f"az role assignment delete --ids {shlex.quote(one.id)}"
        pair = (one.role_name.lower(), _flat(one.scope))
        who = f"service principal {seen.name(one.principal_id)}"
        if one.principal_id in seen.planned:
            named_alike = bool(role and role.custom and role.name.lower() not in own)  # a custom role may have a built-in one's name
            if named_alike or pair not in planned.get(seen.planned[one.principal_id], ()):
                says = f"{who} holds {one.role_name}{' (a custom role)' if named_alike else ''} {where}, which is not in the plan"
                yield Finding("principal-access", one.id, says, fix, key)
            continue
        if one.principal_type == "ServicePrincipal" and any(pair in pairs for pairs in unknown):
            says = f"whether {who}, which holds {one.role_name} {where}, is the planned one could not be read"
            yield Finding("not-seen", one.id, says, _permit(seen.auditor), key)
            continue
        if not right:
            continue
        if seen.gone(one.principal_id):
            says = f"{one.principal_type} {one.principal_id}, which the directory no longer has, holds {one.role_name} {where}"
            yield Finding("orphan", one.id, says, fix, key)
        elif one.principal_type == "ServicePrincipal":
            if not (one.principal_id in ours and _at_home(seen, one.scope)):
                yield Finding("principal-access", one.id, f"{who} holds {what}", fix, key)
        elif one.principal_type == "Group":
            yield from _of_group(seen, one, what, fix, key, ours if _at_home(seen, one.scope) else set())
        else:
            kind = "person" if one.principal_type == "User" else one.principal_type
            yield Finding(_person(role), one.id, f"{kind} {seen.name(one.principal_id)} holds {what}", fix, key)


def _of_group(seen: Seen, one: Assignment, what: str, fix: str, key: str, ours: set[str]) -> Iterator[Finding]:
    if (members := seen.members.get(one.principal_id)) is None:
        return  # not seen, and said so
    people = [called(each) for each in members if _kind(each) == "user"]
    others = [called(each) for each in members if _kind(each) not in ("user", "group") and each["id"] not in ours]
    group = f"group {seen.name(one.principal_id)}"
    if people:
        says = f"{group} holds {what}; in it: {_listed(people)}{f'; also {_listed(others)}' if others else ''}"
        yield Finding(_person(seen.roles.get(one.role_id)), one.id, says, fix, key)
    elif others:
        yield Finding("principal-access", one.id, f"{group} holds {what}; in it: {_listed(others)}", fix, key)
    elif not members:
        says = f"{group}, which nobody is in today, holds {what}; whoever manages the group decides who does"
        yield Finding("principal-access", one.id, says, fix, key)


def _of_roles(seen: Seen, plan: Document | None) -> Iterator[Finding]:
    """Custom roles that the plan names, and that are more than it says by now."""
    wanted = {one["name"].lower(): [*one["actions"], *one.get("data_actions", ())] for one in _roles_of_ours(seen, plan)}
    held = {one.role_id for one in seen.assignments}
    for role in seen.roles.values():
        if role.custom and role.id in held and (actions := wanted.get(role.name.lower())) and (more := role.beyond(actions)):
            says = f"role {role.name} has {_listed(more)} beyond the plan"
            yield Finding("role-changed", role.id, says, "python scripts/plan_identity.py --apply", "subscription_id")


def _roles_of_ours(seen: Seen, plan: Document | None) -> list[Document]:
    return list(plan["roles"]) if plan else access.custom_roles([seen.at])


def _of_application(seen: Seen) -> Iterator[Finding]:
    client = seen.at.client_id
    for kind, owner in seen.owners:
        of = "application" if kind == "applications" else "service principal"
        says = f"{_kind(owner) or 'somebody'} {called(owner)} owns {of} {client} and can add a credential to it"
        fix = f"az ad app owner remove --id {client} --owner-object-id {owner['id']}"
        if kind != "applications" and seen.principal:
            address = f"https://graph.microsoft.com/v1.0/servicePrincipals/{seen.principal['id']}/owners/{owner['id']}/$ref"
            fix = f"az rest --method delete --url '{address}'"
        yield Finding("application-owner", f"{kind}/{owner['id']}", says, fix, "client_id")
    for word, found in (("app", seen.application), ("sp", seen.principal)):
        of = "application" if word == "app" else "service principal"
        for rule, name, flag in (("client-secret", "passwordCredentials", ""), ("certificate", "keyCredentials", " --cert")):
            for one in (found or {}).get(name) or ():
                says = f"{of} {client} has {rule.replace('-', ' ')} {one.get('displayName') or 'without a name'} ({one['keyId']}), "
                says += f"valid until {one.get('endDateTime') or 'ever'}"
                fix = f"az ad {word} credential delete --id {client} --key-id {one['keyId']}{flag}"
                yield Finding(rule, str(one["keyId"]), says, fix, "client_id")


def _of_federation(seen: Seen, entry: Document | None) -> Iterator[Finding]:
    if entry is None:
        for one in seen.credentials:
            says = f"whether federated credential {one.name}, which accepts {_accepts(one)}, is meant could not be read: there is no plan"
            yield Finding("not-seen", one.id or one.name, says, "python scripts/plan_identity.py", "client_id")
        return
    trusted = {one.trust for one in access.credentials(entry, access.Found(connection=seen.connection))}
    unknown = [one for one in seen.credentials if one.trust not in trusted]
    kept = {one["id"].lower() for one in entry["keep"]}
    # One credential may be the planned connection's; more than that are not, and nobody here can tell which.
    open_ = 0 if seen.connection else sum("connection" in one for one in entry["credentials"])
    candidates = [one for one in unknown if federation.connection(one.subject) and one.id.lower() not in kept]
    for one in unknown:
        says = f"federated credential {one.name} accepts {_accepts(one)} of {one.issuer}"
        fix = f"az ad app federated-credential delete --id {seen.at.client_id} --federated-credential-id {one.id}"
        if one in candidates and len(candidates) <= open_:
            says = f"whether {one.subject} is service connection {entry['connection']} could not be read: Azure DevOps does not say"
            fix = (
                "run the audit on Azure DevOps too, or let the auditing application read that connection, or keep the credential by its id"
            )
            yield Finding("not-seen", one.id, says, fix, "client_id")
        else:
            yield Finding("federated-credential", one.id, says, fix, "client_id")


def _of_settings(seen: Seen) -> Iterator[Finding]:
    at = seen.at
    here = f"--resource-group {shlex.quote(at.resource_group)} --workspace-name {shlex.quote(at.workspace_name)}"
    said = {part: document.get("properties") or {} for part, document in seen.documents.items() if document}
    # Where the property is missing, keys are accepted: "Prevent Shared Key authorization".
    if "storage" in said and said["storage"].get("allowSharedKeyAccess") is not False:
        account = seen.parts["storage"]
        fix = f"az storage account update --ids {shlex.quote(account)} --allow-shared-key-access false"
        if str(said["workspace"].get("systemDatastoresAuthMode") or "").lower() != "identity":
            named = f"--name {shlex.quote(at.workspace_name)} --resource-group {shlex.quote(at.resource_group)}"
            fix = f"az ml workspace update {named} --system-datastores-auth-mode identity && {fix}"
        yield Finding("storage-keys", account, f"storage account {account.rpartition('/')[2]} accepts its keys", fix)
    for one in seen.endpoints:
        mode = str((one.get("properties") or {}).get("authMode") or "")
        if mode.lower() not in ("aadtoken", "amltoken"):
            fix = f"az ml online-endpoint update --name {shlex.quote(one['name'])} {here} --set auth_mode=aad_token"
            key = "endpoint_name" if one["name"] == at.endpoint_name else "workspace_name"
            yield Finding(
                "endpoint-keys", str(one["id"]), f"endpoint {one['name']} accepts a key (auth_mode: {mode.lower() or 'not said'})", fix, key
            )
    if "images" in said and said["images"].get("adminUserEnabled"):
        images = seen.parts["images"]
        fix = f"az acr update --name {shlex.quote(images.rpartition('/')[2])} --admin-enabled false"
        yield Finding("registry-admin", images, f"container registry {images.rpartition('/')[2]} has its admin account enabled", fix)
    if "vault" in said and not said["vault"].get("enableRbacAuthorization"):
        yield from _of_policies(seen, said["vault"])


def _of_policies(seen: Seen, vault: Mapping[str, Any]) -> Iterator[Finding]:
    id, ours = seen.parts["vault"], identities(seen)
    for one in vault.get("accessPolicies") or ():
        who = str(one["objectId"])
        if who in ours:
            continue
        granted = "; ".join(f"{what}: {', '.join(map(str, rights))}" for what, rights in (one.get("permissions") or {}).items() if rights)
        says = f"an access policy of key vault {id.rpartition('/')[2]} gives {seen.name(who)} {granted or 'nothing'}"
        fix = f"az keyvault delete-policy --name {shlex.quote(id.rpartition('/')[2])} --object-id {shlex.quote(who)}"
        yield Finding("vault-policy", f"{id}/accessPolicies/{who}", says, fix)


def identities(seen: Seen) -> set[str]:
    """The object ids of the managed identities of production's own resources; a user-assigned one only if it is in the same group."""
    found = set()
    for document in (seen.documents.get("workspace", {}), seen.documents.get("registry", {}), *seen.endpoints, *seen.computes):
        identity = document.get("identity") or {}
        if identity.get("principalId"):
            found.add(str(identity["principalId"]))
        for id, one in (identity.get("userAssignedIdentities") or {}).items():
            if one.get("principalId") and roles.within(id, _group(seen.at)):
                found.add(str(one["principalId"]))
    return found


def _at_home(seen: Seen, scope: str) -> bool:
    return any(roles.within(scope, home) for home in (_group(seen.at), *seen.parts.values()))


def _group(at: Workspace) -> str:
    return f"/subscriptions/{at.subscription_id}/resourceGroups/{at.resource_group}"


def _key(seen: Seen, scope: str) -> str:
    """The key of the workspace spec that leads to a scope."""
    if any(part in seen.parts and roles.within(scope, seen.parts[part]) for part in ("registry", "managed")):
        return "registry_name"
    if roles.within(scope, seen.at.arm_id):
        return "workspace_name"
    return "resource_group" if roles.within(scope, _group(seen.at)) else "subscription_id"


def _person(role: Role | None) -> str:
    return "person-write" if role is None or role.write else "person-data"


def _kind(found: Mapping[str, Any]) -> str:
    return str(found.get("@odata.type") or "").rpartition(".")[2]


def _listed(words: Iterable[str], most: int = 20) -> str:
    every = sorted(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _accepts(one: Credential) -> str:
    return one.expression or one.subject


def _flat(scope: str) -> str:
    return scope.rstrip("/").lower()


def _grant(at: Workspace) -> str:
    return (
        f"python scripts/plan_identity.py --apply, which assigns the role '{roles.AUDITOR}'; or: az role assignment create "
        f"--assignee {at.client_id} --role '{roles.AUDITOR}' --scope /subscriptions/{at.subscription_id}"
    )


def _permit(client_id: str) -> str:
    wanted = " ".join(f"{id}=Role" for id in GRAPH.values())
    return (
        f"az ad app permission add --id {client_id} --api {_GRAPH_APPLICATION} --api-permissions {wanted} && "
        f"az ad app permission admin-consent --id {client_id}  # {' and '.join(GRAPH)}"
    )
