"""The plan of who acts where, and what differs from it, without a directory to ask."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from aml import access, federation
from aml.access import Found
from aml.workspace import Workspace

ROOT = Path(__file__).parents[2]
TENANT, SUBSCRIPTION, CLIENT, OTHER = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "1234")
TRUST = {
    "repository": "contoso/delays", "repository_ids": "", "catalog": "contoso/azureml-catalog", "tags": "v1.*", "binding": "flexible",
    "organization": "contoso", "project": "mlops",
}  # fmt: skip
CONNECTION = {
    "name": "azureml-production",
    "authorization": {
        "scheme": "WorkloadIdentityFederation",
        "parameters": {
            "tenantid": TENANT,
            "serviceprincipalid": CLIENT,
            "workloadIdentityFederationIssuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "workloadIdentityFederationSubject": "/eid1/c/pub/t/x/a/y/sc/1/2",
        },
    },
}


def at(stage: str = "prod") -> Workspace:
    return Workspace(
        stage, Path(), stage, tenant_id=TENANT, subscription_id=SUBSCRIPTION, resource_group="g", workspace_name="w", client_id=CLIENT,
        registry_name="r",
    )  # fmt: skip


SCOPES = {where: f"/subscriptions/{SUBSCRIPTION}/{where}" for where in ("workspace", "storage", "registry")}
SCOPES["subscription"] = f"/subscriptions/{SUBSCRIPTION}"


def plan(stage: str = "prod", **trust: str) -> tuple[dict[str, Any], dict[str, Any]]:
    trusted = {**TRUST, **trust}
    entry = access.planned(at(stage), trusted, SCOPES)
    return {"version": 1, "trust": trusted, "roles": access.custom_roles([at(stage)]), "workspaces": [entry]}, entry


def sound(entry: dict[str, Any]) -> Found:
    """Everything as planned."""
    found = Found(
        application={"id": "a", "appId": CLIENT, "signInAudience": "AzureADMyOrg", "passwordCredentials": [], "keyCredentials": []},
        principal={"id": "p", "accountEnabled": True},
        connection=json.loads(json.dumps(CONNECTION)),
        assignments=[{"id": f"{one['scope']}/a", "principalId": "p", "role": one["role"], "scope": one["scope"]} for one in entry["roles"]],
    )
    found.credentials = access.credentials(entry, found)
    return found


def told(stage: str = "prod", **changes: Any) -> list[tuple[str, str]]:
    planned, entry = plan(stage)
    found = sound(entry)
    for name, value in changes.items():
        setattr(found, name, value(getattr(found, name)) if callable(value) else value)
    return [(one.kind, one.says) for one in access.differences(planned, entry, found)]


def test_nothing_differs_from_what_is_as_planned() -> None:
    assert told() == told("dev") == []


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"application": None}, "application", f"the tenant has no application with client id {CLIENT}"),
        ({"application": lambda app: {**app, "signInAudience": "AzureADMultipleOrgs"}}, "audience", "is open to other tenants"),
        (
            {"application": lambda app: {**app, "keyCredentials": [{"keyId": "k", "displayName": None, "endDateTime": "2027"}]}},
            "",
            "certificate k (no name), valid until 2027",
        ),
        ({"principal": None, "assignments": []}, "principal", "has no service principal"),
        ({"principal": {"id": "p", "accountEnabled": False}}, "", "is disabled"),
        ({"connection": lambda one: {**one, "authorization": {**one["authorization"], "scheme": "ServicePrincipal"}}}, "", "with a secret"),
        (
            {"assignments": lambda held: [*held, {"id": "i", "principalId": "team", "role": "Owner", "scope": "/"}]},
            "",
            "role Owner at / by group team",
        ),
        (
            {"assignments": lambda held: [*held, {"id": "i", "principalId": "p", "role": "Owner", "scope": "/"}]},
            "extra role",
            "role Owner at /",
        ),
        ({"assignments": lambda held: held[1:]}, "role", f"role {access.QUOTA_READER} is not assigned at /subscriptions/{SUBSCRIPTION}"),
        ({"credentials": lambda held: held[1:]}, "credential", "no credential accepts claims['sub'] eq"),
    ],
)
def test_what_differs_is_told(changes: dict[str, Any], kind: str, says: str) -> None:
    ((found, text),) = told(**changes)
    assert found == kind
    assert says in text


def test_a_connection_of_another_application_is_told() -> None:
    def another(one: dict[str, Any]) -> dict[str, Any]:
        one["authorization"]["parameters"] |= {"serviceprincipalid": OTHER, "tenantid": OTHER}
        return one

    assert [says for _, says in told(connection=another)] == [
        f"service connection azureml-production is of serviceprincipalid {OTHER}, not {CLIENT}",
        f"service connection azureml-production is of tenantid {OTHER}, not {TENANT}",
    ]


def test_a_missing_connection_is_made_before_what_it_presents_can_be_trusted() -> None:
    planned, entry = plan()
    found = sound(entry)
    found.connection = None
    kinds = [one.kind for one in access.differences(planned, entry, found)]
    assert kinds == ["connection", "extra credential"], "its old credential is of no connection that is known"
    assert len(access.credentials(entry, found)) == len(access.JOURNEYS["prod"])


def test_ids_and_names_compare_without_case_and_trust_with_it() -> None:
    assert told(assignments=lambda held: [{**one, "role": one["role"].upper(), "scope": one["scope"].upper()} for one in held]) == []
    changed = told("dev", credentials=lambda held: [federation.Credential(o.name, o.issuer, o.subject.upper(), id="i") for o in held])
    assert [kind for kind, _ in changed] == ["change credential", "change credential"]


def test_what_is_kept_is_no_difference() -> None:
    planned, entry = plan()
    found = sound(entry)
    found.credentials.append(federation.Credential("other", federation.GITHUB, "repo:x/y:pull_request", id="kept"))
    assert [one["id"] for one in access.surplus(planned, entry, found)] == ["kept"]
    entry["keep"] = [{"id": "KEPT", "what": "other", "why": "until May"}]
    assert access.surplus(planned, entry, found) == []


def test_production_trusts_only_what_is_bound_to_a_release_of_the_catalog() -> None:
    for binding, tags in (("flexible", "v1.*"), ("subject", "v1")):
        _, entry = plan(binding=binding, tags=tags)
        for one in entry["credentials"]:
            text = one.get("expression") or one.get("subject") or one["connection"]
            assert one["name"] == "azure-devops" or "contoso/azureml-catalog/.github/workflows/" in text
            assert one["name"] == "azure-devops" or f"@refs/tags/{tags}" in text
    _, entry = plan(binding="none")
    assert [one.get("subject") for one in entry["credentials"]] == ["repo:contoso/delays:environment:production", None]


def test_the_journeys_that_production_trusts_are_those_that_sign_in_to_it() -> None:
    signing: dict[str, set[str]] = {"dev": set(), "prod": set()}
    for file in (ROOT / ".github" / "workflows").glob("[!_]*.yml"):
        document: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        inputs = document[True]["workflow_call"]["inputs"]
        for job in document["jobs"].values():
            match = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", str(job.get("environment", "")))
            if match:
                signing["prod" if inputs[match[1]].get("default") == "production" else "dev"].add(file.stem)
    there = {path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    either = {"hold", "release_hold"}  # in dev unless they are told otherwise
    assert signing["prod"] | either == set(access.JOURNEYS["prod"]) & there
    assert signing["dev"] <= set(access.JOURNEYS["dev"])


@pytest.mark.parametrize(("changes", "right"), [
    ({}, True),
    ({"actions": [*access.QUOTA_ACTIONS, "*/read"]}, False),
    ({"actions": access.QUOTA_ACTIONS[:1]}, False),
    ({"dataActions": ["*"]}, False),
    ({"notActions": ["a/b"]}, False),
])  # fmt: skip
def test_a_role_of_our_own_has_just_its_actions(changes: dict[str, Any], right: bool) -> None:
    role = {"name": access.QUOTA_READER, "description": "d", "actions": access.QUOTA_ACTIONS, "scopes": [f"/subscriptions/{SUBSCRIPTION}"]}
    permission = {"actions": role["actions"], "notActions": [], "dataActions": [], "notDataActions": [], **changes}
    found = {"name": "x", "properties": {"permissions": [permission], "assignableScopes": role["scopes"]}}
    assert (access.of_custom_role(role, found) is None) == right
    assert access.of_custom_role(role, None)
    elsewhere = {"name": "x", "properties": {"permissions": [permission], "assignableScopes": ["/subscriptions/other"]}}
    assert access.of_custom_role(role, elsewhere)


def test_a_role_that_signs_may_do_nothing_else() -> None:
    role = {"name": access.SIGNER, "description": "d", "actions": [], "data_actions": access.SIGN_ACTIONS, "scopes": ["/subscriptions/1"]}
    for data_actions, right in (
        (access.SIGN_ACTIONS, True),
        ([], False),
        ([*access.SIGN_ACTIONS, "Microsoft.KeyVault/vaults/keys/read"], False),
    ):
        permission = {"actions": [], "notActions": [], "dataActions": data_actions, "notDataActions": []}
        found = {"name": "x", "properties": {"permissions": [permission], "assignableScopes": role["scopes"]}}
        assert (access.of_custom_role(role, found) is None) == right


@pytest.mark.parametrize("hostile", ["it's", "$(id)", "`id`", 'a"b', "a\\b", "a\nb", "; rm -rf /"])
def test_a_command_hands_its_json_on_whatever_is_in_it(hostile: str) -> None:
    classic = federation.Credential("n", federation.GITHUB, f"repo:x/y:environment:{hostile}", why=hostile)
    flexible = federation.Credential("n", federation.GITHUB, expression=f"claims['sub'] eq 'x{hostile.replace(chr(39), '')}'")
    for one, option in ((classic, "--parameters"), (flexible, "--body")):
        for id in ("", "i"):
            words = shlex.split(access.command(CLIENT, one, id))
            body = json.loads(words[words.index(option) + 1])
            assert body.get("subject", "") == one.subject
            assert body.get("claimsMatchingExpression", {}).get("value", "") == one.expression


def test_the_plan_as_text_is_plain(capsys: Any) -> None:
    planned, entry = plan()
    entry["remove"] = [{"id": "i", "what": "credential x\n::error::forged ##vso[task.complete]", "why": "it is not in the plan"}]
    text = access.text(planned)
    assert "\n::error" not in text
    assert "##vso[" not in text
    assert "  loses   credential x ::error::forged # #vso[task.complete], because it is not in the plan" in text
    assert "  may     AzureML Data Scientist: " in text
    assert "  trusts  github-production-promote: deploys what was approved" in text


def test_an_assignment_is_named_by_what_it_assigns() -> None:
    one = access.assignment_name("p", "/x/roleDefinitions/R", "/S")
    assert one == access.assignment_name("P", "/subscriptions/1/roleDefinitions/r", "/s")
    assert one != access.assignment_name("p", "/x/roleDefinitions/R", "/T")
