"""HTTP in and out of what protects a resource of Azure Pipelines: environments, their roles, checks, and identities."""

from __future__ import annotations

from typing import Any

from emulator.azure_devops import checks, environments, exceptions, models
from emulator.azure_devops.models import HOST, Document, Project
from emulator.azure_devops.responses import _caller, _counted
from emulator.azure_devops.responses import _enter as enter
from emulator.core import Call, Reply, Route

IDENTITIES = "vssps.dev.azure.com"
_PROJECT = "/{organization}/{project}/_apis"
_ENVIRONMENTS = f"{_PROJECT}/distributedtask/environments"
_CHECKS = f"{_PROJECT}/pipelines/checks/configurations"
_PERMISSIONS = f"{_PROJECT}/pipelines/pipelinepermissions/{{kind}}/{{resource}}"
_ROLES = "/{organization}/_apis/securityroles/scopes/{scope}/roleassignments/resources/{resource}"


async def find_identities(call: Call) -> Any:
    """People and groups by their whole name."""
    _caller(call)
    models.check_version("GET", call.query.get("api-version"))
    if call.query.get("searchFilter", "").lower() not in ("general", "displayname", "accountname"):
        raise exceptions.bad_environment("searchFilter must be General, DisplayName or AccountName.")
    return _counted(environments.search(call.cloud, call.query.get("filterValue", "")))


async def list_environments(call: Call) -> Any:
    _, project = enter(call)
    return _counted([environments.shown(one) for one in environments.listed(call.cloud, project, call.query.get("name", ""))])


async def get_environment(call: Call) -> Any:
    _, project = enter(call)
    return environments.shown(environments.need(call.cloud, project, call.params["environment"]))


async def create_environment(call: Call) -> Any:
    caller, project = enter(call, writes="Create environments")
    project = models.use(call.cloud, project.organization, project.name)
    return environments.shown(environments.create(call.cloud, project, call.body, caller.name))


async def delete_environment(call: Call) -> Any:
    _, project = enter(call, writes="Manage environment")
    environments.remove(call.cloud, project, call.params["environment"])
    return Reply(204)


def _of_role(call: Call, writes: str = "") -> tuple[Project, Document]:
    """The environment that a role's resource names."""
    call.params["project"], _, number = call.params["resource"].rpartition("_")
    _, project = enter(call, writes)
    if call.params["scope"] != environments.SCOPE:
        raise exceptions.bad_environment(f"'{call.params['scope']}' is not a scope that is emulated.")
    return project, environments.need(call.cloud, project, number)


async def list_roles(call: Call) -> Any:
    return _counted(environments.assignments(*_of_role(call)))


async def assign_roles(call: Call) -> Any:
    project, environment = _of_role(call, "Manage environment")
    return _counted(environments.assign(call.cloud, project, environment, call.body))


async def remove_role(call: Call) -> Any:
    project, environment = _of_role(call, "Manage environment")
    environments.unassign(call.cloud, project, environment, call.params["identity"])
    return Reply(204)


async def list_checks(call: Call) -> Any:
    _, project = enter(call)
    found = checks.listed(call.cloud, project, call.query.get("resourceType", ""), call.query.get("resourceId", ""))
    return _counted([checks.shown(one, call.query.get("$expand", "")) for one in found])


async def get_check(call: Call) -> Any:
    _, project = enter(call)
    return checks.shown(checks.need(call.cloud, project, call.params["check"]), call.query.get("$expand", ""))


async def save_check(call: Call) -> Any:
    """Add a check, or with an id in the path change one."""
    caller, project = enter(call, writes="Manage checks")
    return checks.shown(checks.save(call.cloud, project, call.body, caller.name, call.params.get("check", "")), "settings")


async def delete_check(call: Call) -> Any:
    _, project = enter(call, writes="Manage checks")
    checks.remove(call.cloud, project, call.params["check"])
    return Reply(204)


async def get_permissions(call: Call) -> Any:
    _, project = enter(call)
    return checks.permissions(call.cloud, project, call.params["kind"], call.params["resource"])


async def change_permissions(call: Call) -> Any:
    caller, project = enter(call, writes="Administer service connections")
    return checks.permit(call.cloud, project, call.params["kind"], call.params["resource"], call.body, caller.name)


ROUTES = [
    Route("GET", IDENTITIES, "/{organization}/_apis/identities", find_identities, auth="none", doc="Find a person or a group by name"),
    Route("GET", HOST, _ENVIRONMENTS, list_environments, auth="none", doc="List environments, also by name"),
    Route("POST", HOST, _ENVIRONMENTS, create_environment, auth="none", doc="Create an environment"),
    Route("GET", HOST, _ENVIRONMENTS + "/{environment}", get_environment, auth="none", doc="Read an environment"),
    Route("DELETE", HOST, _ENVIRONMENTS + "/{environment}", delete_environment, auth="none", doc="Delete an environment"),
    Route("GET", HOST, _ROLES, list_roles, auth="none", doc="Who may use and administer an environment"),
    Route("PUT", HOST, _ROLES, assign_roles, auth="none", doc="Give somebody a role on an environment"),
    Route("DELETE", HOST, _ROLES + "/{identity}", remove_role, auth="none", doc="Take somebody's role on an environment away"),
    Route("GET", HOST, _CHECKS, list_checks, auth="none", doc="List the approvals and checks of a resource"),
    Route("POST", HOST, _CHECKS, save_check, auth="none", doc="Add an approval or a check"),
    Route("GET", HOST, _CHECKS + "/{check}", get_check, auth="none", doc="Read an approval or a check"),
    Route("PATCH", HOST, _CHECKS + "/{check}", save_check, auth="none", doc="Change an approval or a check"),
    Route("DELETE", HOST, _CHECKS + "/{check}", delete_check, auth="none", doc="Delete an approval or a check"),
    Route("GET", HOST, _PERMISSIONS, get_permissions, auth="none", doc="Which pipelines may use a resource"),
    Route("PATCH", HOST, _PERMISSIONS, change_permissions, auth="none", doc="Let pipelines use a resource, or no longer"),
]
