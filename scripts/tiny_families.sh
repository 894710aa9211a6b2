#!/usr/bin/env bash
# The records in results/records/tiny_*/: the other task families on real data with this suite's own tiny backbones, which
# know nothing of the world: they show that the pipeline works and what its metrics say, not what the methods can do.
# Resumable: finished cells are skipped. Usage: scripts/tiny_families.sh <data.root>
set -uo pipefail
cd "$(dirname "$0")/.."
DATA=${1:?usage: scripts/tiny_families.sh <folder that holds e2e_nlg, instruction, cifar10 and flowers5>}
PY=${PY:-.venv/bin/python}
# a process each on several cores: FAMILIES=e2e …, with OMP_NUM_THREADS=1
FAMILIES=${FAMILIES:-cifar10 flowers5 alpaca e2e}
METHODS=${METHODS:-lora vera tied_lora alpha_lora uora full}
UNADAPTED=(method=lora trainer.lr_adapter=0 trainer.max_steps=1) # the causal backbones as they are

cell() { # experiment, then words
  "$PY" -m uora_bench experiment_name="$1" data.root="$DATA" trainer.precision=float32 tracker=none "${@:2}"
  local code=$?
  [ $code -ge 128 ] && exit $code # told to stop
  [ $code -ne 0 ] && failed=1 && echo "exit $code: $*" >&2
  return 0
}
failed=0

for family in $FAMILIES; do
  for method in $METHODS; do
    case $family in
      cifar10) cell tiny_cifar10 task=vision/cifar10 backbone=tiny_vit method="$method" ;;
      flowers5) cell tiny_flowers5 task=vision/flowers5 backbone=tiny_vit method="$method" ;;
      alpaca) cell tiny_alpaca task=instruct/alpaca_1000 backbone=tiny_llama method="$method" ;;
      e2e) cell tiny_e2e task=e2e backbone=tiny_gpt2 method="$method" ;;
    esac
  done
  case $family in
    cifar10 | flowers5) cell tiny_$family task=vision/$family backbone=tiny_vit method=head_only ;;
    alpaca) cell tiny_unadapted task=instruct/alpaca_1000 backbone=tiny_llama "${UNADAPTED[@]}" ;;
    e2e) cell tiny_unadapted task=e2e backbone=tiny_gpt2 "${UNADAPTED[@]}" ;;
  esac
done

# MT-Bench's questions, answered by the cells trained on Alpaca; kept beside the records without the questions
case " $FAMILIES " in *" alpaca "*)
  for run in runs/tiny_alpaca/*/; do
    "$PY" -m uora_bench mt-bench answer "$run" data.root="$DATA" max_new_tokens=256 batch_size=16 &&
      "$PY" scripts/strip_questions.py "$run" results/records/tiny_alpaca || failed=1
  done
  ;;
esac
exit $failed
