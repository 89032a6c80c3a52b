"""Addresses of files in storage."""

from __future__ import annotations

import pytest

from aml import blobs
from aml.command import Refusal

LONG = "azureml://subscriptions/s/resourcegroups/g/workspaces/w"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("azureml://datastores/workspaceblobstore/paths/azureml/job/model/", ("workspaceblobstore", "azureml/job/model/")),
        (f"{LONG}/datastores/store/paths/a b/c", ("store", "a b/c")),
        (f"{LONG.replace('resourcegroups', 'resourceGroups')}/datastores/store/paths/paths/x", ("store", "paths/x")),
        ("azureml://datastores/datastores/paths/datastores/x/paths/y", ("datastores", "datastores/x/paths/y")),
        ("azureml://datastores/store/paths/", ("store", "")),
    ],
)
def test_datastore_addresses(uri: str, expected: tuple[str, str]) -> None:
    assert blobs.place(uri) == expected


@pytest.mark.parametrize(
    "uri", ["", "https://st.blob.core.windows.net/c/x", "azureml:model:1", "azureml://jobs/j/outputs/o", "/etc/passwd"]
)
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(Refusal, match="is not in a datastore of the workspace"):
        blobs.place(uri)


def test_the_path_inside_a_container() -> None:
    assert blobs.path_in("https://st.blob.core.windows.net/container/a%20b/c.json?sig=x") == "a b/c.json"
    assert blobs.path_in("https://st.blob.core.windows.net/container") == ""
