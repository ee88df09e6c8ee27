"""`run.py augmentations`: a picture of the views that a method is trained on."""
