"""Turn the hyperspectral image Indian Pines into a folder of small images of 16 bands, which sslzoo trains on.

    pip install --no-deps tensorly
    python examples/indian_pines.py data/indian_pines

The image shows farmland in Indiana: 145 x 145 pixels of 20 m with 200 bands of 16 bits and 16 kinds of land cover
(Baumgardner, Biehl and Landgrebe 2015, doi 10.4231/R7RX991C). A labeled pixel becomes an image of the 7 x 7 pixels
around it, in every 13th band. Squares of 16 x 16 pixels belong to train and test in turn; pixels near the edge of their
square are left out, so that no pixel is part of a train and of a test image, and so are classes with few pixels.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

CLASSES = (
    "alfalfa", "corn-notill", "corn-mintill", "corn", "grass-pasture", "grass-trees", "grass-pasture-mowed",
    "hay-windrowed", "oats", "soybean-notill", "soybean-mintill", "soybean-clean", "wheat", "woods",
    "buildings-grass-trees-drives", "stone-steel-towers",
)  # fmt: skip
SQUARE, RADIUS, FEWEST = 16, 3, 15
BANDS = slice(2, 200, 13)
"""16 bands, from 0.42 to 2.4 micrometers."""


def main(folder: Path) -> None:
    """Write `folder/train/CLASS/ROW-COLUMN.npy` and `folder/test/...`, (7, 7, 16) uint16."""
    package = find_spec("tensorly")
    if package is None or package.origin is None:
        sys.exit("error: Indian Pines is part of tensorly; `pip install --no-deps tensorly`")
    data = Path(package.origin).parent / "datasets" / "data"
    image = np.load(data / "Indian_pines_corrected.npy")[..., BANDS].astype(np.uint16)
    labels = np.load(data / "Indian_pines_gt.npy")
    row, column = np.indices(labels.shape)
    whole = (row + RADIUS < len(image)) & (column + RADIUS < len(image))
    inside = whole & np.all([(i % SQUARE >= RADIUS) & (i % SQUARE < SQUARE - RADIUS) for i in (row, column)], axis=0)
    square = (row // SQUARE + column // SQUARE) % 2
    splits = {"train": inside & (square == 0), "test": inside & (square == 1)}
    for number, name in enumerate(CLASSES, start=1):
        chosen = {split: np.argwhere(pixels & (labels == number)) for split, pixels in splits.items()}
        if min(map(len, chosen.values())) < FEWEST:
            continue
        for split, centers in chosen.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for y, x in centers:
                window = image[y - RADIUS : y + RADIUS + 1, x - RADIUS : x + RADIUS + 1]
                np.save(folder / split / name / f"{y}-{x}.npy", window)
        print(f"{name:20} {len(chosen['train']):5} images in train, {len(chosen['test']):5} in test")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
