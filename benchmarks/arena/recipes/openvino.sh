#!/usr/bin/env bash
# OpenVINO GenAI: openvino.sh install FOLDER; openvino.sh serve FOLDER MODEL PORT
# MODEL is a Hugging Face folder, exported once; FORMAT: fp16 (default) or int8. CACHE_GB: memory of its cache (5).
set -euo pipefail
command=$1 folder=$2
case $command in
install)
    python3 -m venv "$folder"
    "$folder/bin/pip" install --extra-index-url https://download.pytorch.org/whl/cpu \
        openvino-genai==2026.4.1.0 openvino-tokenizers "optimum-intel[nncf,openvino]" torch==2.13.0 starlette uvicorn
    "$folder/bin/pip" uninstall --yes torchvision
    ;;
serve)
    format=${FORMAT:-fp16}
    exported=$folder/$(basename "$3")-$format
    if [ ! -d "$exported" ]; then
        "$folder/bin/optimum-cli" export openvino -m "$3" --task text-generation-with-past \
            --weight-format "$format" "$exported" >&2
    fi
    exec "$folder/bin/python" "$(dirname "${BASH_SOURCE[0]}")/../openvino_server.py" "$exported" "$4"
    ;;
esac
