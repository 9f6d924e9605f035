"""Looks made by hand: each takes pictures (B, 3, H, W) in [0, 1] and gives the same.

What varies within a look is drawn for each picture.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.mini import filters as f


def oil_painting(images: Tensor) -> Tensor:
    """Kuwahara areas, brush marks along the forms lit from a side, a brown ground and a yellowed varnish."""
    x, _ = f.axes(images)
    sitter = f.step(f.person(images), 0.62, 0.5)
    blue = (4 * (images[:, 2:] - images[:, :1]) - 0.1).clamp(0, 1)  # old palettes have hardly any
    images = torch.lerp(images, 0.8 * f.luma(images), f.uniform(images, 0.3, 0.95) * blue)
    ground = f.colour(images, (0.12, 0.08, 0.05), (0.36, 0.27, 0.18)) * (0.6 + 0.8 * f.noise(images, 110))
    ground = ground * (1 + f.uniform(images, -0.6, 0.6) * (x - 0.5))
    images = torch.lerp(images, torch.lerp(ground, images, f.uniform(images, 0, 0.35)), 1 - sitter)
    painted = f.kuwahara(f.kuwahara(images, 3), 3, 4)
    painted = torch.lerp(painted, f.blur(images, 0.8), 0.5 * f.face(images))
    along = f.flow(f.luma(painted), 4, 0.3)
    touch = f.strokes(images, along, 2.5, 9)
    bump, _ = f.gradient(touch)
    painted = painted + f.uniform(images, 0.3, 1) * (0.02 * touch + 0.02 * bump)
    painted = f.saturate(painted.clamp(0, 1), f.uniform(images, 0.6, 0.95))
    varnish = f.colour(images, (1.0, 0.98, 0.93), (1.0, 0.88, 0.66))
    contrast = f.uniform(images, 0.9, 1.25)
    shade = f.ellipse(images, (0.5, 0.5), (0.5, 0.55), 0.3)
    return (painted**contrast) * varnish * (1 - f.uniform(images, 0.1, 0.6) * (1 - shade)) + 0.015


def drawing(images: Tensor) -> Tensor:
    """Draw with pen or pencil: dark outlines, open hatching in the shadows, an empty cream or grey sheet around."""
    sitter = f.person(images)
    tone = f.face_tone(f.luma(images), 0.74, 0.2)
    tone = torch.lerp(torch.ones_like(tone), tone, sitter)
    dodge = (tone / f.blur(tone, 5).clamp_min(0.05)).clamp(0, 1) ** 2.5
    along = f.flow(tone, 3, 0.6)
    grain = f.strokes(images, along, 1.3, 6)
    hatch = f.step(tone + 0.12 * grain, f.uniform(images, 0.3, 0.5), 0.4)
    mark = dodge * f.xdog(tone, 0.9, 14, 0.2, 3) * (1 - f.uniform(images, 0.6, 0.95) * (1 - hatch))
    sheet = f.colour(images, (0.95, 0.95, 0.94), (0.84, 0.78, 0.68)) * (1 + 0.06 * f.paper(images))
    return torch.lerp(f.colour(images, (0.10, 0.09, 0.09), (0.32, 0.31, 0.32)), sheet, mark)


def charcoal(images: Tensor) -> Tensor:
    """Rub broad soft black over the tooth of the paper."""
    tone = f.face_tone(f.luma(images), 0.68, 0.24)
    tone = torch.lerp(0.5 + 0.5 * tone, tone, f.person(images))
    soft = f.kuwahara(tone.expand_as(images), 4)[:, :1]
    grain = f.strokes(images, f.flow(tone, 5, 2.0), 1.6, 7)
    tooth = 0.17 * grain + 0.5 * (f.noise(images, 1.4) - 0.5)
    mark = torch.lerp(f.step(soft + tooth, 0.4, 0.6), f.blur(soft, 3), 0.2) * f.xdog(tone, 1.3, 10, 0.2, 3)
    mark = (1.1 * mark).clamp(0, 1)
    sheet = f.colour(images, (0.95, 0.94, 0.92), (0.80, 0.77, 0.72)) * (1 + 0.1 * f.paper(images))
    return torch.lerp(f.uniform(images, 0.04, 0.14), sheet, mark)


def watercolour(images: Tensor) -> Tensor:
    """Lay thin washes: light flat areas, dark rims where they dried, pigment in the tooth, white paper left around."""
    wobble = 0.12 * (f.noise(images, 12) - 0.5)
    washed = f.kuwahara(f.kuwahara(images, 4), 4, 4)
    tone = f.face_tone(f.luma(washed), 0.62, 0.18, keep=0.9)
    flat = f.quantise((tone + wobble).clamp(0, 1), f.uniform(images, 5, 8).round(), 0.6)
    washed = f.saturate(0.2 + 0.8 * f.relight(washed, flat), f.uniform(images, 1.1, 1.6))
    dx, dy = f.gradient(f.blur(flat, 0.8))
    rim = (dx * dx + dy * dy).sqrt()
    density = (1 - washed) * (1 + 0.35 * f.paper(images) + 0.3 * (f.noise(images, 30) - 0.5)) + 0.8 * rim
    density = density + 0.35 * (1 - f.outlines(f.luma(images), 1, 14))
    leave = f.ellipse(images, (0.5, 0.55), (0.44, 0.5), 0.1) + 0.4 * (f.noise(images, 25) - 0.5)
    leave = f.step(torch.maximum(leave, f.person(images) * leave.clamp_min(0.3) * 1.3), 0.4, 0.2)
    density = density * torch.lerp(leave, torch.ones_like(leave), f.uniform(images, 0, 0.4))
    return f.colour(images, (0.99, 0.98, 0.96), (0.95, 0.93, 0.87)) - density


def gouache(images: Tensor) -> Tensor:
    """Paint few flat opaque colours with crisp borders and no outlines."""
    flat = f.kuwahara(f.kuwahara(images, 3), 3)
    tone = f.sharpen(f.face_tone(f.luma(flat), 0.56, 0.2, keep=0.9), 6, 0.4)
    levels = f.quantise(f.blur(tone, 0.9), f.uniform(images, 5, 7).round(), 0.1)
    tint = f.colour(images, (1.0, 0.96, 0.86), (0.95, 1.0, 1.0))
    painted = f.saturate(f.relight(flat, 0.08 + 0.88 * levels), f.uniform(images, 1.0, 1.5))
    return painted * tint + 0.05 * f.paper(images)


def pastel(images: Tensor) -> Tensor:
    """Stroke soft chalky colours over a tinted paper that shows through."""
    along = f.flow(f.luma(images), 4, 1.0)
    stroke = f.strokes(images, along, 1.8, 9)
    soft = f.kuwahara(images, 5)
    soft = f.saturate((0.12 + 0.9 * soft**0.85 + 0.05 * stroke).clamp(0, 1), f.uniform(images, 1.1, 1.5))
    cover = f.step(f.person(images) + 0.25 * stroke + 0.9 * (f.noise(images, 1.4) - 0.5), 0.42, 0.6)
    sheet = f.hue_colour(f.uniform(images, 0, 1), 0.18, 0.72) * (1 + 0.1 * f.paper(images))
    return torch.lerp(sheet, soft, 0.15 + 0.85 * cover) * (0.35 + 0.65 * f.outlines(f.luma(images), 1.2, 10))


def ink_wash(images: Tensor) -> Tensor:
    """Brush diluted black ink on rice paper: a few wet greys with bleeding rims, and dark accents."""
    tone = f.face_tone(f.luma(images), 0.66, 0.24)
    tone = torch.lerp(torch.ones_like(tone), tone, f.person(images))
    wet = f.kuwahara(tone.expand_as(images), 8)[:, :1] + 0.16 * (f.noise(images, 14) - 0.5)
    flat = f.quantise(wet.clamp(0, 1), f.uniform(images, 4, 5).round(), 0.5)
    dx, dy = f.gradient(f.blur(flat, 1))
    ink = (f.blur(flat, 0.7) - 0.8 * (dx * dx + dy * dy).sqrt()) * f.xdog(tone, 1.5, 14, 0.25, 3)
    sheet = f.colour(images, (0.96, 0.95, 0.92), (0.90, 0.86, 0.76)) * (1 + 0.06 * f.paper(images))
    ink = (ink + 0.1 * f.paper(images)).clamp(0, 1)
    return torch.lerp(f.colour(images, (0.06, 0.07, 0.09), (0.14, 0.12, 0.12)), sheet, ink)


def neon(images: Tensor) -> Tensor:
    """Draw the contours alone as glowing tubes in the dark."""
    tone = f.face_tone(f.luma(images), 0.5, 0.22)
    calm = f.kuwahara(tone.expand_as(images), 3)[:, :1]
    ridge = (f.blur(calm, 2.4) - f.blur(calm, 1.4)).clamp_min(0)
    ridge = ridge / (ridge * f.face(images)).amax((2, 3), keepdim=True).clamp_min(0.02)
    line = f.step(ridge, 0.28, 0.25) - f.step(0 * ridge, 0.28, 0.25)
    hue = f.uniform(images, 0, 1)
    x, y = f.axes(images)
    tube = torch.lerp(
        f.hue_colour(hue, 0.85, 1.0), f.hue_colour(hue + 0.3, 0.85, 1.0), 0.5 + 0.5 * torch.sin(5 * (x + y))
    )
    night = f.colour(images, (0.02, 0.02, 0.05), (0.09, 0.03, 0.12)) + 0.1 * tone * tube
    return night + tube * (line + 1.2 * f.blur(line, 4)) + 0.6 * f.blur(line, 0.6) ** 2


def stained_glass(images: Tensor) -> Tensor:
    """Lead coloured glass in cells, and paint the face's features on it (grisaille)."""
    own, first, second = f.cells(images, 18)
    glass = F.grid_sample(f.kuwahara(images, 7), own, padding_mode="border", align_corners=False)
    tone = f.face_tone(f.luma(images), 0.6, 0.22, keep=0.6)
    glass = f.saturate(f.relight(glass, 0.3 + 0.5 * f.luma(glass)), f.uniform(images, 1.3, 2.2))
    light = F.grid_sample(f.noise(images, 8), own, padding_mode="border", align_corners=False)
    paint = f.quantise(tone, f.uniform(images, 3, 4).round(), 0.4) * f.xdog(tone, 1.1, 14, 0.2, 5)
    glass = glass * (0.8 + 0.4 * light) * (0.25 + 0.95 * paint)
    lead = f.step(second - first, f.uniform(images, 1.0, 1.8), 0.8)
    return glass * (0.06 + 0.94 * torch.maximum(lead, 0.8 * f.ellipse(images, (0.5, 0.57), (0.16, 0.2), 0.06)))


def pointillism(images: Tensor) -> Tensor:
    """Set dots of pure, scattered hues on a light ground, two layers of them (Seurat's optical mixture)."""
    calm = f.kuwahara(images, 3)
    calm = f.relight(calm, f.sharpen(f.face_tone(f.luma(calm), 0.56, 0.2, keep=0.9), 4, 1.2))
    painted = f.colour(images, (0.93, 0.90, 0.82), (0.85, 0.85, 0.88)).expand_as(images)
    painted = torch.lerp(painted, calm, 0.5)
    for size in (5.5, 3.8):
        own, first, _ = f.cells(images, size)
        dot = F.grid_sample(calm, own, padding_mode="border", align_corners=False)
        scatter = [F.grid_sample(f.noise(images, 1), own, mode="nearest", align_corners=False) for _ in range(3)]
        dot = f.saturate((dot + 0.36 * (torch.cat(scatter, 1) - 0.5)).clamp(0, 1), 1.5)
        painted = torch.lerp(painted, dot, 1 - f.step(first, 0.46 * size, 0.8))
    return painted


def chalk(images: Tensor) -> Tensor:
    """Raise the lights alone with white chalk on a dark sheet or a blackboard."""
    tone = torch.lerp(0 * images[:, :1], f.face_tone(f.luma(images), 0.58, 0.24), f.person(images))
    grain = f.strokes(images, f.flow(tone, 4, 1.5), 1.6, 8)
    mark = f.step(tone + 0.14 * grain + 0.5 * (f.noise(images, 1.4) - 0.5), 0.58, 0.7)
    contour = f.blur(tone, 1.0) - f.blur(tone, 2.0)
    mark = mark * 0.85 + (8 * contour).clamp(0, 0.6) * (0.7 + 0.3 * grain)
    sheet = f.colour(images, (0.10, 0.14, 0.13), (0.20, 0.15, 0.13)) * (1 + 0.5 * f.paper(images))
    sheet = sheet + 0.06 * f.noise(images, 50)
    return torch.lerp(sheet, f.colour(images, (0.95, 0.95, 0.92), (0.93, 0.88, 0.78)), mark.clamp(0, 0.97))


def embroidery(images: Tensor) -> Tensor:
    """Stitch with coloured thread: shining parallel threads along the forms on a linen ground."""
    flat = f.kuwahara(images, 3)
    tone = f.sharpen(f.face_tone(f.luma(flat), 0.56, 0.19, keep=0.9), 5, 0.6)
    thread = f.strokes(images, f.flow(tone, 5, 1.0), 1.6, 9)
    levels = f.quantise((tone + 0.06 * thread).clamp(0, 1), f.uniform(images, 6, 8).round(), 0.3)
    sewn = f.saturate(f.relight(flat, 0.1 + 0.82 * levels), f.uniform(images, 1.0, 1.4))
    dx, dy = f.gradient(thread)
    sewn = sewn * (1 + 0.1 * thread + 0.2 * (dx + dy)) * (0.5 + 0.5 * f.outlines(tone, 1.2, 10))
    x, y = f.axes(images)
    weave = 0.5 + 0.25 * (torch.cos(x * 2 * math.pi * 64) + torch.cos(y * 2 * math.pi * 64))
    linen = f.colour(images, (0.88, 0.83, 0.72), (0.72, 0.74, 0.70)) * (0.78 + 0.3 * weave)
    return torch.lerp(linen, sewn, f.step(f.person(images) + 0.06 * thread, 0.5, 0.2))
