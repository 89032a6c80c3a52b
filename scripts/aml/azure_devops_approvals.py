"""The approvals of a run on Azure DevOps, who started it, who wrote what it releases, and whether its branch still has that.

Sources: learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/approvals, .../build/builds, .../build/timeline (a stage that waits
has a Checkpoint, and below it the approvals, whose ids are the records'), .../git/refs, .../git/merge-bases, .../ims/identities. What kind
of account somebody is, the first part of the descriptor says. An approval of a group says which person gave it; how one shows that was
bypassed is not documented, so whatever is not approved counts as that. A stage waits for the checks of its environment and of the service
connections that its jobs name; which of them an approval is of, the API does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from aml import azure_devops, ci, commits, evidence
from aml.approval import BOT, PERSON, Approval, Author, Standing
from aml.azure_devops import Client
from aml.azure_devops_gates import is_group, name_of
from aml.command import Refusal
from aml.gates import Gate

PEOPLE = ("aad.", "msa.", "win.", "bnd.")  # descriptors of people: of Entra, of Microsoft accounts, of a domain, and before a first sign-in

Document = dict[str, Any]


def connect() -> Run:
    """The run that this job is part of. Raises Refusal where there is none."""
    build = ci.run_id()
    if not build.isdecimal():
        raise Refusal("It is not known which run this is", "BUILD_BUILDID is not set", "run it in a job of Azure DevOps'")
    return Run(azure_devops.connect(), build, ci.stage())


class Run:
    """One build, as a stage of it sees it. See `approval.System`."""

    def __init__(self, client: Client, build: str, stage: str) -> None:
        self._client, self._number, self._stage = client, build, stage

    def approvals(self, gate: Gate) -> list[Approval]:
        asked = self._asked()
        if not asked:
            return []
        query = {"approvalIds": ",".join(asked), "$expand": "steps"}
        found = (self._client.get("pipelines/approvals", **query) or {}).get("value", [])
        found = [one for one in found if one["id"] in asked]
        wanted = {name.lower() for name in (*gate["reviewers"].get("users", []), *gate["reviewers"].get("teams", []))}
        # Environment and connection of a gate ask for the same people, and each must be complete; another resource of the stage may ask
        # for approvals of its own.
        mine = [one for one in found if {self._short(step["assignedApprover"]).lower() for step in one.get("steps") or []} == wanted]
        given: dict[tuple[str, str, str, bool], Approval] = {}
        for one in mine:
            for each in self._given(one):  # whoever answers both has approved once, and then when they answered first
                key = (asked[one["id"]], each.who.lower(), each.team, each.skipped)
                given[key] = min(given.get(key, each), each, key=lambda made: made.time or datetime.min.replace(tzinfo=timezone.utc))
        return list(given.values())

    def initiators(self) -> list[str]:
        names = [str((self._build.get(key) or {}).get("uniqueName") or "") for key in ("requestedFor", "requestedBy")]
        return list(dict.fromkeys(name for name in names if name))

    def standing(self, gate: Gate, approval: Approval, protected: bool) -> Standing:
        if approval.skipped:
            return Standing()
        teams = {name for name in gate["reviewers"].get("teams", []) if name.lower() == approval.team.lower()}
        users = {name for name in gate["reviewers"].get("users", []) if name.lower() == approval.who.lower()}
        return Standing(frozenset(teams if approval.team else users))

    def authors(self, project: Path, old: str, new: str, known: Mapping[str, str]) -> list[Author]:
        found: dict[str, Author] = {}
        for commit in commits.between(project, old, new).commits:
            for person in commit.people:
                if (key := person.email.casefold()) not in found:
                    found[key] = Author(person.name, person.email, self.account(person.email, known))
        return list(found.values())

    def account(self, name: str, known: Mapping[str, str]) -> str:
        found = [one for one in (self._client.identities(name) if name.strip() else []) if not one.get("isContainer")]
        account = ((found[0].get("properties") or {}).get("Account") or {}).get("$value") if len(found) == 1 else ""
        return str(account or known.get(name.casefold(), ""))

    def ref(self) -> str:
        return str(self._build.get("sourceBranch", ""))

    def contains(self, ref: str, commit: str) -> bool:
        repository = self._build.get("repository") or {}
        if repository.get("type") != "TfsGit":
            why = f"the repository is of type {repository.get('type')}, which a job's token of Azure DevOps can't read"
            raise Refusal("Whether the branch has the commit can't be told", why, "keep the project in Azure Repos, or run it on GitHub")
        place = f"git/repositories/{repository['id']}"
        name = ref.removeprefix("refs/")
        found = (self._client.get(f"{place}/refs", filter=name) or {}).get("value", [])
        head = next((str(one.get("peeledObjectId") or one["objectId"]) for one in found if one["name"] == ref), "")
        if not head:
            return False
        if head == commit:
            return True
        bases = (self._client.get(f"{place}/commits/{head}/mergebases", otherCommitId=commit) or {}).get("value", [])
        return any(one.get("commitId") == commit for one in bases)

    @cached_property
    def _build(self) -> Document:
        found = self._client.get(f"build/builds/{self._number}")
        if found is None:
            raise Refusal(f"Run {self._number} can't be read", "Azure DevOps says 404", "let the job's access token read its own project")
        return dict(found)

    def _asked(self) -> dict[str, str]:
        """The approvals that this stage waited for, by their ids, each with the id of the wait that it was of."""
        records = (self._client.get(f"build/builds/{self._number}/timeline") or {}).get("records") or []
        stages = {one["id"] for one in records if one["type"] == "Stage" and (one.get("identifier") or one.get("name")) == self._stage}
        points = {one["id"] for one in records if one["type"] == "Checkpoint" and one.get("parentId") in stages}
        return {
            str(one["id"]): one["parentId"] for one in records if one["type"] == "Checkpoint.Approval" and one.get("parentId") in points
        }

    def _short(self, approver: Document) -> str:
        """An approver as gates.yml writes it: a group without the project, if it is this one."""
        name = name_of(approver)
        return name.removeprefix(f"[{self._client.project}]\\") if is_group(approver) else name

    def _given(self, approval: Document) -> list[Approval]:
        """What people gave of one approval; and where that is not all that it asks for although the stage runs, who went past it."""
        steps = approval["steps"]
        found = [self._approval(step, step.get("actualApprover")) for step in steps if step.get("status") == "approved"]
        if approval.get("status") != "approved":
            passed = next((step for step in steps if step.get("status") == "skipped"), None)
            by = self._approval(passed, passed.get("lastModifiedBy")) if passed else None
            time = evidence.moment(str(approval["lastModifiedOn"]))
            found.append(replace(by, skipped=True) if by else Approval("somebody", PERSON, time=time, skipped=True))
        return found

    def _approval(self, step: Document, by: Document | None) -> Approval:
        assigned, actual = step["assignedApprover"], by or {}
        team = self._short(assigned) if is_group(assigned) else ""
        descriptor, name = str(actual.get("descriptor") or ""), str(actual.get("uniqueName") or "")
        person = descriptor.startswith(PEOPLE) if descriptor else "@" in name
        time = evidence.moment(str(step["lastModifiedOn"]))
        return Approval(name, PERSON if person else BOT, str(step.get("comment") or ""), time, team)
