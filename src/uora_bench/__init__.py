"""uora_bench: trustworthy comparisons of parameter-efficient fine-tuning methods.

Importing the package is free of torch, transformers, datasets and wandb: everything heavy is imported where it is used.
"""

import logging

__version__ = "0.1.0"

# Imported by PEFT or for a 4-bit backbone, bitsandbytes regrets the absence of a CPU kernel that is never used here
# (`uora_bench.models.quantisation.keep_layout`); one line that is no mistake of the user's.
logging.getLogger("bitsandbytes.backends.cpu").setLevel(logging.ERROR)
