"""The composition of layers, names and flags: precedence, and errors in one line."""

from pathlib import Path

import pytest
import yaml

from sslzoo.config.layers import config_names, find_layer, merge, read_layer
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.experiment.by_method import SECTIONS
from sslzoo.experiment.compose import compose
from sslzoo.experiment.evaluation import EvaluationConfig
from sslzoo.experiment.resume import compose_resumed
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError


def test_names_choose_parts_and_flags_change_their_settings() -> None:
    config = compose(["--method", "moco", "--target=adaptive-hard", "--target.neighbors", "5", "--epochs", "3"])
    assert (config.method.name, config.target.name, config.loss.name) == ("moco", "adaptive-hard", "cross-entropy")
    assert (config.target.neighbors, config.epochs) == (5, 3)


def test_default_is_ascl_on_the_digits() -> None:
    config = compose([])
    assert (config.method.name, config.target.name, config.dataset.name) == ("ascl", "adaptive-soft", "digits")


@pytest.mark.parametrize(("dataset", "size"), [("cifar10", 32), ("cifar100", 32), ("stl10", 64), ("tiny-imagenet", 64)])
def test_default_settings_of_ascl_are_those_of_the_paper(dataset: str, size: int) -> None:
    config = compose(["--method", "ascl", "--dataset", dataset, "--backbone", "resnet18", "--epochs", "200"])
    assert (config.img_size, config.batch_size, config.epochs) == (size, 256, 200)
    assert config.optimizer.model_dump(include={"name", "lr", "momentum", "weight_decay", "decay_all"}) == {
        "name": "momentum", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4, "decay_all": True,
    }  # fmt: skip
    assert (config.schedule.name, config.schedule.warmup_epochs, config.schedule.warmup_lr) == ("cosine", 5, 0)
    assert (config.method.queue_size, config.method.momentum, config.method.split_bn) == (4096, 0.99, 8)
    assert config.method.projector.model_dump() == {
        "layers": 2,
        "hidden": 2048,
        "out": 128,
        "norm": "none",
        "out_norm": "none",
        "activation": "relu",
    }
    assert config.method.views == ("strong", "weak")
    assert (config.loss.temperature, config.target.temperature, config.target.neighbors) == (0.1, 0.05, 1)
    strong = config.augmentation("strong")
    assert strong.size == size
    assert (strong.crop_scale, strong.flip, strong.jitter) == ((0.2, 1.0), 0.5, 0.8)
    assert (strong.brightness, strong.contrast, strong.saturation, strong.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (strong.grayscale, strong.blur, strong.blur_sigma) == (0.2, 0.5, (0.1, 2.0))
    weak = config.augmentation("weak")
    assert (weak.crop_scale, weak.flip, weak.jitter, weak.grayscale, weak.blur) == ((0.2, 1.0), 0.5, 0, 0, 0)
    assert config.augmentation("probe").crop_scale == (0.08, 1.0)


def test_new_optimizer_drops_the_settings_of_the_old_one() -> None:
    byol = ["--method", "byol", "--dataset", "cifar10", "--optimizer.weight-decay", "0.1"]
    assert compose(byol).optimizer.kwargs == {"trust_coeff": 0.02, "trust_clip": True}
    optimizer = compose([*byol, "--optimizer.name", "adamw", "--optimizer.lr=0.001"]).optimizer
    assert (optimizer.name, optimizer.lr, optimizer.lr_batch, optimizer.kwargs) == ("adamw", 0.001, None, {})
    assert optimizer.weight_decay == 0.1
    with pytest.raises(UserError, match=r"^optimizer\.name = 'adamx'"):  # the error names no file
        compose([*byol, "--optimizer", "adamx"])


def test_imagenet_config_has_the_settings_of_moco() -> None:
    config = compose(["--config", "paper/ascl-imagenet-1k"])
    assert (config.method.queue_size, config.method.momentum, config.img_size) == (65536, 0.999, 224)
    assert (config.optimizer.weight_decay, config.backbone.name, config.loss.temperature) == (1e-4, "resnet50", 0.1)


@pytest.mark.parametrize("name", [n for n in config_names() if n != "default" and not n.startswith("method/")])
def test_shipped_config_is_valid(name: str) -> None:
    folder, _, stem = name.partition("/")
    if folder == "evaluation":
        ((_, job),) = compose_jobs(["--untrained", "--protocol", stem])
        assert job.evaluation != EvaluationConfig(labels_per_class=1, draws=20)  # the protocol of the digits
    else:
        compose(["--dataset", stem] if folder == "dataset" else ["--config", name])


@pytest.mark.parametrize("name", config_names("method"))
def test_each_section_of_a_method_config_is_valid(name: str) -> None:
    method = name.removeprefix("method/")
    assert set(read_layer(find_layer(name))) <= set(SECTIONS)
    for dataset in ("digits", "cifar10", "imagenet-1k"):
        assert compose(["--method", method, "--dataset", dataset]).method.name == method


def test_unknown_section_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text("by_method: smal\n")
    with pytest.raises(UserError, match=r"rows\.yaml: by_method = smal: must be digits, small, imagenet or a mapping"):
        compose(["--config", str(file)])


def test_settings_of_a_config_override_rows_of_its_included_layers() -> None:
    assert compose(["--config", "paper/ascl-cifar100"]).target.neighbors == 5  # 1 in the recipe's rows


@pytest.mark.parametrize("name", config_names("paper"))
def test_paper_config_begins_with_command_hardware_time_and_results(name: str) -> None:
    comment = [line for line in find_layer(name).read_text().splitlines() if line.startswith("#")]
    text = "\n".join(comment)
    for needed in (f"--config {name}", "hardware:", "time:", "measured:", "expected:"):
        assert needed in text


def test_printed_config_composes_to_itself(tmp_path: Path) -> None:
    first = compose(["--method", "byol", "--target", "hard", "--target.neighbors", "3", "--dataset", "cifar10"])
    file = tmp_path / "config.yaml"
    file.write_text(first.as_yaml())
    again = compose(["--config", str(file)])
    assert again.model_dump() == first.model_dump()
    assert yaml.safe_load(first.as_yaml())["method"]["name"] == "byol"


def test_later_layers_override_earlier_ones_and_flags_override_layers(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("epochs: 5\nmethod: {queue_size: 512}\n")
    (tmp_path / "a.yaml").write_text("include: base.yaml\nbatch_size: 64\n")
    (tmp_path / "b.yaml").write_text("epochs: 7\n")
    layers = ["--config", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    config = compose(layers)
    assert (config.epochs, config.batch_size, config.method.queue_size) == (7, 64, 512)
    assert compose([*layers, "--epochs", "9"]).epochs == 9


def test_new_method_drops_the_settings_of_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(compose(["--method", "ascl", "--method.queue-size", "64"]).as_yaml())
    config = compose(["--config", str(file), "--method", "byol"])
    assert (config.method.name, config.target.name, config.loss.name) == ("byol", "one-hot", "cosine")
    kept = compose(["--config", str(file), "--target", "hard"])
    assert (kept.method.queue_size, kept.target.name) == (64, "hard")


def test_partial_group_keeps_the_defaults_of_its_other_settings() -> None:
    heads = METHODS.get("byol").Config(projector={"out": 64}, predictor={"out": 64})
    assert (heads.projector.norm, heads.projector.hidden, heads.predictor.hidden) == ("batch", 2048, 512)


def test_new_name_replaces_the_settings_of_a_part() -> None:
    below = {"method": {"name": "moco", "queue_size": 3}, "epochs": 1}
    assert merge(below, {"method": {"name": "byol"}})["method"] == {"name": "byol"}
    assert merge(below, {"method": {"momentum": 0.9}})["method"] == {"name": "moco", "queue_size": 3, "momentum": 0.9}


@pytest.mark.parametrize("kwargs", ["{}", "{channels: [8, 8, 8, 8]}", "{drop_path_rate: 0.1}"])
def test_saved_config_with_kwargs_composes_to_itself(kwargs: str, tmp_path: Path) -> None:
    experiment = compose(["--method", "moco", "--backbone.kwargs", kwargs])
    (tmp_path / "config.yaml").write_text(experiment.as_yaml())
    assert compose(["--config", str(tmp_path / "config.yaml")]).model_dump() == experiment.model_dump()


@pytest.mark.parametrize("target", ["one-hot", "hard", "adaptive-hard", "adaptive-soft"])
def test_row_gives_another_target_the_settings_that_it_has(target: str) -> None:
    experiment = compose(["--method", "ascl", "--target", target, "--dataset", "cifar10"])
    settings = experiment.target.model_dump()
    assert settings.get("neighbors", 1) == 1
    assert settings.get("temperature", 0.05) == 0.05
    digits = compose(["--method", "ascl", "--target", target]).target.model_dump()
    assert digits.get("neighbors", 20) == 20


def test_method_without_pairs_has_no_target_and_no_loss(tmp_path: Path) -> None:
    config = compose(["--config", "paper/ascl-cifar10", "--method", "barlow-twins"])
    assert (config.target, config.loss) == (None, None)
    file = tmp_path / "config.yaml"
    file.write_text(config.as_yaml())
    assert compose(["--config", str(file)]).as_yaml() == config.as_yaml()
    paired = compose(["--config", str(file), "--method", "byol"])
    assert (paired.target.name, paired.loss.name) == ("one-hot", "cosine")
    file.write_text("method: vicreg\ntarget: hard\n")
    with pytest.raises(UserError, match="--target hard: vicreg compares no pairs and accepts no target"):
        compose(["--config", str(file)])


def test_null_target_is_the_default_of_the_method(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("by_method:\n  moco: {target: null}\nmethod: ascl\ntarget:\nloss:\n")
    config = compose(["--config", str(file)])
    assert (config.target.name, config.loss.name) == ("adaptive-soft", "cross-entropy")


def test_rows_by_method_apply_to_that_method_and_its_presets(tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text("by_method:\n  moco: {method: {queue_size: 7}}\n  ascl: {target: {neighbors: 4}}\n")
    ascl = compose(["--config", str(file), "--method", "ascl"])
    assert (ascl.method.queue_size, ascl.target.neighbors) == (7, 4)
    assert compose(["--config", str(file), "--method", "moco"]).method.queue_size == 7
    assert compose(["--config", str(file), "--method", "byol"]).method.name == "byol"


INVALID_FLAGS = {
    "--method asl": "--method asl: no such method; did you mean ascl?",
    "--target hrd": "--target hrd: no such target; did you mean hard?",
    "--dataset cifr10": "--dataset cifr10: no such data set; did you mean cifar10 or cifar100?",
    "--method.queue-siz 5": "Unrecognized options: --method.queue-siz, 5; did you mean --method.queue-size?",
    "--epoch 5": "Unrecognized options: --epoch, 5; did you mean --epochs or",
    "--confg x.yaml": "Unrecognized options: --confg, x.yaml; did you mean --config?",
    "--method.queue-size x": "--method.queue-size: 'x' is not a whole number",
    "--optimizer.lr fast": "--optimizer.lr: 'fast' is not a number",
    "--method.queue-size 0": "method.queue_size = 0: input should be greater than 0",
    "--method.projector.hidden 0": "method.projector.hidden = 0: input should be greater than 0",
    "--method.split-bn 8 --batch-size 100": "method.split_bn = 8: must divide the batch of 100 images",
    "--method.split-bn 8 --batch-size 8": "method.split_bn = 8: each group of batch norm has 1 image, but needs",
    "--batch-size 256 --accumulate 3": "batch_size = 256: must be a multiple of accumulate, which is 3",
    "--compile perhaps": "--compile: 'perhaps' must be true or false",
    "--optimizer.kwargs {betas": "--optimizer.kwargs: '{betas' is not a mapping such as '{key: value}'",
    "--optimizer adamx": "timm has no such optimizer; did you mean",
    "--method moco --loss cosine": "--method moco --loss cosine: cosine only attracts, and moco has no predictor",
    "--optimizer lamb": "--optimizer lamb: requires --optimizer.lr as well; 0.003 is the learning rate of adamw",
    "--method byol --method.projector.out 32": "predictor.out = 64: must be projector.out, 32",
    "--config nowhere.yaml": "--config nowhere.yaml: no such file, nor a config of that name",
    "--config paper/ascl-cifar": "did you mean paper/ascl-cifar10",
    "--plugin nowhere.py": "--plugin nowhere.py: no such file",
    "--method": "expected one argument",
    "--method.views strong sideways": "method.views = ['strong', 'sideways']: no such augmentation: sideways",
}


@pytest.mark.parametrize("arguments", INVALID_FLAGS)
def test_invalid_flag_is_a_one_line_error(arguments: str) -> None:
    with pytest.raises(UserError) as error:
        compose(arguments.split())
    assert INVALID_FLAGS[arguments] in str(error.value)
    assert "\n" not in str(error.value)


INVALID_FILES = {
    "epoch: 3": "config.yaml: epoch: no such setting; did you mean epochs?",
    "method: {queue_sise: 3}": "config.yaml: method.queue_sise: no such setting; did you mean queue_size?",
    "method: {name: byol, queue_size: 3}": "config.yaml: method.queue_size: no such setting",
    "epochs: many": "config.yaml: epochs = 'many': input should be a valid integer",
    "[1, 2]": "a config must be a mapping of settings, not a list",
    "epochs: [": "not readable as YAML",
    "include: nothing": "config.yaml: include nothing: no such file, nor a config of that name",
    "include: config.yaml": "includes itself",
    "by_method: {mocco: {}}": "by_method.mocco: no such method; did you mean moco",
    "by_method: {byol: {method: {queue_size: 3}}}": "by_method.byol.method.queue_size: no such setting",
    "augmentations: {strng: {flip: 0.5}}": "augmentations.strng: no view of ascl uses this augmentation; did you",
    "method: {projector: {hiden: 3}}": "method.projector.hiden: no such setting; did you mean hidden?",
}


@pytest.mark.parametrize("content", INVALID_FILES)
def test_invalid_file_is_a_one_line_error_that_names_the_file(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(UserError) as error:
        compose(["--config", str(file)])
    assert INVALID_FILES[content] in str(error.value)
    assert "\n" not in str(error.value)


def test_resumed_run_keeps_its_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        compose_resumed(tmp_path, [])
    (tmp_path / "config.yaml").write_text(compose(["--epochs", "5"]).as_yaml())
    assert compose_resumed(tmp_path, ["--threads", "1"]).epochs == 5
    with pytest.raises(UserError, match="a resumed run keeps its settings, but epochs was 5 and is now 6"):
        compose_resumed(tmp_path, ["--epochs", "6"])


def test_resumed_run_keeps_the_resolved_auto_settings(tmp_path: Path) -> None:
    asked = compose([])
    assert (asked.precision, asked.compile_augmentations) == ("auto", "auto")
    (tmp_path / "config.yaml").write_text(asked.resolve_auto("bf16", False).as_yaml())
    for words in ([], ["--precision", "auto", "--compile-augmentations", "auto"], ["--precision", "bf16"]):
        resumed = compose_resumed(tmp_path, words)
        assert (resumed.precision, resumed.compile_augmentations) == ("bf16", False)
    with pytest.raises(UserError, match="a resumed run keeps its settings, but precision was bf16 and is now fp32"):
        compose_resumed(tmp_path, ["--precision", "fp32"])


@pytest.mark.parametrize(
    ("words", "value"), [("", True), ("true", True), ("False", False), ("auto", "auto"), ("AUTO", "auto")]
)
def test_auto_switch_accepts_a_word_or_none(words: str, value: bool | str) -> None:
    assert compose(["--compile-augmentations", *words.split(), "--seed", "3"]).compile_augmentations == value
    with pytest.raises(UserError, match=r"--compile-augmentations: .*'on' must be auto, true or false"):
        compose(["--compile-augmentations", "on"])


def test_settings_of_a_plugin_are_flags(tmp_path: Path) -> None:
    plugin = tmp_path / "sharp.py"
    plugin.write_text(
        "from sslzoo.targets import TARGETS, Target\n\n"
        "@TARGETS.register('sharp')\n"
        "class Sharp(Target):\n"
        "    class Config(Target.Config):\n"
        "        power: int = 2\n"
    )
    config = compose(["--plugin", str(plugin), "--method", "moco", "--target", "sharp", "--target.power", "3"])
    assert (config.target.name, config.target.power, config.plugin) == ("sharp", 3, (str(plugin),))
    file = tmp_path / "config.yaml"
    file.write_text(config.as_yaml())
    assert compose(["--config", str(file)]).target.power == 3


@pytest.mark.parametrize(("words", "value"), [("", True), ("true", True), ("True", True), ("false", False)])
def test_switch_accepts_a_word_or_none(words: str, value: bool) -> None:
    assert compose(["--compile", *words.split(), "--seed", "3"]).compile is value


def test_help_shows_the_settings_of_the_chosen_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        compose(["--method", "byol", "--help"])
    assert not stopped.value.code
    text = capsys.readouterr().out
    assert "--method.predictor.hidden" in text
    assert "--method.queue-size" not in text


def test_no_flag_is_a_prefix_of_a_launchers_flag() -> None:
    """torchrun also parses the flags after the script, and expands prefixes of its own flags."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    launchers = [parser for parser in (get_args_parser(), launch_command_parser()) if parser.allow_abbrev]
    theirs = [option for parser in launchers for action in parser._actions for option in action.option_strings]
    names = [*type(compose([])).model_fields, "config", "resume", "print-config"]
    ours = ["--" + name.replace("_", "-") for name in names]
    assert not [(flag, option) for flag in ours for option in theirs if option.startswith(flag)]
