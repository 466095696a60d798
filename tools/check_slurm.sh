#!/bin/bash
# A real Slurm in a fresh folder, on loopback alone: an array of four shards of 24 cases as in examples/cluster, one
# task requeued in the middle, merged to the bytes of one process. Needs Debian's slurm-wlm, slurm-wlm-basic-plugins
# and munge, python3, root.
#   tools/check_slurm.sh target/release/medsegx
# Without them it is skipped; where MEDSEGX_REQUIRE lists `slurm`, it fails.
set -euo pipefail
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
missing=
for program in munged slurmctld slurmd sbatch; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing="$missing $program"
done
[ "$(id -u)" = 0 ] || missing="$missing root"
if [ -n "$missing" ]; then
    echo "SKIPPED batch under a real Slurm: not there:$missing"
    [[ ",${MEDSEGX_REQUIRE:-}," != *,slurm,* ]]
    exit
fi
PATH=$PATH:/usr/sbin
B=$(mktemp -d)
chmod 755 "$B" # munged wants its socket reachable by all
H=$(uname -n | cut -d. -f1)
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
export SLURM_CONF=$B/slurm.conf
stop() {
    local code=$?
    if [ "$code" != 0 ]; then
        tail -n 5 "$B"/job/logs/* || true
        scontrol show job || true
    fi
    scontrol shutdown >"$B/stop.log" 2>&1 || true
    if [ -f "$B/munged.pid" ]; then kill "$(cat "$B/munged.pid")" || true; fi
    # The daemons end by themselves, and write until then.
    for _ in $(seq 50); do
        rm -rf "$B" 2>/dev/null && break
        sleep 0.1
    done
}
trap stop EXIT

mkdir -p "$B/state" "$B/job/logs"
head -c 1024 /dev/urandom >"$B/munge.key"
chmod 600 "$B/munge.key"
cat >"$SLURM_CONF" <<CONF
ClusterName=ci
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
AuthInfo=socket=$B/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$B/state
SlurmdSpoolDir=$B/spool.%n
SlurmctldPidFile=$B/slurmctld.pid
SlurmdPidFile=$B/slurmd.%n.pid
SlurmctldLogFile=$B/slurmctld.log
SlurmdLogFile=$B/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1
ReturnToService=2
NodeName=n1 NodeHostname=$H NodeAddr=127.0.0.1 Port=$(port) CPUs=2
NodeName=n2 NodeHostname=$H NodeAddr=127.0.0.1 Port=$(port) CPUs=2
PartitionName=ci Nodes=ALL Default=YES
CONF
munged --key-file="$B/munge.key" --socket="$B/munge.sock" --pid-file="$B/munged.pid" --log-file="$B/munged.log" \
    --seed-file="$B/munged.seed"
slurmctld
slurmd -N n1
slurmd -N n2
for _ in $(seq 200); do
    [ "$(sinfo -h -o %t | sort -u)" = idle ] && break
    sleep 0.1
done
# An idle node proves little: a job has to run.
(cd "$B" && sbatch --wait -o /dev/null --wrap true)

python3 "$here/check_batch.py" --make "$B/job" --count 24
cd "$B/job"

"$binary" batch manifest.csv --out clean --quiet
export MEDSEGX=$binary
# Two tasks at a time on any machine, and no memory to share out: this Slurm has one core a task and no limit of memory.
flags="--parsable --mem=0 --cpus-per-task=1"
array=$(sbatch $flags "$here/../examples/cluster/slurm-array.sh")
for _ in $(seq 600); do
    [ "$(find results/.medsegx/cases -name '*.json' 2>/dev/null | wc -l)" -ge 1 ] && break
    sleep 0.05
done
scontrol requeue "${array}_0" || scontrol requeue "${array}_1"
for _ in $(seq 200); do
    pending=$(squeue -h -r -j "$array" -o '%K %r' | awk '$2 == "BeginTime" { task = $1 } END { print task }')
    [ -n "$pending" ] && break
    sleep 0.1
done
[ -n "$pending" ]
# A requeue revokes the job's credential by whole seconds: a start within the same second would be refused as killed.
sleep 2
scontrol update "jobid=${array}_$pending" StartTime=now
sbatch $flags --wait --dependency="afterany:$array" "$here/../examples/cluster/slurm-merge.sh" || [ $? = 3 ]
# Seen now and then: the dependency holds while the requeued task still waits. The merge may run again at any time.
for _ in $(seq 600); do
    [ -z "$(squeue -h -j "$array")" ] && break
    sleep 0.1
done
sbatch $flags --wait "$here/../examples/cluster/slurm-merge.sh"
# Into a variable: a reader that stops early would end scontrol by SIGPIPE, and with it this script.
shown=$(scontrol show job "$array")
states=$(grep -o 'JobState=[A-Z]*' <<<"$shown" | sort | uniq -c)
grep -q 'Restarts=1' <<<"$shown"
echo "$states"
[ "$(echo "$states" | wc -l)" = 1 ] && [[ "$states" == *COMPLETED* ]]
python3 "$here/check_batch.py" --compare clean results

# A program behind a shell, cancelled in the middle and resumed.
rm -rf results
job=$(sbatch --parsable --mem=0 -o logs/plain.log --wrap "$binary batch manifest.csv --out results --resume; true")
for _ in $(seq 600); do
    [ "$(find results/.medsegx/cases -name '*.json' 2>/dev/null | wc -l)" -ge 3 ] && break
    sleep 0.05
done
scancel "$job"
"$binary" batch manifest.csv --out results --resume --quiet
python3 "$here/check_batch.py" --compare clean results
echo "one requeued task, four shards, one merge, one cancelled job: the bytes of one process"
