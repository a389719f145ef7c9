#!/usr/bin/env bash
# Collects the licences of everything that is compiled into the programs, for archives and images of them.
#
#   deploy/licenses.sh DIR [FEATURES [TARGET]]
#
# Creates DIR with
#
#   txt2img/ clip/ dejavu/    this project's licence, that of CLIP's vocabulary, and that of the font DejaVu Sans
#   rust/                     those of Rust's standard library, if this installation of Rust has them
#   crates/NAME-VERSION/      every licence file of a crate
#   crates.txt                name, version, licence and sources of each crate
#
# Nothing has to be installed for this: `cargo tree` lists the crates that are linked for TARGET (default: this machine) with
# FEATURES, and `cargo metadata` the folders of their sources. Macros and build dependencies are not linked and not listed. A
# few crates do not include the text of their licence; they get the standard text that Rust's installation has, if any.
set -euo pipefail
export LC_ALL=C
dir=${1:?usage: deploy/licenses.sh DIR [FEATURES [TARGET]]}
features=${2:-}
target=${3:-$(rustc -vV | sed -n 's/^host: //p')}
rust=$(rustc --print sysroot)/share/doc/rust
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$(dirname "$0")/.."

mkdir -p "$dir"/{txt2img,clip,dejavu}
cp LICENSE "$dir/txt2img/"
cp models/clip/LICENSE "$dir/clip/"
cp src/output/font/LICENSE "$dir/dejavu/"
if [ -e "$rust/COPYRIGHT-library.html" ]; then
    mkdir -p "$dir/rust"
    cp "$rust"/COPYRIGHT-library.html "$rust"/licenses/{Apache-2.0,BSD-2-Clause,MIT,Unicode-3.0}.txt "$dir/rust/"
fi

# The folder of the sources of $1, a crate's name and version.
sources() {
    local folder
    while read -r folder; do
        if [ "${folder##*/}" = "$1" ]; then
            echo "$folder"
            return
        fi
    done <<< "$folders"
    echo "licenses.sh: cargo metadata names no folder for $1" >&2
    return 1
}

folders=$(cargo metadata --locked --format-version 1 --features "$features" --filter-platform "$target" |
    tr ',' '\n' | sed -n 's/^"manifest_path":"\(.*\)\/Cargo\.toml"$/\1/p')
# (*) marks a crate that was listed before.
crates=$(cargo tree --locked --features "$features" --target "$target" --edges normal,no-proc-macro \
    --prefix none --format '{p}|{l}' |
    sed 's/ (\*)$//' | grep -v '^txt2img v' | sort -u)

while IFS='|' read -r package license; do
    read -r name version _ <<< "$package"
    crate=$name-${version#v}
    echo "$name ${version#v}: $license, https://crates.io/crates/$name/${version#v}"
    from=$(sources "$crate")
    mkdir -p "$dir/crates/$crate"
    # Licences of code that a crate includes are deeper in its folder; their names get the folder's.
    (cd "$from" && find . -type f ! -name '*.rs' \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' \
        -o -iname 'notice*' -o -iname 'unlicense*' \)) | sed 's|^\./||' | while read -r file; do
        cp "$from/$file" "$dir/crates/$crate/${file//\//-}"
    done
    if [ -z "$(ls "$dir/crates/$crate")" ]; then
        for id in $license; do
            if [ -e "$rust/licenses/$id.txt" ]; then cp "$rust/licenses/$id.txt" "$dir/crates/$crate/"; fi
        done
    fi
    rmdir "$dir/crates/$crate" 2>/dev/null || true # if there is no text
done <<< "$crates" > "$dir/crates.txt"
# Registries keep the modes and dates of files as their authors had them.
find "$dir" -type f -exec chmod 644 {} +
