#!/usr/bin/env bash
# Stemma itself, of this checkout: stemma.sh install FOLDER; stemma.sh prepare|serve FOLDER MODEL PORT
# FLAGS: further options of `stemma serve`.
# ARENA_PYTHON names an interpreter that has it already, and spares the installation.
set -euo pipefail
command=$1 folder=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
case $command in
install)
    export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
    python3 -m venv "$folder"
    "$folder/bin/pip" install "$root"
    ;;
prepare) ;;
serve)
    exec "${ARENA_PYTHON:-$folder/bin/python}" -m stemma serve "$3" --port "$4" --log-level warning ${FLAGS:-}
    ;;
esac
