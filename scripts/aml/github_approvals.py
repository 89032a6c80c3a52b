"""The approvals of a run on GitHub, who started it, who wrote what it releases, and whether its branch still has that.

Sources: docs.github.com/rest/actions/workflow-runs ("Get the review history for a workflow run", which tells no times), .../teams/members,
.../collaborators/collaborators, .../commits/commits ("Compare two commits", whose commits name the accounts). A job's token can't be given
the right to read teams. How a run shows that an administrator bypassed a gate is not documented; see `approval.approved`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aml import ci, commits, github
from aml.approval import BOT, PERSON, Approval, Author, Standing
from aml.command import Refusal
from aml.gates import Gate
from aml.github import Client, part

_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*)(?:\[bot\])?")
_PAGE = 100


def connect() -> Run:
    """The run that this job is part of. Raises Refusal where there is none."""
    run = ci.run_id()
    if not run.isdecimal():
        raise Refusal("It is not known which run this is", "GITHUB_RUN_ID is not set", "run it in a job of GitHub's")
    return Run(github.connect(), run)


def _by_github(commit: Mapping[str, Any]) -> bool:
    """Whether GitHub itself committed what somebody did on its pages: anybody may write its address, and nobody else has its key."""
    written, verification = commit["commit"]["committer"] or {}, commit["commit"].get("verification") or {}
    return str(written.get("email")).casefold() == commits.WEB and verification.get("verified") is True


class Run:
    """One workflow run. See `approval.System`."""

    def __init__(self, client: Client, run: str) -> None:
        self._client, self._run = client, run

    def approvals(self, gate: Gate) -> list[Approval]:
        found = list(self._client.pages(f"actions/runs/{self._run}/approvals"))
        wanted = gate["environment"].lower()
        return [
            Approval(
                str(user.get("login", "")),
                PERSON if user.get("type") == "User" else BOT,
                str(one.get("comment") or ""),
                rejected=one["state"] == "rejected",
            )
            for one in found
            if one.get("state") in ("approved", "rejected")
            and wanted in {str(each["name"]).lower() for each in one.get("environments") or []}
            for user in (one.get("user") or {},)
        ]

    def initiators(self) -> list[str]:
        latest = self._read(f"actions/runs/{self._run}")
        # A run tells who triggered its latest attempt, and each attempt who triggered that one.
        earlier = [self._read(f"actions/runs/{self._run}/attempts/{number}") for number in range(1, int(latest["run_attempt"]))]
        names = [str((one.get(key) or {}).get("login", "")) for one in (*earlier, latest) for key in ("actor", "triggering_actor")]
        return list(dict.fromkeys(name for name in names if name))

    def standing(self, gate: Gate, approval: Approval, protected: bool) -> Standing:
        reviewers, who = gate["reviewers"], approval.who
        mine = {name for name in reviewers.get("users", []) if name.lower() == who.lower()}
        teams = reviewers.get("teams", [])
        if not _LOGIN.fullmatch(who):
            return Standing(unknown="GitHub does not tell the account", fix="begin a new run, and have it approved again")
        read = {team: self._member(team, who) for team in teams}
        mine |= {team for team, member in read.items() if member}
        if mine or None not in read.values():
            return Standing(frozenset(mine))
        # The token may not see who is in a team. GitHub itself asks only those that the environment names, unless an administrator goes
        # past it, so somebody who is none and whom it let approve is in one of the teams.
        fix = f"name {who} under users in gates.yml, or give the step a token in AML_GITHUB_TOKEN that may read the organization's members"
        lacks = f"whether they are in {', '.join(teams)} can't be read"
        if not protected or gate["admin_bypass"]:
            return Standing(unknown=f"{lacks}, and the environment may have let others approve", fix=fix)
        if self._administers(who):
            return Standing(unknown=f"{lacks}, and as an administrator they could have gone past the gate", fix=fix)
        return Standing(frozenset(teams))

    def authors(self, project: Path, old: str, new: str, known: Mapping[str, str]) -> list[Author]:
        found: dict[str, Author] = {}
        others: dict[str, commits.Person] = {}
        for one in self._between(old, new):
            for role in ("author", "committer"):
                if role == "committer" and _by_github(one):
                    continue
                written, account = one["commit"][role] or {}, one.get(role) or {}
                person = commits.Person(str(written.get("name") or ""), str(written.get("email") or ""))
                key = person.email.casefold()
                # An address that GitHub knows no account by is nobody's, whatever it looks like; and anybody may write GitHub's own.
                login = str(account.get("login") or "") if key != commits.WEB else ""
                login = login or known.get(key, "")
                if key not in found or not found[key].account:
                    found[key] = Author(person.name, person.email, login)
            for other in commits.co_authors(str(one["commit"].get("message") or "")):
                others.setdefault(other.email.casefold(), other)
        for key, other in others.items():
            if key not in found:
                account = other.login or self._elsewhere(other.email) or known.get(key, "")
                found[key] = Author(other.name, other.email, account)
        return list(found.values())

    def account(self, name: str, known: Mapping[str, str]) -> str:
        return name if _LOGIN.fullmatch(name) else known.get(name.casefold(), "")

    def ref(self) -> str:
        return ci.revision()[1]

    def contains(self, ref: str, commit: str) -> bool:
        head = self._client.get(f"commits/{quote(ref.removeprefix('refs/'))}")
        if not head or head["sha"] == commit:
            return bool(head)
        found = self._client.get(f"compare/{part(commit)}...{part(head['sha'])}", per_page="1")
        return bool(found) and found.get("status") in ("identical", "ahead")

    def _read(self, path: str) -> dict[str, Any]:
        found = self._client.get(path)
        if found is None:
            why = f"GitHub says 404 for {path}, as it does for what a token may not see"
            raise Refusal(f"Run {self._run} can't be read", why, "grant the job `permissions: actions: read`")
        return dict(found)

    def _member(self, team: str, who: str) -> bool | None:
        """Whether somebody is in a team; None if this token may not know."""
        place = f"/orgs/{part(self._client.owner)}/teams/{part(team)}"
        try:
            found = self._client.get(f"{place}/memberships/{part(who)}")
            if found is not None:
                return bool(found.get("state") == "active")
            return None if self._client.get(place) is None else False
        except Refusal:
            return None

    def _administers(self, who: str) -> bool:
        """Whether somebody administers the repository; so too if that can't be read."""
        try:
            found = self._client.get(f"collaborators/{part(who)}/permission") or {}
        except Refusal:
            return True
        return "admin" in (found.get("permission", "admin"), found.get("role_name"))

    def _between(self, old: str, new: str) -> Iterator[dict[str, Any]]:
        """The commits of `new` that `old` has not. Raises Refusal if there are more than are read, but for all of a first release."""
        if not old:
            for number, one in enumerate(self._client.pages("commits", sha=new)):
                if number >= commits.MOST:
                    return
                yield one
            return
        read, page = 0, 1
        while True:
            found = self._client.get(f"compare/{part(old)}...{part(new)}", per_page=str(_PAGE), page=str(page))
            if found is None:
                fix = "find out whether the history was rewritten; the job needs `permissions: contents: read`"
                raise Refusal(f"GitHub does not know commit {old[:12]} or {new[:12]}", "it says 404", fix)
            total, listed = int(found["total_commits"]), found["commits"]
            yield from listed
            read, page = read + len(listed), page + 1
            if read >= total:
                return
            if not listed or read >= commits.MOST:
                raise Refusal(f"Who wrote all {total} commits can't be read", f"GitHub showed {read}", "release more often")

    def _elsewhere(self, address: str) -> str:
        """The account of an address by another commit of the repository; '' if there is none."""
        found: dict[str, Any] = next(iter(self._client.get("commits", author=address, per_page="1") or []), {})
        written = (found.get("commit") or {}).get("author") or {}
        same = str(written.get("email") or "").casefold() == address.casefold()
        return str((found.get("author") or {}).get("login") or "") if same else ""
