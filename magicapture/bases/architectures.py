"""What bases look like inside, as numbers: enough to count what they cost without any of their weights."""

from pathlib import Path

WORDS = Path(__file__).parents[1] / "mini" / "weights" / "tokenizer"
"""A tokenizer that is here: what a step costs does not depend on which words a prompt has."""

SD15 = {
    "unet": {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768},
    "vae": {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "sample_size": 512,
    },
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
    },
    "scheduler": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1},
}
"""Stable Diffusion 1.5: a U-Net of 860, an autoencoder of 84 and a text encoder of 123 million weights."""
