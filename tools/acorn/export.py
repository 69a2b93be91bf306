"""Put the weights of a run that is still going into acorn's folder: `python -m tools.acorn.export`."""

import argparse
from pathlib import Path

import torch

from tools.acorn.checkpoint import folder_bytes, save_weights


def main() -> None:
    """Write the slow mean of a run's weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("/tmp/acorn/state.pt"))
    parser.add_argument("--folder", type=Path, default=Path("models/acorn"))
    options = parser.parse_args()
    state = torch.load(options.state, map_location="cpu")
    save_weights(state["mean"], options.folder)
    print(f"{options.folder}: step {state['counts'][0]}, {folder_bytes(options.folder):,} bytes")


if __name__ == "__main__":
    main()
