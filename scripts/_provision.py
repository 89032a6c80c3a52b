"""Give a project its emulated dev and prod: what a platform team does once on Azure, from the project's own workspace specs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from _gate import APPROVER, OWNER, PEOPLE, REPOSITORY, address
from aml import access, gates
from aml.access import ENVIRONMENTS
from aml.reach import GRAPH
from aml.workspace import Workspace
from emulator import cli
from emulator.client import Administrator
from emulator.core import TENANT

AZURE_DEVOPS = {"organization": "contoso", "project": "mlops"}
REGISTRY_GROUP = "rg-ml-shared"

KEY = "evidence"


def provision(home: Path, project: Path, location: str = "westeurope") -> None:
    """Workspaces, compute, the registry, and for each workspace one identity with its service connection; whatever exists stays as it is.

    Whom an identity trusts and what it may do is what the project's identity plan says, applied by the verb. Both systems get the
    environments that the project's gates name, protected as written.
    """
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((project / ".cloud" / "workspaces").glob("*.yml"))]
    clusters = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((project / ".cloud" / "compute").glob("*.yml"))]
    admin = Administrator(home)
    with ThreadPoolExecutor() as pool:
        registries = [
            pool.submit(Administrator(home).registry, name, REGISTRY_GROUP, location) for name in {s["registry_name"] for s in specs}
        ]
        made = list(pool.map(lambda spec: _workspace(Administrator(home), spec, clusters, location), specs))
        for one in registries:
            one.result()
    for spec, workspace in zip(specs, made, strict=True):
        signing_key(home, workspace["properties"]["keyVault"])
        application(home, admin, spec)
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(identities, home, project)]
        if (project / gates.FILE).exists():
            done.append(pool.submit(environments, home, project, admin))
        for each in done:
            each.result()


def application(home: Path, admin: Administrator, spec: dict[str, Any]) -> None:
    """A workspace's application, with the client id that its spec has and no right to anything yet, and its service connection."""
    body = {
        "name": f"{spec['workspace_name']}-ci",
        "client_id": spec["client_id"],
        "graph": [*GRAPH] if spec["stage"] == "prod" else [],  # what an audit asks of the directory
    }
    cli.request(home, "POST", "/identities", body)
    names = {"name": f"azureml-{ENVIRONMENTS[spec['stage']]}", "client_id": spec["client_id"], "tenant_id": spec["tenant_id"]}
    admin.azure_devops("connections", **AZURE_DEVOPS, **names)


def identities(home: Path, project: Path) -> None:
    """Whom the identities trust and what they may do: exactly what is planned."""
    verb = "plan_identity.py"
    try:
        _run(home, verb, project, "--apply")
    except cli.Problem:  # an emulator of an older version may have more than that
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(project / ".cloud", Path(scratch) / ".cloud")
            for words in ([], ["--apply"]):
                _run(home, verb, Path(scratch), *words)


def environments(home: Path, project: Path, admin: Administrator) -> None:
    """The project's place on GitHub and on Azure DevOps with those who approve, and its environments, protected as its gates say."""
    team = yaml.safe_load((project / gates.FILE).read_text(encoding="utf-8"))["gates"][0]["reviewers"]["teams"][0]
    people(admin, team)
    # An internal repository is one of GitHub Enterprise, where environments are enforced.
    repository = {"full_name": REPOSITORY, "visibility": "internal", "teams": {team: "pull"}}
    cli.request(home, "POST", "/github", {"repositories": [repository]})
    github = cli.request(home, "POST", "/github/tokens", {"login": OWNER})["token"]
    azure_devops = admin.azure_devops("tokens", user=address(OWNER))["token"]
    with ThreadPoolExecutor() as pool:
        done = [
            pool.submit(_run, home, "apply_gates.py", project, AML_REPOSITORY=REPOSITORY, GH_TOKEN=github),
            pool.submit(
                _run, home, "apply_gates.py", project, AZURE_DEVOPS_EXT_PAT=azure_devops,
                AML_AZURE_DEVOPS="https://dev.azure.com/{organization}/{project}".format(**AZURE_DEVOPS),
            ),
        ]  # fmt: skip
    for one in done:
        one.result()


def people(admin: Administrator, team: str = "release-managers", approvers: Sequence[str] = (APPROVER,)) -> None:
    """Who there is on both systems, each with an address, and who of them is in the team that approves."""
    organization = {
        "login": REPOSITORY.partition("/")[0],
        "owners": [OWNER],
        "members": [login for login in PEOPLE if login != OWNER],
        "teams": [{"slug": team, "members": [*approvers]}],
    }
    users = [{"login": login, "name": name, "email": address(login)} for login, name in PEOPLE.items()]
    cli.request(admin.home, "POST", "/github", {"users": users, "organizations": [organization]})
    groups = {team: [*approvers], "Project Administrators": [OWNER]}
    admin.azure_devops(
        "identities", **AZURE_DEVOPS, names=[*map(address, PEOPLE)],
        groups={f"[{AZURE_DEVOPS['project']}]\\{name}": [*map(address, members)] for name, members in groups.items()},
    )  # fmt: skip


def _run(home: Path, verb: str, project: Path, *words: str, **place: str) -> None:
    """As a platform team does it: a verb, on a machine of their own, with a sign-in or a token of theirs."""
    command = [sys.executable, str(Path(__file__).with_name(verb)), f"--project={project}", *words]
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "SYSTEM_", "AML_"))}
    done = subprocess.run(command, env={**mine, **cli.environment(home), **place}, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise cli.Problem(f"{verb}: {done.stdout}{done.stderr}")


def own_roles(admin: Administrator, subscription: str) -> None:
    """The roles of our own, for a workspace whose principal gets them without a plan."""
    every = Workspace("every", Path(), "prod", TENANT, subscription, "", "", "", signing={"key": "one"})
    for role in access.custom_roles([every]):
        path = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{access.role_id(role)}"
        admin.arm("PUT", path, {"properties": access.role_body(role, role["scopes"])})


def signing_key(home: Path, vault: str) -> dict[str, str]:
    """The key that signs in a workspace, in its vault: `key`, its address, and `public`, as PEM.

    Anybody can make it again, from the vault's name, so that the specs in the repository can pin it. A real one is made in its vault and
    never leaves it.
    """
    name = vault.rpartition("/")[2]
    seed = hashlib.sha256(f"no secret: the example's key in {name}".encode()).hexdigest()
    private = ec.derive_private_key(int(seed, 16), ec.SECP256R1())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    made = cli.request(home, "POST", "/keyvault/keys", {"vault": name, "name": KEY, "version": seed[:32], "private": pem})
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"key": str(made["kid"]), "public": public.decode()}


def _workspace(admin: Administrator, spec: dict[str, Any], clusters: list[dict[str, Any]], location: str) -> dict[str, Any]:
    made = admin.workspace(spec["workspace_name"], spec["resource_group"], location)
    if spec["stage"] != "prod":  # nothing is trained in production
        for cluster in clusters:
            admin.compute(made["id"], cluster["name"], cluster["size"], cluster["max_instances"], cluster.get("min_instances", 0), location)
    return made
