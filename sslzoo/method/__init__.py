"""Methods: which encoders there are, and what is compared."""

from sslzoo.method.base import METHODS, Method, MethodOutput
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.method.pair import PairMethod

__all__ = ["METHODS", "InBatchMethod", "Method", "MethodOutput", "PairMethod"]
