#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, without accounting, for the tests. It needs root,
# Debian's slurm-wlm and munge, and a machine that belongs to no cluster.
#     tests/slurm.sh start FOLDER    its logs and state go to FOLDER
#     tests/slurm.sh stop FOLDER
set -euo pipefail
folder=$2
settings=/etc/slurm/slurm.conf # not $SLURM_CONF: the plugin's jobs do not pass that on
gpus=/etc/slurm/gres.conf
munge=(--socket="$folder/munge.socket")
PATH=$PATH:/usr/sbin

start() {
    mkdir -p "$folder/state" "$folder/spool"
    (umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
    munged --force "${munge[@]}" --key-file="$folder/munge.key" --seed-file="$folder/munge.seed" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" 2> /dev/null
    printf 'Name=gpu File=/dev/%s\n' null zero full random > "$gpus" # any devices will do
    cat > "$settings" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=300
KillWait=5
ReturnToService=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:4 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld
    slurmd
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && return
        sleep 0.2
    done
    tail -n 3 "$folder"/*.log >&2
    return 1
}

stop() {
    for daemon in slurmd slurmctld; do
        [ -f "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")"
    done
    rm "$settings" "$gpus"
    munged --stop "${munge[@]}" > /dev/null 2>&1
}

"$1"
