"""Ahead-of-time compilation for NVIDIA and AMD targets, in a process of its own."""

import importlib.util
import json
import subprocess
import sys

import pytest
from textseg3d_kernels import aot

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no wheel for this platform"
)


@pytest.fixture(scope="module")
def results(kernel_environment):
    environment = {k: v for k, v in kernel_environment.items() if k != "TRITON_INTERPRET"}
    process = subprocess.run(
        [sys.executable, "-m", "textseg3d_kernels.aot", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_every_kernel_compiles_for_every_target(results):
    compiled = {(result["case"], result["target"]) for result in results}
    assert compiled == {(case.name, target) for case in aot.cases() for target in aot.TARGETS}
    assert all(result["binary_bytes"] > 1000 for result in results)


def test_every_jit_kernel_has_a_case():
    folder = aot.Path(aot.__file__).parent / "triton"
    written = {
        line.split("(")[0].removeprefix("def ")
        for path in folder.glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("def ") and line.split("(")[0].endswith("_kernel")
    }
    assert written == {case.function for case in aot.cases()}


def test_no_spills_and_little_shared_memory(results):
    for result in results:
        assert result["spill_bytes"] == 0, result
        assert result["scalar_spills"] <= 8, result
        assert result["shared_bytes"] <= aot.SHARED_LIMIT_BYTES, result
        assert 0 < result["registers"] <= 255, result


def test_all_offsets_are_64_bit_though_strides_are_32_bit(results):
    for result in results:
        assert result["narrow_offsets"] == [], result


def test_export_is_compiled_without_fused_multiply_add(results):
    exported = [result for result in results if result["case"].startswith("export_pack")]
    assert len(exported) == len(aot.TARGETS)
    assert all(result["fused_multiply_adds"] == 0 for result in exported)


def test_narrow_offsets_are_recognised():
    wide = "%1 = tt.addptr %a, %b : tensor<64x!tt.ptr<f32>>, tensor<64xi64> loc(#loc1)"
    narrow = "%1 = tt.addptr %a, %b : tensor<64x!tt.ptr<i64>>, tensor<64xi32> loc(#loc1)"
    scalar = "%1 = tt.addptr %a, %b : !tt.ptr<f32>, i32 loc(#loc1)"
    assert aot.narrow_offsets("\n".join([wide, narrow, scalar])) == [narrow, scalar]


def test_bad_target_is_named():
    with pytest.raises(ValueError, match="cuda:<number>"):
        aot.compile_case(aot.cases()[0], "vulkan:1")
