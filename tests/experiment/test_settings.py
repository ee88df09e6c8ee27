"""Settings in Python compose the same configs as flags, and their errors are those of config files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sslzoo.methods.moco import MoCo

from sslzoo.experiment.compose import compose
from sslzoo.experiment.settings import find_part_names, nest_settings
from sslzoo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (["--method", "moco", "--epochs", "3"], {"method": "moco", "epochs": 3}),
        (["--method", "moco"], {"method": MoCo, "target": None}),
        (["--method", "moco", "--method.queue-size", "64"], {"method": {"name": "moco", "queue-size": 64}}),
        (["--method", "moco", "--method.queue-size", "64"], {"method.queue-size": np.int64(64), "method": "moco"}),
        (["--target.neighbors", "2", "--target", "hard"], {"target": {"neighbors": 2}, "target.name": "hard"}),
        (["--loss.temperature", "0.3"], {"loss": {"temperature": 0.3}}),
        (["--method", "byol", "--config", "paper/ascl-cifar10"], {"method": "byol"}),
        (["--config", "paper/ascl-cifar10", "--target.neighbors", "4"], {"target": {"neighbors": 4}}),
        (["--dataset", "cifar10", "--optimizer", "adamw", "--optimizer.lr", "0.001"],
         {"dataset": "cifar10", "optimizer": {"name": "adamw", "lr": 1e-3}}),
        (["--backbone.kwargs", "{zero_init_last: true}"], {"backbone.kwargs": {"zero_init_last": True}}),
        (["--augmentations.strong.crop-scale", "0.3", "1"], {"augmentations": {"strong": {"crop_scale": [0.3, 1]}}}),
        (["--dataset.test", "None", "--compile-augmentations", "false"],
         {"dataset": {"test": None}, "compile_augmentations": False}),
    ],
)  # fmt: skip
def test_settings_equal_flags(flags: list[str], settings: dict[str, Any]) -> None:
    words = flags[flags.index("--config") : flags.index("--config") + 2] if "--config" in flags else []
    assert compose(words, settings).as_yaml() == compose(flags).as_yaml()


def test_flags_win_over_settings_and_settings_over_files(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("epochs: 3\nbatch_size: 32\nknn_every: 5\n")
    config = compose(["--config", str(file), "--epochs", "9"], {"epochs": 4, "batch_size": 64})
    assert (config.epochs, config.batch_size, config.knn_every) == (9, 64, 5)


def test_new_augmentation_of_a_view() -> None:
    config = compose([], {"method": {"views": ["mine", "weak"]}, "augmentations": {"mine": {"flip": 0}}})
    assert config.augmentation("mine").flip == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "epoch: no such setting; did you mean epochs?"),
        ({"epochs": "many"}, "epochs = 'many': input should be a valid integer"),
        ({"method": 5}, "method = 5: must be a name or a mapping of settings"),
        ({"method": {"name": 5}}, "method.name = 5: must be a name"),
        ({"method": "mocoo"}, "--method mocoo: no such method; did you mean moco"),
        ({"method": {"queue_sise": 3}}, "method.queue_sise: no such setting; did you mean queue_size?"),
        ({"optimizer.learning": 3}, "optimizer.learning: no such setting"),
        ({"optimizer": "sgd"}, "--optimizer sgd: requires --optimizer.lr as well; 0.003 is the learning rate of adamw"),
        ({"method": "byol", "loss": "cross-entropi"}, "--loss cross-entropi: no such loss; did you mean cross-entropy"),
        ({"method": "vicreg", "target": "hard"}, "--target hard: vicreg compares no pairs and accepts no target"),
        ({"by_method": {"moco": {}}}, "by_method: belongs in a config file, which config= names"),
        ({"method": {"views": ["mine", "weak"]}}, "method.views = ['mine', 'weak']: no such augmentation: mine"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        compose([], settings)
    assert message in str(error.value)
    assert not str(error.value).startswith(":")


def test_names_of_parts() -> None:
    layer = nest_settings({"method": {"queue_size": 3}, "loss": "cosine", "dataset.name": "cifar10", "target": None})
    assert layer == {"method": {"queue_size": 3}, "loss": {"name": "cosine"}, "dataset": {"name": "cifar10"}}
    assert find_part_names(layer) == {"loss": "cosine", "dataset": "cifar10"}
