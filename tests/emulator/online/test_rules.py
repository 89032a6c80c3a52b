"""What the service refuses, and in which words; nothing is served here."""

from __future__ import annotations

import json
from typing import Any

import pytest


def detail(answer: Any) -> str:
    """The inference service's own words in ARM's error."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "BadRequest"
    return str(json.loads(error["details"][0]["message"])["errors"])


@pytest.mark.parametrize("name", ["ab", "1abc", "abc-", "a" * 33, "a_bc", "a--b"])
def test_a_name_that_breaks_the_rules_is_refused(site: Any, name: str) -> None:
    assert "begin with a letter" in detail(site.put_endpoint(name))


def test_a_body_that_lacks_something_names_it(site: Any) -> None:
    bare = site.call("PUT", "onlineEndpoints/rules-bare", {"location": "westeurope"})
    assert bare.json()["error"]["target"] == "Properties"
    assert "authentication mode" in detail(site.put_endpoint("rules-auth", authMode="password"))
    assert (
        site.call("PUT", "onlineEndpoints/rules-where", {"properties": {"authMode": "Key"}}).json()["error"]["code"] == "LocationRequired"
    )
    elsewhere = site.call("PUT", "onlineEndpoints/rules-where", {"location": "eastus", "properties": {"authMode": "Key"}})
    assert "must be that of its workspace" in detail(elsewhere)
    assert site.call("GET", "onlineEndpoints/rules-bare").status_code == 404


def test_a_put_replaces_all_that_it_leaves_out(site: Any) -> None:
    body = {
        "location": "westeurope", "identity": {"type": "SystemAssigned"}, "tags": {"team": "flights"},
        "properties": {"authMode": "Key", "description": "first", "properties": {"kept": "yes"}},
    }  # fmt: skip
    first = site.call("PUT", "onlineEndpoints/rules-put", body)
    assert first.status_code == 201
    assert first.json()["properties"]["provisioningState"] == "Creating"
    site.end(first)
    made = site.call("GET", "onlineEndpoints/rules-put").json()
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert made["properties"]["scoringUri"] == "https://rules-put.westeurope.inference.ml.azure.com/score"
    assert made["identity"]["principalId"]
    assert made["systemData"]["createdAt"]
    second = site.call("PUT", "onlineEndpoints/rules-put", {"location": "westeurope", "properties": {"authMode": "AMLToken"}})
    assert second.status_code == 200
    site.end(second)
    now = site.call("GET", "onlineEndpoints/rules-put").json()
    assert (now["tags"], now["identity"], now["properties"]["description"]) == ({}, {"type": "None"}, None)
    assert now["properties"]["authMode"] == "AMLToken"
    patched = site.call("PATCH", "onlineEndpoints/rules-put", {"tags": {"team": "trains"}})
    assert patched.status_code == 202
    assert site.end(patched)["status"] == "Succeeded"
    assert site.call("GET", patched.headers["Location"]).json()["tags"] == {"team": "trains"}
    site.remove("rules-put")


def test_a_name_is_unique_in_its_region_across_workspaces(site: Any, another_site: Any) -> None:
    site.endpoint("rules-unique")
    neighbour, abroad = another_site("mlw-neighbour", "westeurope"), another_site("mlw-abroad", "eastus")
    refused = neighbour.put_endpoint("Rules-Unique")
    assert refused.status_code == 400
    assert "Endpoint names must be unique within the region" in refused.json()["error"]["message"]
    body = {"location": "eastus", "properties": {"authMode": "Key"}}
    assert abroad.call("PUT", "onlineEndpoints/rules-unique", body).status_code == 201
    site.remove("rules-unique")
    assert neighbour.put_endpoint("rules-unique").status_code == 201


def test_traffic_goes_to_deployments_that_can_take_it(site: Any) -> None:
    site.endpoint("rules-traffic")
    assert "does not exist" in detail(site.put_endpoint("rules-traffic", traffic={"blue": 100}))
    assert "does not exist" in detail(site.put_endpoint("rules-traffic", mirrorTraffic={"blue": 10}))
    assert "whole number" in detail(site.put_endpoint("rules-traffic", traffic={"blue": "100"}))
    assert site.deploy("rules-traffic", "blue", model="azureml:nothing:1")["error"]["code"] == "ResourceNotFound"
    assert "has not been created successfully" in detail(site.put_endpoint("rules-traffic", traffic={"blue": 100}))
    site.remove("rules-traffic")


def test_lists_come_in_pages_and_take_filters(site: Any) -> None:
    names = [f"rules-page-{number}" for number in range(3)]
    for name in names:
        site.endpoint(name)
    first = site.call("GET", "onlineEndpoints", count=2, tags="").json()
    seen = [one["name"] for one in first["value"]]
    while "nextLink" in first:
        first = site.call("GET", first["nextLink"]).json()
        seen += [one["name"] for one in first["value"]]
    assert [name for name in seen if name.startswith("rules-page")] == names
    newest = site.call("GET", "onlineEndpoints", orderBy="CreatedAtDesc", count=1).json()["value"]
    assert [one["name"] for one in newest] == ["rules-page-2"]
    assert [one["name"] for one in site.call("GET", "onlineEndpoints", name="rules-page-1").json()["value"]] == ["rules-page-1"]
    assert site.call("GET", "onlineEndpoints", tags="nobody=has").json()["value"] == []
    for name in names:
        site.remove(name)


def test_keys_belong_to_key_mode_and_tokens_to_token_mode(site: Any) -> None:
    site.endpoint("rules-keys", keys={"primaryKey": "mine", "secondaryKey": None})
    keys = site.call("POST", "onlineEndpoints/rules-keys/listKeys").json()
    assert keys["primaryKey"] == "mine"
    assert site.call("GET", "onlineEndpoints/rules-keys").json()["properties"]["keys"] is None
    again = site.call("POST", "onlineEndpoints/rules-keys/regenerateKeys", {"keyType": "Secondary"})
    assert again.status_code == 202
    site.end(again)
    after = site.call("POST", "onlineEndpoints/rules-keys/listKeys").json()
    assert after["primaryKey"] == "mine"
    assert after["secondaryKey"] != keys["secondaryKey"]
    assert "does not use tokens" in site.call("POST", "onlineEndpoints/rules-keys/token").json()["error"]["message"]
    assert "not a key type" in detail(site.call("POST", "onlineEndpoints/rules-keys/regenerateKeys", {"keyType": "Tertiary"}))
    site.endpoint("rules-keys", authMode="AMLToken")
    assert "does not use keys" in site.call("POST", "onlineEndpoints/rules-keys/listKeys").json()["error"]["message"]
    assert site.call("POST", "onlineEndpoints/rules-keys/token").json()["expiryTimeUtc"] > 0
    site.remove("rules-keys")


def test_one_entity_has_one_operation_at_a_time(site: Any) -> None:
    site.emulator.set("transition", "polls:2")
    try:
        first = site.put_endpoint("rules-busy")
        second = site.put_endpoint("rules-busy")
        assert second.status_code == 409
        assert "another operation on same entity is already running" in second.json()["error"]["message"]
        assert site.call("DELETE", "onlineEndpoints/rules-busy").status_code == 409
        assert site.end(first)["status"] == "Succeeded"
    finally:
        site.emulator.set("transition", "immediate")
    site.remove("rules-busy")
    assert site.call("DELETE", "onlineEndpoints/rules-busy").status_code == 204


def test_a_deletion_goes_before_an_operation_on_the_deployment(site: Any) -> None:
    site.endpoint("rules-cancel")
    body = site.body(readinessProbe={"initialDelay": "PT1S"}, score="import time\ntime.sleep(60)\n")
    creation = site.call("PUT", "onlineEndpoints/rules-cancel/deployments/blue", body)
    while "UserContainerStart: InProgress" not in site.logs("rules-cancel", "blue"):
        pass
    assert site.call("PUT", "onlineEndpoints/rules-cancel/deployments/blue", body).status_code == 409
    assert site.end(site.call("DELETE", "onlineEndpoints/rules-cancel/deployments/blue"))["status"] == "Succeeded"
    error = site.end(creation)["error"]
    assert error["code"] == "OperationCanceled"
    assert "higher priority" in error["message"]
    assert site.call("GET", "onlineEndpoints/rules-cancel/deployments/blue").status_code == 404
    site.remove("rules-cancel")


def test_a_right_that_is_missing_is_named(site: Any) -> None:
    reader = site.emulator.ask(
        "POST", "/identities",
        {"name": "rules-reader", "secret": "reader-secret-1", "issuer": "x", "roles": [{"role": "Reader", "scope": site.id}]},
    )  # fmt: skip
    token = site.token(client=(reader["client_id"], "reader-secret-1"))
    site.endpoint("rules-rights")
    assert site.call("GET", "onlineEndpoints/rules-rights", token=token).status_code == 200
    for method, path, action in [
        ("POST", "onlineEndpoints/rules-rights/listKeys", "onlineEndpoints/listKeys/action"),
        ("DELETE", "onlineEndpoints/rules-rights", "onlineEndpoints/delete"),
        ("PUT", "onlineEndpoints/rules-rights/deployments/blue", "onlineEndpoints/deployments/write"),
    ]:
        refused = site.call(method, path, {}, token=token)
        assert refused.status_code == 403
        assert f"Microsoft.MachineLearningServices/workspaces/{action}" in refused.json()["error"]["message"]
    site.remove("rules-rights")


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"endpointComputeType": None}, "EndpointComputeType"),
        ({"environmentId": None}, "EnvironmentId"),
        ({"codeConfiguration": {"codeId": "x"}}, "CodeConfiguration.ScoringScript"),
        ({"codeConfiguration": None, "model": None}, "Model"),
        ({"scaleSettings": {"scaleType": "TargetUtilization"}}, "ScaleSettings.ScaleType"),
        ({"requestSettings": {"requestTimeout": "PT181S"}}, "RequestSettings.RequestTimeout"),
        ({"requestSettings": {"requestTimeout": "soon"}}, "RequestSettings.RequestTimeout"),
        ({"requestSettings": {"maxConcurrentRequestsPerInstance": 0}}, "RequestSettings.MaxConcurrentRequestsPerInstance"),
        ({"livenessProbe": {"successThreshold": 2}}, "LivenessProbe.SuccessThreshold"),
        ({"readinessProbe": {"initialDelay": "PT0S"}}, "ReadinessProbe.InitialDelay"),
        ({"environmentVariables": {"A": 1}}, "EnvironmentVariables"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused_by_property(site: Any, properties: dict[str, Any], field: str) -> None:
    site.endpoint("rules-body")
    whole = {
        "endpointComputeType": "Managed",
        "codeConfiguration": {"codeId": "x", "scoringScript": "s"},
        "environmentId": "x",
        "model": "x",
    }
    body = {"location": "westeurope", "sku": {"name": "Default", "capacity": 1}, "properties": {**whole, **properties}}
    answer = site.call("PUT", "onlineEndpoints/rules-body/deployments/blue", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["target"] == field


def test_what_the_emulator_has_not_says_so(site: Any) -> None:
    kubernetes = site.put_endpoint("rules-k8s", compute=f"{site.id}/computes/k8s")
    assert kubernetes.status_code == 501
    assert "Kubernetes" in kubernetes.json()["error"]["message"]
    site.endpoint("rules-body")
    answer = site.call(
        "PUT", "onlineEndpoints/rules-body/deployments/blue", site.body(endpointComputeType="Kubernetes", model="x", environmentId="x")
    )
    assert answer.status_code == 501


def test_counts_have_limits(site: Any) -> None:
    site.endpoint("rules-count")
    whole = {"endpointComputeType": "Managed", "model": "azureml:nothing:1", "instanceType": "Standard_DS2_v2"}

    def put(name: str, instances: Any = 1) -> Any:
        body = {"location": "westeurope", "sku": {"name": "Default", "capacity": instances}, "properties": whole}
        return site.call("PUT", f"onlineEndpoints/rules-count/deployments/{name}", body)

    for wrong in (0, 51, "3"):
        assert "from 1 to 50" in detail(put("blue", wrong))
    for number in range(20):
        assert site.end(put(f"number-{number}"))["error"]["code"] == "ResourceNotFound"
    full = put("number-20")
    assert full.status_code == 400
    assert full.json()["error"]["code"] == "OutOfQuota"
    listed = site.call("GET", "onlineEndpoints/rules-count/deployments", **{"$top": 5, "$skip": 15}).json()
    assert len(listed["value"]) == 5
    assert "nextLink" not in listed
    site.remove("rules-count")


def test_quota_holds_a_fifth_more_than_was_asked_for(site: Any) -> None:
    site.endpoint("rules-quota")
    body = {
        "location": "westeurope", "sku": {"name": "Default", "capacity": 2},
        "properties": {"endpointComputeType": "Managed", "model": "azureml:nothing:1", "instanceType": "Standard_F4s_v2"},
    }  # fmt: skip
    site.emulator.set("quota:standardFSv2Family", 11)  # 2 instances x 4 cores are 8, but ceil(1.2 x 2) x 4 are 12
    try:
        error = site.deploy("rules-quota", "blue", body)["error"]
    finally:
        site.emulator.set("quota:standardFSv2Family", 100)
    assert error["code"] == "OutOfQuota"
    assert "Not enough quota available for Standard_F4s_v2" in error["message"]
    assert "limit: 0/11. Additional needed: 12" in error["message"]
    assert "error-outofquota" in error["message"]
    assert site.call("GET", "onlineEndpoints/rules-quota/deployments/blue").json()["properties"]["provisioningState"] == "Failed"
    assert "unrecoverable state" in detail(site.call("PUT", "onlineEndpoints/rules-quota/deployments/blue", body))
    body["properties"]["instanceType"] = "Standard_Nothing"
    assert site.deploy("rules-quota", "green", body)["error"]["code"] == "BadArgument"
    site.remove("rules-quota")
