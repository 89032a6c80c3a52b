"""What GitHub answers, read to its end or not at all; a field that is missing protects nothing."""

from __future__ import annotations

from typing import Any

import pytest

from aml import github, github_gates
from aml.command import Refusal
from aml.github import Client

GATE: dict[str, Any] = {"environment": "production", "reviewers": {"count": 1}}


@pytest.fixture
def client(played: Any, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("GITHUB_API_URL", played.url)
    return github.Client("a-token", "contoso/delay")


def test_a_list_is_followed_to_its_end(played: Any, client: Client) -> None:
    played.answer(200, {"items": [1]}, link=f'<{played.url}/a?page=1>; rel="prev", <{played.url}/a?page=2>; rel="next"')
    played.answer(200, {"items": [2]}, link=f'<{played.url}/a?page=1>; rel="first"')
    assert list(client.pages("a", "items")) == [1, 2]
    assert played.asked[-1][1] == "/a?page=2"


@pytest.mark.parametrize(
    ("body", "link", "says"),
    [
        ({"items": [1]}, '<https://elsewhere.example/a?page=2>; rel="next"', "its next page is at https://elsewhere.example"),
        ({"items": [1]}, '<{url}.evil.example/a?page=2>; rel="next"', "its next page is at https://localhost"),
        ({"message": "moved"}, "", "what it answered is no list"),
        ({"items": None}, "", "what it answered is no list"),
        (None, "", "what it answered is no list"),
    ],
)
def test_half_a_list_is_not_taken_for_all_of_it(played: Any, client: Client, body: Any, link: str, says: str) -> None:
    played.answer(200, body, link=link.replace("{url}", played.url))
    with pytest.raises(Refusal) as caught:
        list(client.pages("a", "items"))
    assert says in str(caught.value)
    assert len(played.asked) == 1, "and the token goes nowhere else"


def test_a_page_that_is_gone_half_way_is_an_error(played: Any, client: Client) -> None:
    played.answer(200, {"items": [1]}, link=f'<{played.url}/a?page=2>; rel="next"')
    played.answer(404, {"message": "Not Found"})
    with pytest.raises(Refusal, match="GitHub answered 404"):
        list(client.pages("a", "items"))


@pytest.mark.parametrize("said", [{}, {"can_admins_bypass": None}, {"can_admins_bypass": "false"}])
def test_what_github_does_not_say_protects_nothing(played: Any, client: Client, said: dict[str, Any]) -> None:
    rules = [{"type": "required_reviewers", "prevent_self_review": None, "reviewers": []}]
    played.answer(200, {"protection_rules": rules, **said})
    found = github_gates.GitHub(client).protection(GATE)
    assert found is not None
    assert (found.admin_bypass, found.self_review, found.branches, found.approvals) == (True, True, None, 0)


@pytest.mark.parametrize(
    ("repository", "passed"),
    [
        ({}, False),
        ({"private": True}, False),
        ({"visibility": "secret"}, False),
        ({"private": False}, True),
        ({"visibility": "internal", "private": True}, True),
        ({"visibility": "private"}, False),
    ],
)
def test_a_repository_that_is_not_said_to_be_open_is_private(played: Any, client: Client, repository: dict[str, Any], passed: bool) -> None:
    played.answer(200, {**repository, "owner": {"type": "User"}})
    [finding] = github_gates.GitHub(client).limits(GATE)
    assert (finding.name, finding.passed) == ("plan", passed)
