"""A package that knows tomolearn, and that tomolearn does not know."""
