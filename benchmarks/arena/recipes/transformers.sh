#!/usr/bin/env bash
# transformers, static batches: transformers.sh install FOLDER; transformers.sh prepare|serve FOLDER MODEL PORT
# ARENA_PYTHON names an interpreter that has it already, and spares the installation.
set -euo pipefail
command=$1 folder=$2
case $command in
install)
    export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
    python3 -m venv "$folder"
    "$folder/bin/pip" install \
        torch==2.13.0 transformers==5.23.0 starlette uvicorn
    ;;
prepare) ;;
serve)
    exec "${ARENA_PYTHON:-$folder/bin/python}" "$(dirname "${BASH_SOURCE[0]}")/../transformers_server.py" "$3" "$4"
    ;;
esac
