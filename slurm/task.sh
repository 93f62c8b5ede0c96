#!/usr/bin/env bash
# What each srun task does: make this node's folders, then become one rank (TASKS=rank), or start all ranks of the node
# and pass signals on to them (TASKS=node). Arguments: the script of launch/ and its own.
set -u

(umask 077 && mkdir -p "$NODE_DIR")
if [[ ! -O $NODE_DIR ]]; then
    echo "error: $(hostname): $NODE_DIR belongs to somebody else; set NODE_DIR to a folder of your own" >&2
    exit 2
fi
export TMPDIR=$NODE_DIR/job-$SLURM_JOB_ID
export TRITON_CACHE_DIR=$NODE_DIR/triton TORCH_EXTENSIONS_DIR=$NODE_DIR/torch-extensions
export TORCHINDUCTOR_CACHE_DIR=$NODE_DIR/inductor MPLCONFIGDIR=$NODE_DIR/matplotlib XDG_CACHE_HOME=$NODE_DIR/cache
mkdir -p "$TMPDIR"

words=()
read -r -a words <<<"$IN_FRONT"
command=(${words[@]+"${words[@]}"} "$PYTHON" "$@")
[[ $TASKS == node ]] || exec "${command[@]}"

export WORLD_SIZE=$((SLURM_STEP_NUM_NODES * RANKS)) LOCAL_WORLD_SIZE=$RANKS
export MASTER_ADDR=${MASTER_ADDR:-$SLURM_LAUNCH_NODE_IPADDR} MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}
pids=()
caught=
trap 'caught=1; kill -USR1 "${pids[@]}"' USR1
trap 'caught=1; kill -TERM "${pids[@]}"' TERM
for ((local = 0; local < RANKS; local++)); do
    RANK=$((SLURM_NODEID * RANKS + local)) LOCAL_RANK=$local "${command[@]}" &
    pids+=($!)
done
for ((left = RANKS; left > 0; )); do
    caught=
    wait -n
    status=$?
    [[ -z $caught ]] || continue
    if ((status)); then # the others end as it did, or wait for it for ever
        (sleep 30 && kill -KILL "${pids[@]}") 2>/dev/null &
        killer=$!
        wait "${pids[@]}"
        kill "$killer" 2>/dev/null
        exit "$status"
    fi
    left=$((left - 1))
done
