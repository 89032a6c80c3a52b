"""The review of an emergency afterwards: an open issue on GitHub, or a work item on Azure DevOps, which a run makes once and finds again.

Everything in it that others wrote is plain, escaped, and inside <code> or <pre>, where neither system takes a name for a mention or a
number for a reference. The text is HTML without an empty line, which GitHub's Markdown leaves as it is (GFM, "HTML blocks") and Azure
DevOps' descriptions are.

Sources: docs.github.com/rest/issues/issues; learn.microsoft.com/rest/api/azure/devops/wit (work items, wiql, work item type states);
"Default processes and process templates" (learn.microsoft.com/azure/devops/boards): of the types of work items that track work, a Task is
in each of Basic, Agile, Scrum and CMMI, and an Issue is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote

from aml import azure_devops, ci, digest, evidence, github, plain
from aml.azure_devops import Client as AzureDevOps
from aml.command import Refusal
from aml.github import Client as GitHub
from aml.markup import when

LABEL = "break-glass"
TYPE = "Task"
VERSION = "7.1"


@dataclass(frozen=True)
class Emergency:
    """What is to be reviewed: a bundle and what it is, for which environment, by which run, who started that, and why."""

    bundle_id: str
    model: str
    commit: str
    environment: str
    run: str
    who: str
    reason: str

    @property
    def mark(self) -> str:
        """The same for the same bundle, environment and run, and for no others."""
        return digest.of_document([self.bundle_id, self.environment.lower(), self.run]).removeprefix("sha256:")[:16]

    @property
    def title(self) -> str:
        """A title, with the mark at its end; a work item's may have 255 characters."""
        said = f"Review break-glass: {plain.text(self.model, 60)} {self.bundle_id[:19]} to {plain.text(self.environment, 60)}"
        return f"{said} [{self.mark}]"


@dataclass(frozen=True)
class Review:
    """The issue or work item: its page, when it was opened, and whether that was now."""

    url: str
    opened: datetime
    new: bool


def open_(found: Emergency, due: datetime) -> Review:
    """Open the review, or find the open one of the same bundle, environment and run. Raises Refusal where there is no system for it."""
    if ci.system() == "github":
        return on_github(github.connect(), found, due)
    if ci.system() == "azure-devops":
        return on_azure_devops(azure_devops.connect(), found, due)
    raise Refusal(
        "The glass can only be broken by a run of a CI system",
        "this is none, so there is nowhere to open the review, and no run that it would be for",
        "start the journey break_glass",
    )


def body(found: Emergency, due: datetime) -> str:
    """What is to be reviewed, by when, as HTML."""

    def code(value: str) -> str:
        return f"<code>{escape(plain.text(value, 300), quote=True)}</code>"

    address = plain.address(found.run)
    run = f'<a href="{escape(address, quote=True)}">the run</a>' if address else "the run"
    return "\n".join([
        f"<p>The glass was broken for {code(found.environment)}: some rules of its gate were waived for one bundle in one run. "
        f"Somebody who took no part in it reviews that, and closes this by <b>{when(due.isoformat())}</b>.</p>",
        "<p>The reason that was given:</p>",
        f"<pre>{escape(plain.text(found.reason, 1000), quote=True)}</pre>",
        "<ul>",
        f"<li>Started by {code(found.who)}, in {run} {code(found.run)}</li>",
        f"<li>Bundle {code(found.bundle_id)} of {code(found.model)}, commit {code(found.commit)}</li>",
        "</ul>",
        "<p>What has to be reviewed:</p>",
        "<ul>",
        "<li>whether the reason is true, and could not wait</li>",
        "<li>what was waived: every finding of check_gates and verify_approval in that run which says WAIVED</li>",
        "<li>who approved, and what the dossier of that run showed them</li>",
        "<li>what was released, how it does since then, and whether it stays</li>",
        "<li>what has to be made up for now: ticket, soak, evidence; and what keeps this from happening again</li>",
        "</ul>",
    ])  # fmt: skip


def on_github(client: GitHub, found: Emergency, due: datetime) -> Review:
    """As an issue. One counts only if a job wrote it, and somebody who may set labels let it keep its own."""
    for one in client.pages("issues", state="open", labels=LABEL):
        if found.mark in str(one.get("title")) and (one.get("user") or {}).get("type") == "Bot" and "pull_request" not in one:
            return _issue(one, new=False)
    made = client.post("issues", {"title": found.title, "body": body(found, due), "labels": [LABEL]})
    if LABEL not in [label.get("name") for label in made.get("labels") or ()]:
        ci.warning(f"GitHub left out the label {LABEL} of {made['html_url']}; without it a second attempt opens another issue.")
    return _issue(made, new=True)


def _issue(one: Mapping[str, Any], *, new: bool) -> Review:
    return Review(str(one["html_url"]), evidence.moment(str(one["created_at"])), new)


def on_azure_devops(client: AzureDevOps, found: Emergency, due: datetime) -> Review:
    """As a work item, which is open until its state is of the category Completed or Removed."""
    asked = ["[System.TeamProject] = @project", f"[System.Tags] CONTAINS '{LABEL}'", f"[System.Title] CONTAINS '{found.mark}'"]
    query = " ".join(["SELECT [System.Id] FROM WorkItems WHERE", " AND ".join(asked), "ORDER BY [System.Id] DESC"])
    named = client.post("wit/wiql", {"query": query}, version=VERSION)["workItems"]
    closed = closed_states(client) if named else frozenset()
    for one in named:
        item = client.get(f"wit/workitems/{int(one['id'])}", version=VERSION)
        if item and item["fields"]["System.State"] not in closed:
            return _item(client, item, new=False)
    fields = {"System.Title": found.title, "System.Description": body(found, due), "System.Tags": LABEL}
    document = [{"op": "add", "path": f"/fields/{name}", "value": value} for name, value in fields.items()]
    made = client.post(f"wit/workitems/${TYPE}", document, version=VERSION, content_type="application/json-patch+json")
    return _item(client, made, new=True)


def closed_states(client: AzureDevOps) -> frozenset[str]:
    """The states of a work item that mean that it is done with, as the project's process has them."""
    states = (client.get(f"wit/workitemtypes/{TYPE}/states", version=VERSION) or {}).get("value", [])
    return frozenset(str(one["name"]) for one in states if one.get("category") in ("Completed", "Removed"))


def _item(client: AzureDevOps, item: Mapping[str, Any], *, new: bool) -> Review:
    url = f"https://dev.azure.com/{client.organization}/{quote(client.project, safe='')}/_workitems/edit/{int(item['id'])}"
    return Review(url, evidence.moment(str(item["fields"]["System.CreatedDate"])), new)
