"""Multi-crop: encoding of views of several sizes, the swapped prediction loss, and backbones for several sizes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.multi_crop import encode_views, score_swapped_predictions
from sslzoo.modules.backbones import BackboneConfig, create_backbone, feature_width
from sslzoo.modules.batch_norm import SplitBatchNorm2d
from sslzoo.runtime.errors import UserError


class Recorder(nn.Module):
    """Returns the mean of each image, and records the shapes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return images.mean(dim=(2, 3))


def views(*sizes: int, n: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(sizes))
    return [torch.randn(n, 3, size, size, generator=generator) for size in sizes]


def test_views_of_equal_size_are_encoded_in_one_pass_and_keep_their_order() -> None:
    crops, encoder = views(8, 8, 4, 8, 4), Recorder()
    encoded = encode_views(encoder, crops)
    assert encoder.shapes == [(18, 3, 8, 8), (12, 3, 4, 4)]
    assert encoded.shape == (5, 6, 3)
    for view, features in zip(crops, encoded, strict=True):
        torch.testing.assert_close(features, view.mean(dim=(2, 3)))


def test_batch_norm_normalizes_views_of_equal_size_together() -> None:
    crops, norm = views(8, 8, 4), nn.BatchNorm2d(3)
    encoded = encode_views(lambda x: norm(x).amax(dim=(2, 3)), crops)
    for size, numbers in ((8, [0, 1]), (4, [2])):
        together = torch.cat([crops[number] for number in numbers])
        centered = together - together.mean(dim=(0, 2, 3), keepdim=True)
        expected = centered / (together.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + norm.eps).sqrt()
        found = torch.cat([encoded[number] for number in numbers])
        torch.testing.assert_close(found, expected.amax(dim=(2, 3)), atol=1e-5, rtol=1e-5, msg=str(size))


def test_half_the_images_form_half_the_groups_of_batch_norm() -> None:
    crops = views(8, 8)

    def normalized(images: list[Tensor], splits: int) -> Tensor:
        norm = SplitBatchNorm2d(nn.BatchNorm2d(3), splits)
        return encode_views(lambda x: norm(x).amax(dim=(2, 3)), images)

    halves = [normalized([view[part] for view in crops], 1) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(torch.cat(halves, dim=1), normalized(crops, 2))


def test_swapped_prediction_loss_is_the_mean_over_pairs_of_different_views() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)
    targets = targets / targets.sum(dim=-1, keepdim=True)
    logits = 4 * torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    total, pairs = 0.0, 0
    for target in range(2):
        for view in range(4):
            if view == target:
                continue
            pairs += 1
            for row in range(3):
                normalizer = logits[view, row].exp().sum().log()
                for k in range(5):
                    total -= (targets[target, row, k] * (logits[view, row, k] - normalizer)).item() / 3
    assert pairs == 6
    assert score_swapped_predictions(targets.float(), logits.float()).item() == pytest.approx(total / pairs, rel=1e-5)
    sharp = F.one_hot(targets.argmax(dim=-1), 5).float()
    assert score_swapped_predictions(sharp, 100 * sharp[[0, 1]]).item() == pytest.approx(
        100.0 * (sharp[0] != sharp[1]).any(dim=1).float().mean().item(), abs=1e-4
    )


@pytest.mark.parametrize("sizes", [(32, 16), (16, 32)])
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_convnext", "resnet10t", "xcit_nano_12_p16_224"])
def test_backbone_accepts_views_of_other_sizes(name: str, sizes: tuple[int, int]) -> None:
    size, other = (2 * side for side in sizes)
    backbone = create_backbone(BackboneConfig(name=name), in_chans=3, img_size=size, view_sizes=[size, other])
    for side in (size, other):
        assert backbone.eval()(torch.randn(2, 3, side, side)).shape == (2, feature_width(backbone))


def test_vit_for_several_sizes_is_the_same_model() -> None:
    torch.manual_seed(0)
    plain = create_backbone(BackboneConfig(name="test_vit"), in_chans=3, img_size=64).eval()
    torch.manual_seed(0)
    dynamic = create_backbone(BackboneConfig(name="test_vit"), in_chans=3, img_size=64, view_sizes=[32]).eval()
    images = torch.randn(2, 3, 64, 64)
    assert plain.state_dict().keys() == dynamic.state_dict().keys()
    assert torch.equal(plain(images), dynamic(images))


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        (
            "mixer_s32_224",
            96,
            r"--backbone mixer_s32_224: does not accept 96 x 96 images: .*doesn't match model \(224\)",
        ),
        ("test_vit", 40, r"--backbone test_vit: does not accept 40 x 40 images: .*divisible by patch size \(16\)"),
    ],
)
def test_unsupported_size_is_a_one_line_error(name: str, other: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        create_backbone(BackboneConfig(name=name), in_chans=3, img_size=224, view_sizes=[224, 224, other])
    assert "\n" not in str(error.value)
