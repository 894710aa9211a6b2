"""Checks the E2E scores against the official scripts' numbers, sacrebleu, hand-computed cases and naive references."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.e2e_texts import grouped, oracle
from tests.support.paths import ROOT
from uora_bench import metrics
from uora_bench.config.metrics import SCORES
from uora_bench.errors import UserError
from uora_bench.metrics import caption, mteval, ptb
from uora_bench.metrics.e2e import e2e_scores

# short words of few kinds, so that n-grams match; accents, prices, ratings, contractions and punctuation among them
WORDS = [
    "the",
    "The",
    "pub",
    "café",
    "É",
    "£20-25",
    "5",
    "3.5",
    "out",
    "of",
    "isn't",
    "kid-friendly",
    ".",
    ",",
    "etc.",
    "0",
]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
segments = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6)
quick = settings(deadline=None, max_examples=60)


def scores(predictions, references):
    out = e2e_scores(predictions, references, meteor=False)
    assert out.pop("absent") == {"meteor": "METEOR was not asked for"}
    assert tuple(out) == ("bleu", "nist", "rouge_l", "cider")
    assert all(type(v) is float and math.isfinite(v) and v >= 0 for v in out.values())
    return out


def test_the_official_scores_to_the_fourth_decimal():
    system, references, official = oracle()
    want = {"bleu": "BLEU", "nist": "NIST", "rouge_l": "ROUGE_L", "cider": "CIDEr"}
    got = {want[name]: f"{value:.4f}" for name, value in scores(system, references).items()}
    assert got == {name: f"{official['official_default'][name]:.4f}" for name in want.values()}


def test_a_reference_more_or_less_is_what_parts_the_two_official_nists():
    """Mean lengths per segment, as in the official Python, give its 6.5341; the default's are per reference."""
    system, references, official = oracle()
    lengths = [[len(mteval.tokenize(r)) for r in group] for group in references]
    made = sum(len(mteval.tokenize(text)) for text in system)
    by_reference = len(system) * sum(map(sum, lengths)) / sum(map(len, lengths))
    by_segment = sum(sum(group) / len(group) for group in lengths)
    plain = mteval.bleu_and_nist(system, references)[1] / mteval._nist_penalty(made / by_reference)
    assert f"{plain * mteval._nist_penalty(made / by_segment):.4f}" == str(official["official_python_option"]["NIST"])


# ---- BLEU against sacrebleu. Where mteval differs, and these corpora stay clear of it: only A to Z are lowered; with
# no match of any order sacrebleu gives 0 and mteval a smoothed score; an order without n-grams makes sacrebleu's 0.


def sacre(predictions, references):
    import sacrebleu

    streams = [[g[i] if i < len(g) else None for g in references] for i in range(max(map(len, references)))]
    return sacrebleu.corpus_bleu(predictions, streams, lowercase=True, tokenize="13a", smooth_method="exp").score / 100


def test_bleu_against_sacrebleu():
    system, references, _ = oracle()
    assert scores(system, references)["bleu"] == pytest.approx(sacre(system, references), abs=1e-12)
    rng = random.Random(0)
    several = [group for group in references if len(group) > 1]
    assert len(several) > 50
    for k in (1, 3):  # one reference per segment, and up to three; a tenth of the words dropped
        groups = [g[1 : k + 1] for g in several]
        outputs = [" ".join(w for w in g[0].split() if rng.random() < 0.9) for g in several]
        assert scores(outputs, groups)["bleu"] == pytest.approx(sacre(outputs, groups), abs=1e-12)
    # no 3-gram and no 4-gram matches: both smooth by 1/2 and 1/4
    args = (["a b x c d y e"], [["a b z c d w e v", "q"]])
    assert scores(*args)["bleu"] == pytest.approx(sacre(*args), abs=1e-12)


@quick
@given(segments)
def test_bleu_against_sacrebleu_on_any_words(rows):
    predictions = [f"one two three four {p}" for p, _ in rows]  # so that every order has n-grams and matches
    references = [[f"one two three four {r}" for r in group] for _, group in rows]
    predictions, references = json.loads(json.dumps([predictions, references]).replace(json.dumps("É")[1:-1], "é"))
    assert scores(predictions, references)["bleu"] == pytest.approx(sacre(predictions, references), abs=1e-12)


def test_where_bleu_is_mteval_and_not_sacrebleu():
    assert scores(["ÉCLAIR a b c d"], [["éclair a b c d"]])["bleu"] < 1  # only A to Z are lowered
    assert scores(["A B C D"], [["a b c d"]])["bleu"] == pytest.approx(1)
    # p_1 = 1/(2·2), p_2 = 1/(4·1), no 3-grams and no 4-grams: 1 each
    assert scores(["x y"], [["a b"]])["bleu"] == pytest.approx((1 / 4 * 1 / 4) ** 0.25)
    assert scores(["a b"], [["a b"]])["bleu"] == pytest.approx(1)
    assert scores(["", ""], [["a"], ["b", "c d"]])["bleu"] == 0
    # of lengths 3 and 5, both 1 away from 4, the shorter counts: no penalty
    assert scores(["a b c d"], [["a b c d e", "a b c"]])["bleu"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The Eagle's £20-25, 5.0 (kid-friendly).", "the eagle's £20 - 25 , 5.0 ( kid-friendly ) ."),
        ("a.b 1,000 x, 5. it&amp;s &quot;q&quot;", 'a . b 1,000 x , 5 . it & s " q "'),
        ("ÉTÉ Été", "ÉtÉ Été"),
        ("", ""),
    ],
)
def test_mteval_tokens(text, tokens):
    assert mteval.tokenize(text) == tokens.split()


# ---- NIST by hand


def test_nist_by_hand():
    """References "a b a" and "a c" of segment 1, "b" of segment 2: 6 words, 3 a, 2 b, 1 c; bigrams a-b, b-a, a-c once.

    w(a) = log2(6/3) = 1, w(b) = log2(6/2) = log2 3, w(a b) = log2(3/1) = log2 3. Predictions "a b" and "c": matched are
    a, b and a-b; c is in no reference of segment 2. c_1 = 3, c_2 = 1:
    (1 + log2 3)/3 + log2(3)/1 = 2.44661667
    Length: 6 words in 3 references of 2 segments: l = 2·6/3 = 4, c/l = 3/4, and the penalty 0.705439.
    """
    log3 = math.log2(3)
    penalty = math.exp(math.log(0.5) * (math.log(3 / 4) / math.log(1.5)) ** 2)
    got = scores(["a b", "c"], [["a b a", "a c"], ["b"]])["nist"]
    assert got == pytest.approx(((1 + log3) / 3 + log3) * penalty)
    assert got == pytest.approx(2.44661667 * 0.705439, rel=1e-5)
    # nothing is lost by being longer than the references: x costs its place only
    assert scores(["a b x", "c x"], [["a b a", "a c"], ["b"]])["nist"] == pytest.approx((1 + log3) / 5 + log3 / 3)


def test_nist_counts_a_repeated_word_as_often_as_one_reference_has_it():
    # w(a) = log2(4/3); "a a a" matches the first reference's two; bigram a-a once, w = log2(3/1)
    got = scores(["a a a"], [["a a b", "a"]])["nist"]
    assert got == pytest.approx(2 * math.log2(4 / 3) / 3 + math.log2(3) / 2)


def test_nist_after_the_word_zero_is_perls():
    """w(0 a) = log2(words/1) and not log2(#(0)/1): Perl holds the text "0" for false."""
    # 4 words: w(0) = w(a) = log2(4/1) = 2; w(0 a) = log2(4/1) = 2 and not log2(1/1) = 0. (2 + 2)/2 + 2/1 = 4
    assert scores(["0 a"], [["0 a b c"]])["nist"] == pytest.approx(4 * mteval._nist_penalty(1 / 2))


# ---- ROUGE-L and CIDEr


def naive_lcs(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


words = st.lists(st.sampled_from("abcd"), max_size=40)


@quick
@given(words, words)
def test_lcs_length(a, b):
    assert caption.lcs_length(a, b) == naive_lcs(a, b)


@quick
@given(segments)
def test_rouge_l_against_a_naive_one(rows):
    values = []
    for prediction, group in rows:
        c = ptb.tokenize(prediction) or [""]
        pairs = [(naive_lcs(c, r), len(r)) for r in (ptb.tokenize(r) or [""] for r in group)]
        p, r = max(n for n, _ in pairs) / len(c), max(n / length for n, length in pairs)
        values.append((1 + 1.44) * p * r / (r + 1.44 * p) if p and r else 0.0)
    got = scores([p for p, _ in rows], [g for _, g in rows])["rouge_l"]
    assert got == pytest.approx(sum(values) / len(values), abs=1e-12)


def test_cider_by_hand():
    """Segment 1: "a b" against "a b" and "a c"; segment 2: "d" against "d e". Two segments, so idf is log 2 or 0.

    a, b, c, d, e and their bigrams each occur in the references of one segment: idf = log 2 = L for all.
    Segment 1, reference 1: equal, so sim_1 = sim_2 = 1, of 4 orders. Reference 2: unigrams share a, LL/(√2L·√2L) = 1/2;
    bigrams share none. Bigram counts are equal, no penalty. Mean over 2 references: (2 + 1/2)/2 = 5/4; 10·5/4/4 = 25/8.
    Segment 2: unigrams share d: L·L/(L·√2L) = 1/√2; the prediction has no bigram, the reference one: exp(-1/72).
    10·(1/√2)·exp(-1/72)/4. The score is the mean of the two.
    """
    got = scores(["a b", "d"], [["a b", "a c"], ["d e"]])["cider"]
    assert got == pytest.approx((25 / 8 + 10 / math.sqrt(2) * math.exp(-1 / 72) / 4) / 2)
    # a word of every segment's references weighs nothing, a repeated one counts min(its weights)
    got = scores(["x a a", "x"], [["x a"], ["x"]])["cider"]
    unigrams = min(2, 1) * 1 / (2 * 1)
    # bigrams: "x a" and "a a" against "x a": 1/(√2·1); the bigram counts differ by one
    assert got == pytest.approx(10 * (unigrams + 1 / math.sqrt(2)) * math.exp(-1 / 72) / 4 / 2)
    assert scores(["a b"], [["a b"]])["cider"] == 0  # one segment: every idf is log 1


@pytest.mark.slow  # where the extra e2e is installed
def test_rouge_and_cider_against_pycocoevalcap():
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge")
    _, groups, _ = oracle()
    outputs = [group[-1] if i % 3 else groups[i - 1][0] for i, group in enumerate(groups)]
    outputs[5] = ""
    got = scores(outputs, groups)
    gts = {i: [" ".join(ptb.tokenize(r)) for r in group] for i, group in enumerate(groups)}
    res = {i: [" ".join(ptb.tokenize(text))] for i, text in enumerate(outputs)}
    assert got["cider"] == pytest.approx(cider.Cider().compute_score(gts, res)[0], abs=1e-9)
    assert got["rouge_l"] == pytest.approx(rouge.Rouge().compute_score(gts, res)[0], abs=1e-9)


# ---- what holds for all of them


@quick
@given(segments, st.randoms(use_true_random=False))
def test_the_order_of_segments_and_references_does_not_matter(rows, rng):
    want = scores([p for p, _ in rows], [g for _, g in rows])
    mixed = [(p, rng.sample(g, len(g))) for p, g in rng.sample(rows, len(rows))]
    assert scores([p for p, _ in mixed], [g for _, g in mixed]) == pytest.approx(want, abs=1e-12)


@quick
@given(segments, st.data())
def test_a_perfect_output(rows, data):
    got = scores([data.draw(st.sampled_from(g)) for _, g in rows], [g for _, g in rows])
    assert got["bleu"] == pytest.approx(1)
    assert got["rouge_l"] == pytest.approx(1)


@quick
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=4))
def test_any_text_has_scores(rows):
    references = [[f"x {r}", "The café is £20-25."] for _, r in rows]
    assert scores([p for p, _ in rows], references)["bleu"] <= 1 + 1e-12


def test_empty_predictions_and_white_space():
    references = [["The pub is cheap.", "It is cheap."], ["A café."]]
    assert set(scores(["", ""], references).values()) == {0.0}
    assert 0 < scores(["", "A café."], references)["bleu"] < 1
    spaced = scores([" The pub\nis \u2028 cheap.\n", "A\tcafé."], [*references[:1], ["A café.", " "]])
    assert spaced == scores(["The pub is cheap.", "A café."], references)  # and a blank reference is none


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "no examples"),
        (["a"], [], "1 predictions but 0 groups"),
        (["a", "b"], [["a"], []], "segment 1 has no reference"),
        (["a"], [[" \n"]], "segment 0 has no reference"),
        (["a"], ["a"], "are one text"),
        ("a", [["a"]], "not one text"),
        ([None], [["a"]], "prediction 0 is not text but NoneType"),
        (["a"], [[3]], "a reference of segment 0 is not text but int"),
    ],
)
def test_mistakes_are_one_line(predictions, references, message):
    with pytest.raises(UserError, match=message) as error:
        e2e_scores(predictions, references)
    assert "\n" not in str(error.value)


def test_a_test_set_takes_seconds(shared):
    groups = grouped(shared, "test")
    assert len(groups) == 630
    started = time.process_time()
    got = scores([group[0] for group in groups], groups)
    assert time.process_time() - started < 10
    assert got["bleu"] == pytest.approx(1)


def test_the_metric_object(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no Java
    system, references, _ = oracle()
    metric = metrics.load_metric("e2e/e2e")
    found = metric.compute(predictions=system, references=references)
    assert list(found.pop("absent")) == ["meteor"]
    assert found == scores(system, references)
    with pytest.raises(UserError, match="no examples"):
        metric.compute(predictions=[], references=[])
    assert SCORES["e2e/e2e"] == ("bleu", "nist", "meteor", "rouge_l", "cider")


@pytest.mark.slow
def test_scores_are_the_same_to_the_bit_whatever_order_sets_have():
    """Python hashes strings anew in every process: a sum over a set would end in another last bit."""
    code = (
        "from uora_bench.data.generated import restaurants\n"
        "from uora_bench.metrics.e2e import e2e_scores\n"
        "rows = [row['human_reference'] for row in restaurants.rows('validation')[:80]]\n"
        "for k in range(40):\n"  # in a mean over many segments a last bit is lost
        "    texts = [' '.join(rows[(i * 7 + k) % 70:][:9]) for i in range(3)]\n"
        "    groups = [[a + ' and cheap', b] for a, b in zip(texts, texts[1:] + texts[:1])]\n"
        "    print([v.hex() for v in e2e_scores(texts, groups, meteor=False).values() if type(v) is float])\n"
    )
    found = set()
    for seed in ("0", "1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed},
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert "0x0.0p+0" not in found.pop()
