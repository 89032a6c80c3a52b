"""GitHub's OpenID Connect provider for workflow runs."""
