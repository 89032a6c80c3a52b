"""Code scanning: SARIF files that were uploaded, and the alerts that come of them.

Source: https://docs.github.com/rest/code-scanning/code-scanning, with the limits of
https://docs.github.com/code-security/reference/code-scanning/sarif-files/sarif-support-for-code-scanning.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import uuid
import zlib
from typing import TYPE_CHECKING, Any

from emulator.github import repositories
from emulator.github.errors import GitHubError, not_found
from emulator.github.forms import API, WEB, next_number, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
LARGEST = 10 * 1024 * 1024
"""Bytes of a SARIF file, packed."""
MOST_RUNS, MOST_RESULTS = 20, 25_000


def _base(repository: Document) -> str:
    return repositories.key(repository["full_name"])


def need(cloud: Cloud, repository: Document) -> None:
    """Raises GitHub's 403 where code scanning is not to be had."""
    if not repositories.scans(cloud, repository):
        raise GitHubError(403, "Code Security must be enabled for this repository to use code scanning.")


def upload(cloud: Cloud, repository: Document, body: Document) -> Document:
    """Take a SARIF file (gzip, base64). What is wrong with its content shows in its status, what is wrong with the request at once."""
    for name in ("commit_sha", "ref", "sarif"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise GitHubError(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
    if not repositories.SHA.fullmatch(body["commit_sha"]):
        raise GitHubError(422, f"Invalid request.\n\n{body['commit_sha']} does not match /^[0-9a-fA-F]+$/.")
    if not body["ref"].startswith(("refs/heads/", "refs/tags/", "refs/pull/")):
        raise GitHubError(422, f"Invalid request.\n\n{body['ref']} does not match /^refs\\/(heads|tags|pull)\\/.*$/.")
    if not cloud.store.exists(f"{_base(repository)}/commits/{body['commit_sha']}"):
        raise GitHubError(404, f"commit not found: {body['commit_sha']}")
    try:
        packed = base64.b64decode(body["sarif"], validate=True)
        if len(packed) > LARGEST:
            raise GitHubError(413, "Payload too large")
        text = gzip.decompress(packed)
    except (binascii.Error, OSError, EOFError, zlib.error):
        raise GitHubError(400, "Invalid SARIF. The sarif property must be gzipped and base64-encoded.") from None
    id = str(uuid.uuid4())
    made: Document = {
        "id": id, "commit_sha": body["commit_sha"], "ref": body["ref"], "at": stamp(cloud), "errors": [],
    }  # fmt: skip
    try:
        with cloud.store.transaction():
            _take(cloud, repository, made, json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, GitHubError) as error:
        made["errors"] = [str(error)]
    return cloud.store.put(f"{_base(repository)}/sarifs/{id}", "github_sarif", made)


def _take(cloud: Cloud, repository: Document, upload: Document, sarif: Document) -> None:
    """Make analyses and alerts of the file; another file of the same tool and ref fixes what it no longer has."""
    if sarif.get("version") != "2.1.0":
        raise GitHubError(400, f"only SARIF files of version 2.1.0 are supported, this one has version '{sarif.get('version')}'")
    if len(sarif["runs"]) > MOST_RUNS:
        raise GitHubError(400, f"more than {MOST_RUNS} runs")
    for run in sarif["runs"]:
        driver, results = run["tool"]["driver"], run.get("results") or []
        if len(results) > MOST_RESULTS:
            raise GitHubError(400, f"more than {MOST_RESULTS} results in a run")
        rules = {rule["id"]: rule for rule in driver.get("rules") or ()}
        category = str((run.get("automationDetails") or {}).get("id", ""))
        _note(cloud, repository, upload, driver, category, len(results), len(rules))
        present = {_alert(cloud, repository, upload, driver, rules, category, result) for result in results}
        for known in alerts(cloud, repository):
            same = (known["tool"]["name"], known["category"], known["instance"]["ref"]) == (driver["name"], category, upload["ref"])
            if same and known["print"] not in present and known["state"] == "open":
                _save(cloud, repository, {**known, "state": "fixed", "fixed_at": upload["at"]})


def _note(cloud: Cloud, repository: Document, upload: Document, driver: Document, category: str, results: int, rules: int) -> None:
    id = next_number(cloud, "analysis", 400_000_001)
    document = {
        "id": id, "ref": upload["ref"], "commit_sha": upload["commit_sha"], "analysis_key": "(default)", "environment": "{}", "error": "",
        "category": category, "created_at": upload["at"], "results_count": results, "rules_count": rules, "sarif_id": upload["id"],
        "url": f"{API}/repos/{repository['full_name']}/code-scanning/analyses/{id}", "deletable": True, "warning": "",
        "tool": {"name": driver["name"], "guid": driver.get("guid"), "version": driver.get("version")},
    }  # fmt: skip
    cloud.store.put(f"{_base(repository)}/analyses/{id}", "github_analysis", document)


def _alert(
    cloud: Cloud, repository: Document, upload: Document, driver: Document, rules: dict[str, Document], category: str, result: Document
) -> str:
    """One result as an alert; the same one found again stays the same alert. Its fingerprint."""
    place = (result.get("locations") or [{}])[0].get("physicalLocation") or {}
    path, region = (place.get("artifactLocation") or {}).get("uri", ""), place.get("region") or {}
    rule = rules.get(result.get("ruleId", ""), {})
    text = json.dumps(result.get("partialFingerprints") or [path, region, result["message"]["text"]], sort_keys=True)
    fingerprint = hashlib.sha256(f"{driver['name']}|{category}|{upload['ref']}|{result.get('ruleId')}|{text}".encode()).hexdigest()
    level = result.get("level") or (rule.get("defaultConfiguration") or {}).get("level") or "warning"
    known = next((each for each in alerts(cloud, repository) if each["print"] == fingerprint), None)
    spot = {name: region.get(short) for name, short in (
        ("start_line", "startLine"), ("end_line", "endLine"), ("start_column", "startColumn"), ("end_column", "endColumn"),
    )}  # fmt: skip
    document = {
        "number": known["number"] if known else next_number(cloud, f"alert/{repository['full_name']}"),
        "created_at": known["created_at"] if known else upload["at"],
        "state": "open" if known is None or known["state"] == "fixed" else known["state"],
        "fixed_at": None,
        "print": fingerprint,
        "category": category,
        "rule": {
            "id": result.get("ruleId"),
            "severity": level,
            "name": rule.get("name") or result.get("ruleId"),
            "description": (rule.get("shortDescription") or {}).get("text", ""),
            "tags": (rule.get("properties") or {}).get("tags") or [],
        },
        "tool": {"name": driver["name"], "guid": driver.get("guid"), "version": driver.get("version")},
        "instance": {
            "ref": upload["ref"], "analysis_key": "(default)", "environment": "{}", "category": category,
            "commit_sha": upload["commit_sha"],
            "message": {"text": result["message"]["text"]}, "location": {"path": path, **spot}, "classifications": [],
        },
    }  # fmt: skip
    _save(cloud, repository, document)
    return fingerprint


def _save(cloud: Cloud, repository: Document, alert: Document) -> None:
    cloud.store.put(f"{_base(repository)}/alerts/{alert['number']}", "github_alert", alert)


def alerts(cloud: Cloud, repository: Document) -> list[Document]:
    return cloud.store.list("github_alert", under=f"{_base(repository)}/alerts")


def analyses(cloud: Cloud, repository: Document, query: dict[str, str]) -> list[Document]:
    found = cloud.store.list("github_analysis", under=f"{_base(repository)}/analyses")[::-1]
    found = [each for each in found if query.get("sarif_id", each["sarif_id"]) == each["sarif_id"]]
    return [each for each in found if query.get("tool_name", each["tool"]["name"]) == each["tool"]["name"]]


def status(cloud: Cloud, repository: Document, id: str) -> Document:
    """What became of an upload. Raises GitHub's 404."""
    found = cloud.store.get(f"{_base(repository)}/sarifs/{id}")
    if found is None:
        raise not_found()
    url = f"{API}/repos/{repository['full_name']}/code-scanning/analyses?sarif_id={id}"
    if found["errors"]:
        return {"processing_status": "failed", "analyses_url": None, "errors": found["errors"]}
    return {"processing_status": "complete", "analyses_url": url, "errors": None}


def shown_alert(repository: Document, alert: Document) -> Document:
    url, page = (f"{base}/{repository['full_name']}" for base in (f"{API}/repos", WEB))
    instance = {**alert["instance"], "state": alert["state"]}
    return {
        "number": alert["number"],
        "created_at": alert["created_at"],
        "updated_at": alert["fixed_at"] or alert["created_at"],
        "url": f"{url}/code-scanning/alerts/{alert['number']}",
        "html_url": f"{page}/security/code-scanning/{alert['number']}",
        "instances_url": f"{url}/code-scanning/alerts/{alert['number']}/instances",
        "state": alert["state"],
        "fixed_at": alert["fixed_at"],
        "dismissed_by": None,
        "dismissed_at": None,
        "dismissed_reason": None,
        "dismissed_comment": None,
        "rule": alert["rule"],
        "tool": alert["tool"],
        "most_recent_instance": instance,
    }
