"""HTTP in and out of dev.azure.com and vstoken.dev.azure.com."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from starlette.responses import JSONResponse

from emulator.azure_devops import approvals, builds, connections, exceptions, git, models
from emulator.azure_devops.models import Caller, Document, Project
from emulator.core import Call, Reply
from emulator.entra import models as entra
from emulator.errors import AzureError


async def configuration(call: Call) -> Any:
    return {
        "issuer": f"{connections.OWN_ISSUER}/{call.params['organization']}",
        "jwks_uri": f"{connections.OWN_ISSUER}/.well-known/jwks",
        "subject_types_supported": ["public", "pairwise"],
        "response_types_supported": ["id_token"],
        "claims_supported": ["sub", "aud", "exp", "iat", "iss", "nbf"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
    }


async def keys(call: Call) -> Any:
    return {"keys": [models.key(call.cloud).jwk()]}


# --- a job ------------------------------------------------------------------------------------------------------------------------


async def oidc_token(call: Call) -> Any:
    """A token for the job that asks, to sign in with."""
    caller, project = _enter(call)
    if call.params["hub"].lower() != "build":
        raise exceptions.no_hub(call.params["hub"])
    if caller.job is None:
        raise exceptions.other_job(caller.name, call.params["plan"])
    connection = call.query.get("serviceConnectionId")
    return {"oidcToken": builds.oidc_token(call.cloud, caller.job, project, call.params["plan"], call.params["job"], connection)}


# --- service connections ----------------------------------------------------------------------------------------------------------


async def get_project(call: Call) -> Any:
    _, project = _enter(call)
    project = models.use(call.cloud, project.organization, project.name)
    return {**project.reference(), "url": project.url, "state": "wellFormed", "revision": 1, "visibility": "private"}


async def list_connections(call: Call) -> Any:
    _, project = _enter(call)
    found = connections.listed(call.cloud, project)
    for parameter, key in (("endpointNames", "name"), ("endpointIds", "id"), ("type", "type")):
        if wanted := _words(call, parameter):
            found = [one for one in found if one[key].lower() in wanted]
    return _counted(found)


async def get_connection(call: Call) -> Any:
    """A connection; ``null`` for one that is not there (MicrosoftDocs/vsts-rest-api-specs#285)."""
    _, project = _enter(call)
    return JSONResponse(connections.get(call.cloud, project, call.params["endpoint"]))


async def create_connection(call: Call) -> Any:
    """Make a connection; without a project in the path, in the one that the body names."""
    body = call.body
    references = (body or {}).get("serviceEndpointProjectReferences") or [{}]
    named = references[0].get("projectReference") or {}
    if "project" not in call.params:
        call.params["project"] = str(named.get("name") or named.get("id") or "")
    caller, project = _enter(call, writes="Create service connections")
    if not call.params["project"]:
        raise exceptions.bad_connection("serviceEndpointProjectReferences must name a project.")
    project = models.use(call.cloud, project.organization, project.name)
    return connections.create(call.cloud, project, body, caller.name)


async def delete_connection(call: Call) -> Any:
    """Delete a connection from the projects that the query names."""
    projects = [call.params["project"]] if "project" in call.params else _words(call, "projectIds")
    if not projects:
        raise exceptions.bad_connection("projectIds must name the projects to delete the service connection from.")
    for name in projects:
        call.params["project"] = name
        _, project = _enter(call, writes="Delete service connections")
        connections.delete(call.cloud, project, call.params["endpoint"])
    return Reply(204)


# --- builds -----------------------------------------------------------------------------------------------------------------------


async def get_build(call: Call) -> Any:
    _, project = _enter(call)
    return builds.need(call.cloud, project, call.params["build"])


async def get_timeline(call: Call) -> Any:
    _, project = _enter(call)
    return builds.timeline(call.cloud, project, call.params["build"])


# --- repositories -----------------------------------------------------------------------------------------------------------------


async def list_refs(call: Call) -> Any:
    project, repository = _repository(call)
    return _counted(git.refs(project, repository, call.query.get("filter", "")))


async def get_commit(call: Call) -> Any:
    project, repository = _repository(call)
    return git.shown(project, repository, git.commit(call.cloud, project, repository, call.params["commit"]))


async def list_merge_bases(call: Call) -> Any:
    project, repository = _repository(call)
    return _counted(git.merge_bases(call.cloud, project, repository, call.params["commit"], call.query.get("otherCommitId", "")))


def _repository(call: Call) -> tuple[Project, Document]:
    _, project = _enter(call)
    return project, git.need(call.cloud, project, call.params["repository"])


# --- approvals --------------------------------------------------------------------------------------------------------------------


async def list_approvals(call: Call) -> Any:
    _, project = _enter(call)
    top = call.query.get("top")
    if top is not None and not top.isdecimal():
        raise exceptions.bad_approval(f"'{top}' is no number of approvals.")
    people = [*_words(call, "userIds"), *_words(call, "assignedTo")]
    found = approvals.query(
        call.cloud, project, _words(call, "approvalIds"), call.query.get("state", "all"), people, None if top is None else int(top)
    )
    return _counted([approvals.shown(one, call.query.get("$expand", "")) for one in found])


async def get_approval(call: Call) -> Any:
    _, project = _enter(call)
    return approvals.shown(approvals.need(call.cloud, project, call.params["approval"]), call.query.get("$expand", ""))


async def update_approvals(call: Call) -> Any:
    """Approve or reject, as the caller."""
    caller, project = _enter(call, writes="Approve")
    return _counted([approvals.shown(one, "steps") for one in approvals.decide(call.cloud, project, caller.name, call.body)])


# --- who calls --------------------------------------------------------------------------------------------------------------------


def _enter(call: Call, writes: str = "") -> tuple[Caller, Project]:
    """Let the caller in, check the version, find the project; a job may only read, and only in its own project."""
    caller = _caller(call)
    asked = re.search(r"api-version\s*=\s*([^;,\s]+)", call.request.headers.get("accept", ""))
    models.check_version(call.request.method, call.query.get("api-version") or (asked[1] if asked else None))
    project = models.project(call.cloud, call.params["organization"], call.params["project"])
    if caller.job is not None:
        if project.id != models.identifier(caller.job["organization"], caller.job["project"]):
            raise exceptions.no_project(call.params["project"])
        if writes:
            raise exceptions.forbidden(caller.name, writes)
    return caller, project


def _caller(call: Call) -> Caller:
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "basic":
            return models.person_of(call.cloud, base64.b64decode(value).decode().partition(":")[2])
        if scheme.lower() == "bearer":
            return _bearer(call, value.strip())
        raise exceptions.unauthorized()
    except (binascii.Error, UnicodeDecodeError):
        raise exceptions.bad_token() from None
    except exceptions.DevOpsError as error:
        if call.request.headers.get("x-tfs-fedauthredirect", "").lower() == "suppress" or scheme.lower() == "basic":
            raise
        raise exceptions.sign_in() from error


def _bearer(call: Call, token: str) -> Caller:
    """A job by its access token, or whoever has an Entra token for Azure DevOps."""
    try:
        principal = entra.validate(call.cloud, token)
    except AzureError:
        job = builds.job_of(call.cloud, token)
        return Caller("job", builds.service_name(job), job)
    if principal.audience.removeprefix("https://").rstrip("/") not in (models.APPLICATION, "app.vssps.visualstudio.com"):
        raise exceptions.unauthorized(principal.oid)
    if principal.kind == "user":
        return Caller("person", principal.name)
    found = entra.application(call.cloud, principal.app_id)
    return Caller("application", found["displayName"] if found else principal.app_id)


def _words(call: Call, parameter: str) -> list[str]:
    return [word.strip().lower() for word in call.query.get(parameter, "").split(",") if word.strip()]


def _counted(found: list[Any]) -> dict[str, Any]:
    return {"count": len(found), "value": found}
