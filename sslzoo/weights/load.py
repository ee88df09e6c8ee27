"""Load the encoder of a checkpoint into a timm model: every tensor must match, or nothing is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from sslzoo.runtime.errors import UserError, join_names
from sslzoo.weights.adapters import merge_adapters
from sslzoo.weights.hints import find_head_mismatch, suggest_settings
from sslzoo.weights.layouts import PLAIN, Layout, collect_spellings, count_by_prefix, find_layout
from sslzoo.weights.names import lacks_relu, match_sequential, translate_names
from sslzoo.weights.read import read_tensors

COUNTER = ".num_batches_tracked"
"""Suffix of a batch norm buffer that old versions of torch did not save, and that evaluation does not need."""


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a file were loaded."""

    file: str
    project: str
    """Project whose layout the file has; empty for the names of timm and torchvision."""
    encoder: str
    """Prefix of the loaded encoder, in the file's spelling."""
    loaded: int
    left_out: list[str]
    """Tensors of the encoder that do not belong to the backbone: its classifier or projector."""
    others: dict[str, int]
    """Numbers of other tensors in the file, by prefix."""
    notes: list[str] = field(default_factory=list)
    """Unexpected properties of the file."""

    def __str__(self) -> str:
        prefix = f"({self.encoder})" if self.encoder else ""
        layout = " ".join(part for part in (self.project, prefix) if part)
        parts = [f"{self.loaded} of {self.loaded + len(self.left_out)} tensors loaded"]
        parts += [f"left out: {join_names(self.left_out)}"] if self.left_out else []
        parts += [f"not of this encoder: {_format_counts(self.others)}"] if self.others else []
        return f"{self.file}: {f'{layout}: ' if layout else ''}{'; '.join([*parts, *self.notes])}"


def load_checkpoint(model: nn.Module, path: Path, encoder: str | None = None) -> LoadReport:
    """Load the encoder of a file into a timm model without classifier.

    The layouts of other projects are recognized by their tensor names (`sslzoo.weights.layouts`). If a file contains
    several encoders, the one that its project evaluates is loaded. Except for classifier and projector, the tensors of
    the encoder and of the model must match exactly. Values are converted to the model's dtype.

    Args:
        path: a .safetensors file, or a file that `torch.load(weights_only=True)` reads.
        encoder: prefix of another encoder in the file, such as `module.encoder_k`.

    Raises:
        UserError: the file does not exist or contains no weights, no encoder or several encoders, the weights of
            another model, or non-finite values.
    """
    tensors = read_tensors(path)
    wanted = model.state_dict()
    layout, prefix = _choose_encoder(path, tensors, wanted, encoder)
    inside = merge_adapters(_select_below(tensors, prefix))
    names = translate_names(inside, wanted)
    given = {names[name]: value for name, value in inside.items()}
    patterns = (*(f"{head}.*" for head in _classifier_names(model)), *layout.left_out)
    left_out = [
        name for name in given if name not in wanted and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    kept = {name: value for name, value in given.items() if name not in left_out}
    counters = [name for name in wanted if name.endswith(COUNTER) and name not in kept]
    if mismatch := _describe_mismatch(wanted, kept, counters):
        problem = f"weights of another model{f' in {prefix}' if prefix else ''}"
        raise UserError(
            f"--backbone.checkpoint {path}: {problem}: {'; '.join([mismatch, *suggest_settings(wanted, kept)])}"
        )
    if broken := [name for name, value in kept.items() if not value.isfinite().all()]:
        raise UserError(
            f"--backbone.checkpoint {path}: {join_names(broken)} has NaN or Inf: the file is damaged, or its "
            "training diverged"
        )
    notes = [f"no num_batches_tracked in the file ({len(counters)} in the model)"] if counters else []
    notes += _collect_notes(layout, kept, lacks_relu(match_sequential(inside)))
    if heads := find_head_mismatch(model, kept):
        if layout.project == "MoCo v3":
            raise UserError(f"--backbone.checkpoint {path}: {heads}")
        notes.append(heads)
    model.load_state_dict(kept, strict=False)
    others = count_by_prefix((name for name in tensors if not _is_below(name, prefix)), beside=prefix)
    return LoadReport(path.name, layout.project, prefix, len(kept), left_out, others, notes)


def has_timm_input(path: Path) -> bool:
    """Whether the weights in a file are of timm, or of a project that preprocesses images as timm does.

    Raises:
        UserError: the file does not exist, or contains no weights.
    """
    layout, _ = find_layout(collect_spellings(read_tensors(path)))
    return layout.has_timm_input


def _choose_encoder(
    path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], encoder: str | None
) -> tuple[Layout, str]:
    """Return the layout of a file and the prefix of its encoder in the file's spelling."""
    known = collect_spellings(tensors)
    layout, plain = find_layout(known)
    if encoder is not None:
        spelled = {encoder} if any(_is_below(name, encoder) for name in tensors) else known.get(encoder, set())
        if len(spelled) != 1:
            available = _format_counts(count_by_prefix(tensors))
            raise UserError(f"--backbone.encoder {encoder}: {path} has no such prefix; available: {available}")
        return layout, spelled.pop()
    if layout is PLAIN:
        complete = [prefix for prefix in sorted(set().union(*known.values())) if _is_complete(tensors, prefix, wanted)]
        if len(complete) > 1:
            listed = ", ".join(prefix or "(no prefix)" for prefix in complete)
            raise UserError(
                f"--backbone.checkpoint {path}: contains several encoders, {listed}; "
                f"choose one with --backbone.encoder {complete[-1]}"
            )
        if complete:
            return layout, complete[0]
    fits = {prefix: len(_translated_names(tensors, prefix, wanted) & wanted.keys()) for prefix in known[plain]}
    best = max(fits, key=lambda prefix: fits[prefix])
    if layout is PLAIN and not fits[best]:
        lines = [
            f"contains no known encoder, but {_format_counts(count_by_prefix(tensors))}",
            *suggest_settings(wanted, tensors),
        ]
        raise UserError(
            f"--backbone.checkpoint {path}: {'; '.join(lines)}; if one of these is an encoder of this architecture, "
            "give its prefix with --backbone.encoder"
        )
    return layout, best


def _is_complete(tensors: Mapping[str, Tensor], prefix: str, wanted: Mapping[str, Tensor]) -> bool:
    """Whether all tensors of the model exist below a prefix."""
    return _translated_names(tensors, prefix, wanted) >= {name for name in wanted if not name.endswith(COUNTER)}


def _translated_names(tensors: Mapping[str, Tensor], prefix: str, wanted: Mapping[str, Tensor]) -> set[str]:
    return set(translate_names(_select_below(tensors, prefix), wanted).values())


def _select_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}." if prefix else ""
    return {name.removeprefix(start): value for name, value in tensors.items() if _is_below(name, prefix)}


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or name.startswith(f"{prefix}.")


def _classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Return timm's names of a model's classifier."""
    heads = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


def _describe_mismatch(wanted: Mapping[str, Tensor], kept: Mapping[str, Tensor], counters: list[str]) -> str:
    faults = {
        "missing": [name for name in wanted if name not in kept and name not in counters],
        "unexpected": [name for name in kept if name not in wanted],
        "of another shape": [
            f"{name} {tuple(value.shape)} for {tuple(wanted[name].shape)}"
            for name, value in kept.items()
            if name in wanted and value.shape != wanted[name].shape
        ],
    }
    return "; ".join(f"{len(names)} {fault}: {join_names(names)}" for fault, names in faults.items() if names)


def _collect_notes(layout: Layout, kept: Mapping[str, Tensor], no_relu: bool) -> list[str]:
    """List differences between the project's features and the model's that the tensors do not show."""
    notes = []
    stored = {value.dtype for value in kept.values() if value.is_floating_point()} - {torch.float32}
    if stored:
        notes.append(f"stored as {', '.join(sorted(str(dtype).removeprefix('torch.') for dtype in stored))}")
    stem = kept.get("conv1.weight")
    if layout.project == "solo-learn" and stem is not None and stem.shape[2:] == (3, 3):
        notes.append(
            "solo-learn pads this 3x3 stem by 2, the model by 1, so features differ slightly from those of the project"
        )
    if no_relu:
        notes.append(
            "the file's encoder has no ReLU after bn1, the model has one, so features differ from those of the project"
        )
    return notes


def _format_counts(counts: Mapping[str, int]) -> str:
    texts = [f"{group} ({count})" for group, count in list(counts.items())[:8]]
    return ", ".join(texts) + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")
