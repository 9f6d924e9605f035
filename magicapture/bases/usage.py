"""The code on the card of an adapter, with which stock diffusers draws."""

import json
from collections.abc import Mapping

from magicapture.bases.base import LORA_FILE, ROWS_FILE, BaseSpec
from magicapture.bases.words import TOKENS

USAGE = """{torch}from diffusers import {autoencoder}{pipeline}
{imports}from safetensors.torch import load_file

pipe = {pipeline}.from_pretrained({loaded})
{vae}{device}pipe.load_lora_weights({lora}, weight_name={lora_file})
rows, words = load_file({rows}), {words}
{encoders}{start}image = pipe(
    {prompt},
{settings}{latents}).images[0]"""

FIRST_ENCODER = """pipe.load_textual_inversion(list(rows[{key}]), token=words)
"""

FURTHER_ENCODER = """pipe.load_textual_inversion(
    list(rows[{key}]), token=words, tokenizer=pipe.tokenizer{suffix}, text_encoder=pipe.text_encoder{suffix}
)
pipe.text_encoder{suffix}.text_model.eos_token_id = pipe.tokenizer{suffix}.eos_token_id  # ends there, not at a word
"""

START = """
mean = torch.tensor({mean})  # of the look's latents: drawing that starts from it keeps to the look's colours
left, side = pipe.scheduler.alphas_cumprod[-1], {side}
latents = left.sqrt() * mean[:, None, None] + (1 - left).sqrt() * torch.randn(1, len(mean), side, side)
{placed}"""


def quoted(text: str) -> str:
    """Write ``text`` as a string of Python in double quotes, on one line, whatever is in it."""
    return json.dumps(text, ensure_ascii=False)


def usage(
    spec: BaseSpec,
    pipeline: str,
    encoders: Mapping[str, str],
    source: str,
    prompt: str,
    repo_id: str | None,
    latent_mean: tuple[float, ...] | None,
) -> str:
    """Give the code with which the class ``pipeline`` of diffusers draws from an adapter (see ``Base.usage``).

    In half precision on a GPU, except on the embedded base, which any machine can draw with. ``encoders``: how the
    names of each text encoder end in the pipeline, by the key of its rows.
    """
    side = f"{spec.resolution} // pipe.vae_scale_factor" if spec.resolution else "pipe.unet.config.sample_size"
    half = "" if spec.embedded else ", torch_dtype=torch.float16"
    variant = f', variant="{spec.variant}"' if spec.variant else ""
    mean = [round(value, 3) for value in latent_mean or ()]
    placed = 'latents = latents.to("cuda", torch.float16)\n' if half else ""
    start = START.format(mean=mean, side=side, placed=placed) if latent_mean else ""
    settings = {"guidance_scale": spec.guidance_scale, "cross_attention_kwargs": {"scale": spec.lora_scale}}
    settings |= {"negative_prompt": spec.negative_prompt} if spec.negative_prompt else {}
    settings |= {"height": spec.resolution, "width": spec.resolution} if spec.resolution else {}
    return USAGE.format(
        torch="import torch\n" if start or half else "",
        autoencoder="AutoencoderKL, " if spec.vae else "",
        pipeline=pipeline,
        imports="from huggingface_hub import hf_hub_download\n" if repo_id else "",
        loaded=f"\n    {quoted(source)}{half}{variant}\n" if half else quoted(source),
        vae=f"pipe.vae = AutoencoderKL.from_pretrained({quoted(spec.vae)}{half})\n" if spec.vae else "",
        device='pipe.to("cuda")\n' if half else "",
        lora=quoted(repo_id or "."),
        lora_file=quoted(LORA_FILE),
        rows=f"hf_hub_download({quoted(repo_id)}, {quoted(ROWS_FILE)})" if repo_id else quoted(ROWS_FILE),
        words=json.dumps(TOKENS),
        encoders="".join(
            (FURTHER_ENCODER if suffix else FIRST_ENCODER).format(key=quoted(key), suffix=suffix)
            for key, suffix in encoders.items()
        ),
        start=start,
        prompt=quoted(prompt),
        settings="".join(f"    {name}={value!r},\n" for name, value in settings.items()),
        latents="    latents=latents,\n" if start else "",
    )
