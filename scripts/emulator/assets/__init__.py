"""Datastores and versioned assets: code, data, environments, models, components; and where their bytes are."""
