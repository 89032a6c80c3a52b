"""Microsoft Graph: the directory, and who may read and change it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from emulator.core import ADMIN_CLIENT_ID
from emulator.entra import models

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
    assert error(ask("POST", path, {**body, "name": "other"}))[0] == 409, "issuer and subject are taken"
    assert error(ask("POST", path, {"name": "empty"})) == (400, "Request_BadRequest")
    assert error(ask("POST", path, {**body, "name": "two", "audiences": ["a", "b"]})) == (400, "Request_BadRequest")
    graph("PATCH", f"{path}/production", {"subject": "repo:contoso/flight-delay:environment:prod"})
    assert [one["subject"] for one in graph("GET", path)["value"]] == ["repo:contoso/flight-delay:environment:prod"]
    assert error(ask("PATCH", f"{path}/production", {"name": "renamed"})) == (400, "Request_BadRequest")
    graph("DELETE", f"{path}/production")
    assert graph("GET", path)["value"] == []
    assert "federatedIdentityCredentials" not in graph("GET", f"/applications/{app['id']}")


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
    assert (
        send("GET", "https://graph.microsoft.com/v2.0/applications", token=sign_in("https://graph.microsoft.com/.default")).status_code
        == 400
    )
    assert send("GET", GRAPH + "/applications", token=sign_in()).json()["error"]["code"] == "InvalidAuthenticationTokenAudience"
    assert error(ask("GET", "/me")) == (400, "BadRequest")
