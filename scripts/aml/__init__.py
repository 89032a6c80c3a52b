"""The nouns that the verbs share."""
