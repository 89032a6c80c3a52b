"""GitHub: the OpenID Connect provider for workflow runs, and the REST API as far as gates, releases and audits ask it.

The routes of ``emulator.localhost`` are the emulator's own: what GitHub's pages and its workflow engine do.
"""
