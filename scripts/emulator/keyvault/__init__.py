"""Key Vault's data plane: secrets and keys that sign, at ``https://<vault>.vault.azure.net``."""
