"""Who acts in a project's workspaces, whom they trust and what they may do: as planned in `.cloud/identity.json`, and as it is.

One application a workspace, no secret, roles at the narrowest scope that has what the verbs use. The plan is written from the workspace
specs and reviewed like code; what is there is read from Microsoft Graph, Azure Resource Manager and Azure DevOps.
Sources: "Role assignments" and "Role definitions" (learn.microsoft.com/rest/api/authorization), "Endpoints"
(learn.microsoft.com/rest/api/azure/devops/serviceendpoint), "Entra tokens" for its resource id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential

from aml import azure, ci, federation, registry, roles, spec
from aml.command import Refusal
from aml.federation import GITHUB, Credential
from aml.graph import Client as Graph
from aml.workspace import Workspace

Document = dict[str, Any]

FILE = ".cloud/identity.json"
ENVIRONMENTS = {"dev": "dev", "test": "test", "prod": "production"}  # of each stage: GitHub's environment, the end of the connection's name
QUOTA_READER = "Azure ML quota reader"
SIGNER = "Azure ML evidence signer"

# Role, where, why.
ROLES = [
    (QUOTA_READER, "subscription", "reads sizes and quota of a region; no built-in role has just that"),
    ("AzureML Data Scientist", "workspace", "submits jobs, registers assets, deploys; cannot create compute or change the workspace"),
    ("Storage Blob Data Contributor", "storage", "reads what jobs wrote, to seal it by digest"),
    ("AzureML Registry User", "registry", "hands models over (dev), takes them and records what is live (prod)"),
    (SIGNER, "vault", "signs what was found out; cannot read, replace or renew a key, which no built-in role leaves out"),
]
# What production's principal has beside, to audit who reaches it.
AUDIT = (roles.AUDITOR, "subscription", "lists who reaches production (prod only); no built-in role reads just that")
QUOTA_ACTIONS = [f"Microsoft.MachineLearningServices/locations/{what}/read" for what in ("vmsizes", "usages")]
SIGN_ACTIONS = ["Microsoft.KeyVault/vaults/keys/sign/action"]  # data actions

_HOLDS = {"hold": "holds a bundle", "release_hold": "lets a bundle go that is held"}
_EXPORT = {"export": "reads its ledger"}
_SHARE = {"promote": "shares the bundle", "break_glass": "declares an emergency"}
# The journeys whose jobs sign in to a workspace of each stage, and what for.
JOURNEYS = {
    "dev": {"train": "trains", "deploy": "deploys", **_SHARE, "rollback": "rolls back", **_HOLDS, **_EXPORT},
    "test": {"deploy": "deploys", **_SHARE, "rollback": "rolls back", **_HOLDS},
    "prod": {"promote": "deploys what was approved", "rollback": "rolls back", **_HOLDS, "audit": "audits who reaches it", **_EXPORT},
}
BINDINGS = ("flexible", "subject", "none")
CUSTOMISED = ["repo", "context", "job_workflow_ref"]

_AUTHORIZATION = "providers/Microsoft.Authorization"
_DEVOPS = "499b84ac-1321-427f-aa17-267ca6975798/.default"
_NAMES = uuid.UUID("8f6b7f0e-3d0c-4d55-9a53-b1f6d2f3a6c1")  # assignments get their names from what they assign, so none is made twice


@dataclass
class Found:
    """What there is for one workspace. `scopes` are ARM ids by the words of ROLES; `connection` is the service connection."""

    application: Document | None = None
    principal: Document | None = None
    credentials: list[Credential] = field(default_factory=list)
    assignments: list[Document] = field(default_factory=list)
    connection: Document | None = None


@dataclass(frozen=True)
class Difference:
    """Something that is not as planned. `kind` says how it is mended; '' is for a person to mend, by `fix`."""

    workspace: str
    kind: str
    says: str
    fix: str
    about: Any = None

    @property
    def key(self) -> str:
        """The same difference, read again, has the same key."""
        # A new application has another client id, and is still the one that was missing.
        return f"{self.workspace} {self.kind} {'' if self.kind == 'application' else self.says}"


class Directory:
    """What a platform team's sign-in can read and change. Errors: graph.NotAllowed, Refusal, azure-core's."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential
        self.graph = Graph(credential)
        self.arm = azure.Client(azure.MANAGEMENT, credential, api_version="2022-04-01", patient=False)
        self._roles: dict[str, str] = {}

    def scopes(self, at: Workspace) -> dict[str, str]:
        """The ARM ids at which a workspace's principal gets its roles. Raises Refusal for a workspace or registry that is not there."""
        found = azure.management(at, self._credential, patient=False).find()
        if found is None:
            raise Refusal(
                f"There is no workspace {at.workspace_name} in resource group {at.resource_group} that this sign-in can see",
                "Roles are assigned on the workspace and on its storage, so they must be there first",
                f"have it made, sign in as somebody who can read it, or correct .cloud/workspaces/{at.name}.yml",
            )
        scopes = {"subscription": f"/subscriptions/{at.subscription_id}", "workspace": at.arm_id}
        scopes["storage"] = str(found["properties"]["storageAccount"])
        if at.signing.get("key"):
            scopes["vault"] = self._vault(at, str(found["properties"].get("keyVault", "")))
        if at.registry_name:
            scopes["registry"] = registry.connect(at, self._credential).id
        return scopes

    def _vault(self, at: Workspace, own: str) -> str:
        """The ARM id of the vault that has the signing key: the workspace's own, or another of the subscription."""
        name = at.signing["key"].removeprefix("https://").partition(".")[0].lower()
        if own.rpartition("/")[2].lower() == name:
            return own
        asked = self.arm.list(
            f"/subscriptions/{at.subscription_id}/resources",
            **{"$filter": "resourceType eq 'Microsoft.KeyVault/vaults'", "api-version": "2021-04-01"},
        )
        if found := [str(one["id"]) for one in asked if str(one["name"]).lower() == name]:
            return found[0]
        raise Refusal(
            f"There is no vault {name} that this sign-in can see",
            f"The key that signs for {at.name} is in it, and its principal needs a role there",
            f"have it made, sign in as somebody who can read it, or correct signing.key in .cloud/workspaces/{at.name}.yml",
        )

    def devops(self, trust: Mapping[str, Any]) -> azure.Client:
        """Azure DevOps' REST API, below the organization."""
        return azure.Client(f"https://dev.azure.com/{trust['organization']}", self._credential, api_version="7.1", scope=_DEVOPS)

    def connection(self, trust: Mapping[str, Any], name: str) -> Document | None:
        """A service connection by its name."""
        found = self.devops(trust).get(f"{trust['project']}/_apis/serviceendpoint/endpoints", endpointNames=name)["value"]
        return next((one for one in found if one and one["name"] == name), None)

    def role_name(self, role_id: str) -> str:
        """A role's name by its id, which an assignment has."""
        if role_id not in self._roles:
            found = self.arm.find(role_id)
            self._roles[role_id] = str(found["properties"]["roleName"]) if found else role_id.rpartition("/")[2]
        return self._roles[role_id]

    def role(self, name: str, scope: str) -> Document | None:
        """A role by its name, as seen at a scope."""
        found = self.arm.get(f"{scope}/{_AUTHORIZATION}/roleDefinitions", **{"$filter": f"roleName eq '{name}'"})["value"]
        return found[0] if found else None

    def assignments(self, principal_id: str, subscriptions: Sequence[str]) -> list[Document]:
        """All assignments that reach the principal in some subscriptions, by a group or from above too; with the role's name."""
        found: dict[str, Document] = {}
        for subscription in subscriptions:
            asked = self.arm.list(
                f"/subscriptions/{subscription}/{_AUTHORIZATION}/roleAssignments", **{"$filter": f"assignedTo('{principal_id}')"}
            )
            found |= {str(one["id"]).lower(): one for one in asked}
        return [
            {**one["properties"], "id": one["id"], "role": self.role_name(one["properties"]["roleDefinitionId"])} for one in found.values()
        ]

    def put_role(self, role: Document, there: Document | None) -> None:
        """Make or change a role of our own."""
        id = there["name"] if there else role_id(role)
        scopes = {scope.lower(): scope for scope in [*(there["properties"]["assignableScopes"] if there else ()), *role["scopes"]]}
        body = {"properties": role_body(role, list(scopes.values()))}
        self.arm.put(f"{role['scopes'][0]}/{_AUTHORIZATION}/roleDefinitions/{id}", body)

    def assign(self, entry: Document, wanted: Document) -> None:
        """Assign a role at a scope. `principalType` lets Azure take a principal that is too new to be seen everywhere."""
        role = self.role(wanted["role"], wanted["scope"])
        principal = self.graph.service_principal(entry["client_id"])
        if role is None or principal is None:
            missing = f"role {wanted['role']}" if role is None else f"service principal of {entry['client_id']}"
            raise Refusal(f"There is no {missing}", fix="correct the plan, or run it again in a minute if it was made just now")
        name = assignment_name(principal["id"], role["id"], wanted["scope"])
        body = {
            "roleDefinitionId": role["id"], "principalId": principal["id"], "principalType": "ServicePrincipal",
            "description": wanted["why"],
        }  # fmt: skip
        self.arm.put(f"{wanted['scope']}/{_AUTHORIZATION}/roleAssignments/{name}", {"properties": body})

    def unassign(self, id: str) -> None:
        """Take a role away."""
        self.arm.delete(id)

    def create_connection(self, trust: Mapping[str, Any], entry: Document) -> None:
        """A federated service connection that no pipeline may use before somebody lets it."""
        devops = self.devops(trust)
        project = devops.get(f"_apis/projects/{trust['project']}")
        subscription = self.arm.get(f"/subscriptions/{entry['subscription_id']}", **{"api-version": "2022-12-01"})
        body = {
            "name": entry["connection"],
            "type": "azurerm",
            "url": "https://management.azure.com/",
            "authorization": {
                "scheme": "WorkloadIdentityFederation",
                "parameters": {"tenantid": entry["tenant_id"], "serviceprincipalid": entry["client_id"]},
            },
            "data": {
                "environment": "AzureCloud", "scopeLevel": "Subscription", "creationMode": "Manual",
                "subscriptionId": entry["subscription_id"], "subscriptionName": subscription["displayName"],
            },
            "isShared": False,
            "serviceEndpointProjectReferences": [
                {"name": entry["connection"], "projectReference": {"id": project["id"], "name": project["name"]}}
            ],
        }  # fmt: skip
        devops.post("_apis/serviceendpoint/endpoints", body)

    def found(self, plan: Document, entry: Document) -> Found:
        """What there is for one workspace of the plan."""
        made = Found(application=self.graph.application(entry["client_id"]))
        if made.application:
            made.credentials = self.graph.federated(made.application)
            made.principal = self.graph.service_principal(entry["client_id"])
        if made.principal:
            subscriptions = sorted({one["scope"].split("/")[2].lower() for one in entry["roles"]})
            made.assignments = self.assignments(made.principal["id"], subscriptions)
        if entry.get("connection"):
            made.connection = self.connection(plan["trust"], entry["connection"])
        return made


def held(stage: str) -> list[tuple[str, str, str]]:
    """The roles of the principal of a workspace of this stage, with where and why."""
    return [*ROLES, *([AUDIT] if stage == "prod" else [])]


def planned(at: Workspace, trust: Mapping[str, Any], scopes: Mapping[str, str], kept: Sequence[Document] = ()) -> Document:
    """The plan for one workspace: its application, whom it trusts and what it may do; `surplus` says what there is beside.

    `trust` names the GitHub repository, the catalog and its tags, how production is bound to it, and the Azure DevOps project
    (schemas/identity.schema.json). `kept` is what an earlier plan keeps beside.
    """
    connection = f"azureml-{ENVIRONMENTS[at.stage]}" if trust["organization"] else ""
    return {
        "workspace": at.name,
        "stage": at.stage,
        "tenant_id": at.tenant_id,
        "subscription_id": at.subscription_id,
        "client_id": at.client_id,
        "application": f"{at.workspace_name}-ci",
        **({"connection": connection} if connection else {}),
        "credentials": [*_github(at, trust), *_azure_devops(connection)],
        "roles": [{"role": role, "scope": scopes[where], "why": why} for role, where, why in held(at.stage) if where in scopes],
        "keep": list(kept),
        "remove": [],
    }


def surplus(plan: Document, entry: Document, found: Found) -> list[Document]:
    """What there is beside the plan, as the plan's `remove` lists it."""
    extra = [one for one in differences(plan, entry, found) if one.kind.startswith("extra")]
    made = [{"id": str(one.about), "what": one.says[:500], "why": "it is not in the plan"} for one in extra]
    return sorted(made, key=lambda one: (one["what"], one["id"]))


def _github(at: Workspace, trust: Mapping[str, Any]) -> Iterator[Document]:
    if not (repository := trust["repository"]):
        return
    environment = ENVIRONMENTS[at.stage]
    owner, _, number = trust["repository_ids"].partition("/")
    ids = (owner, number) if owner else None
    subject = federation.github_subject(repository, environment=environment, ids=ids)
    if trust["binding"] == "none" or (trust["binding"] == "flexible" and at.stage != "prod"):
        why = f"jobs of {repository} in environment {environment}"
        yield {"name": federation.name("github", environment), "issuer": GITHUB, "subject": subject, "why": why}
        return
    for journey, what in JOURNEYS[at.stage].items():
        name = federation.name("github", environment, journey)
        came_from = federation.workflow(trust["catalog"], journey, trust["tags"])
        why = f"{what}: the catalog's {journey} at a release, for {repository} in environment {environment}"
        if trust["binding"] == "flexible":
            yield {"name": name, "issuer": GITHUB, "expression": federation.expression(subject, came_from), "why": why}
        else:
            bound = federation.github_subject(repository, environment=environment, ids=ids, claims={"job_workflow_ref": came_from})
            yield {"name": name, "issuer": GITHUB, "subject": bound, "why": why}


def _azure_devops(connection: str) -> Iterator[Document]:
    if connection:
        yield {"name": "azure-devops", "connection": connection, "why": f"jobs of Azure DevOps that service connection {connection} serves"}


def custom_roles(specs: Sequence[Workspace]) -> list[Document]:
    """The roles of our own, made once a tenant and assignable in the subscriptions whose principals have them."""
    made = []
    everybody, signing = [*specs], [at for at in specs if at.signing.get("key")]
    for name, description, actions, data_actions, of in (
        (QUOTA_READER, "Read VM sizes and quota of Azure Machine Learning.", QUOTA_ACTIONS, [], everybody),
        (SIGNER, "Sign with a key of a vault.", [], SIGN_ACTIONS, signing),
        (roles.AUDITOR, roles.AUDITS, roles.AUDIT_ACTIONS, [], [at for at in specs if at.stage == "prod"]),
    ):
        if scopes := sorted({f"/subscriptions/{at.subscription_id}" for at in of}):
            more = {"data_actions": data_actions} if data_actions else {}
            made.append({"name": name, "description": description, "actions": actions, **more, "scopes": scopes})
    return made


def role_id(role: Document) -> str:
    """The GUID of a new role of our own, made of its name and first scope, so that none is made twice."""
    return str(uuid.uuid5(_NAMES, f"{role['name']}|{role['scopes'][0]}".lower()))


def role_body(role: Document, scopes: Sequence[str]) -> Document:
    """A role of our own as Azure takes it."""
    permission = {"actions": role["actions"], "notActions": [], "dataActions": role.get("data_actions", []), "notDataActions": []}
    return {
        "roleName": role["name"], "description": role["description"], "type": "CustomRole", "permissions": [permission],
        "assignableScopes": [*scopes],
    }  # fmt: skip


def credentials(entry: Document, found: Found) -> list[Credential]:
    """The credentials of the plan; one of a service connection has issuer and subject from the connection, if that is there."""
    made = []
    for one in entry["credentials"]:
        if "connection" not in one:
            made.append(Credential(one["name"], one["issuer"], one.get("subject", ""), one.get("expression", ""), why=one["why"]))
        elif found.connection:
            given = found.connection["authorization"]["parameters"]
            issuer, subject = (str(given.get(f"workloadIdentityFederation{part}") or "") for part in ("Issuer", "Subject"))
            if issuer and subject:
                made.append(Credential(one["name"], issuer, subject, why=one["why"]))
    return made


def differences(plan: Document, entry: Document, found: Found) -> list[Difference]:
    """What is not as planned for one workspace, in the order in which it is mended."""
    made = [*_of_application(entry, found), *_of_connection(plan, entry, found)]
    if found.application:
        made += _of_credentials(entry, found)
    if found.principal:
        made += _of_roles(entry, found)
    return made


def _of_application(entry: Document, found: Found) -> Iterator[Difference]:
    name, client = entry["workspace"], entry["client_id"]
    if found.application is None:
        fix = f"az ad app create --display-name {entry['application']}, and its appId as client_id into .cloud/workspaces/{name}.yml"
        yield Difference(name, "application", f"the tenant has no application with client id {client}", fix)
        return
    if (audience := found.application.get("signInAudience")) != "AzureADMyOrg":
        says = f"application {client} is open to other tenants ({audience})"
        yield Difference(name, "audience", says, f"az ad app update --id {client} --sign-in-audience AzureADMyOrg")
    for one in found.application.get("passwordCredentials") or ():
        if not _kept(entry, one["keyId"]):
            says = f"client secret {one['keyId']} ({one.get('displayName') or 'no name'}), valid until {one.get('endDateTime')}"
            yield Difference(name, "extra secret", says, f"az ad app credential delete --id {client} --key-id {one['keyId']}", one["keyId"])
    for one in found.application.get("keyCredentials") or ():
        if not _kept(entry, one["keyId"]):
            says = f"certificate {one['keyId']} ({one.get('displayName') or 'no name'}), valid until {one.get('endDateTime')}"
            fix = f"az ad app credential delete --id {client} --cert --key-id {one['keyId']}"
            yield Difference(name, "", says, fix, one["keyId"])
    if found.principal is None:
        yield Difference(name, "principal", f"application {client} has no service principal", f"az ad sp create --id {client}")
    elif found.principal.get("accountEnabled") is False:
        says = f"the service principal of application {client} is disabled"
        yield Difference(name, "", says, f"ask who did it, and why; then az ad sp update --id {client} --set accountEnabled=true")


def _of_connection(plan: Document, entry: Document, found: Found) -> Iterator[Difference]:
    if not (connection := entry.get("connection")):
        return
    where = f"{plan['trust']['organization']}/{plan['trust']['project']}"
    if found.connection is None:
        says = f"{where} has no service connection {connection}"
        yield Difference(entry["workspace"], "connection", says, "plan_identity --apply, or docs/azure-devops.md, step 3", connection)
        return
    authorization = found.connection["authorization"]
    given = {key.lower(): str(value) for key, value in authorization["parameters"].items()}
    fix = f"delete service connection {connection} of {where} and apply the plan: a connection's application cannot be changed"
    if authorization["scheme"] != "WorkloadIdentityFederation":
        yield Difference(entry["workspace"], "", f"service connection {connection} signs in with a secret", f"convert it in {where}")
    for key, planned_ in (("serviceprincipalid", entry["client_id"]), ("tenantid", entry["tenant_id"])):
        if given.get(key, "").lower() != planned_.lower():
            says = f"service connection {connection} is of {key} {given.get(key)}, not {planned_}"
            yield Difference(entry["workspace"], "", says, fix)


def _of_credentials(entry: Document, found: Found) -> Iterator[Difference]:
    name, there = entry["workspace"], {one.trust: one for one in found.credentials}
    wanted = credentials(entry, found)
    by_name = {one.name.lower(): one for one in found.credentials}
    replaced = set()
    for one in wanted:
        if one.trust in there:
            continue
        same = by_name.get(one.name.lower())
        if same and same.trust not in {other.trust for other in wanted}:
            replaced.add(same.id)
            says = f"credential {one.name} accepts {_accepted(same)}, and should accept {_accepted(one)}"
            yield Difference(name, "change credential", says, command(entry["client_id"], one, same.id), (same.id, one))
        else:
            says = f"no credential accepts {_accepted(one)} of {one.issuer}"
            yield Difference(name, "credential", says, command(entry["client_id"], one), one)
    trusted = {one.trust for one in wanted}
    for other in found.credentials:
        if other.trust in trusted or other.id in replaced or _kept(entry, other.id):
            continue
        says = f"credential {other.name} accepts {_accepted(other)} of {other.issuer}"
        fix = f"az ad app federated-credential delete --id {entry['client_id']} --federated-credential-id {other.id}"
        yield Difference(name, "extra credential", says, fix, other.id)


def _of_roles(entry: Document, found: Found) -> Iterator[Difference]:
    name = entry["workspace"]
    wanted = {(one["role"].lower(), one["scope"].lower()): one for one in entry["roles"]}
    assert found.principal
    principal = str(found.principal["id"])
    held = {(one["role"].lower(), one["scope"].lower()) for one in found.assignments if one["principalId"] == principal}
    for key, one in wanted.items():
        if key not in held:
            fix = f"az role assignment create --assignee {entry['client_id']} --role '{one['role']}' --scope {one['scope']}"
            yield Difference(name, "role", f"role {one['role']} is not assigned at {one['scope']}", fix, one)
    for one in found.assignments:
        if _kept(entry, one["id"]):
            continue
        says = f"role {one['role']} at {one['scope']}"
        if one["principalId"] != principal:
            fix = "take the application out of the group: what a group may do, others decide"
            yield Difference(name, "", f"{says} by group {one['principalId']}", fix, one["id"])
        elif (one["role"].lower(), one["scope"].lower()) not in wanted:
            yield Difference(name, "extra role", says, f"az role assignment delete --ids {one['id']}", one["id"])


def of_custom_role(role: Document, found: Document | None) -> Difference | None:
    """What is not as planned with a role of our own."""
    if found is None:
        return Difference("", "custom role", f"there is no role {role['name']}", "plan_identity --apply", (role, None))
    permission = found["properties"]["permissions"][0]
    allowed = [{action.lower() for action in permission.get(kind) or ()} for kind in ("actions", "dataActions")]
    wanted = [{action.lower() for action in role.get(kind, ())} for kind in ("actions", "data_actions")]
    more = [*(permission.get("notActions") or ()), *found["properties"]["permissions"][1:]]
    scopes = {scope.lower() for scope in found["properties"]["assignableScopes"]}
    missing = [
        scope for scope in role["scopes"] if scope.lower() not in scopes and not any(scope.lower().startswith(one + "/") for one in scopes)
    ]
    if allowed == wanted and not more and not missing:
        return None
    listed = ", ".join(found["properties"]["assignableScopes"])
    says = f"role {role['name']} has actions {', '.join(sorted(set().union(*allowed))) or 'none'} in {listed}"
    return Difference("", "custom role", says, "plan_identity --apply", (role, found))


def of_subject(plan: Document, found: Document) -> Difference | None:
    """What is not as planned with what GitHub makes the repository's subjects of (`GET actions/oidc/customization/sub`)."""
    keys = CUSTOMISED if plan["trust"]["binding"] == "subject" else CUSTOMISED[:2]
    made_of = CUSTOMISED[:2] if found.get("use_default", True) else list(found.get("include_claim_keys") or ())
    if made_of == keys:
        return None
    says = f"GitHub makes the subjects of {plan['trust']['repository']} of {', '.join(made_of)}, and the plan of {', '.join(keys)}"
    return Difference("", "subject", says, subject_command(plan), keys)


def subject_command(plan: Document) -> str:
    """The command that sets what GitHub makes the repository's subjects of, by somebody who administers it."""
    path = f"gh api --method PUT repos/{plan['trust']['repository']}/actions/oidc/customization/sub"
    if plan["trust"]["binding"] != "subject":
        return f"{path} -F use_default=true"
    return f"{path} -F use_default=false {' '.join(f'-f include_claim_keys[]={key}' for key in CUSTOMISED)}"


def _kept(entry: Document, id: str) -> bool:
    return any(one["id"].lower() == str(id).lower() for one in entry["keep"])


def _accepted(one: Credential) -> str:
    return one.expression or one.subject


def command(client_id: str, credential: Credential, id: str = "") -> str:
    """The command that adds (or changes) a credential. Explicit commands of the Azure CLI know no flexible ones; `az rest` does."""
    body = json.dumps({key: value for key, value in credential.body().items() if value is not None})
    quoted = "'" + body.replace("'", "'\\''") + "'"
    if credential.expression:
        url = f"https://graph.microsoft.com/beta/applications(appId='{client_id}')/federatedIdentityCredentials" + (f"/{id}" if id else "")
        return f'az rest --method {"patch" if id else "post"} --url "{url}" --body {quoted}'
    if id:
        return f"az ad app federated-credential update --id {client_id} --federated-credential-id {id} --parameters {quoted}"
    return f"az ad app federated-credential create --id {client_id} --parameters {quoted}"


def assignment_name(principal_id: str, role_id: str, scope: str) -> str:
    """The GUID of an assignment, made of what it assigns."""
    return str(uuid.uuid5(_NAMES, f"{principal_id}|{role_id.rpartition('/')[2]}|{scope}".lower()))


def read(project: Path, path: str = FILE) -> Document | None:
    """The project's plan, checked against its schema; None if it has none. Raises Refusal after printing what is wrong."""
    if not (project / path).exists():
        return None
    found: Document = spec.trusted(project, path, "identity")
    return found


def text(plan: Document) -> str:
    """The plan for who reviews it, as plain text."""
    trust = plan["trust"]
    lines = ["Who acts, whom they trust and what they may do. Made by plan_identity from the workspace specs.", ""]
    if trust["repository"]:
        lines.append(f"GitHub repository {trust['repository']}; production is bound to {_binding(trust)}.")
    if trust["organization"]:
        lines.append(f"Azure DevOps project {trust['organization']}/{trust['project']}.")
    for role in plan["roles"]:
        actions = ", ".join([*role["actions"], *role.get("data_actions", ())])
        lines.append(f"Role {role['name']}, a role of our own: {actions}; in {', '.join(role['scopes'])}.")
    for entry in plan["workspaces"]:
        lines += ["", f"{entry['workspace']} ({entry['stage']}): application {entry['application']}, client id {entry['client_id']}"]
        for one in entry["credentials"]:
            accepts = one.get("expression") or one.get("subject") or f"what service connection {one['connection']} presents"
            lines += [f"  trusts  {one['name']}: {one['why']}", f"          {accepts}"]
        for one in entry["roles"]:
            lines += [f"  may     {one['role']}: {one['why']}", f"          at {one['scope']}"]
        lines += [f"  keeps   {one['what']}, because {one['why']}" for one in entry["keep"]]
        lines += [f"  loses   {one['what']}, because {one['why']}" for one in entry["remove"]]
    return "\n".join(ci.plain(line.replace("\n", " ")) for line in lines) + "\n"


def _binding(trust: Mapping[str, Any]) -> str:
    if trust["binding"] == "none":
        return "its environment alone"
    how = "flexible credentials" if trust["binding"] == "flexible" else f"subjects made of {', '.join(CUSTOMISED)}"
    return f"the workflows {', '.join(JOURNEYS['prod'])} of {trust['catalog']} at tags {trust['tags']}, by {how}"
