"""Bring the generated tables of the READMEs up to date; with --check, only say which are not."""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
WORKFLOWS = ROOT / ".github" / "workflows"
TEMPLATES = ROOT / ".ado" / "stages"
JOURNEYS = ["validate", "train", "deploy", "promote", "release", "rollback", "break_glass", "hold", "release_hold", "audit", "export"]
# Verbs that no journey runs, and who runs them when.
TOOLS = {
    "check_identity": "by hand, or as a step after a sign-in that failed",
    "plan_gates": "by a platform team, or by anybody whose token reads the environments",
    "apply_gates": "by a platform team, whose token may change the environments",
    "plan_identity": "by a platform team, which may do what no principal of a pipeline may",
}
COMMON = ("--help", "--project", "--workspace", "--evidence")  # explained once, above the verbs


@dataclass(frozen=True)
class Verb:
    """A script, as its own parser and source describe it."""

    name: str
    description: str
    flags: list[argparse.Action]
    outputs: list[str]


def main(argv: list[str] | None = None) -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(argv).check
    stale = [path for path, text in generated().items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not up to date. Fix: make docs")
        else:
            path.write_text(generated()[path], encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: updated")
    return 1 if check and stale else 0


def generated() -> dict[Path, str]:
    """Every file that has generated parts, as it should be."""
    parts = {
        "README.md": {"journeys": journeys(), "verbs": verb_list()},
        ".github/workflows/README.md": {"inputs": inputs()},
        ".ado/README.md": {"parameters": parameters()},
        "examples/flight-delay/docs/azure-devops.md": {"roles": roles()},
        "scripts/README.md": {"verbs": verb_tables()},
        "scripts/emulator/README.md": {"coverage": coverage()},
        "tests/ado/README.md": {"rules": rules()},
    }
    made: dict[Path, str] = {}
    for name, tables in parts.items():
        made[ROOT / name] = (ROOT / name).read_text(encoding="utf-8")
        for marker, table in tables.items():
            made[ROOT / name] = replace(made[ROOT / name], marker, table, name)
    return made


def replace(text: str, marker: str, table: str, name: str) -> str:
    """The text with what stands between two markers replaced. Ends with a message when the markers are not there."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{name}: there is no {begin} ... {end}. Fix: put the two markers where the table belongs")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{table.strip()}\n{end}{rest.partition(end)[2]}"


def load(journey: str) -> dict[str, Any]:
    """A journey's workflow; its triggers are under the key "on"."""
    document: dict[Any, Any] = yaml.safe_load((WORKFLOWS / f"{journey}.yml").read_text(encoding="utf-8"))
    document["on"] = document.pop(True)  # YAML 1.1 reads `on` as true
    return document


def template(journey: str) -> dict[str, Any]:
    """A journey's stage template as it is written, with its `${{ }}`."""
    document: dict[str, Any] = yaml.safe_load((TEMPLATES / f"{journey}.yml").read_text(encoding="utf-8"))
    return document


def summary(file: Path) -> str:
    """The sentences that a workflow or a template begins with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return " ".join(line.lstrip("# ") for line in lines)


def steps(document: dict[str, Any]) -> list[str]:
    """The verbs that a journey runs itself, in order, each once."""
    commands = [step.get("run", "") for job in document["jobs"].values() for step in job.get("steps", [])]
    return list(dict.fromkeys(re.findall(r"\$SCRIPTS/(\w+)\.py", "\n".join(commands))))


def journeys() -> str:
    """One row for each journey: what happens, by which verbs or other journeys, and the file of each system."""
    rows = []
    for journey in JOURNEYS:
        document = load(journey)
        called = [str(job["uses"]).rpartition("/")[2].removesuffix(".yml") for job in document["jobs"].values() if "uses" in job]
        made_of = " → ".join(f"`{name}`" for name in steps(document) or called)
        files = [f"[`{name}`]({folder}/{name})" for folder in (".github/workflows", ".ado/stages") for name in (f"{journey}.yml",)]
        rows.append([f"`{journey}`", summary(WORKFLOWS / f"{journey}.yml"), made_of, *files])
    return table(["journey", "what happens", "made of", "GitHub", "Azure DevOps"], rows)


def inputs() -> str:
    """For each journey: inputs, outputs, and what a caller has to grant."""
    parts = []
    for journey in JOURNEYS:
        document = load(journey)
        call = document["on"]["workflow_call"]
        parts += [f"## {journey}", summary(WORKFLOWS / f"{journey}.yml")]
        rows = [[f"`{name}`", one["type"], default(one), one["description"]] for name, one in call["inputs"].items()]
        parts.append(table(["input", "type", "default", "what it is"], rows))
        if "outputs" in call:
            parts.append(table(["output", "what it is"], [[f"`{name}`", one["description"]] for name, one in call["outputs"].items()]))
        rows = [[f"`{name}`", f"`{grant}`", reason] for name, grant, reason in permissions(journey)]
        parts.append(table(["permission to grant", "", "why"], rows))
    return "\n\n".join(parts)


def default(declared: dict[str, Any]) -> str:
    """An input's default as a caller would write it."""
    return "required" if declared["required"] else f"`{yaml.safe_dump(declared['default']).splitlines()[0]}`"


def parameters() -> str:
    """For each stage template: parameters, stages, and outputs with the expression that reads each from a later stage."""
    made = []
    for journey in JOURNEYS:
        made += [f"## {journey}", summary(TEMPLATES / f"{journey}.yml")]
        rows = [[f"`{one['name']}`", one["type"], preset(one), one["displayName"]] for one in template(journey)["parameters"]]
        made.append(table(["parameter", "type", "default", "what it is"], rows))
        stages = stage_jobs(journey)
        made.append(f"Stages: {', '.join(f'`{stage}`' for stage in stages)}.")
        if outputs := load(journey)["on"]["workflow_call"].get("outputs"):
            rows = [[f"`{name}`", one["description"], f"`{reading(source(journey, name), stages)}`"] for name, one in outputs.items()]
            made.append(table(["output", "what it is", "how a later stage reads it"], rows))
    return "\n\n".join(made)


def preset(declared: dict[str, Any]) -> str:
    """A parameter's default as a caller would write it."""
    if "default" not in declared:
        return "required"
    return f"`{yaml.safe_dump(declared['default'], default_flow_style=True).splitlines()[0]}`"


def source(journey: str, output: str) -> tuple[str, str, str]:
    """The job, step and variable behind an output of a workflow, followed through the workflows that it calls."""
    document = load(journey)
    job, name = parts(document["on"]["workflow_call"]["outputs"][output]["value"], "jobs")
    if called := document["jobs"][job].get("uses"):
        return source(str(called).rpartition("/")[2].removesuffix(".yml"), name)
    return (job, *parts(document["jobs"][job]["outputs"][name], "steps"))


def parts(expression: str, context: str) -> tuple[str, str]:
    """Whose output, and which, in `${{ jobs.<whose>.outputs.<which> }}`."""
    match = re.fullmatch(rf"\$\{{\{{ {context}\.(\w+)\.outputs\.(\w+) \}}\}}", expression)
    if not match:
        raise SystemExit(f"{expression} is no output of {context}. Fix: write it as ${{{{ {context}.<name>.outputs.<name> }}}}")
    return match[1], match[2]


def stage_jobs(journey: str) -> dict[str, str]:
    """The stages of a template in order, those of the templates that it includes among them, each with its one job."""
    found: dict[str, str] = {}
    for stage in template(journey)["stages"]:
        if "template" in stage:
            found |= stage_jobs(Path(stage["template"]).stem)
        else:
            (job,) = stage["jobs"]
            found[stage["stage"]] = job.get("deployment") or job["job"]
    return found


def reading(output: tuple[str, str, str], stages: dict[str, str]) -> str:
    """The expression for a job's `variables:` in a later stage. A step of a deployment job is named with its job before it."""
    stage, step, variable = output
    return f"$[ stageDependencies.{stage}.{stages[stage]}.outputs['{stages[stage]}.{step}.{variable}'] ]"


def permissions(journey: str) -> list[tuple[str, str, str]]:
    """What the jobs of a journey ask for, with the reason beside each; of equal grants the longest reason."""
    found: dict[tuple[str, str], str] = {}
    for line in (WORKFLOWS / f"{journey}.yml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s+([a-z-]+): (read|write) # (.+)", line):
            grant = match[1], match[2]
            found[grant] = max(found.get(grant, ""), match[3], key=len)
    return [(*grant, reason) for grant, reason in found.items()]


def verbs() -> list[Verb]:
    """Every verb, in the order in which the journeys run them."""
    order = [verb for journey in JOURNEYS for verb in steps(load(journey))]
    names = {path.stem for path in SCRIPTS.glob("[!_]*.py")}
    return [verb(name) for name in sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))]


def verb(name: str) -> Verb:
    """Read one script: its parser, and the names in its calls of ci.output."""
    parser: argparse.ArgumentParser = importlib.import_module(name).parser()
    return Verb(name, parser.description or "", [action for action in parser._actions if action.option_strings[0] != "-h"], outputs(name))


def outputs(name: str) -> list[str]:
    """The outputs that a script writes, in the order of its source."""
    found = []
    for node in ast.walk(ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ci.output" and isinstance(node.args[0], ast.Constant):
            found.append(str(node.args[0].value))
    return list(dict.fromkeys(found))


def verb_list() -> str:
    """One row for each verb."""
    return table(["verb", "what it does"], [[f"[`{one.name}`](scripts/{one.name}.py)", one.description] for one in verbs()])


def verb_tables() -> str:
    """For each verb: flags, variables and outputs."""
    parts = []
    for one in verbs():
        parts += [f"## {one.name}", one.description]
        if one.name in TOOLS:
            parts.append(f"Run {TOOLS[one.name]}.")
        own = [flag for flag in one.flags if flag.option_strings[0] not in COMMON]
        if own:
            parts.append(table(["flag", "variable", "default", "what it is"], [flag_row(flag) for flag in own]))
        if one.outputs:
            parts.append(f"Outputs: {', '.join(f'`{name}`' for name in one.outputs)}.")
    return "\n\n".join(parts)


def flag_row(flag: argparse.Action) -> list[str]:
    """A flag's row. The help names the variable too; a column of its own is easier to read."""
    name = flag.option_strings[0]
    said = re.sub(r" \(or AML_\w+\)$", "", flag.help or "")
    choices = f" One of {', '.join(f'`{choice}`' for choice in flag.choices)}." if flag.choices else ""
    fallback = "required" if flag.required else f"`{flag.default}`" if flag.default is not None else ""
    return [f"`{name}`", f"`AML_{name[2:].replace('-', '_').upper()}`", fallback, said + choices]


def roles() -> str:
    """What a workspace's service principal may do."""
    return table(["role", "on", "why"], [list(row) for row in importlib.import_module("aml.access").held("prod")])


def rules() -> str:
    """The linter's rules for Azure Pipelines YAML."""
    sys.path.append(str(ROOT / "tests" / "ado"))
    return str(importlib.import_module("azure_pipelines.cli").table())


def coverage() -> str:
    """What the emulator answers, service by service, read from its routes."""
    parts = []
    for service in importlib.import_module("emulator.app").SERVICES:
        package = importlib.import_module(f"emulator.{service}")
        routes = importlib.import_module(f"emulator.{service}.urls").ROUTES
        about = " ".join((package.__doc__ or "").split("\n\n")[0].split())
        rows = [[route.doc, route.method.replace("|", ", "), f"`{route.host}{route.path}`"] for route in routes]
        parts += [f"### {service}", about, table(["operation", "method", "address"], rows)]
    return "\n\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
