"""A linter for Azure Pipelines YAML: traps and security rules, over files as written and pipelines as expanded."""
