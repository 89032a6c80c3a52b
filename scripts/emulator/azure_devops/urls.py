"""Routes of dev.azure.com and of its token issuer."""

from __future__ import annotations

from emulator.azure_devops import protection, work_items
from emulator.azure_devops import responses as r
from emulator.azure_devops.connections import OWN_ISSUER
from emulator.azure_devops.models import HOST
from emulator.core import Handler, Route

_ISSUER_HOST = OWN_ISSUER.removeprefix("https://")
_PROJECT = "/{organization}/{project}/_apis"
_GIT = f"{_PROJECT}/git/repositories/{{repository}}"
_ENDPOINTS = "serviceendpoint/endpoints"


def _route(method: str, path: str, handler: Handler, doc: str, host: str = HOST) -> Route:
    return Route(method, host, path, handler, auth="none", doc=doc)


ROUTES = [
    _route("GET", "/{organization}/.well-known/openid-configuration", r.configuration, "OpenID configuration", _ISSUER_HOST),
    _route("GET", "/.well-known/jwks", r.keys, "Signing keys", _ISSUER_HOST),
    _route("POST", _PROJECT + "/distributedtask/hubs/{hub}/plans/{plan}/jobs/{job}/oidctoken", r.oidc_token, "A job's OIDC token"),
    _route("GET", "/{organization}/_apis/projects/{project}", r.get_project, "Read a project"),
    _route("GET", f"{_PROJECT}/{_ENDPOINTS}", r.list_connections, "List service connections, also by name"),
    _route("GET", f"{_PROJECT}/{_ENDPOINTS}/{{endpoint}}", r.get_connection, "Read a service connection"),
    _route("POST", f"{_PROJECT}/{_ENDPOINTS}", r.create_connection, "Create a service connection to Azure"),
    _route("POST", f"/{{organization}}/_apis/{_ENDPOINTS}", r.create_connection, "Create one in the project that the body names"),
    _route("DELETE", f"{_PROJECT}/{_ENDPOINTS}/{{endpoint}}", r.delete_connection, "Delete a service connection"),
    _route("DELETE", f"/{{organization}}/_apis/{_ENDPOINTS}/{{endpoint}}", r.delete_connection, "Delete one from the projects named"),
    _route("GET", _PROJECT + "/build/builds/{build}", r.get_build, "Read a build"),
    _route("GET", _PROJECT + "/build/builds/{build}/timeline", r.get_timeline, "What a build has done so far"),
    _route("GET", _PROJECT + "/pipelines/approvals", r.list_approvals, "List approvals"),
    _route("GET", _PROJECT + "/pipelines/approvals/{approval}", r.get_approval, "Read an approval"),
    _route("PATCH", _PROJECT + "/pipelines/approvals", r.update_approvals, "Approve or reject"),
    _route("GET", f"{_GIT}/refs", r.list_refs, "List branches and tags, also by what their names begin with"),
    _route("GET", f"{_GIT}/commits/{{commit}}", r.get_commit, "Read a commit"),
    _route("GET", f"{_GIT}/commits/{{commit}}/mergebases", r.list_merge_bases, "Where two commits come from"),
    *protection.ROUTES,
    *work_items.ROUTES,
]
