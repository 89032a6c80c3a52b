"""GitHub's OIDC tokens: claims and subjects as GitHub documents them, and who may ask for one."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from emulator.core import Cloud
from emulator.errors import AzureError
from emulator.github import models

REPOSITORY = "contoso/flight-delay"


def said(cloud: Cloud, audience: str | None = None, **job: str) -> dict[str, Any]:
    return jwt.decode(models.token(cloud, {"repository": REPOSITORY, **job}, audience), options={"verify_signature": False})


@pytest.mark.parametrize(
    ("job", "subject"),
    [
        ({}, "repo:contoso/flight-delay:ref:refs/heads/main"),
        ({"ref": "refs/tags/v1"}, "repo:contoso/flight-delay:ref:refs/tags/v1"),
        ({"environment": "production"}, "repo:contoso/flight-delay:environment:production"),
        ({"environment": "eu:production"}, "repo:contoso/flight-delay:environment:eu%3Aproduction"),
        ({"event_name": "pull_request"}, "repo:contoso/flight-delay:pull_request"),
        ({"event_name": "pull_request", "environment": "dev"}, "repo:contoso/flight-delay:environment:dev"),
        (
            {"environment": "prod", "immutable_subject": "true", "repository_owner_id": "7", "repository_id": "42"},
            "repo:contoso@7/flight-delay@42:environment:prod",
        ),
        (
            {
                "environment": "prod",
                "include_claim_keys": "repo,context,job_workflow_ref",
                "job_workflow_ref": "contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/v1",
            },
            "repo:contoso/flight-delay:environment:prod:job_workflow_ref:contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/v1",
        ),
    ],
)
def test_subjects(cloud: Cloud, job: dict[str, str], subject: str) -> None:
    assert said(cloud, **job)["sub"] == subject


def test_claims(cloud: Cloud) -> None:
    token = said(cloud, environment="dev", sha="a" * 40, ref="refs/tags/v1", run_id="12")
    assert {name: token[name] for name in ("iss", "aud", "repository", "repository_owner", "environment", "ref_type", "run_id", "sha")} == {
        "iss": "https://token.actions.githubusercontent.com",
        "aud": "https://github.com/contoso",
        "repository": REPOSITORY,
        "repository_owner": "contoso",
        "environment": "dev",
        "ref_type": "tag",
        "run_id": "12",
        "sha": "a" * 40,
    }
    assert token["exp"] - token["iat"] == 300
    assert said(cloud, "api://AzureADTokenExchange")["aud"] == "api://AzureADTokenExchange"
    assert "environment" not in said(cloud)


def test_a_job_asks_with_what_it_finds_in_its_environment(cloud: Cloud) -> None:
    env = models.request_env(cloud, REPOSITORY, "production", job_workflow_ref="x/y/.github/workflows/z.yml@refs/tags/v1")
    assert urlsplit(env["ACTIONS_ID_TOKEN_REQUEST_URL"]).hostname == models.REQUEST_HOST
    token = env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    job = models.job_of(cloud, token, {"environment": "other", "repository": "evil/twin"})
    assert job == {
        "repository": REPOSITORY,
        "environment": "production",
        "ref": "refs/heads/main",
        "job_workflow_ref": "x/y/.github/workflows/z.yml@refs/tags/v1",
    }, "the request's URL changes nothing of what the request token says"
    with pytest.raises(AzureError, match="not one of this emulator's"):
        models.job_of(cloud, token[:-4] + "AAAA", {})
    cloud.skew = dt.timedelta(hours=6, seconds=1)
    with pytest.raises(AzureError, match="has expired"):
        models.job_of(cloud, token, {})


@pytest.mark.parametrize("repository", ["", "flight-delay", "a/b/c", "/flight-delay"])
def test_a_job_has_a_repository(cloud: Cloud, repository: str) -> None:
    with pytest.raises(AzureError, match="must be OWNER/NAME"):
        models.token(cloud, {"repository": repository})


def test_an_unknown_property_of_a_job_is_refused(cloud: Cloud) -> None:
    with pytest.raises(AzureError, match="A job has no property enviroment"):
        models.request_env(cloud, REPOSITORY, enviroment="prod")


def test_over_http(send: Any) -> None:
    query = {"repository": REPOSITORY, "environment": "dev", "audience": "api://AzureADTokenExchange", "api-version": "2.0"}
    token = send("GET", models.REQUEST_URL, token="act", params=query).json()["value"]
    found = send("GET", f"{models.ISSUER}/.well-known/openid-configuration").json()
    assert found["issuer"] == models.ISSUER
    (key,) = send("GET", found["jwks_uri"]).json()["keys"]
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    checked = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=query["audience"], issuer=models.ISSUER)
    assert checked["sub"] == f"repo:{REPOSITORY}:environment:dev"
    assert send("GET", models.REQUEST_URL, params=query).status_code == 401
    assert send("GET", models.REQUEST_URL, token="act").status_code == 400
