"""Image filters that the procedural looks are made of: batched, on any device, pictures and tones in [0, 1].

Lengths are in pixels of a 256 px picture and scale with the picture's height, so that a look is the same at 128 px.
What does not depend on the pictures is kept per device: copying constants there would make the GPU wait each time.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE = 256
"""The height in pixels at which lengths are given."""

LUMA = (0.30, 0.59, 0.11)
"""Rec. 601 luma."""

BLUE_SENSITIVE = (0.12, 0.38, 0.50)
"""How the early emulsions saw colour: red dark, blue nearly white."""
TAPS = 9
"""Places at which a smear looks along its line."""


Colour = tuple[float, float, float]


@cache
def constant(values: Colour, device: torch.device) -> Tensor:
    """Three numbers as (1, 3, 1, 1)."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def uniform(like: Tensor, low: float, high: float) -> Tensor:
    """One random number per picture: (B, 1, 1, 1) in [low, high]."""
    return low + (high - low) * torch.rand(like.shape[0], 1, 1, 1, device=like.device)


def colour(like: Tensor, low: Colour, high: Colour) -> Tensor:
    """One colour per picture on the line between two: (B, 3, 1, 1)."""
    return torch.lerp(constant(low, like.device), constant(high, like.device), uniform(like, 0, 1))


def hue_colour(hue: Tensor, saturation: float, value: float) -> Tensor:
    """Colours (B, 3, 1, 1) of the hues (B, 1, 1, 1) in turns, as HSV defines them."""
    k = (constant((5.0, 3.0, 1.0), hue.device) + 6 * hue) % 6
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def axes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Give the coordinates of each pixel, x (1, 1, 1, W) and y (1, 1, H, 1) in [0, 1]."""
    return axes_of(*like.shape[-2:], like.device)


@cache
def axes_of(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give ``axes`` for a size."""
    x = (torch.arange(width, device=device) + 0.5) / width
    y = (torch.arange(height, device=device) + 0.5) / height
    return x.view(1, 1, 1, width), y.view(1, 1, height, 1)


def ellipse(like: Tensor, centre: tuple[float, float], radii: tuple[float, float], softness: float) -> Tensor:
    """Mask (1, 1, H, W) that falls from 1 inside an ellipse to 0 outside it."""
    return ellipse_of(*axes(like), centre, radii, softness)


@cache
def ellipse_of(
    x: Tensor, y: Tensor, centre: tuple[float, float], radii: tuple[float, float], softness: float
) -> Tensor:
    """Give ``ellipse`` for coordinates as ``axes`` keeps them."""
    radius = (((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2).sqrt()
    return torch.sigmoid((1 - radius) / softness)


def face(like: Tensor) -> Tensor:
    """Where the face is in an aligned portrait, (1, 1, H, W) in [0, 1]."""
    return ellipse(like, (0.5, 0.56), (0.19, 0.25), 0.08)


def luma(images: Tensor, weights: Colour = LUMA) -> Tensor:
    """Brightness (B, 1, H, W) of images (B, 3, H, W)."""
    return (images * constant(weights, images.device)).sum(1, keepdim=True)


def face_tone(tone: Tensor, middle: float, spread: float, keep: float = 0.3) -> Tensor:
    """Bring the face to the same mean and contrast whatever the light and the skin; ``keep`` of its own mean stays."""
    mask = face(tone)
    total = mask.sum()
    mean = (tone * mask).sum((2, 3), keepdim=True) / total
    deviation = (((tone - mean) ** 2 * mask).sum((2, 3), keepdim=True) / total).sqrt().clamp_min(0.05)
    return (middle + keep * (mean - 0.5) + spread * (tone - mean) / deviation).clamp(0, 1)


def saturate(images: Tensor, factor: float | Tensor) -> Tensor:
    """Scale the distance of each colour to its grey."""
    return torch.lerp(luma(images).expand_as(images), images, factor).clamp(0, 1)


def relight(images: Tensor, tone: Tensor) -> Tensor:
    """Give images (B, 3, H, W) the brightness ``tone`` (B, 1, H, W), half by light and half by tint: hues stay."""
    grey = luma(images)
    return (images * (0.5 + 0.5 * tone / grey.clamp_min(0.1)) + 0.5 * (tone - grey)).clamp(0, 1)


def step(tone: Tensor, at: float | Tensor, width: float | Tensor) -> Tensor:
    """Soft threshold: 0 below ``at``, 1 above it, over about ``width``."""
    return torch.sigmoid((tone - at) * (4 / width))


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, separable; a wide one runs on a reduced picture."""
    h, w = images.shape[-2:]
    sigma = sigma * h / REFERENCE
    if sigma > 4:
        factor = 2 ** int(math.log2(sigma / 2))
        small = blur(F.avg_pool2d(images, factor), sigma / factor * REFERENCE * factor / h)
        return F.interpolate(small, (h, w), mode="bilinear")
    kernel = gaussian(sigma, images.device)
    flat = F.pad(images.reshape(-1, 1, h, w), (len(kernel) // 2,) * 4, mode="reflect")
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return flat.view_as(images)


@cache
def gaussian(sigma: float, device: torch.device) -> Tensor:
    """Kernel (2R + 1,) of sum 1."""
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=device) / max(sigma, 0.2)) ** 2)
    return kernel / kernel.sum()


def noise(like: Tensor, cell: float) -> Tensor:
    """Smooth random field (B, 1, H, W) in about [0, 1] with bumps of size ``cell``."""
    h, w = like.shape[-2:]
    cell = max(cell * h / REFERENCE, 1)
    coarse = torch.rand(like.shape[0], 1, round(h / cell), round(w / cell), device=like.device)
    return coarse if cell == 1 else F.interpolate(coarse, (h, w), mode="bicubic")


def paper(like: Tensor) -> Tensor:
    """Fine grain and slow clouds of a sheet, (B, 1, H, W) around 0 within about ±0.5."""
    return 0.5 * noise(like, 1.5) + 0.3 * noise(like, 4) + 0.2 * noise(like, 60) - 0.5


def sharpen(tone: Tensor, sigma: float, amount: float) -> Tensor:
    """Unsharp mask, clamped to [0, 1]."""
    return (tone + amount * (tone - blur(tone, sigma))).clamp(0, 1)


def standardise(field: Tensor) -> Tensor:
    """Bring each picture's field to mean 0 and deviation 1."""
    return (field - field.mean((2, 3), keepdim=True)) / field.std((2, 3), keepdim=True).clamp_min(1e-4)


def gradient(tone: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, each (B, 1, H, W)."""
    padded = F.pad(tone, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def flow(tone: Tensor, sigma: float, habit: float) -> tuple[Tensor, Tensor]:
    """Direction along the forms, a unit vector per pixel, from the smoothed structure tensor (Kyprianidis 2009).

    Where there is no form, each picture has a direction of its own, by habit of the hand; ``habit`` is its strength.
    """
    dx, dy = gradient(blur(tone, 1.5))
    dx, dy = dx * 100, dy * 100
    xx, yy, xy = blur(torch.cat([dx * dx, dy * dy, dx * dy], 1), sigma).split(1, 1)
    angle = uniform(tone, 0, math.pi)
    across = 0.5 * torch.atan2(2 * xy + habit * torch.sin(2 * angle), xx - yy + habit * torch.cos(2 * angle))
    return -torch.sin(across), torch.cos(across)


def smear(field: Tensor, along: tuple[Tensor, Tensor], length: float) -> Tensor:
    """Average along a direction over ``length``: a line integral convolution (Cabral and Leedom 1993), straight."""
    h, w = field.shape[-2:]
    x, y = axes(field)
    base = torch.stack([(2 * x - 1).expand(1, 1, h, w), (2 * y - 1).expand(1, 1, h, w)], -1)[:, 0]
    direction = torch.stack([along[0][:, 0], along[1][:, 0]], -1) * (length / REFERENCE)
    total = torch.zeros_like(field)
    for tap in range(TAPS):
        grid = base + direction * (2 * tap / (TAPS - 1) - 1)
        total += F.grid_sample(field, grid, padding_mode="reflection", align_corners=False)
    return total / TAPS


def strokes(like: Tensor, along: tuple[Tensor, Tensor], width: float, length: float) -> Tensor:
    """Random streaks that follow a direction: (B, 1, H, W) with mean 0 and deviation 1."""
    return standardise(smear(noise(like, width), along, length))


def xdog(tone: Tensor, sigma: float, sharpness: float, level: float, slope: float) -> Tensor:
    """Ink lines, 0 on a line and 1 on paper: the extended difference of Gaussians (Winnemöller et al. 2012)."""
    near, far = blur(tone, sigma), blur(tone, 1.6 * sigma)
    difference = near + sharpness * (near - far)
    return torch.where(difference >= level, 1.0, 1 + torch.tanh(slope * (difference - level))).clamp(0, 1)


def outlines(tone: Tensor, sigma: float, strength: float) -> Tensor:
    """Lines alone, without the dark areas: 0 on a line, 1 elsewhere."""
    difference = blur(tone, 1.6 * sigma) - blur(tone, sigma)
    return 1 - torch.tanh((difference * strength - 0.15).clamp_min(0))


def kuwahara(images: Tensor, radius: float, sharpness: float = 6) -> Tensor:
    """Smooth areas and keep edges: of eight windows around a pixel, the calmest decide (Kuwahara 1976, Papari 2007)."""
    r = max(1, round(radius * images.shape[-2] / REFERENCE / 2))
    padded = F.pad(images, (2 * r,) * 4, mode="reflect")
    h, w = images.shape[-2:]
    both = F.avg_pool2d(torch.cat([padded, luma(padded) ** 2], 1), 2 * r + 1, stride=1)
    mean = both[:, :3]
    deviation = (both[:, 3:] - luma(mean) ** 2).clamp_min(0).sqrt()
    weight = (deviation + 0.01) ** -sharpness
    weighted = torch.cat([mean * weight, weight], 1)
    corners = ((0, 0), (0, r), (0, 2 * r), (r, 0), (r, 2 * r), (2 * r, 0), (2 * r, r), (2 * r, 2 * r))
    total = torch.stack([weighted[..., dy : dy + h, dx : dx + w] for dy, dx in corners]).sum(dim=0)
    return total[:, :3] / total[:, 3:]


def quantise(tone: Tensor, levels: Tensor, width: float = 0.15) -> Tensor:
    """Flatten to ``levels`` (B, 1, 1, 1) steps with short ramps between them."""
    scaled = tone * (levels - 1)
    lower = scaled.floor()
    return (lower + step(scaled - lower, 0.5, width)) / (levels - 1)


def gradient_map(tone: Tensor, *colours: Tensor) -> Tensor:
    """Map brightness to colours (B, 3, 1, 1), darkest first, evenly spaced and mixed in between."""
    scaled = tone.clamp(0, 1) * (len(colours) - 1)
    shares = [(1 - (scaled - i).abs()).clamp_min(0) * each for i, each in enumerate(colours)]
    return torch.stack(torch.broadcast_tensors(*shares)).sum(dim=0)


def rotated(like: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in pixels of a 256 px picture, turned by an angle (B, 1, 1, 1) for each picture."""
    x, y = axes(like)
    return (
        REFERENCE * (x * torch.cos(angle) + y * torch.sin(angle)),
        REFERENCE * (y * torch.cos(angle) - x * torch.sin(angle)),
    )


def dots(like: Tensor, period: float | Tensor, angle: Tensor) -> Tensor:
    """Amplitude-modulated halftone screen: thresholds (B, 1, H, W) in [0, 1]."""
    u, v = rotated(like, angle)
    scale = 2 * math.pi / period
    return 0.5 + 0.25 * (torch.cos(u * scale) + torch.cos(v * scale))


def cells(like: Tensor, size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Voronoi cells around one random point per square of ``size`` (Worley 1996).

    Gives each pixel's own point (B, H, W, 2) as ``grid_sample`` takes it, and the distances to the nearest and the
    second nearest point, (B, 1, H, W) in pixels of a 256 px picture.
    """
    h, w = like.shape[-2:]
    count = round(REFERENCE / size)
    x, y = axes(like)
    column, row = (x * count).floor().long().view(1, w), (y * count).floor().long().view(h, 1)
    points = 0.1 + 0.8 * torch.rand(like.shape[0], 2, count + 2, count + 2, device=like.device)
    best = torch.full((like.shape[0], h, w), 1e9, device=like.device)
    second, px, py = best, best, best
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = points[:, :, row + dy + 1, column + dx + 1]
            nx, ny = (column + dx + near[:, 0]) / count, (row + dy + near[:, 1]) / count
            distance = (nx - x[0]) ** 2 + (ny - y[0]) ** 2
            closer = distance < best
            second = torch.where(closer, best, torch.minimum(second, distance))
            px, py = torch.where(closer, nx, px), torch.where(closer, ny, py)
            best = torch.minimum(best, distance)
    own = torch.stack([2 * px - 1, 2 * py - 1], -1)
    return own, best.sqrt()[:, None] * REFERENCE, second.sqrt()[:, None] * REFERENCE


def person(images: Tensor) -> Tensor:
    """Guess where the sitter is, (B, 1, H, W): unlike the colours of the upper sides, or where a sitter always is."""
    sides = blur(images, 6)
    w = images.shape[-1]
    x, y = axes(images)
    left, right = sides[..., : w // 12].mean(-1, keepdim=True), sides[..., -w // 12 :].mean(-1, keepdim=True)
    upper = (y < 0.5).float()
    left, right = ((s * upper).sum(2, keepdim=True) / upper.sum() for s in (left, right))
    backdrop = left + (right - left) * x
    unlike = blur((images - backdrop).abs().sum(1, keepdim=True), 2)
    prior = torch.maximum(
        ellipse(images, (0.5, 0.5), (0.26, 0.42), 0.12), ellipse(images, (0.5, 1.1), (0.6, 0.27), 0.12)
    )
    return blur(torch.sigmoid(8 * (unlike - 0.35) + 7 * (prior - 0.4)), 1.5)
