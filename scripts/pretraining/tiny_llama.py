"""The embedded decoder `tiny_llama`: a byte-level tokenizer and a small LLaMA language model.

This file owns the recipe of `src/uora_bench/assets/tiny_llama`: tokenizer, model sizes, packing, schedule. The text
comes from `instruction_text`, without a download and without what the task's splits ask.
"""

from __future__ import annotations

import random
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from uora_bench.data.generated.world import OPPOSITES

from .instruction_text import COMMON, MARKS, marked

BOS, EOS, PAD = range(3)
SPECIAL = ("<s>", "</s>", "<pad>")
VOCABULARY, CONTEXT = 1_536, 4_096
STEPS, BATCH, WIDTH, TEXTS, PEAK_LR, SEED = 5_200, 16, 96, 200_000, 4e-3, 23
UNMARKED = 0.1
PLAIN = str.maketrans("", "", MARKS)
# No <s>: the tokenizer puts it before a text, and a second one would follow.
CHAT = (
    "{% for message in messages %}{{ message['role'].capitalize() + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
README = """# tiny_llama

A LLaMA decoder of 4 blocks and width 96 (4 query heads sharing 2 key and value heads, inner width 256, output layer
tied to the embedding, float32) with a byte-level BPE tokenizer of 1,536 tokens, embedded so that the suite runs without
a download. It knows only the generated text of `scripts/pretraining/instruction_text.py`; scores reached with it say
nothing about natural language and must never be put in one table with published results.

Made by `python scripts/pretrain_tiny.py tiny_llama` on one CPU thread: {steps} steps of next-token prediction on
generated text. The text shows the abilities that `tiny/instruct` asks for (lists, sums, plurals, small stories …) as
questions with bare answers, cards, statements and dialogues; the task's instructions, the style of its answers and the
problems of its splits are not in it. An adapter has to bring the form. What cannot be known from what stands before it
counts a tenth in the loss.

- tokenizer: every text comes back from its tokens; `<s>` is put before a text, `</s>` ends it, `<pad>` fills a batch.
  The chat template writes `User:` or `Assistant:` and, in the next line, what was said; `</s>` ends the assistant's
  turn. It has no `<s>` of its own, since the tokenizer adds one
- positions: trained on 96 tokens at a time; longer texts are possible (up to 4,096) and new to it
- weights: `model.safetensors`, {size} bytes, made with torch {torch}, sha256
  `{digest}`
- check: `python scripts/pretrain_tiny.py tiny_llama --check` repeats the run and compares the hash; another
  processor or torch version may round differently and give another hash
- load: `AutoModelForCausalLM.from_pretrained(folder)`
"""


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE tokenizer that begins a text with ``<s>``, as LLaMA's does."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    # ordinary words are rare in the corpus; real text is to fall into fewer tokens all the same
    words = [f" {word}" for word in (*COMMON, *OPPOSITES)] * 60 + [f" {word.capitalize()}" for word in COMMON] * 15
    core.train_from_iterator(
        [*texts, *words],
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[EOS],
        pad_token=SPECIAL[PAD],
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def pack(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the marked texts, each between ``<s>`` and ``</s>``, as rows of `WIDTH` tokens without padding, and the
    weight of each token in the loss: 1 for what is marked and for ``</s>``, else `UNMARKED`."""
    ids: list[int] = []
    weights: list[float] = []
    for text in texts:
        inside, flags = False, []
        for letter in text:
            if letter in MARKS:
                inside = letter == MARKS[0]
            else:
                flags.append(1.0 if inside else UNMARKED)
        coded = tokenizer.backend_tokenizer.encode(text.translate(PLAIN))
        ids += [*coded.ids, EOS]
        weights += [*(flags[end - 1] if end else 0.0 for _, end in coded.offsets), 1.0]
    full = len(ids) // WIDTH * WIDTH
    return torch.tensor(ids[:full]).view(-1, WIDTH), torch.tensor(weights[:full]).view(-1, WIDTH)


def train(steps: int, log: bool = True) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Returns model and tokenizer after `steps` steps of next-token prediction."""
    torch.manual_seed(SEED)
    texts = list(marked(TEXTS, SEED))
    tokenizer = make_tokenizer([text.translate(PLAIN) for text in texts[:6_000]])
    rows, weights = pack(tokenizer, texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        initializer_range=0.05,
    )
    model = LlamaForCausalLM(config).train()
    with torch.no_grad():  # a token's own vector must not drown in what the blocks add, or copying is learned late
        model.model.embed_tokens.weight *= 3.0
        for block in model.model.layers:
            block.self_attn.o_proj.weight *= 0.35
            block.mlp.down_proj.weight *= 0.35
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.08)
    order, began, loss_sum = random.Random(SEED), time.time(), 0.0
    if log:
        print(f"{len(tokenizer)} tokens, {rows.numel():,} of text, {model.num_parameters():,} parameters", flush=True)
    for step in range(1, steps + 1):
        chosen = order.sample(range(len(rows)), BATCH)
        batch, weight = rows[chosen], weights[chosen][:, 1:].flatten()
        logits = model(batch, use_cache=False).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        loss = (each * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        if log and step % 200 == 0:
            print(f"{step} loss {loss_sum / 200:.3f} {time.time() - began:.0f} s", flush=True)
            loss_sum = 0.0
    return model.eval(), tokenizer
