"""Entry point of `python run.py` and `accelerate launch run.py`."""

import sys

from sslzoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
