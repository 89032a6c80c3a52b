"""The runner: what a pipeline does when it runs. Each expectation is a value that would be another if the rule were broken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from azure_pipelines.agent import Agent
from azure_pipelines.report import merge, whole
from azure_pipelines.run import Event
from azure_pipelines.service import CannotRun, Locks, Service
from running import Start, printed, steps

# --- variables ---


def test_the_nearest_variable_wins_and_macros_go_into_each_other(start: Start) -> None:
    found = start("""
        variables: {where: root, only.root: 1, chain: "<$(where)>", once: "$(twice)", twice: "$(once)"}
        stages:
        - stage: A
          variables: {where: stage}
          jobs:
          - job: a
            variables: {where: job}
            steps:
            - checkout: none
            - bash: echo "$(where) $(chain) $ONLY_ROOT"
            - bash: echo '$(once) ${{ }} $[where]'
          - job: b
            steps: [{checkout: none}, {bash: echo "$(where)"}]
        - stage: B
          jobs: [{job: c, steps: [{checkout: none}, {bash: echo "$(where)"}]}]
        """)
    assert printed(found, "a") == ["job <job> 1", "$(twice) ${{ }} $[where]"]
    assert printed(found, "b") == ["stage"]
    assert printed(found, "c") == ["root"]
    assert any("cyclical reference" in warning for step in found.job("a").steps for warning in step.warnings)


def test_an_unknown_macro_stays_and_one_that_came_from_a_value_is_not_looked_at(start: Start) -> None:
    found = start("""
        variables: {dollar: "$"}
        steps:
        - checkout: none
        - bash: |
            cat <<'END'
            $(no.such) $(dollar)(dollar) $()
            END
        """)
    assert printed(found) == ["$(no.such) $(dollar) $()"]


def test_variables_become_environment_and_go_before_the_steps_own(start: Start) -> None:
    found = start("""
        variables: {my.long name-x: value, shared: of the pipeline}
        steps:
        - checkout: none
        - bash: env | grep -i '^\\(MY_LONG\\|SHARED\\|MINE\\|TF_BUILD\\|AGENT_JOBS\\)' | LC_ALL=C sort
          env: {SHARED: of the step, mine: "  $(shared) "}
        """)
    assert printed(found) == [
        "AGENT_JOBSTATUS=Succeeded", "MY_LONG_NAME-X=value", "SHARED=of the pipeline", "TF_BUILD=True", "mine=of the pipeline",
    ]  # fmt: skip


def test_nothing_of_this_machine_reaches_a_step_but_what_the_agent_passes(start: Start, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OF_THIS_MACHINE", "secret")
    agent = Agent(tmp_path / "w", path=os.environ["PATH"], env={"HTTPS_PROXY": "http://127.0.0.1:9"})
    found = start("variables: {HOME: mine}\n" + steps('echo "[$OF_THIS_MACHINE] $HTTPS_PROXY $(HTTPS_PROXY) $HOME"'), agent=agent)
    assert printed(found) == ["[] http://127.0.0.1:9 http://127.0.0.1:9 mine"]


def test_a_macro_that_is_no_variable_may_be_of_the_agents_environment(start: Start, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "w", path=os.environ["PATH"], env={"BOTH": "agent", "ONE": "agent"})
    found = start("variables: {both: variable}\n" + steps("echo '$(BOTH) $(ONE) $(one)'"), agent=agent)
    assert printed(found) == ["variable agent $(one)"]


def test_predefined_variables(start: Start) -> None:
    expected = {
        "Build.SourceBranchName": "main",
        "Build.SourceBranch": "refs/heads/users/kim/main",
        "Build.Reason": "Schedule",
        "Build.BuildId": "77",
        "Build.DefinitionName": "release",
        "Build.RequestedFor": "Kim Doe",
        "Build.Repository.Name": "flight-delay",
        "System.TeamProject": "mlops",
        "System.CollectionUri": "https://dev.azure.com/contoso/",
        "System.StageName": "ship",
        "System.PhaseName": "roll",
        "System.JobName": "deploy",
        "System.JobDisplayName": "Roll it",
        "System.JobAttempt": "1",
        "System.StageAttempt": "1",
        "System.HostType": "build",
        "Environment.Name": "prod",
        "System.AccessToken": "***",
    }
    asked = "|".join(f"{name}=$({name})" for name in expected)
    found = start(
        f"""
        stages:
        - stage: ship
          jobs:
          - deployment: roll
            displayName: Roll it
            environment: prod
            strategy: {{runOnce: {{deploy: {{steps: [{{download: none}}, {{bash: printenv ASKED, env: {{ASKED: "{asked}"}}}}]}}}}}}
        """,
        branch="refs/heads/users/kim/main",
        reason="Schedule",
        build_id=77,
        pipeline="release",
        environments={"prod": {}},
    )
    assert dict(pair.split("=", 1) for pair in printed(found, "roll")[0].split("|")) == expected


def test_the_folders_of_an_agent(start: Start, tmp_path: Path) -> None:
    found = start(steps('pwd; echo "$(Pipeline.Workspace)"; touch $(Agent.TempDirectory)/left $AGENT_TOOLSDIRECTORY/kept; ls ..'))
    where = Path(printed(found)[1])
    assert printed(found)[0] == str(where / "s")
    assert printed(found)[2:] == ["TestResults", "a", "b", "s"]
    assert not (where.parent / "_temp").exists(), "emptied after the job"
    assert (tmp_path / "work" / "tools" / "kept").exists()


def test_a_runtime_expression_in_a_variable(start: Start) -> None:
    found = start("""
        variables:
        - {name: kind, value: Main}
        - {name: chosen, value: "$[ iif(eq(variables.kind, 'main'), format('{0}-{1}', variables.kind, variables['nothing']), 'other') ]"}
        - {name: partly, value: "a $[ 1 ]"}
        steps: [{checkout: none}, {bash: 'echo "$(chosen)" "$PARTLY"'}]
        """)
    assert printed(found) == ["Main- a $[ 1 ]"]


def test_groups_and_secrets(start: Start) -> None:
    found = start(
        """
        variables: [{group: common}, {name: wrap, value: "<$(password)>"}]
        steps:
        - checkout: none
        - bash: |
            echo "[$PASSWORD$WRAP] $MAPPED ${#MAPPED} $(plain)"
            echo 'a$(password)b$(password)$(password)'
            python3 -c 'import json, urllib.parse as u, os; p=os.environ["MAPPED"]; print(json.dumps(p), u.quote(p, safe=""))'
          env: {MAPPED: $(password)}
        """,
        variable_groups={"common": {"plain": "seen", "password": {"value": 'pa"ss /1', "secret": True}}},
    )
    assert printed(found) == ["[] *** 8 seen", "a***b***", '"***" ***']
    assert 'pa"ss' not in json.dumps(found.report())
    assert "ss /1" not in found.junit()


# --- logging commands ---


def test_a_variable_that_a_step_sets_is_there_for_the_next(start: Start) -> None:
    found = start(
        steps(
            """echo "##vso[task.setvariable variable=my.name]a%3Bb%5D%0Ac%AZP250A"; echo '$(my.name)'""",
            """printf '%s|%s\\n' "$MY_NAME" '$(my.name)'""",
        )
    )
    assert printed(found) == ["$(my.name)", "a;b]", "c%0A|a;b]", "c%0A"]


def test_outputs_are_under_the_steps_name_only(start: Start) -> None:
    found = start("""
        steps:
        - checkout: none
        - bash: |
            echo "see ##vso[task.setvariable variable=colour;isOutput=true]red"
          name: paint
        - bash: |
            echo '$(paint.colour) $(colour)' $PAINT_COLOUR
            echo "##vso[task.setvariable variable=paint.colour]blue"
        """)
    assert printed(found)[0] == "red $(colour) red"
    assert found.job("Job").step("paint").outputs == {"colour": "red"}
    last = found.job("Job").steps[-1]
    assert last.result == "Failed"
    assert "Overwriting readonly variable 'paint.colour' is not permitted" in last.errors[1]


def test_secrets_that_a_step_makes(start: Start) -> None:
    found = start(
        steps(
            'echo "##vso[task.setsecret]hush-1"; echo "is hush-1"; echo "##vso[task.setvariable variable=key;issecret=true]hush%3B2"',
            'echo "[$KEY] $(key)"; echo "##vso[task.setvariable variable=key]open"',
            'echo "[$KEY]"; echo "##vso[task.setvariable variable=lines;issecret=true]a%0Ab"',
        )
    )
    assert printed(found)[:3] == ["is ***", "[] ***", "[]"], "a secret stays one"
    assert found.job("Job").steps[-1].errors[1] == "Secrets cannot contain multiple lines"
    assert found.results == {"__default.Job": "Failed"}


@pytest.mark.parametrize(
    ("line", "result", "error", "warning"),
    [
        (
            "##vso[task.logissue type=error;sourcepath=a.py;linenumber=3;columnnumber=4;code=E1]bad%0Aworse",
            "Succeeded",
            "a.py(3,4): error E1: bad\nworse",
            "",
        ),
        ("##vso[task.logissue type=warning]hm", "Succeeded", "", "hm"),
        ("##vso[task.logissue type=notice]hm", "Failed", "issue type notice is not an expected issue type.", ""),
        ("##vso[task.complete result=SucceededWithIssues]x", "SucceededWithIssues", "", ""),
        ("##vso[task.complete result=Failed]x", "Failed", "", ""),
        ("##vso[task.complete result=failed]x", "Failed", "Command doesn't have valid result value.", ""),
        ("##vso[task.setvariable name=x]y", "Failed", "Required field 'variable' is missing in ##vso[task.setvariable] command.", ""),
        (
            "##vso[task.nothing]y",
            "Failed",
            "##vso[task.nothing] is not a recognized command for task command extension. Please reference documentation (http://go.microsoft.com/fwlink/?LinkId=817296).",
            "",
        ),
        (
            "##vso[nothing.known]y",
            "Succeeded",
            "",
            "Cannot find command extension for ##vso[nothing.command]. Please reference documentation (http://go.microsoft.com/fwlink/?LinkId=817296)",
        ),
        (
            "##vso[task]y",
            "Succeeded",
            "",
            "'##vso[task]y' contains logging command keyword '##vso', but it's not a legal command. "
            "Please see the list of accepted commands: https://go.microsoft.com/fwlink/?LinkId=817296",
        ),
        (
            "##vso[task.uploadsummary]/no/such.md",
            "Failed",
            "Cannot upload task attachment file, attachment file location is not specified or attachment file does not exist on disk.",
            "",
        ),
        ("##vso[results.publish]x", "Failed", "This runner does not do ##vso[results.publish]", ""),
        ("##[section]x", "Succeeded", "", ""),
    ],
)
def test_what_a_command_says_and_does_to_its_step(start: Start, line: str, result: str, error: str, warning: str) -> None:
    step = start(steps(f"cat <<'END'\n{line}\nEND")).job("Job").steps[0]
    assert (step.result, step.errors[-1:], step.warnings) == (result, [error] if error else [], [warning] if warning else [])
    assert any(text == line for text in step.lines) == ("task]" in line or "##[" in line), "a command is not printed, all else is"


def test_path_summary_artifact_tag_and_number(start: Start) -> None:
    found = start(
        steps(
            """
            mkdir tool out; printf '#!/bin/sh\\necho mine' > tool/thing; chmod +x tool/thing; echo 1 > out/one; echo '# All well' > s.md
            echo "##vso[task.prependpath]$PWD/tool"
            echo "##vso[task.uploadsummary]$PWD/s.md"
            echo "##vso[artifact.upload artifactname=kept;containerfolder=kept]$PWD/out"
            echo "##vso[build.addbuildtag]green"
            echo "##vso[build.updatebuildnumber]7.1"
            """,
            'thing; echo "$(Build.BuildNumber)"',
        )
    )
    assert printed(found) == ["mine", "7.1"]
    assert found.job("Job").summary == "# All well\n"
    assert (found.artifacts / "kept" / "one").read_text() == "1\n"
    assert found.job("Job").tags == ["green"]


# --- results and conditions ---


def test_what_a_failure_does_to_the_steps_after_it(start: Start) -> None:
    found = start("""
        steps:
        - checkout: none
        - {bash: exit 4, continueOnError: true, displayName: soft}
        - {bash: 'echo "$AGENT_JOBSTATUS"', displayName: on}
        - {bash: exit 5, displayName: hard}
        - {bash: echo no, displayName: default}
        - {bash: 'echo "$AGENT_JOBSTATUS"', condition: failed(), displayName: failed}
        - {bash: echo, condition: "and(succeededOrFailed(), eq(variables['Build.Reason'], 'manual'))", displayName: both}
        - {bash: echo, condition: canceled(), displayName: canceled}
        - {bash: echo, enabled: false, displayName: off}
        - {bash: exit 1, continueOnError: true, condition: always(), displayName: last}
        """)
    assert {step.name: step.result for step in found.job("Job").steps} == {
        "soft": "SucceededWithIssues", "on": "Succeeded", "hard": "Failed", "default": "Skipped",
        "failed": "Succeeded", "both": "Succeeded", "canceled": "Skipped", "last": "SucceededWithIssues",
    }  # fmt: skip
    assert printed(found)[0:1] == ["##[error]Bash exited with code '4'."]
    assert found.job("Job").step("on").lines[-1] == "SucceededWithIssues"
    assert found.job("Job").step("failed").lines[-1] == "Failed"
    assert found.result == "Failed"


GRAPH = """
    stages:
    - stage: A
      jobs: [{job: a, steps: [{checkout: none}, {bash: exit %s}]}]
    - stage: B
      condition: always()
      jobs: [{job: b, steps: [{checkout: none}, {bash: echo}]}]
    - stage: C
      jobs: [{job: c, steps: [{checkout: none}, {bash: echo}]}]
    - stage: D
      dependsOn: C
      condition: in(dependencies.C.result, 'Skipped', 'Canceled')
      jobs: [{job: d, steps: [{checkout: none}, {bash: echo}]}]
    - stage: E
      dependsOn: []
      jobs:
      - {job: e, steps: [{checkout: none}, {bash: exit 1, continueOnError: true}]}
      - {job: f, dependsOn: e, condition: "failed('e')", steps: [{checkout: none}, {bash: echo}]}
      - {job: g, dependsOn: f, steps: [{checkout: none}, {bash: echo}]}
      - {job: h, continueOnError: true, steps: [{checkout: none}, {bash: exit 1}]}
      - {job: i, dependsOn: [e, h], steps: [{checkout: none}, {bash: echo}]}
    """


@pytest.mark.parametrize(("code", "expected"), [(1, "FSKS"), (0, "SSSK")])
def test_stages_wait_for_all_before_them_also_indirectly(start: Start, code: int, expected: str) -> None:
    found = start(GRAPH % code)
    short = {"F": "Failed", "S": "Succeeded", "K": "Skipped"}
    names = {"A": 0, "B": 1, "C": 2, "D": 3}
    wanted = {name: short[expected[n]] for name, n in names.items()}
    assert {name: found.stages[name].result for name in names} == {**wanted, "D": "Succeeded" if code else "Skipped"}
    assert {name: found.results[f"E.{name}"] for name in "efghi"} == {
        "e": "SucceededWithIssues", "f": "Skipped", "g": "Skipped", "h": "SucceededWithIssues", "i": "Succeeded",
    }  # fmt: skip
    assert found.stages["E"].result == "SucceededWithIssues"
    assert "E.f" not in found.jobs


def test_a_condition_sees_what_was_written_and_not_what_is_worked_out_in_the_unit_itself(start: Start) -> None:
    found = start("""
        variables: {root: "$[ format('{0}', 1) ]"}
        stages:
        - stage: A
          condition: and(eq(variables.own, 'x'), eq(variables.computed, ''), eq(variables.root, '1'))
          variables: {own: x, computed: "$[ format('{0}', 'y') ]"}
          jobs:
          - job: a
            condition: and(eq(variables.mine, 'x'), eq(variables.later, ''), eq(variables.computed, 'y'))
            variables: {mine: x, later: "$[ format('{0}', 'z') ]"}
            steps: [{checkout: none}, {bash: echo $(later), condition: "eq(variables.later, 'z')"}]
        """)
    assert printed(found, "a") == ["z"]


def test_outputs_within_a_stage_and_across_stages(start: Start) -> None:
    set_it = "{bash: 'echo \"##vso[task.setvariable variable=v;isoutput=true]%s\"', name: s}"
    found = start(
        f"""
        stages:
        - stage: A
          jobs:
          - job: plain
            steps: [{{checkout: none}}, {set_it % "one"}]
          - deployment: ship
            environment: dev
            strategy: {{runOnce: {{deploy: {{steps: [{set_it % "two"}]}}}}}}
          - deployment: hooks
            environment: dev
            strategy: {{runOnce: {{preDeploy: {{steps: [{set_it % "three"}]}}, deploy: {{steps: [{set_it % "four"}]}}}}}}
          - job: matrix
            strategy: {{matrix: {{left: {{x: l}}, right: {{x: r}}}}}}
            steps: [{{checkout: none}}, {set_it % "$(x)"}]
          - job: reader
            dependsOn: [plain, ship, hooks, matrix]
            variables:
              p: $[ dependencies.plain.outputs['s.v'] ]
              d: $[ dependencies.ship.outputs['ship.s.v'] ]
              h: $[ dependencies.hooks.outputs['preDeploy.s.v'] ]$(none)
              h1: $[ dependencies.hooks.outputs['preDeploy.s.v'] ]
              h2: $[ dependencies.hooks.outputs['Deploy.s.v'] ]
              m: $[ dependencies.matrix.outputs['right.s.v'] ]
              no: $[ dependencies.ship.outputs['s.v'] ]
            steps: [{{checkout: none}}, {{bash: 'echo "$P $D $H1 $H2 $M [$NO]"; echo "$M" "${{H:0:2}}"'}}]
        - stage: B
          condition: and(eq(dependencies.A.outputs['plain.s.v'], 'one'), eq(dependencies.A.outputs['ship.ship.s.v'], 'two'))
          variables: {{p: "$[ stageDependencies.A.plain.outputs['s.v'] ]", d: "$[ stageDependencies.A.ship.outputs['ship.s.v'] ]"}}
          jobs:
          - job: b
            condition: eq(stageDependencies.A.plain.result, 'Succeeded')
            steps: [{{checkout: none}}, {{bash: 'echo "$P $D"'}}]
        - stage: C
          variables: {{p: "$[ stageDependencies.A.plain.outputs['s.v'] ]"}}
          jobs: [{{job: c, steps: [{{checkout: none}}, {{bash: 'echo "[$P]"'}}]}}]
        """,
        environments={"dev": {}},
    )
    assert printed(found, "reader")[0] == "one two three four r []"
    assert printed(found, "reader")[1] == "r $[", "what is only a part of a value is no expression"
    assert printed(found, "b") == ["one two"]
    assert printed(found, "c") == ["[]"], "only of stages that it depends on itself"


def test_each_leg_of_a_matrix_runs_with_its_own_values_and_no_more_at_once_than_allowed(start: Start) -> None:
    running: list[str] = []
    together: list[int] = []

    def watch(event: Event) -> None:
        if event.step is None and event.job.name == "build":
            (running.append if event.kind == "begin" else running.remove)(event.job.id)
            together.append(len(running))

    found = start(
        """
        jobs:
        - job: build
          displayName: Build
          strategy: {maxParallel: 2, matrix: {py310: {version: "3.10"}, py312: {version: "3.12"}, bad: {version: x}}}
          steps: [{checkout: none}, {bash: 'echo "$(version) $(System.JobName) $(System.JobDisplayName) $VERSION"; test $(version) != x'}]
        - job: made
          strategy: {matrix: "$[ format('{{\\"one\\": {{\\"n\\": \\"{0}\\"}}}}', 5) ]"}
          steps: [{checkout: none}, {bash: echo $N}]
        - job: sliced
          strategy: {parallel: 2}
          steps: [{checkout: none}, {bash: echo $(System.JobPositionInPhase) of $(System.TotalJobsInPhase)}]
        """,
        watch=watch,
    )
    assert printed(found, "__default.build.py310") == ["3.10 py310 Build py310 3.10"]
    assert printed(found, "__default.build.py312") == ["3.12 py312 Build py312 3.12"]
    assert found.job("__default.build.bad").result == "Failed"
    assert found.results == {"__default.build": "Failed", "__default.made": "Succeeded", "__default.sliced": "Succeeded"}
    assert max(together) == 2
    assert printed(found, "__default.made.one") == ["5"]
    assert printed(found, "__default.sliced.Job_2") == ["2 of 2"]


def test_the_hooks_of_a_deployment(start: Start) -> None:
    hooks = """
        jobs:
        - deployment: roll
          environment: PROD
          strategy:
            runOnce:
              preDeploy: {steps: [{bash: 'echo pre; echo x > left; echo "##vso[task.setvariable variable=v]1"'}]}
              deploy: {steps: [{download: none}, {bash: 'echo "deploy [$V]"; ls; exit %s'}]}
              routeTraffic: {steps: [{bash: echo route}]}
              on: {failure: {steps: [{bash: echo restore}]}, success: {steps: [{bash: echo well}]}}
        """
    good = start(hooks % 0, environments={"prod": {}})
    assert printed(good, "roll") == ["pre", "deploy []", "route", "well"], "each hook has an agent of its own"
    bad = start(hooks % 1, environments={"prod": {}})
    assert printed(bad, "roll") == ["pre", "deploy []", "##[error]Bash exited with code '1'.", "restore"]
    assert bad.result == "Failed"


def test_jobs_and_stages_that_do_not_wait_for_each_other_run_side_by_side(start: Start, tmp_path: Path) -> None:
    """Each of the three waits until all have begun, so that they could not end one after the other."""
    wait = f"for n in `seq 600`; do test `ls {tmp_path}/*.up | wc -l` = 3 && exit; sleep 0.05; done; exit 1"
    step = f"{{bash: 'touch {tmp_path}/$(System.PhaseName).up; {wait}'}}"
    found = start(f"""
        stages:
        - {{stage: A, jobs: [{{job: a, steps: [{{checkout: none}}, {step}]}}, {{job: b, steps: [{{checkout: none}}, {step}]}}]}}
        - {{stage: B, dependsOn: [], jobs: [{{job: c, steps: [{{checkout: none}}, {step}]}}]}}
        """)
    assert set(found.results.values()) == {"Succeeded"}


# --- time ---


def test_time_limits_end_a_step_and_a_job(start: Start) -> None:
    found = start("""
        jobs:
        - job: a
          steps:
          - checkout: none
          - {bash: exec sleep 60, timeoutInMinutes: 0.005, displayName: long}
          - {bash: echo, condition: failed(), displayName: after}
        - job: b
          timeoutInMinutes: 0.01
          steps:
          - checkout: none
          - {bash: exec sleep 60, displayName: long}
          - {bash: echo, condition: always(), displayName: always}
          - {bash: echo, condition: canceled(), displayName: canceled}
          - {bash: echo, displayName: default}
          - {bash: echo, condition: failed(), displayName: failed}
        - job: c
          timeoutInMinutes: 0.005
          steps:
          - checkout: none
          - {bash: sleep 0.6; echo whole, condition: always()}
          - {bash: echo}
        """)
    assert [step.result for step in found.job("a").steps] == ["Failed", "Succeeded"]
    assert [step.result for step in found.job("c").steps] == ["Succeeded", "Skipped"], "a step that always runs is not cut off"
    assert found.job("c").steps[0].lines[-1] == "whole"
    assert found.job("a").step("long").errors[0] == "The task has timed out."
    assert [step.result for step in found.job("b").steps] == ["Canceled", "Succeeded", "Succeeded", "Skipped", "Skipped"]
    assert "ran longer than the maximum time of 0.01 minutes" in found.job("b").errors[0]
    assert found.results == {"__default.a": "Failed", "__default.b": "Canceled", "__default.c": "Canceled"}


def test_a_cancelled_job_is_ended_when_its_last_steps_take_too_long(start: Start) -> None:
    found = start("""
        jobs:
        - job: a
          timeoutInMinutes: 0.003
          cancelTimeoutInMinutes: 0.005
          steps:
          - checkout: none
          - bash: exec sleep 60
          - {bash: "trap '' INT TERM; sleep 60", condition: always()}
          - {bash: echo never, condition: always()}
        """)
    assert [step.result for step in found.job("a").steps] == ["Canceled", "Canceled"]


def test_a_task_is_tried_again(start: Start) -> None:
    found = start("""
        steps:
        - checkout: none
        - {bash: 'echo try; test -e again || { touch again; exit 1; }', retryCountOnTaskFailure: 3}
        """)
    assert [line for line in printed(found) if line == "try"] == ["try"]
    assert found.job("Job").lines.count("try") == 2
    assert found.result == "Succeeded"


def test_a_run_is_cancelled_at_its_limit(start: Start) -> None:
    with pytest.raises(CannotRun, match=r"its limit of 0\.5 s"):
        start(steps("exec sleep 60"), limit=0.5)


CANCELLED = """
    stages:
    - stage: A
      jobs:
      - job: a
        steps:
        - checkout: none
        - bash: exec bash -c 'trap "echo restored; exit 130" INT TERM; sleep 60 & echo "pid $!"; echo ready $$; wait'
        - {bash: echo still $AGENT_JOBSTATUS, condition: always()}
        - bash: echo never
      - {job: later, dependsOn: a, steps: [{checkout: none}, {bash: echo never}]}
    - stage: B
      jobs: [{job: b, steps: [{checkout: none}, {bash: echo never}]}]
    - stage: C
      condition: always()
      jobs: [{job: c, steps: [{checkout: none}, {bash: echo cleaned up}]}]
    """


@pytest.mark.parametrize("how", ["signal", "watcher"])
def test_an_interrupt_cancels_as_the_agent_does_and_comes_back(start: Start, how: str) -> None:
    seen: list[str] = []
    results: dict[str, str] = {}

    def watch(event: Event) -> None:
        if event.kind == "line" and not event.text.startswith(("Generating", "=====", "Script", "echo", "exec", "##[")):
            seen.append(event.text)
        if event.kind == "end" and event.step is None:
            results[event.job.name] = event.job.result
        if event.kind == "line" and event.text.startswith("ready "):
            if how == "watcher":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start(CANCELLED, watch=watch)
    assert signal.getsignal(signal.SIGINT) is before
    assert seen[2:] == ["restored", "still Canceled", "Skipping step due to condition evaluation.", "cleaned up"]
    assert results == {"a": "Canceled", "c": "Succeeded"}
    assert not any(_alive(int(line.split()[1])) for line in seen[:2])


def test_only_the_first_process_of_a_step_hears_of_it(start: Start) -> None:
    seen: list[str] = []

    def watch(event: Event) -> None:
        if event.kind == "line":
            seen.append(event.text)
            if event.text == "ready":
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start(steps("bash -c 'trap \"echo heard\" INT; echo ready; sleep 0.3'"), watch=watch)
    assert "ready" in seen
    assert "heard" not in seen


def test_a_killed_runner_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from types import SimpleNamespace; from pathlib import Path
from azure_pipelines import nodes; from azure_pipelines.agent import Agent; from azure_pipelines.run import run
from azure_pipelines.service import Service
text = "steps: [{{checkout: none}}, {{bash: 'echo pid $$; sleep 60 & echo pid $!; wait'}}]"
run(SimpleNamespace(document=nodes.load(text, "/p")), Service.read({{"repositories": {{"self": {{"folder": {str(project)!r}}}}}}}),
    Agent(Path({str(tmp_path / "w")!r}), path={os.environ["PATH"]!r}), watch=lambda e: print(e.text, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        found: list[int] = []
        for line in runner.stdout:
            if line.startswith("pid "):
                found.append(int(line.split()[1]))
            if len(found) == 2:
                break
        runner.kill()
    deadline = time.monotonic() + 20
    while any(_alive(number) for number in found) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(found) == 2
    assert not any(_alive(number) for number in found)


def _alive(number: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    return False


# --- approvals and locks ---


@pytest.mark.parametrize(
    ("verdicts", "result"), [(["approved", "approved"], "Succeeded"), (["approved", "rejected"], "Failed"), (["pending"], "Skipped")]
)
def test_approvals_come_before_the_stage(start: Start, verdicts: list[str], result: str) -> None:
    found = start(
        """
        stages:
        - stage: prod
          jobs:
          - {job: before, steps: [{checkout: none}, {bash: echo}]}
          - {deployment: roll, environment: production, strategy: {runOnce: {deploy: {steps: [{bash: echo}]}}}}
        - stage: after
          jobs: [{job: x, steps: [{checkout: none}, {bash: echo}]}]
        """,
        environments={"production": {"approvals": [{"approver": f"P{n}", "verdict": verdict} for n, verdict in enumerate(verdicts)]}},
    )
    assert found.stages["prod"].result == result
    assert [(one.approver, one.verdict, one.environment) for one in found.stages["prod"].approvals] == [
        (f"P{n}", verdict, "production") for n, verdict in enumerate(verdicts)
    ]
    assert ("prod.before" in found.jobs) == (result == "Succeeded"), "no job of the stage begins, not even one without the environment"
    assert found.stages["after"].result == ("Succeeded" if result == "Succeeded" else "Skipped")


LOCKED = """
    lockBehavior: sequential
    stages:
    - stage: A
      dependsOn: []
      jobs: [{deployment: d, environment: e, strategy: {runOnce: {deploy: {steps: [{bash: "mkdir BUSY && sleep 0.1 && rmdir BUSY"}]}}}}]
    - stage: B
      dependsOn: []
      jobs: [{deployment: d, environment: e, strategy: {runOnce: {deploy: {steps: [{bash: "mkdir BUSY && sleep 0.1 && rmdir BUSY"}]}}}}]
    """


def test_a_locked_environment_is_one_stages_at_a_time_also_between_runs(start: Start, tmp_path: Path) -> None:
    locks = Locks()
    ended: list[str] = []

    def one(number: int) -> None:
        agent = Agent(tmp_path / f"work{number}", path=os.environ["PATH"])
        document = LOCKED.replace("BUSY", str(tmp_path / "busy"))
        ended.append(start(document, locks=locks, agent=agent, environments={"e": {"exclusive_lock": True}}).result)

    threads = [threading.Thread(target=one, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["Succeeded", "Succeeded"]


def test_the_latest_of_those_that_wait_for_a_lock_overtakes() -> None:
    locks = Locks()
    got: dict[int, bool] = {}
    holders = [object() for _ in range(3)]
    assert locks.acquire(["e"], holders[0], "runLatest", lambda: False)
    waiting = [threading.Event() for _ in range(3)]

    def wait(number: int) -> None:
        def stop() -> bool:
            waiting[number].set()
            return False

        got[number] = locks.acquire(["e"], holders[number], "runLatest", stop)

    threads = [threading.Thread(target=wait, args=[number], daemon=True) for number in (1, 2)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        waiting[number].wait()
    threads[0].join(20)
    first = dict(got)
    locks.release(holders[0])
    threads[1].join(20)
    assert first == {1: False}
    assert got[2] is True


# --- reports and refusals ---


@pytest.mark.parametrize(
    ("now", "coming", "result"),
    [
        ("", "Failed", "Failed"), ("Failed", "", "Failed"), ("Succeeded", "SucceededWithIssues", "SucceededWithIssues"),
        ("Failed", "Succeeded", "Failed"), ("Failed", "Canceled", "Canceled"), ("Canceled", "Skipped", "Canceled"),
        ("Skipped", "Failed", "Skipped"),
    ],
)  # fmt: skip
def test_the_worse_result_wins_and_an_end_stays(now: str, coming: str, result: str) -> None:
    assert merge(now, coming) == result


@pytest.mark.parametrize(
    ("parts", "result"),
    [("SKS", "S"), ("KK", "K"), ("SIK", "I"), ("SFI", "F"), ("FC", "C"), ("", "S")],
)
def test_the_result_of_the_whole(parts: str, result: str) -> None:
    names = {"S": "Succeeded", "K": "Skipped", "I": "SucceededWithIssues", "F": "Failed", "C": "Canceled"}
    assert whole(names[part] for part in parts) == names[result]


def test_the_report_as_json_and_as_junit(start: Start) -> None:
    found = start(steps("printf '<&>\\033\\n'", "exit 3", "echo"))
    report = json.loads(json.dumps(found.report()))
    assert report["result"] == "Failed"
    assert [step["result"] for step in report["stages"][0]["jobs"][0]["steps"]] == ["Succeeded", "Failed", "Skipped"]
    suite = ElementTree.fromstring(found.junit())[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert suite[0].find("system-out").text.endswith("<&>")  # type: ignore[union-attr]
    assert suite[1].find("failure").get("message") == "Bash exited with code '3'."  # type: ignore[union-attr]


def test_the_service_is_told_of_each_stage_job_and_step(start: Start, project: Path) -> None:
    told: list[dict[str, Any]] = []
    service = Service.read({"repositories": {"self": {"folder": project}}})
    service.timeline = told.extend  # type: ignore[method-assign]
    start(
        """
        stages:
        - stage: A
          displayName: The first
          jobs: [{job: a, displayName: Share, steps: [{checkout: none}, {bash: exit 1, name: s, displayName: Do $(System.JobName)}]}]
        - {stage: B, jobs: [{job: b, steps: [{bash: echo}]}]}
        """,
        service=service,
    )
    assert [(one["type"], one["name"], one["identifier"], one["state"], one["result"]) for one in told] == [
        ("Stage", "The first", "A", "inProgress", None),
        ("Job", "Share", "A.a", "inProgress", None),
        ("Task", "Do __default", "s", "inProgress", None),
        ("Task", "Do __default", "s", "completed", "failed"),
        ("Job", "Share", "A.a", "completed", "failed"),
        ("Stage", "The first", "A", "completed", "failed"),
        ("Stage", "B", "B", "completed", "skipped"),
    ]
    assert (told[2]["parentId"], told[1]["parentId"]) == (told[1]["id"], told[0]["id"])
    assert told[3]["issues"] == [{"type": "error", "message": "Bash exited with code '1'."}]


REFUSED = [
    ("steps: [{task: Docker@2}]", "Docker@2 is not done by this runner"),
    ("steps: [{pwsh: echo}]", "pwsh: (PowerShell@2) is not done by this runner"),
    ("steps: [{checkout: nowhere}]", "checkout: nowhere: the description of the service has no such repository"),
    ("steps: [{checkout: self, lfs: true}]", "checkout with lfs is not done by this runner"),
    ("jobs: [{job: a, container: ubuntu, steps: [{bash: echo}]}]", "container: is not done by this runner"),
    ("jobs: [{deployment: d, environment: nope, strategy: {runOnce: {deploy: {steps: [{bash: a}]}}}}]", "Environment nope could not be"),
    ("jobs: [{deployment: deploy, environment: e, strategy: {runOnce: {deploy: {steps: [{bash: a}]}}}}]", "a keyword of Azure Pipelines"),
    ("jobs: [{deployment: d, environment: e, strategy: {canary: {deploy: {steps: [{bash: a}]}}}}]", "strategy: canary is not done"),
    ("steps: [{task: AzureCLI@2, inputs: {azureSubscription: $(c), scriptType: bash}}]", "can't be named by a variable: $(c)"),
    ("steps: [{task: AzureCLI@2, inputs: {azureSubscription: c, scriptType: bash}}]", "service connection c which could not be"),
    ("steps: [{task: ManualValidation@0}]", "ManualValidation@0 runs only in a job with pool: server"),
    ("jobs: [{job: a, pool: server, steps: [{bash: a}]}]", "Bash@3 runs never in a job with pool: server"),
    ("steps: [{bash: a, condition: 'succeeded(1'}]", "Unclosed function"),
    ("steps: [{bash: a, condition: 'eq(dependencies.a.result, 1)'}]", "Unrecognized value: 'dependencies'"),
    ("variables: {x: '$[ pipeline.startTime ]'}\nsteps: [{bash: a}]", "Unrecognized value: 'pipeline'"),
    ("variables: [{group: none}]\nsteps: [{bash: a}]", "Variable group none could not be found"),
    ("jobs: [{job: a, dependsOn: b, steps: [{bash: a}]}]", "Job a depends on unknown job b."),
    ("stages: [{stage: a, dependsOn: b}, {stage: b, dependsOn: a}]", "The stage a waits for itself: a, b"),
    ("resources: {containers: [{container: a, image: b}]}\nsteps: [{bash: a}]", "resources: containers is not done by this runner"),
    ("steps: [{task: PublishTestResults@2, inputs: {testResultsFormat: NUnit}}]", "testResultsFormat: NUnit is not done"),
    ("steps: [{download: other}]", "download of another run is not done"),
    ("jobs: [{job: a, timeoutInMinutes: $(x), steps: [{bash: a}]}]", "'$(x)' is no number of minutes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_it_does_not_run_it_refuses_before_anything_starts(start: Start, text: str, reason: str) -> None:
    began: list[Event] = []
    with pytest.raises(CannotRun) as refused:
        start(text, watch=began.append, environments={"e": {}})
    assert reason in str(refused.value)
    assert str(refused.value).startswith("/pipeline.yml (Line: ")
    assert len(refused.value.reasons) == 1
    assert began == []


def test_all_reasons_are_given_at_once(start: Start) -> None:
    with pytest.raises(CannotRun) as refused:
        start("steps: [{pwsh: a}, {task: A@1}]")
    assert len(refused.value.reasons) == 2


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("Thread-") and not thread.daemon] == []
