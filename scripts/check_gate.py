"""Check the figures that a job logged against the thresholds of the project, and against the model version now in production.

The figures come from the job's run and its child runs in MLflow; the version in production from the registry, where production
records it and where its bundle keeps its figures. Ends 1 when any rule says no. Counts that the job logged as
`confusion/<true>/<said>` or `residuals/<from>/<to>` are kept for the dossier, which draws them.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from aml import azure, bundle, ci, command, evidence, gate, identity, jobs, metrics, registry, spec, workspace
from aml.command import Refusal
from aml.gate import Champion


def champion_of(found: registry.Registry, model: str, stage: str) -> Champion | None:
    """The version that takes a stage's traffic, with its figures; None before the first release."""
    bundle_id = registry.live(found, model, stage)
    if bundle_id is None:
        name, _ = bundle.asset(model, "")
        if found.client.find(f"data/{name}") is not None:
            why = "right before the first release to it; if there was one, somebody deleted the record"
            ci.warning(f"Registry {found.name} holds bundles of {model}, and none is recorded as live in {stage}. That is {why}.")
        return None
    if not bundle_id.startswith("sha256:"):
        raise Refusal(
            f"what runs in {stage} is not known: {bundle_id}",
            "the candidate can't be compared with it",
            "release or roll back to a deployment that came from a bundle",
        )
    document = bundle.from_registry(found, model, bundle_id)
    return Champion(document["model"]["name"], document["model"]["version"], bundle_id, document["job"]["metrics"])


def check(project: Path, name: str, job_name: str, folder: Path) -> gate.Verdict:
    """Judge the job, print every finding, leave evidence."""
    started = evidence.now()
    at = workspace.load(project, name)
    release = spec.release(project)
    rules, model = release["gate"], release["model"]["name"]
    wanted = gate.wanted(rules)
    credential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    key = jobs.content_key(jobs.completed(client, job_name), job_name)
    location = client.get()["location"]
    found = metrics.of_job(client, azure.dataplane(at, credential, location, "mlflow/v2.0"), job_name)
    figures = {metric: gate.pick(found, metric, job_name) for metric in wanted}
    champion = champion_of(registry.connect(at, credential), model, "prod") if rules.get("champion") else None
    verdict = gate.judge(rules, figures, champion)
    for finding in verdict.findings:
        ci.say(f"{'passed' if finding.passed else 'FAILED'}  {finding.says}")
    evidence.write(
        folder,
        evidence.statement(
            evidence.about_job(job_name, key),
            "check_gate",
            verdict.word,
            workspace=at.name,
            started=started,
            figures=figures,
            findings=[asdict(finding) for finding in verdict.findings],
            links={"job": f"https://ml.azure.com/runs/{job_name}?wsid={at.arm_id}&tid={at.tenant_id}"},
            facts={
                "model": model,
                "champion": None if champion is None else {**asdict(champion), "figures": dict(champion.figures)},
                **{name: drawn for name in ("confusion", "residuals") if (drawn := getattr(metrics, name)(found))},
            },
        ),
    )
    return verdict


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--job-name", required=True, help="Name of the job whose figures are checked.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and check the gate."""
    given = parser().parse_args(argv)
    verdict = check(given.project, given.workspace, given.job_name, given.evidence)
    ci.output("gate_verdict", verdict.word)
    if verdict.word != gate.PASSED:
        failed = [finding.says for finding in verdict.findings if not finding.passed]
        fix = "improve the model, or change the gate in a reviewed commit"
        raise Refusal(f"the gate says no to job {given.job_name}", "; ".join(failed), fix)
    return 0


if __name__ == "__main__":
    command.run(main)
