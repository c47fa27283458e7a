#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests. Its daemons listen on 127.0.0.1 only, and its files lie in one
# folder. Root or a plain user may start it. It has no accounting and no cgroups, and its GPUs are not real.
#   cluster.sh check            checks that the programs exist, and names the packages to install
#   cluster.sh up FOLDER        starts it; FOLDER/bin, first in PATH, has the clients: sbatch, squeue, ...
#   cluster.sh down FOLDER      cancels the jobs, stops the daemons, removes FOLDER
set -euo pipefail

CPUS=4               # may exceed the real number, because jobs mostly wait for each other
MEMORY=32000         # MB, may exceed the real memory
GPUS="/dev/null /dev/zero /dev/full /dev/random"   # devices of every machine that stand in for GPUs
CLIENTS="sbatch srun squeue scancel scontrol sinfo sacct sacctmgr sshare"
export PATH=$PATH:/usr/sbin

check() {
    local program missing=
    for program in munged slurmctld slurmd sbatch; do
        command -v $program > /dev/null || missing+=" $program"
    done
    if [ -n "$missing" ]; then
        echo "The tests of the cluster start a Slurm of their own and need its programs; not found:$missing." >&2
        echo "On Debian or Ubuntu: apt-get install --no-install-recommends munge slurmctld slurmd slurm-client" >&2
        return 1
    fi
}

free_ports() {
    python3 - << 'PYTHON'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in sockets))
PYTHON
}

configure() {
    local folder=$1 host controller node
    host=$(hostname -s)
    read -r controller node < <(free_ports)
    printf "NodeName=$host Name=gpu File=%s\n" $GPUS > "$folder/etc/gres.conf"
    touch "$folder/etc/plugstack.conf"
    cat > "$folder/etc/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=$controller
SlurmdPort=$node
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
PlugStackConfig=$folder/etc/plugstack.conf
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
# KillWait: seconds from SIGTERM to SIGKILL. MinJobAge: seconds for which squeue shows an ended job.
KillWait=5
MinJobAge=7200
# Refuse a job that no node can run, instead of keeping it pending.
EnforcePartLimits=ALL
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY Gres=gpu:$(wc -w <<< "$GPUS") State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=1-00:00:00 State=UP
CONF
    # Wrappers are needed because Snakemake's executor removes SLURM_CONF from the environment of the jobs' srun.
    local client
    for client in $CLIENTS; do
        command -v "$client" > /dev/null || continue
        printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' \
            "$folder/etc/slurm.conf" "$(command -v "$client")" > "$folder/bin/$client"
        chmod +x "$folder/bin/$client"
    done
}

up() {
    local folder=$1
    check
    mkdir -p "$folder"/{bin,etc,log,munge,run,spool,state}
    # munged requires that others can reach its socket, and that nobody else can write to its folder.
    chmod 755 "$folder" "$folder"/*
    head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 600 "$folder/munge/key"
    configure "$folder"
    munged --num-threads=2 --key-file="$folder/munge/key" --seed-file="$folder/munge/seed" \
        --log-file="$folder/log/munged.log" --pid-file="$folder/run/munged.pid" \
        --socket="$folder/run/munge.socket"
    slurmctld -f "$folder/etc/slurm.conf"
    slurmd -f "$folder/etc/slurm.conf"
    for _ in {1..120}; do
        if [ "$("$folder/bin/sinfo" --noheader --format=%T 2> /dev/null)" = idle ]; then
            return
        fi
        sleep 0.5
    done
    echo "The node of the cluster did not come up:" >&2
    tail -n 20 "$folder"/log/*.log >&2
    return 1
}

down() {
    local folder=$1 daemon pid
    timeout 20 "$folder/bin/scancel" --user="$(id -un)" || true
    for _ in {1..60}; do
        [ -n "$(timeout 20 "$folder/bin/squeue" --noheader 2> /dev/null)" ] || break
        sleep 0.5
    done
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$folder/run/$daemon.pid" 2> /dev/null) || continue
        # Another process may have this number now.
        [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = $daemon ] || continue
        kill "$pid"
        for _ in {1..60}; do
            [ -d "/proc/$pid" ] || break
            sleep 0.25
        done
        if [ -d "/proc/$pid" ]; then
            kill -KILL "$pid"
        fi
    done
    rm -rf "$folder"
}

case "${1:-}" in
    check) check ;;
    up | down) "$1" "$(realpath -m "${2:?the folder of the cluster is missing}")" ;;
    *) sed -n 's/^# \?//; 2,6p' "$0" >&2; exit 2 ;;
esac
