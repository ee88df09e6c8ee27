"""Built-in methods, one short file each, found by name through the entry points of `pyproject.toml`."""
