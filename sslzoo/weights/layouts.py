"""Find the encoder in a checkpoint: the layouts of other projects."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sslzoo.weights.read import WRAPPERS


@dataclass(frozen=True)
class Layout:
    """How a project names the tensors of its checkpoints.

    Names are given without `module.`, which distributed wrappers add, and without entries such as `state_dict.`.
    """

    project: str
    encoders: tuple[str, ...]
    """Prefixes of the encoder that the project evaluates; the first one in the file is used."""
    beside: tuple[str, ...] = ()
    """Further prefixes, one of which must be in the file if the encoder's prefix does not identify the project."""
    left_out: tuple[str, ...] = ()
    """Patterns of tensors below the encoder that do not belong to the backbone, besides timm's classifier."""
    has_timm_input: bool = False
    """Whether the project preprocesses images as timm does for the same architecture."""


LAYOUTS = (
    Layout("sslzoo", ("student.backbone",), beside=("student.projector",)),
    # facebookresearch/dino: utils.load_pretrained_weights loads `teacher`
    Layout("DINO", ("teacher.backbone",), beside=("teacher.head", "dino_loss")),
    # facebookresearch/moco-v3 and moco: main_lincls.py
    Layout("MoCo v3", ("base_encoder",), beside=("momentum_encoder",)),
    Layout("MoCo", ("encoder_q",)),
    # facebookresearch/vissl: extra_scripts/convert_vissl_to_torchvision.py
    Layout("VISSL", ("classy_state_dict.base_model.model.trunk._feature_blocks", "_feature_blocks")),
    # vturrisi/solo-learn: solo/methods/base.py; `encoder` in 1.0.2
    Layout("solo-learn", ("backbone", "encoder"), beside=("classifier",)),
    # lightly-ai/lightly: benchmarks/imagenet, whose `backbone` is evaluated; examples
    Layout(
        "lightly",
        ("backbone.vit", "backbone", "teacher_backbone.vit", "teacher_backbone"),
        beside=(
            "projection_head",
            "online_classifier",
            "backbone_momentum",
            "query_backbone",
            "student_backbone",
            "student_head",
        ),
        left_out=("linear.*",),
    ),
    # facebookresearch/barlowtwins and vicreg: main.py, main_vicreg.py
    Layout("Barlow Twins or VICReg", ("backbone",), beside=("projector",)),
    # yaox12/BYOL-PyTorch, sthalles/PyTorch-BYOL, lucidrains/byol-pytorch
    Layout(
        "BYOL",
        (
            "online_network.encoder",
            "online_network_state_dict.encoder",
            "online_network",
            "online_encoder.net",
            "online_encoder",
            "online_backbone",
        ),
    ),
    # facebookresearch/simsiam: main_lincls.py
    Layout("SimSiam", ("encoder",), beside=("predictor",)),
    # HobbitLong/SupContrast: networks/resnet_big.py
    Layout("SimCLR or SupCon", ("encoder",), beside=("head",)),
    # timm: models/_helpers.py, load_state_dict
    Layout("timm, averaged weights", ("state_dict_ema", "model_ema"), has_timm_input=True),
    # facebookresearch/swav and deepcluster: src/resnet50.py
    Layout(
        "SwAV or DeepCluster v2",
        ("",),
        beside=("prototypes", "projection_head"),
        left_out=("projection_head.*", "prototypes*"),
    ),
    # lukemelas/EfficientNet-PyTorch: efficientnet_pytorch/model.py
    Layout("EfficientNet-PyTorch", ("",), beside=("_conv_stem",), has_timm_input=True),
    # facebookresearch/mae: main_linprobe.py
    Layout("MAE", ("",), beside=("decoder_embed",), left_out=("decoder_*", "mask_token")),
)
"""Known layouts; the first one that matches the names in a file is used."""

PLAIN = Layout("", ("",), has_timm_input=True)
"""Names of timm and torchvision: exports of sslzoo, published backbones."""


def split_prefixes(name: str) -> Iterator[tuple[str, str]]:
    """Yield the prefixes of a tensor name, each as (normalized spelling of the table, spelling of the file)."""
    parts = name.split(".")
    plain: list[str] = []
    for count, part in enumerate(parts):
        if part in ("module", "_orig_mod") or (part in WRAPPERS and not plain and count + 1 < len(parts)):
            continue
        yield ".".join(plain), ".".join(parts[:count])
        plain.append(part)


def collect_spellings(names: Iterable[str]) -> Mapping[str, set[str]]:
    """Map each prefix in the normalized spelling to its spellings in the file."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for plain, spelled in split_prefixes(name):
            found[plain].add(spelled)
    return found


def find_layout(known: Mapping[str, set[str]]) -> tuple[Layout, str]:
    """Return the layout of a file and the encoder's prefix in the normalized spelling; `PLAIN` if no other one matches.

    Args:
        known: result of `collect_spellings`.
    """
    for layout in LAYOUTS:
        encoder = next((prefix for prefix in layout.encoders if prefix in known), None)
        if encoder is not None and (not layout.beside or any(sign in known for sign in layout.beside)):
            return layout, encoder
    return PLAIN, ""


def count_by_prefix(names: Iterable[str], beside: str = "") -> dict[str, int]:
    """Count names by prefix. Each prefix is the shortest one that differs from the prefix `beside`.

    Without `beside`, prefixes are one part longer than the common prefix of all names.
    """
    listed = [name.split(".") for name in names]
    path = beside.split(".") if beside else []
    counts: dict[str, int] = {}
    common = 0 if path or not listed else _common_depth(listed)
    for parts in listed:
        depth = next((i for i, (a, b) in enumerate(zip(parts, path, strict=False)) if a != b), 0) if path else common
        group = ".".join(parts[: depth + 1])
        counts[group] = counts.get(group, 0) + 1
    return counts


def _common_depth(listed: list[list[str]]) -> int:
    """Return the number of leading parts that all names share, excluding the last."""
    for depth, column in enumerate(zip(*(parts[:-1] for parts in listed), strict=False)):
        if len(set(column)) > 1:
            return depth
    return min(len(parts) for parts in listed) - 1
