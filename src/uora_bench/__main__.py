"""``python -m uora_bench …`` is the same program as ``uora-bench …`` (`uora_bench.cli.main`)."""

import sys

from uora_bench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
