"""``python -m uora_bench prefetch``: see `uora_bench.prefetch`."""

import sys

from uora_bench.prefetch import main

if __name__ == "__main__":
    sys.exit(main())
