"""What a verb found out about a bundle, kept as an in-toto Statement (version 1) in a file of its own.

Source of the form: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
The subject is the bundle, by its digest; before there is a bundle it is the job, by its content key. Statements are not signed
here: a signature wraps a finished statement (a DSSE envelope beside the file, see record_evidence) and changes nothing in it.
"""

from __future__ import annotations

import json
import os
import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aml import ci, command, report

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:azureml-catalog:evidence:v1"


def argument(to: ArgumentParser) -> None:
    """Add `--evidence`, the folder that statements are written to."""
    command.argument(to, "--evidence", default=Path("evidence"), type=Path, help="Folder that what was found out is written to.")


def now() -> str:
    """The time as statements write it: UTC, RFC 3339, seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """A time of a statement, or of a service. Raises ValueError for what is none, or does not say where its clock is."""
    # Azure tells tenths of microseconds, and fewer digits where the last ones are 0; Python 3.10 reads three digits or six.
    found = datetime.fromisoformat(re.sub(r"\.(\d+)", lambda part: f".{part[1][:6]:0<6}", text).replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


def about_job(name: str, content_key: str) -> dict[str, Any]:
    """A subject for what is known of a job; its digest is the content key, of the form `sha256:<hex>` or `<hex>`."""
    return {"name": f"job/{name}", "digest": {"sha256": content_key.removeprefix("sha256:")}}


def about_bundle(model: str, bundle_id: str) -> dict[str, Any]:
    """A subject for what is known of a bundle."""
    return {"name": f"bundle/{model}", "digest": {"sha256": bundle_id.removeprefix("sha256:")}}


def about_access(workspace: str, digest: str) -> dict[str, Any]:
    """A subject for what is known of who reaches a workspace; its digest is that of all that was read."""
    return {"name": f"access/{workspace}", "digest": {"sha256": digest.removeprefix("sha256:")}}


def statement(
    subject: Mapping[str, Any],
    verb: str,
    verdict: str,
    *,
    workspace: str,
    started: str,
    figures: Mapping[str, float] | None = None,
    findings: Sequence[Mapping[str, Any]] = (),
    links: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One statement (schemas/evidence.schema.json).

    `verdict` is `passed` or `failed`. `figures` are measured numbers by name with their unit in the name (`seconds`, `percent`) or a
    metric's name as logged; a figure that is no finite number is written as text, since JSON has no word for it. `findings` are the
    single checks, `links` where a person can look further, `facts` what else the verb found (names, versions, splits).
    """
    return {
        "_type": STATEMENT,
        "subject": [dict(subject)],
        "predicateType": PREDICATE,
        "predicate": {
            "verb": verb,
            "verdict": verdict,
            "workspace": workspace,
            "started": started,
            "finished": now(),
            "figures": {name: _number(value) for name, value in (figures or {}).items()},
            "findings": [{key: _number(value) for key, value in finding.items()} for finding in findings],
            "links": {**({"run": ci.run_url()} if ci.run_url() else {}), **(links or {})},
            "facts": dict(facts or {}),
        },
    }


def write(folder: Path, made: Mapping[str, Any]) -> Path:
    """Write a statement as `<verb>-<workspace>.json` and return its path. A rerun replaces it, whole or not at all.

    Beside it, its findings as test results in JUnit's form (`.junit.xml`), if it has any; and a section in the summary of the run.
    """
    predicate = made["predicate"]
    path = folder / f"{predicate['verb']}-{predicate['workspace']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    # Half a surrogate pair, which JSON may hold and UTF-8 may not, is written as the escape that JSON has for it.
    replace(path, f"{json.dumps(made, indent=2, allow_nan=False, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace"))
    results = path.with_suffix(".junit.xml")
    if predicate["findings"]:
        replace(results, report.junit(made))
    else:
        results.unlink(missing_ok=True)
    ci.summary(report.section(made), path.stem)
    return path


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_suffix(".partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _number(value: Any) -> Any:
    # 1e400, nan and inf have no spelling in JSON; a reader must still see that the figure was there.
    return str(value) if isinstance(value, float) and value - value != 0 else value
