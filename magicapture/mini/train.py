"""Train the embedded base from captioned portraits: denoiser with text encoder, decoder, and the decoder once more.

``python -m magicapture.mini.train --data FOLDER … --labels FILE --run FOLDER --config gpu`` does all of it, goes on
from the last checkpoint in the run's folder when there is one, and writes an ordinary diffusers pipeline to
``pipeline`` in it; with ``--export`` it writes the pipeline from the last checkpoint without training on.
"""

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from magicapture.mini.autoencoder import start_vae, train_decoder
from magicapture.mini.config import CONFIGS
from magicapture.mini.data import load_portraits, with_looks
from magicapture.mini.denoiser import export, train_unet
from magicapture.mini.redrawing import mend_decoder
from magicapture.mini.stage import DEVICE

STAGES = ("unet", "decoder", "mending")


def main() -> None:
    """Train the stages and write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of captioned portraits")
    parser.add_argument("--labels", type=Path, help="further attributes, as magicapture.mini.labels writes them")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--config", choices=CONFIGS, default="cpu")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="what to train in this call")
    parser.add_argument("--export", action="store_true", help="write the pipeline from the last checkpoints alone")
    args = parser.parse_args()
    config = CONFIGS[args.config]
    args.run.mkdir(parents=True, exist_ok=True)
    random.seed(config.seed)
    torch.manual_seed(config.seed)
    torch.set_float32_matmul_precision("high")
    portraits = load_portraits(args.data, config.vae.size, args.labels).to(DEVICE)
    portraits = with_looks(portraits, config.looks, config.looks_each)
    if not args.export:
        started = (args.run / "vae").exists()
        vae = AutoencoderKL.from_pretrained(args.run / "vae") if started else start_vae(config, portraits, args.run)
        if "unet" in args.stages:
            train_unet(config, portraits, vae, args.run)
        if "decoder" in args.stages:
            train_decoder(config, portraits.sharp(), vae, args.run)
    export(config, portraits, args.run)
    if "mending" in args.stages and not args.export:
        mend_decoder(config, portraits.sharp(), args.run)
        export(config, portraits, args.run)


if __name__ == "__main__":
    main()
