"""What every call of GitHub's REST API goes through: who calls, how often, what they may do there, and the form of the answer.

Sources: https://docs.github.com/rest/about-the-rest-api/api-versions, .../using-the-rest-api/rate-limits-for-the-rest-api,
.../authentication/permissions-required-for-github-apps and https://docs.github.com/actions/reference/authentication-in-a-workflow.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from emulator.core import Call, Cloud, Reply, Route
from emulator.github import accounts, repositories
from emulator.github.accounts import Caller
from emulator.github.errors import DOCS, GitHubError, forbidden, not_found
from emulator.github.forms import HOST, page

Document = dict[str, Any]
VERSIONS = ("2022-11-28", "2026-03-10")
LEVELS = ("read", "write", "admin")
WINDOW = 3600
"""Seconds for which calls are counted."""
INTEGRATION = "Resource not accessible by integration"


@dataclass(frozen=True)
class Need:
    """What a caller must hold: an app's or a job's permission (any of several), and a person's role in the repository.

    ``public`` says that in a public repository everybody may read it. ``org`` asks for a member of the organization.
    """

    permission: str = "metadata"
    level: str = "read"
    role: str = "read"
    public: bool = True
    org: bool = False


@dataclass
class Ask:
    """One call, let in: who asks, and of which repository."""

    call: Call
    caller: Caller
    repository: Document
    role: str

    @property
    def cloud(self) -> Cloud:
        return self.call.cloud

    @property
    def params(self) -> dict[str, str]:
        return self.call.params

    @property
    def query(self) -> dict[str, str]:
        return self.call.query

    @property
    def body(self) -> Document:
        """The JSON object that was sent, or an empty one. Raises GitHub's 400."""
        if not self.call.raw.strip():
            return {}
        try:
            sent = json.loads(self.call.raw)
        except ValueError:
            raise GitHubError(400, "Problems parsing JSON") from None
        if sent is None:
            return {}
        if not isinstance(sent, dict):
            raise GitHubError(400, "Body should be a JSON object")
        return sent

    @property
    def pushes(self) -> bool:
        """Whether the caller may push: a person by role, a job or app by the permission it was let in with."""
        return self.caller.integration or repositories.at_least(self.role, "write")

    def paged(self, rows: list[Any], show: Callable[[Any], Any], within: str = "") -> Reply:
        """A page of a list; ``within`` is the name that it has beside ``total_count`` where the list stands in an object."""
        some, headers = page(self.call, rows)
        shown = [show(each) for each in some]
        return Reply(200, {"total_count": len(rows), within: shown} if within else shown, headers)


Handler = Callable[[Ask], Awaitable[Any]]


def route(method: str, path: str, handler: Handler, doc: str, need: Need = Need(), page: str = "") -> Route:
    """A route of api.github.com; ``page`` is that of the documentation, which refusals name."""

    async def handle(call: Call) -> Reply:
        try:
            return await _answer(call, handler, need)
        except GitHubError as error:
            error.documentation = f"{DOCS}/{page}" if page else DOCS
            return Reply(error.status, error.body(), {**_headers(call, None), **error.headers})

    return Route(method, HOST, path, handle, auth="none", api_version=False, doc=doc)


async def _answer(call: Call, handler: Handler, need: Need) -> Reply:
    if not call.request.headers.get("user-agent"):
        raise forbidden("Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
    version = call.request.headers.get("x-github-api-version", VERSIONS[0])
    if version not in VERSIONS:
        raise GitHubError(400, f"'{version}' is not a supported API version. Supported versions are {', '.join(VERSIONS)}.")
    caller = accounts.caller(call.cloud, call.request.headers.get("authorization"))
    count(call, caller)
    ask = _let_in(call, caller, need)
    answer = await handler(ask)
    reply = answer if isinstance(answer, Reply) else Reply(200, answer)
    reply.headers = {**_headers(call, caller), **reply.headers}
    return reply


def _let_in(call: Call, caller: Caller, need: Need) -> Ask:
    """The call with its repository. Raises 401, 403, or 404 for what the caller may not know of."""
    writes = call.request.method not in ("GET", "HEAD")
    if "repo" not in call.params:
        if need.org:
            _org(call.cloud, caller, call.params["org"], need)
        elif caller.kind == "nobody" and not need.public:
            raise GitHubError(401, "Requires authentication")
        return Ask(call, caller, {}, "none")
    repository = repositories.get(call.cloud, call.params["owner"], call.params["repo"])
    if not repositories.visible(call.cloud, repository, caller):
        raise not_found()
    open_to_all = need.public and not writes and repositories.is_public(repository)
    if caller.kind == "nobody":
        if not open_to_all:
            raise GitHubError(401, "Requires authentication")
        return Ask(call, caller, repository, "read")
    if caller.integration:
        if not open_to_all and not _permitted(caller, repository, need):
            raise GitHubError(403, INTEGRATION, headers={"X-Accepted-GitHub-Permissions": f"{need.permission}={need.level}"})
        return Ask(call, caller, repository, "none")
    if writes and not {"repo", "public_repo"} & set(caller.scopes):
        raise not_found()
    held = repositories.role(call.cloud, repository, caller.login)
    if not repositories.at_least(held, need.role):
        raise forbidden("Must have admin rights to Repository." if need.role == "admin" else "Must have push access to repository")
    return Ask(call, caller, repository, held)


def _permitted(caller: Caller, repository: Document, need: Need) -> bool:
    if repository["full_name"].lower() not in caller.repositories:
        return False
    held = {name.replace("-", "_"): level for name, level in caller.permissions.items() if level in LEVELS}
    return any(LEVELS.index(held[name]) >= LEVELS.index(need.level) for name in need.permission.split("|") if name in held)


def _org(cloud: Cloud, caller: Caller, name: str, need: Need) -> None:
    """Members of an organization, and apps with the permission ``members``; a job's token never has it."""
    accounts.organization(cloud, name)
    if caller.kind == "nobody":
        raise GitHubError(401, "Requires authentication")
    if caller.integration:
        if "members" not in caller.permissions or caller.kind == "workflow":
            raise GitHubError(403, INTEGRATION, headers={"X-Accepted-GitHub-Permissions": "members=read"})
    elif not {"read:org", "write:org", "admin:org"} & set(caller.scopes) or not accounts.belongs(cloud, name, caller.login):
        raise not_found()


# --- rate limits and headers -----------------------------------------------------------------------------------------------------


def limit(cloud: Cloud, caller: Caller) -> int:
    """Calls an hour. The setting ``github_rate_limit`` overrides it."""
    if "github_rate_limit" in cloud.settings.extra:
        return int(cloud.settings.extra["github_rate_limit"])
    return {"nobody": 60, "workflow": 1000}.get(caller.kind, 5000)


def used(cloud: Cloud, caller: Caller) -> tuple[int, int]:
    """How many calls there were in this window, and when it ends."""
    now = int(cloud.now().timestamp())
    known = cloud.store.get(_counter(caller))
    if known is None or known["ends"] <= now:
        return 0, now + WINDOW
    return int(known["used"]), int(known["ends"])


def count(call: Call, caller: Caller) -> None:
    """Note the call. Raises GitHub's 403 when there were too many."""
    calls, ends = used(call.cloud, caller)
    if calls >= limit(call.cloud, caller):
        raise GitHubError(403, f"API rate limit exceeded for {caller.login or 'your address'}.", headers=_limits(call.cloud, caller))
    call.cloud.store.put(_counter(caller), "github_rate", {"used": calls + 1, "ends": ends})


def _counter(caller: Caller) -> str:
    return f"github/rates/{caller.token or 'nobody'}"


def _limits(cloud: Cloud, caller: Caller) -> dict[str, str]:
    most, (calls, ends) = limit(cloud, caller), used(cloud, caller)
    return {
        "X-RateLimit-Limit": str(most),
        "X-RateLimit-Remaining": str(max(0, most - calls)),
        "X-RateLimit-Used": str(calls),
        "X-RateLimit-Reset": str(ends),
        "X-RateLimit-Resource": "core",
    }


def rates(cloud: Cloud, caller: Caller) -> Document:
    """What /rate_limit answers; asking it does not count."""
    most, (calls, ends) = limit(cloud, caller), used(cloud, caller)
    core = {"limit": most, "used": calls, "remaining": max(0, most - calls), "reset": ends}
    return {"resources": {"core": core}, "rate": core}


def _headers(call: Call, caller: Caller | None) -> dict[str, str]:
    version = call.request.headers.get("x-github-api-version", VERSIONS[0])
    headers = {"X-GitHub-Media-Type": "github.v3; format=json", "x-github-api-version-selected": version}
    if caller is None:
        try:
            caller = accounts.caller(call.cloud, call.request.headers.get("authorization"))
        except GitHubError:
            return headers
    if caller.kind == "user":
        headers["X-OAuth-Scopes"] = ", ".join(caller.scopes)
    return {**headers, **_limits(call.cloud, caller)}
