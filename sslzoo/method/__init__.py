"""Base classes of methods, and the registry of methods."""

from sslzoo.method.base import METHODS, Method, MethodOutput
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.method.pair import PairMethod

__all__ = ["METHODS", "InBatchMethod", "Method", "MethodOutput", "PairMethod"]
