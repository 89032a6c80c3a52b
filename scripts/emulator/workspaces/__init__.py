"""Workspaces: their life cycle, keys, connections and discovery."""
