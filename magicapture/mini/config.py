"""Every number that decides what the embedded base becomes. ``CPU`` fits two cores, ``GPU`` one large accelerator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder: pictures to latents of an eighth of their side, and back."""

    size: int  # side of the pictures in pixels
    channels: tuple[int, ...]  # one per resolution, finest first
    layers: int  # residual blocks per resolution
    latent_channels: int
    steps: int
    batch: int
    lr: float = 6e-4  # AdamW, warm-up, then linear decay to 0 over the last 60 %
    perceptual: float = 0.3  # weight of the distance between early ImageNet features
    identity: float = 0.2  # weight of 1 − cosine of the faces' embeddings
    identity_images: int = 3  # how many pictures of a batch the recogniser looks at: it costs much on a CPU
    kl: float = 1e-6
    ema: float = 0.998


@dataclass(frozen=True)
class UnetConfig:
    """The denoiser and its text encoder, trained together on ε-prediction with min-SNR weights."""

    channels: tuple[int, ...]  # one per resolution, finest first
    attention: tuple[bool, ...]  # which resolutions attend (to themselves and to the text)
    layers: int
    head_dim: int
    text_width: int
    text_layers: int
    steps: int
    batch: int
    lr: float = 4e-4  # the same schedule
    caption_dropout: float = 0.1  # share of empty prompts, for classifier-free guidance
    min_snr: float = 5.0  # Hang et al., 2023
    ema: float = 0.9995


@dataclass(frozen=True)
class MiniConfig:
    """One machine's recipe for the whole base."""

    vae: VaeConfig
    unet: UnetConfig
    seed: int = 0
    minutes_between_checkpoints: float = 5


CPU = MiniConfig(
    vae=VaeConfig(size=128, channels=(32, 48, 96, 192), layers=1, latent_channels=4, steps=3800, batch=8),
    unet=UnetConfig(
        channels=(96, 192, 352),
        attention=(False, True, True),
        layers=1,
        head_dim=32,
        text_width=192,
        text_layers=3,
        steps=7500,
        batch=32,
        ema=0.999,
    ),
)
GPU = MiniConfig(
    vae=VaeConfig(size=256, channels=(64, 128, 256, 256), layers=1, latent_channels=4, steps=20_000, batch=32),
    unet=UnetConfig(
        channels=(128, 256, 384, 384),
        attention=(False, True, True, True),
        layers=1,
        head_dim=64,
        text_width=256,
        text_layers=4,
        steps=100_000,
        batch=128,
        ema=0.9998,
    ),
)
CONFIGS = {"cpu": CPU, "gpu": GPU}
