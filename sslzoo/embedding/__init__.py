"""Features of images as a file, and what can be found in them."""
