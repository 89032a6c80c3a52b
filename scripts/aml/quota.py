"""How many cores of a machine family are left in a region.

Source: "Manage and increase quotas and limits" (learn.microsoft.com/azure/machine-learning/how-to-manage-quotas).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aml.azure import Client
from aml.command import Refusal
from aml.workspace import Workspace


@dataclass(frozen=True)
class Room:
    """The cores of one machine of a size, and what its family has: `limit` cores, or None where Azure shows no quota of it."""

    size: str
    family: str
    cores: int
    used: int
    limit: int | None

    def __str__(self) -> str:
        return (
            f"{self.used} of {self.limit} cores of {self.family} are used"
            if self.limit is not None
            else f"Azure shows no quota of {self.family}"
        )

    def holds(self, cores: int, *, freed: int = 0) -> bool:
        """Whether so many more cores fit, once `freed` cores of what is used now are given back."""
        return self.limit is None or self.used - freed + cores <= self.limit


class Quota:
    """The machines and the quotas of the workspace's subscription in a region."""

    def __init__(self, client: Client, at: Workspace, location: str) -> None:
        region = f"/subscriptions/{at.subscription_id}/providers/Microsoft.MachineLearningServices/locations/{location}"
        with ThreadPoolExecutor(2) as pool:
            sizes, usages = pool.map(lambda name: list(client.list(f"{region}/{name}")), ("vmSizes", "usages"))
        self.location = location
        self._sizes = {str(size["name"]).lower(): size for size in sizes}
        self._usages: dict[str, Mapping[str, Any]] = {str(usage["name"]["value"]).lower(): usage for usage in usages}

    def room(self, size: str) -> Room:
        """What is left for machines of a size. Raises Refusal if the region has no such machine."""
        found = self._sizes.get(size.lower())
        if found is None:
            raise Refusal(
                f"There is no machine {size} in {self.location}", "Azure ML does not list it there", "choose another size or region"
            )
        family = str(found.get("family") or "")
        usage = self._usages.get(family.lower())
        limit = int(usage["limit"]) if usage and int(usage["limit"]) >= 0 else None
        return Room(str(found["name"]), family, int(found["vCPUs"]), int(usage["currentValue"]) if usage else 0, limit)
