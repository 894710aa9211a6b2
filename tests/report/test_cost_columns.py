"""Columns of costs that a table chooses, and FLOPs as an axis of figures; records without them say so."""

from __future__ import annotations

from dataclasses import replace

from tests.support.made_up_grids import built, made_up
from uora_bench.records.record import Energy, Retention, Sizes, Work
from uora_bench.report import csv_file, latex, markdown, notes
from uora_bench.report.aggregate import usual
from uora_bench.report.figures import files

WORK = Work(1000, 1200, 2 * 10**9, 3 * 10**9, None, 5000, 4000, 20)


def chosen(table):
    return replace(table, spec=replace(table.spec, costs=("training FLOPs", "inference FLOPs", "tokens", "energy")))


def mrpc(cell):
    return cell.task.name == "glue/mrpc"


def with_work(values):
    values |= {"work": WORK, "energy": Energy(1234.0, "rapl")}


def test_a_table_shows_the_costs_it_chooses(tmp_path):
    made_up(tmp_path, "minilm_glue", mrpc, with_work)
    table, collection = built(tmp_path)
    text = markdown.render(chosen(table))
    assert "training FLOPs | inference FLOPs | tokens | energy" in text
    assert "Energy was measured with rapl." in notes.about(chosen(table), collection)
    assert "| 5.00e9 | 4.00e3 | 1.20e3 | 1,234 J |" in text
    assert "train FLOPs" in latex.render(chosen(table))
    assert "5000000000" in csv_file.render(chosen(table))
    assert "FLOPs" not in markdown.render(table) + csv_file.render(table)  # a choice, no column of every table


def test_a_record_that_does_not_say_leaves_the_row_without_the_number(tmp_path):
    made_up(tmp_path, "minilm_glue", mrpc, lambda values: None)
    table, _ = built(tmp_path)
    assert "| – | – | – | – |" in markdown.render(chosen(table))
    names = {spec.name for spec in files.figure_specs(table)}
    assert not {name for name in names if "flops" in name or "energy" in name}


def test_scores_stand_against_flops(tmp_path):
    made_up(tmp_path, "minilm_glue", mrpc, with_work)
    names = {spec.name for spec in files.figure_specs(built(tmp_path)[0])}
    assert {"minilm_glue_pareto_flops", "minilm_glue_pareto_inference", "minilm_glue_pareto_energy"} <= names


def test_a_row_whose_adapters_have_several_sizes_says_so(tmp_path):
    sizes = iter((5120, 54_300, 5120) * 100)

    def with_sizes(values):
        values["bytes"] = Sizes(next(sizes), 0, 0)

    made_up(tmp_path, "minilm_glue", mrpc, with_sizes)
    said = [line for line in built(tmp_path)[0].about if line.startswith("Adapter size")]
    assert len(said) == 1
    assert "UORA (τ 1e-5, authors' default), 5.12 kB to 54.3 kB" in said[0]
    made_up(tmp_path / "same", "minilm_glue", mrpc, lambda values: None)
    assert not [line for line in built(tmp_path / "same")[0].about if line.startswith("Adapter size")]


def test_forgetting_is_a_column_with_its_unit_and_an_axis(tmp_path):
    losses = iter((2.5, 1.75, 2.25) * 100)

    def with_retention(values):
        values["retention"] = Retention("loss", "text, sha256 abc", 900, 2.0, next(losses), 2.0, 0.0)

    made_up(tmp_path, "minilm_glue", mrpc, with_retention)
    table, collection = built(tmp_path)
    table = replace(table, spec=replace(table.spec, costs=("forgetting",)))
    text = markdown.render(table)
    assert "| method | forgetting |" in text
    assert "+0.25 " in text  # the median of three seeds
    said = "Forgetting: what training added: nats per token of loss on text, sha256 abc."
    assert said in notes.about(table, collection)
    drawn = {spec.name: spec for spec in files.figure_specs(table)}
    assert ",0.25," in drawn["minilm_glue_pareto_forgotten"].data


def test_the_median_does_not_depend_on_which_seeds_of_which_task_are_there():
    assert usual([("a", 1.0), ("a", 3.0), ("b", 10.0)]) == usual([("a", 2.0), ("b", 10.0), ("b", 10.0)]) == 6.0
    assert usual([("a", 1.0), ("b", None)]) is None
    assert usual([]) is None
