"""The embedded vision backbone `tiny_vit`: a small ViT for pictures of 32 x 32, and its image processor.

This file owns the recipe of `src/uora_bench/assets/tiny_vit`: sizes, pretraining pictures, augmentation, schedule. The
pictures are the digits 0 to 4 of `uora_bench.data.generated.digits`, the half of the data that the task does not have.
"""

import random
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from uora_bench.data import images
from uora_bench.data.generated import digits

SIDE, CLASSES = 32, 5
STEPS, BATCH, PEAK_LR, SEED = 1000, 64, 2e-3, 17
PLAIN = 0.3  # share of pictures that keep white ink on black
TURN, ZOOM, SHIFT, NOISE = 0.2, 0.15, 0.15, 0.1  # radians, share of the size, share of the side, share of the range
README = """# tiny_vit

A ViT of 4 blocks and width 96 (4 heads, inner width 192, patches of 4 x 4, float32) for colour pictures of 32 x 32,
with its image processor, embedded so that the suite runs without a download. It has seen 901 small pictures of five
handwritten digits and nothing else; scores reached with it must never be put in one table with published results.

Made by `python scripts/pretrain_tiny.py tiny_vit` on one CPU thread: {steps} steps of classifying the digits 0 to 4 of
scikit-learn's bundled 8 x 8 pictures (`pretraining_rows` of `scripts/pretraining/tiny_vit.py`), enlarged to 32 x 32.
They are turned, scaled, shifted and made noisy at random, and most have ink and ground in two random colours of random
contrast, so that the weights are not blind to colour. The task `tiny/digits` has the digits 5 to 9: no picture and no
class of it was seen here. The head for the digits 0 to 4 is in the file; the suite draws a new one from the cell's
seed.

- weights: `model.safetensors`, {size} bytes, made with torch {torch}, sha256
  `{digest}`
- check: `python scripts/pretrain_tiny.py tiny_vit --check` repeats the run and compares the hash; another processor or
  torch version may round differently and give another hash
- load: `AutoModelForImageClassification.from_pretrained(folder, num_labels=10, ignore_mismatched_sizes=True)`
"""


def pretraining_rows() -> list[dict]:
    """Returns the pictures of the digits 0 to 4, in fixed order: image (as in `digits.rows`), label (the digit)."""
    return [{"image": picture, "label": digit} for digit, picture in digits.pictures() if digit < digits.FIRST]


def augment(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Returns pictures (n, 3, side, side) in 0 to 1 of `ink` (n, side, side), how much of each pixel is ink."""
    n = len(ink)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=generator)

    turn, zoom, shift = uniform(-TURN, TURN), 1 + uniform(-ZOOM, ZOOM), uniform(-2 * SHIFT, 2 * SHIFT, 2)
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    frame = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(n, 2, 3)
    grid = functional.affine_grid(frame, [n, 1, SIDE, SIDE], align_corners=False)
    ink = functional.grid_sample(ink[:, None], grid, align_corners=False)
    plain = (uniform(0, 1) < PLAIN).view(n, 1, 1, 1)
    # two colours at any distance that leaves something to see: darker ink than ground as often as lighter
    ground, colour = uniform(0, 1, 3, 1, 1), uniform(0, 1, 3, 1, 1)
    faint = (colour - ground).abs().amax(dim=1, keepdim=True) < 0.3
    colour = torch.where(faint, (ground + 0.5) % 1, colour)
    ground, colour = torch.where(plain, 0.0, ground), torch.where(plain, 1.0, colour)
    noise = torch.randn((n, 3, SIDE, SIDE), generator=generator) * uniform(0, NOISE, 1, 1, 1)
    return (ground + (colour - ground) * ink + noise).clamp(0, 1)


def train(steps: int, log: bool = True) -> tuple[ViTForImageClassification, ViTImageProcessorPil]:
    """Returns model and image processor after `steps` steps of classifying the digits 0 to 4."""
    torch.manual_seed(SEED)
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    rows, resize = pretraining_rows(), images.Preparation.of(processor)
    grey = [resize.pixels(images.decode(row["image"]), "none", None)[..., 0] for row in rows]
    ink = torch.from_numpy(np.stack(grey)).float() / 255
    label = torch.tensor([row["label"] for row in rows])
    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=SIDE,
        patch_size=4,
        num_channels=3,
        initializer_range=0.05,
        id2label={i: str(i) for i in range(CLASSES)},
        label2id={str(i): i for i in range(CLASSES)},
    )
    model = ViTForImageClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(SEED)
    order, began = random.Random(SEED), time.time()
    loss_sum = right = asked = 0.0
    for step in range(1, steps + 1):
        batch = order.sample(range(len(ink)), BATCH)
        logits = model(augment(ink[batch], generator) * 2 - 1).logits  # -1 to 1, as the image processor has it
        loss = functional.cross_entropy(logits, label[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        right, asked = right + float((logits.argmax(1) == label[batch]).sum()), asked + BATCH
        if log and step % 100 == 0:
            print(f"{step} loss {loss_sum / 100:.3f} right {right / asked:.3f} {time.time() - began:.0f} s", flush=True)
            loss_sum = right = asked = 0.0
    return model.eval(), processor
