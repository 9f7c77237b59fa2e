"""Tensors of a checkpoint in the format of torch.distributed.checkpoint: whole or in shards, read into any other cut.

A folder holds one data file per rank that wrote and .metadata, a pickle of where each piece lies. Names are model.PARAMETER and
optimizer.MOMENT.PARAMETER whatever wraps the model, and rng.RANK.DEVICE. Nothing but tensors is stored, and nothing else is read.
"""

from __future__ import annotations

import enum
import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from dolma_py.errors import DataError
from train_bridge.optimizer import SkipStepAdamW

METADATA_NAME = ".metadata"
MODEL, OPTIMIZER, RNG = "model", "optimizer", "rng"

# what torch.compile, activation checkpointing and DistributedDataParallel put into names
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "module.")
# a single process is no mistake here
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")


def plain_name(name: str) -> str:
    """A parameter's name without the names of wrappers.

    Examples
    --------
    >>> plain_name("module._orig_mod.blocks.0._checkpoint_wrapped_module.attention.w_q.weight")
    'blocks.0.attention.w_q.weight'
    """
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights under their names in a checkpoint; they share memory with the model. DTensors stay DTensors."""
    return {f"{MODEL}.{plain_name(name)}": tensor.detach() for name, tensor in model.state_dict().items()}


def optimizer_tensors(model: nn.Module, optimizer: SkipStepAdamW) -> dict[str, Tensor]:
    """The moments that the optimizer has so far, under their names; they share memory with it."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for moment, tensor in optimizer.state.get(parameter, {}).items():
            tensors[f"{OPTIMIZER}.{moment}.{plain_name(name)}"] = tensor
    return tensors


def rng_tensors(rank: int) -> dict[str, Tensor]:
    """The state of this rank's random numbers: uint8, of the CPU and of its CUDA device where there is one."""
    tensors = {f"{RNG}.{rank:05d}.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors[f"{RNG}.{rank:05d}.cuda"] = torch.cuda.get_rng_state()
    return tensors


class _Writer(dcp.FileSystemWriter):
    """Without the random id and the path that torch writes into .metadata: the same state gives the same bytes."""

    def storage_meta(self) -> StorageMeta:
        return StorageMeta()


def write_tensors(
    folder: Path, tensors: dict[str, Tensor], *, group: dist.ProcessGroup | None = None, planner: Any = None
) -> None:
    """Write and flush to disk; collective over `group` when torch.distributed runs. One file per rank.

    planner: where the tensors come from, when they are not there all at once; then one file per tensor.
    """
    writer = _Writer(
        folder, single_file_per_rank=planner is None, per_thread_copy_ahead=10_000_000 if planner is None else 0
    )
    dcp.save(tensors, storage_writer=writer, planner=planner, process_group=group)


class _Reader(dcp.FileSystemReader):
    """With the metadata that `read_metadata` allowed."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self._allowed = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._allowed

    def _slice_file(self, file: Any, sinfo: Any) -> IO[bytes]:
        """One tensor's bytes, a zip archive. torch reads it without a look at its checksums: a changed bit would go unseen."""
        try:
            with zipfile.ZipFile(_Piece(file, sinfo.offset, sinfo.length)) as archive:
                damaged = archive.testzip()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise DataError(file.name, f"is damaged ({error})") from error
        if damaged is not None:
            raise DataError(file.name, f"is damaged at byte {sinfo.offset} or after it: a checksum does not fit")
        return super()._slice_file(file, sinfo)


class _Piece(io.RawIOBase):
    """Bytes [offset, offset + length) of a file, as a file that can be read and searched."""

    def __init__(self, file: IO[bytes], offset: int, length: int) -> None:
        self._file, self._offset, self._length, self._at = file, offset, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)[: max(0, self._length - self._at)]
        self._file.seek(self._offset + self._at)
        num_bytes: int = self._file.readinto(room)  # type: ignore[attr-defined]
        self._at += num_bytes
        return num_bytes


def read_tensors(folder: Path, metadata: Metadata, tensors: dict[str, Tensor]) -> None:
    """Fill the tensors in place from the pieces of these names; of a DTensor only this rank's part is read.

    Raises  DataError for a name that is not there, another shape, or a file that cannot be read
    """
    for name, tensor in tensors.items():
        stored = metadata.state_dict_metadata.get(name)
        if stored is None:
            raise DataError(str(folder), f"holds no tensor {name}")
        if tuple(stored.size) != tuple(tensor.shape):
            raise DataError(str(folder), f"{name} has shape {tuple(stored.size)}, expected {tuple(tensor.shape)}")
    try:
        dcp.load(tensors, storage_reader=_Reader(folder, metadata), no_dist=True)
    except dcp.CheckpointException as error:
        raise DataError(str(folder), f"cannot be read ({first_cause(error)})") from error


def first_cause(error: BaseException) -> str:
    """What failed first, in one line: torch.distributed.checkpoint wraps each rank's error."""
    if isinstance(error, dcp.CheckpointException) and error.failures:
        rank, (cause, _) = sorted(error.failures.items())[0]
        return f"rank {rank}: {first_cause(cause)}"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:500]


def names_of(metadata: Metadata, section: str) -> list[str]:
    """Names below model, optimizer or rng."""
    return [name for name in metadata.state_dict_metadata if name.startswith(section + ".")]


def read_metadata(folder: Path) -> Metadata:
    """What lies where. DataError for a file that is no metadata, or that would build anything but it: it is a pickle."""
    path = folder / METADATA_NAME
    try:
        with path.open("rb") as file:
            metadata = _MetadataUnpickler(file).load()
    except Exception as error:  # a damaged pickle raises whatever the bytes spell
        raise DataError(str(path), f"cannot be read ({first_cause(error)})") from error
    if not isinstance(metadata, Metadata):
        raise DataError(str(path), f"cannot be read (expected metadata of tensors, got {type(metadata).__name__})")
    wrong = [
        name for name, stored in metadata.state_dict_metadata.items() if not isinstance(stored, TensorStorageMetadata)
    ]
    if wrong:
        raise DataError(str(path), f"{wrong[0]} is no tensor")
    return metadata


_METADATA_CLASSES = {
    ("torch.distributed.checkpoint.metadata", name)
    for name in (
        "Metadata", "TensorStorageMetadata", "ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING", "MetadataIndex",
        "StorageMeta",
    )
} | {("torch.distributed.checkpoint.filesystem", "_StorageInfo"), ("torch", "Size"), ("torch.serialization", "_get_layout")}  # fmt: skip


class _MetadataUnpickler(pickle.Unpickler):
    """Builds descriptions of tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _METADATA_CLASSES or (module == "torch" and name in _dtype_names()):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):  # how Python 3.11.2 and others write a member of an enumeration
            return _find_member
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")


def _find_member(kind: Any, name: str) -> Any:
    """A member of an enumeration, and nothing else that getattr gives."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum) and name in kind.__members__):
        raise pickle.UnpicklingError(f"{str(name)[:40]} has no place in a checkpoint")
    return kind[name]


def _dtype_names() -> Iterator[str]:
    return (name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype))
