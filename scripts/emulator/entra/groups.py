"""Groups of the directory: who is in them, directly or through another group.

https://learn.microsoft.com/graph/api/resources/groups-overview. A group may have people, service principals and groups as members.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from emulator.entra import models

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]


def save(cloud: Cloud, group: Document) -> Document:
    return cloud.store.put(f"entra/groups/{group['id']}", "group", group)


def create(cloud: Cloud, name: str, nickname: str | None = None, description: str | None = None) -> Document:
    """A security group without members. Names need not be unique, as they need not on Entra."""
    made: Document = {
        "id": str(uuid.uuid4()), "displayName": name, "description": description, "mailNickname": nickname or name.replace(" ", "-"),
        "mailEnabled": False, "securityEnabled": True, "groupTypes": [], "isAssignableToRole": None, "visibility": None,
        "createdDateTime": models.stamp(cloud.now()), "members": [], "owners": [],
    }  # fmt: skip
    return save(cloud, made)


def get(cloud: Cloud, id: str) -> Document | None:
    """By object id."""
    return cloud.store.get(f"entra/groups/{id}")


def members(cloud: Cloud, group: Document, nested: bool = False) -> list[str]:
    """The object ids of the members; ``nested`` takes those of the groups in it too, each once."""
    found: list[str] = []
    waiting = list(group["members"])
    while waiting:
        id = waiting.pop(0)
        if id in found or id == group["id"]:
            continue
        found.append(id)
        inner = get(cloud, id) if nested else None
        waiting += inner["members"] if inner else []
    return found


def groups_of(cloud: Cloud, oid: str, nested: bool = True) -> list[str]:
    """The object ids of the groups that a member is in, by itself or through other groups."""
    all_groups = cloud.store.list("group")
    found: list[str] = []
    waiting = [oid]
    while waiting:
        id = waiting.pop()
        for group in all_groups:
            if id in group["members"] and group["id"] not in found:
                found.append(group["id"])
                waiting += [group["id"]] if nested else []
    return found


def forget(cloud: Cloud, oid: str) -> None:
    """Take somebody who is gone out of every group, and off every list of owners."""
    for group in cloud.store.list("group"):
        if oid in (*group["members"], *group["owners"]):
            save(cloud, {**group, **{part: [id for id in group[part] if id != oid] for part in ("members", "owners")}})
