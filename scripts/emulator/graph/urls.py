"""Routes of graph.microsoft.com."""

from __future__ import annotations

from emulator.core import Route
from emulator.graph import responses as r

_APP = "/{version}/applications/{id}"
_FEDERATED = _APP + "/federatedIdentityCredentials"
_PRINCIPAL = "/{version}/servicePrincipals/{id}"

ROUTES = [
    Route("GET", r.HOST, "/{version}/applications", r.list_applications, doc="List applications"),
    Route("POST", r.HOST, "/{version}/applications", r.create_application, doc="Create an application"),
    Route("GET", r.HOST, _APP, r.get_application, doc="Read an application"),
    Route("PATCH", r.HOST, _APP, r.change_application, doc="Change an application, its certificates included"),
    Route("DELETE", r.HOST, _APP, r.delete_application, doc="Delete an application and its service principal"),
    Route("GET", r.HOST, _APP + "/owners", r.list_owners, doc="Owners (none)"),
    Route("POST", r.HOST, _APP + "/addPassword", r.add_application_password, doc="Add a client secret"),
    Route("POST", r.HOST, _APP + "/removePassword", r.remove_application_password, doc="Remove a client secret"),
    Route("GET", r.HOST, _FEDERATED, r.list_federated, doc="List federated credentials"),
    Route("POST", r.HOST, _FEDERATED, r.create_federated, doc="Add a federated credential"),
    Route("GET", r.HOST, _FEDERATED + "/{credential}", r.get_federated, doc="Read a federated credential, by id or name"),
    Route("PATCH", r.HOST, _FEDERATED + "/{credential}", r.change_federated, doc="Change a federated credential"),
    Route("DELETE", r.HOST, _FEDERATED + "/{credential}", r.delete_federated, doc="Delete a federated credential"),
    Route("GET", r.HOST, "/{version}/servicePrincipals", r.list_service_principals, doc="List service principals"),
    Route("POST", r.HOST, "/{version}/servicePrincipals", r.create_service_principal, doc="Create a service principal"),
    Route("GET", r.HOST, _PRINCIPAL, r.get_service_principal, doc="Read a service principal"),
    Route("PATCH", r.HOST, _PRINCIPAL, r.change_service_principal, doc="Change a service principal"),
    Route("DELETE", r.HOST, _PRINCIPAL, r.delete_service_principal, doc="Delete a service principal"),
    Route("GET", r.HOST, _PRINCIPAL + "/owners", r.list_owners, doc="Owners (none)"),
    Route("GET", r.HOST, "/{version}/users", r.list_users, doc="List people"),
    Route("POST", r.HOST, "/{version}/users", r.create_user, doc="Create a person"),
    Route("GET", r.HOST, "/{version}/users/{id}", r.get_user, doc="Read a person, by object id or user principal name"),
    Route("DELETE", r.HOST, "/{version}/users/{id}", r.delete_user, doc="Delete a person"),
    Route("GET", r.HOST, "/{version}/me", r.get_me, doc="The person who asks"),
    Route("POST", r.HOST, "/{version}/directoryObjects/getByIds", r.get_by_ids, doc="Directory objects by id"),
    Route("GET", r.HOST, "/{version}/directoryObjects/{id}", r.get_directory_object, doc="One directory object"),
]
