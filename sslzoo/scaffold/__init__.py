"""Write templates of custom methods, targets, losses and data sets."""
