"""What `tests.support.warm` has before its copies, beside what a launcher's server imports."""

import peft  # noqa: F401
import sklearn.metrics  # noqa: F401

import uora_bench.cli.export
import uora_bench.execution.dry_run
import uora_bench.export.loading  # noqa: F401
from uora_bench.data.generated import nli

nli.rows("train")  # most cells of the tests are on them
