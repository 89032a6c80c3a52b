"""What tests and provisioning ask of the emulated Azure DevOps, past its REST API: it plays the service and its agents.

Every body names ``organization`` and ``project``; the rest are the arguments of the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.azure_devops import approvals, builds, connections, environments, exceptions, git, models
from emulator.azure_devops.models import Document
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

SEEDS: dict[str, Callable[..., Document]] = {
    "connections": connections.ensure,
    "builds": builds.start,
    "builds/finish": builds.finish,
    "jobs": builds.start_job,
    "timeline": builds.record,
    "approvals": approvals.ask,
    "approvals/close": approvals.close,
    "approvals/bypass": approvals.bypass,
    "git": git.push,
    "identities": environments.know,
}


def plant(cloud: Cloud, what: str, body: Any) -> Document:
    """Do one of the above. Raises 400 for what is not known or not said well."""
    given = dict(body or {})
    try:
        if what == "tokens":
            return {"token": models.personal_access_token(cloud, **given)}
        if what == "jobs/finish":
            return builds.end_job(cloud, **given)
        project = models.use(cloud, given.pop("organization"), given.pop("project"))
        return SEEDS[what](cloud, project, **given)
    except exceptions.DevOpsError as error:  # these routes are the emulator's own, and so is the form of their errors
        raise AzureError(error.status, error.code, error.message) from error
    except (KeyError, TypeError) as error:
        raise AzureError(400, "BadSeed", f"{what}: {error}") from error
