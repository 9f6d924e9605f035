"""Today's recipe of the embedded base: ``GPU`` for one large accelerator, ``CPU`` for two cores.

What ships was trained for fewer steps, by minutes of a GPU: docs/findings.md has them.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder: pictures to latents of a sixteenth of their side, and back."""

    size: int = 256  # side of the pictures in pixels
    channels: tuple[int, ...] = (24, 40, 64, 128, 224)  # one per resolution, finest first
    layers: int = 1  # residual blocks per resolution
    groups: int = 8  # of the group normalisation
    latent_channels: int = 24
    steps: int = 20_000  # of the decoder; the encoder is computed
    batch: int = 96
    window: int = 10  # side in latents of what the decoder sees of a picture
    whole_from: float = 0.8  # from this share of the steps on it sees whole pictures
    lr: float = 8e-4  # AdamW, warm-up, then linear decay to 0 over the last 60 %
    perceptual: float = 0.5  # weight of the distance between early ImageNet features
    identity: float = 0.3  # weight of 1 − cosine of the faces' embeddings
    identity_images: int = 32  # how many pictures of a batch the recogniser looks at: it costs much on a CPU
    noise: float = 0.05  # up to so much noise on the latents
    adversarial_from: float = 0.6  # share of the steps without a discriminator
    adversarial: float = 0.4  # size of the discriminator's gradient beside that of the likeness
    discriminator_lr: float = 4e-4
    ema: float = 0.998


@dataclass(frozen=True)
class RedrawingConfig:
    """Which latents the decoder sees once more, after the denoiser has drawn them again."""

    share: float = 0.62  # of a batch; the others come as they are
    timesteps: tuple[int, int] = (100, 650)  # from how much noise, of 1,000: beyond, another face comes back
    guidance_scales: tuple[float, ...] = (1.0, 1.0, 2.0)


@dataclass(frozen=True)
class UnetConfig:
    """The denoiser and its text encoder, trained together on v-prediction."""

    channels: tuple[int, ...] = (256, 256, 256)  # one per resolution, finest first
    attention: tuple[bool, ...] = (False, True, True)  # which resolutions attend (to themselves and to the text)
    layers: int = 1
    head_dim: int = 32
    text_width: int = 192
    text_layers: int = 3
    steps: int = 14_000
    batch: int = 256
    lr: float = 6e-4  # the same schedule
    shift: int = 6  # pictures are moved by up to so many pixels each way
    workers: int = 10  # processes that write captions
    dropout: float = 0.1  # of activations, in training alone: a few thousand portraits are soon known by heart
    caption_dropout: float = 0.1  # share of empty prompts, for classifier-free guidance
    noise_mean: float = 0.0  # of the logarithm of noise by picture, over what a batch sees
    noise_spread: float = 1.2  # its standard deviation
    ema: float = 0.999


@dataclass(frozen=True)
class MiniConfig:
    """One machine's recipe for the whole base."""

    vae: VaeConfig = VaeConfig()
    unet: UnetConfig = UnetConfig()
    redrawing: RedrawingConfig = RedrawingConfig()
    mending: VaeConfig = VaeConfig(  # the decoder once more, on what is drawn again
        steps=4000, window=8, whole_from=1.0, lr=3e-4, adversarial_from=0.0, adversarial=0.7
    )
    looks: float = 0.4  # share of the photographs in colour that are shown in a procedural look
    looks_each: int = 8  # looks that are drawn of each of them, before training starts
    seed: int = 0
    minutes_between_checkpoints: float = 5


GPU = MiniConfig()
CPU = MiniConfig(
    vae=replace(GPU.vae, batch=8, identity_images=2, lr=6e-4),
    unet=replace(GPU.unet, batch=32, steps=40_000, workers=0, lr=4e-4),
    mending=replace(GPU.mending, batch=8, identity_images=2),
)
CONFIGS = {"cpu": CPU, "gpu": GPU}
