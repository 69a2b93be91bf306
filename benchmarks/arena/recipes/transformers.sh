#!/usr/bin/env bash
# transformers, static batches: transformers.sh install FOLDER; transformers.sh serve FOLDER MODEL PORT
# ARENA_PYTHON names an interpreter that has it already, and spares the installation.
set -euo pipefail
command=$1 folder=$2
case $command in
install)
    python3 -m venv "$folder"
    "$folder/bin/pip" install --extra-index-url https://download.pytorch.org/whl/cpu \
        torch==2.13.0 transformers==5.23.0 starlette uvicorn
    ;;
serve)
    exec "${ARENA_PYTHON:-$folder/bin/python}" "$(dirname "${BASH_SOURCE[0]}")/../transformers_server.py" "$3" "$4"
    ;;
esac
