#!/bin/sh
# tests/faults/full_disk.sh: trains on a disk that fills up. The run must end with an error that names a file, and,
# resumed on a larger disk, come to what a run that was never interrupted comes to; resumed on a disk that is read-only
# it must end with an error that names a file. Root alone may mount such a disk.
# Builds the mlp example, unless BIN says in which folder it lies.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${BIN:-}" ]; then
    cargo build --release --example mlp
    BIN="${CARGO_TARGET_DIR:-target}/release/examples"
fi
folder=$(mktemp -d)
mount -t tmpfs -o size=64m none "$folder"
trap 'umount "$folder"; rmdir "$folder"' EXIT
mkdir "$folder/whole" "$folder/full"
train() {
    "$BIN/mlp" --methods chts --epochs 6 --layers 2 --width 48 --sparsity 0.9 --batch 100 --update-interval 17 "$@"
}
train --out "$folder/whole/run" >/dev/null
needed=$(du -sk "$folder/whole/run" | cut -f1)
full=0
# From a disk with no room for the first file to one on which the run fits.
for kilobytes in 0 4 16 64 $((needed / 4)) $((needed / 2)) $((needed * 3 / 4)) $((needed - 16)); do
    mount -t tmpfs -o size=$((kilobytes + 4))k none "$folder/full"
    if train --out "$folder/full/run" >"$folder/out" 2>"$folder/error"; then
        echo "$kilobytes KiB: fits"
    else
        full=$((full + 1))
        tail -n 1 "$folder/error"
        tail -n 1 "$folder/error" | grep -q "^error: .*$folder/full/run.*No space left on device" || exit 1
        mount -o remount,size=64m none "$folder/full"
        resume=$([ -e "$folder/full/run/.lock" ] && echo --resume || true)
        train --out "$folder/full/run" $resume >/dev/null
    fi
    python3 tests/faults/kill.py --compare "$folder/full/run" "$folder/whole/run"
    mount -o remount,ro none "$folder/full"
    if train --out "$folder/full/run" --resume >/dev/null 2>"$folder/error"; then exit 1; fi
    grep -q "^error: .*$folder/full/run.*Read-only file system" "$folder/error" || exit 1
    umount "$folder/full"
done
[ "$full" -gt 0 ]
echo "$full full disks, every run resumed to the end of the uninterrupted one"
