"""`run.py plan`: what a run would take, and where its time would go."""
