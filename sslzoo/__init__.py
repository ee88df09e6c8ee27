"""sslzoo: contrastive self-supervised image models as plug-ins.

A method is a framework (which encoders), a target (what a query should match) and a loss (how the
prediction is scored); each part is looked up by name and can be swapped.
"""

from pathlib import Path

__version__ = "0.1.0"

_root = Path(__file__).resolve().parent.parent
if (_root / "methods").is_dir() and (_root / "configs").is_dir():
    # In a checkout `methods/` and `configs/` stand at the top; this makes them `sslzoo.methods` and `sslzoo.configs`.
    __path__.append(str(_root))
