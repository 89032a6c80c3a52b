"""A dossier of a release that replaces another one, to change and to render; and hostile text for every field of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aml import digest, dossier, evidence, plain
from aml.commits import Commit, Person, Range
from aml.dossier import Champion, Known
from aml.proof import REFUSED, SIGNED, UNSIGNED, Piece
from aml.workspace import Workspace

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=timezone.utc)
OLD_COMMIT, NEW_COMMIT = "1" * 40, "2" * 40
CONDA = "dependencies:\n  - python=3.11\n  - pip:\n    - scikit-learn=={}\n    - azureml-inference-server-http\n"
DEPLOYMENT = "name: live\nenvironment: azureml:score\ninstance_type: Standard_DS3_v2\ninstance_count: {}\n"
RELEASE: dict[str, Any] = {
    "train": {}, "model": {"name": "flight-delay"},
    "gate": {
        "thresholds": [
            {"metric": "roc_auc", "min": 0.67}, {"metric": "log_loss", "max": 0.545}, {"metric": "calibration_error", "max": 0.05},
        ],
        "champion": {"metric": "log_loss", "goal": "minimize", "tolerance_percent": 1},
    },
    "deploy": {
        "endpoint": ".cloud/online/endpoint.yml", "deployment": ".cloud/online/deployment.yml", "smoke": "tests/smoke/cases.yml",
        "rollout": {"steps": [10, 50, 100], "pause_seconds": 300},
    },
}  # fmt: skip
GATE: dict[str, Any] = {
    "environment": "production",
    "reviewers": {"count": 1, "teams": ["release-managers"], "users": ["rea-lee", "kim-doe"], "self_review": False},
    "admin_bypass": False, "branches": ["main"], "tags": [], "wait_minutes": 0, "ticket": {"pattern": r"CHG\d{5}"},
    "freeze": [
        {"name": "Year end", "zone": "Europe/Zurich", "begins": "2025-12-19T18:00", "until": "2026-01-05T08:00", "repeat": "yearly"},
    ],
    "evidence": [{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 24}],
}  # fmt: skip
CASES = [
    {"name": "a fine morning, Delta 183 to Seattle", "expect": {"within_seconds": 0.5}},
    {"name": "a snowy evening, ExpressJet 4640 to Dayton", "expect": {"within_seconds": 0.5}},
    {"name": "three flights in one request", "expect": {"within_seconds": 0.5}},
    {"name": "a missing column is refused by its name", "expect": {}},
]


def bundle(version: str, commit: str, log_loss: float, roc_auc: float, **changes: Any) -> dict[str, Any]:
    """A bundle's document."""
    text = changes.pop("text", DEPLOYMENT.format(1))
    made: dict[str, Any] = {
        "form": 1,
        "model": {"name": "flight-delay", "version": version, "type": "mlflow_model", "digest": digest.of_bytes(version.encode())},
        "environment": {
            "name": "score", "version": version, "image": "mcr.microsoft.com/azureml/openmpi:20260715.v1",
            "digest": digest.of_bytes(b"e" + version.encode()),
        },
        "code": {"path": "code/score", "digest": digest.of_bytes(b"code")},
        "files": {
            ".cloud/release.yml": digest.of_bytes(b"r"), ".cloud/online/endpoint.yml": digest.of_bytes(b"e"),
            ".cloud/online/deployment.yml": digest.of_bytes(text.encode()), "tests/smoke/cases.yml": digest.of_bytes(b"s"),
            ".cloud/gates.yml": digest.of_bytes(b"g"),
        },
        "data": [{"name": "flights", "version": "1"}],
        "job": {
            "name": f"flight-delay-{version}", "content_key": digest.of_bytes(b"job" + version.encode()), "commit": commit,
            "metrics": {"log_loss": log_loss, "roc_auc": roc_auc, "calibration_error": 0.021, "seconds": 12.5},
        },
        "source": {"repository": "https://github.com/contoso/flight-delay", "commit": commit},
        "catalog": {"version": "0.1.0"},
    }  # fmt: skip
    return {**made, **changes}


NEW_TEXT, OLD_TEXT = DEPLOYMENT.format(2), DEPLOYMENT.format(1)
NEW, OLD = bundle("7", NEW_COMMIT, 0.4987, 0.7013, text=NEW_TEXT), bundle("6", OLD_COMMIT, 0.5121, 0.6921)
NEW_ID, OLD_ID = digest.of_document(NEW), digest.of_document(OLD)


def workspace(name: str, **changes: Any) -> Workspace:
    """A workspace spec."""
    fields: dict[str, Any] = {
        "name": name, "project": Path("p"), "stage": name, "tenant_id": "7a1f0000-0000-4000-8000-00000000aad0",
        "subscription_id": "5ab50000-0000-4000-8000-000000000001", "resource_group": f"rg-flight-delay-{name}",
        "workspace_name": f"mlw-flight-delay-{name}", "client_id": "d0000000-0000-4000-8000-00000000de01", "registry_name": "mlr-contoso",
        "location": "westeurope", "signing": {"trusted": ["a key"]},
    }  # fmt: skip
    return Workspace(**{**fields, **changes})


def piece(
    verb: str, about: str = "bundle", verdict: str = "passed", signature: str = SIGNED, at: str = "dev", hour: int = 13, **more: Any
) -> Piece:
    """A statement about the new bundle, or about its job."""
    subject = evidence.about_job("j", NEW["job"]["content_key"]) if about == "job" else evidence.about_bundle("flight-delay", NEW_ID)
    made = evidence.statement(subject, verb, verdict, workspace=at, started="2026-11-23T12:00:00Z", **more)
    made["predicate"] |= {
        "finished": f"2026-11-23T{hour}:05:00Z",
        "links": {"run": "https://github.com/contoso/flight-delay/actions/runs/42"},
    }
    return Piece(made, signature)


def pieces() -> list[Piece]:
    """What a release leaves."""
    smoke = [
        {"name": case["name"], "seconds": 0.041 * (at + 1), "passed": True, "deployment": "d-1", "problems": ()}
        for at, case in enumerate(CASES)
    ]
    champion = {"champion": {"model": "flight-delay", "version": "6", "bundle_id": OLD_ID, "figures": {}}}
    said = {"says": "log_loss at most 0.545: it is 0.4987", "rule": "log_loss at most 0.545", "passed": True}
    protections = [
        {"name": "approvals", "passed": True, "says": "expected at least 1, found 1", "fix": ""},
        {"name": "admin bypass", "passed": True, "says": "expected off, found off", "fix": ""},
    ]
    return [
        piece("wait_job", "job", facts={"status": "Completed"}),
        piece("check_gate", "job", figures={"log_loss": 0.4987, "roc_auc": 0.7013}, findings=[said], facts=champion),
        piece("register_model", "job"),
        piece("seal_bundle"),
        piece("verify_bundle", figures={"seconds": 1.25}),
        piece("deploy_online", figures={"seconds": 312.0}),
        piece("smoke_test", figures={"seconds": 0.8, "slowest_seconds": 0.164}, findings=smoke),
        piece("shift_traffic", findings=[{"percent": step, "passed": True, "cases": 8, "slowest_seconds": 0.2} for step in (10, 50, 100)]),
        piece("check_gates", at="prod", findings=protections),
    ]


def known(**changes: Any) -> Known:
    """Everything that can be known of the release."""
    rea, sam = Person("Sam Roe", "sam.roe@contoso.example"), Person("Mia Park", "1234+mia-park@users.noreply.github.com")
    commits = (
        Commit(NEW_COMMIT, "2026-11-23T10:12:00+01:00", "CHG00417: Weigh late evenings as the calibration asks", (rea, sam)),
        Commit("3" * 40, "2026-11-20T16:40:00+01:00", "Two instances for the winter schedule", (sam,)),
        Commit("4" * 40, "2026-11-18T09:03:00+01:00", "Update scikit-learn", (rea,)),
    )
    made = Known(
        now=NOW, bundle_id=NEW_ID, bundle=NEW, champion=Champion("live", OLD_ID, OLD), release=RELEASE, source=workspace("dev"),
        target=workspace("prod"), environment="production", endpoint="flight-delay", gate=GATE, cases=CASES,
        machine=("Standard_DS3_v2", 2), machine_before=("Standard_DS3_v2", 1),
        files={".cloud/online/deployment.yml": NEW_TEXT.encode()}, files_before={".cloud/online/deployment.yml": OLD_TEXT.encode()},
        environments=({"condaFile": CONDA.format("1.7.2")}, {"condaFile": CONDA.format("1.6.1")}), commits=Range(commits, 3, 0),
        job={"systemData": {"createdBy": "mlw-flight-delay-dev-ci", "createdByType": "Application", "createdAt": "2026-11-23T11:02:00Z"},
             "properties": {"properties": {"started_by": "mia-park", "azureml.git.dirty": "False"}}},
        initiator="mia-park", pieces=pieces(), unreadable=(),
        history=[{"id": digest.of_bytes(str(at).encode()), "document": bundle(str(at), OLD_COMMIT, loss, auc)}
                 for at, loss, auc in ((2, 0.5412, 0.673), (3, 0.5334, 0.679), (4, 0.5342, 0.681), (5, 0.5201, 0.688))],
        back=[{"what": "bundle", "state": "there", "says": "in registry mlr-contoso, with its digest"},
              {"what": "model", "state": "there", "says": "flight-delay:6 in registry mlr-contoso, its files were not read again"},
              {"what": "environment", "state": "there", "says": "score:6 in registry mlr-contoso, with its digest"}],
        quota={"says": "20 of 100 cores of standardDSv2Family in westeurope, 12 of them new", "fits": True, "used": 8,
               "needs": 12, "limit": 100},
        prices={"currency": "EUR", "as_of": "2026-11-01", "source": "price sheet of the enterprise agreement",
                "hourly": {"Standard_DS3_v2": 0.229}},
        ticket="", message="CHG00417: Weigh late evenings as the calibration asks", hold="",
        accounts={"sam.roe@contoso.example": "sam-roe"}, approvals=[],
    )  # fmt: skip
    return replace(made, **changes)


def first(**changes: Any) -> Known:
    """A first release of which little is known."""
    slow = [{"name": "slow", "seconds": 9.5, "passed": False, "problems": ("late: 9.5 s",)}]
    nothing: dict[str, Any] = {
        "champion": Champion("nothing"), "gate": None, "machine_before": None, "environments": ({}, None), "commits": None, "history": (),
        "initiator": "", "job": {"properties": {}}, "back": (), "quota": None, "prices": None, "hold": None,
        "pieces": [piece("smoke_test", verdict="failed", signature=UNSIGNED, findings=slow)],
        "unreadable": ["forged.json is no statement: it has a key twice"],
        "unknown": {
            "commits": "commit is not in this checkout", "gate": "there is no .cloud/gates.yml",
            "quota": "production's region is not supplied", "prices": "the project keeps no .cloud/prices.yml",
            "hold": "the ledger cannot be trusted",
        },
    }  # fmt: skip
    return known(**{**nothing, **changes})


def compiled(found: Known | None = None) -> tuple[dict[str, Any], str]:
    """A dossier and its id."""
    made = dossier.compile(found or known())
    return made, dossier.identify(made)


RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "contoso/flight-delay",
    "GITHUB_RUN_ID": "42",
}


def broken(found: Known, said: str = "prices are wrong in production") -> Known:
    """The same with the glass broken, which counts in one run alone: where RUN is the environment."""
    facts = {
        "reason": said, "who": said, "review": "https://github.com/contoso/flight-delay/issues/3", "review_until": "2026-11-24T11:00:00Z",
        "environment": found.environment,
    }  # fmt: skip
    gate = {**(found.gate or GATE), "break_glass": {"review_within_hours": 24, "reviewers_count": 1}}
    return replace(found, gate=gate, pieces=[*found.pieces, piece("break_glass", facts=facts)])


# Text of somebody hostile, and what a page is made of whatever they write.

ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "span", "strong", "b", "p", "h1", "h2", "h3",
    "ul",
    "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "bdi", "code", "pre", "a", "figure", "figcaption", "svg",
    "text", "line", "circle", "rect", "polyline",
}  # fmt: skip
PIECES = [
    *"ab |`*_[]()<>!#&;~$\\-+=:'\"\n\r\t\x00\x08\x1b\x85\u2028\u202e\u2066\u200b\u200f\ufeff\ufffe\ud800\u0301", "##vso[",
    "::error::x", "\n\n",
    "</bdi>", "</style>", "</title>", "</svg>", "<!--", "-->", "]]>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;",
    "&#60;",
    '" onmouseover="x', "' autofocus onfocus='x", "[x](javascript:alert(1))", "![x](https://evil.example/x.png)", "https://evil.example",
    "</table>", "---", "| a |", "1. ", "```", "not supplied", "passed", "@team", "\U000e0041", "מה", "\u115f",
]  # fmt: skip


def hostile(text: str) -> Known:
    """Everything that somebody else writes, written by somebody hostile."""
    people = (Person(text, text), Person(text, f"{text}@users.noreply.github.com"))
    span = Range((Commit("a" * 40, text, text, people),), 1, 0)
    new, old = copy.deepcopy(NEW), copy.deepcopy(OLD)
    for document in (new, old):
        document["job"]["name"] = text or "x"
        document["job"]["metrics"][text] = 0.5 if document is new else 0.4
        document["source"]["repository"] = text
        document["catalog"]["version"] = text or "x"
        document["environment"]["image"] = text or "x"
        document["code"]["path"] = text or "x"
    findings = [
        {"name": text, "seconds": 1.5, "passed": False, "problems": (text, text), text: text},
        {"name": "slow", "seconds": 10**400, "passed": True},
    ]
    facts = {
        "champion": {"bundle_id": text}, "confusion": {"labels": [text, "b"], "counts": [[1, 2], [3, 4]]},
        "residuals": {"edges": [-1, 0.5, 2], "counts": [3, 2**53]},
    }  # fmt: skip
    pieces = [
        piece("smoke_test", findings=findings, figures={text: 1.5, "huge": 10**20}, verdict="failed"),
        piece("check_gate", "job", facts=facts),
        piece("check_gates", at="prod", findings=[{"name": text, "passed": False, "says": text}]),
        piece("a_verb", at=text or "x", signature=REFUSED),
    ]
    pieces[0].statement["predicate"]["links"]["run"] = f"https://{text}"
    gate = {
        **GATE,
        "reviewers": {"count": 1, "users": [text or "x"], "teams": [text or "x"], "self_review": True},
        "admin_bypass": True,
    }
    gate["freeze"] = [
        {**gate["freeze"][0], "name": text or "x", "repeat": "daily", "begins": "2025-12-19T00:00", "until": "2025-12-20T00:00"}
    ]
    job = {"systemData": {"createdBy": text or "x", "createdByType": text, "createdAt": text},
           "properties": {"properties": {"started_by": text, "azureml.git.dirty": "True"}}}  # fmt: skip
    release = copy.deepcopy(RELEASE)
    release["gate"]["thresholds"].append({"metric": text, "max": 1.0})
    files = {path: f"{text}\nsame\n".encode("utf-8", "replace") for path in new["files"]}
    new["files"] = {path: digest.of_bytes(content) for path, content in files.items()}
    before = dict.fromkeys(files, b"same\nold\n")
    old["files"] = {path: digest.of_bytes(content) for path, content in before.items()}
    conda = {"dependencies": [text, {"pip": [f"{text}==1", text]}, {text: text}]}
    return known(
        bundle=new, champion=Champion("live", OLD_ID, old), release=release, commits=span, pieces=pieces, gate=gate, job=job,
        initiator=text,
        environment=text, endpoint=text, ticket=text, message=text, hold=text, files=files, files_before=before,
        unreadable=[text], environments=({"condaFile": conda}, {"condaFile": "dependencies: [a]"}), machine=(text or "x", 1),
        quota={"says": plain.text(text), "fits": False, "used": 0, "needs": 4, "limit": 0},
        prices={"currency": "EUR", "as_of": "2026-11-01", "source": text, "hourly": {text or "x": 0.5}},
        back=[{"what": "model", "state": "missing", "says": text}], unknown={"gate": text, "prices": text},
        cases=[{"name": text, "expect": {"within_seconds": 0.5}}],
    )  # fmt: skip
