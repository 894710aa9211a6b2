"""The bundled language model `tiny_gpt2`: a byte-level tokenizer and a small GPT-2.

This file owns the recipe of `src/uora_bench/assets/tiny_gpt2`: model sizes, tokenizer, loss, schedule. The text comes
from `restaurant_text.corpus`, without a download and without the meanings of the task's splits.
"""

import random
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from . import restaurant_text

END = "<|endoftext|>"
STEPS, BATCH, PEAK_LR, SEED = 3000, 32, 3e-3, 29
POSITIONS, VOCABULARY, WIDTH, BLOCKS, HEADS = 256, 1200, 112, 4, 4
TOKENIZER_LINES = 20_000
WINDOW = 50  # batches of documents of about one length come from a shuffled window of this many batches
README = """# tiny_gpt2

A GPT-2 of 4 blocks and width 112 (4 heads, 256 positions, float32, output layer tied to the embedding) with a
byte-level tokenizer of 1,200 tokens, embedded so that the suite runs without a download. It knows only the generated
text of `scripts/pretraining/restaurant_text.py`: made-up restaurants, hotels, museums, shops and things. Scores reached
with it say nothing about natural language and must never be put in one table with published results.

Made by `python scripts/pretrain_tiny.py tiny_gpt2` on one CPU thread: {steps} steps of language modelling on generated
documents, most of them a meaning (`name : X | food : Y ||`) and a text that says it. The loss is that of the text, so
the model learns to copy values it has never seen. The house style of the task `tiny/restaurants` is rare in that text,
and an adapter has to bring it out; no name and no meaning of the task's splits occurs in it.

- weights: `model.safetensors`, {size} bytes, made with torch {torch}, sha256
  `{digest}`
- check: `python scripts/pretrain_tiny.py tiny_gpt2 --check` repeats the run and compares the hash; another processor or
  torch version may round differently and give another hash
- load: `AutoModelForCausalLM.from_pretrained(folder)`; nothing is new
"""


def make_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE tokenizer trained on `lines`; every byte is a token, so any text comes back."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> list[tuple[int, list[int]]]:
    """Returns, for each document, the number of tokens of its meaning and all its tokens, the end of text included.

    Meaning and text are tokenised apart, as the data-to-text tasks do.
    """
    halves = [line.rpartition(" || ") for line in lines]
    meanings = tokenizer([f"{meaning} ||" if mark else "" for meaning, mark, _ in halves])["input_ids"]
    texts = tokenizer([f" {text}" if mark else text for _, mark, text in halves])["input_ids"]
    pairs = zip(meanings, texts, strict=True)
    return [(len(a), [*a, *b, tokenizer.eos_token_id][:POSITIONS]) for a, b in pairs]


def batches(documents: list[tuple[int, list[int]]], rng: random.Random) -> list[list[int]]:
    """Returns the documents' numbers in a random order, in batches of about one length."""
    order = rng.sample(range(len(documents)), len(documents))
    found = []
    for at in range(0, len(order), BATCH * WINDOW):
        window = sorted(order[at : at + BATCH * WINDOW], key=lambda i: len(documents[i][1]))
        part = [window[i : i + BATCH] for i in range(0, len(window), BATCH)]
        rng.shuffle(part)
        found += part
    return found


def collate(documents: list[tuple[int, list[int]]], rng: random.Random) -> tuple[torch.Tensor, ...]:
    """Returns ids, labels (-100 on meanings and padding) and positions.

    Half of the documents begin at position 0, the others anywhere: all positions are learned, and what is learned does
    not hang on the place.
    """
    width = max(len(tokens) for _, tokens in documents)
    ids = torch.zeros((len(documents), width), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    starts = []
    for row, (meaning, tokens) in enumerate(documents):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, meaning : len(tokens)] = ids[row, meaning : len(tokens)]
        starts.append(rng.randint(0, POSITIONS - width) if rng.random() < 0.5 else 0)
    return ids, labels, torch.tensor(starts)[:, None] + torch.arange(width)


def train(steps: int, log: bool = True) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """Returns model and tokenizer after `steps` steps of language modelling, no document twice."""
    torch.manual_seed(SEED)
    lines = list(restaurant_text.corpus(steps * BATCH, SEED))
    tokenizer = make_tokenizer(lines[:TOKENIZER_LINES])
    documents = encode(tokenizer, lines)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=BLOCKS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.08)
    rng, began, total = random.Random(SEED), time.time(), 0.0
    for step, chosen in enumerate(batches(documents, rng), 1):
        ids, labels, positions = collate([documents[i] for i in chosen], rng)
        hidden = model.transformer(ids, position_ids=positions, use_cache=False).last_hidden_state[:, :-1]
        asked = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[asked]), labels[:, 1:][asked])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if log and step % 100 == 0:
            print(f"{step} loss {total / 100:.3f} {time.time() - began:.0f} s", flush=True)
            total = 0.0
    return model.eval(), tokenizer
