"""The config of a run: its schema, its composition from layers, names and flags, and its file format."""
