#!/usr/bin/env bash
# Stemma itself, of this checkout: stemma.sh install FOLDER; stemma.sh serve FOLDER MODEL PORT
# ARENA_PYTHON names an interpreter that has it already, and spares the installation.
set -euo pipefail
command=$1 folder=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
case $command in
install)
    python3 -m venv "$folder"
    "$folder/bin/pip" install --extra-index-url https://download.pytorch.org/whl/cpu "$root"
    ;;
serve)
    exec "${ARENA_PYTHON:-$folder/bin/python}" -m stemma serve "$3" --port "$4" --log-level warning
    ;;
esac
