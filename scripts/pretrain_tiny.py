"""Makes the bundled tiny checkpoints, `src/uora_bench/assets/tiny_*`, without a download.

Each has its recipe in `scripts/pretraining/<name>.py`: ``STEPS``, ``README`` and ``train(steps, log)``, which returns
the model and its tokenizer or image processor. One thread and fixed seeds make a run repeatable on one kind of machine
and one torch version; `--check` tells whether it came out the same.

    python scripts/pretrain_tiny.py tiny_roberta
    python scripts/pretrain_tiny.py tiny_roberta --check
"""

import argparse
import hashlib
import importlib
import json
import pkgutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts")]
ASSETS = ROOT / "src" / "uora_bench" / "assets"
NAMES = sorted(m.name for m in pkgutil.iter_modules([str(ROOT / "scripts" / "pretraining")]) if m.name[:5] == "tiny_")


def save(model: Any, processor: Any, out: Path) -> str:
    """Writes model and tokenizer or image processor into `out` and returns the sha256 of the weights file."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "model.safetensors").chmod(0o644)  # some versions write it for the owner only
    return sha256(out)


def sha256(folder: Path) -> str:
    """Returns the sha256 of the weights file in `folder`; raises FileNotFoundError without one."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> int:
    """Returns 0, or 1 if `--check` found another hash than the committed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--out", type=Path, help="folder to write to (default: the committed one)")
    parser.add_argument("--steps", type=int, help="default: what the committed one was made with")
    parser.add_argument("--check", action="store_true", help="compare a fresh run with the committed weights")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    recipe = importlib.import_module(f"pretraining.{args.name}")
    steps = args.steps or recipe.STEPS
    model, processor = recipe.train(steps)
    if not args.check:
        out = args.out or ASSETS / args.name
        digest, size = save(model, processor, out), (out / "model.safetensors").stat().st_size
        text = recipe.README.format(steps=steps, size=size, digest=digest, torch=torch.__version__)
        (out / "README.md").write_text(text)
        print("sha256", digest)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh, committed = save(model, processor, args.out or Path(folder)), sha256(ASSETS / args.name)
    print(json.dumps({"fresh": fresh, "committed": committed, "same": fresh == committed}))
    return 0 if fresh == committed else 1


if __name__ == "__main__":
    sys.exit(main())
