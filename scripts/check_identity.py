"""Say why a sign-in works or not: what this run presents, what the application accepts, how they differ, and the command that mends it.

A doctor, for a person or as a step after a sign-in that failed; it changes nothing. In a pipeline it looks at the job's own token;
elsewhere at what --subject says, copied from the log of the run. What the application accepts comes from Microsoft Graph, by the
platform team's sign-in (AZURE_CLIENT_ID with AZURE_CLIENT_SECRET, or 'az login'), where that is allowed. Ends 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from aml import access, ci, command, federation, identity, workspace
from aml.azure import MANAGEMENT, Client, explain, management
from aml.command import Refusal
from aml.federation import AUDIENCE, GITHUB, Presented
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

VISIBLE_AFTER = 30  # minutes that a role assignment can take to be seen everywhere; Azure says so in "Troubleshoot Azure RBAC"


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    command.argument(made, "--subject", help="The subject to look at instead of this run's own, as a log shows it.")
    command.argument(made, "--issuer", help="Its issuer; without it GitHub's, or the tenant's for a service connection's subject.")
    command.argument(made, "--job-workflow-ref", help="The workflow that its job belongs to: owner/name/.github/workflows/file@ref.")
    command.argument(made, "--error", help="What a sign-in said when it failed, to be explained; copied from a log.")
    return made


@dataclass
class Diagnosis:
    """What was found so far; `wrong` counts what has to be mended."""

    at: Workspace
    wrong: int = 0

    def good(self, text: str) -> None:
        """Something that is as it should be."""
        ci.say(f"  good     {text}")

    def bad(self, text: str, fix: str = "") -> None:
        """Something to mend."""
        self.wrong += 1
        ci.say(f"  WRONG    {text}")
        if fix:
            ci.say(f"           Fix: {fix}")

    def unknown(self, text: str) -> None:
        """What could not be looked at."""
        ci.say(f"  not supplied: {text}")


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    found = Diagnosis(at)
    if given.error:
        said(found, given.error)
    job = presented(found, given.subject or "", given.issuer or "", given.job_workflow_ref or "")
    credential = None if given.subject else signed_in(found)
    directory = platform(found, credential)
    if directory:
        trusts(found, directory, job)
    if credential:
        rights(found, credential, directory)
    if found.wrong:
        raise Refusal(f"{found.wrong} wrong with the identity of workspace {at.name}", fix="do what is said above, from the top")
    ci.say(f"Nothing is wrong with the identity of workspace {at.name} that could be seen from here.")
    return 0


def said(found: Diagnosis, text: str) -> None:
    """Explain the text of a failed sign-in."""
    ci.say("What was said")
    told = identity.explain(" ".join(text.split()), found.at)
    if told:
        found.bad(f"{told.what}. {told.why}", told.fix)
    else:
        found.unknown("it has no AADSTS code and is none of the Azure CLI's sentences that are known here")


def presented(found: Diagnosis, subject: str, issuer: str, job_workflow_ref: str) -> Presented | None:
    """What the run shows to Entra, or what was given; None where nothing is presented."""
    ci.say("What is presented")
    if subject:
        tenant = f"https://login.microsoftonline.com/{found.at.tenant_id}/v2.0"
        guessed = issuer or (GITHUB if not federation.connection(subject) else tenant)
        claims = {"job_workflow_ref": job_workflow_ref} if job_workflow_ref else {}
        job = Presented(guessed, subject, AUDIENCE, claims)
    else:
        try:
            token = identity.presents(found.at)
        except Refusal as refusal:
            found.bad(f"{refusal.what}. {refusal.why}", refusal.fix)
            return None
        if token is None:
            found.unknown("this is no job with a federated sign-in; give --subject to look at another run's")
            return None
        job = federation.presented(token)
    ci.say(f"  issuer   {job.issuer}")
    ci.say(f"  subject  {job.subject}")
    ci.say(f"  audience {job.audience}")
    for name, value in job.claims.items():
        ci.say(f"  {name} {value}")
    ci.say(f"  which is {federation.form(job)}")
    return job


def signed_in(found: Diagnosis) -> TokenCredential | None:
    """Sign in as the verbs do; None if that fails, with the reason said."""
    ci.say("The sign-in")
    try:
        credential = identity.sign_in(found.at)
    except Refusal as refusal:
        found.bad(f"{refusal.what}. {refusal.why}", refusal.fix)
        return None
    found.good(f"signed in as {identity.who(identity.claims(credential.get_token(identity.SCOPE).token))}")
    return credential


def platform(found: Diagnosis, own: TokenCredential | None) -> access.Directory | None:
    """Who may look into the directory: the platform team's sign-in, or else the workspace's own principal if that is allowed."""
    try:
        return access.Directory(identity.administrator(found.at.tenant_id))
    except Refusal as refusal:
        if own is None:
            ci.say("What the application accepts")
            found.unknown(f"{refusal.what}: {refusal.why}. Somebody who may can run: {_listing(found.at)}")
            return None
        return access.Directory(own)


def _listing(at: Workspace) -> str:
    return f"az ad app federated-credential list --id {at.client_id}, and this verb with --subject"


def trusts(found: Diagnosis, directory: access.Directory, job: Presented | None) -> None:
    """Compare what is presented with what the application accepts and with what the project's plan trusts."""
    from aml.graph import NotAllowed

    at = found.at
    ci.say("What the application accepts")
    try:
        application = directory.graph.application(at.client_id)
        if application is None:
            found.bad(
                f"tenant {at.tenant_id} has no application with client id {at.client_id}",
                f"correct client_id or tenant_id in .cloud/workspaces/{at.name}.yml, or have it made: plan_identity --apply",
            )
            return
        principal = directory.graph.service_principal(at.client_id)
        credentials = directory.graph.federated(application)
    except NotAllowed as refusal:
        found.unknown(f"{refusal.why}. {refusal.fix}. Or somebody who may runs: {_listing(at)}")
        return
    if principal is None:
        found.bad(f"application {at.client_id} has no service principal in the tenant", f"az ad sp create --id {at.client_id}")
    elif principal.get("accountEnabled") is False:
        found.bad("its service principal is disabled", "ask who disabled it, and why; az ad sp update enables it again")
    for one in credentials:
        ci.say(f"  {one.name}: {one.expression or one.subject} of {one.issuer}")
    if not credentials:
        ci.say("  no federated credential at all")
    if job is None:
        return
    ranked = federation.nearest(credentials, job)
    taken = [one for one, why in ranked if not why]
    if taken:
        found.good(f"credential {taken[0].name} accepts what is presented")
        return
    for one, why in ranked[:3]:
        for reason in why:
            ci.say(f"  credential {one.name}: {reason}")
    _mend(found, directory, job)


def _mend(found: Diagnosis, directory: access.Directory, job: Presented) -> None:
    at, what = found.at, "no credential of the application accepts what is presented"
    context = federation.parts(job.subject).get("context", "")
    plan = access.read(at.project)
    entry = next((one for one in (plan or {}).get("workspaces", ()) if one["workspace"] == at.name), None)
    if plan and entry:
        trusted = [one for one in access.credentials(entry, directory.found(plan, entry)) if federation.accepts(one, job)]
        if trusted:
            found.bad(f"{what}, though the plan trusts it ({trusted[0].name})", "plan_identity --apply")
        else:
            text = "run it as the plan says, in .cloud/identity.txt; or change the plan, and have it reviewed"
            found.bad(f"{what}, and the project's plan does not trust it either", text)
        return
    if context and not context.startswith("environment:"):
        environment = access.ENVIRONMENTS[at.stage]
        found.bad(
            f"{what}: it is of {federation.context(context)}, since the job names no environment",
            f"give the job 'environment: {environment}', so that what protects the environment protects the workspace",
        )
        return
    name = federation.name("ci", at.name, "new")
    workflow = job.claims.get("job_workflow_ref", "")
    if (
        at.stage == "prod"
        and job.issuer.rstrip("/") == GITHUB
        and workflow
        and "@refs/tags/" in workflow
        and "job_workflow_ref" not in job.subject
    ):
        made = federation.Credential(name, GITHUB, expression=federation.expression(job.subject, workflow))
    else:
        made = federation.Credential(name, job.issuer, job.subject)
    found.bad(what, f"if it is to be trusted: {access.command(at.client_id, made)}")


def rights(found: Diagnosis, credential: TokenCredential, directory: access.Directory | None) -> None:
    """Whether the principal sees its subscription and workspace; if not, whether a role is missing or only not yet to be seen."""
    from azure.core.exceptions import HttpResponseError

    at = found.at
    ci.say("Its rights")
    try:
        if not list(Client(MANAGEMENT, credential, api_version="2022-12-01", patient=False).list("/subscriptions")):
            told = identity.no_subscriptions(at)
            found.bad(
                f"{told.what}: 'No subscriptions found' is what the Azure CLI calls that. {told.why}", _roles(found, credential, directory)
            )
            return
        found.good(f"sees subscription {at.subscription_id}")
        there = management(at, credential, patient=False).find()
    except HttpResponseError as error:
        told_ = explain(error)
        if error.status_code != 403 or told_ is None:
            raise
        found.bad(f"{told_.what}. {told_.why}", _roles(found, credential, directory))
        return
    if there is None:
        found.bad(
            f"there is no workspace {at.workspace_name} in {at.resource_group}", f"correct .cloud/workspaces/{at.name}.yml, or have it made"
        )
    else:
        found.good(f"reads workspace {at.workspace_name}")


def _roles(found: Diagnosis, credential: TokenCredential, directory: access.Directory | None) -> str:
    """What to do about a refused right: wait for a grant that is there, or have the role assigned that is not."""
    from azure.core.exceptions import HttpResponseError

    at = found.at
    oid = str(identity.claims(credential.get_token(identity.SCOPE).token).get("oid"))
    scope, role = at.arm_id, "AzureML Data Scientist"
    assign = (
        f"az role assignment create --assignee {at.client_id} --role '{role}' --scope {scope}; or plan_identity --apply, for all its roles"
    )
    unseen = (
        f"look whether the role is there: az role assignment list --assignee {at.client_id} --scope {scope} --include-inherited. "
        f"If it is younger than {VISIBLE_AFTER} minutes, wait; if it is not there: {assign}"
    )
    if directory is None:
        return unseen
    try:
        held = directory.assignments(oid, [at.subscription_id])
    except HttpResponseError as error:
        if error.status_code not in (401, 403):
            raise
        return unseen
    here = [one for one in held if (scope + "/").lower().startswith(one["scope"].lower().rstrip("/") + "/")]
    for one in here:
        ci.say(f"  holds    {one['role']} at {one['scope']}, since {one.get('createdOn') or 'a time unknown'}")
    if not here:
        ci.say(f"  holds    no role at workspace {at.workspace_name} or above it")
        return f"the grant is missing, not only new. {assign}"
    young = [one for one in here if (minutes := _age(str(one.get("createdOn") or ""))) is not None and minutes < VISIBLE_AFTER]
    if young:
        return f"wait: {young[0]['role']} is there and too new to be seen everywhere, which can take {VISIBLE_AFTER} minutes"
    return f"its roles are old enough to be seen, so none of them allows it. {assign}"


def _age(stamp: str) -> float | None:
    """Minutes since a time as Azure writes it; None for what is none."""
    try:
        made = datetime.fromisoformat(stamp.split(".")[0].rstrip("Z"))
    except ValueError:
        return None
    return (time.time() - made.replace(tzinfo=timezone.utc).timestamp()) / 60


if __name__ == "__main__":
    command.run(main)
