#!/usr/bin/env bash
# The learning-rate search behind configs/recipe/*/minilm.yaml: MRPC, the training set split 80/20, 3 epochs, seed 0.
# Scores are on the held-out fifth, never on dev; but UORA's gain and rank-256 lines were added after its dev score at
# rank 32 had been seen, so its search is larger than the others' and not blind to dev. Resumable: finished cells are skipped. Usage: scripts/minilm_search.sh <data.root>
set -uo pipefail
cd "$(dirname "$0")/.."
DATA=${1:?usage: scripts/minilm_search.sh <folder that holds glue/mrpc>}
PY=${PY:-.venv/bin/python}

cell() {
  "$PY" -m uora_bench task=glue/mrpc backbone=minilm recipe=none experiment_name=minilm_search data.root="$DATA" \
    'task.splits.train=train[:80%]' 'task.splits.dev=train[80%:]' trainer.epochs=3 trainer.batch_size=32 \
    task.max_length=128 tracker=none "$@" || echo "exit $?: $*" >&2
}

for lr in 1e-3 2e-3 5e-3; do cell method=lora trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 1e-2 3e-2 1e-1; do cell method=vera trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 3e-2 1e-1 3e-1; do cell method=uora method.rank=32 trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
# rank 32 learned little: was it the scale of BA, or the rank?
for lr in 1e-2 3e-2; do cell method=uora method.rank=32 method.gain=3 trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
cell method=uora method.rank=256 trainer.lr_adapter=3e-2 trainer.lr_head=2e-3
for lr in 5e-5 1e-4 2e-4; do cell method=full trainer.lr_adapter=$lr trainer.lr_head=1e-3; done
for lr in 2e-3 1e-2 1e-1; do cell method=head_only trainer.lr_head=$lr; done
# three settings each, fixed before any was run
for lr in 1e-3 3e-3 1e-2; do cell method=tied_lora trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 1e-4 5e-4 2e-3; do cell method=alpha_lora trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 1e-3 3e-3 1e-2; do cell method=bitfit trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 2e-3 5e-3 2e-2; do cell method=lora_fa trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
# AdaLoRA starts from factors of std 0.02 and hardly moved with the first two: larger rates and scale after that
for lr in 3e-3 1e-2; do cell method=peft peft.type=adalora peft.init_r=12 peft.target_r=8 peft.deltaT=10 trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
for lr in 3e-2 1e-1; do cell method=peft peft.type=adalora peft.init_r=12 peft.target_r=8 peft.lora_alpha=32 peft.deltaT=10 trainer.lr_adapter=$lr trainer.lr_head=2e-3; done
