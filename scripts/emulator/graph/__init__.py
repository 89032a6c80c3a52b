"""Microsoft Graph, as far as ``az ad`` and ``az role assignment`` call it."""
