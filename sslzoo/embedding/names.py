"""The formats of files of features, by the ending of the name."""

from pathlib import Path

from sslzoo.runtime.errors import UserError

FORMATS = {".npz": "NumPy", ".parquet": "Parquet", ".faiss": "FAISS index"}
"""Name of the format by ending."""


def find_format(file: Path, setting: str = "--output") -> str:
    """Return the ending that chooses the format of a file.

    Raises:
        UserError: no format has this ending.
    """
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{setting} {file}: must end in {', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]}")
    return suffix


def check_output(file: Path, *, tokens: bool = False, columns: bool = False) -> None:
    """Check that a file of features can have this name and these options.

    Raises:
        UserError: the ending is unknown, or the format does not support an option.
    """
    suffix = find_format(file)
    if columns and suffix != ".parquet":
        raise UserError(f"--columns: is an option of .parquet, and --output {file} ends in {suffix}")
    if columns and tokens:
        raise UserError("--columns: cannot be combined with --tokens, whose features have two dimensions")
    if tokens and suffix == ".faiss":
        raise UserError(f"--tokens: a FAISS index has one vector per image; --output {file.with_suffix('.npz')}")
    if file.is_dir():
        raise UserError(f"--output {file}: is a folder; name a file")
    if suffix == ".faiss":
        from sslzoo.embedding.faiss_index import import_faiss

        import_faiss(f"--output {file}")
