"""Builds, their jobs, the tokens of a job, and the timeline.

A job asks for an OIDC token with its System.AccessToken, and only for a connection that one of its tasks names
(dotnet/docker-tools#2012). Claims of the Azure DevOps issuer: learn.microsoft.com/azure/devops/release-notes/2024/sprint-240-update;
of Entra's: a token in Teleport's RFD 211. That one lived a day; here both live ten minutes, the time that
learn.microsoft.com/azure/devops/pipelines/release/troubleshoot-workload-identity gives, so that whoever relies on more is found out.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jwt

from emulator.azure_devops import connections, exceptions, models
from emulator.azure_devops.models import APPLICATION, HOST, Document, Project
from emulator.core import TENANT
from emulator.entra.models import EXCHANGE_APPLICATION, EXCHANGE_AUDIENCE, ISSUER_V2, entra_key
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

LIFETIME = 600
"""Seconds that an OIDC token lives."""
LONGEST_JOB = 360
"""Minutes: a job without a limit of its own on a hosted agent."""
_TOKEN_ISSUER = "app.vstoken.visualstudio.com"
_RESULTS = ("succeeded", "partiallySucceeded", "failed", "canceled")


# --- builds ----------------------------------------------------------------------------------------------------------------------


def start(
    cloud: Cloud,
    project: Project,
    pipeline: str,
    *,
    build_id: int | None = None,
    reason: str = "manual",
    branch: str = "refs/heads/main",
    commit: str = "0" * 40,
    repository: str = "",
    requested_for: str = "Dana",
) -> Document:
    """A build in progress, with a timeline that is empty yet. Raises 409 for an id that is taken."""
    known = cloud.store.list("azure_devops_build", f"{project.path}/builds")
    number = build_id or max((one["id"] for one in known), default=0) + 1
    if cloud.store.exists(_place(project, number)):
        raise AzureError(409, "Conflict", f"Build {number} exists in {project.organization}/{project.name}.")
    now, plan, definition = cloud.stamp(), str(uuid.uuid4()), models.identifier(project.id, "pipeline", pipeline)
    definition_id = int(definition[:6], 16)
    url = f"{project.url}/_apis/build/Builds/{number}"
    made = {
        "_links": {
            "self": {"href": url},
            "web": {"href": f"{project.url}/_build/results?buildId={number}"},
            "timeline": {"href": f"{url}/Timeline"},
        },
        "id": number,
        "buildNumber": f"{cloud.now():%Y%m%d}.{number}",
        "status": "inProgress",
        "queueTime": now,
        "startTime": now,
        "url": url,
        "definition": {
            "id": definition_id,
            "name": pipeline,
            "url": f"{project.url}/_apis/build/Definitions/{definition_id}",
            "path": "\\",
            "type": "build",
            "queueStatus": "enabled",
            "project": project.reference(),
        },
        "project": project.reference(),
        "uri": f"vstfs:///Build/Build/{number}",
        "sourceBranch": branch,
        "sourceVersion": commit,
        "priority": "normal",
        "reason": reason,
        "requestedFor": models.identity(requested_for),
        "requestedBy": models.identity(requested_for),
        "lastChangedDate": now,
        "orchestrationPlan": {"planId": plan},
        "repository": {"id": models.identifier(project.id, "repository", repository), "type": "TfsGit", "name": repository},
        "retainedByRelease": False,
        "triggeredByBuild": None,
    }
    cloud.store.put(f"azure_devops/plans/{plan}", "azure_devops_plan", {"place": _place(project, number)})
    cloud.store.put(_timeline(project, number), "azure_devops_timeline", {"id": plan, "changeId": 0, "records": []})
    return cloud.store.put(_place(project, number), "azure_devops_build", made)


def finish(cloud: Cloud, project: Project, build_id: int, result: str) -> Document:
    """End a build, and with it every job of it that still runs."""
    if result not in _RESULTS:
        raise AzureError(400, "BadRequest", f"A build ends {', '.join(_RESULTS)}, not '{result}'.")
    build = need(cloud, project, build_id)
    for job in _jobs(cloud, build["orchestrationPlan"]["planId"]):
        end_job(cloud, job["plan_id"], job["id"])
    now = cloud.stamp()
    return cloud.store.put(
        _place(project, build_id),
        "azure_devops_build",
        {**build, "status": "completed", "result": result, "finishTime": now, "lastChangedDate": now},
    )


def need(cloud: Cloud, project: Project, build_id: int | str) -> Document:
    """The build. Raises 404."""
    found = cloud.store.get(_place(project, build_id)) if str(build_id).isdecimal() else None
    if found is None:
        raise exceptions.no_build(str(build_id))
    return found


def _place(project: Project, build_id: int | str) -> str:
    return f"{project.path}/builds/{int(build_id)}"


# --- the timeline ----------------------------------------------------------------------------------------------------------------


def timeline(cloud: Cloud, project: Project, build_id: int | str) -> Document:
    """What the build has done so far, as the REST API writes it."""
    build = need(cloud, project, build_id)
    found = cloud.store.need(_timeline(project, build_id))
    url = f"{build['url']}/Timeline/{found['id']}"
    return {
        "records": found["records"],
        "lastChangedBy": models.identifier("Microsoft.VisualStudio.Services.TFS"),
        "lastChangedOn": found.get("changed", build["startTime"]),
        "id": found["id"],
        "changeId": found["changeId"],
        "url": url,
    }


def record(cloud: Cloud, project: Project, build_id: int, records: Iterable[Mapping[str, Any]]) -> Document:
    """Write records of the timeline; one that is there is changed. Raises 400 for one without id, type and name."""
    need(cloud, project, build_id)
    found = cloud.store.need(_timeline(project, build_id))
    known: dict[str, Document] = {one["id"]: one for one in found["records"]}
    now, change = cloud.stamp(), found["changeId"] + 1
    for given in records:
        unknown = sorted(set(given) - set(_RECORD))
        if unknown or not all(given.get(name) or known.get(str(given.get("id"))) for name in ("id", "type", "name")):
            what = f"has no property {', '.join(unknown)}" if unknown else "needs id, type and name"
            raise AzureError(400, "BadRequest", f"A timeline record {what}.")
        before = known.get(given["id"], {**_RECORD, "previousAttempts": []})
        known[given["id"]] = {**before, **given, "changeId": change, "lastModified": now}
    written = {**found, "records": list(known.values()), "changeId": change, "changed": now}
    cloud.store.put(_timeline(project, build_id), "azure_devops_timeline", written)
    return timeline(cloud, project, build_id)


_RECORD: Document = {
    "previousAttempts": [], "id": None, "parentId": None, "type": None, "name": None, "startTime": None, "finishTime": None,
    "currentOperation": None, "percentComplete": None, "state": "pending", "result": None, "resultCode": None, "changeId": 0,
    "lastModified": None, "workerName": None, "order": None, "details": None, "errorCount": 0, "warningCount": 0, "url": None, "log": None,
    "task": None, "attempt": 1, "identifier": None, "refName": None, "issues": [],
}  # fmt: skip


def _timeline(project: Project, build_id: int | str) -> str:
    return f"{project.path}/timelines/{int(build_id)}"


# --- jobs and their tokens -------------------------------------------------------------------------------------------------------


def start_job(
    cloud: Cloud,
    project: Project,
    build_id: int,
    name: str,
    *,
    job_id: str | None = None,
    references: Iterable[str] = (),
    timeout_in_minutes: int = LONGEST_JOB,
) -> Document:
    """A job that runs: its ids, its access token and where it asks for OIDC tokens.

    ``name`` is ``<stage>.<job>``; ``references`` are the connections that its tasks name, by name or id.
    ``timeout_in_minutes`` is how long the access token lives (0: as long as a job can). Raises 404 for a build or connection that
    the project does not have.
    """
    build = need(cloud, project, build_id)
    allowed = []
    for reference in references:
        found = connections.get(cloud, project, reference) or connections.named(cloud, project, reference)
        if found is None:
            raise exceptions.no_connection(reference)
        allowed.append(found["id"])
    plan, job_id = build["orchestrationPlan"]["planId"], job_id or str(uuid.uuid4())
    job = {
        "id": job_id,
        "plan_id": plan,
        "name": name,
        "organization": project.organization,
        "project": project.name,
        "build_id": build["id"],
        "connections": allowed,
        "ended": False,
    }
    cloud.store.put(_job(plan, job_id), "azure_devops_job", job)
    now = int(cloud.now().timestamp())
    token = models.key(cloud).sign({
        "iss": _TOKEN_ISSUER, "aud": f"{_TOKEN_ISSUER}|vso:{project.organization_id}", "jti": str(uuid.uuid4()), "iat": now, "nbf": now,
        "exp": now + 60 * (timeout_in_minutes or LONGEST_JOB), "orchid": f"{plan}.{name}.__default".lower(), "plan": plan, "job": job_id,
    })  # fmt: skip
    uri = f"https://{HOST}/{project.organization}/{project.id}/_apis/distributedtask/hubs/build/plans/{plan}/jobs/{job_id}/oidctoken"
    return {"plan_id": plan, "job_id": job_id, "access_token": token, "oidc_request_uri": uri}


def end_job(cloud: Cloud, plan_id: str, job_id: str) -> Document:
    """The job is over: its token gets nothing more. Raises 404."""
    job = cloud.store.get(_job(plan_id, job_id))
    if job is None:
        raise exceptions.no_job(job_id, plan_id)
    return cloud.store.put(_job(plan_id, job_id), "azure_devops_job", {**job, "ended": True})


def job_of(cloud: Cloud, access_token: str) -> Document:
    """The job whose System.AccessToken this is; it may have ended. Raises 401 for a token that is forged or has expired."""
    signer = models.key(cloud)
    try:
        claims = jwt.decode(
            access_token,
            signer.private.public_key(),
            algorithms=["RS256"],
            issuer=_TOKEN_ISSUER,
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except jwt.InvalidTokenError:
        raise exceptions.unauthorized() from None
    job = cloud.store.get(_job(claims["plan"], claims["job"]))
    if job is None or claims["exp"] <= cloud.now().timestamp():
        raise exceptions.unauthorized()
    return job


def service_name(job: Mapping[str, Any]) -> str:
    """Who acts in a job: the project's build service."""
    return f"{job['project']} Build Service ({job['organization']})"


def oidc_token(cloud: Cloud, caller: Document, project: Project, plan_id: str, job_id: str, connection_id: str | None) -> str:
    """An OIDC token of a job, for a connection or (without one) for the pipeline. Raises what the service answers."""
    plan = cloud.store.get(f"azure_devops/plans/{plan_id}")
    if plan is None or not plan["place"].startswith(f"{project.path}/"):
        raise exceptions.no_plan(plan_id)
    if caller["plan_id"] != plan_id.lower():
        raise exceptions.other_job(service_name(caller), plan_id)
    if caller["id"] != job_id.lower() or caller["ended"]:
        raise exceptions.no_job(job_id, plan_id)
    if connection_id is None:
        return _pipeline_token(cloud, project, cloud.store.need(plan["place"]))
    connection = connections.get(cloud, project, connection_id)
    if connection is None or connection["id"] not in caller["connections"]:
        raise exceptions.NoReference(connection_id, f"{caller['name']}.__default")
    parameters = connection["authorization"]["parameters"]
    issuer = parameters.get("workloadIdentityFederationIssuer")
    if issuer is None:
        raise exceptions.bad_connection(f"Service connection {connection_id} does not use workload identity federation.")
    return _sign(cloud, issuer, parameters["workloadIdentityFederationSubject"])


def _sign(cloud: Cloud, issuer: str, subject: str, **more: str) -> str:
    now = int(cloud.now().timestamp())
    if issuer != ISSUER_V2:
        claims = {"jti": str(uuid.uuid4()), "sub": subject, "aud": EXCHANGE_AUDIENCE, **more, "iss": issuer}
        return models.key(cloud).sign({**claims, "nbf": now - LIFETIME, "exp": now + LIFETIME, "iat": now})
    return entra_key(cloud).sign({
        "aud": EXCHANGE_APPLICATION, "iss": issuer, "iat": now, "nbf": now, "exp": now + LIFETIME, "azp": APPLICATION, "azpacr": "2",
        "idtyp": "app", "oid": models.identifier("entra", APPLICATION), "sub": subject, "tid": TENANT, "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    })  # fmt: skip


def _pipeline_token(cloud: Cloud, project: Project, build: Document) -> str:
    pipeline = build["definition"]
    return _sign(
        cloud,
        f"{connections.OWN_ISSUER}/{project.organization_id}",
        f"p://{project.organization}/{project.name}/{pipeline['name']}",
        org_id=project.organization_id,
        prj_id=project.id,
        def_id=str(pipeline["id"]),
        rpo_id=build["repository"]["name"],
        rpo_ver=build["sourceVersion"],
        rpo_ref=build["sourceBranch"],
        run_id=str(build["id"]),
    )


def _job(plan_id: str, job_id: str) -> str:
    return f"azure_devops/plans/{plan_id}/jobs/{job_id}"


def _jobs(cloud: Cloud, plan_id: str) -> list[Document]:
    return cloud.store.list("azure_devops_job", f"azure_devops/plans/{plan_id}/jobs")
