# Shared by the other scripts: the function `txt2img`, which runs the program with the requested model.
#
#   CKPT=FILE     the model (default: the program's default model)
#   TXT2IMG=PATH  the program, if it is not on the PATH

set -euo pipefail

txt2img() {
    command "${TXT2IMG:-txt2img}" ${CKPT:+--ckpt "$CKPT"} "$@"
}
