"""Azure Pipelines YAML on this machine: expanded, checked and run as the service and its agent would."""
