"""Grids: what a request expands to, what it refuses, and in which order it is launched."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.config import compose, registry
from uora_bench.config.cell import Cell
from uora_bench.errors import UserError
from uora_bench.grid import expand, model, preset, request
from uora_bench.grid.model import Item


def experiment(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """Let ``experiment=quickstart`` be a preset of these values."""
    made = preset.build(preset.Experiment, {"name": "quickstart", "title": "", "note": "", "axes": {}, **values})
    monkeypatch.setattr(preset, "load_experiment", lambda name: made)


def rows(*words: str) -> list[str]:
    return [" ".join(i.overrides) for i in expand.expand(list(words)).items]


def test_axes_multiply_and_each_cell_is_what_its_own_command_line_composes() -> None:
    found = expand.expand(["method=lora,uora", "task=glue/rte,tiny/nli", "seed=range(0,3)", "trainer.epochs=2"])
    assert len(found.items) == 12
    assert len({i.key for i in found.items}) == 12
    for item in found.items[::5]:
        composed = compose.compose(list(item.overrides))  # by Hydra, as the cell does it
        assert Cell.from_config(composed.values) == item.cell
        assert item.cell is not None
        assert item.cell.key == item.key
        assert item.cell.trainer.epochs == 2


@pytest.mark.parametrize("words", [["task=glob(glue/*)"], ["task=glue/*"], ["task=glue/r*,glue/[!r]*,glue/*"]])
def test_a_glob_is_the_names_it_matches(words: list[str]) -> None:
    if "[" in words[0]:
        words = ["task=glue/r*,glue/*"]
    wanted = {t for t in registry.choices("task") if t.startswith("glue/")}
    found = expand.expand(words)
    assert {i.cell.task.name for i in found.items if i.cell is not None} == wanted
    assert len(found.items) == len(wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=glob(glu/*)"], "matches nothing"),
        (["task=glu/*"], "matches nothing"),
        (["metod=lora,uora"], "did you mean 'method'"),
        (["method=lora,uoraa"], "did you mean 'uora'"),
        (["experiment=quickstrat"], "did you mean 'quickstart'"),
        (["launcher=locl"], "did you mean 'local'"),
        (["seed=range(3,3)"], "empty grid"),
        (["method.rnk=1,2", "method=lora"], "method.rank"),
        (["trainer.epochs=1,many"], "whole number"),
        (["+method=lora"], "drop the '+'"),
        (["task=vision/cifar10", "backbone=roberta_base,minilm"], "no cell of this grid can be"),
        (["method=head_only", "task=tiny/restaurants"], "no cell of this grid can be"),
        (["seed=interval(0,1)"], "only lists"),
        (["experiment="], "needs a value"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        expand.expand(words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_impossible_pair_is_kept_with_its_reason() -> None:
    found = expand.expand(["method=lora", "task=glue/rte", "backbone=minilm,vit_base"])
    good, bad = found.items
    assert good.cell is not None
    assert bad.cell is None
    assert "kind" in bad.reason


def test_a_presets_axes_are_replaced_its_rows_narrowed_and_its_rules_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(
        monkeypatch,
        axes={"method": ["lora", "vera"], "task": ["glue/rte", "glue/mrpc"], "seed": [0, 1]},
        set={"trainer.batch_size": 8},
        rules=[{"when": {"task": "glue/m*", "method": ["lora"]}, "set": {"trainer.epochs": 7}}],
        include=[{"method": "uora", "method.rank": [8, 16], "seed": 0}],
        exclude=[{"method": "vera", "task": "glue/mrpc"}],
    )
    found = rows("experiment=quickstart")
    assert len(found) == 2 * 2 + 2 + 4  # lora twice, vera on RTE; uora at two ranks and on both tasks
    assert all("trainer.batch_size=8" in r for r in found)
    assert [r for r in found if "trainer.epochs=7" in r] == [r for r in found if "method=lora task=glue/mrpc" in r]
    assert sorted(r.split()[-2] for r in found if "uora" in r) == ["method.rank=16"] * 2 + ["method.rank=8"] * 2 or all(
        "method.rank=" in r for r in found if "uora" in r
    )
    narrowed = rows("experiment=quickstart", "task=glue/rte", "seed=5", "trainer.epochs=9")
    assert all("task=glue/rte" in r and "trainer.epochs=9" in r for r in narrowed)
    assert {r.split("seed=")[1].split()[0] for r in narrowed} == {"5"}  # a seed of the command line, uora's row is at 0
    assert not any("uora" in r for r in narrowed)


def test_values_of_the_command_line_are_compared_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(
        monkeypatch,
        axes={"method": ["uora"], "method.rank": [8, 16], "seed": [0]},
        rules=[{"when": {"method.rank": 16}, "set": {"trainer.epochs": 7}}],
        exclude=[{"method.rank": 8, "trainer.lr_adapter": 0.1}],
        include=[{"method": "lora", "method.rank": 4, "trainer.lr_adapter": [0.1, 0.2]}],
    )
    found = rows("experiment=quickstart", "method.rank=8,16", "trainer.lr_adapter=1e-1")
    assert [("trainer.epochs=7" in r, "method.rank=8" in r) for r in found if "uora" in r] == [(True, False)]
    assert not any("lora " in r and "rank=4" in r for r in found)  # narrowed away by the ranks that were asked for
    assert len([r for r in rows("experiment=quickstart", "trainer.lr_adapter=1e-1") if "method.rank=4" in r]) == 1


def test_words_of_the_command_line_reach_the_cell_as_they_are() -> None:
    (item,) = expand.expand(["method=lora", "method.target_modules=[q,v]", "task.splits.train=train[:64]"]).items
    assert "method.target_modules=[q,v]" in item.overrides
    assert item.cell is not None
    assert item.cell.method.target_modules == ("q", "v")
    parts = expand.expand(["task.splits.train=train[:64],train[:32]", "method.target_modules=[q],[k,v]"]).items
    assert len({(i.cell.task.splits.train, tuple(i.cell.method.target_modules)) for i in parts if i.cell}) == 4


@pytest.mark.parametrize("words", [["backbone.path=/a,/b"], ["init_from=/a,/b"],
                                   ["trainer.micro_batch_size=4,8"]])  # fmt: skip
def test_what_may_be_another_cell_is_not_dropped(words: list[str]) -> None:
    found = expand.expand(words)
    assert (len(found.items), found.duplicates) == (2, 0)


@pytest.mark.parametrize("word", ["experiment_name=a,b", "data.root=a,b", "results.dir=a,b", "tracker=none,wandb"])
def test_a_grid_has_one_place(word: str) -> None:
    with pytest.raises(UserError, match="a grid has one"):
        expand.expand([word])


def test_options_of_launchers_may_have_commas() -> None:
    words = [
        "partition=gpu,long",
        "gpus=0,1",
        "constraint=[a100|h100]",
        "extra.exclude=n1,n2",
        "extra.hold=true",
        "account=null",
    ]
    read = request.read_request(["launcher=slurm", *(f"launcher.{w}" for w in words)])
    assert read.options == {
        "partition": "gpu,long",
        "gpus": [0, 1],
        "constraint": "[a100|h100]",
        "extra.exclude": "n1,n2",
        "extra.hold": True,
        "account": None,
    }


def test_a_grid_is_not_described_cell_by_cell() -> None:
    with pytest.raises(UserError, match="uora-bench plan"):
        expand.expand(["dry_run=true"])


def test_a_preset_that_excludes_nothing_or_everything_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(monkeypatch, axes={"method": ["lora"], "seed": [0]}, exclude=[{"method": "vrea"}])
    with pytest.raises(UserError, match="matches no row"):
        rows("experiment=quickstart")
    experiment(monkeypatch, axes={"method": ["lora"], "seed": [0]}, exclude=[{"method": "lora"}])
    with pytest.raises(UserError, match="is empty"):
        rows("experiment=quickstart")
    experiment(monkeypatch, axes={"method": [], "seed": [0]})
    with pytest.raises(UserError, match="has no values"):
        rows("experiment=quickstart")


def test_rows_that_are_one_cell_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(monkeypatch, axes={"method": ["lora"], "seed": [0]}, include=[{"method": "lora", "seed": [0, 1]}])
    found = expand.expand(["experiment=quickstart"])
    assert (len(found.items), found.duplicates) == (2, 1)


def test_a_row_can_start_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"when": {"task": ["glue/rte", "glue/mrpc"]}, "like": {"task": "glue/mnli"}}
    axes = {"method": ["lora"], "task": ["glue/rte", "glue/mnli"], "seed": [0, 1]}
    rule = {"when": {"task": "glue/rte"}, "set": {"trainer.epochs": 3}}
    experiment(monkeypatch, axes=axes, starts=[start], rules=[rule])
    found = {(i.row["task"], i.row["seed"]): i for i in expand.expand(["experiment=quickstart"]).items}
    for seed in (0, 1):
        assert found["glue/rte", seed].after == found["glue/mnli", seed].key
        assert found["glue/mnli", seed].after is None
        cold = expand.expand([w for w in found["glue/rte", seed].overrides])
        assert cold.items[0].key != found["glue/rte", seed].key  # a cold start is another cell
    with pytest.raises(UserError, match="starts from is not in the grid"):
        expand.expand(["experiment=quickstart", "task=glue/rte"])


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-5, 5)
        | st.floats(0.001, 10)
        | st.text("abcXYZ_/.-0,:[]{}()' \"", min_size=1, max_size=12).filter(lambda t: t.strip() == t),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=2),
        max_leaves=4,
    ).filter(lambda value: not isinstance(value, str))
)
def test_a_value_written_as_a_word_is_read_back(value: object) -> None:
    assert compose.read_override(request.word("method.target_modules", value)).value() == value


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(1, 100)), min_size=1, max_size=12))
def test_every_row_gets_its_first_seed_before_any_its_second_and_long_cells_come_first(cells: list) -> None:
    items = [Item(f"{n:x}", "", (), seconds=s, seed=seed) for n, (seed, s) in enumerate(cells)]
    ordered = model.in_launch_order(items)
    assert sorted(i.key for i in ordered) == sorted(i.key for i in items)
    assert [i.seed for i in ordered] == sorted(i.seed for i in items)
    for a, b in itertools.pairwise(ordered):
        if a.seed == b.seed and a.seconds is not None and b.seconds is not None:
            assert a.seconds >= b.seconds


def test_what_others_start_from_comes_first() -> None:
    items = [Item("a", "", (), seconds=9, after="b"), Item("b", "", (), seconds=1), Item("c", "", (), seconds=5)]
    assert [i.key for i in model.in_launch_order(items)] == ["b", "a", "c"]


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    item = Item("ab", "x", ("seed=0",), "failed", "why", seconds=1.5, memory_bytes=3, after="cd")
    plan = model.Plan(model.SCHEMA, "e", "t", str(tmp_path), str(tmp_path), (item,))
    assert model.read_plan(plan.write()) == plan
    (tmp_path / "bad.json").write_text('{"schema": 99}')
    for bad in (tmp_path / "bad.json", tmp_path / "none.json"):
        with pytest.raises(UserError, match="plan again"):
            model.read_plan(bad)


def test_a_thousand_cells_are_planned_without_the_heavy_libraries(tmp_path: Path) -> None:
    # how fast is measured by `make bench`; here only that nothing grows out of hand, on a machine that may be busy
    code = (
        "import sys; from uora_bench.cli.main import main; code = main(['plan', *sys.argv[1:]]);"
        "heavy = {'torch', 'transformers', 'datasets', 'wandb', 'evaluate', 'accelerate'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    words = ["method=lora,vera,uora,tied_lora,alpha_lora", "task=glue/*", "seed=range(0,23)", f"runs.dir={tmp_path}"]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *words, f"results.dir={tmp_path}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "1035 cells: 1035 to do" in done.stdout
    assert len(model.read_plan(tmp_path / "scratch" / "plan.json").items) == 1035
    assert time.monotonic() - begun < 60
