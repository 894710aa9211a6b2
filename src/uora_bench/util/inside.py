"""Names that come from outside (a repository's list, a file's content, an option), joined to a folder of ours."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from uora_bench.errors import UserError


def is_folder_name(name: str) -> bool:
    """Whether ``name`` is that of one folder, without a path, not hidden, and can be printed in a line."""
    plain = name == name.strip("./ ") and "/" not in name and "\\" not in name and not PureWindowsPath(name).drive
    return bool(name) and plain and name.isprintable()


def inside(root: Path, name: str) -> Path:
    """``root / name``, where ``name`` is a relative path with slashes that stays below ``root``.

    Raises:
        UserError: for an absolute name, an empty one, one with ``.`` or ``..``, a backslash, a drive or a character
            that cannot be printed.
    """
    parts = name.split("/")
    odd = any(part in ("", ".", "..") for part in parts) or "\\" in name or not name.isprintable()
    if odd or PureWindowsPath(name).drive:
        raise UserError(f"the name {name[:200]!r} leads out of its folder '{root}'; only a plain path below it will do")
    return root.joinpath(*parts)
