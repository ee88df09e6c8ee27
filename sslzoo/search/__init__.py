"""Search in a collection of images by their features, and a page of the result."""
