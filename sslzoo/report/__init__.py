"""Tables and plots, independent of how a run was trained."""
