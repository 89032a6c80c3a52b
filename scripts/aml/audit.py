"""Production without people: who reaches it, what is switched on in it, and what of that is not in the plan.

`judge` compares what aml/reach.py read with the plan (`.cloud/identity.json`, aml/access.py). What the plan's `keep` names by its id is
accepted, with the reason given there.

Not looked at, because other tools own it: roles that somebody may activate for a time (Privileged Identity Management), delegations to
other tenants (Lighthouse), and directory roles such as Application Administrator, which reach every application of the tenant.
Sources: "Access control best practices" and "Set up authentication for online endpoints" (learn.microsoft.com/azure/machine-learning),
"Prevent Shared Key authorization" (learn.microsoft.com/azure/storage), "Assign a Key Vault access policy" (…/azure/key-vault).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aml import access, federation, roles
from aml.federation import Credential
from aml.findings import RULES, Finding
from aml.reach import Document, Seen, called, entry_of, permit
from aml.roles import Assignment, Role
from aml.workspace import Workspace


def judge(seen: Seen, plan: Document | None) -> list[Finding]:
    """What should not be, worst first. What the plan keeps is among it, accepted."""
    entry = entry_of(plan, seen.at)
    found = [*seen.missing, *_no_plan(seen, plan), *_of_assignments(seen, plan), *_of_roles(seen, plan)]
    found += [*_of_application(seen), *_of_federation(seen, entry), *_of_settings(seen)]
    kept = {one["id"].lower(): one["why"] for one in (entry or {}).get("keep", ())}
    found = [_accept(one, kept.get(one.id.lower(), "")) for one in found]
    return sorted(found, key=lambda one: (["error", "warning", "none"].index(one.level), list(RULES).index(one.rule), one.id.lower()))


def _accept(one: Finding, why: str) -> Finding:
    # What was not seen is accepted for a run, by the flag, and not for good.
    return one if one.rule == "not-seen" else Finding(one.rule, one.id, one.says, one.fix, one.key, why)


def _no_plan(seen: Seen, plan: Document | None) -> Iterator[Finding]:
    if entry_of(plan, seen.at) is None:
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
            yield Finding("not-seen", one.id, says, permit(seen.auditor), key)
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
