# A Slurm cluster on this machine, with its own daemons, ports and files: `start_slurm FOLDER` and `stop_slurm`.
#
# It has one node of 4 CPUs, whatever the machine has. It leaves nothing running, and does not affect an existing Slurm.

PATH=$PATH:/usr/sbin

# Packages are installed only as root in a container, where nothing starts their daemons.
install_slurm() {
    has_slurm && return
    [[ $EUID == 0 && ! -d /run/systemd/system ]] && command -v apt-get >/dev/null || return
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge \
            procps
    } &>/dev/null
    has_slurm
}

has_slurm() {
    local command
    for command in slurmctld slurmd sbatch munged ps; do
        command -v "$command" >/dev/null || return
    done
}

start_slurm() {
    slurm=$1
    export SLURM_CONF=$slurm/slurm.conf
    mkdir -p "$slurm"/{state,spool}
    (umask 077 && head -c 1024 /dev/urandom >"$slurm/munge.key")
    slurm_conf >"$SLURM_CONF"
    munged --foreground --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" --pid-file="$slurm/munged.pid" \
        --seed-file="$slurm/munged.seed" --log-file="$slurm/munged.log" &>"$slurm/munged.out" &
    munged=$!
    until_true 'munge answers' munge --socket="$slurm/munge.socket" --no-input
    slurmctld -D &>"$slurm/slurmctld.out" &
    slurmctld=$!
    start_node
}

start_node() {
    slurmd -D &>>"$slurm/slurmd.out" &
    slurmd=$!
    until_true 'the node is there' eval '[[ $(sinfo --noheader --format=%t) == @(idle|mix|alloc) ]]'
}

# Simulates a power failure: kills the node's daemon with the tasks and their supervisors.
crash_node() {
    end $slurmd $(task_processes)
    # Slurm considers a task not yet started if it began within BatchStartTimeout plus ten seconds before the node returns.
    sleep 12
}

stop_slurm() {
    end ${slurmd-} $(task_processes) ${slurmctld-} ${munged-}
}

end() {
    kill -9 "$@" || true
    wait "$@" || true
} 2>/dev/null

# Lists the processes of the node's tasks, parents first, beginning with Slurm's own. A supervisor must be killed before the
# process that it watches, or it reports its end.
task_processes() {
    local tasks
    tasks=$(scontrol listpids 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { print $1 }') || true
    if [[ $tasks ]]; then
        # An orphaned process has process 1 as its parent.
        ps -o ppid=,pid= -p "${tasks//$'\n'/,}" | awk '{ if ($1 > 1) print $1; print $2 }'
    fi
}

# Prints the first process of task $2 of array $1.
task_process() {
    scontrol listpids "$(squeue --noheader --array --jobs "$1_$2" --format %A)" | awk '$5 == 0 { print $1 }'
}

# until_true WHAT COMMAND...: waits until COMMAND succeeds, with a time limit.
until_true() {
    local what=$1 end=$((SECONDS + 300))
    shift
    until "$@" &>/dev/null; do
        if ((SECONDS > end)); then
            echo "waited in vain until $what" >&2
            tail -n 20 "$slurm"/*.out >&2
            exit 1
        fi
        sleep 0.1
    done
}

free_port() {
    local port=$1
    while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}

slurm_conf() {
    local host port
    host=$(hostname -s)
    port=$(free_port $((20000 + RANDOM % 10000)))
    cat <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$(free_port $((port + 1)))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A requeued task waits until its credential has expired: for five seconds instead of two minutes.
AuthInfo=socket=$slurm/munge.socket,cred_expire=5
SchedulerParameters=sched_interval=1
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
MailProg=/bin/true
# No cgroups, as containers rarely have them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# The number of CPUs, even if the machine has fewer.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4
PartitionName=all Nodes=$host Default=YES
# A node that returns is used again, and its tasks are requeued.
ReturnToService=2
JobRequeue=1
BatchStartTimeout=1
CONF
}
