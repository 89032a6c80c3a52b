"""Routes of computes, usages and sizes."""

from __future__ import annotations

from emulator.compute import models
from emulator.compute import responses as to
from emulator.core import ARM, Route

_ML = "Microsoft.MachineLearningServices"
_ALL = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _ML + "/workspaces/{workspace}/computes"
_ONE = _ALL + "/{compute}"
_RIGHT = f"{_ML}/workspaces/computes"
_PLACE = "/subscriptions/{subscription}/providers/" + _ML + "/locations/{location}"

ROUTES = [
    Route("GET", ARM, _ALL, to.list_computes, f"{_RIGHT}/read", doc="List computes"),
    Route("GET", ARM, _ONE, to.get_compute, f"{_RIGHT}/read", doc="Read a compute"),
    Route("PUT", ARM, _ONE, to.put_compute, f"{_RIGHT}/write", doc="Create or change a cluster or an instance"),
    Route("PATCH", ARM, _ONE, to.patch_compute, f"{_RIGHT}/write", doc="Change a cluster's scale"),
    Route("DELETE", ARM, _ONE, to.delete_compute, f"{_RIGHT}/delete", doc="Delete a compute"),
    Route("POST", ARM, _ONE + "/listNodes", to.list_nodes, f"{_RIGHT}/listNodes/action", doc="Nodes of a cluster and what they run"),
    *(
        Route("POST", ARM, f"{_ONE}/{verb}", to.change_state, f"{_RIGHT}/{verb}/action", doc=f"{verb.capitalize()} a compute instance")
        for verb in ("start", "stop", "restart")
    ),
    Route("GET", ARM, _PLACE + "/usages", to.list_usages, f"{_ML}/locations/usages/read", doc="Quota: use and limits by VM family"),
    Route("GET", ARM, _PLACE + "/vmSizes", to.list_sizes, f"{_ML}/locations/vmsizes/read", doc="VM sizes"),
]

start = models.resume
