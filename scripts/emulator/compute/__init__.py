"""Computes: clusters, instances, their sizes and the quota they use."""
