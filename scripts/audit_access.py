"""List everybody who reaches production, and what of that is not in the plan: people, principals, owners, credentials and keys.

Compares role assignments, at the workspace, what it stands on, and above them up to the management groups, with .cloud/identity.json;
groups are opened, roles judged by their actions. Each finding comes with the command that mends it; what the plan's `keep` names by its id
is accepted. What can't be read makes the audit incomplete, and an incomplete audit fails, unless --allow-incomplete says otherwise.
Reads only. Leaves a statement, a page, and the findings in SARIF: for GitHub's code-scanning tab, or as the artifact that Azure DevOps'
SARIF tab shows.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import gzip
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aml import access, audit, ci, command, digest, evidence, federation, github, identity, reach, report, sarif, spec, workspace, yaml
from aml.command import Refusal
from aml.findings import RULES, Finding
from aml.reach import Seen
from aml.workspace import Workspace

TOOL = "azureml-catalog audit_access"
COMMAND_SHOWN = 2000  # characters of a fix on the page: half a command is none
UPLOAD_SECONDS = 120  # that GitHub gets to read the file


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    command.argument(
        made,
        "--auditor",
        default="",
        help="Client id of the application that audits, where that is not the workspace's own; it needs to read only.",
    )
    command.argument(
        made,
        "--allow-incomplete",
        type=command.boolean,
        default=False,
        help="Whether an audit that could not see everything may pass; what it did not see is said all the same.",
    )
    command.argument(
        made,
        "--code-scanning",
        type=command.boolean,
        default=True,
        help="Whether the findings go to the CI system too: GitHub's code-scanning tab, the artifact CodeAnalysisLogs of Azure DevOps.",
    )
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    if at.people == "allowed":
        raise Refusal(
            f"Workspace {at.name} is one that people may write to",
            "An audit finds whoever should not reach a workspace, and here that is nobody",
            "audit production, or set people: refused in its spec",
        )
    started = evidence.now()
    plan = access.read(at.project)
    acting = dataclasses.replace(at, client_id=given.auditor) if given.auditor else at
    credential = identity.sign_in(acting, writes=False)
    token = identity.presents(acting) if ci.system() == "azure-devops" and not given.auditor else None
    seen = reach.look(at, credential, plan, federation.presented(token) if token else None)
    found = audit.judge(seen, plan)
    failed = [one for one in found if level(one, given.allow_incomplete) == "error"]
    verdict = "failed" if failed else "passed"

    show(at, seen, found, given.allow_incomplete)
    written = write(given.evidence, at, seen, found, verdict, started, given.allow_incomplete)
    ci.output("audit_verdict", verdict)
    if given.code_scanning:
        publish(written)
    if failed:
        unseen = sum(one.rule == "not-seen" for one in failed)
        parts = [f"{len(failed) - unseen} to mend"] if len(failed) > unseen else []
        parts += [f"{unseen} not seen"] if unseen else []
        raise Refusal(
            f"Workspace {at.name} did not pass the audit",
            " and ".join(parts) + ", all listed above with the command that mends each",
            f"mend them, or give those that are meant a place in keep of {access.FILE}, with the reason",
        )
    return 0


def level(one: Finding, allow_incomplete: bool) -> str:
    """How bad a finding is in this run: error, warning, or none for what is accepted."""
    return "warning" if allow_incomplete and one.rule == "not-seen" else one.level


def show(at: Workspace, seen: Seen, found: Sequence[Finding], allow_incomplete: bool) -> None:
    """Who reaches the workspace, and what is wrong with that, in the log and at the places in the spec."""
    with ci.group(f"{len(seen.assignments)} role assignments reach workspace {at.name}"):
        for row in rows(seen):
            ci.say("  ".join(row))
    for one in found:
        told = {"error": ci.error, "warning": ci.warning}.get(level(one, allow_incomplete))
        says = f"{one.says}. Fix: {one.fix}"
        if told:
            told(f"{one.rule}: {says}", *place(at, one))
        else:
            ci.say(f"accepted: {one.says}, because {one.accepted}")
    ci.say(f"{count(found)} for workspace {at.name}" if found else f"nothing to find fault with in workspace {at.name}")


def rows(seen: Seen) -> Iterator[tuple[str, str, str, str, str]]:
    """Every assignment that reaches the workspace: who, what they are, role, right, and where."""
    for one in sorted(seen.assignments, key=lambda one: (one.scope.lower(), one.principal_type, one.principal_id)):
        role = seen.roles.get(one.role_id)
        yield seen.name(one.principal_id), one.principal_type, one.role_name, (role.right or "read") if role else "not seen", one.scope


def count(found: Sequence[Finding]) -> str:
    """How many findings there are, in words."""
    accepted = sum(bool(one.accepted) for one in found)
    return f"{len(found) - accepted} found{f', {accepted} accepted,' if accepted else ''}"


def place(at: Workspace, one: Finding) -> tuple[Path, int, int]:
    """Where in the workspace spec a finding belongs: at the key that leads to what it is about."""
    path = f"{workspace.FOLDER}/{at.name}.yml"
    line, column = yaml.read(at.project / path).place((one.key,), key=True)
    return spec.shown(at.project, path), line, column


def write(folder: Path, at: Workspace, seen: Seen, found: Sequence[Finding], verdict: str, started: str, allow_incomplete: bool) -> Path:
    """Leave the statement, the page and the SARIF file, and return the path of the last."""
    listed = [dict(zip(("who", "kind", "role", "right", "scope"), row, strict=True)) for row in rows(seen)]
    complete = not any(one.rule == "not-seen" for one in found)
    findings = [
        {
            "name": f"{one.rule}: {one.id.rpartition('/')[2]}",
            "rule": one.rule,
            "passed": level(one, allow_incomplete) != "error",
            "says": f"{one.says}. {f'Accepted: {one.accepted}' if one.accepted else f'Fix: {one.fix}'}",
            "id": one.id,
        }
        for one in found
    ]
    if complete:  # what was not looked at is not clean
        there = {one.rule for one in found}
        findings += [{"name": rule, "passed": True, "says": "none"} for rule in RULES if rule not in there]
    everything = {"workspace": at.arm_id, "assignments": listed, "findings": sorted(f"{one.rule} {one.id}" for one in found)}
    people = sum(one.principal_type == "User" for one in seen.assignments)
    made = evidence.statement(
        evidence.about_access(at.name, digest.of_document(everything)),
        "audit_access",
        verdict,
        workspace=at.name,
        started=started,
        figures={"assignments": len(listed), "people": people, "findings": len(found)},
        findings=findings,
        facts={"complete": complete, "assignments": listed},
    )
    path = evidence.write(folder, made)
    text = page(at, seen, found, verdict, allow_incomplete)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    ci.summary(text, f"access-{at.name}")
    written = folder / "sarif" / f"audit_access-{at.name}.sarif"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(log(at, found, allow_incomplete), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def log(at: Workspace, found: Sequence[Finding], allow_incomplete: bool = False) -> dict[str, Any]:
    """The findings in SARIF."""
    results = []
    for one in found:
        file, line, column = place(at, one)
        inside = os.path.relpath(file).replace(os.sep, "/")
        said = "note" if one.accepted else level(one, allow_incomplete)
        text = f"{one.says}. Fix: {one.fix}"
        results.append(sarif.Result(one.rule, said, text, one.fingerprint, inside, line, column, one.accepted))
    complete = not any(one.rule == "not-seen" for one in found)
    return sarif.document(TOOL, f"audit_access/{at.name}", list(RULES.values()), results, complete=complete)


def page(at: Workspace, seen: Seen, found: Sequence[Finding], verdict: str, allow_incomplete: bool) -> str:
    """The report for people, in Markdown."""
    safe = report.safe
    lines = [f"### Who reaches workspace {safe(at.name)}", ""]
    lines.append("The audit passed." if verdict == "passed" else "**The audit failed.**")
    lines += _unseen(found, allow_incomplete)
    for title, some in (
        ("To mend", [one for one in found if not one.accepted and one.rule != "not-seen"]),
        ("Accepted", [one for one in found if one.accepted]),
    ):
        if some:
            lines += ["", f"#### {title}", ""]
        for one in some:
            lines.append(f"- **{safe(RULES[one.rule].title)}**: {safe(one.says, COMMAND_SHOWN)}.")
            lines.append(f"  Because: {safe(one.accepted)}" if one.accepted else f"  <br><code>{safe(one.fix, COMMAND_SHOWN)}</code>")
    lines += ["", f"#### {len(seen.assignments)} role assignments", ""]
    lines += ["| who | is a | role | may | at |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(safe(cell) for cell in row)} |" for row in rows(seen)][: report.ROWS * 4]
    if len(seen.assignments) > report.ROWS * 4:
        lines += ["", f"And {len(seen.assignments) - report.ROWS * 4} more, which the evidence has."]
    return "\n".join(lines) + "\n"


def _unseen(found: Sequence[Finding], allow_incomplete: bool) -> list[str]:
    unseen = [one for one in found if one.rule == "not-seen"]
    if not unseen:
        return []
    allowed = ", which this run allows" if allow_incomplete else ""
    made = ["", f"#### Not seen: the audit is incomplete{allowed}", ""]
    for one in unseen:
        made.append(f"- {report.safe(one.says, COMMAND_SHOWN)}.")
        made.append(f"  <br><code>{report.safe(one.fix, COMMAND_SHOWN)}</code>")
    return made


def publish(file: Path) -> None:
    """Hand the SARIF file to what shows it. Raises Refusal if GitHub does not take it."""
    ci.analysis(file)
    if ci.system() == "github":
        upload(github.connect(), file)


def upload(client: github.Client, file: Path) -> None:
    """Upload to GitHub's code scanning, and wait until it has read it: what is wrong with a file shows only then.

    By its REST API ("Upload an analysis as SARIF data", docs.github.com/rest/code-scanning), which needs no third party's action in a job
    that signs in to production, and says why it refuses.
    """
    packed = base64.b64encode(gzip.compress(file.read_bytes(), mtime=0)).decode()
    commit, ref = ci.revision()
    body = {"commit_sha": commit, "ref": ref, "sarif": packed, "tool_name": TOOL}
    sent = client.post("code-scanning/sarifs", body)
    ends, pause = time.monotonic() + UPLOAD_SECONDS, 0.5
    while (state := client.get(f"code-scanning/sarifs/{sent['id']}") or {}).get("processing_status", "pending") == "pending":
        if time.monotonic() > ends:
            ci.warning(f"GitHub has not read the findings within {UPLOAD_SECONDS} seconds; they will show in the code-scanning tab later.")
            return
        time.sleep(pause)
        pause = min(2 * pause, 5)
    if state["processing_status"] == "failed":
        raise Refusal(
            "GitHub could not read the findings", "; ".join(map(str, state.get("errors") or ())), "report this; it is our mistake"
        )
    ci.say("the findings are in the repository's code-scanning tab")


if __name__ == "__main__":
    command.run(main)
