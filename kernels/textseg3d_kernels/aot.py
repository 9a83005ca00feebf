"""Ahead-of-time compilation of every kernel for named targets, without a GPU.

``python -m textseg3d_kernels.aot`` compiles all kernels for sm_80, sm_90 and gfx942 and prints
registers, spills and shared memory; ``--json`` prints one object per kernel and target. It must
not run under TRITON_INTERPRET=1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

TARGETS = ("cuda:80", "cuda:90", "hip:gfx942")
SHARED_LIMIT_BYTES = 99 * 1024
"""Shared memory of one block on sm_86 and sm_89, the smallest of the supported devices."""


@dataclass(frozen=True)
class AotCase:
    """One compilation: a kernel with the types and constants of a usual launch.

    Attributes:
        name: unique name of the case.
        module: module below ``textseg3d_kernels.triton``.
        function: name of the ``@triton.jit`` function in it.
        pointers: element type of each pointer argument.
        floats: names of float32 scalar arguments; all others are 32-bit integers.
        constants: values of the constexpr arguments.
        num_warps: warps per program.
        num_stages: stages of software pipelining.
        fp_fusion: whether a·b + c may become one instruction (the default of Triton differs
            between versions, so every launch states it).
        hip_constants: constants that differ on AMD targets, as the launchers choose them.
    """

    name: str
    module: str
    function: str
    pointers: dict[str, str]
    constants: dict[str, object]
    floats: tuple[str, ...] = ()
    num_warps: int = 4
    num_stages: int = 1
    fp_fusion: bool = True
    hip_constants: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class AotResult:
    """What the compiler reports for one case and target.

    Attributes:
        case: name of the case.
        target: "cuda:80", "cuda:90" or "hip:gfx942".
        registers: vector registers per thread.
        spill_bytes: bytes of thread-private memory (NVIDIA: stack and local; AMD: private
            segment), 0 without spills.
        scalar_spills: AMD scalar registers kept in lanes of a vector register; no memory traffic.
        shared_bytes: shared memory per program.
        binary_bytes: size of the cubin or hsaco.
        narrow_offsets: pointer additions with 32-bit offsets in the Triton IR (must be none).
        fused_multiply_adds: fused instructions in the assembly.
    """

    case: str
    target: str
    registers: int
    spill_bytes: int
    scalar_spills: int
    shared_bytes: int
    binary_bytes: int
    narrow_offsets: list[str] = field(default_factory=list)
    fused_multiply_adds: int = 0


def _attention(direction: str, element: str) -> AotCase:
    operands = {f"{name}_ptr": f"*{element}" for name in ("query", "key", "value")}
    constants: dict[str, object] = {"UPCAST": False, "BLOCK_N": 64, "BLOCK_L": 32, "BLOCK_D": 32}
    hip_constants: dict[str, object] = {}
    if direction == "image_to_text":
        pointers = {**operands, "mask_ptr": "*u8", "out_ptr": f"*{element}"}
        stages = 1
    else:
        parts = {f"{name}_ptr": "*fp32" for name in ("peak", "total", "part")}
        pointers = {**operands, "mask_ptr": "*u8", **parts}
        constants.update(HAS_MASK=True, SPAN=1024)
        hip_constants["BLOCK_N"] = 32
        stages = 2
    return AotCase(
        f"{direction}_{element}",
        "token_attention",
        f"_{direction}_kernel",
        pointers,
        constants,
        floats=("scale",),
        num_stages=stages,
        hip_constants=hip_constants,
    )


def _head(element: str, slab: str, prompts_per_block: int) -> AotCase:
    tables = ("bias_ptr", "weight_z_ptr", "weight_y_ptr", "weight_x_ptr")
    return AotCase(
        f"head_accumulate_{element}_{slab}_p{prompts_per_block}",
        "head_accumulate",
        "_head_accumulate_kernel",
        {
            "features_ptr": f"*{element}",
            "queries_ptr": f"*{element}",
            **dict.fromkeys(tables, "*fp32"),
            "slab_ptr": f"*{slab}",
        },
        {
            "UPCAST": False,
            "CHANNELS": 32,
            "BLOCK_C": 32,
            "BLOCK_P": prompts_per_block,
            "BLOCK_V": 64,
        },
        num_stages=2,
        hip_constants={"BLOCK_V": 128},
    )


def _prepare(name: str, source: str, taps: tuple[int, int, int], normalise: bool) -> AotCase:
    tables = {}
    for axis in "zyx":
        tables[f"start_{axis}_ptr"] = "*i32"
        tables[f"weight_{axis}_ptr"] = "*fp32"
    columns = ("low_ptr", "high_ptr", "mean_ptr", "inverse_std_ptr")
    return AotCase(
        f"prepare_volume_{name}",
        "prepare_volume",
        "_prepare_volume_kernel",
        {
            "volume_ptr": f"*{source}",
            "prepared_ptr": "*bf16",
            **tables,
            **dict.fromkeys(columns, "*fp32"),
        },
        {
            "NORMALISE": normalise,
            **dict(zip(("TAPS_Z", "TAPS_Y", "TAPS_X"), taps)),
            "BLOCK_C": 1,
            "BLOCK_V": 256,
        },
        floats=("fill",),
    )


def cases() -> tuple[AotCase, ...]:
    """All compilations, at least one per kernel."""
    norm: dict[str, object] = {"HAS_WEIGHT": True, "BLOCK_C": 32}
    norm_pointers = {"mean_ptr": "*fp32", "weight_ptr": "*fp32"}
    return (
        _head("bf16", "fp16", 32),
        _head("fp32", "fp32", 16),
        AotCase(
            "export_pack_fp16",
            "export_pack",
            "_export_pack_kernel",
            {
                "logits_ptr": "*fp16",
                "packed_ptr": "*u8",
                **{f"start_{axis}_ptr": "*i32" for axis in "zyx"},
                **{f"weight_{axis}_ptr": "*fp32" for axis in "zyx"},
            },
            {"LIMIT": 1.0e30, "BLOCK_B": 64},
            floats=("threshold",),
            fp_fusion=False,
        ),
        _prepare("linear", "i16", (2, 2, 2), True),
        _prepare("spline_z", "i16", (20, 1, 1), True),
        _prepare("spline_x", "fp32", (1, 1, 20), False),
        AotCase(
            "norm_statistics_bf16",
            "instance_norm",
            "_norm_statistics_kernel",
            {"x_ptr": "*bf16", "m2_ptr": "*fp32", **norm_pointers},
            {**norm, "SINGLE": False, "BLOCK_V": 128},
            floats=("epsilon",),
            num_stages=2,
        ),
        AotCase(
            "norm_merge",
            "instance_norm",
            "_norm_merge_kernel",
            {
                **{f"part_{name}_ptr": "*fp32" for name in ("mean", "m2")},
                "scale_ptr": "*fp32",
                **norm_pointers,
            },
            {**norm, "BLOCK_K": 32},
            floats=("epsilon",),
        ),
        AotCase(
            "norm_apply_bf16",
            "instance_norm",
            "_norm_apply_kernel",
            {
                **dict.fromkeys(("x_ptr", "residual_ptr", "out_ptr"), "*bf16"),
                **dict.fromkeys(("mean_ptr", "scale_ptr", "bias_ptr"), "*fp32"),
            },
            {"HAS_BIAS": True, "HAS_RESIDUAL": True, "BLOCK_C": 32, "BLOCK_V": 128},
            floats=("negative_slope",),
        ),
        _attention("image_to_text", "bf16"),
        _attention("text_to_image", "bf16"),
        AotCase(
            "merge_spans",
            "token_attention",
            "_merge_spans_kernel",
            {
                **{f"{name}_ptr": "*fp32" for name in ("peak", "total", "part")},
                "out_ptr": "*bf16",
            },
            {"BLOCK_L": 32, "BLOCK_D": 32},
        ),
        AotCase(
            "window_gather_i16",
            "window_gather",
            "_window_gather_kernel",
            {"volume_ptr": "*i16", "starts_ptr": "*i64", "windows_ptr": "*bf16"},
            {"BLOCK_C": 1, "BLOCK_V": 256},
            floats=("fill",),
        ),
    )


def compile_case(case: AotCase, target: str) -> AotResult:
    """Compile one case for one target.

    Args:
        case: what to compile.
        target: "<backend>:<architecture>", for example "cuda:90" or "hip:gfx942".

    Raises:
        ValueError: for a target of another form.
        RuntimeError: under TRITON_INTERPRET=1.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET=1 is set: nothing can be compiled; unset it")
    backend, _, architecture = target.partition(":")
    if backend not in ("cuda", "hip") or not architecture:
        raise ValueError(f"target {target!r}; expected 'cuda:<number>' or 'hip:<gfx name>'")
    is_cuda = backend == "cuda"
    gpu = GPUTarget(backend, int(architecture) if is_cuda else architecture, 32 if is_cuda else 64)
    module = importlib.import_module(f"textseg3d_kernels.triton.{case.module}")
    kernel = getattr(module, case.function)
    constants = {**case.constants, **({} if is_cuda else case.hip_constants)}
    signature = {}
    for name in kernel.arg_names:
        scalar = "fp32" if name in case.floats else "i32"
        kind = "constexpr" if name in constants else case.pointers.get(name, scalar)
        signature[name] = kind
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if name in case.pointers
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {
        "num_warps": case.num_warps,
        "num_stages": case.num_stages,
        "enable_fp_fusion": case.fp_fusion,
    }
    compiled = triton.compile(source, target=gpu, options=options)
    binary = compiled.asm["cubin" if is_cuda else "hsaco"]
    registers, spills, scalar_spills = (
        _cuda_resources(binary) if is_cuda else _hip_resources(compiled.asm["amdgcn"])
    )
    assembly = compiled.asm["ptx" if is_cuda else "amdgcn"]
    return AotResult(
        case=case.name,
        target=target,
        registers=registers,
        spill_bytes=spills,
        scalar_spills=scalar_spills,
        shared_bytes=int(compiled.metadata.shared),
        binary_bytes=len(binary),
        narrow_offsets=narrow_offsets(str(compiled.asm["ttir"])),
        fused_multiply_adds=len(
            re.findall(r"\bfma\.rn|v_(?:pk_)?fma[ck]?_f32|v_fmac_f32", assembly)
        ),
    )


def narrow_offsets(ttir: str) -> list[str]:
    """Pointer additions of a Triton IR text whose offset type is narrower than 64 bits."""
    additions = [line.strip() for line in ttir.splitlines() if "tt.addptr" in line]
    return [line for line in additions if "i64" not in line.split(" : ")[-1].split(", ")[-1]]


def _cuda_resources(cubin: bytes) -> tuple[int, int, int]:
    """Registers per thread, bytes of stack and local memory per thread, no scalar spills."""
    import triton

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    values = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", listing)}
    return values["REG"], values["STACK"] + values["LOCAL"], 0


def _hip_resources(assembly: str) -> tuple[int, int, int]:
    """Vector registers, bytes of private memory per thread, spilled scalar registers."""

    def value(name: str) -> int:
        match = re.search(rf"\.{name}:\s+(\d+)", assembly)
        if match is None:
            raise RuntimeError(f"the compiler's assembly does not state .{name}")
        return int(match.group(1))

    spilled = max(value("private_segment_fixed_size"), 4 * value("vgpr_spill_count"))
    return value("vgpr_count"), spilled, value("sgpr_spill_count")


def compile_all(targets: tuple[str, ...] = TARGETS) -> Iterator[AotResult]:
    """Compile every case for every target."""
    for target in targets:
        for case in cases():
            yield compile_case(case, target)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status (1 where a limit is broken)."""
    parser = argparse.ArgumentParser(prog="python -m textseg3d_kernels.aot", description=__doc__)
    parser.add_argument("--target", action="append", help="may be given more than once")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    options = parser.parse_args(arguments)
    broken = False
    out = sys.stdout
    if not options.json:
        out.write(f"{'kernel':32} {'target':11} registers spills scalar shared binary fma\n")
    for result in compile_all(tuple(options.target or TARGETS)):
        broken |= bool(result.spill_bytes or result.narrow_offsets)
        broken |= result.shared_bytes > SHARED_LIMIT_BYTES
        if options.json:
            out.write(json.dumps(asdict(result)) + "\n")
        else:
            out.write(
                f"{result.case:32} {result.target:11} {result.registers:9} {result.spill_bytes:6} "
                f"{result.scalar_spills:6} {result.shared_bytes:6} {result.binary_bytes:6} "
                f"{result.fused_multiply_adds:3}\n"
            )
        out.flush()
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
