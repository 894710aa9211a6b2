"""Numbers, and what others say, in sentences."""

from uora_bench.data import hub
from uora_bench.util import words
from uora_bench.util.words import count


def test_one_of_a_thing_is_singular() -> None:
    assert [count(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
    assert count(2, "batch", "batches") == "2 batches"


def test_what_others_say_goes_on_without_its_full_stop() -> None:
    assert words.clause("We couldn't find it in the cached files. ") == "We couldn't find it in the cached files"
    assert hub.reason(OSError("It is gone.\nLook elsewhere.")) == "It is gone"
    assert hub.reason(ValueError(".")) == "ValueError"
