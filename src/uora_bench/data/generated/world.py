"""The words of the generated instruction task: names, nouns with their kinds, adjectives, calendar, ordinary English.

This file owns the tables that answers are looked up in. Everything in them is common knowledge; nothing is drawn here.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words("Anna Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Will")

# what is a kind of what
KINDS: dict[str, tuple[str, ...]] = {
    kind: _words(words)
    for kind, words in {
        "animal": "dog cat horse cow sheep goat fox wolf mouse rabbit lion monkey",
        "bird": "crow duck eagle goose owl robin sparrow swan",
        "insect": "ant bee butterfly fly moth wasp",
        "fruit": "apple cherry grape lemon peach pear plum strawberry",
        "vegetable": "bean cabbage carrot leek onion potato tomato turnip",
        "tool": "axe brush drill hammer knife rake saw spade",
        "vehicle": "bike boat bus car ferry lorry train tractor",
        "instrument": "drum flute guitar harp piano trumpet violin",
    }.items()
}
# things of no kind above, for lists, plurals and possessions
THINGS = _words(
    """
baby bag ball basket bed bell book bottle box bridge candle chair child clock coat cup dish dress family foot glass
hat house key kite lamp leaf letter map man mirror party pencil shelf shirt shoe spoon story table tooth tree watch
window woman
"""
)
NOUNS = (*(word for words in KINDS.values() for word in words), *THINGS)
# plurals that the rules of `plural` do not give
IRREGULAR = {
    "sheep": "sheep", "wolf": "wolves", "mouse": "mice", "goose": "geese", "knife": "knives", "potato": "potatoes",
    "tomato": "tomatoes", "child": "children", "foot": "feet", "leaf": "leaves", "man": "men", "shelf": "shelves",
    "tooth": "teeth", "woman": "women",
}  # fmt: skip

COLOURS = _words("black blue brown green grey orange pink red white yellow")
PLACES = _words("attic barn cellar garage garden hall kitchen library office park school shop")

_PAIRS = """
big small | hot cold | old new | fast slow | high low | long short | light dark | early late | full empty | open closed
| rich poor | strong weak | hard soft | wet dry | loud quiet | clean dirty | happy sad | near far | wide narrow
| thick thin | good bad | up down | left right | true false | always never | inside outside | before after
| easy difficult | cheap expensive | deep shallow | sweet sour | brave afraid | smooth rough
| push pull | buy sell | win lose | start finish | give take | remember forget | arrive leave | laugh cry | love hate
"""
OPPOSITES = {a: b for pair in _PAIRS.split("|") for a, b in (pair.split(), pair.split()[::-1])}

DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

# Ordinary words: the tiny model knows how they are spelt and little else. They are there so that real text falls into
# fewer tokens.
COMMON = _words(
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


def plural(noun: str) -> str:
    """The plural of one of `NOUNS`."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def with_article(noun: str) -> str:
    """``a pear``, ``an apple``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def kind_of(noun: str) -> str:
    """The kind in `KINDS` that ``noun`` is listed under; raises KeyError where there is none."""
    for kind, words in KINDS.items():
        if noun in words:
            return kind
    raise KeyError(noun)
