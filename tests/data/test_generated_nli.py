"""Tests of the generated task `tiny/nli` and of the embedded encoder that goes with it."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

import uora_bench
from uora_bench.data.generated import nli
from uora_bench.data.generated.grammar import CONTRADICTION, ENTAILMENT, NEUTRAL, Claim, label

ASSET = Path(uora_bench.__file__).parent / "assets" / "tiny_roberta"
INF = float("inf")
DIGEST = "fb7d0f8460bef2415a3a2ec95192c26c2085a4cabcfa6b16d53ce25be1442361"


@pytest.fixture(scope="module")
def splits():
    return {split: nli.rows(split) for split in ("train", "validation", "test")}


def test_rows_are_fixed(splits):
    # A change of the data is a change of the task: it needs a new checkpoint and new reference numbers.
    text = json.dumps(splits, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST
    changed = nli.rows("test")
    changed[0]["label"] = 7
    assert nli.rows("test") == splits["test"]


def test_rows_are_balanced_and_numbered(splits):
    for split, rows in splits.items():
        counts = Counter(row["label"] for row in rows)
        assert set(counts) == {ENTAILMENT, NEUTRAL, CONTRADICTION}
        assert len(set(counts.values())) == 1
        assert [row["idx"] for row in rows] == list(range(len(rows)))
        assert len(rows) == {"train": 2001, "validation": 501, "test": 501}[split]


def test_no_pair_is_repeated_in_or_between_splits(splits):
    pairs = [(row["premise"], row["hypothesis"]) for rows in splits.values() for row in rows]
    assert len(set(pairs)) == len(pairs)


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'dev'"):
        nli.rows("dev")


@pytest.mark.parametrize(("parts", "highest"), [(("hypothesis",), 0.38), (("premise", "hypothesis"), 0.55)])
def test_words_alone_do_not_give_the_label(splits, parts, highest):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    def bags(rows):
        return [" ".join(f"{part}_{word}" for part in parts for word in row[part].split()) for row in rows]

    counter = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=500).fit(
        counter.fit_transform(bags(splits["train"])), [row["label"] for row in splits["train"]]
    )
    found = model.score(counter.transform(bags(splits["validation"])), [row["label"] for row in splits["validation"]])
    assert found < highest


def the(noun, *facets, day=None, negated=False):
    return Claim("the", noun, facets, day, negated)


def many(det, noun, *facets):
    return Claim(det, noun, facets)


IN_KITCHEN, IN_HOUSE, IN_FIELD = ("place", "kitchen"), ("place", "house"), ("place", "field")
SOME, NO = (1, INF), (0, 0)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "expected"),
    [
        (the("dog", IN_KITCHEN), the("animal", IN_HOUSE), ENTAILMENT),
        (the("animal", IN_KITCHEN), the("dog", IN_KITCHEN), NEUTRAL),
        (the("dog", IN_HOUSE), the("dog", IN_KITCHEN), NEUTRAL),
        (the("dog", IN_KITCHEN), the("dog", IN_FIELD), CONTRADICTION),
        (the("dog", IN_KITCHEN), the("dog", IN_FIELD, negated=True), ENTAILMENT),
        (the("dog", IN_KITCHEN), the("cat", IN_FIELD), NEUTRAL),
        (the("dog", IN_HOUSE, negated=True), the("dog", IN_KITCHEN), CONTRADICTION),
        (the("dog", IN_HOUSE, negated=True), the("dog", IN_KITCHEN, negated=True), ENTAILMENT),
        (the("dog", IN_KITCHEN, negated=True), the("dog", IN_HOUSE, negated=True), NEUTRAL),
        (the("dog", IN_KITCHEN, day="monday"), the("dog", IN_KITCHEN, day="weekday"), ENTAILMENT),
        (the("dog", IN_KITCHEN, day="monday"), the("dog", IN_FIELD, day="sunday"), NEUTRAL),
        (the("boy", ("verb", ("buying", "pear"))), the("boy", ("verb", ("buying", "fruit"))), ENTAILMENT),
        (the("boy", ("verb", ("buying", "pear"))), the("boy", ("verb", ("buying", "plum"))), NEUTRAL),
        (the("boy", ("verb", ("buying", "pear"))), the("boy", ("action", "sitting")), None),
        (many("all", "bird", IN_FIELD), many("all", "crow", IN_FIELD), ENTAILMENT),
        (many("all", "crow", IN_FIELD), many("all", "bird", IN_FIELD), NEUTRAL),
        (many("all", "bird", IN_FIELD), many(NO, "crow", IN_HOUSE), ENTAILMENT),
        (many("all", "bird", IN_FIELD), many(SOME, "crow", IN_HOUSE), CONTRADICTION),
        (many(NO, "bird", IN_HOUSE), many(NO, "crow", IN_KITCHEN), ENTAILMENT),
        (many(NO, "crow", IN_KITCHEN), many(NO, "bird", IN_HOUSE), NEUTRAL),
        (many(SOME, "crow", IN_KITCHEN), many(NO, "bird", IN_HOUSE), CONTRADICTION),
        (many((3, 3), "crow", IN_KITCHEN), many((2, INF), "bird", IN_HOUSE), ENTAILMENT),
        (many((3, 3), "crow", IN_KITCHEN), many((3, 3), "bird", IN_HOUSE), NEUTRAL),
        (many((3, 3), "crow", IN_KITCHEN), many((0, 2), "bird", IN_HOUSE), CONTRADICTION),
        (many((0, 2), "bird", IN_HOUSE), many((0, 4), "crow", IN_KITCHEN), ENTAILMENT),
        (many("all", "bird", IN_FIELD), the("crow", IN_FIELD), None),
    ],
)
def test_labels_follow_from_the_meaning(premise, hypothesis, expected):
    assert label(premise, hypothesis) == expected


def test_text_of_claims():
    claim = the("goat", ("colour", "red"), ("verb", ("washing", "apple")), IN_FIELD, day="weekday")
    assert claim.text() == "the goat was red and washing an apple in the field on a weekday ."
    assert the("dog", ("colour", "red"), IN_FIELD, negated=False).text() == "the dog was red in the field ."
    assert many((2, INF), "child", IN_FIELD).text() == "at least two children were in the field ."


def test_tokenizer_knows_every_word_and_frames_pairs(splits):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSET)
    assert tokenizer.pad_token_id == 1
    row = splits["train"][0]
    ids = tokenizer(row["premise"], row["hypothesis"])["input_ids"]
    assert tokenizer.decode(ids) == f"<s> {row['premise']} </s> </s> {row['hypothesis']} </s>"
    for rows in splits.values():
        table = tokenizer([row["premise"] for row in rows], [row["hypothesis"] for row in rows])["input_ids"]
        assert not any(tokenizer.unk_token_id in ids for ids in table)
        assert max(map(len, table)) <= tokenizer.model_max_length


def test_checkpoint_is_small_and_lacks_only_the_classifier():
    import torch
    import transformers

    files = {path.name for path in ASSET.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(path.stat().st_size for path in ASSET.iterdir()) <= 2_000_000
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        ASSET, num_labels=3, output_loading_info=True
    )
    missing = set(info["missing_keys"])
    assert missing
    assert all(name.startswith("classifier.") for name in missing)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    digest = hashlib.sha256((ASSET / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (ASSET / "README.md").read_text()
