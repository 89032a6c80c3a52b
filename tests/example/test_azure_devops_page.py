"""The calls of docs/azure-devops.md in their order, as a reader would paste them; those to Azure by its own CLI against the emulator."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import _provision
from aml import access
from emulator.core import ADMIN_CLIENT_ID, TENANT

if TYPE_CHECKING:
    from tests.conftest import Emulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
PAGE = EXAMPLE / "docs" / "azure-devops.md"
AZ = Path(os.environ.get("AZ_CLI", ROOT / ".venv-az" / "bin" / "az"))
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CALLERS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((EXAMPLE / ".ado").glob("*.yml"))}
# What the reader does between the second block and the third: the ids that were printed go into the specs.
WRITE_IDS = """
exec >&3
for stage in dev prod; do
  id=$(sed -n "$([ $stage = dev ] && echo 1 || echo 2)p" ids)
  sed "s/^client_id: [^ ]*/client_id: $id/" .cloud/workspaces/$stage.yml > changed && mv changed .cloud/workspaces/$stage.yml
done
"""


@dataclass
class Followed:
    """What became of following the page."""

    project: Path
    env: dict[str, str]
    calls: list[dict[str, Any]]

    def az(self, *words: str) -> Any:
        """Ask the emulated Azure."""
        return json.loads(run([str(AZ), *words, "--output", "json"], self.project, self.env))

    def spec(self, workspace: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.project / ".cloud" / "workspaces" / f"{workspace}.yml").read_text(encoding="utf-8"))
        return found

    def sent(self, path: str) -> list[Any]:
        """The bodies that were sent to an address of Azure DevOps' REST."""
        return [json.loads(call["body"]) for call in self.calls if call["words"][0] == "rest" and path in " ".join(call["words"])]

    def commands(self, *words: str) -> list[dict[str, str]]:
        """The options of each command that begins with these words."""
        found = [call["words"][len(words) :] for call in self.calls if tuple(call["words"][: len(words)]) == words]
        return [dict(zip(options[::2], options[1::2], strict=True)) for options in found]


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def followed(another_emulator: Callable[[], Emulator], tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """A copy of the example whose team has followed the page to its end, in a tenant that has nothing of it but the workspaces."""
    assert AZ.exists(), f"the Azure CLI is not at {AZ}: run 'make install-tests', or say where it is with AZ_CLI"
    emulator, place = another_emulator(), tmp_path_factory.mktemp("page")
    project = place / "flight-delay"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("data", "notebooks", "__pycache__", ".venv"))
    for path in (EXAMPLE / ".cloud" / "workspaces").glob("*.yml"):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        emulator.admin.workspace(spec["workspace_name"], spec["resource_group"])
        emulator.admin.registry(spec["registry_name"], _provision.REGISTRY_GROUP)

    programs = place / "bin"
    programs.mkdir()
    (programs / "az").write_text(f"#!{sys.executable}\n{Path(__file__).with_name('stand_in_az.py').read_text()}", encoding="utf-8")
    (programs / "git").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")  # there is nothing to push to
    for program in programs.iterdir():
        program.chmod(0o755)
    env = {
        **emulator.env,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(place), "AZURE_CONFIG_DIR": str(place / "azure"),
        "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_ONLY_SHOW_ERRORS": "yes", "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "PYTHONWARNINGS": "ignore", "REAL_AZ": str(AZ), "WRITTEN_DOWN": str(place / "calls.jsonl"),
    }  # fmt: skip
    secret = emulator.env["AZURE_CLIENT_SECRET"]
    run([str(AZ), "login", "--service-principal", "-u", ADMIN_CLIENT_ID, "-p", secret, "--tenant", TENANT], project, env)
    names, apps, *rest = BLOCKS
    script = "\n".join(["set -euo pipefail", names, "exec 3>&1 > ids", apps, WRITE_IDS, *rest])
    run(["bash", "-c", script], project, env)
    calls = [json.loads(line) for line in (place / "calls.jsonl").read_text(encoding="utf-8").splitlines()]
    return Followed(project, env, calls)


@pytest.mark.parametrize(("stage", "connection"), [("dev", "azureml-dev"), ("prod", "azureml-production")])
def test_each_principal_gets_its_roles_and_trusts_its_connection(followed: Followed, stage: str, connection: str) -> None:
    spec = followed.spec(stage)
    held = followed.az("role", "assignment", "list", "--all", "--assignee", spec["client_id"])
    kinds = {"subscription": "/subscriptions/", "workspace": "/workspaces/", "storage": "/storageAccounts/", "registry": "/registries/"}
    kinds["vault"] = "/vaults/"
    assert {one["roleDefinitionName"] for one in held} == {role for role, _, _ in access.held(stage)}
    for role, where, _ in access.held(stage):
        (scope,) = [one["scope"] for one in held if one["roleDefinitionName"] == role]
        assert kinds[where].lower() in scope.lower()
        assert where not in ("workspace", "storage", "vault") or spec["resource_group"] in scope, "none in the other's"
    url = f"https://dev.azure.com/contoso/mlops/_apis/serviceendpoint/endpoints?endpointNames={connection}&api-version=7.1"
    (made,) = followed.az("rest", "--resource", "499b84ac-1321-427f-aa17-267ca6975798", "--url", url)["value"]
    parameters = made["authorization"]["parameters"]
    assert (parameters["serviceprincipalid"], parameters["tenantid"]) == (spec["client_id"], spec["tenant_id"])
    (trusted,) = followed.az("ad", "app", "federated-credential", "list", "--id", spec["client_id"])
    assert trusted["issuer"] == parameters["workloadIdentityFederationIssuer"]
    assert trusted["subject"] == parameters["workloadIdentityFederationSubject"]
    assert trusted["audiences"] == ["api://AzureADTokenExchange"]


def test_production_is_for_the_catalogs_own_templates_at_the_tag_of_the_callers(followed: Followed) -> None:
    (required,) = [one for one in followed.sent("checks/configurations") if one["type"]["name"] == "ExtendsCheck"]
    wanted = []
    for name in ("release", "rollback", "audit", "break-glass", "hold", "release-hold", "export"):
        (catalog,) = CALLERS[name]["resources"]["repositories"]
        template, _, alias = CALLERS[name]["extends"]["template"].partition("@")
        assert alias == catalog["repository"]
        assert (ROOT / template).is_file()
        wanted.append(
            {
                "repositoryType": catalog["type"],
                "repositoryName": catalog["name"],
                "repositoryRef": catalog["ref"],
                "templatePath": template,
            }
        )
    assert required["settings"] == {"extendsChecks": wanted}
    (gate,) = yaml.safe_load((EXAMPLE / ".cloud" / "gates.yml").read_text(encoding="utf-8"))["gates"]
    assert gate["required_templates"] == {"repository": catalog["name"], "templates": [one["templatePath"] for one in wanted]}
    assert required["resource"]["type"] == "endpoint"
    (branches,) = [one for one in followed.sent("checks/configurations") if one["settings"].get("displayName") == "Branch control"]
    assert branches["resource"] == required["resource"]
    assert branches["settings"]["inputs"]["allowedBranches"].split(",") == ["refs/heads/main", catalog["ref"]]


def test_no_one_approves_a_run_of_their_own_and_writers_queue(followed: Followed) -> None:
    made = [one["name"] for one in followed.sent("distributedtask/environments")]
    defaults = {
        one["default"]
        for path in (ROOT / ".ado" / "stages").glob("*.yml")
        for one in yaml.safe_load(path.read_text(encoding="utf-8"))["parameters"]
        if one["name"].endswith("environment")
    }
    assert set(made) == defaults
    checks = followed.sent("checks/configurations")
    approval, connected = [one for one in checks if one["type"]["name"] == "Approval"]
    assert (approval["resource"]["type"], approval["resource"]["name"]) == ("environment", "production")
    (required,) = [one for one in checks if one["type"]["name"] == "ExtendsCheck"]
    assert connected["resource"] == required["resource"]
    assert connected["settings"] == approval["settings"], "whichever environment a caller names, the same people are asked"
    assert approval["settings"]["requesterCannotBeApprover"] is True
    assert {one["resource"]["name"] for one in checks if one["type"]["name"] == "ExclusiveLock"} == set(made)
    ids = {one["resource"]["name"]: one["resource"]["id"] for one in checks if one["resource"]["type"] == "environment"}
    assert len(set(ids.values())) == len(made)


def test_each_file_becomes_a_pipeline_that_may_use_what_it_needs_and_no_more(followed: Followed) -> None:
    created = followed.commands("pipelines", "create")
    assert {one["--yml-path"] for one in created} == {f".ado/{name}.yml" for name in CALLERS}
    shown = {
        call["words"][call["words"].index("--name") + 1]: call["number"]
        for call in followed.calls
        if call["words"][:2] == ["pipelines", "show"]
    }
    assert set(shown) == {one["--name"] for one in created}
    (permissions,) = followed.sent("pipelinepermissions")
    uses: dict[int, list[str]] = {}
    for one in permissions:
        for pipeline in one["pipelines"]:
            uses.setdefault(pipeline["id"], []).append(one["resource"]["type"])
    assert sorted(uses[shown["flight-delay pull-request"]]) == ["queue", "repository"]
    assert sorted(uses[shown["flight-delay rollback"]]) == ["endpoint", "environment", "queue", "repository"]
    for name in ("release", "break-glass", "hold", "release-hold", "export"):
        assert sorted(uses[shown[f"flight-delay {name}"]]) == ["endpoint"] * 2 + ["environment"] * 2 + ["queue", "repository"]


def test_a_token_reaches_what_the_pipeline_names_and_a_start_sets_no_variable(followed: Followed) -> None:
    (settings,) = followed.sent("build/generalsettings")
    assert settings == dict.fromkeys(["enforceJobAuthScope", "enforceReferencedRepoScopedToken", "enforceSettableVar"], True)


def test_a_pull_request_is_validated_before_it_is_merged(followed: Followed) -> None:
    (policy,) = followed.commands("repos", "policy", "build", "create")
    (validate,) = [
        call["number"]
        for call in followed.calls
        if call["words"][:2] == ["pipelines", "show"] and "flight-delay pull-request" in call["words"]
    ]
    assert int(policy["--build-definition-id"]) == validate
    assert (policy["--blocking"], policy["--branch"]) == ("true", "main")
    assert CALLERS["pull-request"]["trigger"] == "none"


def test_each_path_is_reviewed_by_whom_codeowners_names(followed: Followed) -> None:
    owned: dict[str, set[str]] = {}
    for line in (EXAMPLE / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            path, owner = line.split()
            owned.setdefault(owner.removeprefix("@contoso/"), set()).add(f"{path}*" if path.endswith("/") else path)
    owned["ml-platform"].remove("/.github/*")  # nothing reads it in Azure Repos
    groups = {}
    for call in followed.calls:
        if call["words"][:4] == ["devops", "security", "group", "list"]:
            name, _, rest = " ".join(call["words"]).partition("displayName=='")[2].partition("'].")
            groups[str(uuid.UUID(int=call["number"]))] = name if rest.startswith("originId") else ""
    policies = followed.commands("repos", "policy", "required-reviewer", "create")
    assert {groups[one["--required-reviewer-ids"]]: set(one["--path-filter"].split(";")) for one in policies} == owned
    assert {(one["--blocking"], one["--enabled"], one["--branch"]) for one in policies} == {("true", "true", "main")}
    made = {one["--name"] for one in followed.commands("devops", "security", "group", "create")}
    assert made == owned.keys()


def test_every_call_that_is_written_down_is_whole(followed: Followed) -> None:
    for call in followed.calls:
        assert "" not in call["words"], call
        assert not call["body"] or json.loads(call["body"])
        assert "null" not in call["body"]
