"""Images: where they come from, how they are kept, and in which order they are handed out."""
