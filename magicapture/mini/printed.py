"""Looks made by press, light or metal: each takes pictures (B, 3, H, W) in [0, 1] and gives the same.

What varies within a look is drawn for each picture.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.mini import filters as f


def old_plate(images: Tensor) -> Tensor:
    """Brightness (B, 1, H, W) as an early photograph keeps it: blue-sensitive, soft, plain ground, grain, specks."""
    blue = f.uniform(images, 0, 0.7)
    tone = torch.lerp(f.luma(images), f.luma(images, f.BLUE_SENSITIVE), blue)
    tone = torch.lerp(tone, f.face_tone(tone, 0.58, 0.17, keep=0.7), 0.5)
    ground = f.uniform(images, 0.2, 0.9) + 0.3 * (f.noise(images, 120) - 0.5)
    tone = torch.lerp(torch.lerp(tone, ground, f.uniform(images, 0.2, 0.95)), tone, f.person(images))
    tone = torch.lerp(tone, f.blur(tone, 1.2), f.uniform(images, 0, 0.9))
    specks = f.step(f.noise(images, 5), 1.06, 0.05)
    grain = f.uniform(images, 0.02, 0.10) * (f.noise(images, 1.4) - 0.5)
    return tone + grain + 0.5 * f.uniform(images, -1, 1) ** 5 * specks


def sepia_photograph(images: Tensor) -> Tensor:
    """Print an albumen picture: brown to olive tones, faded towards a paper-coloured oval."""
    tone = old_plate(images)
    oval = f.ellipse(images, (0.5, 0.52), (0.42, 0.5), 0.12)
    fading = f.uniform(images, -0.6, 0.8).clamp_min(0) * (1 - oval)
    tone = tone + fading * (f.uniform(images, 0.2, 1.0) - tone)
    shadow = f.colour(images, (0.16, 0.10, 0.07), (0.30, 0.22, 0.20))
    middle = f.colour(images, (0.50, 0.42, 0.28), (0.62, 0.50, 0.42))
    light = f.colour(images, (0.80, 0.75, 0.58), (0.96, 0.91, 0.82))
    return f.gradient_map(tone, shadow, middle, light) + 0.05 * f.paper(images)


def black_and_white_photograph(images: Tensor) -> Tensor:
    """Expose a silver print: plain grey ground, contrast of its own, a slight shade towards the corners."""
    tone = old_plate(images).clamp(0, 1)
    curve = torch.lerp(tone, tone * tone * (3 - 2 * tone), f.uniform(images, 0, 1))
    shade = 1 - f.uniform(images, 0, 0.45) * (1 - f.ellipse(images, (0.5, 0.5), (0.55, 0.6), 0.25))
    black, white = f.uniform(images, 0.0, 0.1), f.uniform(images, 0.86, 1.0)
    cast = 1 + f.uniform(images, -0.02, 0.02) * f.constant((1.0, 0.0, -1.0), images.device)
    return (black + (white - black) * curve * shade) * cast


def hatching(tone: Tensor, period: Tensor, angle: Tensor, bend: float) -> Tensor:
    """Parallel ink lines that swell with darkness and bow over the forms: 0 in a line, 1 on paper."""
    _, v = f.rotated(tone, angle)
    phase = v + bend * f.blur(tone, 8) + 3 * f.noise(tone, 60)
    wave = 0.5 + 0.5 * torch.cos(phase * 2 * math.pi / period)
    return f.step(tone, 0.88 * wave - 0.04, 0.3)


def engraving(images: Tensor) -> Tensor:
    """Swelling lines, crossed in the shadows, and outlines, printed in near black on white or toned paper."""
    sitter = f.person(images)
    backdrop = f.uniform(images, 0.55, 1.25).clamp(0, 1)
    tone = f.face_tone(f.luma(images), 0.62, 0.2)
    tone = torch.lerp(backdrop + 0.3 * (f.noise(images, 90) - 0.5) * (backdrop < 1), tone, sitter).clamp(0, 1)
    period, angle = f.uniform(images, 2.9, 4.4), f.uniform(images, -0.7, 0.7)
    lines = hatching(tone, period, angle, 16)
    cross = hatching((1.7 * tone + 0.12).clamp(0, 1), period, angle + f.uniform(images, 0.9, 1.5), -16)
    ink = lines * cross * f.xdog(tone, 0.9, 18, 0.25, 4)
    ink = torch.lerp(f.blur(ink, 0.6), tone, f.uniform(images, 0.1, 0.45))
    sheet = f.colour(images, (0.98, 0.98, 0.97), (0.87, 0.80, 0.70)) * (1 + 0.1 * f.paper(images))
    return torch.lerp(f.colour(images, (0.06, 0.06, 0.07), (0.2, 0.17, 0.15)), sheet, ink)


def woodcut(images: Tensor) -> Tensor:
    """Carve lines that follow the forms into a black block; printed on plain paper."""
    tone = f.face_tone(f.luma(images), 0.6, 0.22)
    sitter = f.person(images)
    tone = torch.lerp(f.uniform(images, 0.05, 0.95) + 0.2 * (f.noise(images, 90) - 0.5), tone, sitter)
    carved = f.strokes(images, f.flow(tone, 5, 0.5), 2.2, 13) * (0.2 - 0.09 * f.face(images))
    sharp = tone + 1.5 * (f.blur(tone, 0.7) - f.blur(tone, 3))
    ink = f.step(f.blur(f.step(sharp + carved, 0.45, 0.2), 0.7), 0.5, 0.4)
    sheet = f.colour(images, (0.96, 0.95, 0.92), (0.88, 0.80, 0.66)) * (1 + 0.08 * f.paper(images))
    return torch.lerp(f.colour(images, (0.05, 0.05, 0.05), (0.16, 0.09, 0.07)), sheet, ink)


def halftone(images: Tensor) -> Tensor:
    """Print one ink through a dot screen on newsprint."""
    tone = f.face_tone(f.luma(images), 0.58, 0.2, keep=0.5)
    tone = tone + 2 * (tone - f.blur(tone, 2))
    screen = f.dots(images, f.uniform(images, 4.2, 6.5), f.uniform(images, 0.3, 1.2))
    ink = f.step(tone, 0.05 + 0.88 * screen, 0.3)
    sheet = f.colour(images, (0.93, 0.91, 0.86), (0.84, 0.80, 0.70)) * (1 + 0.12 * f.paper(images))
    return torch.lerp(f.colour(images, (0.08, 0.08, 0.09), (0.2, 0.18, 0.16)), sheet, ink)


def duotone(images: Tensor) -> Tensor:
    """Map brightness to two inks of distant hues: a dark one and a light one."""
    tone = f.face_tone(f.luma(images), 0.56, 0.22)
    hue = f.uniform(images, 0.72, 1.35)
    dark = f.hue_colour(hue, 0.85, 0.28)
    light = f.hue_colour(hue + f.uniform(images, 0.3, 0.6), 0.38, 1.0)
    return f.gradient_map(tone * tone * (3 - 2 * tone), dark, light)


def comic(images: Tensor) -> Tensor:
    """Ink bold outlines and black shadows over flat bright colours with a dot screen."""
    flat = f.kuwahara(images, 4)
    tone = f.face_tone(f.luma(flat), 0.64, 0.2, keep=0.8)
    screen = f.dots(images, f.uniform(images, 4.5, 6.5), f.uniform(images, 0.2, 1.3))
    shaded = 0.6 + 0.4 * f.step(tone, 0.2 + 0.4 * screen, 0.12)
    bright = f.saturate(f.relight(flat, 0.22 + 0.7 * tone), f.uniform(images, 1.2, 1.7)) * shaded
    return bright * f.xdog(tone, 1.0, 14, 0.18, 8)


def pixel_art(images: Tensor) -> Tensor:
    """Reduce to coarse squares of few colours, as on an early screen."""
    side = (40, 48, 56, 64)[int(torch.randint(4, ()))]
    small = F.interpolate(images, (side, side), mode="area")
    tone = f.face_tone(f.luma(small), 0.55, 0.22, keep=0.9)
    levels = f.quantise(f.sharpen(tone, 8, 0.5), f.uniform(images, 5, 9).round(), 0.02)
    small = f.saturate(f.relight(small, levels), f.uniform(images, 1.0, 1.5))
    small = (small * 9).round() / 9
    return F.interpolate(small, images.shape[-2:], mode="nearest")


def bronze(images: Tensor) -> Tensor:
    """Cast as a metal relief: brightness as height, lit from a side, dark or green patina in the hollows."""
    tone = f.face_tone(f.luma(images), 0.55, 0.2)
    height = 0.7 * f.blur(tone, 1.2) + 1.1 * f.blur(tone, 3) + 1.2 * f.blur(f.person(images), 5)
    dx, dy = f.gradient(height)
    angle = f.uniform(images, -2.6, -0.6)
    slope = (dx * torch.cos(angle) + dy * torch.sin(angle)) * images.shape[-1] / f.REFERENCE
    shade = 0.5 - 4.5 * slope + 0.6 * (tone - 0.5) + 0.12 * f.paper(images)
    shine = (shade - 0.65).clamp_min(0) ** 1.5
    dark = f.colour(images, (0.08, 0.05, 0.03), (0.05, 0.10, 0.09))
    middle = f.colour(images, (0.45, 0.28, 0.13), (0.36, 0.34, 0.22))
    return f.gradient_map(shade, dark, middle, f.colour(images, (0.95, 0.75, 0.45), (0.85, 0.78, 0.55))) + shine


def cyanotype(images: Tensor) -> Tensor:
    """Print in Prussian blue on brushed paper whose border stays white (Herschel 1842)."""
    tone = torch.lerp(f.luma(images), f.luma(images, f.BLUE_SENSITIVE), f.uniform(images, 0, 0.6))
    tone = f.face_tone(tone, 0.56, 0.2, keep=0.6) + 0.1 * f.paper(images)
    blue = f.colour(images, (0.02, 0.09, 0.28), (0.04, 0.15, 0.36))
    sheet = f.colour(images, (0.93, 0.96, 0.97), (0.88, 0.90, 0.86)) * (1 + 0.06 * f.paper(images))
    print_ = f.gradient_map(tone, blue, f.colour(images, (0.16, 0.38, 0.62), (0.25, 0.46, 0.66)), sheet)
    x, y = f.axes(images)
    edge = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y))
    brushed = f.step(edge + 0.05 * (f.noise(images, 22) - 0.5), f.uniform(images, -0.03, 0.06), 0.012)
    return torch.lerp(sheet, print_, brushed)


def ukiyo_e(images: Tensor) -> Tensor:
    """Print muted flat colours within dark keyblock lines on tinted paper, the sky graded from its top (bokashi)."""
    sitter = f.step(f.person(images), 0.5, 0.3)
    flat = f.kuwahara(f.kuwahara(images, 4), 7)
    tone = f.face_tone(f.luma(f.kuwahara(images, 3)), 0.7, 0.24, keep=0.8)
    levels = f.quantise(f.blur(f.luma(f.relight(flat, tone)), 1.2), f.uniform(images, 3, 4).round(), 0.1)
    sheet = f.colour(images, (0.93, 0.87, 0.74), (0.86, 0.78, 0.62)) * (1 + 0.07 * f.paper(images))
    block = f.saturate(f.relight(flat, 0.14 + 0.82 * levels), f.uniform(images, 0.7, 1.1))
    _, y = f.axes(images)
    top = f.hue_colour(f.uniform(images, 0.5, 0.62), 0.55, 0.62)
    sky = top + (1 - top) * (y * 2.2).clamp(0, 1)
    inked = torch.lerp(sky, block * 1.08, sitter) * sheet
    key = f.xdog(tone, 1.1, 16, 0.12, 8)
    return torch.lerp(f.colour(images, (0.10, 0.11, 0.17), (0.14, 0.10, 0.09)), inked, key)


def pop_art(images: Tensor) -> Tensor:
    """Print four flat loud colours, one of them black, over a fifth for the ground."""
    tone = f.face_tone(f.luma(f.kuwahara(images, 3)), 0.58, 0.24)
    hue = f.uniform(images, 0, 1)
    level = f.quantise(f.blur(tone, 0.6), torch.full_like(hue, 4), 0.08)
    turn = f.uniform(images, 0.25, 0.45)
    printed = f.gradient_map(
        level,
        torch.full_like(hue, 0.06),
        f.hue_colour(hue, 0.95, 0.85),
        f.hue_colour(hue + turn, 0.75, 1.0),
        f.hue_colour(hue + 2 * turn, 0.25, 1.0),
    )
    ground = f.hue_colour(hue + 0.5 + 0.5 * turn, 0.9, 0.95)
    return torch.lerp(ground, printed, f.step(f.person(images), 0.5, 0.2)) * f.xdog(tone, 1.0, 14, 0.1, 8)
