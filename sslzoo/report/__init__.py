"""Tables and pictures; knows nothing of how a run was trained."""
