"""Check the figures that a job logged against the thresholds of the project, and against the model version now in production.

The figures come from the job's run and its child runs in MLflow; the version in production from the registry, where production
records it and where its bundle keeps its figures. Ends 1 when any rule says no.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aml import azure, bundle, ci, command, evidence, gate, identity, registry, spec, workspace
from aml.command import Refusal
from aml.gate import Champion, Figure


def figures_of(mlflow: azure.Client, job: str) -> list[Figure]:
    """Every metric's last value in the job's own run and in all runs below it.

    Source: "Query & compare experiments and runs with MLflow", child runs (learn.microsoft.com/azure/machine-learning).
    """
    run = mlflow.find("api/2.0/mlflow/runs/get", run_id=job)
    if run is None:
        raise Refusal(f"job {job} has no run", "it was deleted, or never started", "submit it again with submit_job")
    return list(_figures(mlflow, run["run"]))


def champion_of(found: registry.Registry, model: str, stage: str) -> Champion | None:
    """The version that takes a stage's traffic, with its figures; None before the first release."""
    bundle_id = registry.live(found, model, stage)
    if bundle_id is None:
        return None
    if not bundle_id.startswith("sha256:"):
        raise Refusal(
            f"what runs in {stage} is not known: {bundle_id}",
            "the candidate can't be compared with it",
            "release or roll back to a deployment that came from a bundle",
        )
    document = bundle.from_registry(found, model, bundle_id)
    return Champion(document["model"]["name"], document["model"]["version"], bundle_id, document["job"]["metrics"])


def content_key_of(client: azure.Client, job: str) -> str:
    """The digest of what a job was made of, which submit_job writes on it."""
    found = client.find(f"jobs/{job}")
    if found is None:
        raise Refusal(f"there is no job {job}", "it was deleted, or is in another workspace", "submit it again with submit_job")
    properties = found["properties"]
    if properties["status"] != "Completed":
        raise Refusal(f"job {job} is {properties['status']}", "only a completed job's figures count", "wait for it with wait_job")
    key = {**(properties.get("tags") or {}), **(properties.get("properties") or {})}.get("content_key")
    if not key:
        raise Refusal(f"job {job} has no content_key", "nothing says what it was made of", "submit it with submit_job")
    return str(key)


def check(project: Path, name: str, job: str, folder: Path) -> gate.Verdict:
    """Judge the job, print every finding, leave evidence."""
    started = evidence.now()
    at = workspace.load(project, name)
    release = spec.release(project)
    rules, model = release["gate"], release["model"]["name"]
    wanted = gate.wanted(rules)
    credential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    key = content_key_of(client, job)
    location = client.get()["location"]
    found = figures_of(azure.dataplane(at, credential, location, "mlflow/v2.0"), job)
    figures = {metric: gate.pick(found, metric, job) for metric in wanted}
    champion = champion_of(registry.connect(at, credential), model, "prod") if rules.get("champion") else None
    verdict = gate.judge(rules, figures, champion)
    for finding in verdict.findings:
        ci.say(f"{'passed' if finding.passed else 'FAILED'}  {finding.says}")
    path = evidence.write(
        folder,
        evidence.statement(
            evidence.about_job(job, key),
            "check_gate",
            verdict.word,
            workspace=at.name,
            started=started,
            figures=figures,
            findings=[asdict(finding) for finding in verdict.findings],
            links={"job": f"https://ml.azure.com/runs/{job}?wsid={at.arm_id}&tid={at.tenant_id}"},
            facts={"model": model, "champion": None if champion is None else {**asdict(champion), "figures": dict(champion.figures)}},
        ),
    )
    ci.say(f"evidence: {path}")
    return verdict


def _figures(mlflow: azure.Client, run: dict[str, Any]) -> Iterator[Figure]:
    info = run["info"]
    for metric in run["data"].get("metrics") or []:
        yield Figure(metric["key"], float(metric["value"]), info["run_id"])
    # A sweep's trials all log the same names; the one that won stands for the sweep.
    marks = {tag["key"]: tag["value"] for tag in run["data"].get("tags") or []}
    best = marks.get("best_child_run_id") or marks.get("azureml.best_child_run_id")
    for child in _children(mlflow, info):
        if not best or child["info"]["run_id"] == best:
            yield from _figures(mlflow, child)


def _children(mlflow: azure.Client, info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    body = {"experiment_ids": [info["experiment_id"]], "filter": f"tags.mlflow.parentRunId = '{info['run_id']}'", "max_results": 1000}
    while True:
        page = mlflow.post("api/2.0/mlflow/runs/search", body)
        yield from page.get("runs") or []
        if not page.get("next_page_token"):
            return
        body["page_token"] = page["next_page_token"]


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
        raise Refusal(f"the gate says no to job {given.job_name}", "; ".join(failed), "improve the model, or change the gate in a reviewed commit")
    return 0


if __name__ == "__main__":
    command.run(main)
