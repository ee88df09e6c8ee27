"""`python -m sslzoo` and `accelerate launch -m sslzoo`: what run.py does, where there is no checkout."""

import sys

from sslzoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
