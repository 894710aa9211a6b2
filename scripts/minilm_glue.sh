#!/usr/bin/env bash
# The records in results/records/minilm_glue/: five methods (UORA at two ranks) on MRPC and RTE with MiniLM, seed 0.
# Resumable: finished cells are skipped. Usage: scripts/minilm_glue.sh <data.root>
set -uo pipefail
cd "$(dirname "$0")/.."
DATA=${1:?usage: scripts/minilm_glue.sh <folder that holds glue/mrpc and glue/rte>}
PY=${PY:-.venv/bin/python}
TASKS=${TASKS:-mrpc rte} # one process each on two cores: TASKS=mrpc and TASKS=rte, with OMP_NUM_THREADS=1

for task in $TASKS; do
  for method in uora lora vera full head_only; do
    "$PY" -m uora_bench method=$method task=glue/$task backbone=minilm experiment_name=minilm_glue \
      data.root="$DATA" tracker=none || echo "exit $?: $method $task" >&2
  done
  # a rank as low as the paper's ratios suggest
  "$PY" -m uora_bench method=uora method.rank=32 trainer.lr_adapter=1e-1 task=glue/$task backbone=minilm \
    experiment_name=minilm_glue data.root="$DATA" tracker=none || echo "exit $?: uora rank 32 $task" >&2
done
