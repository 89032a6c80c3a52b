"""What waits for people: a job at an environment's gate, in the same words on GitHub and on Azure DevOps, and who there is to decide.

A run that waits hands a `Gate` to one function, `approve`. What that leaves undecided nobody decides, and the run ends as it would then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = "contoso/flight-delay"
"""The project's repository on GitHub."""
INITIATOR, AUTHOR, APPROVER, OWNER = "rea-lee", "kim-doe", "release-manager", "platform-admin"
"""Who starts the runs, who writes the project, who approves, who owns the organization."""
COLLEAGUE = "sam-roe"
"""Who has no part in the project."""
PEOPLE = {AUTHOR: "Kim Doe", INITIATOR: "Rea Lee", APPROVER: "Robin Marsh", COLLEAGUE: "Sam Roe", OWNER: "Pat Adler"}
"""Names by login. All but Pat are the organization's members, Robin alone is in the team that approves; Pat owns it."""


@dataclass(frozen=True)
class Gate:
    """One environment at whose gate a run waits. `decide` and `overrule` are the system's, as a person calls or clicks them.

    On Azure DevOps it is one stage, which waits for the approvals of its environment and of the service connections that its jobs name; a
    decision is of all of them.
    """

    run: int
    """The run's id on GitHub, the build's on Azure DevOps."""
    job: str
    """The job's name on GitHub, the stage's on Azure DevOps."""
    environment: str
    """Its name; on Azure DevOps that of the service connection where only that asks for approval."""
    asked: tuple[str, ...]
    """The people and teams who may decide."""
    page: str
    """Where a person would decide."""
    artifacts: Path
    """What the run has kept so far."""
    open: Callable[[], bool]
    """Whether anything waits any more; not after a decision, nor when the run was cancelled."""
    decide: Callable[[str, str, str], None]
    overrule: Callable[[str, str, bool], None]

    def approve(self, who: str, comment: str = "") -> None:
        """As a person (a login). Raises Refused with the system's words."""
        self.decide(who, "approved", comment)

    def reject(self, who: str, comment: str = "") -> None:
        """As a person (a login). Raises Refused with the system's words."""
        self.decide(who, "rejected", comment)

    def bypass(self, who: str = OWNER, comment: str = "", *, recorded: bool = True) -> None:
        """As an administrator, past those who are asked; `recorded`: whether the API tells. Raises Refused where that is barred."""
        self.overrule(who, comment, recorded)


class Refused(Exception):
    """The system did not take a person's decision."""


Approve = Callable[[Gate], None]


def release_manager(gate: Gate) -> None:
    """Who approves by default."""
    gate.approve(APPROVER, "The dossier is in order.")


def address(login: str) -> str:
    """The address of a person, which is also their unique name on Azure DevOps; an address stays as it is."""
    return login if "@" in login else f"{login}@contoso.com"
