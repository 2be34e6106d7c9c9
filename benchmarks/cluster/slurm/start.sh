#!/usr/bin/env bash
# Start Slurm on this one machine, as root, after: apt-get install slurm-wlm munge
# The files go to the folder that is given, by default /var/lib/one-machine-slurm.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
place="${1:-/var/lib/one-machine-slurm}"
mkdir -p "$place/state" "$place/spool" /etc/slurm /run/munge
sed -e "s#HOST#$(hostname -s)#" -e "s#PLACE#$place#" "$here/slurm.conf" > /etc/slurm/slurm.conf
chown munge:munge /run/munge
pgrep -x munged > /dev/null || runuser -u munge -- munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd
sleep 3
scontrol update NodeName="$(hostname -s)" State=RESUME 2> /dev/null || true
sinfo
