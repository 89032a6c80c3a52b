"""From a pipeline and its templates to one document, rule by rule.

T = https://learn.microsoft.com/azure/devops/pipelines/process/templates, X = .../process/template-expressions,
P = .../process/template-parameters, V = .../process/variables, Y = https://learn.microsoft.com/azure/devops/pipelines/yaml-schema.
The tables are in expansion_cases.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from azure_pipelines import schema, templates
from azure_pipelines.nodes import Fault, typed
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import Expanded, expand
from azure_pipelines.values import kind
from expansion_cases import CATALOG, EXPANSIONS, FAULTS, PARAMETERS, TYPES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


class Project:
    """A repository with a pipeline, and a catalog of templates beside it. A file of the catalog is written as `path@catalog`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories = {
            "self": Repository("self", folder / "self", "flight-delay"),
            "catalog": Repository("catalog", folder / "catalog", "mlops/catalog", "refs/tags/v1", "abc123"),
        }

    def write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path, _, alias = name.partition("@")
            file = self.folder / (alias or "self") / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(content), "utf-8")

    def expand(self, pipeline: str, files: dict[str, str] | None = None, **given: Any) -> Expanded:
        self.write(files or {})
        return expand(self.repositories, "pipeline.yml", text=dedent(pipeline), **given)

    def document(self, pipeline: str, files: dict[str, str] | None = None, **given: Any) -> Any:
        return typed(self.expand(pipeline, files, **given).document)

    def fault(self, pipeline: str, files: dict[str, str] | None = None, **given: Any) -> str:
        with pytest.raises(Fault) as caught:
            self.expand(pipeline, files, **given)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("rule", EXPANSIONS)
def test_expansion(rule: str, project: Project) -> None:
    pipeline, expected = EXPANSIONS[rule]
    assert project.document(PARAMETERS + pipeline, groups={"secrets": {"token": "hidden"}}) == expected


# T "Types of templates": includes
def test_steps_jobs_stages_and_variables_are_included(project: Project) -> None:
    document = project.document(
        """
        variables:
        - template: variables.yml
        - {name: c, value: "${{ variables.b }}!"}
        stages:
        - template: stages.yml
        - stage: Own
          jobs:
          - template: jobs.yml
            parameters: {name: Own}
        """,
        {
            "variables.yml": "variables: {a: one, b: two}",
            "stages.yml": "stages:\n- stage: S\n  jobs:\n  - template: jobs.yml\n    parameters: {name: S}\n",
            "jobs.yml": (
                "parameters:\n- {name: name, type: string}\njobs:\n- job: J${{ parameters.name }}\n  steps:\n  - template: steps.yml\n"
            ),
            "steps.yml": "steps:\n- bash: echo ${{ variables.c }}\n- bash: two\n",
        },
    )
    steps = [{"bash": "echo two!"}, {"bash": "two"}]
    assert document == {
        "variables": [{"name": "a", "value": "one"}, {"name": "b", "value": "two"}, {"name": "c", "value": "two!"}],
        "stages": [
            {"stage": "S", "jobs": [{"job": "JS", "steps": steps}]},
            {"stage": "Own", "jobs": [{"job": "JOwn", "steps": steps}]},
        ],
    }


@pytest.mark.parametrize("hook", ["preDeploy", "deploy", "routeTraffic", "postRouteTraffic", "on.success", "on.failure"])
@pytest.mark.parametrize("strategy", ["runOnce", "rolling", "canary"])
def test_steps_are_included_in_every_hook(strategy: str, hook: str, project: Project) -> None:
    inner: Any = {"steps": [{"template": "steps.yml"}]}
    for name in reversed([strategy, *hook.split(".")]):
        inner = {name: inner}
    pipeline = yaml.safe_dump({"jobs": [{"deployment": "d", "environment": "e", "strategy": inner}]})
    found = project.document(pipeline, {"steps.yml": "steps:\n- bash: here\n"})["jobs"][0]["strategy"]
    for name in [strategy, *hook.split(".")]:
        found = found[name]
    assert found == {"steps": [{"bash": "here"}]}


def test_steps_elsewhere_are_left_alone(project: Project) -> None:
    pipeline = "steps:\n- task: T@1\n  inputs:\n    steps:\n    - template: none.yml\n"
    assert project.document(pipeline) == yaml.safe_load(pipeline)


def test_which_template_may_depend_on_expressions(project: Project) -> None:
    pipeline = """
        parameters:
        - {name: which, type: string, default: b}
        - {name: call, type: object, default: {template: a.yml}}
        steps:
        - template: ${{ parameters.which }}.yml
        - ${{ if eq(parameters.which, 'b') }}:
          - template: a.yml
        - ${{ parameters.call }}
        - ${{ insert }}: {template: b.yml}
    """
    found = project.document(pipeline, {"a.yml": "steps: [{bash: a}]", "b.yml": "steps: [{bash: b}]"})
    assert found == {"steps": [{"bash": "b"}, {"bash": "a"}, {"bash": "a"}, {"bash": "b"}]}


def test_the_keys_of_a_root_are_those_of_the_schema() -> None:
    """What the service's schema knows, but its oldest words (phases, queue, server)."""
    rules = schema._schema()["definitions"]
    roots = {key for branch in rules["pipeline"]["anyOf"] for key in branch["properties"]}
    extended = {key for branch in rules["extendsTemplate"]["anyOf"] for key in branch["properties"]}
    assert roots - {"parameters", "phases", "queue", "server"} == templates._ROOT
    assert extended - {"parameters"} == templates._EXTENDED


@pytest.mark.parametrize("key", ["trigger", "pr", "schedules"])
def test_triggers_take_no_expressions(key: str, project: Project) -> None:
    """X, the note on top: expressions are expanded in stages, jobs, steps and containers."""
    expected = "/pipeline.yml (Line: 2, Col: 3): A template expression is not allowed in this context"
    assert project.fault(f"{key}:\n- ${{{{ 'a' }}}}\n") == expected


# T "Reference template paths", "Use other repositories"
def test_an_alias_has_no_case(project: Project) -> None:
    files = {"a.yml": "steps:\n- template: b.yml@SELF\n", "b.yml": "steps: [{bash: b}]", "c.yml@catalog": "steps: [{bash: c}]"}
    found = project.document(dedent(CATALOG) + "steps:\n- template: a.yml@Self\n- template: c.yml@Catalog\n", files)
    assert found["steps"] == [{"bash": "b"}, {"bash": "c"}]


def test_paths_are_relative_to_the_file_they_stand_in(project: Project) -> None:
    found = project.expand(
        CATALOG
        + """\
    steps:
    - template: a/one.yml
    - template: /b/c/three.yml
    - template: a\\two.yml
    - template: x/far.yml@catalog
    """,
        {
            "a/one.yml": "steps:\n- template: two.yml\n- template: ./two.yml\n- template: ../b/c/three.yml\n- template: /b/c/three.yml\n",
            "a/two.yml": "steps: [{bash: two}]",
            "b/c/three.yml": "steps: [{bash: three}]",
            "x/far.yml@catalog": (
                "steps:\n- template: near.yml\n- template: near.yml@catalog\n- template: /x/near.yml\n- template: a/two.yml@self\n"
            ),
            "x/near.yml@catalog": "steps: [{bash: near}]",
        },
    )
    names = ["two", "two", "three", "three", "three", "two", "near", "near", "near", "two"]
    assert typed(found.document)["steps"] == [{"bash": name} for name in names]
    assert found.files == ["/pipeline.yml", "/a/one.yml", "/a/two.yml", "/b/c/three.yml", "/x/far.yml@catalog", "/x/near.yml@catalog"]


# T "Extend from a template"
def test_extends_may_be_chained(project: Project) -> None:
    found = project.expand(
        "trigger: none\n"
        + dedent(CATALOG)
        + dedent("""\
        parameters:
        - {name: word, type: string, default: hello}
        variables: {own: mine}
        extends:
          template: outer.yml@catalog
          parameters:
            word: ${{ parameters.word }}
            steps:
            - bash: ${{ variables.own }}
            - template: steps.yml
        """),
        {
            "steps.yml": "steps: [{pwsh: caller}]",
            "outer.yml@catalog": (
                "parameters:\n- {name: word, type: string}\n- {name: steps, type: stepList}\nresources:\n"
                "  containers:\n  - {container: c, image: i}\n"
                "extends:\n  template: inner.yml\n  parameters:\n    text: ${{ parameters.word }}!\n    steps: ${{ parameters.steps }}\n"
            ),
            "inner.yml@catalog": "parameters:\n- {name: text, type: string}\n- {name: steps, type: stepList}\n"
            "stages:\n- stage: ${{ variables.own }}\n  jobs:\n  - job: j\n    displayName: ${{ parameters.text }}\n"
            "    steps: ${{ parameters.steps }}\n",
        },
        parameters={"word": "bye"},
    )
    assert typed(found.document) == {
        "trigger": "none",
        "resources": {
            "repositories": [{"repository": "catalog", "type": "git", "name": "mlops/catalog", "ref": "refs/tags/v1"}],
            "containers": [{"container": "c", "image": "i"}],
        },
        "variables": {"own": "mine"},
        "stages": [
            {
                "stage": "mine",
                "jobs": [
                    {
                        "job": "j",
                        "displayName": "bye!",
                        "steps": [
                            {"task": "Bash@3", "inputs": {"targetType": "inline", "script": "mine"}},
                            {"task": "PowerShell@2", "inputs": {"targetType": "inline", "pwsh": True, "script": "caller"}},
                        ],
                    }
                ],
            }
        ],
    }
    assert found.extends == ["/outer.yml@catalog", "/inner.yml@catalog"]
    assert found.parameters == {"word": "bye"}
    step = found.document.under("stages")[0].under("jobs")[0].under("steps")[0]  # type: ignore[index, union-attr]
    assert step.at.file == "/pipeline.yml", "what a caller passed keeps the caller's place"


# T "Extend from a template": a step in a typed parameter is a task, so that a template can refuse scripts
def test_a_template_can_refuse_scripts(project: Project) -> None:
    start = """
        parameters:
        - {name: buildSteps, type: stepList, default: []}
        stages:
        - stage: S
          jobs:
          - job: J
            steps:
            - ${{ each step in parameters.buildSteps }}:
              - ${{ each pair in step }}:
                  ${{ if ne(pair.value, 'CmdLine@2') }}:
                    ${{ pair.key }}: ${{ pair.value }}
                  ${{ if eq(pair.value, 'CmdLine@2') }}:
                    '${{ pair.value }}': error
    """
    call = "extends:\n  template: start.yml\n  parameters:\n    buildSteps:\n    - bash: allowed\n      displayName: d\n"
    call += "    - script: not allowed\n      workingDirectory: w\n"
    steps = project.document(call, {"start.yml": start})["stages"][0]["jobs"][0]["steps"]
    assert steps == [
        {"task": "Bash@3", "displayName": "d", "inputs": {"targetType": "inline", "script": "allowed"}},
        {"CmdLine@2": "error", "inputs": {"script": "not allowed", "workingDirectory": "w"}},
    ]


@pytest.mark.parametrize(
    ("type_", "argument", "template"),
    [
        ("step", "{'${{ insert }}': {bash: x}}", "steps:\n- ${{ parameters.p }}\n"),
        ("stepList", "[{template: s.yml}]", "steps: ${{ parameters.p }}\n"),
        ("job", "{job: j, steps: [{template: s.yml}]}", "jobs:\n- ${{ parameters.p }}\n"),
        ("jobList", "[{template: j.yml}]", "jobs: ${{ parameters.p }}\n"),
        (
            "deployment",
            "{deployment: j, strategy: {canary: {on: {failure: {steps: [{template: s.yml}]}}}}}",
            'jobs: ["${{ parameters.p }}"]\n',
        ),
        ("deploymentList", "[{deployment: j, strategy: {rolling: {deploy: {steps: [{template: s.yml}]}}}}]", "jobs: ${{ parameters.p }}\n"),
        ("stage", "{stage: s, jobs: [{template: j.yml}]}", 'stages: ["${{ parameters.p }}"]\n'),
        ("stageList", "[{template: g.yml}]", "stages: ${{ parameters.p }}\n"),
    ],
)
def test_templates_in_an_argument_are_the_callers(type_: str, argument: str, template: str, project: Project) -> None:
    """T: a path is relative to the file it stands in, and what a step is short for is seen as a task at any depth."""
    part = template.partition(":")[0]
    pipeline = dedent(CATALOG) + f"{part}:\n- template: t.yml@catalog\n  parameters:\n    p: {argument}\n"
    files = {
        "t.yml@catalog": f"parameters:\n- {{name: p, type: {type_}}}\n{template}",
        "s.yml": "steps: [{bash: x}]",
        "j.yml": "jobs: [{job: j, steps: [{template: s.yml}]}]",
        "g.yml": "stages: [{stage: s, jobs: [{template: j.yml}]}]",
    }
    found = json.dumps(project.document(pipeline, files)[part])
    assert '{"task": "Bash@3", "inputs": {"targetType": "inline", "script": "x"}}' in found
    assert "template" not in found


@pytest.mark.parametrize(
    ("short", "task", "inputs"),
    [
        ("script", "CmdLine@2", {}),
        ("bash", "Bash@3", {"targetType": "inline"}),
        ("pwsh", "PowerShell@2", {"targetType": "inline", "pwsh": True}),
        ("powershell", "PowerShell@2", {"targetType": "inline"}),
    ],
)
def test_what_a_step_is_short_for(short: str, task: str, inputs: dict[str, Any], project: Project) -> None:
    """Y "steps.script", "steps.bash", "steps.pwsh", "steps.powershell"."""
    own = ["workingDirectory", "failOnStderr", "errorActionPreference", "warningPreference", "ignoreLASTEXITCODE", "bashEnvValue"]
    step = {short: "echo", "displayName": "d", "env": {"A": "b"}, **dict.fromkeys(own, "x")}
    pipeline = "parameters:\n- name: p\n  type: step\n  default: " + json.dumps(step) + '\nsteps: ["${{ parameters.p }}"]\n'
    expected = {"task": task, "displayName": "d", "env": {"A": "b"}, "inputs": {**inputs, "script": "echo", **dict.fromkeys(own, "x")}}
    assert project.document(pipeline)["steps"] == [expected]


@pytest.mark.parametrize(("type_", "part"), [("jobList", "jobs"), ("deploymentList", "jobs"), ("stageList", "stages")])
def test_a_template_in_a_default_is_the_templates(type_: str, part: str, project: Project) -> None:
    template = f"parameters:\n- name: p\n  type: {type_}\n  default: [{{template: d.yml}}]\n{part}: ${{{{ parameters.p }}}}\n"
    files = {"t.yml@catalog": template, "d.yml@catalog": f"{part}: [{{x: y}}]"}
    assert project.document(dedent(CATALOG) + f"{part}: [{{template: t.yml@catalog}}]\n", files)[part] == [{"x": "y"}]


def test_a_template_is_called_more_than_once_with_its_own_parameters(project: Project) -> None:
    pipeline = "steps:\n" + "".join(f"- template: s.yml\n  parameters: {{n: '{n}'}}\n" for n in range(150))
    found = project.expand(pipeline, {"s.yml": "parameters:\n- {name: n, type: string}\nsteps:\n- bash: ${{ parameters.n }}\n"})
    assert [step["bash"] for step in typed(found.document)["steps"]] == [str(n) for n in range(150)]
    assert found.files == ["/pipeline.yml", "/s.yml"]


def test_the_callers_loop_is_not_seen_in_a_template(project: Project) -> None:
    pipeline = "steps:\n- ${{ each n in split('a', ',') }}:\n  - template: s.yml\n"
    assert "Unrecognized value: 'n'" in project.fault(pipeline, {"s.yml": "steps:\n- bash: ${{ n }}\n"})


@pytest.mark.parametrize(("type_", "written", "value", "kind_"), TYPES)
def test_types_of_a_template(type_: str, written: str, value: Any, kind_: str, project: Project) -> None:
    """Given by a caller, and as the default."""
    template = f"parameters:\n- name: p\n  type: {type_}\n  default: {written}\nvariables:\n- name: v\n"
    template += "  value: ${{ convertToJson(parameters.p) }}\n"
    for arguments in ("{}", f"{{p: {written}}}"):
        document = project.document(f"variables:\n- template: t.yml\n  parameters: {arguments}\n", {"t.yml": template})
        assert yaml.safe_load(document["variables"][0]["value"]) == value


@pytest.mark.parametrize(("type_", "written", "value", "kind_"), [row for row in TYPES if row[0] != "legacyObject"])
def test_types_of_a_pipeline(type_: str, written: str, value: Any, kind_: str, project: Project) -> None:
    """As the default, and given for a run, where all is text."""
    pipeline = f"parameters:\n- name: p\n  type: {type_}\n  default: {written}\npool: x\n"
    for queued in ({}, {"p": written.strip("'")}):
        found = project.expand(pipeline, parameters=queued).parameters["p"]
        assert found == value
        assert kind(found) == kind_


def test_string_list_is_for_pipelines(project: Project) -> None:
    """Y "parameters.parameter": a stringList goes to a template as an object."""
    pipeline = """
        parameters:
        - name: regions
          type: stringList
          values: [WUS, CUS, EUS]
          default: [WUS, CUS]
        steps:
        - template: t.yml
          parameters: {regions: "${{ parameters.regions }}"}
    """
    template = "parameters:\n- {name: regions, type: object}\nsteps:\n- ${{ each r in parameters.regions }}:\n  - bash: ${{ r }}\n"
    assert project.document(pipeline, {"t.yml": template}) == {"steps": [{"bash": "WUS"}, {"bash": "CUS"}]}
    assert project.expand(pipeline, parameters={"regions": ["EUS"]}).parameters == {"regions": ["EUS"]}
    assert project.expand(pipeline, parameters={"Regions": "[EUS, WUS]"}).parameters == {"regions": ["EUS", "WUS"]}
    assert project.fault(pipeline, parameters={"regions": ["EUS", "XUS"]}) == (
        "/pipeline.yml (Line: 3, Col: 9): The 'regions' parameter value 'XUS' is not an allowed value. Allowed: WUS, CUS, EUS"
    )


# P: the older form of parameters
def test_untyped_parameters(project: Project) -> None:
    template = """
        parameters:
          name: ''
          steps: []
          flag: false
        steps:
        - ${{ parameters.steps }}
        - ${{ if parameters.flag }}:
          - bash: text is true, 'false' too
        - bash: ${{ parameters.name }}${{ parameters.more }}
    """
    call = "steps:\n- template: t.yml\n  parameters:\n    name: 1.50\n    more: x\n    steps:\n    - bash: one\n"
    found = project.document(call, {"t.yml": template})
    assert found == {"steps": [{"bash": "one"}, {"bash": "text is true, 'false' too"}, {"bash": "1.50x"}]}


def test_a_template_without_parameters_takes_any(project: Project) -> None:
    call = "steps:\n- template: t.yml\n  parameters: {step: {bash: x}}\n"
    assert project.document(call, {"t.yml": "steps:\n- ${{ parameters.step }}\n"}) == {"steps": [{"bash": "x"}]}


def test_arguments_may_come_from_directives(project: Project) -> None:
    template = "parameters:\n- {name: a, type: string, default: none}\n- {name: b, type: string, default: none}\nsteps:\n"
    template += "- bash: ${{ parameters.a }} ${{ parameters.b }}\n"
    pipeline = """
        parameters:
        - {name: all, type: object, default: {a: 1, b: 2}}
        steps:
        - template: t.yml
          parameters: ${{ parameters.all }}
        - template: t.yml
          parameters:
            ${{ if true }}: {a: x}
            ${{ each n in split('b', ',') }}:
              ${{ n }}: y
        - template: t.yml
          parameters:
        - template: t.yml
          parameters:
            A: case
    """
    found = project.document(pipeline, {"t.yml": template})
    assert [step["bash"] for step in found["steps"]] == ["1 2", "x y", "none none", "case none"]


# V "System variables": those that are known before the run
def test_system_variables(project: Project) -> None:
    found = project.document(
        "variables: {b: mine}\nname: ${{ variables['Build.Reason'] }}-${{ variables['build.sourcebranch'] }}-${{ variables.b }}",
        variables={"Build.Reason": "Manual", "Build.SourceBranch": "refs/heads/main", "b": "theirs"},
    )
    assert found["name"] == "Manual-refs/heads/main-mine"


@pytest.mark.parametrize("rule", FAULTS)
def test_faults(rule: str, project: Project) -> None:
    pipeline, files, message = FAULTS[rule]
    found = project.fault(pipeline, files, groups={})
    assert found.startswith(message), found
    assert "\n" not in found


def test_a_value_given_for_a_run_is_checked(project: Project) -> None:
    pipeline = "parameters:\n- {name: flag, type: boolean, default: false}\n- {name: map, type: object, default: {}}\npool: x\n"
    assert project.fault(pipeline, parameters={"other": 1}) == "/pipeline.yml (Line: 1, Col: 1): Unexpected parameter 'other'"
    assert project.fault(pipeline, parameters={"flag": "maybe"}) == (
        "/pipeline.yml (Line: 2, Col: 10): The 'flag' parameter value 'maybe' is not a valid Boolean."
    )
    assert project.expand(pipeline, parameters={"Flag": True, "map": {"a": [1, None]}}).parameters == {
        "flag": True,
        "map": {"a": [1, None]},
    }


# T "Imposed limits"
@pytest.mark.parametrize(("count", "fault"), [(99, ""), (100, "No more than 100 YAML files may be included")])
def test_the_number_of_files(count: int, fault: str, project: Project) -> None:
    files = {f"t{index}.yml": "steps: [{bash: x}]" for index in range(count)}
    pipeline = "steps:\n" + "".join(f"- template: {name}\n" for name in files)
    if fault:
        assert project.fault(pipeline, files) == f"/pipeline.yml (Line: 101, Col: 13): {fault}"
    else:
        assert len(project.expand(pipeline, files).files) == 100


@pytest.mark.parametrize(("depth", "fault"), [(99, ""), (100, "No more than 100 levels of templates may be nested")])
def test_the_depth_of_templates(depth: int, fault: str, project: Project) -> None:
    """A template may call itself with other values: only the depth ends that."""
    template = """
        parameters:
        - {name: left, type: string}
        steps:
        - ${{ if ne(parameters.left, '') }}:
          - template: t.yml
            parameters:
              left: ${{ replace(format('>{0}', parameters.left), '>x', '') }}
    """
    pipeline = f"steps:\n- template: t.yml\n  parameters: {{left: {'x' * depth}}}\n"
    if fault:
        assert project.fault(pipeline, {"t.yml": template}) == f"/t.yml (Line: 6, Col: 15): {fault}"
    else:
        assert project.document(pipeline, {"t.yml": template}) == {"steps": []}


def test_the_size_of_a_pipeline(project: Project) -> None:
    pipeline = "parameters:\n- {name: a, type: object, default: [" + ", ".join(["x"] * 150) + "]}\nsteps:\n"
    pipeline += "- ${{ each x in parameters.a }}:\n  - ${{ each y in parameters.a }}:\n    - bash: " + "z" * 1000 + "\n"
    assert project.fault(pipeline) == f"/pipeline.yml (Line: 6, Col: 13): The pipeline is larger than {20 * 2**20} characters"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(), st.sampled_from(["${{ parameters.secret }}", "${{ if true }}", "$(x)", "a'b''c", "- b", "{a: b}", "~", "1.50"])
    )
)
def test_no_value_becomes_code(text: str, project: Project) -> None:
    """What a caller passes is never evaluated a second time, nor read as YAML."""
    pipeline = """
        parameters:
        - {name: given, type: string}
        variables:
        - template: t.yml
          parameters: {text: "${{ parameters.given }}", more: {"${{ parameters.given }}": ["${{ parameters.given }}"]}}
    """
    template = """
        parameters:
        - {name: text, type: string}
        - {name: more, type: object}
        variables:
        - {name: whole, value: "${{ parameters.text }}"}
        - {name: part, value: "<${{ parameters.text }}>"}
        - ${{ each pair in parameters.more }}:
          - {name: "${{ pair.key }}", value: "${{ pair.value[0] }}"}
    """
    document = project.expand(pipeline, {"t.yml": template}, parameters={"given": text}).document
    found = [[str(value) for value in item.values()] for item in document.under("variables")]  # type: ignore[union-attr]
    assert found == [["whole", text], ["part", f"<{text}>"], [text, text]]


def test_nothing_is_read_but_what_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    original: Callable[..., str] = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *args, **kw: reads.append(self.name) or original(self, *args, **kw))
    project.expand("steps:\n- ${{ if false }}:\n  - template: a.yml\n- template: b.yml\n", {"a.yml": "", "b.yml": "steps: []"})
    assert reads == ["b.yml"]
