"""Adapters for FLUX.2 [klein] as others read them: other tools' names of the layers, and the code on the card."""

import re

import torch
from torch import Tensor

from magicapture.bases.base import KOHYA_FILE, LORA_FILE, ROWS_FILE, BaseSpec
from magicapture.bases.output_words import stand_ins
from magicapture.bases.usage import quoted
from magicapture.bases.words import prompt_for

ROWS_KEY = "qwen3_4b_out"
"""Not ``qwen3_4b``: under that key ComfyUI looks for what the text encoder is to read; these rows are its output."""

FUSED = {"img_attn_qkv": ("to_q", "to_k", "to_v"), "txt_attn_qkv": ("add_q_proj", "add_k_proj", "add_v_proj")}
ALONE = {"img_attn_proj": "to_out.0", "txt_attn_proj": "to_add_out"}
SINGLE = {"linear1": "to_qkv_mlp_proj", "linear2": "to_out"}
"""The layers of the double- and single-stream blocks by Black Forest Labs' names, under which other tools know them."""


def kohya_layers(lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of ``lora`` as kohya's tools, ComfyUI and diffusers read them.

    Query, key and value of a stream are one layer there: their LoRAs lie side by side in one of three times the rank.
    """
    layers: dict[str, Tensor] = {}
    found = (re.match(r"(single_)?transformer_blocks\.\d+\.attn\.", key) for key in lora)
    blocks = {match[0] for match in found if match}
    for block in sorted(blocks):
        kind = "single" if block.startswith("single") else "double"
        prefix = f"lora_unet_{kind}_blocks_{block.split('.')[1]}_"
        names = {name: (layer,) for name, layer in (SINGLE if kind == "single" else ALONE).items()}
        for name, parts in {**names, **({} if kind == "single" else FUSED)}.items():
            down = torch.cat([lora[f"{block}{part}.lora_A.weight"] for part in parts])
            up = torch.block_diag(*(lora[f"{block}{part}.lora_B.weight"] for part in parts))
            values = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(float(len(down)))}
            layers |= {f"{prefix}{name}.{kind_}": value.float().contiguous() for kind_, value in values.items()}
    return layers


USAGE = """import torch
from diffusers import Flux2KleinPipeline
{imports}from safetensors.torch import load_file

pipe = Flux2KleinPipeline.from_pretrained({source}, torch_dtype=torch.bfloat16).to("cuda")
pipe.load_lora_weights({lora}, weight_name={lora_file})

# The two words come after the text encoder, where no other tool has a place for them: ComfyUI loads the LoRA alone
# ({kohya_file}). The encoder reads ordinary words, whose rows are exchanged for the learned.
rows = load_file({rows})[{rows_key}]
words, prompt, ends = {words}, {prompt}, []
for word, plain in words.items():
    ends.append(prompt.index(word) + len(plain))
    prompt = prompt.replace(word, plain)
embeddings, _ = pipe.encode_prompt(prompt)
turn = [{{"role": "user", "content": prompt}}]
text = pipe.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
tokens = pipe.tokenizer(text)
for row, end in zip(rows.to(embeddings), ends):
    embeddings[0, tokens.char_to_token(text.index(prompt) + end - 1)] = row
image = pipe(
    prompt_embeds=embeddings,
    num_inference_steps={steps},
    guidance_scale={guidance},
    height={side},
    width={side},
).images[0]"""


def usage(spec: BaseSpec, source: str, noun: str, repo_id: str | None, latent_mean: tuple[float, ...] | None) -> str:
    """Give the code with which stock diffusers draws from an adapter (see ``Base.usage``), from noise alone."""
    del latent_mean
    return USAGE.format(
        imports="from huggingface_hub import hf_hub_download\n" if repo_id else "",
        source=quoted(spec.drawn_with or source),
        lora=quoted(repo_id or "."),
        lora_file=quoted(LORA_FILE),
        kohya_file=KOHYA_FILE,
        rows=f"hf_hub_download({quoted(repo_id)}, {quoted(ROWS_FILE)})" if repo_id else quoted(ROWS_FILE),
        rows_key=quoted(ROWS_KEY),
        words=stand_ins(noun),
        prompt=quoted(prompt_for("composed", noun=noun)),
        steps=spec.sampling_steps,
        guidance=spec.guidance_scale,
        side=spec.resolution,
    )
