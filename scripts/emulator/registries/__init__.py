"""Registries: where one team hands models, environments, data, code and components to another."""
