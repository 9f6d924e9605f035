"""The code on the card of an adapter for Stable Diffusion 1.x or the embedded base."""

from magicapture.bases.base import LORA_FILE, ROWS_FILE, BaseSpec
from magicapture.bases.clip import ROWS_KEY
from magicapture.bases.words import PERSON, STYLE

USAGE = """{torch}from diffusers import {autoencoder}StableDiffusionPipeline
{imports}from safetensors.torch import load_file

pipe = StableDiffusionPipeline.from_pretrained("{source}")
{vae}pipe.load_lora_weights("{lora}", weight_name="{lora_file}")
rows = load_file({rows})["{rows_key}"]
pipe.load_textual_inversion(list(rows), token=["{person}", "{style}"])
{start}image = pipe(
    "{prompt}",
{settings}{latents}).images[0]"""

START = """
mean = torch.tensor({mean})  # of the look's latents: drawing that starts from it keeps to the look's colours
left, side = pipe.scheduler.alphas_cumprod[-1], pipe.unet.config.sample_size
latents = left.sqrt() * mean[:, None, None] + (1 - left).sqrt() * torch.randn(1, len(mean), side, side)
"""


def usage(spec: BaseSpec, source: str, prompt: str, repo_id: str | None, latent_mean: tuple[float, ...] | None) -> str:
    """Give the code with which stock diffusers draws from an adapter (see ``Base.usage``)."""
    start = START.format(mean=[round(value, 3) for value in latent_mean]) if latent_mean else ""
    settings = {"guidance_scale": spec.guidance_scale, "cross_attention_kwargs": {"scale": spec.lora_scale}}
    settings |= {"negative_prompt": spec.negative_prompt} if spec.negative_prompt else {}
    return USAGE.format(
        torch="import torch\n" if start else "",
        autoencoder="AutoencoderKL, " if spec.vae else "",
        vae=f'pipe.vae = AutoencoderKL.from_pretrained("{spec.vae}")\n' if spec.vae else "",
        settings="".join(f"    {name}={value!r},\n" for name, value in settings.items()),
        imports="from huggingface_hub import hf_hub_download\n" if repo_id else "",
        source=source,
        lora=repo_id or ".",
        lora_file=LORA_FILE,
        rows=f'hf_hub_download("{repo_id}", "{ROWS_FILE}")' if repo_id else f'"{ROWS_FILE}"',
        rows_key=ROWS_KEY,
        person=PERSON,
        style=STYLE,
        start=start,
        prompt=prompt,
        latents="    latents=latents,\n" if start else "",
    )
