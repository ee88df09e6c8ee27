"""The config of a run: its schema, its composition from layers and names, and its flags."""
