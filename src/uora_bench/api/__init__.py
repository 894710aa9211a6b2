"""What the package offers to Python code; its names are asked of the package itself (``uora_bench.inject``)."""
