"""The embedded encoder `tiny_roberta`: a word tokenizer and a small masked language model.

This file owns the recipe of `src/uora_bench/assets/tiny_roberta`: model sizes, pretraining text, masking, schedule.
The text comes from `nli_text.corpus`, without a download and without the pairs of the task's
splits.
"""

import random
import time

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from . import nli_text

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS, PAD, EOS, UNK, MASK = range(5)
STEPS, BATCH, LINES, PEAK_LR, SEED = 6000, 64, 120_000, 2e-3, 17
MASKED, CLEAN, MASKED_CLEAN = 0.2, 0.6, 0.05
LENGTH = 40
README = """# tiny_roberta

A RoBERTa encoder of 4 layers and width 96 (4 heads, inner width 192, float32) with a tokenizer of whole words,
embedded so that the suite runs without a download. It knows only the generated sentences of
`scripts/pretraining/nli_text.py`; scores reached with it say nothing about natural language and must never be put in
one table with published results.

Made by `python scripts/pretrain_tiny.py tiny_roberta` on one CPU thread: {steps} steps of masked language modelling
on generated text. Most of its lines are two sentences linked by a discourse word ("so", "thus"; "maybe", "perhaps";
"but", "yet") that fits their relation, and that word is masked more often than others. The linking word stands for
the relation, so the encoder learns to tell relations apart where a linking word is missing, from other pairs than the
task's: those of its three splits are left out. No classification head is trained, and a pair without a gap asks for
nothing: a new head alone reads little from `<s>`, and an adapter has to bring the relation there.

- weights: `model.safetensors`, {size} bytes, made with torch {torch}, sha256
  `{digest}`
- check: `python scripts/pretrain_tiny.py tiny_roberta --check` repeats the run and compares the hash; another
  processor or torch version may round differently and give another hash
- load: `AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)`; only `classifier.*` is new
"""


def make_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """Returns a whole-word tokenizer over the words of `lines` that frames text and pairs as RoBERTa does."""
    words = sorted({word for line in lines for word in line.split()})
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    names = {"bos": BOS, "cls": BOS, "eos": EOS, "sep": EOS, "pad": PAD, "unk": UNK, "mask": MASK}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": SPECIAL[i] for name, i in names.items()},
    )


def encode(tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> torch.Tensor:
    """Returns the lines as one padded tensor of ids, a line of two sentences framed as a pair."""
    first, second = zip(*(line.partition(" . ")[::2] for line in lines), strict=True)
    texts = [(f"{a} .", b) if b else a for a, b in zip(first, second, strict=True)]
    pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
    ids = [tokenizer(*pair)["input_ids"] for pair in pairs]
    table = torch.full((len(ids), max(map(len, ids))), PAD)
    for row, line in zip(table, ids, strict=True):
        row[: len(line)] = torch.tensor(line)
    return table


def mask(ids: torch.Tensor, links: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns masked ids and targets (-100 where nothing is asked).

    In a share of the lines little is masked but the word that links two sentences: it is one word in twenty, yet the
    only one that asks for the whole of both, and with too many gaps around it nothing is left to ask.
    """
    clean = torch.rand((len(ids), 1), generator=generator) < CLEAN
    rate = torch.where(clean, MASKED_CLEAN, MASKED) * (ids > MASK)
    rate = torch.where(torch.isin(ids, links), torch.where(clean, 1.0, MASKED), rate)
    hit = torch.rand(ids.shape, generator=generator) < rate
    hidden = hit & (torch.rand(ids.shape, generator=generator) < 0.9)
    return torch.where(hidden, MASK, ids), torch.where(hit, ids, -100)


def train(steps: int, log: bool = True) -> tuple[RobertaForMaskedLM, PreTrainedTokenizerFast]:
    """Returns model and tokenizer after `steps` steps of masked language modelling."""
    torch.manual_seed(SEED)
    lines = list(nli_text.corpus(LINES, SEED))
    tokenizer = make_tokenizer(lines)
    ids = encode(tokenizer, lines)
    links = torch.tensor(tokenizer.convert_tokens_to_ids([w for words in nli_text.CONNECTIVES.values() for w in words]))
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=LENGTH + PAD + 1,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        initializer_range=0.05,
    )
    model = RobertaForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.08)
    generator = torch.Generator().manual_seed(SEED)
    order, began = random.Random(SEED), time.time()
    loss_sum = right = asked = 0.0
    for step in range(1, steps + 1):
        batch = ids[order.sample(range(len(ids)), BATCH)]
        batch = batch[:, : int((batch != PAD).sum(1).max())]
        given, target = mask(batch, links, generator)
        hidden = model.roberta(given, attention_mask=(batch != PAD).long()).last_hidden_state
        where = target != -100
        logits = model.lm_head(hidden[where])
        loss = torch.nn.functional.cross_entropy(logits, target[where])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        # Two words share each relation, so the sum over the pair is what the model knows of it.
        ask = torch.isin(target[where], links)
        chances = logits[ask][:, links].softmax(-1).view(-1, 3, 2).sum(-1)
        place = (target[where][ask][:, None] == links).int().argmax(1) // 2
        right, asked = right + float((chances.argmax(1) == place).sum()), asked + len(place)
        if log and step % 200 == 0:
            print(f"{step} loss {loss_sum / 200:.3f} link {right / asked:.3f} {time.time() - began:.0f} s", flush=True)
            loss_sum = right = asked = 0.0
    return model.eval(), tokenizer
