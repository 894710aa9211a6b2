#!/usr/bin/env bash
# The records in results/records/minilm_glue/: every method (UORA at two ranks) with MiniLM, seed 0, on MRPC, RTE and the
# first 8,000 rows of SST-2's training set. Resumable: finished cells are skipped. Usage: scripts/minilm_glue.sh <data.root>
set -uo pipefail
cd "$(dirname "$0")/.."
DATA=${1:?usage: scripts/minilm_glue.sh <folder that holds glue/mrpc, glue/rte and glue/sst2>}
PY=${PY:-.venv/bin/python}
TASKS=${TASKS:-mrpc rte sst2} # one process per task on several cores: TASKS=mrpc …, with OMP_NUM_THREADS=1

cell() {
  local part=()
  [ "$1" = sst2 ] && part=('task.splits.train=train[:8000]')
  "$PY" -m uora_bench task=glue/"$1" "${part[@]}" backbone=minilm experiment_name=minilm_glue data.root="$DATA" \
    tracker=none "${@:2}" || echo "exit $?: $*" >&2
}

for task in $TASKS; do
  for method in uora lora vera tied_lora alpha_lora lora_fa bitfit full head_only; do
    cell "$task" method=$method
  done
  cell "$task" method=peft recipe=peft/minilm_adalora
  # a rank as low as the paper's ratios suggest
  cell "$task" method=uora method.rank=32 trainer.lr_adapter=1e-1
done

# α-LoRA's adapter has four fifths of the rows: LoRA, and α-LoRA with α at 1, on the same ones
for words in "method=lora trainer.holdout=0.2" "method=alpha_lora method.mode=fixed"; do
  "$PY" -m uora_bench $words task=glue/mrpc backbone=minilm experiment_name=minilm_holdout data.root="$DATA" \
    tracker=none || echo "exit $?: $words" >&2
done
