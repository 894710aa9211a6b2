"""Task families, one file each; they know nothing of methods. ``base`` is the wall they stand behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uora_bench.config import registry

if TYPE_CHECKING:
    from uora_bench.config.cell import TaskConfig
    from uora_bench.tasks.base import Task


def task_class(family: str) -> type[Task]:
    """The `Task` sub-class of ``tasks/<family>.py``; raises `UserError` for an unknown family."""
    from uora_bench.tasks.base import Task

    return registry.only_subclass("tasks", registry.check_family(family), Task)  # type: ignore[type-abstract]


def create_task(config: TaskConfig) -> Task:
    """The task that ``config`` describes."""
    return task_class(config.family)(config)
