"""MLflow tracking behind the workspace's own address: a real MLflow server per emulator, a database per workspace."""
