"""uora_bench: trustworthy comparisons of parameter-efficient fine-tuning methods.

Importing the package is free of torch, transformers, datasets and wandb: everything heavy is imported where it is used.
"""

__version__ = "0.1.0"
