"""The gpu engine: a whole training run in one Triton kernel, a program a model, on an NVIDIA GPU.

A model, its optimizer's state and the data that it draws for itself fit in a multiprocessor, so a long stretch of steps
is one launch and next to nothing is read or written on the way; `toymodels.engines.gpu.kernels` says how a model lies
there. Models are independent, hence bit for bit the same alone, in any batch, and however a run is cut. What is
computed is what `toymodels.engines.autograd` computes, on the same data, in float32.

Triton is imported when the first model is trained. With TRITON_INTERPRET=1 the kernels run on the CPU, for tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.autograd import moments as autograd_moments
from toymodels.engines.autograd import rotated as autograd_rotated
from toymodels.engines.engine import Engine, OnNote, OnStep, Unsupported, unheard
from toymodels.engines.fused import moments, rotated
from toymodels.engines.gpu import batch, resources, run, split
from toymodels.engines.gpu.choices import KNOWN, unsupported
from toymodels.kernels import compiled, on_gpu
from toymodels.kernels.on_gpu.availability import interpreted, lacking, triton_version
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.trained import Trained

PROGRAMS = 32
"""models a multiprocessor that are trained at once, where there are so many"""


class GpuEngine(Engine):
    """Trains what it has kernels for, on a CUDA device, in float32 throughout."""

    name = "gpu"
    devices = ("cuda",)
    independent = True
    input_precision: ClassVar[str] = "ieee"
    """how products of matrices take their factors: "ieee" as they are, or "tf32" rounded to 10 bits of mantissa"""
    runs: ClassVar[type[run.GpuRun]] = run.GpuRun

    def refuses(
        self, experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> str | None:
        """See `Engine`. The same on every device: what its kernels run on is what a machine has or `lacks`."""
        if dtype != torch.float32:
            return f"the {self.name} engine computes in float32, not in {str(dtype).removeprefix('torch.')}"
        return unsupported(experiments, self.name)

    def lacks(self, device: str = "cpu") -> str | None:
        """See `Engine`: Triton, and a CUDA device or Triton's interpreter."""
        return lacking(device, f"the {self.name} engine")

    def judges_by_one(self) -> bool:
        """See `Engine`. It does where it knows every setting: of others it must see that each model has the default."""
        return KNOWN.every_setting()

    def models_at_once(self, experiments: Sequence[Experiment], device: str = "cpu") -> int:
        """See `Engine`: `PROGRAMS` for every multiprocessor; a guess, as no GPU has run it."""
        if not device.startswith("cuda") or not torch.cuda.is_available():
            return len(experiments)
        return PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count

    def resources(self, experiments: Sequence[Experiment], device: str = "cuda") -> Mapping[str, Any]:
        """See `Engine`; of each kernel a `toymodels.engines.gpu.resources.Resources` as a dictionary.

        Compiles what was not compiled yet. Raises `Unsupported` where it refuses to train, and where it is interpreted.
        """
        if reason := self.lacks(device) or self.refuses(experiments, device):
            raise Unsupported(reason)
        if interpreted():
            raise Unsupported(f"the {self.name} engine: interpreted kernels are not compiled, and take no registers")
        of = resources.of_run(self.runs(experiments[:1], device, self.input_precision))
        return {name: asdict(each) for name, each in of.items()}

    def bytes_needed(self, experiments: Sequence[Experiment], dtype: torch.dtype = torch.float32) -> int:
        """See `Engine`; a batch of samples is never in memory."""
        return batch.bytes_needed(experiments)

    def prepare(self, on_note: OnNote = unheard) -> None:
        """Nothing: what a structure needs is compiled when it is first trained, and kept by Triton."""

    @undisturbed
    def train(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        on_step: OnStep | None = None,
        keep: Keep | None = None,
    ) -> Trained:
        """See `Engine`. An interruption saves the last whole stretch of steps into ``keep``."""
        check_one_structure(experiments)
        if reason := self.lacks(device) or self.refuses(experiments, device, dtype):
            raise Unsupported(reason)
        return run.train(self.runs(experiments, device, self.input_precision), on_step, keep)

    def moments(
        self, experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """See `Engine`; where the parameters are: by the kernels of the fused engine on a CPU, by torch on a GPU."""
        of = moments if parameters.W_in.device.type == "cpu" else autograd_moments
        return of.sums(experiments, parameters, edges)

    def rotated_r2(
        self, experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
    ) -> Tensor:
        """See `Engine`; where the parameters are, as `moments`."""
        of = rotated if parameters.W_in.device.type == "cpu" else autograd_rotated
        return of.r2(experiments, parameters, rotations, first, samples)

    def fingerprint(self) -> Mapping[str, str]:
        """The kernels, what compiles them, the GPU; the kernels that measure, and what makes the starting weights."""
        gpu = "none"
        if interpreted():
            gpu = "interpreted"
        elif torch.cuda.is_available():
            gpu = torch.cuda.get_device_name()
        return {
            "engine": self.name,
            "gpu kernels": digest(),
            "triton": triton_version(),
            "gpu": gpu,
            "kernels": compiled.digest(),
            "numpy": version("numpy"),
            "scipy": version("scipy"),
        }


class Tf32Engine(GpuEngine):
    """The gpu engine with products by tensor cores in TF32: another engine by name, as its numbers are others."""

    name = "gpu_tf32"
    input_precision = "tf32"


class SplitEngine(GpuEngine):
    """The gpu engine with each step's batch shared out over the GPU, for few models: two kernels a step.

    Sums are those of the gpu engine in the same order, but other kernels: where a compiler orders the sum over a tile
    otherwise, bits differ, so this is another engine by name.
    """

    name = "gpu_split"
    runs = split.SplitRun

    def models_at_once(self, experiments: Sequence[Experiment], device: str = "cpu") -> int:
        """See `Engine`: as many as have a program on every place that the gpu engine fills with a model."""
        return max(len(experiments), super().models_at_once(experiments, device) // split.tiles_of(experiments[0]))

    def bytes_needed(self, experiments: Sequence[Experiment], dtype: torch.dtype = torch.float32) -> int:
        """See `Engine`."""
        return super().bytes_needed(experiments, dtype) + split.bytes_needed(experiments)


def digest() -> str:
    """Of the sources of the kernels and of the forms that they are compiled for: 16 hexadecimal digits."""
    here = Path(__file__).parent
    paths = sorted([*here.glob("kernels/*.py"), Path(on_gpu.__file__).with_name("stream.py"), here / "form.py"])
    return hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in paths)).hexdigest()[:16]
