"""Microsoft Graph: the directory, as far as ``az ad``, the planning of identities and audits of access call it."""
