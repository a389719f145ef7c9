#!/usr/bin/env bash
# Makes a release for the kind of machine that it runs on, in target/release-archives/:
#
#   deploy/release.sh [FEATURES]      FEATURES: cuda, for NVIDIA GPUs
#
#   txt2img-VERSION-TARGET[-FEATURES].tar.gz, with a folder of the same name:
#     txt2img img2img                   the program, stripped, under both names
#     txt2img-cuda                      with the feature cuda: the program that these hand over to if it starts
#     completions/                      of their flags, for bash, zsh, fish and PowerShell
#     man/                              their manual pages
#     README.md CHANGELOG.md LICENSE
#     licenses/                         of what is compiled into the programs (see deploy/licenses.sh)
#     SHA256SUMS                        of all of these
#   txt2img-VERSION-TARGET[-FEATURES].tar.gz.sha256
#
# It also prints what the programs consist of, by size. The same commit, compiler and libraries give the same archive: files are
# sorted and dated by the commit (or by SOURCE_DATE_EPOCH), and the programs contain no path of this machine.
#
# Needs Rust, a C compiler, strip, git and GNU tar (TAR=gtar on macOS). With cuda, set up CUDA first: see deploy/cuda.sh.
set -euo pipefail
export LC_ALL=C
umask 022
cd "$(dirname "$0")/.."
features=${1:-}
tar=${TAR:-tar}
"$tar" --version | grep -q 'GNU tar' || { echo "release.sh: $tar is not GNU tar; set TAR to it" >&2; exit 1; }

target=$(rustc -vV | sed -n 's/^host: //p')
version=$(cargo pkgid)
version=${version##*[#@]}
name=txt2img-$version-$target${features:+-${features//[ ,]/-}}
archives=target/release-archives
folder=$archives/$name
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH=$date
[ -z "$(git status --porcelain)" ] || echo "release.sh: note: files differ from the last commit" >&2

# Link-time optimisation removes candle's calls of its products of quantized matrices, which this program does not use, before
# their library is linked. With it, the CUDA program is 32 MB smaller.
export CARGO_PROFILE_RELEASE_LTO=thin
# An explicit target keeps this build apart from target/release, and the flags away from build scripts.
us=$(printf '\037')
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo$us--remap-path-prefix=$PWD=txt2img"
built=target/$target/release
rm -rf "$folder"
mkdir -p "$folder"/{completions,man}
build() { # FEATURES NAME
    cargo build --release --locked --bin txt2img --target "$target" --features "$1"
    cp "$built/txt2img" "$folder/$2"
    strip "$folder/$2"
}
if [ -n "$features" ]; then build "$features" "txt2img-${features//[ ,]/-}"; fi
build "" txt2img
# The program is img2img if its file is called so.
ln "$folder/txt2img" "$folder/img2img"
cp README.md CHANGELOG.md LICENSE "$folder/"
deploy/licenses.sh "$folder/licenses" "$features" "$target"

for program in txt2img img2img; do
    "$folder/$program" --completions bash > "$folder/completions/$program.bash"
    "$folder/$program" --completions zsh > "$folder/completions/_$program"
    "$folder/$program" --completions fish > "$folder/completions/$program.fish"
    "$folder/$program" --completions powershell > "$folder/completions/_$program.ps1"
    "$folder/$program" --man > "$folder/man/$program.1"
done

sha256() { if command -v sha256sum > /dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }
size() { wc -c < "$1" | tr -d ' '; }
files=$(cd "$folder" && find . -type f | sed 's|^\./||' | sort)
(cd "$folder" && while read -r file; do sha256 "$file"; done <<< "$files" > SHA256SUMS)
"$tar" --create --directory="$archives" --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner --format=gnu "$name" |
    gzip -9 -n > "$folder.tar.gz"
(cd "$archives" && sha256 "$name.tar.gz" > "$name.tar.gz.sha256")

# The files that the sources embed.
embedded() {
    grep -roE 'include_(bytes|str)!\("[^"]+"\)' src --include='*.rs' | while IFS=: read -r source include; do
        path=$(dirname "$source")/$(expr "$include" : '.*"\(.*\)"')
        echo "$(cd "$(dirname "$path")" && pwd)/${path##*/}"
    done | sed "s|^$PWD/||" | sort -u
}
total=$(size "$folder/txt2img")
rest=$total
row() { printf '%12d %5.1f%%  %s\n' "$1" "$(awk "BEGIN { print 100 * $1 / $total }")" "$2"; }
echo "Bytes of txt2img:"
row "$total" "total"
while read -r file; do
    row "$(size "$file")" "$file"
    rest=$((rest - $(size "$file")))
done <<< "$(embedded)"
row "$rest" "code and tables of this project and of $(wc -l < "$folder/licenses/crates.txt" | tr -d ' ') crates"
echo "$folder.tar.gz: $(size "$folder.tar.gz") bytes"
