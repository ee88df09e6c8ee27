"""`run.py augmentations`: a figure of the views that a method is trained on."""
