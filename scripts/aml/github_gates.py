"""Environments on GitHub: how one is protected, what GitHub can't keep, and how to set one up.

Sources: docs.github.com/rest/deployments/environments and .../branch-policies; "Deployments and environments" (docs.github.com/actions):
up to six reviewers of whom one must approve, and which plans enforce what. `can_admins_bypass` is in GitHub's answers and taken by it,
but not in that documentation (google/go-github#2725).
"""

from __future__ import annotations

from typing import Any

from aml import github
from aml.command import Refusal
from aml.gates import Change, Finding, Gate, Protection
from aml.github import Client, part
from aml.spec import quoted

FALLBACK = (
    "use a plan that enforces it. Weaker, since no job waits for it: record the approval as a review of the release's pull request, or "
    "as a signed comment on its issue"
)


def connect(repository: str, plan: str) -> GitHub:
    """The environments of a repository; `plan` is what gates.yml says of its owner's."""
    return GitHub(github.connect(repository), plan)


class GitHub:
    """The environments of one repository. See `gates.System`."""

    def __init__(self, client: Client, plan: str = "") -> None:
        self._client, self._plan = client, plan

    def protection(self, gate: Gate) -> Protection | None:
        """How the environment is protected. Raises Refusal if the repository itself can't be seen."""
        found = self._environment(gate)
        if found is None:
            self._repository()
            return None
        rules = {rule["type"]: rule for rule in found.get("protection_rules") or []}
        reviewed = rules.get("required_reviewers", {})
        reviewers = reviewed.get("reviewers") or []
        branches, tags = self._patterns(gate, found)
        return Protection(
            approvals=1 if reviewers else 0,
            users=frozenset(one["reviewer"]["login"] for one in reviewers if one["type"] == "User"),
            teams=frozenset(one["reviewer"]["slug"] for one in reviewers if one["type"] == "Team"),
            self_review=reviewed.get("prevent_self_review") is not True,
            admin_bypass=found.get("can_admins_bypass") is not False,
            bypassers=frozenset(),
            branches=branches,
            tags=tags,
            wait_minutes=int(rules.get("wait_timer", {}).get("wait_timer", 0)),
        )

    def limits(self, gate: Gate) -> list[Finding]:
        """Whether the plan enforces reviewers here, and that one approval is all that an environment waits for."""
        found = [self._planned()]
        if (count := gate["reviewers"]["count"]) > 1:
            says = f"GitHub starts the job at the first approval, so one environment can't wait for {count}"
            fix = "write count: 1; for more approvals let jobs pass environments in a row, each with reviewers of its own"
            found.append(Finding("number of approvals", False, says, fix))
        return found

    def changes(self, gate: Gate) -> list[Change]:
        """The environment's settings in one call, then its patterns."""
        name, wanted = gate["environment"], gate["reviewers"]
        body = {
            "wait_timer": gate["wait_minutes"],
            "prevent_self_review": not wanted["self_review"],
            "reviewers": sorted(self._reviewers(gate), key=lambda one: (one["type"], one["id"])),
            "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
            "can_admins_bypass": gate["admin_bypass"],
        }
        there = self._environment(gate)
        made = []
        if there is None or _settings(there) != body:
            says = f"{'create' if there is None else 'change'} environment {name}: {_said(gate)}"
            made.append(Change(says, lambda: self._client.put(self._path(gate), body)))
        standing = {(one["type"], one["name"]): one["id"] for one in self._policies(gate)} if there and _custom(there) else {}
        written = {("branch", each) for each in gate["branches"]} | {("tag", each) for each in gate["tags"]}
        for kind, pattern in sorted(written - set(standing)):
            new = {"name": pattern, "type": kind}
            made.append(Change(f"let {kind} {pattern} deploy", lambda new=new: self._client.post(f"{self._path(gate)}{_POLICIES}", new)))  # type: ignore[misc]
        for (kind, pattern), id in sorted(standing.items()):
            if (kind, pattern) not in written:
                gone = f"{self._path(gate)}{_POLICIES}/{id}"
                made.append(Change(f"no longer let {kind} {pattern} deploy", lambda gone=gone: self._client.delete(gone)))  # type: ignore[misc]
        return made

    def _path(self, gate: Gate) -> str:
        return f"environments/{part(gate['environment'])}"

    def _environment(self, gate: Gate) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._client.get(self._path(gate))
        return found

    def _repository(self) -> dict[str, Any]:
        found: dict[str, Any] | None = self._client.get()
        if found is None:
            why = "GitHub says 404 for what a token may not see"
            fix = "check its name, and that the token is for it; a job's needs `permissions: actions: read`"
            raise Refusal(f"The repository {self._client.repository} can't be seen", why, fix)
        return found

    def _policies(self, gate: Gate) -> list[dict[str, Any]]:
        return [{"type": "branch", **one} for one in self._client.pages(f"{self._path(gate)}{_POLICIES}", "branch_policies")]

    def _patterns(self, gate: Gate, found: dict[str, Any]) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        policy = found.get("deployment_branch_policy")
        if not policy:
            return None, None
        if not _custom(found):
            return frozenset({"every protected branch"}), frozenset()
        listed = self._policies(gate)
        branches, tags = (frozenset(one["name"] for one in listed if one["type"] == kind) for kind in ("branch", "tag"))
        return branches, tags

    def _planned(self) -> Finding:
        """Whether the repository's plan enforces what an environment shows. Rules that no plan enforces may be left from before."""
        repository = self._repository()
        visibility = repository.get("visibility") or ("public" if repository.get("private") is False else "private")
        if visibility in ("public", "internal"):  # internal ones are GitHub Enterprise's
            return Finding("plan", True, f"the repository is {visibility}")
        owner = (self._client.get(f"/orgs/{part(self._client.owner)}") or {}) if repository.get("owner", {}).get("type") != "User" else {}
        plan = str((owner.get("plan") or {}).get("name", ""))
        if plan.startswith(("enterprise", "business_plus")):
            return Finding("plan", True, f"the repository is private, its owner's plan {plan}")
        if not plan and self._plan == "enterprise":
            return Finding("plan", True, "the repository is private, and gates.yml says that its owner has GitHub Enterprise")
        seen = f"its owner's plan is {plan}" if plan else "its owner's plan can't be read with this token"
        says = f"the repository is private and {seen}; GitHub enforces reviewers and waits there only with Enterprise"
        fix = FALLBACK if plan else f"write github_plan: enterprise in gates.yml if that is so; or {FALLBACK}"
        return Finding("plan", False, says, fix)

    def _reviewers(self, gate: Gate) -> list[dict[str, Any]]:
        """Who may approve, by their ids."""
        found = []
        for kind, names, where in (
            ("User", gate["reviewers"].get("users", []), "/users/"),
            ("Team", gate["reviewers"].get("teams", []), f"/orgs/{part(self._client.owner)}/teams/"),
        ):
            for name in names:
                one = self._client.get(where + part(name))
                if one is None:
                    why = "GitHub says 404, also for what a token may not see"
                    raise Refusal(
                        f"There is no {kind.lower()} {quoted(name)} on GitHub", why, "correct gates.yml, or use a token with read:org"
                    )
                found.append({"type": kind, "id": one["id"]})
        return found


_POLICIES = "/deployment-branch-policies"


def _custom(found: dict[str, Any]) -> bool:
    return bool((found.get("deployment_branch_policy") or {}).get("custom_branch_policies"))


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    """What an environment shows, in the form in which it is set."""
    rules = {rule["type"]: rule for rule in found.get("protection_rules") or []}
    reviewed = rules.get("required_reviewers", {})
    reviewers = [{"type": one["type"], "id": one["reviewer"]["id"]} for one in reviewed.get("reviewers") or []]
    return {
        "wait_timer": rules.get("wait_timer", {}).get("wait_timer", 0),
        "prevent_self_review": reviewed.get("prevent_self_review", False),
        "reviewers": sorted(reviewers, key=lambda one: (one["type"], one["id"])),
        "deployment_branch_policy": found.get("deployment_branch_policy"),
        "can_admins_bypass": found.get("can_admins_bypass"),
    }


def _said(gate: Gate) -> str:
    wanted, bypass = gate["reviewers"], "on" if gate["admin_bypass"] else "off"
    who, own = ", ".join([*wanted.get("users", []), *wanted.get("teams", [])]), "allowed" if wanted["self_review"] else "barred"
    return f"one approval by {who}, self-review {own}, bypass {bypass}, wait {gate['wait_minutes']} min"
