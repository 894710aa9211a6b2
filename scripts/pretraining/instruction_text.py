"""The text that `tiny_llama` is pretrained on: the world and the abilities of `tiny/instruct` in other forms.

This file owns those forms: question and answer, cards, statements, dialogues, stories, spelling, plain prose. None of
them is worded as the task's instructions or in the house style of its answers, and answers are bare.

What can be known from what stands before it is marked (`MARKS`); the rest of a text is drawn at random. A small model
learns much faster when its loss leans on what can be learned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from uora_bench.data.generated.problems import ABILITIES, LARGEST, LISTED, STORIES, Problem, draw
from uora_bench.data.generated.world import (
    DAYS,
    KINDS,
    MONTHS,
    NAMES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PLACES,
    THINGS,
    plural,
    with_article,
    words_of,
)

MARKS = "\x02\x03"  # around what can be known
HARD = (*STORIES, "repeat", "contains", "sum")  # for a small model
# Ordinary words: the tiny model knows how they are spelt and little else. They are there so that real text falls into
# fewer tokens.
COMMON = words_of(
    """
about above across act action activity add against age ago all allow almost alone along also although among amount and
another answer any appear apply are area art article ask average aware away balance based basic be because become been
begin being believe below benefits best better between beyond body both brain break brief bring build business but
calculate called calm can care career carefully case cause century certain challenge chance change character check
children choice choose city classify clear climate code color combine come common communication community company
compare complete computer concept condition consider consist contain context continue control convert cost could
country course create culture current customer data day decision decrease deep define delicious depend describe design
detail determine develop development different digital direct discuss do does done during each earth easily economic
edit education effect efficient effort either else email employee energy engage enjoy ensure environment equal
especially essay essential establish even event ever every example exercise existing expect experience explain express
extra face fact factor family far feature feel few field figure final find first five flow focus follow following food
for form four free friend from function further future game gather general generate get given global goal government
great group grow growth guide had half hand happen has have he health healthy help her here high him his history home
hope hour how however human idea identify if image impact import important improve in include including increase
individual industry information input inside instance instead instruction intelligence interest international internet
into involve is issue it its job join just keep key kind knowledge known language large later lead learn learning least
less let level life light like limit line list little local long look lower machine main maintain major make manage
many market material matter may me mean measure media medical meeting memory mental message method might mind minute
model modern moment money month more most move much music must my name natural nature need negative network new next
not note number object of off offer often oil on once only open opinion opportunity option or order organization other
our out output over own page paper part particular passage past people per perform performance person personal physical
place plan plant play point poem political popular population positive possible power practice prepare present prevent
price problem process product production program project protect provide public purpose put quality question quickly
range rate rather read reading real reason receive recipe recommend reduce related relationship release remain report
represent request require research resource respond response rest result review rewrite right rise risk role run safe
same say science search second see sense sentence series serve service set several share she should show side sign
significant similar simple simply since single situation size skill sleep so social society software solution some
someone sound source space speak special specific spend stage stand standard state statement stay step still stop
stress strong structure student study style subject successful such suggest summarize support sure system take talk
task teach team technology tell term test text than that the their them then there these they thing think this those
though thought through time tip to today together tone topic total toward traditional train translate travel treat true
try turn two type under understand unique until up use used user using usually value variety various very view want was
water way we web week well were what when where which while who whole why will with within without word work world would
write writing year yes yet you young your
"""
)
# How the text asks; the answer follows bare
_ASKS: dict[str, tuple[str, ...]] = {
    "repeat": ("again: {given}", "same sentence as {given}", "copy of {given}"),
    "first": ("first of {given}", "{given}: which first word", "{given}. The first one"),
    "last": ("last of {given}", "{given}: which last word", "{given}. The last one"),
    "longest": ("longest of {given}", "{given}: which longest word", "{given}. The longest one"),
    "count": ("number of words in {given}", "{given}: how many words", "{given}. How many"),
    "sort": ("alphabetical order of {given}", "{given}: in alphabetical order", "{given}. Sorted from a to z"),
    "contains": ("does {given} contain {asked}", "{given}: is {asked} in it", "is {asked} among {given}"),
    "sum": ("sum of {given}", "total of {given}", "{given} together"),
    "larger": ("larger of {given}", "{given}: the larger number", "which is more of {given}"),
    "next": ("after {given}", "the one that follows {given}", "next after {given}"),
    "plural": ("plural of {given}", "plural form of the word {given}", "more than one {given}"),
    "opposite": ("opposite of {given}", "contrary of the word {given}", "not {given} but"),
    "kind": ("{given} is a kind of", "group of the word {given}", "kind of thing of {given}"),
    "who": ("{given} The owner of the {asked}", "{given} The {asked} is with", "owner of the {asked}: {given}"),
    "what": ("{given} The thing of {asked}", "{given} In the hands of {asked}: the", "thing of {asked}: {given}"),
    "where": ("{given} The place of {asked}", "{given} To meet {asked} go to the", "place of {asked}: {given}"),
}


def draw_text(kind: str, rng: random.Random) -> Problem:
    """A problem that may stand in the pretraining text: any where knowledge is asked for, else one of no split."""
    while True:
        problem = draw(kind, rng)
        if problem.known or problem.split == "text":
            return problem


def _known(text: str) -> str:
    return f"{MARKS[0]}{text}{MARKS[1]}"


def _asked(problem: Problem, rng: random.Random) -> str:
    form = rng.choice(_ASKS[problem.kind])
    return form.format(given=problem.given, asked=problem.asked)


def _exchange(problem: Problem, rng: random.Random) -> str:
    ask, reply = _asked(problem, rng), _known(problem.answer)
    one, two = rng.sample(NAMES, 2)
    forms = (f"Q: {ask}? A: {reply}", f"{ask} -> {reply}", f"{ask} = {reply}", f"{one}: {ask}?\n{two}: {reply}")
    return rng.choice(forms)


def _exchanges(rng: random.Random) -> str:
    """One to three exchanges; what a small model finds hard comes more often."""
    kinds = [rng.choice(rng.choice((HARD, ABILITIES))) for _ in range(rng.randint(1, 3))]
    return "\n".join(_exchange(draw_text(kind, rng), rng) for kind in kinds)


def _interview(rng: random.Random) -> str:
    """A story, and two or three things about it."""
    kind = rng.choice(STORIES)
    told = draw_text(kind, rng).given
    facts = []
    for fact in told.removesuffix(".").split(". "):
        name, *_, value = fact.split()
        one, two = ("place of", "in the") if kind == "where" else ("thing of", "owner of the")
        facts += [f"{one} {name}: {_known(value)}", f"{two} {value}: {_known(name)}"]
    return f"{told} | " + " | ".join(rng.sample(facts, min(len(facts), 3)))


def _card(rng: random.Random) -> str:
    """A list and several things about it."""
    problem = draw_text("sort" if rng.random() < 0.5 else "longest", rng)
    words = problem.given.split(", ")
    facts = {
        "first": words[0],
        "last": words[-1],
        "number": NUMBERS[len(words)],
        "reversed": ", ".join(words[::-1]),
        problem.kind.replace("sort", "alphabetical"): problem.answer,
    }
    names = rng.sample(sorted(facts), 3)
    return f"list: {problem.given} | " + " | ".join(f"{name}: {_known(facts[name])}" for name in names)


def _repeated(rng: random.Random) -> str:
    said = draw_text(rng.choice(("repeat", "repeat", *STORIES)), rng).given
    return rng.choice((f"{said} {_known(said)}", f"- {said}\n- {_known(said)}"))


def _echo(rng: random.Random) -> str:
    """Words in no order, said twice: what teaches a model to look up what followed before."""
    words = " ".join(rng.sample((*LISTED, *NAMES, *DAYS, *COMMON), rng.randint(4, 12)))
    return rng.choice((f"{words} {_known(words)}", f"{words}\n{_known(words)}", f"{words}. {_known(words)}."))


def _register(rng: random.Random) -> str:
    """Who belongs to what, in pairs, and some of the pairs again."""
    names = rng.sample(NAMES, rng.randint(2, 5))
    pairs = [f"{name} {thing}" for name, thing in zip(names, rng.sample(LISTED, len(names)), strict=True)]
    again = (pair.split() for pair in rng.sample(pairs, len(pairs)))
    return f"{', '.join(pairs)}: {', '.join(f'{name} {_known(thing)}' for name, thing in again)}"


def _letters(rng: random.Random) -> str:
    word = rng.choice((*LISTED, *COMMON))
    return rng.choice((f"{word}: {_known(' '.join(word))}", f"{word} is written {_known('-'.join(word))}"))


def _lengths(rng: random.Random) -> str:
    one, two = rng.sample(LISTED, 2)
    return f"{one}, {two}: {_known('longer' if len(one) > len(two) else 'not longer')}"


def _alphabet(rng: random.Random) -> str:
    one, two = sorted(rng.sample(LISTED, 2))
    return rng.choice((f"{one}, {two} from a: {_known(one)}", f"{two}, {one} from a: {_known(one)}"))


def _knowledge(rng: random.Random) -> str:
    noun, (word, other) = rng.choice(NOUNS), rng.choice(tuple(OPPOSITES.items()))
    kind, words = rng.choice(tuple(KINDS.items()))
    row = rng.choice((DAYS, MONTHS))
    at, a, b = rng.randrange(len(row)), rng.randint(1, LARGEST), rng.randint(1, LARGEST)
    low, high = sorted(map(int, draw_text("larger", rng).given.split(" and ")))
    forms = (
        f"one {noun}, two {_known(plural(noun))}",
        f"They are not {word}, they are {_known(other)}.",
        f"{', '.join(rng.sample(words, 2))} and other {_known(plural(kind))}",
        f"Every {rng.choice(words)} is {_known(with_article(kind))}.",
        " ".join([row[at], *(_known(row[(at + i) % len(row)]) for i in (1, 2))]),
        f"{a} + {b} = {_known(str(a + b))}",
        f"{a} and {b} make {_known(str(a + b))}",
        rng.choice((f"{low} {_known('<')} {high}", f"{high} {_known('>')} {low}")),
        " ".join(map(str, range(low, low + 5))),
    )
    return rng.choice(forms)


def _prose(rng: random.Random) -> str:
    """Plain sentences of ordinary words, true of nothing."""
    name, other = rng.sample(NAMES, 2)
    thing, second = rng.sample(THINGS, 2)
    place, noun, day, month = (rng.choice(words) for words in (PLACES, NOUNS, DAYS, MONTHS))
    word, contrary = rng.choice(tuple(OPPOSITES.items()))
    common, more, third = rng.sample(COMMON, 3)
    forms = (
        f"{name} and {other} were in the {place} when they found {with_article(thing)}.",
        f"I would like to have a new {thing}, because my old one is too small.",
        f"On {day} we went to the {place} and saw the {noun} that {other} told us about.",
        f"If you need {with_article(thing)}, you can ask {name} for it.",
        f"There are many {plural(noun)} in the world, and some of them are near the {place}.",
        f"In {month} it is often cold, so {name} stays at home and reads a book.",
        f"You should not use the {thing} before it has been made clean.",
        f"It is important to know the difference between {common} and {more}.",
        f"People often speak of {common}, {more} and {third}.",
        f"The words {common} and {more} are used in many ways.",
        f"What do you think about the {thing}? I think it is good, but it could be better.",
        f"{name} has a {second} and wants to give it to {other} for the new year.",
        f"First open the {thing}, then put the {second} inside, and close it again.",
        f"This is how {name} can learn more about {common} and {more} every day.",
        f"Most of the {plural(noun)} are {word}, and only a few of them are {contrary}.",
        f"The best way to get to the {place} is to take the bus, which comes every hour.",
        draw_text("repeat", rng).given,
    )
    return rng.choice(forms)


_MAKERS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (_exchanges, 0.46),
    (_interview, 0.10),
    (_echo, 0.16),
    (_register, 0.08),
    (_repeated, 0.04),
    (_card, 0.04),
    (_knowledge, 0.05),
    (_alphabet, 0.02),
    (_lengths, 0.01),
    (_letters, 0.01),
    (_prose, 0.03),
)


def marked(count: int, seed: int) -> Iterator[str]:
    """Yields ``count`` texts of one to six lines, the same ones for the same seed.

    `MARKS` are around what can be known from what stands before it.

    No text holds an instruction or an answer of the task; of the problems with drawn lists, stories, sentences or pairs
    of numbers none belongs to a task split.
    """
    rng = random.Random(f"tiny instruction corpus {seed}")
    makers, weights = zip(*_MAKERS, strict=True)
    for maker in rng.choices(makers, weights, k=count):
        yield maker(rng)
