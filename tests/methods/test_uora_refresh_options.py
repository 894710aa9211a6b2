"""Every option of UORA's refresh by what it changes, on one refresher at a time; and the initial matrices."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from uora_bench.config.compose import compose
from uora_bench.contract.models import inject, labelled, make_method, roberta
from uora_bench.errors import UserError
from uora_bench.methods.projections import ProjectionPair, draw, draw_pair
from uora_bench.methods.refresh import Refresher


@cache
def defaults():
    return make_method("uora", tau=0.15).config


def hand(*values, out=8, inputs=10, seed=0, **options):
    """A refresher of layers with the given vectors, on an orthogonal pair."""
    config = replace(defaults(), **options)
    rows = [torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in values]
    rank = len(values[0]) if config.vector == "d" else 4
    pair = ProjectionPair(*draw_pair(rank, inputs, out, "orthogonal", 1.0, 99, torch.float64))
    return Refresher(config, pair, rows, "orthogonal", 1.0, seed)


def touched(refresher, act=lambda r: r.step(1)):
    """(rows of A, columns of B, rows of B) that ``act`` changed."""
    A, B = refresher.pair.A.clone(), refresher.pair.B.clone()
    act(refresher)
    a, b = refresher.pair.A != A, refresher.pair.B != B
    return [set(m.nonzero().flatten().tolist()) for m in (a.any(1), b.any(0), b.any(1))]


def test_one_hit_interpolates_row_and_column_towards_the_fresh_pair():
    refresher = hand([0.1, -0.1, 0.15, 0.3], alpha=0.25)
    A, B = refresher.pair.A.clone(), refresher.pair.B.clone()
    assert touched(refresher)[:2] == [{0, 1}, {0, 1}]  # 0.15 is not below τ = 0.15
    RA, RB = draw_pair(4, 10, 8, "orthogonal", 1.0, 10, torch.float64)
    torch.testing.assert_close(refresher.pair.A[:2], 0.25 * A[:2] + 0.75 * RA[:2], atol=1e-15, rtol=0)
    torch.testing.assert_close(refresher.pair.B[:, :2], 0.25 * B[:, :2] + 0.75 * RB[:, :2], atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("values", "options", "rows"),
    [
        ([[0.1, 0.2, 0.3, 3.4]], {"criterion": "relative", "tau": 0.25}, {0, 1}),
        ([[0.1, -0.2, 0.3, -3.4]], {"criterion": "relative", "tau": 0.11}, {0}),
        ([[4.0, 1.0, 3.0, 2.0]], {"criterion": "quantile", "tau": 0.5}, {1, 3}),
        ([[4.0, 1.0, 3.0, 2.0]], {"criterion": "lowest", "tau": 2}, {1, 3}),
        ([[4.0, 1.0, 1.0, 1.0]], {"criterion": "lowest", "tau": 2}, {1, 2}),
        ([[4.0, 1.0, 3.0, 2.0]], {"criterion": "lowest", "tau": 9}, {0, 1, 2, 3}),
        ([[0.1, 0.0, 0.3, 0.1], [0.1, 0.4, 0.1, 0.3]], {"scope": "layer"}, {0, 1, 2, 3}),
        ([[0.1, 0.0, 0.3, 0.1], [0.1, 0.4, -0.1, 0.1]], {"scope": "mean"}, {0, 3}),
        ([[0.1, 0.1, 0.1, 9.0], [0.1, 0.1, 9.0, 9.0], [0.1, 9.0, 9.0, 9.0]], {"scope": "vote"}, {0, 1}),
        ([[0.1, 0.1], [0.1, 9.0]], {"scope": "vote"}, {0}),  # half is not more than half
    ],
)
def test_criterion_and_scope_choose_the_rows(values, options, rows):
    refresher = hand(*values, **options)
    assert touched(refresher)[:2] == [rows, rows]
    if options.get("scope", "layer") == "layer":
        assert len(refresher.events) == len(values)
    else:
        assert refresher.events.tolist() == [len(rows)]


def test_vector_b_rewrites_rows_of_b_alone_and_never_those_a_layer_lacks():
    refresher = hand([0.1, 9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 0.1], out=5, vector="b")
    assert touched(refresher) == [set(), {0, 1, 2, 3}, {0, 2}]
    assert refresher.counters.tolist() == [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


@pytest.mark.parametrize("options", [{"criterion": "lowest", "tau": 5}, {"criterion": "quantile", "tau": 1.0}])
def test_rows_a_layer_lacks_are_not_its_lowest(options):
    refresher = hand([3.0, 2.0, 1.0], [5.0] * 5, out=5, vector="b", **options)
    refresher.step(1)
    assert refresher.counters[0].tolist() == [1, 1, 1, 0, 0]


def test_a_row_only_some_layers_have_is_decided_by_those():
    refresher = hand([9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 0.1], out=4, vector="b", scope="vote")
    assert touched(refresher)[2] == {3}
    refresher = hand([9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 0.1], out=4, vector="b", scope="mean")
    assert touched(refresher)[2] == {3}


def test_tau_moves_inside_its_bounds():
    up = replace(defaults(), tau=0.2, tau_schedule="up", tau_delta=0.1, tau_every=10, tau_min=0.1, tau_max=0.45)
    assert [up.threshold(s) for s in (0, 9, 10, 29, 30, 900)] == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.45, 0.45])
    down = replace(up, tau_schedule="down")
    assert [down.threshold(s) for s in (0, 9, 10, 25, 900)] == pytest.approx([0.2, 0.2, 0.1, 0.1, 0.1])
    assert {replace(up, tau_schedule="constant").threshold(s) for s in (0, 10, 900)} == {0.2}


def test_the_moved_tau_is_the_one_that_decides():
    refresher = hand([0.25, 0.9], tau=0.2, tau_schedule="up", tau_delta=0.1, tau_every=2, tau_min=0.1, tau_max=0.3)
    assert touched(refresher, lambda r: r.step(1))[0] == set()
    assert touched(refresher, lambda r: r.step(2))[0] == {0}


@pytest.mark.parametrize(("k", "given", "seed"), [(1, None, 10), (3, None, 30), (3, 33, 33)])
def test_the_fresh_pair_has_seed_ten_k_unless_given(k, given, seed):
    fresh = hand([0.1] * 4, k=k, fresh_seed=given).fresh()
    assert all(map(torch.equal, fresh, draw_pair(4, 10, 8, "orthogonal", 1.0, seed, torch.float64)))
    assert all(map(torch.equal, fresh, hand([0.1] * 4, seed=5, k=k, fresh_seed=given).fresh()))


def test_fixed_matrices_are_the_same_at_every_event_and_per_event_ones_differ():
    fixed, drawn = hand([0.1] * 4, alpha=0.0), hand([0.1] * 4, alpha=0.0, fresh="per_event")
    seen = []
    for refresher in (fixed, drawn):
        for step in (1, 2):
            refresher.step(step)
            seen.append(refresher.pair.A.clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[2], seen[3])
    resumed = hand([0.1] * 4, alpha=0.0, fresh="per_event")
    resumed.step(1)
    state = resumed.state()
    again = hand([0.1] * 4, alpha=0.0, fresh="per_event")
    again.load_state(state)
    again.step(2)
    assert torch.equal(again.pair.A, seen[3])
    other = hand([0.1] * 4, seed=1, alpha=0.0, fresh="per_event")
    other.step(1)
    assert not torch.equal(other.pair.A, seen[2])


@pytest.mark.parametrize(("parts", "a", "b"), [("ab", True, True), ("a", True, False), ("b", False, True)])
def test_periodic_redraws_whole_matrices(parts, a, b):
    refresher = hand([0.1] * 4, tau=0.0, periodic=3, periodic_parts=parts)
    seen = []
    for step in range(0, 7):
        rows, columns, _ = touched(refresher, lambda r, step=step: r.step(step))
        redrawn = set(range(4)) if step in (3, 6) else set()
        assert (rows, columns) == (redrawn if a else set(), redrawn if b else set())
        seen.append(torch.cat([refresher.pair.A.flatten(), refresher.pair.B.flatten()]))
    assert not torch.equal(seen[3], seen[6])
    assert refresher.redrawn == 2
    again = hand([0.1] * 4, tau=0.0, periodic=3, periodic_parts=parts)
    again.load_state({**refresher.state(), "redrawn": 1})
    again.step(6)
    part = slice(0, 40) if parts == "a" else slice(40, None) if parts == "b" else slice(None)
    assert torch.equal(torch.cat([again.pair.A.flatten(), again.pair.B.flatten()])[part], seen[6][part])


def test_each_layers_own_pair_is_redrawn_differently():
    _, method = model_with(sharing="layer", tau=0.0, periodic=1)
    method.after_step(1)
    first, second = [pair.A for pair in method.pairs.values()][:2]
    assert not torch.equal(first, second)


def test_every_and_start_step_say_when_to_look():
    refresher = hand([0.1] * 4, every=3, start_step=6)
    acted = [step for step in range(1, 13) if touched(refresher, lambda r, step=step: r.step(step))[0]]
    assert acted == [6, 9, 12]
    assert refresher.counters.tolist() == [[3] * 4]


def test_a_saved_state_does_not_follow_later_refreshes():
    refresher = hand([0.1] * 4)
    refresher.step(1)
    state = refresher.state()
    refresher.step(2)
    assert state["counters"].tolist() == [[1] * 4]
    assert state["events"].tolist() == [4]


@pytest.mark.parametrize("act", [lambda r: r.step(1), lambda r: r.forward_step(0, 1)], ids=["step", "forward"])
def test_the_counters_go_where_the_pair_went_and_nobody_asks_the_device(act):
    refresher = hand([0.1] * 4)
    refresher.pair.to("meta")  # no value can be read there
    refresher.vectors = [v.detach().to("meta") for v in refresher.vectors]
    act(refresher)
    assert {t.device.type for t in (refresher.counters, refresher.events, refresher.pair.A)} == {"meta"}


def optimised(refresher):
    """Adam with non-zero moments on the refresher's vectors, which keep their values."""
    optimizer = torch.optim.Adam(refresher.vectors, lr=0.0)
    for vector in refresher.vectors:
        vector.grad = torch.ones_like(vector)
    optimizer.step()
    return optimizer


def moments(optimizer, vector):
    return {k: v.clone() for k, v in optimizer.state[vector].items() if v.shape == vector.shape}


@pytest.mark.parametrize("options", [{}, {"reset_d": 0.4}, {"reset_moments": True}], ids=str)
def test_resets_touch_only_the_refreshed_entries_of_the_layer_that_fired(options):
    refresher = hand([0.1, 0.5, 0.1, 0.5], [0.6, 0.1, 0.6, 0.6], **options)
    optimizer = optimised(refresher)
    old = [(v.detach().clone(), moments(optimizer, v)) for v in refresher.vectors]
    refresher.step(1, optimizer)
    for vector, (values, before), fired in zip(refresher.vectors, old, ([0, 2], [1]), strict=True):
        if "reset_d" in options:
            values[fired] = 0.4
        assert torch.equal(vector.detach(), values)
        assert len(before) == 2
        for key, moment in before.items():
            if "reset_moments" in options:
                moment[fired] = 0.0
            assert torch.equal(optimizer.state[vector][key], moment)


@pytest.mark.parametrize("vector", ["d", "b"])
def test_rescale_gives_the_rewritten_part_its_norm_back(vector):
    values, scales = [0.1, 9.0, 0.1, 9.0], torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    plain, kept = (hand(values, out=4, vector=vector, rescale=r) for r in (False, True))
    for refresher in (plain, kept):
        refresher.pair.A, refresher.pair.B = refresher.pair.A * scales[:, None], refresher.pair.B * scales
    A, B = kept.pair.A.norm(dim=1), kept.pair.B.norm(dim=0 if vector == "d" else 1)
    rows = touched(kept)[0 if vector == "d" else 2]
    plain.step(1)
    assert rows == {0, 2}
    torch.testing.assert_close(kept.pair.A.norm(dim=1), A, atol=1e-12, rtol=0)
    torch.testing.assert_close(kept.pair.B.norm(dim=0 if vector == "d" else 1), B, atol=1e-12, rtol=0)
    changed = (plain.pair.A.norm(dim=1), A) if vector == "d" else (plain.pair.B.norm(dim=1), B)
    assert (changed[0] - changed[1]).abs()[[0, 2]].min() > 1e-2
    torch.testing.assert_close(  # the direction is the one without rescaling
        torch.nn.functional.normalize(kept.pair.B, dim=0 if vector == "d" else 1),
        torch.nn.functional.normalize(plain.pair.B, dim=0 if vector == "d" else 1), atol=1e-12, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"tau": -0.1}, {"alpha": 1.5}, {"alpha": -0.1}, {"alpha_floor": 2.0}, {"k": 0}, {"every": 0}, {"tau_every": 0},
        {"criterion": "quantile", "tau": 1.5}, {"timing": "authors", "reset_d": 0.1}, {"rank": 0}, {"dropout": 1.0},
        {"timing": "authors", "reset_moments": True}, {"timing": "authors", "scope": "vote"}, {"vector": "c"},
        {"timing": "authors", "scope": "mean"}, {"init": "zeros"}, {"periodic_parts": "ba"}, {"tau": "high"},
        {"draws": "authors", "sharing": "layer"}, {"timing": "authors", "init": "kaiming_uniform"}, {"draws": "theirs"},
        {"fresh_seed": 1 << 63}, {"projection_seed": 1 << 63}, {"fresh_seed": -1},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(options):
    with pytest.raises(UserError, match=f"method.({'|'.join(options)})"):
        make_method("uora", **options)


# --- in a model -------------------------------------------------------------------------------------------------------


def model_with(kinds=("q", "up"), **options):
    model = roberta()
    method = make_method("uora", **{"rank": 4, "tau": 0.5, **options})
    inject(method, model, kinds)
    return model, method


@pytest.mark.parametrize(("sharing", "pairs"), [("all", 1), ("shape", 2), ("layer", 4)])
def test_a_hit_reaches_the_layers_that_share_the_pair(sharing, pairs):
    _, method = model_with(sharing=sharing)
    assert len(method.pairs) == pairs
    first = next(iter(method.branches))
    for name, branch in method.branches.items():
        branch.d.data.fill_(0.1 if name == first else 1.0)
    before = {n: b.matrices()[0].clone() for n, b in method.branches.items()}
    method.after_step(1)
    changed = {n for n, b in method.branches.items() if not torch.equal(b.matrices()[0], before[n])}
    own_pair = method.pair_of[first]
    assert changed == {n for n, key in method.pair_of.items() if key == own_pair}
    assert len(changed) == {"all": 4, "shape": 2, "layer": 1}[sharing]
    per_layer = {n: 4 * (n == first) for n in method.branches}
    assert method.report() == {"refreshes": 4, "redraws": 0, "refreshes_per_layer": per_layer}
    shipped = {n for n in method.adapter_state() if n.startswith("projection_pairs.")} - method.seed_tensors()
    assert shipped == {f"projection_pairs.{own_pair}.A", f"projection_pairs.{own_pair}.B"}


@pytest.mark.parametrize("options", [{"tau": 0.0, "periodic": 1}, {"tau": 0.5}], ids=str)
def test_the_seed_gives_the_pairs_back_until_something_rewrote_them(options):
    _, method = model_with(**options)
    assert method.seed_tensors() == {"projection_pairs.shared.A", "projection_pairs.shared.B"}
    logged = method.after_step(1)["uora/refreshes"]
    assert method.seed_tensors() == set()
    report = method.report()
    assert int(logged) == report["refreshes"] == (16 if options["tau"] else 0)
    assert report["redraws"] == (0 if options["tau"] else 1)


def test_layers_that_decide_together_report_by_pair():
    _, method = model_with(scope="mean")
    method.after_step(1)
    assert method.report()["refreshes_per_layer"] == {"shared": 4}


def test_another_pair_gives_other_logits_after_a_refresh():
    model, method = model_with(kinds=("q", "v"))
    for branch in method.branches.values():
        branch.b.data.fill_(1.0)
    before = model(**labelled(model)).logits
    method.after_step(1)
    assert (model(**labelled(model)).logits - before).abs().max() > 1e-3


# --- the initial matrices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["orthogonal", "orthogonal_qr"])
def test_orthogonal_matrices_have_orthonormal_rows_or_columns(init):
    A, B = draw_pair(6, 20, 15, init, 1.0, 0, torch.float64)
    torch.testing.assert_close(A @ A.T, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(B.T @ B, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)
    A, B = draw_pair(20, 6, 6, init, 1.0, 0, torch.float64)
    torch.testing.assert_close(A.T @ A, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(B @ B.T, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("rank", "init", "product", "row", "column"),
    [
        (32, "kaiming_uniform", 55.3, 1.41, 6.86), (64, "kaiming_uniform", 55.3, 1.41, 4.94),
        (1024, "kaiming_uniform", 55.4, 1.41, 1.23), (32, "orthogonal", 5.7, 1.0, 1.0),
        (64, "orthogonal", 8.0, 1.0, 1.0), (1024, "orthogonal", 24.0, 0.87, 0.85),
    ],
)  # fmt: skip
def test_scales_at_width_768(rank, init, product, row, column):
    A, B = draw_pair(rank, 768, 768, init, 1.0, 1, torch.float32)
    assert (B @ A).norm().item() == pytest.approx(product, rel=0.02)
    assert A.norm(dim=1).mean().item() == pytest.approx(row, rel=0.02)
    assert B.norm(dim=0).mean().item() == pytest.approx(column, rel=0.03)


@pytest.mark.parametrize(("init", "bound"), [("xavier_uniform", (6 / 80) ** 0.5), ("uniform", 1.0)])
def test_uniform_inits_fill_their_bound_and_gain_scales_all(init, bound):
    plain, large = (draw(30, 50, init, g, torch.Generator().manual_seed(0), torch.float64) for g in (1.0, 2.5))
    assert 0.99 * bound < plain.abs().max() <= bound
    assert plain.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    torch.testing.assert_close(large, 2.5 * plain, atol=1e-15, rtol=0)


def test_pairs_follow_the_projection_seed_else_the_cells():
    def pair(seed, projection_seed):
        method = make_method("uora", seed=seed, rank=4, projection_seed=projection_seed)
        inject(method, roberta())
        return method.pairs["shared"].A

    assert torch.equal(pair(0, None), pair(1, 0))
    assert torch.equal(pair(0, 7), pair(1, 7))
    assert not torch.equal(pair(0, None), pair(1, None))


def test_draws_follow_the_timing_unless_said():
    def pair(**options):
        method = make_method("uora", seed=4, rank=4, **options)
        inject(method, roberta())
        (refresher,) = method.refreshers.values()
        return [method.pairs["shared"].A, *refresher.fresh()]

    ours, theirs = pair(), pair(timing="authors")
    assert torch.equal(theirs[0], draw_pair(4, 32, 32, "orthogonal", 1.0, 4, torch.float64)[0])  # the seed itself
    assert not any(map(torch.equal, ours, theirs))
    assert all(map(torch.equal, theirs, pair(draws="authors")))
    assert all(map(torch.equal, ours, pair(timing="authors", draws="ours")))


def test_the_id_has_draws_where_they_say_something_new():
    """Records are older than the option, and what ``timing=authors`` did before it was something else."""

    def options(*words):
        return compose(["method=uora", "recipe=none", *words]).cell.canonical()["method"]["options"]

    assert "draws" not in options()
    assert options("method.draws=ours") == options()
    assert options("method.draws=authors")["draws"] == "authors"
    authors = options("method.timing=authors")
    assert authors["draws"] == "authors"
    assert options("method.timing=authors", "method.draws=authors") == authors
    assert options("method.timing=authors", "method.draws=ours")["draws"] == "ours"
