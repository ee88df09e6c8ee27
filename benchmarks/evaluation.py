"""Evaluation compared with lightly and scikit-learn: nearest neighbors, a linear sweep, features.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --images 50000 --queries 10000

Nearest neighbors and probes use random features of dimension 512. Features are extracted by ResNets-18 with random
weights from random images: of 32 pixels, with the stem for small images, and of 224 pixels.
"""

import os
from collections.abc import Callable

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # otherwise it contacts a server

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from rounds import DEVICE, Comparison, describe_conditions, parse_arguments, show
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

import sslzoo.modules.backbones  # noqa: F401  (registers resnet18_cifar)
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch
from sslzoo.data.images import Images, Indices
from sslzoo.data.loader import ordered_batches
from sslzoo.evaluation.features import encode_images
from sslzoo.evaluation.knn import knn_predict
from sslzoo.evaluation.linear import fit_linear
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.modules.backbones import BackboneConfig, create_backbone

REPEATS, WIDTH, CLASSES, K = 5, 512, 10, 200
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def compare_knn(images: int, queries: int) -> Comparison:
    """Compare weighted kNN with k = 200."""
    from lightly.utils.benchmarking.knn import knn_predict as lightly

    generator = torch.Generator().manual_seed(0)
    support, query = (F.normalize(torch.randn(n, WIDTH, generator=generator)).to(DEVICE) for n in (images, queries))
    labels = torch.arange(images, device=DEVICE) % CLASSES
    classifier = KNeighborsClassifier(K, weights=lambda d: np.exp((1 - d) / 0.1), algorithm="brute", metric="cosine")
    classifier.fit(support.cpu().numpy(), labels.cpu().numpy())

    def run_lightly() -> Tensor:
        parts = torch.split(query, 256)  # one batch at a time, as in its benchmark
        return torch.cat([lightly(part, support.T, labels, CLASSES, K, 0.1)[:, 0] for part in parts])

    def run_sslzoo() -> Tensor:
        return knn_predict(support, labels, query, classes=CLASSES, k=K, temperature=0.1)

    assert (run_sslzoo() == run_lightly()).float().mean() > 0.999
    return Comparison(
        f"kNN, {queries:,} queries among {images:,} features of {WIDTH}, k {K}",
        "queries a second",
        queries,
        {
            "scikit-learn, KNeighborsClassifier": lambda: classifier.predict(query.cpu().numpy()),
            "lightly, knn_predict in batches of 256": run_lightly,
            "sslzoo, knn_predict": run_sslzoo,
        },
    )


def compare_sweeps(images: int) -> Comparison:
    """Compare linear probes with several settings on cached features."""
    features = torch.randn(images, WIDTH, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    labels = torch.arange(images, device=DEVICE) % CLASSES
    grid = LinearGrid(epochs=2)

    def run_one_by_one() -> None:
        for setting in grid.settings():
            head = nn.Linear(WIDTH, CLASSES).to(DEVICE)
            optimizer = torch.optim.SGD(
                head.parameters(),
                lr=setting["lr"],
                momentum=grid.momentum,
                nesterov=True,
                weight_decay=setting["weight_decay"],
            )
            for _ in range(grid.epochs):
                for rows in torch.split(torch.randperm(images, device=DEVICE), grid.batch_size):
                    optimizer.zero_grad()
                    F.cross_entropy(head(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

    return Comparison(
        f"linear probes of {len(grid.settings())} settings, {grid.epochs} epochs of {images:,} cached features",
        "",
        1,
        {
            "torch, one nn.Linear after the other": run_one_by_one,
            "sslzoo, all as one matrix": lambda: fit_linear(features, labels, classes=CLASSES, grid=grid, seed=0),
        },
    )


class RandomImages(Images):
    """Random decoded images (3, size, size)."""

    decoded = True

    def __init__(self, count: int, size: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
        self.size = size
        self.ids, self.labels, self.classes, self.channels = np.arange(count), None, [], 3
        self.fingerprint = "noise"

    def gather(self, indices: Indices) -> Batch:
        """Return the images at these indices."""
        return self._batch(torch.from_numpy(self.pixels[indices]), torch.full((len(indices), 2), self.size), indices)


def compare_encoding(images: int, name: str, size: int) -> Comparison:
    """Compare feature extraction from decoded images (3, size, size)."""
    noise = RandomImages(images, size)
    encoder = create_backbone(BackboneConfig(name=name), in_chans=3, img_size=size, view_sizes=[size])
    encoder.to(DEVICE).eval()
    augmentation = Augmentation(size=size, crop="center")
    accelerator = Accelerator(cpu=DEVICE.type == "cpu")

    def create_views(batch: Batch) -> list[Tensor]:
        return [create_view(augmentation, batch, seed=0, epoch=0, view=0, mean=MEAN, std=STD)]

    def run_sslzoo(precision: torch.dtype | None = None) -> None:
        with torch.autocast(DEVICE.type, precision or torch.bfloat16, enabled=precision is not None):
            for _ in encode_images(encoder, noise, create_views, accelerator, batch_size=128, workers=0):
                pass

    def run_one_by_one() -> None:
        prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
        with torch.no_grad():
            for stored in ordered_batches(noise, 128):
                images = [Image.fromarray(each) for each in stored.pixels.permute(0, 2, 3, 1).numpy()]
                encoder(torch.stack([prepare(image) for image in images]).to(DEVICE)).cpu()

    contenders: dict[str, Callable[[], object]] = {
        "torchvision's transforms, image by image": run_one_by_one,
        "sslzoo, encode": run_sslzoo,
        "sslzoo, encode, bf16": lambda: run_sslzoo(torch.bfloat16),
    }
    title = f"features of {name}, {images:,} images of {size} pixels, batch 128"
    return Comparison(title, "images a second", images, contenders)


def report(console: Console, images: int, queries: int) -> None:
    """Run all comparisons and print their tables."""
    show(console, compare_knn(images, queries), REPEATS)
    show(console, compare_sweeps(images), REPEATS)
    show(console, compare_encoding(queries // 4, "resnet18_cifar", 32), REPEATS)
    show(console, compare_encoding(queries // 16, "resnet18", 224), REPEATS)


def main() -> None:
    """Print the tables."""
    asked = parse_arguments(__doc__, images=20_000, queries=2_000)
    console = Console()
    report(console, asked.images, asked.queries)
    console.print(describe_conditions(REPEATS))


if __name__ == "__main__":
    main()
