"""`python run.py` or `accelerate launch run.py`: hands over to sslzoo's command line."""

import sys

from sslzoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
