"""``python -m uora_bench …`` is the same program as ``uora-bench …`` (`uora_bench.cli.main.program`)."""

import sys

from uora_bench.cli.main import program

if __name__ == "__main__":
    sys.exit(program())
