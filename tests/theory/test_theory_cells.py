"""Theory experiments as cells: presets, command lines, ids, records."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.theory_page import number, tables
from tests.support.theory_runs import QUICK, read_all, run, several
from uora_bench.cli.main import main
from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.report import markdown
from uora_bench.theory import compute, presets, record, request, reviews
from uora_bench.theory import report as theory
from uora_bench.theory.parameters import KINDS, Grid, values

PRESETS = presets.names()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several(tmp_path_factory.mktemp("results"))


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_cells_with_labels_and_a_source(name: str) -> None:
    preset = presets.load_preset(name)
    cells = presets.expand(preset)
    labels = {cell.label for cell in cells}
    assert len(labels) * len(preset.seeds) == len(cells), "two settings of one label"
    assert all("{" not in label and label.strip() for label in labels)
    assert len(preset.source) > 3
    assert (preset.repetitions > 0) == (preset.kind != "optimal_alpha_map")
    assert len({cell.cell_id("") for cell in cells}) == len(cells)
    assert f"`{name}`" in (ROOT / "docs" / "theory.md").read_text("utf-8")


def test_every_kind_has_a_preset() -> None:
    assert {presets.load_preset(name).kind for name in PRESETS} == set(KINDS)


def test_figure_1_is_the_papers() -> None:
    rows = {row["id"]: list(row.values())[1:9] for row in tables("4.1")[0]}
    wanted = {**{f"O{i}": ("accuracy_alpha", i - 1) for i in (1, 2, 3)},
              **{f"O{i}": ("accuracy_alpha_p_400", i - 4) for i in (4, 5, 6)},
              **{f"O{i}": ("oracle", i - 7) for i in range(7, 17)}}  # fmt: skip
    for name, (preset, i) in wanted.items():
        given = presets.expand(presets.load_preset(preset))[i].parameters
        printed = [number(cell) for cell in rows[name]]
        own = [given.N, given.n, given.p, given.mu, given.mu_perp, given.beta, given.gamma_pre, given.gamma]
        assert own == printed, name


def test_a_paper_s_figure_is_found_by_its_number() -> None:
    assert presets.of_paper("figure", "1") == "accuracy_alpha"
    assert presets.of_paper("table", "1") == "amazon_table_1"
    with pytest.raises(UserError, match="no figure=9 of the paper"):
        presets.of_paper("figure", "9")


def test_a_grid_has_its_ends_and_its_zero() -> None:
    assert Grid(-10, 10, 81).values[0::40] == (-10.0, 0.0, 10.0)
    assert Grid(1e-6, 1e3, 4, "log").values == (1e-6, 1e-3, 1.0, 1e3)
    assert values((1.0, 2.0)) == (1.0, 2.0)
    for bad, said in ((dict(points=1), "points=2"), (dict(spacing="log"), "above 0")):
        with pytest.raises(UserError, match=said):
            Grid(**{"start": -1, "stop": 1, "points": 3, **bad})
    with pytest.raises(UserError, match="must not be empty"):
        values(())


# --- requests ---------------------------------------------------------------------------------------------------------


def cells(*words: str) -> list[presets.TheoryCell]:
    wanted = request.read_request(list(words))
    return presets.expand(wanted.preset, wanted.given, wanted.repetitions, wanted.seeds)


def test_values_make_cells_and_lists_stay_lists() -> None:
    made = cells("figure=1", "beta=0.1,0.3", "n=50", "seed=0,2", "repetitions=9", "alphas=-1,0,1")
    assert [(c.parameters.beta, c.seed) for c in made] == [(0.1, 0), (0.1, 2), (0.3, 0), (0.3, 2)]
    assert {(c.parameters.n, c.parameters.alphas, c.repetitions) for c in made} == {(50, (-1.0, 0.0, 1.0), 9)}
    assert cells("figure=1", "seed=range(0,3)", "beta=0.5")[-1].seed == 2
    assert cells("figure=1", "alphas={start: -2, stop: 2, points: 5}")[0].parameters.alphas == Grid(-2, 2, 5)


def test_a_value_that_occurs_among_the_preset_s_cells_chooses_them() -> None:
    whole = cells("table=1")
    assert len(whole) == 36
    assert {c.parameters.target for c in cells("table=1", "source=books")} == {"dvd", "electronics", "kitchen"}
    assert len(cells("table=1", "n=40")) == 36
    with pytest.raises(UserError, match="a transfer needs two"):
        cells("table=1", "source=books", "target=books")
    assert len(cells("experiment=digits", "source=[1,4]")) == 2


def test_the_same_values_are_the_same_cell() -> None:
    preset = {c.cell_id("") for c in cells("figure=1")}
    assert {c.cell_id("") for c in cells("figure=1", "n=40", "p=1000")} == preset
    assert not preset & {c.cell_id("") for c in cells("figure=1", "repetitions=299")}
    assert not preset & {c.cell_id("") for c in cells("figure=1", "seed=1")}
    assert cells("figure=1")[0].cell_id("") != cells("figure=1")[0].cell_id("books:1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["figure=1", "gama=2"], "unknown key 'gama' for accuracy_alpha; did you mean 'gamma'"),
        (["figure=1", "repetition=2"], "did you mean 'repetitions'"),
        (["figure=1", "beta"], "not of the form key=value; did you mean 'beta'|not of the form"),
        (["figure=1", "beta=big"], "beta='big' must be a number"),
        (["figure=1", "n=1.5"], "n=1.5 must be a whole number"),
        (["figure=1", "repetitions=1"], "no standard error"),
        (["figure=1", "seed=-1"], "none of them negative"),
        (["figure=1", "variant=relased"], "unknown variant 'relased'; did you mean 'released'"),
        (["figure=1", "force=yes"], "force='yes' must be true or false"),
        (["figure=1", "table=1"], "one experiment at a time"),
        (["beta=1"], "say which experiment"),
        (["experiment=accuracy_alpa"], "did you mean 'accuracy_alpha'"),
        (["experiment=optimal_alpha_map", "repetitions=5"], "simulates nothing"),
        (["experiment=optimal_alpha_n", "n=5"], "'n' is what along=n varies"),
        (["figure=1", "experiment_name=../x"], "must be a plain folder name"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", *words, f"results.dir={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert any(part in err for part in said.split("|")), err
    assert not list(tmp_path.iterdir())


def write_reviews(root: Path, word: str) -> None:
    """Forty reviews per domain, of which one word tells the class."""
    for domain in reviews.DOMAINS:
        path = root / reviews.BENCHMARK / domain / "train.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"title": f"{domain} {i}", "text": f"{word} {'good' if label else 'bad'} thing {i % 7}", "label": label}
            for label in (1, 0)
            for i in range(20)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def test_reviews_are_in_the_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"amazon_table_1 source=books target=dvd N=40 n=6 repetitions=3 seed=0 data.root={tmp_path / 'data'}"
    write_reviews(tmp_path / "data", "this")
    assert run(tmp_path, words) == 0
    assert "source alone 1 ± 0" in capsys.readouterr().out
    assert run(tmp_path, words) == 0
    assert "1 already done" in capsys.readouterr().out
    write_reviews(tmp_path / "data", "that")
    assert run(tmp_path, words) == 0
    assert "1 computed" in capsys.readouterr().out
    first, second = read_all(tmp_path, "theory_amazon_table_1")
    assert first.cell == second.cell
    assert set(first.provenance["data"]) == set(reviews.DOMAINS)
    assert first.provenance["data"] != second.provenance["data"]
    assert not any("data.root" in word for word in first.provenance["command"])


def test_digits_need_no_data(tmp_path: Path) -> None:
    assert run(tmp_path, "digits source=[6,8] gamma_pre=10 repetitions=3") == 0
    (one,) = read_all(tmp_path, "theory_digits")
    assert one.label == "(6, 8) → (4, 7), γ_pre=10 · seed 0"
    assert one.results is not None
    found = {name: estimate.mean[0] for name, estimate in one.results.measured.items()}
    assert found["target_only"] < found["plain"] < found["corrected"]
    assert one.results.facts["best"] == max(one.results.simulated["accuracy"].mean)


def test_reviews_that_are_not_there_name_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "table=1", f"results.dir={tmp_path}", f"data.root={tmp_path}"]) == 2
    assert "set data.root=<folder>" in capsys.readouterr().err


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_holds_theory_simulation_and_where_it_is_from(results: Path) -> None:
    found = read_all(results, "theory_mine")
    assert [one.cell["parameters"]["beta"] for one in sorted(found, key=lambda r: r.label)] == [0.2, 0.5, 0.9]
    for one in found:
        assert one.results is not None
        assert set(one.results.theory) == {"corrected", "released"}
        assert set(values((-1.0, 0.0, 1.0, 2.0))) < set(one.results.x)
        mean, error = one.results.simulated["accuracy"].mean, one.results.simulated["accuracy"].error
        for x, theory_value, m, e in zip(
            one.results.x, one.results.theory["corrected"]["accuracy"], mean, error, strict=True
        ):
            assert abs(m - theory_value) < 6 * e + 0.02, x  # eight repetitions of a small setting
        assert one.provenance["git"].keys() == {"commit", "dirty"}
        assert "numpy" in one.provenance["versions"]
        assert not any(word.startswith("results.dir") for word in one.provenance["command"])


def test_a_record_does_not_depend_on_what_ran_before(results: Path, tmp_path: Path) -> None:
    assert run(tmp_path, f"{QUICK} beta=0.5") == 0
    (alone,) = read_all(tmp_path, "theory_accuracy_alpha")
    (beside,) = [one for one in read_all(results, "theory_mine") if one.cell_id == alone.cell_id]
    assert alone.results == beside.results


def test_a_variance_below_zero_is_null_and_not_nan(tmp_path: Path) -> None:
    hard = "N=200 n=100 p=400 mu=2 mu_perp=1 beta=0.8 gamma_pre=0.1 gamma=0.1"  # O14
    assert run(tmp_path, f"oracle {hard} repetitions=2 experiment_name=theory_hard") == 0
    (one,) = read_all(tmp_path, "theory_hard")
    assert one.results is not None
    assert one.results.theory["released"]["accuracy"][-1] is None
    text = next((tmp_path / "records").glob("*/*.json")).read_text("utf-8")
    assert "NaN" not in text
    assert "–" in markdown.render(theory.tables_of("theory_hard", tmp_path, None)[0])


def test_a_changed_or_broken_record_is_refused(results: Path, tmp_path: Path) -> None:
    source = next((results / "records" / "theory_mine").glob("*.json"))
    path = tmp_path / source.name
    good = json.loads(source.read_text("utf-8"))
    for change, said in (
        ({"seconds": "1"}, "seconds"),
        ({"schema": 2}, "no theory record of schema 1"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"results": None}, "needs results"),
        ({"cell": {**good["cell"], "seed": 5}}, "id of other content|not that of its content"),
    ):
        path.write_text(json.dumps({**good, **change}), "utf-8")
        with pytest.raises(UserError) as error:
            record.read_record(path)
        assert any(part in str(error.value) for part in said.split("|"))
        assert "remove it and run again" in str(error.value)


def test_a_failure_leaves_a_record_does_not_stop_the_rest_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = compute.results_of

    def breaking(cell: presets.TheoryCell, data_root: str | None) -> record.Results:
        if cell.parameters.beta == 0.5:
            raise FloatingPointError("no luck\ntoday")
        return whole(cell, data_root)

    monkeypatch.setattr(compute, "results_of", breaking)
    assert run(tmp_path) == 1
    assert "failed: FloatingPointError: no luck today" in capsys.readouterr().err
    assert sorted(one.status for one in read_all(tmp_path, "theory_accuracy_alpha")) == ["done", "done", "failed"]
    monkeypatch.undo()
    assert run(tmp_path) == 0
    assert "1 computed, 2 already done" in capsys.readouterr().out
    monkeypatch.setattr(compute, "results_of", breaking)
    assert run(tmp_path, f"{QUICK} force=true") == 1  # a failure never replaces a result
    assert {one.status for one in read_all(tmp_path, "theory_accuracy_alpha")} == {"done"}


def test_forced_cells_give_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    before = read_all(tmp_path, "theory_accuracy_alpha")
    assert run(tmp_path, f"{QUICK} force=true") == 0
    assert "3 computed, 0 already done" in capsys.readouterr().out
    after = read_all(tmp_path, "theory_accuracy_alpha")
    assert [one.results for one in after] == [one.results for one in before]


def test_the_variant_chooses_what_is_printed_and_no_cell(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for variant in ("corrected", "released"):
        assert run(results, f"{QUICK} experiment_name=theory_mine beta=0.9 variant={variant}") == 0
        printed[variant] = capsys.readouterr().out
        assert "1 already done" in printed[variant]
    assert printed["corrected"] != printed["released"]


def test_α_star_by_the_jackknife_is_that_of_the_theory(results: Path) -> None:
    for one in read_all(results, "theory_best"):
        assert one.results is not None
        found = one.results.simulated["optimal_alpha"]
        known = [i for i, value in enumerate(found.mean) if value is not None]
        assert [one.results.x[i] for i in known] == [20.0, 40.0]
        for i in known:
            expected = one.results.theory["corrected"]["optimal_alpha"][i]
            assert abs(found.mean[i] - expected) < 5 * found.error[i] + 0.1


def test_the_files_of_presets_say_what_they_are() -> None:
    for name in PRESETS:
        text = (registry.configs_dir() / "theory" / f"{name}.yaml").read_text("utf-8")
        assert text.startswith("# ")
        assert set(yaml.safe_load(text)) <= {f.name for f in fields(presets.Preset)}
        assert replace(presets.load_preset(name)) == presets.load_preset(name)
