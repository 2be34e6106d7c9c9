#!/usr/bin/env bash
# Preempt a job for real and let it finish: sbatch, TERM while it trains, requeue; then compare it, to the bit, with a
# run that nobody stopped. Needs a cluster (start.sh makes one of this machine) and a python with the project.
#   benchmarks/cluster/slurm/preempt.sh [python] [folder]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)"
python="${1:-python}"
folder="${2:-outputs/slurm}"
mkdir -p "$folder"
cd "$folder"
export OMP_NUM_THREADS=1 PYTHONPATH="$root"
options="cell=task_adaptation steps=300 trainer.validations=20 trainer.accelerator=cpu trainer.progress=false precision=32
  source.train_size=64 target.train_size=64 source.image_size=32 target.image_size=32 datamodule.batch_size=16"
"$python" "$root/train.py" $options hydra.run.dir=straight > straight.txt

{
  echo '#!/bin/sh'
  echo "exec '$python' '$root/train.py'" $options "resume=auto hydra.run.dir='$PWD/preempted'"
} > job.sh
job="$(sbatch --parsable --requeue --open-mode=append --output=job.txt job.sh)"
state() { scontrol show job "$job" | grep -o 'JobState=[A-Z]*' | cut -d= -f2; }
until [ "$(grep -c . preempted/metrics.csv 2> /dev/null || true)" -gt 40 ] 2> /dev/null; do sleep 0.2; done
scancel --signal=TERM --full "$job"
while [ "$(state)" = RUNNING ] || [ "$(state)" = COMPLETING ]; do sleep 0.5; done
echo "after TERM: $(state), $(scontrol show job "$job" | grep -o 'ExitCode=[0-9:]*'), journal $(grep -o '"status": "[a-z]*"' preempted/journal.json)"
scontrol requeue "$job"
scontrol update JobId="$job" StartTime=now # else Slurm waits two minutes
sleep 1
scontrol release "$job" 2> /dev/null || true # a job that failed is requeued held by some versions
until [ "$(state)" = COMPLETED ] || [ "$(state)" = FAILED ]; do sleep 1; done
echo "after requeue: $(state), $(scontrol show job "$job" | grep -o 'Restarts=[0-9]*'), journal $(grep -o '"status": "[a-z]*"' preempted/journal.json)"
cat job.txt
"$python" - << 'PYTHON'
from pathlib import Path

from benchmarks.cluster.runs import equal, tested, weights

straight, preempted = Path("straight"), Path("preempted")
same = equal(weights(straight), weights(preempted)) and tested(straight) == tested(preempted)
print("weights and test are", "equal to the bit" if same else "NOT equal")
raise SystemExit(not same)
PYTHON
