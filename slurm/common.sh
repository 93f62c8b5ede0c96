# Functions that the batch scripts beside this file share; sourced, never submitted.
#
# train KIND CONFIG [KEY=VALUE]...  starts the ranks, passes warnings on to them, and has the job requeued where another
# start makes sense. KIND is pretrain, finetune or evaluate: launch/KIND.py is what runs. The knobs that the scripts
# explain are read here.
# shellcheck shell=bash

set -u

say() { printf '[%s] job %s: %s\n' "$(date +%T)" "$SLURM_JOB_ID" "$*"; }

stop() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

[[ -n ${SLURM_JOB_ID:-} ]] || stop "this is a batch script; submit it: sbatch slurm/$(basename "$0") CONFIG [KEY=VALUE]..."
[[ -n ${ROOT:-} ]] || stop "ROOT is not set: source this file from a script in slurm/"

if [[ -n ${SETUP:-} ]]; then
    # shellcheck disable=SC1090
    source "$SETUP" || stop "$SETUP: the file that SETUP names fails; mend it"
fi
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$ROOT/.venv/bin/python
    [[ -x $PYTHON ]] || PYTHON=python3
fi
# Named by a path that a container sees, too.
export ROOT PYTHON
export TASKS=${TASKS:-rank}
[[ $TASKS == rank || $TASKS == node ]] || stop "TASKS=$TASKS: give rank or node"
[[ ${MAX_FAILURES:-3} =~ ^[1-9][0-9]*$ ]] || stop "MAX_FAILURES=$MAX_FAILURES: give a number"
export PYTHONUNBUFFERED=1
if [[ -n ${IFNAME:-} ]]; then
    export NCCL_SOCKET_IFNAME=$IFNAME GLOO_SOCKET_IFNAME=$IFNAME
fi
export NODE_DIR=${NODE_DIR:-${TMPDIR:-/tmp}/webtext-$(id -un)}

# CONTAINER is options of srun (they begin with --), or a command that is put in front of Python.
CONTAINER=${CONTAINER:-}
STEP_OPTIONS=()
export IN_FRONT=
if [[ $CONTAINER == --* ]]; then
    read -r -a STEP_OPTIONS <<<"$CONTAINER"
else
    IN_FRONT=$CONTAINER
fi

# look_at SCRIPT PACKAGE WORD...: stop on what is wrong before anything is started. Words stand behind the script's name;
# the package is one that its work needs.
look_at() {
    local script=$1 package=$2 word found code
    shift 2
    (($#)) || stop "no config: sbatch slurm/$script CONFIG [KEY=VALUE]..."
    for word; do
        [[ $word != -* ]] || stop "$word stands behind the script: sbatch $word slurm/$script CONFIG [KEY=VALUE]..."
    done
    found=$(python_here -c "import sys, importlib.util as util
sys.exit(None if util.find_spec('$package') else 'no package $package')" 2>&1)
    code=$?
    # What a signal has ended may be well on another host: the ranks will tell.
    ((code == 0 || (code > 128 && code < 192))) && return
    found=${found:-exit code $code} found=${found%%$'\n'*}
    [[ ! $found =~ line\ [0-9]+:\ (.*) ]] || found=${BASH_REMATCH[1]} # bash says where in this file
    stop "$(hostname): ${CONTAINER:+$CONTAINER }$PYTHON: $found; make install, or mend PYTHON, SETUP, CONTAINER"
}

# python_here ARGUMENT...: Python on this node, in the container if there is one.
python_here() {
    local words=()
    read -r -a words <<<"$IN_FRONT"
    if ((${#STEP_OPTIONS[@]})); then
        srun --overlap --nodes=1 --ntasks=1 --input=none "${STEP_OPTIONS[@]}" "$PYTHON" "$@"
    else
        ${words[@]+"${words[@]}"} "$PYTHON" "$@"
    fi
}

# wait_for PID SIGNAL: wait until the process has ended; `code` is its exit code. A warning to this job (USR1, TERM) sets
# `signalled` and is passed on as SIGNAL.
wait_for() {
    local pid=$1 signal=$2 again=1
    code=0 signalled=
    trap 'signalled=1 again=1; say "asked to stop; SIG$signal to the processes"; kill -"$signal" "$pid" 2>/dev/null' USR1 TERM
    while [[ -n $again ]]; do
        again=
        wait "$pid" # a trapped signal ends the wait, not the process
        code=$?
    done
    trap '' USR1 TERM
}

# requeue CODE [HOSTS]: let Slurm start this job again, without HOSTS; ends this script. CODE is for a job that cannot be
# requeued.
requeue() {
    local code=$1 hosts=${2:-} ending='' job state excluded
    job=$(scontrol show job --oneliner "$SLURM_JOB_ID")
    state=$(sed -n 's/.* JobState=\([A-Z_]*\) Reason=\([A-Za-z]*\).*/\1 \2/p' <<<"$job")
    case $state in
    "RUNNING "* | *" TimeLimit") ;; # at the limit itself there are still KillWait seconds
    *) # Slurm requeues it already, or the user has cancelled it.
        say "not requeued by this script: Slurm has it as $state"
        exit "$code"
        ;;
    esac
    # The requeue ends all processes of this job, and these commands must outlive it.
    trap 'ending=1' TERM
    (trap '' TERM && exec scontrol requeue "$SLURM_JOB_ID") || {
        say "Slurm does not requeue it"
        exit "$code"
    }
    if [[ -n $hosts ]]; then # Slurm takes this for waiting jobs only
        excluded=$(sed -n 's/.* ExcNodeList=\([^ ]*\).*/\1/p' <<<"$job")
        [[ -z $excluded || $excluded == "(null)" ]] || hosts=$excluded,$hosts
        (trap '' TERM && exec scontrol update JobId="$SLURM_JOB_ID" ExcNodeList="$hosts") &&
            say "from now on without $hosts"
    fi
    [[ -z $ending ]] || exit "$code"
    trap - TERM
    sleep 3600 # Slurm ends this script; were it to end itself, that could be taken for the job's own end
    exit "$code"
}

# know_the_end: the run stops before its job does (health.stop_margin_minutes); older versions of Slurm do not say when.
know_the_end() {
    local end
    [[ -z ${SLURM_JOB_END_TIME:-} ]] || return 0
    end=$(scontrol show job --oneliner "$SLURM_JOB_ID" | sed -n 's/.* EndTime=\([0-9][^ ]*\).*/\1/p')
    [[ -n $end ]] || return 0 # no limit
    SLURM_JOB_END_TIME=$(date -d "$end" +%s)
    export SLURM_JOB_END_TIME
}

# ranks_per_node: as asked of sbatch; else one for each GPU; else one.
ranks_per_node() { echo "${SLURM_NTASKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}"; }

# train KIND CONFIG [KEY=VALUE]...
train() {
    local kind=$1 tasks cpus errors hosts
    shift
    look_at "$kind.sbatch" deepspeed "$@"
    # Before this is done a signal ends the script, and Slurm decides.
    python_here "$ROOT/launch/requeue.py" begin "$kind" "$@" || exit
    RANKS=$(ranks_per_node)
    export RANKS
    tasks=$RANKS
    [[ $TASKS == rank ]] || tasks=1
    # srun gives each task one core unless told otherwise.
    cpus=${SLURM_CPUS_PER_TASK:-$((${SLURM_CPUS_ON_NODE:-$tasks} / tasks))}
    know_the_end
    errors=$(mktemp)
    say "$((SLURM_JOB_NUM_NODES * RANKS)) ranks on $SLURM_JOB_NODELIST, rendezvous ${MASTER_ADDR:-of Slurm}"
    # Ranks are numbered node by node, so that tensor-parallel neighbours share one.
    srun --kill-on-bad-exit=1 --wait=60 --input=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node="$tasks" \
        --distribution=block \
        --cpus-per-task="$((cpus > 1 ? cpus : 1))" ${STEP_OPTIONS[@]+"${STEP_OPTIONS[@]}"} \
        bash "$ROOT/slurm/task.sh" "$ROOT/launch/$kind.py" "$@" 2> >(tee >(grep --line-buffered '^srun: error: ' >"$errors") >&2) &
    wait_for $! USR1
    hosts=$(python_here "$ROOT/launch/requeue.py" end "$kind" "$@" --code "$code" ${signalled:+--signalled} \
        --srun-errors "$errors" --max-failures "${MAX_FAILURES:-3}")
    code=$?
    rm -f "$errors"
    case $code in
    10) requeue 75 "$hosts" ;;
    *) exit "$code" ;;
    esac
}

# prepare_data CONFIG [KEY=VALUE]...: data-prep run, requeued when it is asked to stop.
prepare_data() {
    CONTAINER='' IN_FRONT='' STEP_OPTIONS=() # its tasks run in none
    look_at data_prep.sbatch datatrove "$@"
    "$PYTHON" -m data_prep.cli run "$@" --executor "${EXECUTOR:-slurm}" ${WORKERS:+--workers "$WORKERS"} &
    wait_for $! TERM
    if [[ -n $signalled && $code != 0 ]]; then
        requeue 75
    fi
    if [[ $code == 0 && -n ${DONE_FILE:-} ]]; then # launch/submit.py looks for it
        : >"$DONE_FILE"
    fi
    exit "$code"
}
