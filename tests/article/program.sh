# What the other scripts share: `txt2img`, the program with the model they were asked to use.
#
#   CKPT=FILE     the model; without it, the one the program finds, or the built-in demo model
#   TXT2IMG=PATH  the program, if it is not on the PATH

set -euo pipefail

txt2img() {
    command "${TXT2IMG:-txt2img}" ${CKPT:+--ckpt "$CKPT"} "$@"
}
