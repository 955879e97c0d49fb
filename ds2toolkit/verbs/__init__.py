"""The stages of a recipe, one module a verb."""
