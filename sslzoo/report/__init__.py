"""Tables and images; knows nothing of how a run was trained."""
