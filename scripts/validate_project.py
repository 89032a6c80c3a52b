"""Check everything in a project that can be checked without Azure, and say every problem at once with its place.

Its own specs, every Azure ML file they name (loaded with Azure ML's SDK as well), what these refer to, and the scoring script.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aml import bindings, ci, command, gates, loading, project, spec, workspace
from aml.command import Refusal
from aml.project import open_azure, reference, uses
from aml.spec import described, meant, quoted
from aml.yaml import Document, Problem


def parser() -> argparse.ArgumentParser:
    return command.parser(__doc__, workspace=False)


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if not options.project.is_dir():
        raise Refusal(f"There is no project folder {options.project}", fix="name the folder that holds .cloud with --project (AML_PROJECT)")
    problems, count = problems_of(options.project)
    spec.report(problems)
    if problems:
        raise Refusal(f"The project {options.project} is not valid", spec.count(problems), "correct what is listed above")
    ci.say(f"valid: {count} files")
    return 0


def problems_of(folder: Path) -> tuple[list[Problem], int]:
    """All problems of a project, in the order of its files, and how many files were looked at."""
    workspaces, problems = workspace_specs(folder)
    release, found = spec.checked(folder, spec.RELEASE, "release")
    problems += found
    documents = [*workspaces, release]
    for path, kind in ((gates.FILE, "gates"), (spec.PRICES, "prices")):
        if (folder / path).exists():  # a project that promotes nothing needs no gates; check_gates asks for them
            document, wrong_there = spec.checked(folder, path, kind)
            documents.append(document)
            problems += wrong_there
    if not found:
        files = azure_files(folder, release)
        documents += [document for _, document in files]
        problems += [problem for _, document in files for problem in document.problems]
        sound = [(kind, document) for kind, document in files if not document.problems]
        problems += references(release, sound, {kind for kind, document in files if document.problems})
        problems += job_problems(release, sound)
        problems += deployment_problems(release, sound)
        problems += smoke_problems(folder, release)
        wrong = {problem.file for problem in problems}
        problems += loading.check((kind, document) for kind, document in sound if document.file not in wrong)
    return sorted(set(problems)), len(documents)


def workspace_specs(folder: Path) -> tuple[list[Document], list[Problem]]:
    """Each workspace by itself, then what must differ or agree between them."""
    documents, problems = [], []
    for name in workspace.names(folder):
        document, found = spec.checked(folder, f"{workspace.FOLDER}/{name}.yml", "workspace")
        documents.append(document)
        problems += found
    for stranger in sorted((folder / workspace.FOLDER).glob("*.yaml")):
        problems.append(Problem(spec.shown(folder, stranger.relative_to(folder)), 1, 1, "expected the ending .yml, found .yaml"))
    if not documents:
        place = spec.shown(folder, workspace.FOLDER)
        problems.append(Problem(place, 1, 1, "expected a workspace spec such as dev.yml, found none"))
    broken = {problem.file for problem in problems}
    return documents, problems + list(_apart([document for document in documents if document.file not in broken]))


def _apart(documents: list[Document]) -> Iterator[Problem]:
    clients: dict[str, Document] = {}
    places: dict[tuple[str, ...], Document] = {}
    signers: dict[str, Document] = {}
    signed = next((document for document in documents if document.value.get("signing")), None)
    for document in documents:
        value = document.value
        if signed and value["stage"] == "prod" and not value.get("signing"):
            yield document.problem(["stage"], f"expected signing, as in {signed.file}, since production takes what is signed, found none")
        other = clients.setdefault(value["client_id"].lower(), document)
        if "prod" in (value["stage"], other.value["stage"]) and value["stage"] != other.value["stage"]:
            yield document.problem(["client_id"], f"expected another application than in {other.file}, found the same; prod has its own")
        place = tuple(value[key].lower() for key in ("subscription_id", "resource_group", "workspace_name"))
        other = places.setdefault(place, document)
        if other is not document:
            yield document.problem(["workspace_name"], f"expected another workspace than in {other.file}, found the same")
        for at, pem in enumerate(value.get("signing", {}).get("trusted", [])):
            other = signers.setdefault("".join(pem.split()), document)
            if "prod" in (value["stage"], other.value["stage"]) and value["stage"] != other.value["stage"]:
                message = f"expected another key than in {other.file}, found the same; what prod did, only prod's own key signs"
                yield document.problem(["signing", "trusted", at], message)
        wanted, found = (each.value.get("registry_name", "") for each in (documents[0], document))
        if wanted.lower() != found.lower():
            message = f"expected {quoted(wanted) if wanted else 'none'}, as in {documents[0].file} (models are handed over through it)"
            yield document.problem(["registry_name"], f"{message}, found {quoted(found) if found else 'none'}")


def azure_files(folder: Path, release: Document) -> list[tuple[str, Document]]:
    """(kind, file) of every Azure ML file that the release spec names, and of the components that its job is made of; each once."""
    train, deploy = release.value["train"], release.value["deploy"]
    named = [("environment", path) for path in train.get("environments", [])]
    named += [("data", path) for path in train.get("data", [])]
    named += [("compute", path) for path in train.get("compute", [])]
    named += [("job", train["job"]), ("endpoint", deploy["endpoint"]), ("deployment", deploy["deployment"])]
    files = [(kind, open_azure(folder / path)) for kind, path in named]
    jobs = [document for kind, document in files if kind == "job" and not document.problems]
    members = [("component", member) for job in jobs for member in project.family(job)[1:]]
    return members + files


def references(release: Document, files: list[tuple[str, Document]], unread: set[str]) -> Iterator[Problem]:
    """What names something that is neither there nor declared as external. Of the kinds in `unread`, not all files could be read."""
    external = set(release.value["train"].get("external", []))
    own: dict[str, dict[str, str]] = {"compute": {}, "data": {}, "environment": {}, "component": {}}
    unnamed = set(unread)
    for kind, document in files:
        if kind in own and kind != "component":
            name = document.value.get("name")
            if not isinstance(name, str) or not name:
                unnamed.add(kind)
                yield document.problem(["name"], f"expected a name, found {described(name)}")
            elif name in own[kind]:
                yield document.problem(["name"], f"expected each {kind} once, found {quoted(name)} again")
            else:
                own[kind][name] = str(document.value.get("version") or "")
    for kind, document in files:
        for use in uses(document):
            if use.file is not None:
                if not use.file.exists():
                    yield use.problem(f"expected a file or folder, found no {use.file}")
                elif use.what in ("file", "component", "environment") and not use.file.is_file():
                    yield use.problem(f"expected a file, found the folder {use.file}")
            elif use.what in own and use.what not in unnamed and (kind != "deployment" or use.what == "environment"):
                yield from _named(document, use, own[use.what], external)


def _named(document: Document, use: project.Use, known: dict[str, str], external: set[str]) -> Iterator[Problem]:
    if use.what == "compute" and not use.value.startswith("azureml:"):
        if use.value not in ("local", "serverless") and "${{" not in use.value:
            yield use.problem(f"expected azureml:<name of a compute>, found {quoted(use.value)}")
        return
    parts = reference(use.value)
    if parts is None or use.value in external or use.value in ("azureml:local", "azureml:serverless"):
        return
    name, version, label = parts
    listed = ", ".join(f"{each}:{known[each]}" if known[each] else each for each in sorted(known)) or "none"
    if use.what == "component":
        yield use.problem(f"expected a component's file, found {quoted(use.value)}; if others keep it, add it to train.external")
    elif name not in known:
        hint = meant(name, known) or "; if others keep it, add it to train.external"
        yield use.problem(f"expected one of the project's {_plural(use.what)} ({listed}), found {quoted(use.value)}{hint}")
    elif use.what == "compute":
        return
    elif version and known[name] and version != known[name]:
        yield use.problem(f"expected version {known[name]} of {use.what} {name}, found {version}")
    elif version and not known[name]:
        yield use.problem(
            f"expected azureml:{name}@latest, since its file gives no version and so gets one by its content, found {version}"
        )
    elif label and label != "latest":
        yield use.problem(f"expected a version or @latest, found @{label}")


def _plural(what: str) -> str:
    return {"data": "data assets", "compute": "computes"}.get(what, what + "s")


def job_problems(release: Document, files: list[tuple[str, Document]]) -> Iterator[Problem]:
    """Whether the steps fit together, and give and take what the release spec says."""
    train, model = release.value["train"], release.value["model"]
    for _, job in ((kind, document) for kind, document in files if kind == "job"):
        yield from bindings.check(job)
        inputs, outputs = _mapping(job.value.get("inputs")), _mapping(job.value.get("outputs"))
        for key in train.get("parameters", {}):
            steps = ["train", "parameters", key]
            if key not in inputs:
                known = sorted(inputs)
                message = f"expected an input of {job.file} ({', '.join(known) or 'it has none'}), found {quoted(key)}{meant(key, known)}"
                yield release.problem(steps, message, key=True)
            elif isinstance(inputs[key], dict) and "path" in inputs[key]:
                yield release.problem(steps, f"expected a literal input of {job.file}, found {quoted(key)}, which is data", key=True)
        name = model["output"]
        if name not in outputs:
            known = sorted(outputs)
            message = f"expected an output of {job.file} ({', '.join(known) or 'it has none'}), found {quoted(name)}{meant(name, known)}"
            yield release.problem(["model", "output"], message)
        elif (found := _mapping(outputs[name]).get("type", "uri_folder")) != model["type"]:
            yield job.problem(["outputs", name, "type"], f"expected {model['type']}, as model.type in {release.file}, found {found}")


def deployment_problems(release: Document, files: list[tuple[str, Document]]) -> Iterator[Problem]:
    """Whether endpoint and deployment belong together, and whether the scoring script can be loaded."""
    kinds = {kind: document for kind, document in files if kind in ("endpoint", "deployment")}
    deployment = kinds.get("deployment")
    if deployment is None:
        return
    if "endpoint" in kinds and deployment.value.get("endpoint_name", name := kinds["endpoint"].value.get("name")) != name:
        found = described(deployment.value["endpoint_name"])
        yield deployment.problem(["endpoint_name"], f"expected {quoted(str(name))}, the name in {kinds['endpoint'].file}, found {found}")
    code = next((use.file for use in uses(deployment) if use.what == "code"), None)
    script = _mapping(deployment.value.get("code_configuration")).get("scoring_script")
    if code is None or not code.is_dir() or not isinstance(script, str):
        return
    if not (code / script).is_file():
        known = [path.relative_to(code).as_posix() for path in sorted(code.rglob("*.py"))]
        message = f"expected a script in {code} ({', '.join(known) or 'it has none'}), found {quoted(script)}{meant(script, known)}"
        yield deployment.problem(["code_configuration", "scoring_script"], message)
        return
    yield from scoring_problems(code / script)


def scoring_problems(file: Path) -> Iterator[Problem]:
    """Whether a scoring script compiles and has init() and run(), which the inference server calls."""
    try:
        tree = ast.parse(file.read_bytes(), file.name)
    except SyntaxError as error:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        yield Problem(file, error.lineno or 1, error.offset or 1, f"expected Python {version}, found a syntax error: {error.msg}")
        return
    except ValueError as error:
        yield Problem(file, 1, 1, f"expected Python, found that {error}")
        return
    names = set(_defined(tree.body))
    for name in ("init", "run"):
        if name not in names and "*" not in names:
            yield Problem(file, 1, 1, f"expected a function {name}(), which the inference server calls, found none")


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        elif isinstance(statement, (ast.If, ast.Try)):
            yield from _defined(statement.body)


def smoke_problems(folder: Path, release: Document) -> list[Problem]:
    """The smoke cases' own problems."""
    return spec.checked(folder, release.value["deploy"]["smoke"], "smoke")[1]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


if __name__ == "__main__":
    command.run(main)
