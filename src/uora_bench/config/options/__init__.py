"""The options of every built-in method and task family: frozen dataclasses that import without torch.

YAML in configs/ holds values, their sources and comments. The dataclasses here hold types and ranges, and they answer
what can be asked of an option before a model exists (`uora_bench.config.preflight` asks it).
`uora_bench.config.registry` finds the one of a name.
"""

from uora_bench.config.options.base import AdapterOptions, MethodOptions, TaskOptions

__all__ = ["AdapterOptions", "MethodOptions", "TaskOptions"]
