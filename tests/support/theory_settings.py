"""The settings of the theory page's tables, as the formulas and the simulation take them."""

from __future__ import annotations

import numpy as np

from tests.support.theory_page import number, tables
from uora_bench.theory import classification
from uora_bench.theory.classification import Source
from uora_bench.theory.settings import Setting

NAMES = [f"O{i}" for i in range(1, 17)]
FOUR = 5e-5 + 1e-6  # four printed decimals, and the tolerance


def row_of(name: str) -> dict[str, str]:
    (found,) = [row for row in tables("4.1")[0] if row["id"] == name]
    return found


def setting_of(name: str) -> Setting:
    row = row_of(name)
    assert list(row)[1:9] == ["N", "n", "p", "μ", "μ_⊥", "β", "γ̃", "γ"]
    return Setting(*(number(row[key]) for key in list(row)[1:9]))


def alphas_of(name: str) -> tuple[list[dict[str, str]], np.ndarray]:
    """The four rows of a setting in table 4.2 and their α; α* is printed short, so it is computed."""
    setting = setting_of(name)
    rows = [row for row in tables("4.2")[0] if row["id"] == name]
    best = classification.optimal_alpha(setting, classification.ridge_source(setting))
    alphas = [best if "α*" in row["α"] else number(row["α"]) for row in rows]
    printed = [number(row["α"].replace("α*", "")) for row in rows]
    np.testing.assert_allclose(alphas, printed, atol=FOUR, rtol=0)
    assert len(rows) == 4
    return rows, np.array(alphas)


def arbitrary(row: dict[str, str]) -> tuple[Setting, Source]:
    """A row of table 4.4: only n, p, γ, the two lengths and their cosine count."""
    n, p, gamma, cos, length, norm = (number(row[key]) for key in ("n", "p", "γ", "cos", "‖w̃‖", "‖μ_β‖"))
    setting = Setting.from_moments(1000, n, p, norm, 1.0, norm**2, 1.0, gamma)
    return setting, Source(cos * length * norm, length**2)
