"""HTTP in and out of GitHub's token service."""

from __future__ import annotations

from typing import Any

from emulator.core import Call
from emulator.errors import AzureError
from emulator.github import models


async def configuration(call: Call) -> Any:
    return {
        "issuer": models.ISSUER,
        "jwks_uri": f"{models.ISSUER}/.well-known/jwks",
        "subject_types_supported": ["public", "pairwise"],
        "response_types_supported": ["id_token"],
        "claims_supported": [
            "sub", "aud", "exp", "iat", "iss", "jti", "nbf", "ref", "sha", "repository", "repository_id", "repository_owner",
            "repository_owner_id", "run_id", "run_number", "run_attempt", "actor", "actor_id", "workflow", "workflow_ref", "workflow_sha",
            "head_ref", "base_ref", "event_name", "ref_type", "ref_protected", "environment", "environment_node_id", "job_workflow_ref",
            "job_workflow_sha", "repository_visibility", "runner_environment",
        ],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
    }  # fmt: skip


async def keys(call: Call) -> Any:
    return models.jwks(call.cloud)


async def id_token(call: Call) -> Any:
    """A token for the job that asks."""
    scheme, _, request_token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not request_token:
        raise AzureError(401, "Unauthorized", "The request token (ACTIONS_ID_TOKEN_REQUEST_TOKEN) is missing.")
    job = models.job_of(call.cloud, request_token.strip(), call.query)
    return {"count": 1, "value": models.token(call.cloud, job, call.query.get("audience"))}
