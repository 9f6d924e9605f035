"""The losses against values worked out by hand."""

import pytest
import torch

from magicapture.faces.critic import FaceCritic, face_window, shrunk_faces
from magicapture.faces.recogniser import align
from magicapture.method.losses import identity_loss, masked_mse, pull_norms


def test_error_outside_the_mask_does_not_count() -> None:
    prediction, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 5.0], [3.0, 7.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert masked_mse(prediction, target, mask).tolist() == [(1 + 9) / 2]


def test_a_small_mask_weighs_as_much_as_a_large_one() -> None:
    prediction, target = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, 0, 0, 0] = 1
    masks[1] = 1
    assert masked_mse(prediction, target, masks).tolist() == pytest.approx([4.0, 4.0])


def test_an_empty_mask_gives_zero_and_no_nan() -> None:
    assert masked_mse(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 0


def test_identity_is_zero_for_the_same_face_and_one_for_an_unrelated_one() -> None:
    faces = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    person = torch.tensor([1.0, 0.0])
    assert identity_loss(faces, person, torch.ones(2)).item() == pytest.approx(0.5)
    assert identity_loss(faces, person, torch.tensor([1.0, 0.0])).item() == 0


def test_face_window_holds_what_the_recogniser_sees_and_stays_inside() -> None:
    landmarks = torch.tensor([[[40.0, 48.0], [60.0, 48.0], [50.0, 60.0], [42.0, 70.0], [58.0, 70.0]]])
    rows, columns = face_window(landmarks, 16, 16, 8)
    # Centre (50, 59.2), reach 35 px: 15…85 across and 24.2…94.2 down, one latent of 8 px more on each side.
    assert (columns.start, columns.stop) == (0, 12)
    assert (rows.start, rows.stop) == (2, 13)
    rows, columns = face_window(landmarks, 8, 8, 8)
    assert rows.stop == 8
    assert columns.stop == 8


def test_a_learned_word_is_kept_about_as_long_as_known_ones() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    pull_norms(rows, torch.tensor(1.0), 0.25)
    assert rows.norm(dim=1).tolist() == pytest.approx([4.0, 0.625])
    assert torch.allclose(rows[0] / rows[0].norm(), torch.tensor([0.6, 0.8]))


def test_the_recogniser_sees_all_pixels_of_a_large_face_and_not_every_third() -> None:
    eyes = torch.tensor([[200.0, 220.0], [306.0, 220.0], [253.0, 280.0], [210.0, 340.0], [296.0, 340.0]])[None]
    columns = torch.arange(512)
    stripes = torch.where(columns % 3 == 0, 1.0, -0.5).expand(1, 3, 512, 512)  # grey from afar
    assert align(stripes, eyes).std() > 0.1
    assert align(*shrunk_faces(stripes, eyes, 35.2)).std() < 0.02
    assert FaceCritic(torch.nn.Identity())(stripes, eyes, stripes).std() < 0.02
    small, landmarks = shrunk_faces(stripes[..., :64, :64], eyes / 8, 35.2)
    assert small.shape[-1] == 64
    assert torch.equal(landmarks, eyes / 8), "a small face stays as it is"


def test_a_face_stays_where_it_was_when_it_is_shrunk() -> None:
    picture = torch.zeros(1, 1, 90, 90)
    picture[..., 30:33, 60:63] = 9.0
    points = torch.tensor([[[61.0, 31.0], [7.0, 31.0], [0, 0], [0, 0], [0, 0]]])
    small, landmarks = shrunk_faces(picture, points, 18.0)
    x, y = landmarks[0, 0].round().int().tolist()
    assert small[0, 0, y, x] == 9.0
