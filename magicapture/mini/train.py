"""Train the embedded base from captioned portraits: first the autoencoder, then the denoiser with its text encoder.

``python -m magicapture.mini.train --data PORTRAITS --run FOLDER --config cpu`` does both, goes on from the last
checkpoint in ``FOLDER`` when there is one, and writes an ordinary diffusers pipeline to ``FOLDER/pipeline``; with
``--export`` it writes the pipeline from the last checkpoint without training on.
"""

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from magicapture.mini.autoencoder import train_vae
from magicapture.mini.config import CONFIGS
from magicapture.mini.data import load_portraits
from magicapture.mini.denoiser import export, train_unet
from magicapture.mini.stage import DEVICE


def main() -> None:
    """Train both stages and write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with metadata.jsonl, 128/ and 256/")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--config", choices=CONFIGS, default="cpu")
    parser.add_argument("--export", action="store_true", help="write the pipeline from the last checkpoint")
    args = parser.parse_args()
    config = CONFIGS[args.config]
    args.run.mkdir(parents=True, exist_ok=True)
    random.seed(config.seed)
    torch.manual_seed(config.seed)
    portraits = load_portraits(args.data, config.vae.size)
    if not args.export:
        done = (args.run / "vae").exists()
        vae = AutoencoderKL.from_pretrained(args.run / "vae") if done else train_vae(config, portraits, args.run)
        train_unet(config, portraits, vae.to(DEVICE), args.run)
    export(config, portraits, args.run)


if __name__ == "__main__":
    main()
