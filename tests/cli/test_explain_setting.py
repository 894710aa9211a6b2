"""``explain KEY``: what a setting means, by any of its names; and none of the training loop's is without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.cli.main import main
from uora_bench.config import registry
from uora_bench.config.yaml_comments import yaml_keys


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("trainer.lr_adapter", ("trainer.lr_adapter  (also: ", "default 1.0e-3; largest learning rate of what")),
        ("lr", ("trainer.lr_adapter  (also: ", "a recipe may set it")),
        ("method.tau", ("method=uora: default 1.0e-5; authors' default",)),
        ("launcher.cpu_slots", ("launcher=local: default null; cells at the same time on cores",)),
        ("seed", ("default 0; paired",)),
        ("method.mine", ("method=my_own: default 3; how often",)),
        ("UC12", ("UC12: a row that did not learn (docs/comparability.md",)),
    ],
)
def test_a_setting_is_explained(
    words: str,
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "uora_plugins" / "configs" / "method"
    folder.mkdir(parents=True)
    (folder / "my_own.yaml").write_text("name: my_own\nmine: 3  # how often\n", "utf-8")
    assert main(["explain", words]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in parts), said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("explain trainer.lr_adaptr", "did you mean 'trainer.lr_adapter'?"),
        ("explain a b", "a number is named by TABLE ROW COLUMN [BLOCK]"),
        ("explain UC99", "no rule 'UC99'"),
        ("explain table.margin", "is a key of experiments, not a setting of a cell; docs/tables.md explains it"),
        ("explain launcher.race.margin", "docs/searches.md explains it"),
        (
            "plan experiment=quickstart launcher=local launcher.workers=2",
            "side by side is launcher.cpu_slots (on",
        ),
    ],
)
def test_what_is_meant_is_named(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


def test_no_setting_of_the_training_loop_a_tracker_or_a_launcher_is_without_a_word() -> None:
    files = [
        path for group in ("trainer", "tracker", "launcher") for path in (registry.configs_dir() / group).glob("*")
    ]
    silent = [f"{path.stem}: {key.name}" for path in files for key in yaml_keys(path) if not key.comment]
    assert [one for one in silent if not one.endswith(": name")] == []
