"""OIDC tokens of workflow jobs, with the claims and subjects that GitHub gives them.

Source: https://docs.github.com/actions/reference/security/oidc. A token lives five minutes; the request token as long as its job.
"""

from __future__ import annotations

import secrets
import uuid
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt

from emulator.entra.signing import SigningKey, signing_key
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

ISSUER = "https://token.actions.githubusercontent.com"
REQUEST_HOST = "pipelines.actions.githubusercontent.com"
REQUEST_URL = f"https://{REQUEST_HOST}/idtoken"
LIFETIME = 300
"""Seconds that a token lives."""
JOB_LIMIT = 6 * 3600
"""Seconds that a request token lives: a job's longest time on a hosted runner."""
_JOB = (
    "repository", "environment", "ref", "sha", "event_name", "actor", "run_id", "run_number", "run_attempt", "workflow", "workflow_ref",
    "workflow_sha", "job_workflow_ref", "job_workflow_sha", "head_ref", "base_ref", "repository_visibility", "repository_id",
    "repository_owner_id", "runner_environment", "immutable_subject", "include_claim_keys",
)  # fmt: skip
"""What can be said of a job; the last two choose the form of the subject."""


def github_key(cloud: Cloud) -> SigningKey:
    return signing_key(cloud, "github")


def jwks(cloud: Cloud) -> dict[str, Any]:
    """The keys that GitHub's tokens are signed with."""
    return {"keys": [github_key(cloud).jwk()]}


def request_env(cloud: Cloud, repository: str, environment: str | None = None, ref: str = "refs/heads/main", **job: str) -> dict[str, str]:
    """What a job with ``id-token: write`` finds in its environment: where to ask for tokens, and with what.

    ``job`` are further properties, such as ``event_name`` or ``job_workflow_ref``. The request token pins all of them.
    """
    described = {"repository": repository, "ref": ref, **({"environment": environment} if environment else {}), **job}
    _check(described)
    now = int(cloud.now().timestamp())
    token = github_key(cloud).sign({"iss": ISSUER, "aud": REQUEST_HOST, "iat": now, "exp": now + JOB_LIMIT, "job": described})
    query = urlencode({"api-version": "2.0"})
    return {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{REQUEST_URL}?{query}", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": token}


def job_of(cloud: Cloud, request_token: str, query: Mapping[str, str]) -> dict[str, str]:
    """The job that asks, by its request token. Raises 401 for one that has expired.

    A request token of ``request_env`` says everything. act has none to give, so any other text is taken, and the request's URL says
    which job it is.
    """
    try:
        header = jwt.get_unverified_header(request_token)
    except jwt.InvalidTokenError:
        return {name: value for name, value in query.items() if name in _JOB and value}
    key = github_key(cloud)
    try:
        if header.get("kid") != key.kid:
            raise jwt.InvalidKeyError
        claims = jwt.decode(
            request_token,
            key.private.public_key(),
            algorithms=["RS256"],
            audience=REQUEST_HOST,
            options={"verify_exp": False, "verify_iat": False},
        )
    except (jwt.InvalidTokenError, jwt.InvalidKeyError):
        raise AzureError(401, "Unauthorized", "The request token is not one of this emulator's.") from None
    if claims["exp"] <= cloud.now().timestamp():
        raise AzureError(401, "Unauthorized", "The request token has expired; it lives as long as its job.")
    return dict(claims["job"])


def token(cloud: Cloud, job: Mapping[str, str], audience: str | None = None) -> str:
    """An OIDC token for a job; without ``audience`` it is for the owner of the repository. Raises 400 for a job that cannot be."""
    _check(job)
    repository = job["repository"]
    owner = repository.split("/")[0]
    known = cloud.store.get(f"github/repos/{repository}") or {}
    if known.get("subject") is not None:
        job = {"include_claim_keys": ",".join(known["subject"]), **job}
    now = int(cloud.now().timestamp())
    ref = job.get("ref", "refs/heads/main")
    claims: dict[str, Any] = {
        "jti": str(uuid.uuid4()),
        "aud": audience or f"https://github.com/{owner}",
        "iss": ISSUER,
        "iat": now,
        "nbf": now - LIFETIME,
        "exp": now + LIFETIME,
        "actor": job.get("actor", "octocat"),
        "actor_id": _number(job.get("actor", "octocat")),
        "base_ref": job.get("base_ref", ""),
        "event_name": job.get("event_name", "push"),
        "head_ref": job.get("head_ref", ""),
        "job_workflow_ref": job.get("job_workflow_ref") or job.get("workflow_ref") or f"{repository}/.github/workflows/release.yml@{ref}",
        "job_workflow_sha": job.get("job_workflow_sha") or job.get("sha", "0" * 40),
        "ref": ref,
        "ref_protected": "false",
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "repository": repository,
        "repository_id": job.get("repository_id") or _number(repository),
        "repository_owner": owner,
        "repository_owner_id": job.get("repository_owner_id") or _number(owner),
        "repository_visibility": job.get("repository_visibility") or known.get("visibility", "private"),
        "run_attempt": job.get("run_attempt", "1"),
        "run_id": job.get("run_id", "1"),
        "run_number": job.get("run_number", "1"),
        "runner_environment": job.get("runner_environment", "github-hosted"),
        "sha": job.get("sha", "0" * 40),
        "workflow": job.get("workflow", "release"),
        "workflow_ref": job.get("workflow_ref") or f"{repository}/.github/workflows/release.yml@{ref}",
        "workflow_sha": job.get("workflow_sha") or job.get("sha", "0" * 40),
    }
    if job.get("environment"):
        claims |= {"environment": job["environment"], "environment_node_id": "EN_" + secrets.token_urlsafe(8)}
    claims["sub"] = subject(claims, job)
    return github_key(cloud).sign(claims)


def subject(claims: Mapping[str, Any], job: Mapping[str, str]) -> str:
    """The subject: repository and context; with numeric ids where they are immutable; of other claims where it is customised."""
    owner, name = str(claims["repository"]).split("/")
    if job.get("immutable_subject", "").lower() in ("true", "1"):
        repo = f"{owner}@{claims['repository_owner_id']}/{name}@{claims['repository_id']}"
    else:
        repo = f"{owner}/{name}"
    if claims.get("environment"):
        context = "environment:" + str(claims["environment"]).replace(":", "%3A")
    elif claims["event_name"] in ("pull_request", "pull_request_target"):
        context = "pull_request"
    else:
        context = f"ref:{claims['ref']}"
    keys = [key for key in job.get("include_claim_keys", "repo,context").split(",") if key]
    parts = {"repo": f"repo:{repo}", "context": context}
    return ":".join(parts.get(key) or f"{key}:{str(claims.get(key, '')).replace(':', '%3A')}" for key in keys)


def _check(job: Mapping[str, str]) -> None:
    unknown = sorted(set(job) - set(_JOB))
    if unknown:
        raise AzureError(400, "BadRequest", f"A job has no property {', '.join(unknown)}; it has {', '.join(_JOB)}.")
    owner, slash, name = job.get("repository", "").partition("/")
    if not (owner and slash and name) or "/" in name:
        raise AzureError(400, "BadRequest", f"The job's repository must be OWNER/NAME, not '{job.get('repository', '')}'.")


def _number(name: str) -> str:
    """A stable number for an owner or repository, in place of GitHub's."""
    return str(zlib.crc32(name.lower().encode()))
