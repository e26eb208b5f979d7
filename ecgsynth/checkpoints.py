"""Trainings that were stopped, as files: nested values whose tensors are kept as safetensors, so that nothing in them can be run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from ecgsynth.files import atomic_path
from ecgsynth.places import local_copy
from ecgsynth.untrusted import of_json

_TENSOR, _ITEMS = "tensor", "items"  # by which what is no plain JSON is known in it


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of numbers, text, None and tensors, in one safetensors file; tuples become lists.

    Raises
    ------
    EcgsynthError
        If it cannot be written.
    """
    tensors: dict[Any, tuple[int, Tensor]] = {}
    head = json.dumps(_flat(state, tensors))
    arrays = {str(number): tensor.cpu().contiguous().numpy() for number, tensor in tensors.values()}
    with atomic_path(path, force=True) as temporary:
        temporary.write_bytes(save(arrays, metadata={"ecgsynth": head}))


def read_checkpoint(path: Path) -> Any:
    """Read what `write_checkpoint` wrote; its tensors are on the processor.

    Raises
    ------
    Exception
        Whatever the damage leads to.
    """
    with local_copy(path) as here, safe_open(here, framework="pt") as file:
        head = of_json(file.metadata()["ecgsynth"])
        return _nested(head, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  (no mapping)


def _flat(value: Any, tensors: dict[Any, tuple[int, Tensor]]) -> Any:
    """Give plain JSON, in which a tensor is the number that it has among `tensors`: one where several are of the same memory."""
    if isinstance(value, Tensor):
        same = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        return {_TENSOR: tensors.setdefault(same, (len(tensors), value.detach()))[0]}
    if isinstance(value, Mapping):
        return {_ITEMS: [[name, _flat(item, tensors)] for name, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_flat(item, tensors) for item in value]
    return value


def _nested(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_nested(item, tensors) for item in value]
    if isinstance(value, dict):
        return tensors[str(value[_TENSOR])] if _TENSOR in value else {name: _nested(item, tensors) for name, item in value[_ITEMS]}
    return value
