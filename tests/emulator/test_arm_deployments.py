"""Template deployments: the expression language, the order of things, and the SDK's own workspace template."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Workspace
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential

from emulator.arm.template import Scope, bind
from emulator.core import SUBSCRIPTION, TENANT
from emulator.errors import AzureError

SUB = f"/subscriptions/{SUBSCRIPTION}"


def scope(**more: Any) -> Scope:
    group = {"name": "rg", "id": f"{SUB}/resourceGroups/rg", "location": "westeurope"}
    empty: dict[str, Any] = {"subscription": {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT}, "group": group, "deployment": "d"}
    return Scope(**{**empty, "reference": lambda id: {"id": id, "principalId": "p"}, **more})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("[[not an expression]", "[not an expression]"),
        ("['it''s']", "it's"),
        ("[concat('a', 1, true())]", "a1True"),
        ("[concat(createArray(1), createArray(2))]", [1, 2]),
        ("[if(equals('a', 'a'), 'yes', parameters('missing'))]", "yes"),
        ("[and(true(), or(false(), not(empty(''))))]", False),
        ("[empty(json('null'))]", True),
        ("[json('{\"a\": [1, 2]}').a[1]]", 2),
        ("[createObject('a', 'b').A]", "b"),
        ("[toLower(concat('West ', 'Europe'))]", "west europe"),
        ("[length(split('a,b,c', ','))]", 3),
        ("[format('{0}-{1}', 'a', 2)]", "a-2"),
        ("[resourceGroup().location]", "westeurope"),
        ("[subscription().tenantId]", TENANT),
        (
            "[resourceId('Microsoft.Storage/storageAccounts', 'one')]",
            f"{SUB}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/one",
        ),
        ("[resourceId('other', 'Microsoft.X/a/b', 'one', 'two')]", f"{SUB}/resourceGroups/other/providers/Microsoft.X/a/one/b/two"),
        ("[resourceId('s2', 'other', 'Microsoft.X/a', 'one')]", "/subscriptions/s2/resourceGroups/other/providers/Microsoft.X/a/one"),
        (
            "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'x')]",
            f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/x",
        ),
        ("[reference(resourceId('Microsoft.X/a', 'one'), '2020-01-01').principalId]", "p"),
        ("[copyIndex()]", 3),
        ("[concat('x', copyIndex('loop', 1))]", "x4"),
        ("[guid('a', 'b')]", str(uuid.uuid5(uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830"), "a-b"))),
        ({"[concat('k', 'ey')]": ["[true()]", 1, None]}, {"key": [True, 1, None]}),
    ],
)
def test_expressions(expression: Any, value: Any) -> None:
    assert scope(copy_index={"": 3, "loop": 3}).resolve(expression) == value


def test_unique_strings_are_stable_and_thirteen_letters() -> None:
    one, other = scope().resolve("[uniqueString('a', 'b')]"), scope().resolve("[uniqueString('ab')]")
    assert one == scope().resolve("[uniqueString('a', 'b')]") != other
    assert len(one) == 13


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("[nothing()]", "The template function 'nothing' is not valid"),
        ("[concat('a']", "expected ')'"),
        ("[concat('a'))]", "expected end of expression"),
        ("[parameters('x')]", "The template parameter 'x' is not found"),
        ("[resourceGroup().colour]", "The language expression property 'colour' doesn't exist"),
        ("[resourceId('Microsoft.X/a/b', 'one')]", "needs 2 names, not 1"),
    ],
)
def test_expressions_that_fail(expression: str, says: str) -> None:
    bound = bind({"parameters": {}}, {}, scope())
    with pytest.raises(AzureError) as caught:
        bound.resolve(expression)
    assert caught.value.code == "InvalidTemplate"
    assert says in caught.value.message


TEMPLATE: dict[str, Any] = {
    "parameters": {
        "name": {"type": "string"},
        "place": {"type": "string", "defaultValue": "[resourceGroup().location]"},
        "size": {"type": "string", "defaultValue": "small", "allowedValues": ["small", "big"]},
        "count": {"type": "int", "defaultValue": 1},
    },
    "variables": {"full": "[concat(parameters('name'), '-', variables('suffix'))]", "suffix": "[parameters('size')]"},
}


def test_parameters_and_variables_may_refer_to_each_other() -> None:
    bound = bind(TEMPLATE, {"Name": {"value": "n"}, "size": {"value": None}}, scope())
    assert bound.resolve(["[variables('full')]", "[parameters('PLACE')]"]) == ["n-small", "westeurope"]
    circle = bind({"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}}, {}, scope())
    with pytest.raises(AzureError, match="Circular dependency detected in the template variables"):
        circle.resolve("[variables('a')]")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "The value for the template parameter 'name' is not provided"),
        ({"name": {"value": "n"}, "colour": {"value": "red"}}, "The template parameters 'colour' in the parameters file are not valid"),
        ({"name": {"value": "n"}, "size": {"value": "huge"}}, "The value is not part of the allowed value(s): 'small,big'"),
        ({"name": {"value": 3}}, "Expected 'String'. Actual 'int'. The parameter is 'name'"),
        ({"name": {"value": "n"}, "count": {"value": True}}, "Expected 'Int'. Actual 'bool'"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], says: str) -> None:
    with pytest.raises(AzureError) as caught:
        bind(TEMPLATE, given, scope())
    assert says in caught.value.message


# --- over HTTP -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(azure: Any) -> str:
    id = f"{SUB}/resourceGroups/rg-{uuid.uuid4().hex[:8]}"
    azure.arm("PUT", id, {"location": "westeurope"})
    return id


def deploy(send: Any, token: str, group: str, template: dict[str, Any], name: str = "one", **parameters: Any) -> Any:
    """Deploy and wait; the deployment."""
    given = {name: {"value": value} for name, value in parameters.items()}
    body = {"properties": {"mode": "Incremental", "template": template, "parameters": given}}
    url = f"https://management.azure.com{group}/providers/Microsoft.Resources/deployments/{name}"
    answer = send("PUT", url, token=token, json=body, version="2024-03-01")
    if answer.status_code >= 400:
        return answer.json()
    while send("GET", answer.headers["Azure-AsyncOperation"], token=token).json()["status"] == "InProgress":
        pass
    return send("GET", url, token=token, version="2024-03-01").json()


VAULT = {"type": "Microsoft.KeyVault/vaults", "apiVersion": "2023-07-01", "location": "[resourceGroup().location]"}


def test_a_template_with_a_loop_a_nested_deployment_and_outputs(azure: Any, send: Any, sign_in: Any, group: str) -> None:
    inner = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2024-03-01",
        "name": "inner",
        "dependsOn": ["vaults"],
        "properties": {
            "mode": "Incremental",
            "expressionEvaluationOptions": {"scope": "inner"},
            "parameters": {"name": {"value": "[concat(parameters('stem'), '9')]"}},
            "template": {"parameters": {"name": {"type": "string"}}, "resources": [{**VAULT, "name": "[parameters('name')]"}]},
        },
    }
    template = {
        "parameters": {"stem": {"type": "string"}},
        "resources": [
            inner,
            {**VAULT, "name": "[concat(parameters('stem'), copyIndex(1))]", "copy": {"name": "vaults", "count": 2}, "tags": {"a": "b"}},
            {**VAULT, "name": "never", "condition": "[equals(parameters('stem'), 'no')]"},
        ],
        "outputs": {"uri": {"type": "string", "value": "[reference(resourceId('Microsoft.KeyVault/vaults', 'kv9')).vaultUri]"}},
    }
    token = sign_in()
    done = deploy(send, token, group, template, stem="kv")["properties"]
    assert done["provisioningState"] == "Succeeded", done
    assert done["outputs"] == {"uri": {"type": "String", "value": "https://kv9.vault.azure.net/"}}
    assert [each["id"].rsplit("/", 1)[-1] for each in done["outputResources"]] == ["kv1", "kv2", "inner"]
    vaults = azure.arm("GET", f"{group}/providers/Microsoft.KeyVault/vaults")["value"]
    assert sorted((one["name"], one["tags"].get("a")) for one in vaults) == [("kv1", "b"), ("kv2", "b"), ("kv9", None)]
    operations = azure.arm("GET", f"{group}/deployments/one/operations")["value"]
    assert [one["properties"]["provisioningState"] for one in operations] == ["Succeeded"] * 4
    assert operations[-1]["properties"]["provisioningOperation"] == "EvaluateDeploymentOutput"


def test_a_deployment_fails_with_the_error_of_its_resource(send: Any, sign_in: Any, group: str) -> None:
    account = {
        "type": "Microsoft.Storage/storageAccounts",
        "apiVersion": "2023-05-01",
        "name": "Not-A-Name",
        "sku": {"name": "Standard_LRS"},
    }
    template = {"resources": [{**VAULT, "name": "kv1"}, {**account, "location": "westeurope", "dependsOn": ["kv1"]}]}
    failed = deploy(send, sign_in(), group, template)["properties"]
    assert failed["provisioningState"] == "Failed"
    assert failed["error"]["code"] == "DeploymentFailed"
    assert failed["error"]["details"][0]["code"] == "AccountNameInvalid"
    assert [each["id"].rsplit("/", 1)[-1] for each in failed["outputResources"]] == ["kv1"]


def test_a_deployment_acts_as_its_caller(azure: Any, send: Any, sign_in: Any, group: str, new_app: Any) -> None:
    app, guid = new_app("deployer"), str(uuid.uuid4())
    role = {"roleName": f"Deployer {guid[:8]}", "assignableScopes": [SUB], "permissions": [{"actions": ["Microsoft.Resources/*"]}]}
    azure.arm("PUT", f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{guid}", {"properties": role})
    held = {"roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{guid}", "principalId": app["oid"]}
    azure.arm("PUT", f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", {"properties": held})
    token = sign_in(client_id=app["appId"], secret=app["secret"])
    failed = deploy(send, token, group, {"resources": [{**VAULT, "name": "kv1"}]})["properties"]
    assert failed["error"]["details"][0]["code"] == "AuthorizationFailed"
    assert "Microsoft.KeyVault/vaults/write" in failed["error"]["details"][0]["message"]


@pytest.mark.parametrize(
    ("template", "code", "says"),
    [
        (
            {"resources": [{**VAULT, "name": "a", "dependsOn": ["b"]}, {**VAULT, "name": "b", "dependsOn": ["a"]}]},
            "InvalidTemplate",
            "Circular",
        ),
        ({"resources": [{**VAULT, "name": "a/b"}]}, "InvalidTemplate", "incorrect segment lengths"),
        ({"resources": [{**VAULT, "name": "[nothing()]"}]}, "InvalidTemplate", "'nothing' is not valid"),
        (None, "InvalidRequestContent", "'properties.template'"),
    ],
)
def test_templates_that_are_refused(send: Any, sign_in: Any, group: str, template: Any, code: str, says: str) -> None:
    refused = deploy(send, sign_in(), group, template)["error"]
    assert refused["code"] == code
    assert says in refused["message"]


def test_validate_creates_nothing(azure: Any, send: Any, sign_in: Any, group: str) -> None:
    body = {"properties": {"mode": "Incremental", "template": {"resources": [{**VAULT, "name": "kv1"}]}}}
    url = f"https://management.azure.com{group}/providers/Microsoft.Resources/deployments/one"
    answer = send("POST", url + "/validate", token=sign_in(), json=body, version="2024-03-01")
    assert answer.json()["properties"]["provisioningState"] == "Succeeded"
    assert azure.arm("GET", f"{group}/resources")["value"] == []
    assert send("HEAD", url, token=sign_in(), version="2024-03-01").status_code == 404


def test_the_sdk_creates_a_workspace_with_all_that_belongs_to_it(azure: Any, group: str) -> None:
    credential = ClientSecretCredential(TENANT, azure.env["AZURE_CLIENT_ID"], azure.env["AZURE_CLIENT_SECRET"])
    client = MLClient(credential, SUBSCRIPTION, group.rsplit("/", 1)[-1])
    name = f"mlw-{uuid.uuid4().hex[:8]}"
    made = client.workspaces.begin_create(
        Workspace(name=name, location="westeurope", display_name="One", tags={"team": "flights"})
    ).result()
    assert (made.name, made.location, made.display_name, made.tags["team"]) == (name, "westeurope", "One", "flights")
    found = {one["type"] for one in azure.arm("GET", f"{group}/resources")["value"]}
    assert found == {
        "Microsoft.Insights/components",
        "Microsoft.KeyVault/vaults",
        "Microsoft.MachineLearningServices/workspaces",
        "Microsoft.OperationalInsights/workspaces",
        "Microsoft.Storage/storageAccounts",
    }
    assert made.storage_account.split("/")[-1].startswith("mlw")
    with pytest.raises(HttpResponseError, match="not available"):
        client.workspaces.begin_create(Workspace(name=name + "2", location="moon")).result()
