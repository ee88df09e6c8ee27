"""Classifiers that run the encoder, and cached features, on images whose class is their brightness."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from datasets import ClassLabel, Dataset, Features, Image
from rich.console import Console
from torch import nn

import sslzoo.evaluation.checkpoint
import sslzoo.evaluation.fine_tune
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.images import EncodedImages
from sslzoo.data.skipped import Skipped
from sslzoo.evaluation.augmented import AugmentedProbe
from sslzoo.evaluation.checkpoint import ClassifierCheckpoints
from sslzoo.evaluation.classifier import Classifier
from sslzoo.evaluation.crops import Crops
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.evaluation.features import encode_images
from sslzoo.evaluation.fine_tune import FineTuning, add_classifier
from sslzoo.evaluation.linear import LinearHeads, Standardizer
from sslzoo.evaluation.store import FeatureStore
from sslzoo.evaluation.transform import Transform
from sslzoo.experiment.evaluation import FineTuneConfig, LinearGrid
from sslzoo.modules.optim import ScheduleConfig, create_optimizer
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import Steps

QUIET = Console(quiet=True)
TEST = Augmentation(size=16)
TRANSFORM = Transform(TEST, (0.5,), (0.25,), "of a test")


def create_images(n: int, seed: int) -> EncodedImages:
    """Create n grayscale images of 16 pixels; class 0 is dark, 1 is bright."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pixels = [generator.integers(0, 120, (16, 16), dtype=np.uint8) + np.uint8(130 * label) for label in labels]
    features = Features(image=Image(), label=ClassLabel(names=["dark", "bright"]))
    table = Dataset.from_dict({"image": pixels, "label": labels}, features=features)
    every = np.arange(n)
    return EncodedImages(
        table,
        "image",
        ids=every,
        labels=labels,
        classes=["dark", "bright"],
        channels=1,
        short_side=None,
        name="test",
        skipped=Skipped(0),
    )


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", in_chans=1, num_classes=0)


def create_store(encoder: nn.Module, root: Path, **identity: str) -> FeatureStore:
    return FeatureStore(root, encoder, identity, Accelerator(cpu=True), batch_size=16, workers=0)


def evaluate_on_images(encoder: nn.Module, root: Path, probe: Augmentation) -> EvaluatedEncoder:
    train, test = create_images(40, 0), create_images(20, 1)
    store = create_store(encoder, root)
    features = [store.load_features(part, TRANSFORM, Steps(QUIET, "", len(part))) for part in (train, test)]
    accelerator = Accelerator(cpu=True)
    checkpoints = ClassifierCheckpoints(root / "unfinished", "of a test", accelerator)
    return EvaluatedEncoder(
        encoder, TRANSFORM, probe, train, test, *features, accelerator, QUIET, 16, workers=0, checkpoints=checkpoints
    )


def test_cached_features_are_those_of_the_encoder(encoder: nn.Module, tmp_path: Path) -> None:
    part = create_images(40, 0)
    features = create_store(encoder, tmp_path).load_features(part, TRANSFORM, Steps(QUIET, "", 40))
    with torch.no_grad():
        expected = encoder.eval()(TRANSFORM(part.gather(np.arange(40))))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert (features.shape, features.dtype) == ((40, encoder.num_features), torch.float32)
    assert isinstance(np.load(next(tmp_path.glob("*.npy")), mmap_mode="r"), np.memmap)


def test_only_the_encoder_runs_in_half_precision(encoder: nn.Module) -> None:
    seen = []

    class HalfAccelerator:
        device = torch.device("cpu")

        def autocast(self) -> torch.autocast:
            return torch.autocast("cpu", dtype=torch.bfloat16)

    encoder.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].clone(), output.dtype)))
    part = create_images(4, 0)
    (features,) = encode_images(encoder, part, TRANSFORM.create_views, HalfAccelerator(), batch_size=4, workers=0)
    ((view, dtype),) = seen
    assert torch.equal(view, TRANSFORM(part.gather(np.arange(4))))
    assert (dtype, features.dtype) == (torch.bfloat16, torch.float32)


def test_features_of_crops_are_averaged(encoder: nn.Module, tmp_path: Path) -> None:
    part, crop = create_images(10, 0), Augmentation(size=16, crop="random", crop_scale=(0.25, 0.5))
    cropped = replace(TRANSFORM, crops=Crops(3, "patch", crop, seed=5))
    store = create_store(encoder, tmp_path)
    features = store.load_features(part, cropped, Steps(QUIET, "", 10))
    stored = part.gather(np.arange(10))
    views = [TRANSFORM.create_view(crop, stored, seed=5, epoch=number) for number in range(3)]
    assert not torch.equal(views[0], views[1])
    with torch.no_grad():
        expected = torch.stack([encoder.eval()(view) for view in views]).mean(dim=0)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    others = [Crops(2, "patch", crop, seed=5), Crops(3, "patch", crop, seed=6), Crops(3, "weak", TEST, seed=5), None]
    files = {store.locate(part, replace(TRANSFORM, crops=other)) for other in (cropped.crops, *others)}
    assert len(files) == 5


def test_every_input_of_the_features_changes_the_file(encoder: nn.Module, tmp_path: Path) -> None:
    part, same = create_images(10, 0), create_store(encoder, tmp_path, model="a")
    other_size = Transform(Augmentation(size=20), (0.5,), (0.25,), "")
    other_mean = Transform(TEST, (0.4,), (0.25,), "")
    files = [same.locate(part, t) for t in (TRANSFORM, other_size, other_mean)]
    files += [same.locate(create_images(10, 1), TRANSFORM), same.locate(part.subset(np.arange(5)), TRANSFORM)]
    files += [create_store(encoder, tmp_path, model="b").locate(part, TRANSFORM)]
    again = create_store(encoder, tmp_path, model="a").locate(part, Transform(TEST, (0.5,), (0.25,), "other words"))
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    files += [create_store(encoder, tmp_path, model="a").locate(part, TRANSFORM)]
    assert len(set(files)) == len(files) == 7
    assert again == files[0]


def test_interrupted_extraction_leaves_no_file(encoder: nn.Module, tmp_path: Path) -> None:
    part = create_images(40, 0)
    store = create_store(encoder, tmp_path)
    calls = []

    def stop(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # the first call finds the width
            raise KeyboardInterrupt

    encoder.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        store.load_features(part, TRANSFORM, Steps(QUIET, "", 40))
    assert list(tmp_path.iterdir()) == []
    assert store.load_features(part, TRANSFORM, Steps(QUIET, "", 40)).shape[0] == 40


def damage_features(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_features,
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: file.with_suffix(".json").write_text("{"),
        lambda file: file.with_suffix(".json").unlink(),
    ],
)
def test_damaged_features_are_extracted_again(
    damage: Callable[[Path], object], encoder: nn.Module, tmp_path: Path
) -> None:
    part = create_images(10, 0)
    store = create_store(encoder, tmp_path)
    expected = store.load_features(part, TRANSFORM, Steps(QUIET, "", 10)).clone()
    assert store.has_features(part, TRANSFORM)
    damage(store.locate(part, TRANSFORM))
    assert not store.has_features(part, TRANSFORM)
    assert torch.equal(store.load_features(part, TRANSFORM, Steps(QUIET, "", 10)), expected)
    assert store.has_features(part, TRANSFORM)


def test_features_that_are_not_finite_are_an_error(encoder: nn.Module, tmp_path: Path) -> None:
    encoder.register_forward_hook(
        lambda module, inputs, output: output.where(torch.arange(len(output))[:, None] != 1, torch.nan)
    )
    store = create_store(encoder, tmp_path)
    with pytest.raises(UserError, match="features: NaN or Inf for 1 of 10 images of a batch; the weights are damaged"):
        store.load_features(create_images(10, 0), TRANSFORM, Steps(QUIET, "", 10))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache_folder_is_an_error(encoder: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--dataset.cache-dir .*: .*; name another folder for features"):
        create_store(encoder, tmp_path / "file").load_features(create_images(4, 0), TRANSFORM, Steps(QUIET, "", 4))


@pytest.mark.parametrize("standardize", [True, False])
def test_augmented_probe_without_augmentation_equals_the_probe_on_features(
    encoder: nn.Module, tmp_path: Path, standardize: bool
) -> None:
    evaluated = evaluate_on_images(encoder, tmp_path, TEST)
    grid = LinearGrid(learning_rates=(0.1, 0.5), weight_decays=(0.0,), epochs=3, batch_size=8, standardize=standardize)
    train = np.arange(30)
    predicted = AugmentedProbe(evaluated, grid, seed=5).predict(train, np.arange(30, 40))
    features, labels = evaluated.train_features[train], torch.from_numpy(evaluated.train.labels)[train]
    scale = Standardizer(features, active=standardize)
    heads = LinearHeads(features.shape[1], 2, grid, features.device)
    for epoch in range(3):
        order = permutation(30, 5, epoch)[:24].view(3, 8)
        for step, chosen in enumerate(order):
            heads.step(scale(features[chosen]), labels[chosen], (3 * epoch + step) / 9)
    assert torch.equal(predicted, heads.logits(scale(evaluated.train_features[30:])).argmax(dim=2).T)
    assert predicted.shape == (2, 10)


def test_augmented_probe_learns_from_new_views_in_each_epoch(encoder: nn.Module, tmp_path: Path) -> None:
    probe = Augmentation(size=16, crop="random", flip=0.5)
    evaluated = evaluate_on_images(encoder, tmp_path, probe)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    seen = []
    encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    encoder.train()
    classifier = AugmentedProbe(evaluated, LinearGrid(learning_rates=(0.1,), epochs=2), seed=0)
    assert (
        classifier.rank_test(np.arange(40), 0)[:, 0] == torch.from_numpy(evaluated.test.labels)
    ).float().mean() > 0.9
    assert len(seen) == 2
    assert not torch.equal(seen[0].sum(dim=(1, 2, 3)).sort().values, seen[1].sum(dim=(1, 2, 3)).sort().values)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_fine_tuning_trains_a_copy_of_the_encoder(encoder: nn.Module, tmp_path: Path) -> None:
    evaluated = evaluate_on_images(encoder, tmp_path, Augmentation(size=16, crop="random", crop_scale=(0.5, 1.0)))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    config = FineTuneConfig(epochs=6, batch_size=20, learning_rates=(1e-3, 1e-2), schedule={"warmup_epochs": 1})
    classifier = FineTuning(evaluated, config, seed=0)
    predicted = classifier.predict(np.arange(30), np.arange(30, 40))
    assert predicted.shape == (2, 10)
    ranking = classifier.rank_test(np.arange(40), 1)
    assert (ranking[:, 0] == torch.from_numpy(evaluated.test.labels)).float().mean() > 0.9
    assert torch.equal(ranking, classifier.rank_test(np.arange(40), 1))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.num_classes == 0


def test_added_classifier_starts_at_zero(encoder: nn.Module) -> None:
    assert torch.equal(add_classifier(encoder, 3)(torch.randn(2, 1, 16, 16)), torch.zeros(2, 3))


@pytest.mark.parametrize("decay", [None, 0.5])
def test_learning_rate_decays_by_layer(
    encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float | None
) -> None:
    optimizers = []

    def create_and_store(*args: object) -> torch.optim.Optimizer:
        optimizers.append(create_optimizer(*args))
        return optimizers[-1]

    monkeypatch.setattr(sslzoo.evaluation.fine_tune, "create_optimizer", create_and_store)
    config = FineTuneConfig(
        epochs=1, learning_rates=(0.01,), layer_decay=decay, schedule=ScheduleConfig(name="constant", warmup_epochs=0)
    )
    FineTuning(evaluate_on_images(encoder, tmp_path, TEST), config, seed=0).rank_test(np.arange(40), 0)
    scales = sorted({group.get("lr_scale", 1.0) for group in optimizers[0].param_groups}, reverse=True)
    assert scales[:3] == ([1.0] if decay is None else [1.0, 0.5, 0.25])


def test_nonfinite_loss_is_an_error(encoder: nn.Module, tmp_path: Path) -> None:
    config = FineTuneConfig(
        epochs=3,
        learning_rates=(1e30,),
        layer_decay=None,
        optimizer={"name": "sgd"},
        schedule={"warmup_epochs": 0},
    )
    with pytest.raises(UserError, match=r"learning_rates: with 1e\+30 the loss is nan at step .*; use a lower rate"):
        FineTuning(evaluate_on_images(encoder, tmp_path, TEST), config, seed=0).rank_test(np.arange(40), 0)


@pytest.mark.parametrize("kind", ["augmented", "fine-tune"])
def test_interrupted_training_resumes_bit_identically(
    encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    probe = Augmentation(size=16, crop="random", flip=0.5)

    def create_classifier(root: Path) -> Classifier:
        evaluated = evaluate_on_images(encoder, root, probe)
        if kind == "augmented":
            return AugmentedProbe(evaluated, LinearGrid(learning_rates=(0.05,), epochs=5, batch_size=16), seed=0)
        config = FineTuneConfig(epochs=5, batch_size=16, learning_rates=(1e-3,), schedule={"warmup_epochs": 1})
        return FineTuning(evaluated, config, seed=0)

    def compute_logits(root: Path) -> torch.Tensor:
        classifier = create_classifier(root)
        trained = classifier._train(np.arange(40), 1e-3) if kind == "fine-tune" else None
        if trained is not None:
            return classifier._compute_logits(trained, classifier.evaluated.test)
        return classifier._compute_logits(np.arange(40), classifier.grid, classifier.evaluated.test_features)

    whole = compute_logits(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.pt"))  # too short for a checkpoint
    monkeypatch.setattr(sslzoo.evaluation.checkpoint, "SAVE_SECONDS", 0)
    monkeypatch.setattr(sslzoo.evaluation.fine_tune, "CHECK_LOSS_EVERY", 1)
    seen = []

    def stop(module: nn.Module, *_: object) -> None:
        seen.append(1)
        if len(seen) == 12:
            raise KeyboardInterrupt

    hooked = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: stop(module) if type(module).__name__ == "ResNet" else None
    )
    with pytest.raises(KeyboardInterrupt):
        compute_logits(tmp_path / "cut")
    hooked.remove()
    states = list((tmp_path / "cut" / "unfinished").glob("*.pt"))
    assert len(states) == 1
    assert 0 < torch.load(states[0], weights_only=True)["step"] < 10
    monkeypatch.setattr(sslzoo.evaluation.checkpoint, "SAVE_SECONDS", 3600)
    assert torch.equal(compute_logits(tmp_path / "cut"), whole)
    states[0].write_bytes(b"damaged")
    assert torch.equal(compute_logits(tmp_path / "cut"), whole)


def test_checkpoints_are_keyed_by_settings_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslzoo.evaluation.checkpoint, "SAVE_SECONDS", 0)
    checkpoints = ClassifierCheckpoints(tmp_path, "key", Accelerator(cpu=True))
    checkpoint = checkpoints.open("a", b"b")
    checkpoint.save_if_due(3, lambda: {"x": torch.ones(2)})
    step, state = checkpoints.open("a", b"b").load()
    assert (step, state["x"].tolist()) == (3, [1, 1])
    assert checkpoints.open("a", b"c").load() == (0, {})
    checkpoints.delete_opened()
    assert list(tmp_path.iterdir()) == []
