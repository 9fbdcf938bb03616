"""`python -m wise_serve` is `wise-serve`."""

import sys

from wise_serve.cli.main import main

if __name__ == "__main__":  # vLLM's child processes import this file, too
    sys.exit(main())
