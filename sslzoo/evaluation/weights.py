"""Select the weights to evaluate: of a run, of timm, of the Hub, or of a file."""

from pathlib import Path

from sslzoo.runtime.errors import UserError, near_misses


def select_weights(weights: object, backbone: str | None = None) -> list[str]:
    """Return the arguments of `compose_jobs` that select weights.

    Args:
        weights: a run (an object with the attribute `path`, or the path of its folder), a name of timm such as
            `resnet50.a1_in1k`, `hf-hub:owner/model`, `local-dir:path`, the path of a file, or None for the weights that
            further settings select.
        backbone: name of the model; needed for a file that does not name it.

    Raises:
        UserError: there are no such weights, or `backbone` is missing or cannot be combined with them.
    """
    if weights is None:
        return [] if backbone is None else ["--backbone", backbone]
    named = getattr(weights, "path", weights)
    if not isinstance(named, str | Path):
        raise UserError(f"weights: is a {type(weights).__name__}; must be a run, a path, or a name of timm or the Hub")
    path = Path(named).expanduser()
    if path.is_file():
        from sslzoo.weights.read import read_metadata  # imports torch

        name = backbone or read_metadata(path).get("timm_model")
        if name is None:
            raise UserError(f"weights {named}: does not name its model; give its name in timm as backbone=")
        return ["--backbone", name, "--checkpoint", str(path)]
    if path.is_dir() or isinstance(named, Path):
        if backbone is not None:
            raise UserError(f"backbone {backbone}: cannot be combined with the run {named}, which defines the encoder")
        return [str(path)]
    _require_model(named)
    if backbone is not None:
        raise UserError(f"backbone {backbone}: cannot be combined with the weights {named}, which name the model")
    return ["--backbone", named, "--pretrained"]


def _require_model(name: str) -> None:
    import timm

    if ":" in name:
        return
    architecture = name.partition(".")[0]
    if "/" in name or not timm.is_model(architecture):
        raise UserError(
            f"weights {name}: no such run folder or file, nor a model of timm"
            f"{near_misses(architecture, timm.list_models())}; hf-hub:OWNER/MODEL is a model on the Hub"
        )
