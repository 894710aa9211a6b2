"""Numbers in sentences."""

from uora_bench.util.words import count


def test_one_of_a_thing_is_singular() -> None:
    assert [count(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
    assert count(2, "batch", "batches") == "2 batches"
