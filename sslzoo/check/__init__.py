"""Checks that built-in methods, targets and losses pass, for custom ones."""
