"""Write who may act in each workspace as a plan to review: applications, whom they trust without a secret, and their roles; or apply it.

A tool for a platform team, by its own sign-in: AZURE_CLIENT_ID with AZURE_CLIENT_SECRET, or 'az login'. Without a flag it writes the plan
(.cloud/identity.json, and beside it the same for people, .txt) and changes nothing else; with --apply it makes the plan so; with --check
it reads everything back and ends 1 if anything is not as planned. Each may be run again at any time, after being killed too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aml import access, ci, command, github, spec, workspace
from aml.access import Difference, Directory
from aml.command import Refusal
from aml.identity import SCOPE, administrator, claims
from aml.workspace import Workspace

# What is mended first, because the next needs it; what is taken away comes last.
ORDER = [
    "application", "audience", "principal", "connection", "custom role", "role", "change credential", "credential",
    "subject", "extra credential", "extra role", "extra secret",
]  # fmt: skip
_CUSTOMIZATION = "actions/oidc/customization/sub"
SEEN_WITHIN = 180  # seconds that Entra and Azure get to show what was changed


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__, workspace=False)
    command.argument(made, "--plan", default=access.FILE, help="The plan's file, in the project's folder.")
    command.argument(made, "--repository", help="The project's repository on GitHub: owner/name. Given once, the plan remembers it.")
    command.argument(made, "--repository-ids", help="Ids of owner and repository, as 1234/5678, where GitHub's subjects are immutable.")
    command.argument(made, "--catalog", help="The catalog's repository on GitHub: owner/name.")
    command.argument(made, "--tags", help="Tags of the catalog that production takes, such as v1.*.")
    command.argument(
        made,
        "--binding",
        choices=access.BINDINGS,
        help="How production is bound to the catalog: by flexible credentials (the default), by a subject customised for the whole "
        "repository, or not at all.",
    )
    command.argument(made, "--organization", help="The organization on Azure DevOps.")
    command.argument(made, "--devops-project", help="The project on Azure DevOps.")
    command.argument(made, "--apply", type=command.boolean, default=False, help="Make the plan so.")
    command.argument(made, "--check", type=command.boolean, default=False, help="Read back whether the plan is so.")
    return made


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    specs = [workspace.load(given.project, name) for name in workspace.names(given.project)]
    if not specs:
        raise Refusal(f"{given.project} has no workspace spec", fix=f"name the folder that has {workspace.FOLDER} with --project")
    _apart(specs)
    before = access.read(given.project, given.plan)
    directories = {tenant: Directory(administrator(tenant)) for tenant in {at.tenant_id for at in specs}}
    if not given.apply and not given.check:
        words = ("repository", "repository_ids", "catalog", "tags", "binding", "organization")
        asked = {name: getattr(given, name) for name in words} | {"project": given.devops_project}
        write(given.project, given.plan, make(specs, trust(asked, before), before, directories), directories)
        return 0
    if before is None:
        raise Refusal(f"There is no plan {given.project / given.plan}", fix="run plan_identity without --apply and --check, and review it")
    _current(before, specs, given.plan)
    if given.apply:
        _no_self_service(before)
        apply(given.project, given.plan, before, directories)
    return check(before, directories)


def trust(asked: Mapping[str, str | None], before: Mapping[str, Any] | None) -> dict[str, str]:
    """Whom to trust: what was asked for, else what the plan had. Raises Refusal for what does not fit together."""
    known = (before or {}).get("trust", {})
    made = {name: str(value if value is not None else known.get(name, "")) for name, value in asked.items()}
    made["binding"] = made["binding"] or ("flexible" if made["repository"] else "none")
    if not made["repository"] and not made["organization"]:
        raise Refusal(
            "Nobody is trusted yet",
            "The project's pipelines run on GitHub, on Azure DevOps or on both",
            "give --repository or --organization",
        )
    if bool(made["organization"]) != bool(made["project"]):
        raise Refusal("A service connection is in a project of an organization", fix="give both --organization and --devops-project")
    if made["repository"] and made["binding"] != "none" and not (made["catalog"] and made["tags"]):
        raise Refusal(
            "Production is to be bound to the catalog's own workflows",
            "Without that, any workflow that names the environment may act in production",
            "give --catalog and --tags, such as contoso/azureml-catalog and v1.*; or --binding none",
        )
    if made["binding"] == "subject" and any(letter in made["tags"] for letter in "*?"):
        raise Refusal(
            f"The subject cannot have the pattern {made['tags']}",
            "Only flexible credentials have wildcards; a subject is compared letter by letter",
            "give --tags one tag that you move, such as v1; or --binding flexible",
        )
    return made


def make(
    specs: list[Workspace], trusted: dict[str, str], before: Mapping[str, Any] | None, directories: Mapping[str, Directory]
) -> dict[str, Any]:
    """The plan from the workspace specs, with what there is beside it today listed for removal."""
    kept = {entry["workspace"]: entry["keep"] for entry in (before or {}).get("workspaces", ())}
    plan: dict[str, Any] = {"version": 1, "trust": trusted, "roles": access.custom_roles(specs), "workspaces": []}
    for at in specs:
        directory = directories[at.tenant_id]
        entry = access.planned(at, trusted, directory.scopes(at), kept.get(at.name, ()))
        entry["remove"] = access.surplus(plan, entry, directory.found(plan, entry))
        plan["workspaces"].append(entry)
    return plan


def write(project: Path, path: str, plan: dict[str, Any], directories: Mapping[str, Directory]) -> None:
    """Write the plan, check it as --apply would, and print it with what is to be done."""
    _save(project, path, plan)
    spec.trusted(project, path, "identity")
    ci.say(access.text(plan))
    left = [one for found in state(plan, directories).values() for one in found]
    _unchecked(plan)
    for one in left:
        ci.say(f"to {'remove' if one.kind.startswith('extra') else 'do'}: {one.workspace or 'all workspaces'}: {one.says}")
    ci.say("Review it, commit it, then run plan_identity --apply." if left else "Nothing is to be done.")


def _save(project: Path, path: str, plan: dict[str, Any]) -> None:
    _replace(project / path, json.dumps(plan, indent=2, ensure_ascii=False) + "\n")
    _replace((project / path).with_suffix(".txt"), access.text(plan))


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.read_text(encoding="utf-8") if path.exists() else None
    if there != text:
        beside = path.with_suffix(".partial")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    ci.say(f"{'unchanged' if there == text else 'created  ' if there is None else 'updated  '}  {path}")


def state(plan: dict[str, Any], directories: Mapping[str, Directory]) -> dict[str, list[Difference]]:
    """What is not as planned, by workspace; under '' what is for all of them."""
    found: dict[str, list[Difference]] = {"": []}
    for role in plan["roles"]:
        for directory in directories.values():
            found[""] += [one for one in [access.of_custom_role(role, directory.role(role["name"], role["scopes"][0]))] if one]
    found[""] += _subject(plan)
    for entry in plan["workspaces"]:
        directory = directories[entry["tenant_id"]]
        found[entry["workspace"]] = access.differences(plan, entry, directory.found(plan, entry))
    return found


def _subject(plan: dict[str, Any]) -> list[Difference]:
    """Whether GitHub makes the repository's subjects as planned, where there is a token to ask with."""
    repository = plan["trust"]["repository"]
    if not repository or not ci.github()[2]:
        return []
    found = github.connect(repository).get(_CUSTOMIZATION)
    if found is None:
        raise Refusal(f"GitHub shows no repository {repository} to this token", fix="use the token of somebody who administers it")
    return [one for one in [access.of_subject(plan, found)] if one]


def _unchecked(plan: dict[str, Any]) -> str:
    """What `state` could not look at, with a warning if the plan relies on it; '' if it looked at everything."""
    repository = plan["trust"]["repository"]
    if not repository or ci.github()[2]:
        return ""
    what = f"what {repository}'s subjects are made of"
    if plan["trust"]["binding"] == "subject":
        ci.warning(f"not supplied, for want of a GitHub token: {what}. {access.subject_command(plan)}")
    return f"{what} (it needs a GitHub token, {' or '.join(ci.GITHUB_TOKENS)})"


def check(plan: dict[str, Any], directories: Mapping[str, Directory]) -> int:
    """Print each difference with its fix; 1 if there are any."""
    left = [one for found in state(plan, directories).values() for one in found]
    unchecked = _unchecked(plan)
    for one in left:
        beside = " is not in the plan" if one.kind.startswith("extra") else ""
        ci.error(f"{one.workspace or 'all workspaces'}: {one.says}{beside}. Fix: {one.fix}")
    beside = f"; not looked at: {unchecked}" if unchecked else ""
    if left:
        ci.say(f"{len(left)} not as planned{beside}")
        return 1
    ci.say(f"as planned: {', '.join(entry['workspace'] for entry in plan['workspaces'])}{beside}")
    return 0


def apply(project: Path, path: str, plan: dict[str, Any], directories: Mapping[str, Directory]) -> None:
    """Mend what can be mended, step by step, until the plan reads back. What is neither planned nor to be removed is left alone."""
    done: set[str] = set()
    ends, pause = time.monotonic() + SEEN_WITHIN, 1.0
    while True:
        doomed = {one["id"].lower() for entry in plan["workspaces"] for one in entry["remove"]}
        left = [
            one
            for found in state(plan, directories).values()
            for one in found
            if one.kind in ORDER and (not one.kind.startswith("extra") or str(one.about).lower() in doomed)
        ]
        if not left:
            ci.say("unchanged" if not done else f"{len(done)} changed")
            return
        first = min(ORDER.index(one.kind) for one in left)
        fresh = [one for one in left if ORDER.index(one.kind) == first and one.key not in done]
        for one in fresh:
            mend(project, path, plan, one, directories)
            done.add(one.key)
        if fresh:
            ends, pause = time.monotonic() + SEEN_WITHIN, 1.0
            continue
        if time.monotonic() + pause > ends:
            raise Refusal(f"Changed, and not to be seen after {SEEN_WITHIN} seconds", "; ".join(one.says for one in left), "run it again")
        time.sleep(pause)
        pause = min(2 * pause, 20)


def mend(project: Path, path: str, plan: dict[str, Any], one: Difference, directories: Mapping[str, Directory]) -> None:
    """Make one thing as planned, and say so."""
    if one.kind == "custom role":
        role, there = one.about
        for directory in directories.values():
            directory.put_role(role, there)
        ci.say(f"updated    role {role['name']}" if there else f"created    role {role['name']}")
        return
    if one.kind == "subject":
        default = plan["trust"]["binding"] != "subject"
        body = {"use_default": default, **({} if default else {"include_claim_keys": one.about})}
        github.connect(plan["trust"]["repository"]).put(_CUSTOMIZATION, body)
        ci.say(f"updated    subjects of {plan['trust']['repository']}: of {', '.join(one.about)}")
        return
    entry = next(entry for entry in plan["workspaces"] if entry["workspace"] == one.workspace)
    directory = directories[entry["tenant_id"]]
    graph, client = directory.graph, entry["client_id"]
    if one.kind == "application":
        _application(project, path, plan, entry, directory)
        return
    if one.kind == "principal":
        graph.create_service_principal(client)
        said = f"created    service principal of {client}"
    elif one.kind == "connection":
        directory.create_connection(plan["trust"], entry)
        said = f"created    service connection {entry['connection']}"
    elif one.kind == "role":
        directory.assign(entry, one.about)
        said = f"created    role {one.about['role']} at {one.about['scope']}"
    elif one.kind == "extra role":
        directory.unassign(one.about)
        said = f"removed    {one.says}"
    else:
        application = graph.application(client)
        assert application
        if one.kind == "audience":
            graph.change_application(application, signInAudience="AzureADMyOrg")
            said = f"updated    application {client}: of this tenant alone"
        elif one.kind == "credential":
            graph.add_federated(application, one.about)
            said = f"created    credential {one.about.name}"
        elif one.kind == "change credential":
            id, credential = one.about
            graph.change_federated(application, id, credential)
            said = f"updated    credential {credential.name}"
        elif one.kind == "extra credential":
            graph.remove_federated(application, one.about)
            said = f"removed    {one.says}"
        else:
            graph.remove_secret(application, one.about)
            said = f"removed    {one.says}"
    ci.say(f"{said}  ({one.workspace})")


def _application(project: Path, path: str, plan: dict[str, Any], entry: dict[str, Any], directory: Directory) -> None:
    """Find the application by its name, for when this was killed after making it, or make it; its client id goes into spec and plan."""
    named = directory.graph.applications_named(entry["application"])
    if len(named) > 1:
        ids = ", ".join(one["appId"] for one in named)
        raise Refusal(
            f"The tenant has {len(named)} applications {entry['application']} ({ids}), and none with client id {entry['client_id']}",
            fix=f"write the right one's client id into .cloud/workspaces/{entry['workspace']}.yml and plan again",
        )
    client = str((named[0] if named else directory.graph.create_application(entry["application"]))["appId"])
    if any(client.lower() == other["client_id"].lower() for other in plan["workspaces"]):
        raise Refusal(f"Application {entry['application']} acts in another workspace already", fix="name it in that workspace's spec alone")
    file = f"{workspace.FOLDER}/{entry['workspace']}.yml"
    _set_client(project, file, entry["client_id"], client)
    entry["client_id"] = client
    _save(project, path, plan)
    ci.say(f"{'updated  ' if named else 'created  '}  application {entry['application']}, client id {client}: commit {file} and {path}")


def _set_client(project: Path, file: str, old: str, new: str) -> None:
    document, _ = spec.checked(project, file, "workspace")
    line, column = document.place(["client_id"])
    lines = (project / file).read_bytes().decode("utf-8").splitlines(keepends=True)
    lines[line - 1] = lines[line - 1][: column - 1] + lines[line - 1][column - 1 :].replace(old, new, 1)
    _replace(project / file, "".join(lines))


def _apart(specs: list[Workspace]) -> None:
    """Production's application is its own: validate_project says it with the place, and nothing is planned or applied without it."""
    clients: dict[str, Workspace] = {}
    for at in specs:
        other = clients.setdefault(at.client_id.lower(), at)
        if "prod" in (at.stage, other.stage) and at.stage != other.stage:
            raise Refusal(
                f"Workspaces {other.name} and {at.name} have the same client id {at.client_id}",
                "Production's principal has no right anywhere else, and no other has one in production",
                f"give {at.name} an application of its own",
            )


def _current(plan: dict[str, Any], specs: list[Workspace], path: str) -> None:
    names = ("workspace", "stage", "tenant_id", "subscription_id", "client_id")
    planned: set[tuple[str, ...]] = {tuple(str(entry[name]).lower() for name in names) for entry in plan["workspaces"]}
    now: set[tuple[str, ...]] = {
        tuple(text.lower() for text in (at.name, at.stage, at.tenant_id, at.subscription_id, at.client_id)) for at in specs
    }
    if planned != now:
        differ = ", ".join(sorted({one[0] for one in planned ^ now}))
        raise Refusal(
            f"The plan {path} is not of these workspace specs", f"They differ in {differ}", "run plan_identity, and review it again"
        )


def _no_self_service(plan: dict[str, Any]) -> None:
    """What acts in a workspace must not decide what it may do there."""
    for tenant in {entry["tenant_id"] for entry in plan["workspaces"]}:
        token = claims(administrator(tenant).get_token(SCOPE).token)
        client = str(token.get("appid") or token.get("azp") or "").lower()
        if any(client == entry["client_id"].lower() for entry in plan["workspaces"]):
            raise Refusal(
                f"Application {client} is one that the plan is about", "What it may do, others decide", "sign in as the platform team"
            )


if __name__ == "__main__":
    command.run(main)
