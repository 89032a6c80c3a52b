"""What a job presents, what a credential accepts, and what is said of the difference."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from aml import federation
from aml.command import Refusal
from aml.federation import AUDIENCE, GITHUB, Credential, Presented

ENTRA = "https://login.microsoftonline.com/7a1f0000-0000-4000-8000-00000000aad0/v2.0"
PROMOTE = "contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/v1.4.0"
REPOSITORY = "contoso/flight-delay"


def job(subject: str = "repo:contoso/flight-delay:environment:production", issuer: str = GITHUB, **claims: str) -> Presented:
    return Presented(issuer, subject, AUDIENCE, claims)


def classic(subject: str, issuer: str = GITHUB) -> Credential:
    return Credential("one", issuer, subject)


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"environment": "production"}, "repo:contoso/flight-delay:environment:production"),
        ({"environment": "a:b"}, "repo:contoso/flight-delay:environment:a%3Ab"),
        ({"ref": "refs/heads/main"}, "repo:contoso/flight-delay:ref:refs/heads/main"),
        ({"ref": "refs/tags/v1"}, "repo:contoso/flight-delay:ref:refs/tags/v1"),
        ({}, "repo:contoso/flight-delay:pull_request"),
        ({"environment": "dev", "ref": "refs/heads/main"}, "repo:contoso/flight-delay:environment:dev"),
        ({"environment": "dev", "ids": ("12", "345")}, "repo:contoso@12/flight-delay@345:environment:dev"),
        (
            {"environment": "dev", "claims": {"job_workflow_ref": PROMOTE}},
            f"repo:contoso/flight-delay:environment:dev:job_workflow_ref:{PROMOTE}",
        ),
    ],
)
def test_githubs_subjects(given: dict[str, Any], subject: str) -> None:
    assert federation.github_subject(REPOSITORY, **given) == subject
    assert federation.parts(subject)["repo"].startswith("contoso")


@pytest.mark.parametrize(
    ("subject", "issuer", "words"),
    [
        ("repo:contoso/flight-delay:environment:production", GITHUB, "GitHub, classic: environment production of contoso/flight-delay"),
        ("repo:c@1/f@2:ref:refs/heads/x/main", GITHUB, "GitHub, immutable: branch x/main of c@1/f@2"),
        ("repo:c/f:ref:refs/tags/v1", GITHUB, "GitHub, classic: tag v1 of c/f"),
        ("repo:c/f:pull_request", GITHUB, "GitHub, classic: a pull request of c/f"),
        (f"repo:c/f:environment:p:job_workflow_ref:{PROMOTE}", GITHUB, "GitHub, classic, customised: environment p of c/f"),
        (f"job_workflow_ref:{PROMOTE}", GITHUB, "GitHub, customised"),
        (
            "sc://contoso/mlops/azureml-dev",
            "https://vstoken.dev.azure.com/1",
            "Azure DevOps: service connection azureml-dev of contoso/mlops (the issuer that retires on 2027-07-01)",
        ),
        ("anything", "https://elsewhere", "of another kind"),
    ],
)
def test_a_subject_is_told_in_words(subject: str, issuer: str, words: str) -> None:
    assert federation.form(job(subject, issuer)) == words


def test_entras_form_of_a_service_connection_names_its_tenant() -> None:
    from emulator.azure_devops.connections import entra_subject
    from emulator.core import TENANT

    subject = entra_subject("0a0a0000-0000-4000-8000-00000000000a", "0b0b0000-0000-4000-8000-00000000000b")
    words = federation.form(job(subject, ENTRA))
    assert f"0b0b0000-0000-4000-8000-00000000000b of organization 0a0a0000-0000-4000-8000-00000000000a in tenant {TENANT}" in words


def test_entras_own_tokens_name_the_audience_by_its_application() -> None:
    assert federation.presented({"iss": ENTRA, "sub": "s", "aud": federation.EXCHANGE}).audience == AUDIENCE
    assert federation.presented({"iss": ENTRA, "sub": "s", "aud": "x"}).audience == "x"


@pytest.mark.parametrize(
    ("accepted", "shown", "hint"),
    [
        ("repo:contoso/Flight-Delay:environment:production", None, "they differ in the case of letters only"),
        ("repo:contoso/other:environment:production", None, "another repository"),
        ("repo:contoso@1/flight-delay@2:environment:production", None, "it has immutable ids, the job presents none; repositories created"),
        (
            "repo:contoso/flight-delay:environment:production",
            "repo:contoso@1/flight-delay@2:environment:production",
            "the job presents immutable ids, and it has none; repositories created",
        ),
        ("repo:contoso/flight-delay:ref:refs/heads/main", None, "it is for branch main, and the job's is environment production"),
        ("repo:contoso/flight-delay:environment:production", "repo:contoso/flight-delay:pull_request", "the job's is a pull request"),
        (
            f"repo:contoso/flight-delay:environment:production:job_workflow_ref:{PROMOTE}",
            None,
            f"it is customised with job_workflow_ref:{PROMOTE}, and the job's is not customised",
        ),
        ("something", None, ""),
    ],
)
def test_the_difference_of_two_subjects_is_told(accepted: str, shown: str | None, hint: str) -> None:
    shown = shown or "repo:contoso/flight-delay:environment:production"
    (found,) = federation.differences(classic(accepted), job(shown))
    assert found.startswith(f"subject: it accepts {accepted}, the job presents {shown}")
    assert hint in found
    assert found.endswith(")") == bool(hint)


def test_issuer_and_audience_count_too() -> None:
    old = classic("sc://contoso/mlops/azureml-dev", "https://vstoken.dev.azure.com/1")
    told = federation.differences(old, job("/eid1/x", ENTRA))
    assert "the service connection was converted to Entra's issuer, and the credential was not" in told[0]
    assert len(told) == 2
    same = job()
    assert federation.accepts(classic(same.subject), same)
    assert federation.accepts(classic(same.subject, GITHUB + "/"), same)
    assert federation.differences(Credential("x", GITHUB, same.subject, audience="other"), same) == [
        f"audience: it accepts other, the job presents {AUDIENCE}"
    ]


FLEXIBLE = federation.expression(job().subject, federation.workflow("contoso/azureml-catalog", "promote", "v1.*"))


@pytest.mark.parametrize(
    ("claims", "hint"),
    [
        ({"job_workflow_ref": PROMOTE}, None),
        ({"job_workflow_ref": PROMOTE.replace("v1.4.0", "v2.0.0")}, ""),
        ({"job_workflow_ref": PROMOTE.replace("refs/tags/v1.4.0", "refs/heads/v1.x")}, "called at a branch or a commit, not at a tag"),
        ({"job_workflow_ref": PROMOTE.replace("promote.yml", "deploy.yml")}, "another workflow"),
        ({"job_workflow_ref": PROMOTE.replace("contoso/", "mallory/")}, "another workflow"),
        ({}, "only a job of a reusable workflow presents one"),
    ],
)
def test_a_flexible_credential_takes_only_the_catalogs_workflow_at_a_release(claims: dict[str, str], hint: str | None) -> None:
    found = federation.differences(Credential("one", GITHUB, expression=FLEXIBLE), job(**claims))
    assert (not found) == (hint is None)
    assert all(hint in one for one in found if hint)
    elsewhere = job("repo:contoso/flight-delay:ref:refs/heads/main", **claims)
    assert any(one.startswith("sub: ") for one in federation.differences(Credential("one", GITHUB, expression=FLEXIBLE), elsewhere))


def test_an_exact_tag_needs_no_wildcard() -> None:
    exact = federation.expression("repo:c/f:environment:p", federation.workflow("c/catalog", "promote", "v1.0.0"))
    assert federation.clauses(exact) == [
        ("sub", "eq", "repo:c/f:environment:p"),
        ("job_workflow_ref", "eq", "c/catalog/.github/workflows/promote.yml@refs/tags/v1.0.0"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "claims['sub']", "claims['sub'] like 'x'", "claims['sub'] eq 'x' or claims['sub'] eq 'y'", "claims['sub'] eq 'x' and ", "true"],
)
def test_an_expression_that_is_not_understood_accepts_nothing(text: str) -> None:
    assert federation.clauses(text) is None
    if text:
        assert not federation.accepts(Credential("x", GITHUB, expression=text), job())


def test_nothing_ends_a_text_of_an_expression() -> None:
    with pytest.raises(Refusal, match="has a quote"):
        federation.expression("repo:c/f:environment:x' and claims['sub'] matches '*", PROMOTE)


def test_wildcards_never_reach_over_to_what_is_compared_exactly() -> None:
    """Whatever a repository, environment or workflow is called, only what was meant is taken."""
    chance = random.Random(4)
    alphabet = string.ascii_lowercase + "*?:/@.-_[](){}+^$|\\ \n"
    flexible = Credential("one", GITHUB, expression=FLEXIBLE)
    for _ in range(3000):
        noise = "".join(chance.choice(alphabet) for _ in range(chance.randint(1, 12)))
        assert not federation.accepts(flexible, job(job().subject + noise, job_workflow_ref=PROMOTE))
        assert not federation.accepts(flexible, job(job_workflow_ref=noise + PROMOTE))


def test_the_nearest_credential_comes_first() -> None:
    near, far = classic("repo:contoso/flight-delay:environment:prod"), classic("repo:contoso/other:environment:dev")
    other = classic(job().subject, "https://elsewhere")
    assert [one for one, _ in federation.nearest([other, far, near], job())] == [near, far, other]
    assert federation.nearest([], job()) == []


def test_graphs_form_there_and_back() -> None:
    for one in (
        Credential("a", GITHUB, "repo:c/f:environment:dev", why="dev's jobs"),
        Credential("b", GITHUB, expression=FLEXIBLE, why="prod's jobs"),
    ):
        body = one.body()
        assert (body["subject"] is None) == bool(one.expression)
        assert federation.of_graph({**body, "id": ""}) == one
    assert federation.of_graph({"name": "a", "issuer": "i"}).subject == ""


@pytest.mark.parametrize("words", [("prod", "promote"), ("a b", "ü/ö"), ("x" * 300,), ("$(id)", "`; rm -rf`")])
def test_a_credentials_name_is_one_for_graph(words: tuple[str, ...]) -> None:
    made = federation.name(*words)
    assert 0 < len(made) <= federation.MOST
    assert set(made) <= set(string.ascii_letters + string.digits + "-")
