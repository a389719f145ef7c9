#!/usr/bin/env bash
# Draws on file systems with missing features: with errors injected into system calls, which needs strace, and as root also
# on exFAT through FUSE, which needs exfat-fuse and mkfs.exfat. Prints a line per case; exits with 1 if one fails.
# Usage: tests/file_systems/check.sh, after cargo build --release
set -u
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
failed=0
loop=

cleanup() {
    umount "$work/exfat" 2>/dev/null
    [ -n "$loop" ] && losetup -d "$loop"
    rm -rf "$work"
}
trap cleanup EXIT

# Arguments: OUTDIR, and the command that runs the program.
draw() {
    local outdir=$1
    shift
    "$@" target/release/txt2img --config tests/fixtures/nano.yaml --ckpt tests/fixtures/nano.ckpt --safety off \
        --H 64 --W 64 --ddim_steps 2 --n_iter 2 --n_samples 1 --save_intermediates 1 --skip_watermark \
        --report "$outdir-report.json" --resume --outdir "$outdir" >"$work/said" 2>&1
}

# Arguments: the case, OUTDIR, and the command that runs the program. Runs twice, as the second run finds the files of the
# first.
check() {
    local case=$1 outdir=$2 files
    shift 2
    if draw "$outdir" "$@" && draw "$outdir" "$@"; then
        files=$(cd "$outdir" && find . -name '*.png' -size +0 | wc -l)
        [ "$files" = 7 ] && [ ! -e "$outdir/samples/00000-2.png" ] && echo "ok      $case" && return
    fi
    echo "failed  $case: $(tail -n 1 "$work/said")"
    failed=1
}

inject() {
    check "$*" "$work/$((++n))" strace -f -o /dev/null -e "inject=$1" ${2:+-e "inject=$2"}
}

n=0
for error in ENOLCK EINVAL EBADF ENOSYS EOPNOTSUPP; do inject "flock:error=$error"; done
for error in EINVAL ENOSYS EBADF; do inject "fsync,fdatasync:error=$error"; done
for error in EPERM EOPNOTSUPP EACCES; do inject renameat2:error=EINVAL "link,linkat:error=$error"; done

if [ "$(id -u)" = 0 ] && command -v mount.exfat-fuse mkfs.exfat >/dev/null; then
    truncate -s 16M "$work/image"
    mkfs.exfat "$work/image" >/dev/null
    mkdir "$work/exfat"
    loop=$(losetup -f --show "$work/image")
    mount.exfat-fuse "$loop" "$work/exfat" >/dev/null && check "exFAT through FUSE" "$work/exfat/out"
fi
exit $failed
