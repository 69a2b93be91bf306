#!/usr/bin/env bash
# llama.cpp's server, from the sources that llama-cpp-python carries (the binding's own server takes no token ids):
# llama_cpp.sh install FOLDER; llama_cpp.sh prepare|serve FOLDER MODEL PORT. Needs cmake, ninja and a C++ compiler.
# MODEL is a Hugging Face folder, converted once by prepare. FORMAT: bf16 (default), q8_0 or q4_0; SLOTS (32);
# CONTEXT (40960), of all slots together.
set -euo pipefail
command=$1 folder=$2 version=0.3.36 format=${FORMAT:-bf16} threads=$(nproc)
name=$folder/$(basename "${3:-}")
sources=$folder/llama_cpp_python-$version/vendor/llama.cpp
case $command in
install)
    export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
    python3 -m venv "$folder"
    "$folder/bin/pip" install scikit-build-core gguf sentencepiece protobuf safetensors transformers==5.23.0 torch==2.13.0
    "$folder/bin/pip" download --no-deps --no-binary :all: --no-build-isolation --dest "$folder" \
        "llama-cpp-python==$version"
    tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder"
    cd "$sources"
    # gcc 12 may move the stores of the tile configuration behind its load, which then faults.
    sed -i 's|^    _tile_loadconfig(&tc);|    __asm__ volatile("" :: "m"(tc) : "memory");\n    _tile_loadconfig(\&tc);|' \
        ggml/src/ggml-cpu/amx/mmq.cpp
    cmake -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF
    cmake --build build --target llama-server llama-quantize -j2
    ;;
prepare)
    if [ ! -f "$name-bf16.gguf" ]; then
        "$folder/bin/python" "$(dirname "${BASH_SOURCE[0]}")/../llama_cpp_convert.py" "$sources" "$3" "$name-bf16.gguf"
    fi
    if [ ! -f "$name-$format.gguf" ]; then
        "$sources/build/bin/llama-quantize" --pure "$name-bf16.gguf" "$name-$format.gguf" "${format^^}" "$threads"
    fi
    ;;
serve)
    exec "$sources/build/bin/llama-server" -m "$name-$format.gguf" --port "$4" -t "$threads" -tb "$threads" \
        -np "${SLOTS:-32}" -c "${CONTEXT:-40960}" --no-kv-unified -b 2048 -ub 512 -fa on --no-webui
    ;;
esac
