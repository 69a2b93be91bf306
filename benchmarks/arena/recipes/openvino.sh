#!/usr/bin/env bash
# OpenVINO GenAI: openvino.sh install FOLDER; openvino.sh prepare|serve FOLDER MODEL PORT
# MODEL is a Hugging Face folder, exported once by prepare. FORMAT: fp16 (default) or int8; CACHE_GB (5).
set -euo pipefail
command=$1 folder=$2 format=${FORMAT:-fp16}
exported=$folder/$(basename "${3:-}")-$format
case $command in
install)
    export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
    python3 -m venv "$folder"
    "$folder/bin/pip" install openvino-genai==2026.4.1.0 openvino-tokenizers \
        "optimum-intel[nncf,openvino]" torch==2.13.0 starlette uvicorn
    "$folder/bin/pip" uninstall --yes torchvision
    ;;
prepare)
    if [ ! -d "$exported" ]; then
        "$folder/bin/optimum-cli" export openvino -m "$3" --task text-generation-with-past \
            --weight-format "$format" "$exported"
    fi
    ;;
serve)
    exec "$folder/bin/python" "$(dirname "${BASH_SOURCE[0]}")/../openvino_server.py" "$exported" "$4"
    ;;
esac
