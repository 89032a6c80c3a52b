"""Work items of the emulated Azure DevOps: JSON Patch in, fields and links out, found by WIQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

PATCH = "application/json-patch+json"
Ask = Callable[..., requests.Response]


def patch(**fields: Any) -> list[dict[str, Any]]:
    return [{"op": "add", "path": f"/fields/System.{name}", "value": value} for name, value in fields.items()]


@pytest.fixture
def project() -> str:
    return f"boards-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def ask(azure: Any, project: str) -> Ask:
    """The REST API below a project's `wit`, as a job of it; as a person with `user`."""
    where = {"organization": "contoso", "project": project}
    build = azure.admin.azure_devops("builds", **where, pipeline="break-glass")
    token = azure.admin.azure_devops("jobs", **where, build_id=build["id"], name="declare.declare")["access_token"]

    def ask(method: str, path: str, body: Any = None, kind: str = "", user: str = "", version: str = "7.1") -> requests.Response:
        personal = ("", azure.admin.azure_devops("tokens", user=user)["token"]) if user else None
        headers = {"X-TFS-FedAuthRedirect": "Suppress", **({"Content-Type": kind} if kind else {})}
        if not personal:
            headers["Authorization"] = f"Bearer {token}"
        url = f"https://dev.azure.com/contoso/{project}/_apis/wit/{path}"
        params = {"api-version": version} if version else {}
        session = requests.Session()
        session.trust_env = False  # no .netrc, which would go before the token
        session.proxies, session.verify = {"https": azure.env["HTTPS_PROXY"]}, azure.env["REQUESTS_CA_BUNDLE"]
        return session.request(method, url, json=body, params=params, auth=personal, headers=headers, timeout=60)

    return ask


def test_a_work_item_is_made_read_and_closed(ask: Ask, project: str) -> None:
    made = ask("POST", "workitems/$Task", patch(Title="Look at it", Description="<p>why</p>", Tags="b, a; a"), PATCH)
    assert made.status_code == 200, made.text
    item = made.json()
    fields = item["fields"]
    assert (item["rev"], fields["System.WorkItemType"], fields["System.State"], fields["System.Tags"]) == (1, "Task", "To Do", "a; b")
    assert fields["System.CreatedBy"]["displayName"] == f"{project} Build Service (contoso)"
    assert item["_links"]["html"]["href"].endswith(f"/_workitems/edit/{item['id']}")
    assert ask("GET", f"workitems/{item['id']}").json() == item

    changed = ask("PATCH", f"workitems/{item['id']}", patch(State="Done"), PATCH, user="rea@contoso.com").json()
    assert (changed["rev"], changed["fields"]["System.State"]) == (2, "Done")
    assert changed["fields"]["System.ChangedBy"]["displayName"] == "rea@contoso.com"
    assert changed["fields"]["System.CreatedDate"] == fields["System.CreatedDate"]
    states = ask("GET", "workitemtypes/task/states").json()["value"]
    assert {one["name"]: one["category"] for one in states} == {"To Do": "Proposed", "Doing": "InProgress", "Done": "Completed"}


def test_a_query_finds_them(ask: Ask) -> None:
    for title, tags in {"one [abc]": "break-glass; x", "it's two [abd]": "break-glass", "three [abc]": "other"}.items():
        assert ask("POST", "workitems/$Issue", patch(Title=title, Tags=tags), PATCH).ok

    def found(where: str, order: str = "") -> list[int]:
        answer = ask("POST", "wiql", {"query": f"SELECT [System.Id] FROM WorkItems {where} {order}"}).json()
        assert answer["queryType"] == "flat"
        return [one["id"] for one in answer["workItems"]]

    assert found("") == [1, 2, 3]
    assert found("WHERE [System.TeamProject] = @project AND [System.Tags] CONTAINS 'break-glass'", "ORDER BY [System.Id] DESC") == [2, 1]
    assert found("WHERE [System.Tags] CONTAINS 'break-glass' AND [System.Title] CONTAINS '[ABC]'") == [1]
    assert found("WHERE [System.Title] CONTAINS 'it''s two'") == [2]
    assert found("WHERE [System.State] <> 'To Do'") == []
    assert found("WHERE [System.Id] = 3") == [3]


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "says"),
    [
        ("POST", "workitems/$Task", patch(Title="x"), "application/json", 415, 'indicated a Content-Type of "application/json"'),
        ("POST", "workitems/$Task", {"System.Title": "x"}, PATCH, 400, "valid patch document"),
        ("POST", "workitems/$Task", [{"op": "add", "path": "/title", "value": "x"}], PATCH, 400, "valid patch document"),
        ("POST", "workitems/$Task", patch(Description="x"), PATCH, 400, "TF401320"),
        ("POST", "workitems/$Task", patch(Title="x" * 256), PATCH, 400, "TF401320"),
        ("POST", "workitems/$Task", patch(Title="x", State="Closed"), PATCH, 400, "TF401320"),
        ("POST", "workitems/$Bug", patch(Title="x"), PATCH, 404, "VS402323"),
        ("POST", "workitems/Task", patch(Title="x"), PATCH, 404, "after a $"),
        ("GET", "workitems/99", None, "", 404, "TF401232"),
        ("GET", "workitems/x", None, "", 404, "TF401232"),
        ("PATCH", "workitems/99", patch(State="Done"), PATCH, 404, "TF401232"),
        ("POST", "wiql", {"query": "DROP WorkItems"}, "", 400, "TF51006"),
        ("POST", "wiql", {"query": "SELECT [System.Id] FROM WorkItems WHERE [System.Id] LIKE 3"}, "", 400, "TF51006"),
        ("POST", "wiql", {}, "", 400, "not supplied"),
        ("GET", "workitemtypes/Bug/states", None, "", 404, "VS402323"),
    ],
)
def test_what_is_refused(ask: Ask, method: str, path: str, body: Any, kind: str, status: int, says: str) -> None:
    answer = ask(method, path, body, kind)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]


def test_a_version_is_named_and_a_caller_known(ask: Ask, azure: Any, project: str) -> None:
    assert ask("POST", "workitems/$Task", patch(Title="x"), PATCH, version="").status_code == 400
    url = f"https://dev.azure.com/contoso/{project}/_apis/wit/workitems/1"
    other = f"https://dev.azure.com/contoso/{project}-other/_apis/wit/workitems/1"
    session = requests.Session()
    session.proxies, session.verify = {"https": azure.env["HTTPS_PROXY"]}, azure.env["REQUESTS_CA_BUNDLE"]
    assert session.get(url, headers={"X-TFS-FedAuthRedirect": "Suppress"}, timeout=60).status_code == 401
    build = azure.admin.azure_devops("builds", organization="contoso", project=project, pipeline="x")
    job = azure.admin.azure_devops("jobs", organization="contoso", project=project, build_id=build["id"], name="a.a")
    headers = {"Authorization": f"Bearer {job['access_token']}"}
    assert session.get(other, headers=headers, timeout=60).status_code == 404, "a job sees its own project"
