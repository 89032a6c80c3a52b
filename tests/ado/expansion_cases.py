"""What pipelines and templates become, and what is wrong with them: tables for test_templates.py.

T = https://learn.microsoft.com/azure/devops/pipelines/process/templates, X = .../process/template-expressions,
P = .../process/template-parameters, V = .../process/variables, Y = https://learn.microsoft.com/azure/devops/pipelines/yaml-schema.
Messages are the service's where one is known: "Key not found", "Unexpected value", "Unexpected parameter",
"A value for the ... parameter must be provided", "is not a valid Boolean", "is already defined", "File ... not found in repository".
"""

from __future__ import annotations

from textwrap import dedent
from typing import Any

CATALOG = """\
    resources:
      repositories:
      - repository: catalog
        type: git
        name: mlops/catalog
        ref: refs/tags/v1
"""


PARAMETERS = """\
parameters:
- {name: flag, type: boolean, default: false}
- {name: word, type: string, default: main}
- {name: count, type: number, default: 3}
- {name: names, type: object, default: [a, b]}
- {name: map, type: object, default: {x: 1, y: two}}
- {name: none, type: object, default: null}
- {name: steps, type: stepList, default: [{task: One@1}, {task: Two@1}]}
- {name: step, type: step, default: {task: Three@1}}
"""

# Rule, what stands in the pipeline after PARAMETERS, and what becomes of it.
EXPANSIONS: dict[str, tuple[str, Any]] = {
    # X "Template expressions": values and keys
    "a whole value keeps a list": ("pool: ${{ parameters.names }}", {"pool": ["a", "b"]}),
    "a whole value keeps a map": ("pool: ${{ parameters.map }}", {"pool": {"x": 1, "y": "two"}}),
    "a whole value keeps a boolean, as it is written": ("pool: ${{ parameters.flag }}", {"pool": False}),
    "a whole value keeps a number": ("pool: ${{ parameters.count }}", {"pool": 3}),
    "a whole value keeps a string a string": ("pool: ${{ '3' }}", {"pool": "3"}),
    "null is nothing": ("pool: ${{ parameters.none }}", {"pool": None}),
    "inside text it is text": ("name: v${{ parameters.count }}-${{ parameters.flag }}", {"name": "v3-False"}),
    "several in one text": ("name: ${{ 1 }}${{ 2 }}", {"name": "12"}),
    "null inside text is empty": ("name: a${{ parameters.none }}b", {"name": "ab"}),
    "in a block of text": ("name: |\n  one ${{ 1 }}\n  two\n", {"name": "one 1\ntwo\n"}),
    "braces and quotes in a string": ("name: ${{ ' }} ''{{' }}!", {"name": " }} '{{!"}),
    "an escaped expression is text": ("name: ${{ '${{ x }}' }}", {"name": "${{ x }}"}),
    "in a key": ("pool:\n  ${{ parameters.word }}: 1", {"pool": {"main": 1}}),
    "inside a key": ("pool:\n  a_${{ parameters.word }}_b: 1", {"pool": {"a_main_b": 1}}),
    "two in a key": ("pool:\n  ${{ parameters.word }}_${{ 1 }}: 1", {"pool": {"main_1": 1}}),
    "other syntaxes stay": ("name: $(x) $[ variables.x ]", {"name": "$(x) $[ variables.x ]"}),
    # X "Conditional insertion"
    "if in a map": ("pool:\n  ${{ if true }}:\n    a: 1\n  b: 2", {"pool": {"a": 1, "b": 2}}),
    "if not in a map": ("pool:\n  ${{ if false }}:\n    a: 1\n  b: 2", {"pool": {"b": 2}}),
    "else in a map": ("pool:\n  ${{ if false }}:\n    a: 1\n  ${{ else }}:\n    b: 2", {"pool": {"b": 2}}),
    "elseif in a map": (
        "pool:\n  ${{ if false }}:\n    a: 1\n  ${{ elseif true }}:\n    b: 2\n  ${{ else }}:\n    c: 3",
        {"pool": {"b": 2}},
    ),
    "the first that holds": ("pool:\n  ${{ if 1 }}:\n    a: 1\n  ${{ elseif 1 }}:\n    b: 2\n  ${{ else }}:\n    c: 3", {"pool": {"a": 1}}),
    "the last of several elseif": (
        "pool:\n  ${{ if 0 }}:\n    a: 1\n  ${{ elseif 0 }}:\n    b: 2\n  ${{ elseif 1 }}:\n    c: 3",
        {"pool": {"c": 3}},
    ),
    "two ifs with an else each": (
        "pool:\n  ${{ if 0 }}:\n    a: 1\n  ${{ else }}:\n    b: 2\n  ${{ if 1 }}:\n    c: 3\n  ${{ else }}:\n    d: 4",
        {"pool": {"b": 2, "c": 3}},
    ),
    "if with an expression below": ("pool:\n  ${{ if true }}: ${{ parameters.map }}", {"pool": {"x": 1, "y": "two"}}),
    "if with nothing below": ("pool:\n  ${{ if true }}:\n  a: 1", {"pool": {"a": 1}}),
    "'False' is true": ("pool:\n  ${{ if 'False' }}:\n    a: 1", {"pool": {"a": 1}}),
    "if in a list": ("pool:\n- ${{ if true }}:\n  - a\n  - b\n- c", {"pool": ["a", "b", "c"]}),
    "if not in a list": ("pool:\n- ${{ if false }}:\n  - a\n- c", {"pool": ["c"]}),
    "elseif and else in a list": ("pool:\n- ${{ if 0 }}:\n  - a\n- ${{ elseif 0 }}:\n  - b\n- ${{ else }}:\n  - c", {"pool": ["c"]}),
    "else in the item of its if": ("pool:\n- ${{ if 0 }}:\n  - a\n  ${{ else }}:\n  - b", {"pool": ["b"]}),
    "a map under an if is an item": ("pool:\n- ${{ if 1 }}:\n    a: 1\n- ${{ else }}:\n    b: 2", {"pool": [{"a": 1}]}),
    "no item where no branch is taken": ("pool:\n- ${{ if 0 }}:\n    a: 1", {"pool": []}),
    "if with a list from an expression": ("pool:\n- ${{ if 1 }}: ${{ parameters.names }}", {"pool": ["a", "b"]}),
    "nested ifs": ("pool:\n- ${{ if 1 }}:\n  - ${{ if 0 }}:\n    - a\n  - ${{ else }}:\n    - b", {"pool": ["b"]}),
    "else below a branch not taken is not looked at": ("pool:\n- ${{ if 0 }}:\n  - ${{ else }}:\n    - a", {"pool": []}),
    "an unknown name in a branch not taken": ("pool:\n  ${{ if 0 }}:\n    a: ${{ nothing.at.all }}", {"pool": {}}),
    # X "Iterative insertion"
    "each over a list": ("pool:\n- ${{ each n in parameters.names }}:\n  - x${{ n }}", {"pool": ["xa", "xb"]}),
    "each over a map": ("pool:\n- ${{ each p in parameters.map }}:\n  - ${{ p.key }}=${{ p.value }}", {"pool": ["x=1", "y=two"]}),
    "each over null is nothing": ("pool:\n- ${{ each n in parameters.none }}:\n  - a", {"pool": []}),
    "each in a map": ("pool:\n  ${{ each n in parameters.names }}:\n    k${{ n }}: ${{ n }}", {"pool": {"ka": "a", "kb": "b"}}),
    "each in each": (
        "pool:\n- ${{ each n in parameters.names }}:\n  - ${{ each m in parameters.names }}:\n    - ${{ n }}${{ m }}",
        {"pool": ["aa", "ab", "ba", "bb"]},
    ),
    "each over what split makes": ("pool:\n- ${{ each n in split('p,q', ',') }}:\n  - ${{ n }}", {"pool": ["p", "q"]}),
    "if in each": ("pool:\n- ${{ each n in parameters.names }}:\n  - ${{ if eq(n, 'b') }}:\n    - ${{ n }}", {"pool": ["b"]}),
    "each pair of a step": (
        "steps:\n- ${{ each s in parameters.steps }}:\n  - ${{ each p in s }}:\n      ${{ p.key }}: ${{ p.value }}\n    env: {A: b}",
        {"steps": [{"task": "One@1", "env": {"A": "b"}}, {"task": "Two@1", "env": {"A": "b"}}]},
    ),
    # X "Insertion"
    "a list in a list is flattened": (
        "steps:\n- task: A@1\n- ${{ parameters.steps }}",
        {"steps": [{"task": "A@1"}, {"task": "One@1"}, {"task": "Two@1"}]},
    ),
    "a map in a list is an item": ("steps:\n- ${{ parameters.step }}", {"steps": [{"task": "Three@1"}]}),
    "a written list in a list stays": ("pool:\n- - a", {"pool": [["a"]]}),
    "insert": ("pool:\n  ${{ insert }}: ${{ parameters.map }}\n  z: 3", {"pool": {"x": 1, "y": "two", "z": 3}}),
    "insert of a map": ("pool:\n  ${{ insert }}:\n    a: 1\n  b: 2", {"pool": {"a": 1, "b": 2}}),
    "insert of nothing": ("pool:\n  ${{ insert }}: ${{ parameters.none }}\n  b: 2", {"pool": {"b": 2}}),
    # V "Understand variable syntax": static variables
    "variables of a map": (
        "variables:\n  a: 1\n  b: ${{ variables.a }}0\nname: ${{ variables['B'] }}",
        {"variables": {"a": 1, "b": "10"}, "name": "10"},
    ),
    "variables of a list": (
        "name: ${{ variables.b }}\nvariables:\n- name: a\n  value: one\n- name: b\n  value: ${{ variables.a }}!",
        {"name": "one!", "variables": [{"name": "a", "value": "one"}, {"name": "b", "value": "one!"}]},
    ),
    "an unknown variable is empty": ("name: <${{ variables.noSuch }}>", {"name": "<>"}),
    "a variable of a run is its text": (
        "variables: {a: '$[ 1 ]'}\nname: ${{ variables.a }}",
        {"variables": {"a": "$[ 1 ]"}, "name": "$[ 1 ]"},
    ),
    "a variable is a string": (
        "variables: {a: false}\npool:\n  ${{ if variables.a }}: {b: 1}",
        {"variables": {"a": False}, "pool": {"b": 1}},
    ),
    "variables from a parameter": (
        "variables: ${{ parameters.map }}\nname: ${{ variables.y }}",
        {"variables": {"x": 1, "y": "two"}, "name": "two"},
    ),
    "a later variable wins": (
        "variables:\n- {name: a, value: 1}\n- {name: A, value: 2}\nname: v${{ variables.a }}",
        {"variables": [{"name": "a", "value": 1}, {"name": "A", "value": 2}], "name": "v2"},
    ),
    "a variable in an if": (
        "variables:\n- ${{ if true }}:\n  - {name: a, value: b}\nname: ${{ variables.a }}",
        {"variables": [{"name": "a", "value": "b"}], "name": "b"},
    ),
    "a job's own variables": (
        "variables: {a: root}\njobs:\n- job: A\n  variables: {a: own}\n  displayName: ${{ variables.a }}\n- job: B\n"
        "  displayName: ${{ variables.a }}",
        {
            "variables": {"a": "root"},
            "jobs": [{"job": "A", "variables": {"a": "own"}, "displayName": "own"}, {"job": "B", "displayName": "root"}],
        },
    ),
    "a stage's own variables, seen by its jobs": (
        "stages:\n- stage: A\n  jobs:\n  - job: B\n    displayName: ${{ variables.a }}\n  variables: {a: stage}\n- stage: C\n"
        "  displayName: <${{ variables.a }}>",
        {
            "stages": [
                {"stage": "A", "jobs": [{"job": "B", "displayName": "stage"}], "variables": {"a": "stage"}},
                {"stage": "C", "displayName": "<>"},
            ]
        },
    ),
    "variables of a job under an if": (
        "jobs:\n- ${{ if 1 }}:\n    job: A\n    displayName: ${{ variables.own }}\n    variables: {own: a}\n- job: B\n"
        "  displayName: <${{ variables.own }}>",
        {"jobs": [{"job": "A", "displayName": "a", "variables": {"own": "a"}}, {"job": "B", "displayName": "<>"}]},
    ),
    "a group is not seen": (
        "variables:\n- group: secrets\nname: <${{ variables.token }}>",
        {"variables": [{"group": "secrets"}], "name": "<>"},
    ),
    # Y "resources.repositories.repository": the ref alone takes an expression
    "the ref of a repository": (
        "resources:\n  repositories:\n  - {repository: r, name: n, ref: 'refs/heads/${{ parameters.word }}'}",
        {"resources": {"repositories": [{"repository": "r", "name": "n", "ref": "refs/heads/main"}]}},
    ),
    "containers take expressions": (
        "resources:\n  containers:\n  - ${{ each n in parameters.names }}:\n    - {container: '${{ n }}', image: i}",
        {"resources": {"containers": [{"container": "a", "image": "i"}, {"container": "b", "image": "i"}]}},
    ),
}


# P: types. Each with what is given, and the value and its kind in the template.
TYPES: list[tuple[str, str, Any, str]] = [
    ("string", "text", "text", "String"),
    ("string", "3.10", "3.10", "String"),
    ("string", "true", "true", "String"),
    ("string", "''", "", "String"),
    ("string", "", "", "String"),
    ("environment", "prod", "prod", "String"),
    ("serviceConnection", "azure", "azure", "String"),
    ("number", "7", 7, "Number"),
    ("number", "'1.50'", 1.5, "Number"),
    ("number", "-2", -2, "Number"),
    ("boolean", "true", True, "Boolean"),
    ("boolean", "'False'", False, "Boolean"),
    ("boolean", "TRUE", True, "Boolean"),
    ("object", "[1, '1', true, 'true', ~, x]", [1, "1", True, "true", None, "x"], "Array"),
    ("object", "{a: {b: 1.50}, c: ''}", {"a": {"b": 1.5}, "c": ""}, "Object"),
    ("object", "8.0", 8, "Number"),
    ("object", "", None, "Null"),
    ("legacyObject", "{a: true, b: [1]}", {"a": "true", "b": ["1"]}, "Object"),
    ("pool", "{vmImage: x}", {"vmImage": "x"}, "Object"),
    ("step", "{bash: x}", {"task": "Bash@3", "inputs": {"targetType": "inline", "script": "x"}}, "Object"),
    ("step", "{task: A@1}", {"task": "A@1"}, "Object"),
    ("stepList", "[{checkout: self}]", [{"checkout": "self"}], "Array"),
    ("stepList", "", [], "Array"),
    (
        "job",
        "{job: a, steps: [{bash: x}]}",
        {"job": "a", "steps": [{"task": "Bash@3", "inputs": {"targetType": "inline", "script": "x"}}]},
        "Object",
    ),
    ("jobList", "[{job: a}, {deployment: b}]", [{"job": "a"}, {"deployment": "b"}], "Array"),
    ("deployment", "{deployment: a}", {"deployment": "a"}, "Object"),
    ("deploymentList", "[{deployment: a}]", [{"deployment": "a"}], "Array"),
    ("stage", "{stage: a, jobs: []}", {"stage": "a", "jobs": []}, "Object"),
    ("stageList", "[{stage: a}]", [{"stage": "a"}], "Array"),
    ("container", "{container: a, image: b}", {"container": "a", "image": "b"}, "Object"),
    ("containerList", "[{container: a}]", [{"container": "a"}], "Array"),
]


FAULTS: dict[str, tuple[str, dict[str, str], str]] = {
    # Where it is wrong, for every one: file, line and column.
    "an expression that can't be parsed": (
        "steps:\n- bash: one\n- bash: two ${{ eq(1 }}\n",
        {},
        "/pipeline.yml (Line: 3, Col: 9): Unclosed function: 'eq'. Located at position 1 within expression: eq(1. For more",
    ),
    "also where no branch reaches it": (
        "steps:\n- ${{ if false }}:\n  - bash: ${{ 3 + 4 }}\n",
        {},
        "/pipeline.yml (Line: 3, Col: 11): Unexpected symbol: '+'. Located at position 3 within expression: 3 + 4.",
    ),
    "in a key": ("pool:\n  ${{ a. }}: 1\n", {}, "/pipeline.yml (Line: 2, Col: 3): Expected a property name"),
    "in a condition of an if": ("pool:\n  ${{ if and(1) }}:\n    a: 1\n", {}, "/pipeline.yml (Line: 2, Col: 3): Unexpected symbol: ')'"),
    "an if without a condition": ("pool:\n  ${{ if }}:\n    a: 1\n", {}, "/pipeline.yml (Line: 2, Col: 3): An expression was expected"),
    "an empty expression": ("name: ${{ }}\n", {}, "/pipeline.yml (Line: 1, Col: 7): An expression was expected"),
    "an expression that is not closed": (
        "name: a ${{ 'b }}' \n",
        {},
        "/pipeline.yml (Line: 1, Col: 7): The expression is not closed. An unescaped ${{ sequence was found, but the closing }}",
    ),
    "an unknown name": ("name: ${{ nothing }}\n", {}, "/pipeline.yml (Line: 1, Col: 7): Unrecognized value: 'nothing'."),
    "a function of a run": ("name: ${{ succeeded() }}\n", {}, "/pipeline.yml (Line: 1, Col: 7): Unrecognized value: 'succeeded'."),
    "an unknown parameter": (
        "steps:\n- script: ${{ parameters.undefined }}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 11): Key not found 'undefined'",
    ),
    "a list inside text": (
        "parameters:\n- {name: a, type: object, default: [1]}\nname: x ${{ parameters.a }}\n",
        {},
        "/pipeline.yml (Line: 3, Col: 7): Unable to convert from Array to String. Value: Array",
    ),
    # X "Conditional insertion"
    "else without an if": (
        "pool:\n  a: 1\n  ${{ else }}:\n    b: 2\n",
        {},
        "/pipeline.yml (Line: 3, Col: 3): The expression directive 'else' is not supported in this context: it follows no 'if'",
    ),
    "elseif without an if": (
        "pool:\n- ${{ elseif 1 }}:\n  - a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): The expression directive 'elseif' is not",
    ),
    "a key between if and else": (
        "pool:\n  ${{ if 1 }}:\n    a: 1\n  c: 3\n  ${{ else }}:\n    b: 2\n",
        {},
        "/pipeline.yml (Line: 5, Col: 3): The expression directive 'else'",
    ),
    "an item between if and else": (
        "pool:\n- ${{ if 1 }}:\n  - a\n- b\n- ${{ else }}:\n  - c\n",
        {},
        "/pipeline.yml (Line: 5, Col: 3): The expression directive 'else'",
    ),
    "an each between if and else": (
        "pool:\n- ${{ if 1 }}:\n  - a\n- ${{ each x in split('', ',') }}:\n  - b\n- ${{ else }}:\n  - c\n",
        {},
        "/pipeline.yml (Line: 6, Col: 3): The expression directive 'else'",
    ),
    "a second else": (
        "pool:\n- ${{ if 0 }}:\n  - a\n- ${{ else }}:\n  - b\n- ${{ else }}:\n  - c\n",
        {},
        "/pipeline.yml (Line: 6, Col: 3): The expression directive 'else'",
    ),
    "elseif after else": (
        "pool:\n- ${{ if 0 }}:\n  - a\n- ${{ else }}:\n  - b\n- ${{ elseif 1 }}:\n  - c\n",
        {},
        "/pipeline.yml (Line: 6, Col: 3): The expression directive 'elseif'",
    ),
    "else with a condition": (
        "pool:\n  ${{ if 0 }}:\n    a: 1\n  ${{ else 1 }}:\n    b: 2\n",
        {},
        "/pipeline.yml (Line: 4, Col: 3): Exactly 0 parameter(s) were expected following the directive 'else'",
    ),
    "else without a colon": (
        "pool:\n- ${{ if false }}:\n  - ${{ else }}\n",
        {},
        "/pipeline.yml (Line: 3, Col: 5): The expression directive 'else' is not supported in this context",
    ),
    "a directive inside text": (
        "name: a ${{ if true }} b\n",
        {},
        "/pipeline.yml (Line: 1, Col: 7): The expression directive 'if' is not supported in this context",
    ),
    "an if in a map that holds a list": (
        "pool:\n  ${{ if true }}:\n  - a\n  b: 1\n",
        {},
        "/pipeline.yml (Line: 3, Col: 3): Expected a mapping",
    ),
    "an insert of a list": ("pool:\n  ${{ insert }}: [a]\n", {}, "/pipeline.yml (Line: 2, Col: 18): Expected a mapping"),
    "an if in a list that holds text": (
        "pool:\n- ${{ if true }}: text\n",
        {},
        "/pipeline.yml (Line: 2, Col: 19): Expected a sequence or mapping",
    ),
    "each without a name": (
        "pool:\n- ${{ each in x }}:\n  - a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): Expected 'each NAME in EXPRESSION'",
    ),
    "each over a string": (
        "pool:\n- ${{ each x in 'ab' }}:\n  - a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): Expected a sequence or mapping. Actual value 'ab'",
    ),
    "each over a number": (
        "pool:\n- ${{ each x in 12 }}:\n  - a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): Expected a sequence or mapping. Actual value 12",
    ),
    "a key twice after expansion": (
        "pool:\n  a: 1\n  ${{ insert }}:\n    A: 2\n",
        {},
        "/pipeline.yml (Line: 4, Col: 5): 'A' is already defined",
    ),
    "an expression in a trigger": (
        "trigger:\n- ${{ variables.x }}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): A template expression is not allowed in this context",
    ),
    "an if in a trigger": (
        "trigger:\n  ${{ if true }}:\n    branches: [a]\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): A template expression is not allowed in this context",
    ),
    "an expression in a repository's name": (
        "resources:\n  repositories:\n  - repository: r\n    name: ${{ 'n' }}\n",
        {},
        "/pipeline.yml (Line: 4, Col: 11): A template expression is not allowed in this context",
    ),
    "an expression in a default": (
        "parameters:\n- name: a\n  type: string\n  default: ${{ variables.x }}\n",
        {},
        "/pipeline.yml (Line: 4, Col: 12): A template expression is not allowed in this context",
    ),
    # T: includes
    "a file that isn't there": (
        "steps:\n- template: none.yml\n",
        {},
        "/pipeline.yml (Line: 2, Col: 13): File /none.yml not found in repository flight-delay branch refs/heads/main.",
    ),
    "a file that isn't in the catalog": (
        dedent(CATALOG) + "steps:\n- template: /none.yml@catalog\n",
        {},
        "/pipeline.yml (Line: 8, Col: 13): File /none.yml not found in repository mlops/catalog branch refs/tags/v1 version abc123.",
    ),
    "a repository that isn't declared": (
        "steps:\n- template: a.yml@catalog\n",
        {},
        "/pipeline.yml (Line: 2, Col: 13): Repository alias 'catalog' is not defined: declare it under resources.repositories",
    ),
    "a repository that isn't given": (
        "resources:\n  repositories:\n  - repository: other\n    name: n\nsteps:\n- template: a.yml@other\n",
        {},
        "/pipeline.yml (Line: 6, Col: 13): Repository 'other' is declared, but no folder was given for it",
    ),
    "a path out of the repository": (
        "steps:\n- template: ../a.yml\n",
        {},
        "/pipeline.yml (Line: 2, Col: 13): Template path '../a.yml' leaves its repository",
    ),
    "a template that isn't first": (
        "steps:\n- parameters: {a: 1}\n  template: a.yml\n",
        {},
        "/pipeline.yml (Line: 3, Col: 3): 'template' must be the first property",
    ),
    "a key beside a template": (
        "jobs:\n- template: a.yml\n  condition: false\n",
        {"a.yml": "jobs: []"},
        "/pipeline.yml (Line: 3, Col: 3): Unexpected value 'condition'",
    ),
    "a template without a name": ("steps:\n- template:\n", {}, "/pipeline.yml (Line: 2, Col: 12): Expected a scalar value"),
    "steps where jobs are wanted": (
        "jobs:\n- template: a.yml\n",
        {"a.yml": "steps:\n- bash: x\n"},
        "/a.yml (Line: 1, Col: 1): Unexpected value 'steps'",
    ),
    "an unknown key of a template": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "steps: []\n\nname: x\n"},
        "/a.yml (Line: 3, Col: 1): Unexpected value 'name'",
    ),
    "an unknown key of a template that is extended": (
        "extends:\n  template: a.yml\n",
        {"a.yml": "name: x\nsteps: []\n"},
        "/a.yml (Line: 1, Col: 1): Unexpected value 'name'",
    ),
    "an unknown key of a pipeline": ("stepz: []\n", {}, "/pipeline.yml (Line: 1, Col: 1): Unexpected value 'stepz'"),
    "a template that is a list": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "- bash: x\n"},
        "/a.yml (Line: 1, Col: 1): A mapping was expected",
    ),
    "steps that are no list": ("steps:\n- template: a.yml\n", {"a.yml": "steps: x\n"}, "/a.yml (Line: 1, Col: 8): A sequence was expected"),
    "steps that are a map": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "steps: {bash: x}\n"},
        "/a.yml (Line: 1, Col: 8): A sequence was expected",
    ),
    "a template that is no YAML": ("steps:\n- template: a.yml\n", {"a.yml": "steps: [\n"}, "/a.yml (Line: 2, Col: 1): "),
    "a fault deep inside": (
        dedent(CATALOG) + "stages:\n- template: a/s.yml@catalog\n",
        {
            "a/s.yml@catalog": "stages:\n- stage: s\n  jobs:\n  - template: j.yml\n",
            "a/j.yml@catalog": "jobs:\n- job: ${{ parameters.x }}\n",
        },
        "/a/j.yml@catalog (Line: 2, Col: 8): Key not found 'x'",
    ),
    "variables of both": (
        "variables: {a: 1}\nextends:\n  template: a.yml\n",
        {"a.yml": "variables: {b: 1}\nsteps: []\n"},
        "/a.yml (Line: 1, Col: 1): 'variables' is already defined",
    ),
    "extends without a template": ("extends:\n  parameters: {a: 1}\n", {}, "/pipeline.yml (Line: 2, Col: 3): Expected 'template'"),
    "extends that is no map": ("extends: a.yml\n", {}, "/pipeline.yml (Line: 1, Col: 10): A mapping was expected"),
    "a template that includes itself": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "steps:\n- template: a.yml\n"},
        "/a.yml (Line: 2, Col: 13): The template includes itself: /a.yml -> /a.yml",
    ),
    "two that include each other": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "steps:\n- template: b.yml\n", "b.yml": "steps:\n- template: a.yml\n"},
        "/b.yml (Line: 2, Col: 13): The template includes itself: /a.yml -> /b.yml -> /a.yml",
    ),
    "an unknown group": (
        "variables:\n- group: none\n",
        {},
        "/pipeline.yml (Line: 2, Col: 10): Variable group none could not be found. The variable group does not exist or has "
        "not been authorized",
    ),
    # P: parameters
    "a parameter that is missing": (
        "steps:\n- template: a.yml\n  parameters:\n    b: 1\n",
        {"a.yml": "parameters:\n- {name: a, type: string}\n- {name: b, type: string}\nsteps: []\n"},
        "/pipeline.yml (Line: 4, Col: 5): A value for the 'a' parameter must be provided.",
    ),
    "a parameter that is missing, and none given": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "parameters:\n- {name: a, type: string}\nsteps: []\n"},
        "/pipeline.yml (Line: 2, Col: 13): A value for the 'a' parameter must be provided.",
    ),
    "a parameter of the pipeline that is missing": (
        "parameters:\n- name: a\n  type: string\nsteps: []\n",
        {},
        "/pipeline.yml (Line: 2, Col: 9): A value for the 'a' parameter must be provided.",
    ),
    "an unexpected parameter": (
        "steps:\n- template: a.yml\n  parameters:\n    a: 1\n    speltWrong: 1\n",
        {"a.yml": "parameters:\n- {name: a, type: string}\nsteps: []\n"},
        "/pipeline.yml (Line: 5, Col: 5): Unexpected parameter 'speltWrong'",
    ),
    "a parameter given twice": (
        "steps:\n- template: a.yml\n  parameters:\n    a: 1\n    A: 1\n",
        {"a.yml": "parameters:\n- {name: a, type: string}\nsteps: []\n"},
        "/pipeline.yml (Line: 5, Col: 5): 'A' is already defined",
    ),
    "parameters that are a list": (
        "steps:\n- template: a.yml\n  parameters: [a]\n",
        {"a.yml": "steps: []\n"},
        "/pipeline.yml (Line: 3, Col: 15): A mapping was expected",
    ),
    "a parameter without a name": (
        "parameters:\n- type: string\n  default: a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): A parameter begins with its 'name'",
    ),
    "a name that isn't first": (
        "parameters:\n- type: string\n  name: a\n",
        {},
        "/pipeline.yml (Line: 2, Col: 3): A parameter begins with its 'name'",
    ),
    "an unknown key of a parameter": (
        "parameters:\n- name: a\n  kind: string\n",
        {},
        "/pipeline.yml (Line: 3, Col: 3): Unexpected value 'kind'",
    ),
    "an unknown type": ("parameters:\n- name: a\n  type: text\n", {}, "/pipeline.yml (Line: 3, Col: 9): Unexpected value 'text'"),
    "a parameter declared twice": (
        "parameters:\n- {name: a, default: 1}\n- {name: A, default: 1}\n",
        {},
        "/pipeline.yml (Line: 3, Col: 10): 'A' is already defined",
    ),
    "a parameter that is text": ("parameters:\n- a\n", {}, "/pipeline.yml (Line: 2, Col: 3): A mapping was expected"),
    "parameters that are text": ("parameters: a\n", {}, "/pipeline.yml (Line: 1, Col: 13): Expected a sequence or mapping"),
    "values that are no list": ("parameters:\n- name: a\n  values: b\n", {}, "/pipeline.yml (Line: 3, Col: 11): A sequence was expected"),
    "a stringList in a template": (
        "steps:\n- template: a.yml\n",
        {"a.yml": "parameters:\n- name: a\n  type: stringList\nsteps: []\n"},
        "/a.yml (Line: 3, Col: 9): The stringList type is not available in templates: use object",
    ),
    "a list without a type": (
        "parameters:\n- name: a\n  default:\n  - b\n",
        {},
        "/pipeline.yml (Line: 4, Col: 3): A sequence was not expected",
    ),
    "a map for a string": (
        "parameters:\n- name: a\n  type: string\n  default: {b: c}\n",
        {},
        "/pipeline.yml (Line: 4, Col: 12): A mapping was not expected",
    ),
    "no boolean": (
        "steps:\n- template: a.yml\n  parameters:\n    yesNo: apples\n",
        {"a.yml": "parameters:\n- {name: yesNo, type: boolean}\nsteps: []\n"},
        "/pipeline.yml (Line: 4, Col: 12): The 'yesNo' parameter value 'apples' is not a valid Boolean.",
    ),
    "a macro for a boolean": (
        "steps:\n- template: a.yml\n  parameters:\n    yesNo: $(x)\n",
        {"a.yml": "parameters:\n- {name: yesNo, type: boolean}\nsteps: []\n"},
        "/pipeline.yml (Line: 4, Col: 12): The 'yesNo' parameter value '$(x)' is not a valid Boolean.",
    ),
    "no number": (
        "parameters:\n- {name: a, type: number, default: one}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 36): The 'a' parameter value 'one' is not a valid Number.",
    ),
    "an empty number": (
        "parameters:\n- {name: a, type: number, default: ''}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 36): The 'a' parameter value '' is not a valid Number.",
    ),
    "a default that isn't allowed": (
        "parameters:\n- {name: a, default: d, values: [b, c]}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 22): The 'a' parameter value 'd' is not an allowed value. Allowed: b, c",
    ),
    "a number that isn't allowed": (
        "parameters:\n- {name: a, type: number, default: 3, values: [1, 2.0]}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 36): The 'a' parameter value '3' is not an allowed value. Allowed: 1, 2.0",
    ),
    "text for a stepList": (
        "parameters:\n- {name: a, type: stepList, default: b}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 38): A sequence was expected",
    ),
    "text among steps": (
        "parameters:\n- {name: a, type: stepList, default: [b]}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 39): A mapping was expected",
    ),
    "a list for a step": (
        "parameters:\n- {name: a, type: step, default: [b]}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 34): A mapping was expected",
    ),
    "a job among deployments": (
        "parameters:\n- {name: a, type: deploymentList, default: [{job: b}]}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 45): Expected 'deployment' as the first property",
    ),
    "a job for a stage": (
        "parameters:\n- {name: a, type: stage, default: {job: b}}\n",
        {},
        "/pipeline.yml (Line: 2, Col: 35): Expected 'stage' as the first property",
    ),
}
