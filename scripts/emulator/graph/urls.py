"""Routes of graph.microsoft.com."""

from __future__ import annotations

from emulator.core import Handler, Route
from emulator.graph import responses as r

_GROUP = "/{version}/groups/{id}"
_USER = "/{version}/users/{id}"
_CREDENTIAL = "/federatedIdentityCredentials/{credential}"


def _keyed(what: str, method: str, path: str, handler: Handler, doc: str) -> list[Route]:
    """A route by object id, and the same by ``appId``."""
    return [
        Route(method, r.HOST, f"/{{version}}/{what}/{{id}}{path}", handler, doc=doc),
        Route(method, r.HOST, f"/{{version}}/{what}({{key}}){path}", handler, doc=f"{doc}, by appId='...'"),
    ]


ROUTES = [
    Route("GET", r.HOST, "/{version}/applications", r.list_applications, doc="List applications"),
    Route("POST", r.HOST, "/{version}/applications", r.create_application, doc="Create an application"),
    *_keyed("applications", "GET", "", r.get_application, "Read an application"),
    *_keyed("applications", "PATCH", "", r.change_application, "Change an application, its certificates included"),
    *_keyed("applications", "DELETE", "", r.delete_application, "Delete an application and its service principal"),
    *_keyed("applications", "GET", "/owners", r.list_application_owners, "Owners"),
    *_keyed("applications", "POST", "/owners/$ref", r.add_application_owner, "Add an owner"),
    *_keyed("applications", "DELETE", "/owners/{owner}/$ref", r.remove_application_owner, "Remove an owner"),
    *_keyed("applications", "POST", "/addPassword", r.add_application_password, "Add a client secret"),
    *_keyed("applications", "POST", "/removePassword", r.remove_application_password, "Remove a client secret"),
    *_keyed("applications", "GET", "/federatedIdentityCredentials", r.list_federated, "List federated credentials"),
    *_keyed("applications", "POST", "/federatedIdentityCredentials", r.create_federated, "Add a federated credential"),
    *_keyed("applications", "GET", _CREDENTIAL, r.get_federated, "Read a federated credential, by id or name"),
    *_keyed("applications", "PATCH", _CREDENTIAL, r.change_federated, "Change a federated credential"),
    *_keyed("applications", "DELETE", _CREDENTIAL, r.delete_federated, "Delete a federated credential"),
    Route("GET", r.HOST, "/{version}/servicePrincipals", r.list_service_principals, doc="List service principals"),
    Route("POST", r.HOST, "/{version}/servicePrincipals", r.create_service_principal, doc="Create a service principal"),
    *_keyed("servicePrincipals", "GET", "", r.get_service_principal, "Read a service principal"),
    *_keyed("servicePrincipals", "PATCH", "", r.change_service_principal, "Change a service principal"),
    *_keyed("servicePrincipals", "DELETE", "", r.delete_service_principal, "Delete a service principal"),
    *_keyed("servicePrincipals", "GET", "/owners", r.list_principal_owners, "Owners"),
    *_keyed("servicePrincipals", "POST", "/owners/$ref", r.add_principal_owner, "Add an owner"),
    *_keyed("servicePrincipals", "DELETE", "/owners/{owner}/$ref", r.remove_principal_owner, "Remove an owner"),
    *_keyed("servicePrincipals", "GET", "/memberOf", r.principal_groups, "Groups of a service principal"),
    *_keyed("servicePrincipals", "GET", "/transitiveMemberOf", r.principal_all_groups, "Groups, and the groups that those are in"),
    Route("GET", r.HOST, "/{version}/groups", r.list_groups, doc="List groups"),
    Route("POST", r.HOST, "/{version}/groups", r.create_group, doc="Create a security group"),
    Route("GET", r.HOST, _GROUP, r.get_group, doc="Read a group"),
    Route("PATCH", r.HOST, _GROUP, r.change_group, doc="Change a group"),
    Route("DELETE", r.HOST, _GROUP, r.delete_group, doc="Delete a group"),
    Route("GET", r.HOST, _GROUP + "/members", r.list_members, doc="Members"),
    Route("GET", r.HOST, _GROUP + "/members/{cast}", r.list_members, doc="Members of one kind"),
    Route("GET", r.HOST, _GROUP + "/transitiveMembers", r.list_transitive_members, doc="Members, groups opened"),
    Route("GET", r.HOST, _GROUP + "/transitiveMembers/{cast}", r.list_transitive_members, doc="Members of one kind, groups opened"),
    Route("POST", r.HOST, _GROUP + "/members/$ref", r.add_member, doc="Add a member"),
    Route("DELETE", r.HOST, _GROUP + "/members/{member}/$ref", r.remove_member, doc="Remove a member"),
    Route("GET", r.HOST, _GROUP + "/owners", r.list_group_owners, doc="Owners"),
    Route("POST", r.HOST, _GROUP + "/owners/$ref", r.add_group_owner, doc="Add an owner"),
    Route("DELETE", r.HOST, _GROUP + "/owners/{member}/$ref", r.remove_group_owner, doc="Remove an owner"),
    Route("GET", r.HOST, "/{version}/users", r.list_users, doc="List people"),
    Route("POST", r.HOST, "/{version}/users", r.create_user, doc="Create a person"),
    Route("GET", r.HOST, _USER, r.get_user, doc="Read a person, by object id or user principal name"),
    Route("DELETE", r.HOST, _USER, r.delete_user, doc="Delete a person"),
    Route("GET", r.HOST, _USER + "/memberOf", r.user_groups, doc="Groups of a person"),
    Route("GET", r.HOST, _USER + "/transitiveMemberOf", r.user_all_groups, doc="Groups, and the groups that those are in"),
    Route("GET", r.HOST, "/{version}/me", r.get_me, doc="The person who asks"),
    Route("POST", r.HOST, "/{version}/directoryObjects/getByIds", r.get_by_ids, doc="Directory objects by id"),
    Route("GET", r.HOST, "/{version}/directoryObjects/{id}", r.get_directory_object, doc="One directory object"),
]
