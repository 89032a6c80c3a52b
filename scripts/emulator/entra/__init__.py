"""Entra ID: login.microsoftonline.com, the directory behind it, and the tokens that everything else checks."""
