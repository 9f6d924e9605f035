"""Alignment and recogniser: what the identity loss stands on."""

from copy import deepcopy

import numpy as np
import onnxruntime
import pytest
import torch
from skimage.transform import SimilarityTransform

from magicapture.faces.builtin import RECOGNISER
from magicapture.faces.recogniser import ARCFACE_TEMPLATE, align, similarity_transform


def face_colours(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_alignment_is_exact_on_a_case_computed_by_hand() -> None:
    square = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    # A quarter turn (x, y) → (-y, x), twice as large, moved by (5, 7).
    turned = torch.tensor([[[5.0, 7.0], [5.0, 9.0], [3.0, 9.0], [3.0, 7.0]]])
    expected = torch.tensor([[[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]]])
    assert torch.allclose(similarity_transform(square, turned), expected, atol=1e-6)


def test_alignment_agrees_with_an_independent_solution_on_uneven_faces() -> None:
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(2, 5, 2)) * 30 + 50
    expected = SimilarityTransform.from_estimate(source, target).params[:2]
    ours = similarity_transform(torch.tensor(source)[None], torch.tensor(target)[None])[0]
    assert np.allclose(ours.numpy(), expected, atol=1e-6)


def test_an_aligned_face_has_its_landmarks_where_recognisers_expect_them() -> None:
    landmarks = (ARCFACE_TEMPLATE * 1.5 + 20).round()
    for i, (x, y) in enumerate(landmarks.int().tolist()):
        picture = torch.full((1, 3, 220, 220), -1.0)
        picture[..., y - 2 : y + 3, x - 2 : x + 3] = 1
        light = (align(picture, landmarks[None])[0, 0] + 1).double()
        centre_x = (light.sum(0) * torch.arange(112)).sum() / light.sum()
        centre_y = (light.sum(1) * torch.arange(112)).sum() / light.sum()
        assert torch.allclose(torch.stack([centre_x, centre_y]).float(), ARCFACE_TEMPLATE[i], atol=0.5)


def test_the_identity_loss_uses_the_same_network_as_the_likeness_score() -> None:
    images = face_colours(1)
    session = onnxruntime.InferenceSession(RECOGNISER.path, providers=["CPUExecutionProvider"])
    values = ((images + 1) * 127.5 - RECOGNISER.mean) / RECOGNISER.std
    expected = session.run(None, {session.get_inputs()[0].name: values.numpy()})[0].reshape(-1)
    ours = RECOGNISER.load()(images)[0]
    assert np.abs(ours.numpy() - expected / np.linalg.norm(expected)).max() < 1e-4


def test_a_batch_of_two_faces_is_not_mixed_up() -> None:
    images, network = face_colours(2), RECOGNISER.load()
    one_by_one = torch.cat([network(images[:1]), network(images[1:])])
    assert network(images).shape == one_by_one.shape
    assert torch.allclose(network(images), one_by_one, atol=1e-5)


def test_the_identity_loss_pushes_pixels_in_the_right_direction() -> None:
    generator = torch.Generator().manual_seed(2)
    network = deepcopy(RECOGNISER.load()).double()
    picture = torch.rand(1, 3, 128, 128, generator=generator, dtype=torch.float64) * 2 - 1
    landmarks = (ARCFACE_TEMPLATE.double() + 8)[None]
    target = torch.nn.functional.normalize(torch.randn(1, 512, generator=generator, dtype=torch.float64))
    direction = torch.randn(picture.shape, generator=generator, dtype=torch.float64)

    def likeness(pixels: torch.Tensor) -> torch.Tensor:
        return (network(align(pixels, landmarks)) * target).sum()

    (gradient,) = torch.autograd.grad(likeness(picture.requires_grad_()), picture)
    step = 1e-8  # longer steps cross kinks of the PReLUs
    with torch.no_grad():
        slope = (likeness(picture + step * direction) - likeness(picture - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)
    assert abs(slope.item()) > 1e-4
