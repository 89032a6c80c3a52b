"""Routes of GitHub's token service and REST API, and those by which a test or a workflow engine sets GitHub up."""

from __future__ import annotations

from emulator.admin import HOST
from emulator.core import Route
from emulator.github import responses as r
from emulator.github import rest, seeds
from emulator.github.calls import Need, route
from emulator.github.models import ISSUER, REQUEST_HOST

_TOKENS = ISSUER.removeprefix("https://")
_REPO = "/repos/{owner}/{repo}"
_BRANCH = _REPO + "/branches/{branch}"
_ENV = _REPO + "/environments/{environment}"
_POLICIES = _ENV + "/deployment-branch-policies"
_RULES = _ENV + "/deployment_protection_rules"
_RUN = _REPO + "/actions/runs/{run}"
_SUBJECT = _REPO + "/actions/oidc/customization/sub"
_DEPLOYMENT = _REPO + "/deployments/{deployment}"
_STATUSES = _DEPLOYMENT + "/statuses"
_ISSUE = _REPO + "/issues/{number}"
_COMMENT = _REPO + "/issues/comments/{comment}"
_PULL = _REPO + "/pulls/{number}"
_SCANNING = _REPO + "/code-scanning"
_ORG = "/orgs/{org}"
_TEAM = _ORG + "/teams/{team}"
_SEED_RUN = "/github/repos/{owner}/{repo}/runs/{run}"

_ANY = Need()
_MEMBER = Need("members", org=True)
_PUSHER = Need(role="write", public=False)
_CONTENTS = Need("contents")
_ADMIN_READ = Need("administration", role="admin", public=False)
_ADMIN = Need("administration", "write", role="admin")
_ACTIONS = Need("actions")
_ACTIONS_WRITE = Need("actions", "write", role="admin")
_DEPLOYS_READ = Need("deployments")
_DEPLOYS = Need("deployments", "write", role="write")
_REVIEWS = Need("deployments", "write")
_TALK_READ = Need("issues|pull_requests")
_TALK = Need("issues|pull_requests", "write")
_ISSUES_READ, _ISSUES = Need("issues"), Need("issues", "write")
_PULLS_READ, _PULLS = Need("pull_requests"), Need("pull_requests", "write")
_ALERTS_READ = Need("security_events", role="write", public=False)
_ALERTS = Need("security_events", "write", role="write")

_ENVIRONMENTS = "deployments/environments"

ROUTES = [
    Route("GET", _TOKENS, "/.well-known/openid-configuration", r.configuration, auth="none", doc="OpenID configuration"),
    Route("GET", _TOKENS, "/.well-known/jwks", r.keys, auth="none", doc="Signing keys"),
    Route("GET|POST", REQUEST_HOST, "/idtoken", r.id_token, auth="none", doc="A workflow job's OIDC token"),
    route("GET", "/user", rest.get_me, "The person who asks", _ANY, "users/users#get-the-authenticated-user"),
    route("GET", "/users/{username}", rest.get_user, "Read an account", _ANY, "users/users#get-a-user"),
    route("GET", "/rate_limit", rest.get_rate_limit, "How many calls are left", _ANY, "rate-limit/rate-limit"),
    route("GET", _ORG, rest.get_org, "Read an organization", _ANY, "orgs/orgs#get-an-organization"),
    route("GET", _ORG + "/members", rest.list_org_members, "List the members of an organization", _MEMBER, "orgs/members"),
    route("GET", _ORG + "/members/{username}", rest.get_org_member, "Whether somebody is a member", _MEMBER, "orgs/members"),
    route("GET", _ORG + "/memberships/{username}", rest.get_org_membership, "The role of a member", _MEMBER, "orgs/members"),
    route("GET", _ORG + "/teams", rest.list_teams, "List teams", _MEMBER, "teams/teams#list-teams"),
    route("GET", _TEAM, rest.get_team, "Read a team", _MEMBER, "teams/teams#get-a-team-by-name"),
    route("GET", _TEAM + "/members", rest.list_team_members, "List the members of a team", _MEMBER, "teams/members#list-team-members"),
    route(
        "GET", _TEAM + "/memberships/{username}", rest.get_team_membership, "Whether somebody is in a team", _MEMBER,
        "teams/members#get-team-membership-for-a-user",
    ),
    route("GET", _REPO, rest.get_repository, "Read a repository", _ANY, "repos/repos#get-a-repository"),
    route("GET", _REPO + "/teams", rest.list_repository_teams, "List the teams of a repository", _ADMIN_READ, "repos/repos"),
    route("GET", _REPO + "/collaborators", rest.list_collaborators, "List collaborators", _PUSHER, "collaborators/collaborators"),
    route(
        "GET", _REPO + "/collaborators/{username}/permission", rest.get_permission, "The permission of a person",
        Need(public=False), "collaborators/collaborators#get-repository-permissions-for-a-user",
    ),
    route("GET", _SUBJECT, rest.get_oidc_subject, "What OIDC subjects are made of", _ACTIONS, "actions/oidc"),
    route("PUT", _SUBJECT, rest.put_oidc_subject, "Set what OIDC subjects are made of", _ACTIONS_WRITE, "actions/oidc"),
    route("GET", _REPO + "/branches", rest.list_branches, "List branches", _CONTENTS, "branches/branches#list-branches"),
    route("GET", _BRANCH, rest.get_branch, "Read a branch", _CONTENTS, "branches/branches#get-a-branch"),
    route("GET", _BRANCH + "/protection", rest.get_protection, "How a branch is protected", _ADMIN_READ, "branches/branch-protection"),
    route("GET", _REPO + "/git/ref/{ref:path}", rest.get_ref, "Read a branch or tag as a ref", _CONTENTS, "git/refs#get-a-reference"),
    route("GET", _REPO + "/commits", rest.list_commits, "List commits", _CONTENTS, "commits/commits#list-commits"),
    route("GET", _REPO + "/commits/{ref:path}", rest.get_commit, "Read a commit", _CONTENTS, "commits/commits#get-a-commit"),
    route("GET", _REPO + "/commits/{ref}/pulls", rest.list_commit_pulls, "Pull requests of a commit", _PULLS_READ, "commits/commits"),
    route("GET", _REPO + "/compare/{basehead:path}", rest.compare, "Compare two commits", _CONTENTS, "commits/commits#compare-two-commits"),
    route("GET", _REPO + "/environments", rest.list_environments, "List environments", _ACTIONS, f"{_ENVIRONMENTS}#list-environments"),
    route("GET", _ENV, rest.get_environment, "Read an environment", _ACTIONS, f"{_ENVIRONMENTS}#get-an-environment"),
    route("PUT", _ENV, rest.put_environment, "Create or update an environment", _ADMIN, f"{_ENVIRONMENTS}#create-or-update-an-environment"),
    route("DELETE", _ENV, rest.delete_environment, "Delete an environment", _ADMIN, f"{_ENVIRONMENTS}#delete-an-environment"),
    route("GET", _POLICIES, rest.list_policies, "List deployment branch policies", _ACTIONS, "deployments/branch-policies"),
    route("POST", _POLICIES, rest.add_policy, "Let branches or tags deploy", _ADMIN, "deployments/branch-policies"),
    route("GET", _POLICIES + "/{policy}", rest.get_policy, "Read a deployment branch policy", _ACTIONS, "deployments/branch-policies"),
    route("PUT", _POLICIES + "/{policy}", rest.put_policy, "Change a deployment branch policy", _ADMIN, "deployments/branch-policies"),
    route("DELETE", _POLICIES + "/{policy}", rest.delete_policy, "Delete a branch policy", _ADMIN, "deployments/branch-policies"),
    route("GET", _RULES, rest.list_rules, "List custom protection rules", _ACTIONS, "deployments/protection-rules"),
    route("POST", _RULES, rest.add_rule, "Let an app decide too", _ADMIN, "deployments/protection-rules"),
    route("GET", _RULES + "/apps", rest.list_rule_apps, "Apps that could decide", _ACTIONS, "deployments/protection-rules"),
    route("GET", _RULES + "/{rule}", rest.get_rule, "Read a custom protection rule", _ACTIONS, "deployments/protection-rules"),
    route("DELETE", _RULES + "/{rule}", rest.delete_rule, "Take a custom protection rule away", _ADMIN, "deployments/protection-rules"),
    route("GET", _REPO + "/actions/runs", rest.list_runs, "List workflow runs", _ACTIONS, "actions/workflow-runs"),
    route("GET", _RUN, rest.get_run, "Read a workflow run", _ACTIONS, "actions/workflow-runs#get-a-workflow-run"),
    route("GET", _RUN + "/attempts/{attempt}", rest.get_attempt, "Read an attempt of a workflow run", _ACTIONS, "actions/workflow-runs"),
    route("GET", _RUN + "/approvals", rest.list_approvals, "Who reviewed a run", _ACTIONS, "actions/workflow-runs"),
    route("GET", _RUN + "/pending_deployments", rest.list_pending, "What a run waits for", _ACTIONS, "actions/workflow-runs"),
    route("POST", _RUN + "/pending_deployments", rest.review_pending, "Approve or reject deployments", _REVIEWS, "actions/workflow-runs"),
    route("POST", _RUN + "/deployment_protection_rule", rest.decide_rule, "An app decides", _REVIEWS, "actions/workflow-runs"),
    route("GET", _REPO + "/deployments", rest.list_deployments, "List deployments", _DEPLOYS_READ, "deployments/deployments"),
    route("POST", _REPO + "/deployments", rest.create_deployment, "Create a deployment", _DEPLOYS, "deployments/deployments"),
    route("GET", _DEPLOYMENT, rest.get_deployment, "Read a deployment", _DEPLOYS_READ, "deployments/deployments#get-a-deployment"),
    route("DELETE", _DEPLOYMENT, rest.delete_deployment, "Delete a deployment", _DEPLOYS, "deployments/deployments#delete-a-deployment"),
    route("GET", _STATUSES, rest.list_statuses, "What became of a deployment", _DEPLOYS_READ, "deployments/statuses"),
    route("POST", _STATUSES, rest.create_status, "Say what became of a deployment", _DEPLOYS, "deployments/statuses"),
    route("GET", _STATUSES + "/{status}", rest.get_status, "Read a deployment status", _DEPLOYS_READ, "deployments/statuses"),
    route("GET", _REPO + "/issues", rest.list_issues, "List issues and pull requests", _ISSUES_READ, "issues/issues"),
    route("POST", _REPO + "/issues", rest.create_issue, "Create an issue", _ISSUES, "issues/issues#create-an-issue"),
    route("GET", _ISSUE, rest.get_issue, "Read an issue", _TALK_READ, "issues/issues#get-an-issue"),
    route("PATCH", _ISSUE, rest.change_issue, "Change, close or open an issue", _TALK, "issues/issues#update-an-issue"),
    route("GET", _ISSUE + "/comments", rest.list_comments, "List comments", _TALK_READ, "issues/comments#list-issue-comments"),
    route("POST", _ISSUE + "/comments", rest.create_comment, "Comment", _TALK, "issues/comments#create-an-issue-comment"),
    route("GET", _COMMENT, rest.get_comment, "Read a comment", _TALK_READ, "issues/comments#get-an-issue-comment"),
    route("PATCH", _COMMENT, rest.change_comment, "Change a comment", _TALK, "issues/comments#update-an-issue-comment"),
    route("DELETE", _COMMENT, rest.delete_comment, "Delete a comment", _TALK, "issues/comments#delete-an-issue-comment"),
    route("GET", _REPO + "/pulls", rest.list_pulls, "List pull requests", _PULLS_READ, "pulls/pulls#list-pull-requests"),
    route("POST", _REPO + "/pulls", rest.create_pull, "Create a pull request", _PULLS, "pulls/pulls#create-a-pull-request"),
    route("GET", _PULL, rest.get_pull, "Read a pull request", _PULLS_READ, "pulls/pulls#get-a-pull-request"),
    route("GET", _PULL + "/commits", rest.list_pull_commits, "Commits of a pull request", _PULLS_READ, "pulls/pulls"),
    route("GET", _PULL + "/reviews", rest.list_reviews, "List reviews", _PULLS_READ, "pulls/reviews"),
    route("POST", _PULL + "/reviews", rest.create_review, "Review a pull request", _PULLS, "pulls/reviews"),
    route("POST", _SCANNING + "/sarifs", rest.upload_sarif, "Upload a SARIF file", _ALERTS, "code-scanning/code-scanning"),
    route("GET", _SCANNING + "/sarifs/{sarif}", rest.get_sarif, "What became of an upload", _ALERTS_READ, "code-scanning/code-scanning"),
    route("GET", _SCANNING + "/analyses", rest.list_analyses, "List analyses", _ALERTS_READ, "code-scanning/code-scanning"),
    route("GET", _SCANNING + "/alerts", rest.list_alerts, "List alerts", _ALERTS_READ, "code-scanning/code-scanning"),
    Route("POST", HOST, "/github", seeds.seed, auth="none", doc="Set up organizations, users, teams, repositories and commits"),
    Route("POST", HOST, "/github/tokens", seeds.add_token, auth="none", doc="Make a person's or an app's token"),
    Route("POST", HOST, "/github/repos/{owner}/{repo}/runs", seeds.begin_run, auth="none", doc="A workflow run begins"),
    Route("PATCH", HOST, _SEED_RUN, seeds.end_run, auth="none", doc="A workflow run ends"),
    Route("POST", HOST, _SEED_RUN + "/attempts", seeds.begin_attempt, auth="none", doc="Somebody runs jobs of a workflow run again"),
    Route("POST", HOST, _SEED_RUN + "/jobs", seeds.begin_job, auth="none", doc="A job asks to start; a missing environment is made"),
    Route("GET", HOST, _SEED_RUN + "/jobs/{job}", seeds.get_job, auth="none", doc="Whether a job may start by now"),
    Route("PATCH", HOST, _SEED_RUN + "/jobs/{job}", seeds.end_job, auth="none", doc="A job ends"),
    Route("POST", HOST, _SEED_RUN + "/bypass", seeds.bypass, auth="none", doc="An administrator starts waiting jobs"),
    Route("POST", HOST, "/github/repos/{owner}/{repo}/pulls/{number}/merge", seeds.merge, auth="none", doc="A pull request is merged"),
]  # fmt: skip
