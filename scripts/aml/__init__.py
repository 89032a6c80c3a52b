"""The nouns that the verbs share."""

VERSION = "0.1.0"
