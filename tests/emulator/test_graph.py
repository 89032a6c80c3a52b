"""Microsoft Graph: the directory, and who may read and change it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from emulator.core import ADMIN_CLIENT_ID, TENANT
from emulator.entra import flexible, models
from emulator.github import models as github

GRAPH = "https://graph.microsoft.com/v1.0"


@pytest.fixture
def ask(send: Any, sign_in: Any) -> Any:
    """A request to Graph as the administrator; the answer whatever it is."""
    token = sign_in("https://graph.microsoft.com/.default")

    def ask(method: str, path: str, body: Any = None, **params: str) -> Any:
        return send(method, GRAPH + path, token=token, json=body, params=params)

    return ask


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_life_of_an_application(ask: Any, graph: Any, send: Any, sign_in: Any) -> None:
    name = f"app {uuid.uuid4().hex[:6]}"
    app = graph("POST", "/applications", {"displayName": name, "identifierUris": [f"api://{name.replace(' ', '-')}"]})
    assert graph("GET", "/applications", **{"$filter": f"appId eq '{app['appId']}'"})["value"][0]["id"] == app["id"]
    assert graph("GET", "/applications", **{"$filter": f"startswith(displayName,'{name.upper()}')"})["value"][0]["id"] == app["id"]
    assert (
        graph("GET", "/applications", **{"$filter": f"identifierUris/any(s:s eq '{app['identifierUris'][0]}')"})["value"][0]["id"]
        == app["id"]
    )
    assert graph("GET", "/applications", **{"$filter": f"displayName eq '{name}x'"})["value"] == []

    principal = graph("POST", "/servicePrincipals", {"appId": app["appId"], "accountEnabled": True})
    assert principal["servicePrincipalNames"] == [app["appId"], *app["identifierUris"]]
    assert error(ask("POST", "/servicePrincipals", {"appId": app["appId"]})) == (409, "Request_MultipleObjectsWithSameKeyValue")
    unknown = ask("POST", "/servicePrincipals", {"appId": str(uuid.uuid4())})
    assert error(unknown) == (400, "Request_BadRequest")
    assert " does not reference a valid application object" in unknown.json()["error"]["message"], "which az waits for"

    first = graph("POST", f"/applications/{app['id']}/addPassword", {"passwordCredential": {"displayName": "one"}})
    assert sign_in(client_id=app["appId"], secret=first["secretText"])
    (shown,) = graph("GET", f"/applications/{app['id']}")["passwordCredentials"]
    assert (shown["keyId"], shown["displayName"], shown["secretText"], shown["hint"]) == (
        first["keyId"],
        "one",
        None,
        first["secretText"][:3],
    )
    assert "secretHash" not in shown
    graph("POST", f"/applications/{app['id']}/removePassword", {"keyId": first["keyId"]})
    assert graph("GET", f"/applications/{app['id']}")["passwordCredentials"] == []
    assert error(ask("POST", f"/applications/{app['id']}/removePassword", {"keyId": first["keyId"]})) == (400, "Request_BadRequest")

    graph("PATCH", f"/applications/{app['id']}", {"displayName": name + " renamed"})
    assert graph("GET", f"/servicePrincipals/{principal['id']}")["displayName"] == name + " renamed"
    found = graph(
        "POST", "/directoryObjects/getByIds", {"ids": [principal["id"], str(uuid.uuid4())], "types": ["servicePrincipal", "user"]}
    )
    assert [(one["@odata.type"], one["id"]) for one in found["value"]] == [("#microsoft.graph.servicePrincipal", principal["id"])]

    graph("DELETE", f"/applications/{app['id']}")
    assert error(ask("GET", f"/applications/{app['id']}")) == (404, "Request_ResourceNotFound")
    assert error(ask("GET", f"/servicePrincipals/{principal['id']}")) == (404, "Request_ResourceNotFound")


def test_federated_credentials(ask: Any, graph: Any) -> None:
    app = graph("POST", "/applications", {"displayName": "federated"})
    path = f"/applications/{app['id']}/federatedIdentityCredentials"
    body = {
        "name": "production",
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:contoso/flight-delay:environment:production",
        "audiences": [models.EXCHANGE_AUDIENCE],
        "description": "the promote job",
    }
    made = graph("POST", path, body)
    assert {name: made[name] for name in body} == body
    assert graph("GET", f"{path}/production")["id"] == graph("GET", f"{path}/{made['id']}")["id"] == made["id"]
    assert error(ask("POST", path, {**body, "subject": "repo:contoso/other:environment:production"}))[0] == 409, "the name is taken"
    taken = ask("POST", path, {**body, "name": "other"})
    assert error(taken) == (400, "InvalidFederatedIdentityCredentialValue")
    assert taken.json()["error"]["message"].startswith("The combination of issuer and subject must be unique for the application.")
    assert error(ask("POST", path, body)) == (409, "Request_MultipleObjectsWithSameKeyValue"), "also for one that is equal"
    assert error(ask("POST", path, {**body, "name": "with space"})) == (400, "Request_BadRequest")
    assert error(ask("POST", path, {**body, "name": "n" * 121})) == (400, "Request_BadRequest")
    assert error(ask("POST", path, {"name": "empty"})) == (400, "Request_BadRequest")
    assert error(ask("POST", path, {**body, "name": "two", "audiences": ["a", "b"]})) == (400, "Request_BadRequest")
    graph("PATCH", f"{path}/production", {"subject": "repo:contoso/flight-delay:environment:prod"})
    assert [one["subject"] for one in graph("GET", path)["value"]] == ["repo:contoso/flight-delay:environment:prod"]
    assert error(ask("PATCH", f"{path}/production", {"name": "renamed"})) == (400, "Request_BadRequest")
    by_client = f"/applications(appId='{app['appId']}')/federatedIdentityCredentials"
    assert graph("GET", by_client) == graph("GET", path)
    for number in range(19):
        graph("POST", path, {**body, "name": f"n{number}", "subject": f"repo:contoso/n{number}:environment:production"})
    full = ask("POST", path, {**body, "name": "n20", "subject": "repo:contoso/n20:environment:production"})
    assert (error(full), "at most 20" in full.text) == ((400, "Request_BadRequest"), True)
    assert error(ask("PATCH", f"{path}/n1", {"subject": "repo:contoso/n2:environment:production"}))[0] == 400
    for each in graph("GET", path)["value"]:
        graph("DELETE", f"{path}/{each['id']}")
    assert graph("GET", path)["value"] == []
    assert "federatedIdentityCredentials" not in graph("GET", f"/applications/{app['id']}")


FLEXIBLE = {
    "name": "promote",
    "issuer": "https://token.actions.githubusercontent.com",
    "audiences": [models.EXCHANGE_AUDIENCE],
    "subject": None,
    "claimsMatchingExpression": {
        "languageVersion": 1,
        "value": "claims['sub'] eq 'repo:contoso/flight-delay:environment:production' and "
        "claims['job_workflow_ref'] matches 'contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/v?*'",
    },
}


@pytest.fixture
def beta(send: Any, sign_in: Any) -> Any:
    """A request to Graph's beta as the administrator; the answer whatever it is."""
    token = sign_in("https://graph.microsoft.com/.default")

    def beta(method: str, path: str, body: Any = None) -> Any:
        return send(method, f"https://graph.microsoft.com/beta{path}", token=token, json=body)

    return beta


def test_flexible_credentials(ask: Any, beta: Any, graph: Any) -> None:
    app = graph("POST", "/applications", {"displayName": "flexible"})
    path = f"/applications/{app['id']}/federatedIdentityCredentials"
    refused = ask("POST", path, FLEXIBLE)
    assert (error(refused), "claimsMatchingExpression" in refused.text) == ((400, "BadRequest"), True), "v1.0 does not know them"
    made = beta("POST", path, FLEXIBLE)
    assert made.status_code == 201, made.text
    assert (made.json()["subject"], made.json()["claimsMatchingExpression"]) == (None, FLEXIBLE["claimsMatchingExpression"])
    classic = {"name": "classic", "issuer": FLEXIBLE["issuer"], "subject": "repo:a/b:environment:c", "audiences": FLEXIBLE["audiences"]}
    assert beta("POST", path, classic).json()["claimsMatchingExpression"] is None
    assert [one["name"] for one in beta("GET", path).json()["value"]] == ["promote", "classic"]
    broken = ask("GET", path)
    assert broken.status_code == 200
    assert broken.text.endswith('has a null value, which is not allowed."}}'), "v1.0 breaks its answer off"
    with pytest.raises(ValueError, match="Expecting"):
        broken.json()
    one = f"{path}/promote"
    assert beta("PATCH", one, {"claimsMatchingExpression": None, "subject": "repo:a/b:environment:d"}).status_code == 204
    assert ask("GET", path).json()["value"][0]["subject"] == "repo:a/b:environment:d"
    assert beta("PATCH", one, {"subject": None, "claimsMatchingExpression": FLEXIBLE["claimsMatchingExpression"]}).status_code == 204
    assert beta("GET", one).json()["subject"] is None
    assert error(beta("PATCH", one, {"subject": "repo:a/b:environment:d"}))[0] == 400, "both"
    assert error(beta("PATCH", one, {"claimsMatchingExpression": None}))[0] == 400, "neither"


@pytest.mark.parametrize(
    ("expression", "issuer", "why"),
    [
        ("claims['sub'] like 'x'", FLEXIBLE["issuer"], "malformed at character 1"),
        ("claims['sub'] eq 'x' or claims['sub'] eq 'y'", FLEXIBLE["issuer"], "malformed at character 21"),
        ("claims['sub']  eq 'x'", FLEXIBLE["issuer"], "malformed"),
        ("claims['repository'] eq 'x'", FLEXIBLE["issuer"], "the claim 'repository' is not supported"),
        ("claims['job_workflow_ref'] eq 'x'", "https://gitlab.com", "the claim 'job_workflow_ref' is not supported"),
        ("claims['sub'] eq 'x'", "https://vstoken.dev.azure.com/0", "not supported for the issuer"),
        ("", FLEXIBLE["issuer"], "malformed"),
    ],
)
def test_expressions_are_checked(beta: Any, graph: Any, expression: str, issuer: str, why: str) -> None:
    app = graph("POST", "/applications", {"displayName": "flexible"})
    body = {**FLEXIBLE, "issuer": issuer, "claimsMatchingExpression": {"value": expression, "languageVersion": 1}}
    answer = beta("POST", f"/applications/{app['id']}/federatedIdentityCredentials", body)
    assert error(answer) == (400, "InvalidFederatedIdentityCredentialValue")
    assert why in answer.json()["error"]["message"]
    for other in ({"subject": "x"}, {"claimsMatchingExpression": {"value": "claims['sub'] eq 'x'", "languageVersion": 2}}):
        assert error(beta("POST", f"/applications/{app['id']}/federatedIdentityCredentials", {**FLEXIBLE, **other}))[0] == 400


def test_a_flexible_credential_binds_an_identity_to_a_workflow(beta: Any, new_app: Any, send: Any) -> None:
    app = new_app("bound")
    assert beta("POST", f"/applications/{app['id']}/federatedIdentityCredentials", FLEXIBLE).status_code == 201
    promote = "contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/v1"

    def sign_in(environment: str = "production", workflow: str = promote) -> Any:
        query = {"repository": "contoso/flight-delay", "environment": environment, "job_workflow_ref": workflow}
        wanted = {**query, "audience": models.EXCHANGE_AUDIENCE, "api-version": "2.0"}
        assertion = send("GET", github.REQUEST_URL, token="act", params=wanted).json()["value"]
        form = {
            "grant_type": "client_credentials", "client_id": app["appId"], "scope": "https://management.azure.com/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": assertion,
        }  # fmt: skip
        return send("POST", f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=form)

    assert sign_in().status_code == 200
    assert sign_in(workflow=promote.replace("v1", "v1.2.3")).status_code == 200
    for words in (
        {"workflow": promote.replace("tags/v1", "heads/main")},
        {"workflow": promote.replace("promote", "train")},
        {"workflow": promote.replace("contoso/azureml", "evil/azureml")},
        {"workflow": promote.replace("tags/v1", "tags/v")},
        {"workflow": promote.upper()},
        {"environment": "dev"},
    ):
        refused = sign_in(**words)
        assert refused.status_code == 401, words
        assert refused.json()["error_codes"] == [700213], words


def test_quotes_and_wildcards() -> None:
    (clause,) = flexible.parse("claims['sub'] matches 'it''s ?*.[a]'", FLEXIBLE["issuer"])
    assert clause.holds({"sub": "it's x.y.[a]"})
    assert not clause.holds({"sub": "it's .[a]"})
    assert not clause.holds({"sub": "it's x.a"})
    assert not clause.holds({})


def test_groups(ask: Any, graph: Any, new_app: Any) -> None:
    app, other = new_app("member"), new_app("inner member")
    name = f"kim-{uuid.uuid4().hex[:6]}@{models.TENANT_DOMAIN}"
    person = graph("POST", "/users", {"userPrincipalName": name, "displayName": "Kim", "passwordProfile": {"password": "a long password"}})
    form = {"displayName": "team", "mailNickname": "team", "mailEnabled": False, "securityEnabled": True}
    things = "https://graph.microsoft.com/v1.0/directoryObjects"
    inner = graph("POST", "/groups", {**form, "members@odata.bind": [f"{things}/{other['oid']}", f"{things}/{person['id']}"]})
    outer = graph("POST", "/groups", form)
    for oid in (app["oid"], inner["id"]):
        graph("POST", f"/groups/{outer['id']}/members/$ref", {"@odata.id": f"{things}/{oid}"})
    members = graph("GET", f"/groups/{outer['id']}/members")["value"]
    assert [(one["@odata.type"], one["id"]) for one in members] == [
        ("#microsoft.graph.servicePrincipal", app["oid"]), ("#microsoft.graph.group", inner["id"]),
    ]  # fmt: skip
    everybody = graph("GET", f"/groups/{outer['id']}/transitiveMembers")["value"]
    assert {one["id"] for one in everybody} == {app["oid"], inner["id"], other["oid"], person["id"]}
    people = graph("GET", f"/groups/{outer['id']}/transitiveMembers/microsoft.graph.user")["value"]
    assert [one["userPrincipalName"] for one in people] == [name]
    assert [one["id"] for one in graph("GET", f"/users/{name}/memberOf")["value"]] == [inner["id"]]
    assert {one["id"] for one in graph("GET", f"/users/{name}/transitiveMemberOf")["value"]} == {inner["id"], outer["id"]}
    found = graph("POST", "/directoryObjects/getByIds", {"ids": [outer["id"]]})["value"]
    assert [(one["@odata.type"], one["displayName"]) for one in found] == [("#microsoft.graph.group", "team")]
    again = ask("POST", f"/groups/{outer['id']}/members/$ref", {"@odata.id": f"{things}/{app['oid']}"})
    assert (error(again), "already exist" in again.text) == ((400, "Request_BadRequest"), True)
    nobody = ask("POST", f"/groups/{outer['id']}/members/$ref", {"@odata.id": f"{things}/{uuid.uuid4()}"})
    assert error(nobody) == (404, "Request_ResourceNotFound")
    graph("DELETE", f"/groups/{outer['id']}/members/{app['oid']}/$ref")
    assert error(ask("DELETE", f"/groups/{outer['id']}/members/{app['oid']}/$ref")) == (404, "Request_ResourceNotFound")
    graph("DELETE", f"/users/{person['id']}")
    assert [one["id"] for one in graph("GET", f"/groups/{inner['id']}/members")["value"]] == [other["oid"]], "who is gone is no member"
    graph("PATCH", f"/groups/{inner['id']}", {"displayName": "renamed"})
    assert graph("GET", f"/groups/{inner['id']}", **{"$select": "displayName,id"}) == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#groups/$entity", "id": inner["id"], "displayName": "renamed",
    }  # fmt: skip
    graph("DELETE", f"/groups/{inner['id']}")
    assert error(ask("GET", f"/groups/{inner['id']}")) == (404, "Request_ResourceNotFound")
    assert graph("GET", f"/groups/{outer['id']}/members")["value"] == []
    assert error(ask("POST", "/groups", {"displayName": "x"})) == (400, "Request_BadRequest")


def test_owners_may_add_credentials(ask: Any, graph: Any, new_app: Any, send: Any, sign_in: Any) -> None:
    app, stranger = new_app("owned"), new_app("stranger")
    name = f"ann-{uuid.uuid4().hex[:6]}@{models.TENANT_DOMAIN}"
    person = graph("POST", "/users", {"userPrincipalName": name, "displayName": "Ann", "passwordProfile": {"password": "a long password"}})
    form = {"grant_type": "password", "client_id": models.AZURE_CLI, "username": name, "password": "a long password",
            "scope": "https://graph.microsoft.com/.default"}  # fmt: skip
    token = send("POST", f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=form).json()["access_token"]
    path = f"/applications/{app['id']}"

    def as_ann(method: str, where: str, body: Any = None) -> Any:
        return send(method, GRAPH + where, token=token, json=body)

    assert as_ann("GET", path).status_code == 200, "people may read"
    assert error(as_ann("POST", f"{path}/addPassword", {})) == (403, "Authorization_RequestDenied")
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{person['id']}"}
    graph("POST", f"{path}/owners/$ref", reference)
    assert [one["userPrincipalName"] for one in graph("GET", f"{path}/owners")["value"]] == [name]
    assert as_ann("POST", f"{path}/addPassword", {}).status_code == 200
    body = {"name": "mine", "issuer": FLEXIBLE["issuer"], "subject": "repo:ann/own:environment:x", "audiences": FLEXIBLE["audiences"]}
    assert as_ann("POST", f"{path}/federatedIdentityCredentials", body).status_code == 201
    assert error(as_ann("POST", f"/applications/{stranger['id']}/addPassword", {})) == (403, "Authorization_RequestDenied")
    assert "owners" not in graph("GET", path)
    graph("DELETE", f"{path}/owners/{person['id']}/$ref")
    assert error(as_ann("POST", f"{path}/addPassword", {})) == (403, "Authorization_RequestDenied")
    graph("POST", f"/servicePrincipals/{app['oid']}/owners/$ref", reference)
    owners = graph("GET", f"/servicePrincipals(appId='{app['appId']}')/owners")["value"]
    assert [(one["@odata.type"], one["id"]) for one in owners] == [("#microsoft.graph.user", person["id"])]
    team = graph("POST", "/groups", {"displayName": "t", "mailNickname": "t", "mailEnabled": False, "securityEnabled": True})
    group = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{team['id']}"}
    assert error(ask("POST", f"{path}/owners/$ref", group)) == (400, "Request_BadRequest"), "a group owns nothing"


@pytest.mark.parametrize(
    ("permission", "reads", "denied"),
    [
        ("Application.Read.All", ["/applications", "/servicePrincipals"], ["/groups", "/users"]),
        ("GroupMember.Read.All", ["/groups"], ["/applications", "/users"]),
        ("User.Read.All", ["/users"], ["/applications", "/groups"]),
        ("Directory.Read.All", ["/users", "/applications", "/groups"], []),
    ],
)
def test_permissions(azure: Any, send: Any, sign_in: Any, permission: str, reads: list[str], denied: list[str]) -> None:
    secret = uuid.uuid4().hex
    made = azure.ask("POST", "/identities", {"name": "reader", "secret": secret, "graph": [permission]})
    token = sign_in("https://graph.microsoft.com/.default", made["client_id"], secret)
    for path in reads:
        assert send("GET", GRAPH + path, token=token).status_code == 200, path
    for path in denied:
        assert error(send("GET", GRAPH + path, token=token)) == (403, "Authorization_RequestDenied"), path
    assert error(send("POST", GRAPH + "/groups", token=token, json={})) == (403, "Authorization_RequestDenied")


def test_an_application_manages_what_it_owns(azure: Any, send: Any, sign_in: Any, graph: Any, new_app: Any) -> None:
    secret, other = uuid.uuid4().hex, new_app("not mine")
    made = azure.ask("POST", "/identities", {"name": "factory", "secret": secret, "graph": ["Application.ReadWrite.OwnedBy"]})
    token = sign_in("https://graph.microsoft.com/.default", made["client_id"], secret)
    mine = send("POST", GRAPH + "/applications", token=token, json={"displayName": "mine"}).json()
    assert [one["id"] for one in graph("GET", f"/applications/{mine['id']}/owners")["value"]] == [made["oid"]]
    assert send("POST", f"{GRAPH}/applications/{mine['id']}/addPassword", token=token, json={}).status_code == 200
    assert error(send("POST", f"{GRAPH}/applications/{other['id']}/addPassword", token=token, json={}))[0] == 403
    assert error(send("GET", GRAPH + "/applications", token=token))[0] == 403, "which it may not list"


def test_pages(graph: Any, send: Any, sign_in: Any) -> None:
    mark = uuid.uuid4().hex[:8]
    for number in range(5):
        graph("POST", "/applications", {"displayName": f"{mark} {number}"})
    query = {"$filter": f"startswith(displayName,'{mark}')", "$top": "2", "$select": "displayName", "$count": "true"}
    answer, names = graph("GET", "/applications", **query), []
    assert answer["@odata.count"] == 5
    while True:
        names += [list(one.items()) for one in answer["value"]]
        if "@odata.nextLink" not in answer:
            break
        answer = send("GET", answer["@odata.nextLink"], token=sign_in("https://graph.microsoft.com/.default")).json()
    assert names == [[("displayName", f"{mark} {number}")] for number in range(5)]


def test_certificates_are_checked(ask: Any, graph: Any) -> None:
    app = graph("POST", "/applications", {"displayName": "certificates"})
    assert error(ask("PATCH", f"/applications/{app['id']}", {"keyCredentials": [{"key": "bm90IGEgY2VydGlmaWNhdGU="}]})) == (
        400,
        "KeyCredentialsInvalidValue",
    )
    assert error(ask("PATCH", f"/applications/{app['id']}", {"keyCredentials": [{"keyId": "unknown"}]})) == (
        400,
        "KeyCredentialsInvalidValue",
    )


def test_people(ask: Any, graph: Any) -> None:
    name = f"kim-{uuid.uuid4().hex[:6]}@{models.TENANT_DOMAIN}"
    body = {"userPrincipalName": name, "displayName": "Kim", "passwordProfile": {"password": "a long password"}}
    made = graph("POST", "/users", body)
    assert "passwordHash" not in made
    assert graph("GET", "/users", **{"$filter": f"userPrincipalName eq '{name}'"})["value"][0]["id"] == made["id"]
    assert graph("GET", f"/users/{name}")["displayName"] == "Kim"
    assert error(ask("POST", "/users", body)) == (400, "Request_BadRequest")
    assert error(ask("POST", "/users", {**body, "userPrincipalName": "kim@elsewhere.com"})) == (400, "Request_BadRequest")
    assert error(ask("POST", "/users", {"displayName": "Kim"})) == (400, "Request_BadRequest")
    graph("DELETE", f"/users/{made['id']}")
    assert error(ask("GET", f"/users/{name}")) == (404, "Request_ResourceNotFound")


def test_an_application_without_permissions_reads_and_changes_nothing(send: Any, sign_in: Any, new_app: Any, graph: Any) -> None:
    app = new_app("curious")
    token = sign_in("https://graph.microsoft.com/.default", app["appId"], app["secret"])
    (admin,) = graph("GET", "/applications", **{"$filter": f"appId eq '{ADMIN_CLIENT_ID}'"})["value"]
    for method, path, body in (
        ("GET", "/applications", None),
        ("GET", f"/servicePrincipals/{app['oid']}", None),
        ("POST", f"/applications/{admin['id']}/addPassword", {}),
        ("PATCH", f"/applications/{app['id']}", {"displayName": "x"}),
        ("POST", "/users", {}),
    ):
        answer = send(method, GRAPH + path, token=token, json=body)
        assert error(answer) == (403, "Authorization_RequestDenied"), path
        assert answer.json()["error"]["message"] == "Insufficient privileges to complete the operation."


def test_what_graph_does_not_know(ask: Any, send: Any, sign_in: Any) -> None:
    assert error(ask("GET", "/applications", **{"$filter": "appId like 'x'"})) == (400, "InvalidFilterInQueryString")
    assert error(ask("GET", "/applications", **{"$filter": "appId eq 'x' and"})) == (400, "InvalidFilterInQueryString")
    assert error(ask("GET", "/teams")) == (501, "NotEmulated")
    assert error(ask("GET", "/applications", **{"$expand": "owners"})) == (501, "NotEmulated")
    assert (
        send("GET", "https://graph.microsoft.com/v2.0/applications", token=sign_in("https://graph.microsoft.com/.default")).status_code
        == 400
    )
    assert send("GET", GRAPH + "/applications", token=sign_in()).json()["error"]["code"] == "InvalidAuthenticationTokenAudience"
    assert error(ask("GET", "/me")) == (400, "BadRequest")
