"""Work items of Azure Boards: made and changed by JSON Patch, read, found by WIQL, and the states of their types.

Shapes: learn.microsoft.com/rest/api/azure/devops/wit (work items, wiql, work item type states). The project's process is Basic, whose
states stand in "About default processes" (learn.microsoft.com/azure/devops/boards/work-items/guidance); the types that are in no Basic
project are refused. Of WIQL it knows conditions on one field each, joined by AND. What a body of another kind is answered is quoted in
restsharp/RestSharp#1413; the other refusals carry the numbers that Azure Boards gives them, in words of this emulator's own.
A job may write work items, as a build that makes one when it fails does ("Build options", learn.microsoft.com/azure/devops/pipelines).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.azure_devops import models
from emulator.azure_devops.exceptions import DevOpsError
from emulator.azure_devops.models import HOST, Document, Project
from emulator.azure_devops.responses import _counted
from emulator.azure_devops.responses import _enter as enter
from emulator.core import Call, Route

if TYPE_CHECKING:
    from emulator.core import Cloud

PATCH = "application/json-patch+json"
TYPES = ("Epic", "Issue", "Task")
STATES = {"To Do": "Proposed", "Doing": "InProgress", "Done": "Completed"}
COLORS = {"Proposed": "b2b2b2", "InProgress": "007acc", "Completed": "339933"}
LONGEST = 255
"""Characters of a title (work item field index)."""
_OPERATION = re.compile(r"/fields/([A-Za-z0-9_.]+)")
_WIQL = re.compile(
    r"\s*SELECT\s+(.+?)\s+FROM\s+WorkItems(?:\s+WHERE\s+(.+?))?(?:\s+ORDER\s+BY\s+\[System\.Id\](\s+DESC|\s+ASC)?)?\s*", re.I | re.S
)
_CONDITION = re.compile(r"\[([A-Za-z.]+)\]\s*(<>|=|CONTAINS|NOT\s+CONTAINS)\s*('(?:[^']|'')*'|@project|\d+)", re.I)
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "<>": lambda found, wanted: found != wanted,
    "CONTAINS": lambda found, wanted: wanted in found,
    "NOT CONTAINS": lambda found, wanted: wanted not in found,
}


def _refused(status: int, key: str, message: str) -> DevOpsError:
    return DevOpsError(status, key, message, "Microsoft.TeamFoundation.WorkItemTracking.Server")


def _type(name: str) -> str:
    found = next((one for one in TYPES if one.lower() == name.lower()), "")
    if not found:
        raise _refused(404, "WorkItemTypeNotFoundException", f"VS402323: Work item type {name} does not exist in the project.")
    return found


def _place(project: Project, id: int | str) -> str:
    return f"{project.path}/work_items/{id}"


def need(cloud: Cloud, project: Project, id: str) -> Document:
    """The work item. Raises 404."""
    found = cloud.store.get(_place(project, id)) if id.isdecimal() else None
    if found is None:
        message = f"TF401232: Work item {id} does not exist, or you do not have permissions to read it."
        raise _refused(404, "WorkItemUnauthorizedAccessException", message)
    return found


def _patched(fields: Document, body: Any) -> Document:
    """The fields after the operations of a patch. Raises 400 for what is none."""
    if not isinstance(body, list) or not body:
        raise _refused(400, "VssPropertyValidationException", "You must pass a valid patch document in the body of the request.")
    made = dict(fields)
    for one in body:
        match = _OPERATION.fullmatch(str(one.get("path"))) if isinstance(one, dict) else None
        if match is None or one.get("op") not in ("add", "replace", "remove", "test"):
            raise _refused(400, "VssPropertyValidationException", "You must pass a valid patch document in the body of the request.")
        name, value = match[1], one.get("value")
        if one["op"] == "test" and made.get(name) != value:
            raise _refused(412, "TestPatchOperationFailedException", f"VS403351: Test Operation for path {one['path']} failed.")
        if one["op"] == "remove":
            made.pop(name, None)
        elif one["op"] != "test":
            made[name] = value
    title = made.get("System.Title")
    if not isinstance(title, str) or not title.strip() or len(title) > LONGEST:
        raise _refused(400, "RuleValidationException", f"TF401320: Rule Error for field Title. It has 1 to {LONGEST} characters.")
    if made["System.State"] not in STATES:
        raise _refused(400, "RuleValidationException", "TF401320: Rule Error for field State. It has a value that is not in the list.")
    words = sorted(
        {word.strip() for word in str(made.get("System.Tags") or "").replace(",", ";").split(";") if word.strip()}, key=str.lower
    )
    return {
        **{name: value for name, value in made.items() if name != "System.Tags"},
        **({"System.Tags": "; ".join(words)} if words else {}),
    }


def create(cloud: Cloud, project: Project, type: str, body: Any, caller: str) -> Document:
    """A new work item of a type."""
    now, number = (
        cloud.stamp(),
        max((one["id"] for one in cloud.store.list("azure_devops_work_item", f"{project.path}/work_items")), default=0) + 1,
    )
    start = {
        "System.AreaPath": project.name, "System.TeamProject": project.name, "System.IterationPath": project.name,
        "System.WorkItemType": _type(type), "System.State": "To Do", "System.Reason": "Added to backlog",
    }  # fmt: skip
    signed = {
        "System.CreatedDate": now, "System.CreatedBy": models.identity(caller), "System.ChangedDate": now,
        "System.ChangedBy": models.identity(caller), "System.CommentCount": 0, "Microsoft.VSTS.Common.StateChangeDate": now,
        "Microsoft.VSTS.Common.Priority": 2,
    }  # fmt: skip
    made = {"id": number, "rev": 1, "fields": {**_patched(start, body), **signed}}
    return cloud.store.put(_place(project, number), "azure_devops_work_item", made)


def change(cloud: Cloud, project: Project, item: Document, body: Any, caller: str) -> Document:
    """A work item with other fields."""
    now = cloud.stamp()
    fields = {**_patched(item["fields"], body), "System.ChangedDate": now, "System.ChangedBy": models.identity(caller)}
    if fields["System.State"] != item["fields"]["System.State"]:
        fields["Microsoft.VSTS.Common.StateChangeDate"] = now
    return cloud.store.put(_place(project, item["id"]), "azure_devops_work_item", {**item, "rev": item["rev"] + 1, "fields": fields})


def query(cloud: Cloud, project: Project, text: str) -> list[Document]:
    """The work items that a WIQL query finds, in its order. Raises 400 for one that is not understood."""
    parsed = _WIQL.fullmatch(text)
    conditions = [_CONDITION.fullmatch(one.strip()) for one in re.split(r"\s+AND\s+(?=\[)", parsed[2] or "", flags=re.I)] if parsed else []
    if not parsed or (parsed[2] and not all(conditions)):
        raise _refused(400, "SyntaxException", "TF51006: The query statement is missing a clause, or has one that is not understood.")
    found = cloud.store.list("azure_devops_work_item", f"{project.path}/work_items")
    for condition in filter(None, conditions):
        name, value = condition[1], condition[3]
        test = _TESTS[" ".join(condition[2].upper().split())]
        wanted = project.name if value.lower() == "@project" else value.strip("'").replace("''", "'")
        found = [
            one for one in found if test(str(one["id"] if name == "System.Id" else one["fields"].get(name, "")).lower(), wanted.lower())
        ]
    return sorted(found, key=lambda one: int(one["id"]), reverse=(parsed[3] or "").strip().upper() == "DESC")


def shown(project: Project, item: Document) -> Document:
    url, pages = f"{project.url}/_apis/wit/workItems/{item['id']}", f"https://{HOST}/{project.organization}/{project.id}"
    return {
        **{name: item[name] for name in ("id", "rev", "fields")},
        "_links": {
            "self": {"href": url},
            "workItemUpdates": {"href": f"{url}/updates"},
            "workItemRevisions": {"href": f"{url}/revisions"},
            "workItemComments": {"href": f"{url}/comments"},
            "html": {"href": f"{pages}/_workitems/edit/{item['id']}"},
            "workItemType": {"href": f"{project.url}/_apis/wit/workItemTypes/{item['fields']['System.WorkItemType']}"},
            "fields": {"href": f"{project.url}/_apis/wit/fields"},
        },
        "url": url,
    }


# --- HTTP ------------------------------------------------------------------------------------------------------------------------


def _patches(call: Call) -> None:
    """Only a JSON Patch is taken."""
    found = call.request.headers.get("content-type", "").partition(";")[0].strip()
    if found.lower() != PATCH:
        message = (
            f'The request indicated a Content-Type of "{found}" for method type "{call.request.method}" which is not supported. '
            f"Valid content types for this method are: {PATCH}."
        )
        raise DevOpsError(415, "VssRequestContentTypeNotSupportedException", message, "Microsoft.VisualStudio.Services.WebApi")


async def create_work_item(call: Call) -> Any:
    caller, project = enter(call)
    _patches(call)
    if not call.params["type"].startswith("$"):
        raise _refused(404, "WorkItemTypeNotFoundException", "The type of a new work item stands after a $ in the path.")
    project = models.use(call.cloud, project.organization, project.name)
    return shown(project, create(call.cloud, project, call.params["type"][1:], call.body, caller.name))


async def get_work_item(call: Call) -> Any:
    _, project = enter(call)
    return shown(project, need(call.cloud, project, call.params["id"]))


async def change_work_item(call: Call) -> Any:
    caller, project = enter(call)
    _patches(call)
    return shown(project, change(call.cloud, project, need(call.cloud, project, call.params["id"]), call.body, caller.name))


async def query_work_items(call: Call) -> Any:
    _, project = enter(call)
    text = call.body.get("query") if isinstance(call.body, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise _refused(400, "VssPropertyValidationException", "The query parameter is not supplied.")
    found = query(call.cloud, project, text)
    columns = re.findall(r"\[([A-Za-z.]+)\]", text.partition("FROM")[0])
    return {
        "queryType": "flat",
        "queryResultType": "workItem",
        "asOf": call.cloud.stamp(),
        "columns": [{"referenceName": name, "name": name.rpartition(".")[2]} for name in columns],
        "workItems": [{"id": one["id"], "url": f"{project.url}/_apis/wit/workItems/{one['id']}"} for one in found],
    }


async def list_states(call: Call) -> Any:
    enter(call)
    _type(call.params["type"])
    return _counted([{"name": name, "color": COLORS[category], "category": category} for name, category in STATES.items()])


_PROJECT = "/{organization}/{project}/_apis/wit"
ROUTES = [
    Route("POST", HOST, _PROJECT + "/wiql", query_work_items, auth="none", doc="Find work items by a query in WIQL"),
    Route("POST", HOST, _PROJECT + "/workitems/{type}", create_work_item, auth="none", doc="Create a work item ($<type>)"),
    Route("GET", HOST, _PROJECT + "/workitems/{id}", get_work_item, auth="none", doc="Read a work item"),
    Route("PATCH", HOST, _PROJECT + "/workitems/{id}", change_work_item, auth="none", doc="Change a work item"),
    Route("GET", HOST, _PROJECT + "/workitemtypes/{type}/states", list_states, auth="none", doc="The states of a type of work item"),
]
