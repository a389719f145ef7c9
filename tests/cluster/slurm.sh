#!/usr/bin/env bash
# The tasks of a Slurm array draw the same files as one process, byte for byte, although one of them and then the node fail.
#
#     tests/cluster/slurm.sh
#
# TXT2IMG is the path of the program (default: target/release/txt2img). Needs Slurm and munge of Debian or Ubuntu, which it
# installs as root in a container. If they are not available, it says so and exits with 0.
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")/../.."
. tests/cluster/local_slurm.sh

export TXT2IMG=${TXT2IMG:-$PWD/target/release/txt2img}
[[ -x $TXT2IMG ]] || { echo "no $TXT2IMG; cargo build --release makes it" >&2; exit 1; }
if ! install_slurm; then
    echo "skipped: no Slurm here, and none that could be installed"
    exit 0
fi

own=$(mktemp -d)
chmod 755 "$own" # munge wants that
trap 'stop_slurm; rm -rf "$own"' EXIT
start_slurm "$own/slurm"

for i in {1..64}; do echo "a photo of cube number $i"; done >"$own/prompts.txt"
flags=(--from-file "$own/prompts.txt" --n_samples 2 --n_iter 1 --H 64 --W 64 --ddim_steps 100 --threads 1 --safety off
    --config tests/fixtures/nano.yaml --ckpt tests/fixtures/nano.ckpt)

has_picture() {
    [[ -e $own/shared/samples/$1.png ]]
}

# is STATE JOB
is() {
    [[ $(scontrol show job "$2") == *JobState=$1\ * ]]
}

"$TXT2IMG" "${flags[@]}" --outdir "$own/one"

array=$(sbatch --parsable --cpus-per-task=1 --output="$slurm/task-%a.out" deploy/slurm.sbatch "${flags[@]}" \
    --outdir "$own/shared")

# Task 2 draws batch 2, with pictures 4 and 5, and every eighth batch after it.
until_true 'task 2 draws' has_picture 00004
kill -9 "$(task_process "$array" 2)"
until_true 'task 2 has failed' is FAILED "${array}_2"
scontrol requeue "${array}_2"

until_true 'task 5 draws' has_picture 00010
crash_node
if "$TXT2IMG" --outdir "$own/shared" --collect; then
    echo "a run that lacks pictures was called complete" >&2
    exit 1
fi
start_node

collect=$(sbatch --parsable --dependency="afterany:$array" --output="$slurm/collect.out" \
    --wrap "$TXT2IMG --outdir $own/shared --collect")
until_true 'all is drawn and collected' is COMPLETED "$collect"
cat "$slurm/collect.out"
restarted=$(scontrol show job "$array" | grep -c 'Restarts=[1-9]')
echo "$restarted of 8 tasks were started again"
((restarted > 1))
diff -r "$own/one/samples" "$own/shared/samples"
cmp "$own/one/grid-0000.png" "$own/shared/grid-0000.png"
