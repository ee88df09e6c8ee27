"""Methods, or any setting, side by side: the runs that it takes, and the page that tells what came out."""
