"""Texts of E2E NLG: those that the official scripts have scored, and the references of a split."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from tests.support.paths import ORACLES


def oracle() -> tuple[list[str], list[list[str]], dict[str, Any]]:
    """A system's texts, their references, and the official scores."""
    folder = ORACLES / "e2e_metrics"
    system = (folder / "system.txt").read_text("utf-8").splitlines()
    groups = (folder / "references.txt").read_text("utf-8").strip().split("\n\n")
    return system, [g.split("\n") for g in groups], json.loads((folder / "scores.json").read_text("utf-8"))


def grouped(shared: Path, split: str) -> list[list[str]]:
    """The references of a split, by meaning representation."""
    groups: dict[str, list[str]] = {}
    with gzip.open(shared / "data" / "e2e_nlg" / "default" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            groups.setdefault(row["meaning_representation"], []).append(row["human_reference"])
    return list(groups.values())
