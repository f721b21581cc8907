#!/usr/bin/env bash
# A Slurm of one host for one comparison in shards: an array job, one shard killed on the way, a merge, and the tables
# compared with those of a single run.
#
#   tests/slurm/run.sh [--program FILE] [--shards N] [--checkpoints N] [--layers LIST] [--unique LAYERS] [--demo DIR] [--work DIR] [--install]
#
# Needs slurmctld, slurmd, the client commands and munged, and root. Says `skipped: …` and ends with status 77 where they are
# absent; installs them (Debian's packages) only with --install. All of it lives in --work, on ports of its own, and ends
# with the script; a Slurm of the host is not touched.
set -euo pipefail

program=$(dirname "$0")/../../target/release/brainscore
shards=8 checkpoints=8 layers=all unique=best demo='' work='' install=no
while (($#)); do
    case $1 in
        --program) program=$2; shift 2 ;;
        --shards) shards=$2; shift 2 ;;
        --checkpoints) checkpoints=$2; shift 2 ;;
        --layers) layers=$2; shift 2 ;;
        --unique) unique=$2; shift 2 ;;
        --demo) demo=$2; shift 2 ;;
        --work) work=$2; shift 2 ;;
        --install) install=yes; shift ;;
        *) echo "unknown: $1" >&2; exit 2 ;;
    esac
done
program=$(realpath "$program")
skipped() { echo "skipped: $1"; exit 77; }
[[ $(id -u) == 0 ]] || skipped "only root can run slurmd"
if [[ $install == yes ]]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurmctld slurmd slurm-client munge
fi
for name in slurmctld slurmd sinfo sbatch munged; do
    PATH=$PATH:/usr/sbin command -v "$name" >/dev/null || skipped "no $name (tests/slurm/run.sh --install installs Slurm)"
done
export PATH=$PATH:/usr/sbin

own=''
if [[ -z $work ]]; then work=$(mktemp -d) own=$work; fi
mkdir -p "$work"
work=$(realpath "$work")
# Slurm's own files: its options take no blanks.
cluster=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$cluster" ${own:+"$own"}
}
trap finish EXIT

mkdir -m 700 "$cluster/munge" "$cluster/state" "$cluster/spool"
chmod 755 "$cluster"
(umask 077 && head -c 128 /dev/urandom >"$cluster/munge/key")
munged --foreground --force --key-file="$cluster/munge/key" --socket="$cluster/munge/socket" \
    --pid-file="$cluster/munge/pid" --log-file="$cluster/munge/log" --seed-file="$cluster/munge/seed" >"$cluster/munged.out" 2>&1 &
started+=($!)
host=$(hostname -s)
cat >"$cluster/slurm.conf" <<EOF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$cluster/munge/socket
CredType=cred/munge
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$shards RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
export SLURM_CONF=$cluster/slurm.conf
until [[ -S $cluster/munge/socket ]]; do
    kill -0 "${started[0]}" 2>/dev/null || { cat "$cluster/munged.out"; skipped "munged does not start here"; }
    sleep 0.05
done
slurmctld -D >"$cluster/slurmctld.out" 2>&1 &
started+=($!)
slurmd -D >"$cluster/slurmd.out" 2>&1 &
started+=($!)
for ((i = 0; ; i++)); do
    [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && break
    if ((i > 400)) || ! kill -0 "${started[1]}" "${started[2]}" 2>/dev/null; then
        tail -n 5 "$cluster"/slurm*.log "$cluster"/slurm*.out
        skipped "Slurm does not start here"
    fi
    sleep 0.05
done
echo "$(sinfo --version), $(sinfo --noheader --format='%D node, %c CPUs, %T')"

cd "$work"
if [[ -z $demo ]]; then
    "$program" compare --demo --out demo >/dev/null 2>&1
    demo=$work/demo/demo
fi
{
    printf '[[checkpoint]]\nlabel="base"\npath="%s/checkpoints/base"\n' "$demo"
    printf '[[checkpoint]]\nlabel="tuned"\npath="%s/checkpoints/tuned"\nbase="base"\n' "$demo"
    for ((i = 0; i < checkpoints - 2; i++)); do
        printf '[[checkpoint]]\nlabel="untrained-%s"\npath="untrained:%s:%s/checkpoints/base"\nbase="base"\n' $i $i "$demo"
    done
} >list.toml
plan=(--checkpoints list.toml --study "$demo/study.toml" --layers "$layers" --unique "$unique" --threads 1 --no-cache)
SECONDS=0
"$program" compare "${plan[@]}" --out single >/dev/null 2>&1
echo "one run, one thread: $SECONDS s"

out="it's \$(in) shards"
show() { printf '$'; printf ' %q' "$@"; printf '\n'; }
run=("$program" slurm "${plan[@]}" --out "$out" --shards "$shards" --mem 2G --time 30:00 --submit)
show brainscore "${run[@]:1}"
SECONDS=0
submitted=$("${run[@]}" 2>/dev/null)
echo "$submitted"
job=$(sed -n 's/^submitted: array job \([0-9]*\),.*/\1/p' <<<"$submitted")
claims=".$out.units/claims"
# A shard that has claimed something and not finished it.
until [[ -n $(ls "$claims/2-of-$shards" 2>/dev/null) ]]; do sleep 0.02; done
pid=$(sed -n 's/^process \([0-9]*\) on .*/\1/p' "$claims/2-of-$shards.lock")
show kill -9 "$pid"
kill -9 "$pid"
show squeue --array
squeue --array --format='%i %j %T' | head -n $((shards + 2))
while [[ -n $(squeue --noheader) ]]; do sleep 0.1; done
echo "array job $job and merge: $SECONDS s"
show brainscore progress "$out"
"$program" progress "$out"
grep -h 'attempt' "$out.slurm/logs/shard-2.log" || { echo "the killed shard was not started again"; exit 1; }
tail -qn 1 "$out".slurm/logs/shard-*.log
[[ -f $out/run.json ]] || { cat "$out.slurm/logs/merge.log"; exit 1; }
for file in single/*.csv single/*.parquet; do
    cmp "$file" "$out/${file#single/}"
done
echo "$(ls single/*.csv single/*.parquet | wc -l) tables are those of the single run, byte by byte"
