"""Owns the tokens that the COCO caption scripts count: Penn Treebank tokens, lower-case, without punctuation.

Those scripts run the ``PTBTokenizer`` of Stanford CoreNLP 3.4.1 (``-preserveLines -lowerCase``) and drop the tokens of
``PUNCTUATION``. ``tokenize`` gives the same tokens without Java; docs/metrics/e2e.md says how often it differs. The
rules follow the Penn Treebank's conventions (Marcus et al., 1993) and what that tokenizer does to probes: at each place
the longest rule wins, the first one among equals.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import zip_longest

# Parentheses are counted: the official list has "-LRB-" in upper case, but the tokenizer was told to write "-lrb-".
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# A full stop after one of these belongs to the word.
_ABBREVIATIONS = """jan feb mar apr jun jul aug sept? oct nov dec mon tues? wed thu thurs fri
ala ariz calif colo conn ct dak fla ga ind kans? ky md mich minn mo mont neb nev okla penn tenn va vt wisc? wyo
inc cos? corp p(?-i:t[ey]s?) ltd plc rt bancorp dept bhd assn univ intl sys ph jr sr bros blvd rd esq mrs? ms drs?
profs? sens? reps? attys? lt col gen messrs govs? adm rev maj sgt cpl pvt capt ste? ave pres lieut hon brig co?mdr pfc
spc supts? det mt ft adj adv asst assoc ens insp mlle mme msgr sfc invt elec natl m(?-i:[ft]g) etc al seq bldg vs cf
est tel ext sq ph\\.d"""
# Words of their own in lower case, abbreviations when capitalised.
_CAPITALISED = "Az Ark Del Ill La Mass Miss Ore Pa Tex Wash"
_ABBREVIATION = (
    rf"(?i:{'|'.join(_ABBREVIATIONS.split())})|{'|'.join(f'{w[0]}(?i:{w[1:]})' for w in _CAPITALISED.split())}"
)
# After an initial, these begin a sentence and leave the initial without its full stop.
_STARTERS = """A About According Additionally After An As At But He Her Here However If In It Last Many More Now
Once One Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You"""
_BEFORE_NUMBER = re.compile(r"(?i:nos?|prop|ca|figs?|art|pp?|op)\.")

_NO_LETTER = r"\W_\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f"  # for re, a superscript is a word character
_L = rf"[^\d{_NO_LETTER}]"  # a letter
_AL = rf"[^{_NO_LETTER}]"  # a letter or digit
_WORD = rf"{_L}{_AL}*(?:[.!?]{_L}{_AL}*)*"
_NUMBER = r"[+-]?(?:\d+(?:[.:,]\d+)*|\.\d+)"
_QUOTE = "['\u2019]"
_END = rf"(?!{_AL})"

# Where a rule has a group, the group is the token and the rest of the match is what has to follow it.
_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"</?[A-Za-z][^<>\s]*>",
        r"(?i:https?://)[^\s<>\"]+[^\s<>\".,;:!?)\]'-]",
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*",
        r"#[A-Za-z]+|@[A-Za-z]\w*",
        r"[:;=]-?[()DPp](?!\w)",
        rf"((?i:can))(?i:not){_END}",
        rf"((?i:gon|wan))(?i:na){_END}",
        rf"((?i:got))(?i:ta){_END}",
        rf"((?i:gim|lem))(?i:me){_END}",
        rf"({_QUOTE}(?i:t))(?i:is|was){_END}",
        rf"{_QUOTE}(?i:n){_QUOTE}|{_QUOTE}(?i:s|d|m|ll|ve|re|em|n|cause|til|\d\ds){_END}",
        rf"(?i:n{_QUOTE}t){_END}",
        rf"({_L}{_AL}*?)(?i:n{_QUOTE}t){_END}",
        rf"(?i:[dol]'{_L}+(?:-{_L}+)*|ma'am){_END}",
        rf"((?i:y){_QUOTE})(?i:all){_END}",
        rf"{_L}*(?i:[aeiouy])'(?!(?i:s|d|m|ll|ve|re){_END})[aeiouA-Z]{_L}*",
        r"[dljDLJ]'",
        _WORD,
        rf"({_WORD}\.)[,;:]",
        r"[A-Za-z0-9][A-Za-z0-9.,]*(?:-[A-Za-z0-9]+)+",
        rf"{_AL}+(?:[-_]{_AL}+)+",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        rf"(?:{_ABBREVIATION}|[A-Za-z](?:\.[A-Za-z])*)\.{_END}",
        rf"({_BEFORE_NUMBER.pattern})\d",
        r"[A-Z]+[a-z]*(?:[&+][A-Z]+)+",
        r"C\+\+|[CF]#",
        _NUMBER,
        rf"\d+{_L}{_AL}*",
        r"[+-]?\d+/\d+(?:/\d+)?",
        r"(?:US|A|C|HK|NZ)?\$",
        r"\.\.\.+|--+|[!?]+|``|''|\*+|_+|#{2,}",
        r"\S",
    )
)
_DROPPED = re.compile("[\u00ad\u2010-\u2012\u2015\u2024\u2025\u20b9\ufffd\U00010000-\U0010ffff]")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_REWRITTEN = {"\u00a3": "#", "\u20ac": "$", "\u00a2": "cents", "\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4",
              '"': "``", "\u201c": "``", "\u201d": "''", "\u2018": "`", "\u2026": "...", "\u2013": "--",
              "\u2014": "--"}  # fmt: skip
_DASHES = {"---": "--", "----": "--"}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"'}


def tokenize(text: str) -> list[str]:
    """Return the tokens of ``text`` that the COCO scripts count, in order; a blank text has none."""
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    chunks = _DROPPED.sub("", text).split()
    tokens: list[str] = []
    for chunk, following in zip_longest(chunks, chunks[1:], fillvalue=""):
        if following[:1].isdigit() and _BEFORE_NUMBER.fullmatch(chunk):
            tokens.append(chunk.lower())
        elif following in _STARTERS.split() and re.fullmatch(r"[A-Za-z]\.", chunk):
            tokens.append(chunk[0].lower())
        else:
            tokens += _chunk(chunk)
    return tokens


@lru_cache(maxsize=65536)
def _chunk(chunk: str) -> tuple[str, ...]:
    """The tokens of a text without white space: no rule but that of "no. 5" looks further."""
    tokens, at = [], 0
    while at < len(chunk):
        best = max((m for rule in _RULES if (m := rule.match(chunk, at))), key=lambda m: m.end())  # the first of equals
        at = best.end(best.lastindex or 0)
        token = best[best.lastindex or 0].replace("\u2019", "'")
        token = "".join(_BRACKETS.get(c, c) for c in _REWRITTEN.get(token, token)).lower()
        token = "..." if token.startswith("...") else _DASHES.get(token, token)
        if token not in PUNCTUATION:
            tokens.append(token)
    return tuple(tokens)
