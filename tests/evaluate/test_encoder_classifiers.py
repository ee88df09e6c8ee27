"""Classifiers that run the encoder, and features on disk, on images whose class is their brightness."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from datasets import ClassLabel, Dataset, Features, Image
from rich.console import Console
from torch import nn

import sslzoo.evaluate.fine_tune
import sslzoo.evaluate.unfinished
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.images import EncodedImages
from sslzoo.data.skipped import Skipped
from sslzoo.evaluate.augmented import AugmentedProbe
from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.features import encode
from sslzoo.evaluate.fine_tune import FineTuning, with_classifier
from sslzoo.evaluate.linear import LinearHeads, Standardizer
from sslzoo.evaluate.store import FeatureStore
from sslzoo.evaluate.subject import Subject
from sslzoo.evaluate.transform import Transform
from sslzoo.evaluate.unfinished import Unfinished
from sslzoo.experiment.evaluation import FineTuneConfig, LinearGrid
from sslzoo.modules.optim import ScheduleConfig, create_optimizer
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import Steps

QUIET = Console(quiet=True)
TEST = Augmentation(size=16)
TRANSFORM = Transform(TEST, (0.5,), (0.25,), "of a test")


def images(n: int, seed: int) -> EncodedImages:
    """n grayscale images of 16 pixels; class 0 is dark, 1 is bright."""
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


def store(encoder: nn.Module, root: Path, **made_of: str) -> FeatureStore:
    return FeatureStore(root, encoder, made_of, Accelerator(cpu=True), batch_size=16, workers=0)


def subject(encoder: nn.Module, root: Path, probe: Augmentation) -> Subject:
    train, test = images(40, 0), images(20, 1)
    kept = store(encoder, root)
    features = [kept.features(part, TRANSFORM, Steps(QUIET, "", len(part))) for part in (train, test)]
    accelerator = Accelerator(cpu=True)
    unfinished = Unfinished(root / "unfinished", "of a test", accelerator)
    return Subject(
        encoder, TRANSFORM, probe, train, test, *features, accelerator, QUIET, 16, workers=0, unfinished=unfinished
    )


def test_features_on_disk(encoder: nn.Module, tmp_path: Path) -> None:
    part = images(40, 0)
    features = store(encoder, tmp_path).features(part, TRANSFORM, Steps(QUIET, "", 40))
    with torch.no_grad():
        expected = encoder.eval()(TRANSFORM(part.gather(np.arange(40))))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert (features.shape, features.dtype) == ((40, encoder.num_features), torch.float32)
    assert isinstance(np.load(next(tmp_path.iterdir()), mmap_mode="r"), np.memmap)


def test_half_precision_is_the_encoders_alone(encoder: nn.Module) -> None:
    seen = []

    class HalfAccelerator:
        device = torch.device("cpu")

        def autocast(self) -> torch.autocast:
            return torch.autocast("cpu", dtype=torch.bfloat16)

    encoder.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].clone(), output.dtype)))
    part = images(4, 0)
    (features,) = encode(encoder, part, TRANSFORM, HalfAccelerator(), batch_size=4, workers=0)
    ((view, dtype),) = seen
    assert torch.equal(view, TRANSFORM(part.gather(np.arange(4))))
    assert (dtype, features.dtype) == (torch.bfloat16, torch.float32)


def test_another_file_for_whatever_changes_the_features(encoder: nn.Module, tmp_path: Path) -> None:
    part, same = images(10, 0), store(encoder, tmp_path, model="a")
    other_size = Transform(Augmentation(size=20), (0.5,), (0.25,), "")
    other_mean = Transform(TEST, (0.4,), (0.25,), "")
    files = [same.file(part, t) for t in (TRANSFORM, other_size, other_mean)]
    files += [same.file(images(10, 1), TRANSFORM), same.file(part.subset(np.arange(5)), TRANSFORM)]
    files += [store(encoder, tmp_path, model="b").file(part, TRANSFORM)]
    again = store(encoder, tmp_path, model="a").file(part, Transform(TEST, (0.5,), (0.25,), "other words"))
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    files += [store(encoder, tmp_path, model="a").file(part, TRANSFORM)]
    assert len(set(files)) == len(files) == 7
    assert again == files[0]


def test_nothing_half_written_is_left(encoder: nn.Module, tmp_path: Path) -> None:
    part = images(40, 0)
    kept = store(encoder, tmp_path)
    calls = []

    def stop(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # the first call finds the width
            raise KeyboardInterrupt

    encoder.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        kept.features(part, TRANSFORM, Steps(QUIET, "", 40))
    assert list(tmp_path.iterdir()) == []
    assert kept.features(part, TRANSFORM, Steps(QUIET, "", 40)).shape[0] == 40


def test_a_folder_that_cannot_be_written(encoder: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--dataset.cache-dir .*: .*; name another folder for features"):
        store(encoder, tmp_path / "file").features(images(4, 0), TRANSFORM, Steps(QUIET, "", 4))


@pytest.mark.parametrize("standardize", [True, False])
def test_augmented_probe_without_augmentation_is_the_probe_on_features(
    encoder: nn.Module, tmp_path: Path, standardize: bool
) -> None:
    judged = subject(encoder, tmp_path, TEST)
    grid = LinearGrid(learning_rates=(0.1, 0.5), weight_decays=(0.0,), epochs=3, batch_size=8, standardize=standardize)
    learn = np.arange(30)
    found = AugmentedProbe(judged, grid, seed=5).guess(learn, np.arange(30, 40))
    features, labels = judged.train_features[learn], torch.from_numpy(judged.train.labels)[learn]
    scale = Standardizer(features, active=standardize)
    heads = LinearHeads(features.shape[1], 2, grid, features.device)
    for epoch in range(3):
        order = permutation(30, 5, epoch)[:24].view(3, 8)
        for step, chosen in enumerate(order):
            heads.step(scale(features[chosen]), labels[chosen], (3 * epoch + step) / 9)
    assert torch.equal(found, heads.logits(scale(judged.train_features[30:])).argmax(dim=2).T)
    assert found.shape == (2, 10)


def test_augmented_probe_learns_and_sees_other_views(encoder: nn.Module, tmp_path: Path) -> None:
    probe = Augmentation(size=16, crop="random", flip=0.5)
    judged = subject(encoder, tmp_path, probe)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    seen = []
    encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    encoder.train()
    classifier = AugmentedProbe(judged, LinearGrid(learning_rates=(0.1,), epochs=2), seed=0)
    assert (classifier.rank(np.arange(40), 0)[:, 0] == torch.from_numpy(judged.test.labels)).float().mean() > 0.9
    assert len(seen) == 2
    assert not torch.equal(seen[0].sum(dim=(1, 2, 3)).sort().values, seen[1].sum(dim=(1, 2, 3)).sort().values)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_fine_tuning_learns_a_copy(encoder: nn.Module, tmp_path: Path) -> None:
    judged = subject(encoder, tmp_path, Augmentation(size=16, crop="random", crop_scale=(0.5, 1.0)))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    config = FineTuneConfig(epochs=6, batch_size=20, learning_rates=(1e-3, 1e-2), schedule={"warmup_epochs": 1})
    classifier = FineTuning(judged, config, seed=0)
    answers = classifier.guess(np.arange(30), np.arange(30, 40))
    assert answers.shape == (2, 10)
    ranking = classifier.rank(np.arange(40), 1)
    assert (ranking[:, 0] == torch.from_numpy(judged.test.labels)).float().mean() > 0.9
    assert torch.equal(ranking, classifier.rank(np.arange(40), 1))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.num_classes == 0


def test_the_classifier_starts_at_zero(encoder: nn.Module) -> None:
    assert torch.equal(with_classifier(encoder, 3)(torch.randn(2, 1, 16, 16)), torch.zeros(2, 3))


@pytest.mark.parametrize("decay", [None, 0.5])
def test_layers_have_their_rates(
    encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float | None
) -> None:
    made = []

    def create(*args: object) -> torch.optim.Optimizer:
        made.append(create_optimizer(*args))
        return made[-1]

    monkeypatch.setattr(sslzoo.evaluate.fine_tune, "create_optimizer", create)
    config = FineTuneConfig(
        epochs=1, learning_rates=(0.01,), layer_decay=decay, schedule=ScheduleConfig(name="constant", warmup_epochs=0)
    )
    FineTuning(subject(encoder, tmp_path, TEST), config, seed=0).rank(np.arange(40), 0)
    scales = sorted({group.get("lr_scale", 1.0) for group in made[0].param_groups}, reverse=True)
    assert scales[:3] == ([1.0] if decay is None else [1.0, 0.5, 0.25])


def test_a_loss_that_is_not_finite_says_so(encoder: nn.Module, tmp_path: Path) -> None:
    config = FineTuneConfig(
        epochs=3,
        learning_rates=(1e30,),
        layer_decay=None,
        optimizer={"name": "sgd"},
        schedule={"warmup_epochs": 0},
    )
    with pytest.raises(UserError, match=r"learning_rates: with 1e\+30 the loss is nan at step .*; lower it"):
        FineTuning(subject(encoder, tmp_path, TEST), config, seed=0).rank(np.arange(40), 0)


@pytest.mark.parametrize("kind", ["augmented", "fine-tune"])
def test_a_stopped_training_goes_on_exactly(
    encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    probe = Augmentation(size=16, crop="random", flip=0.5)

    def classifier(root: Path) -> Classifier:
        judged = subject(encoder, root, probe)
        if kind == "augmented":
            return AugmentedProbe(judged, LinearGrid(learning_rates=(0.05,), epochs=5, batch_size=16), seed=0)
        config = FineTuneConfig(epochs=5, batch_size=16, learning_rates=(1e-3,), schedule={"warmup_epochs": 1})
        return FineTuning(judged, config, seed=0)

    def logits(root: Path) -> torch.Tensor:
        made = classifier(root)
        trained = made._train(np.arange(40), 1e-3) if kind == "fine-tune" else None
        if trained is not None:
            return made._logits(trained, made.subject.test)
        return made._logits(np.arange(40), made.grid, made.subject.test_features)

    whole = logits(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.pt"))  # it was over at once
    monkeypatch.setattr(sslzoo.evaluate.unfinished, "SECONDS", 0)
    monkeypatch.setattr(sslzoo.evaluate.fine_tune, "LOOK_EVERY", 1)
    seen = []

    def stop(module: nn.Module, *_: object) -> None:
        seen.append(1)
        if len(seen) == 12:
            raise KeyboardInterrupt

    hooked = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: stop(module) if type(module).__name__ == "ResNet" else None
    )
    with pytest.raises(KeyboardInterrupt):
        logits(tmp_path / "cut")
    hooked.remove()
    states = list((tmp_path / "cut" / "unfinished").glob("*.pt"))
    assert len(states) == 1
    assert 0 < torch.load(states[0], weights_only=True)["step"] < 10
    monkeypatch.setattr(sslzoo.evaluate.unfinished, "SECONDS", 3600)
    assert torch.equal(logits(tmp_path / "cut"), whole)
    states[0].write_bytes(b"damaged")
    assert torch.equal(logits(tmp_path / "cut"), whole)


def test_states_go_once_the_result_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslzoo.evaluate.unfinished, "SECONDS", 0)
    unfinished = Unfinished(tmp_path, "key", Accelerator(cpu=True))
    training = unfinished.training("a", b"b")
    training.save(3, lambda: {"x": torch.ones(2)})
    step, state = unfinished.training("a", b"b").load()
    assert (step, state["x"].tolist()) == (3, [1, 1])
    assert unfinished.training("a", b"c").load() == (0, {})
    unfinished.forget()
    assert list(tmp_path.iterdir()) == []
