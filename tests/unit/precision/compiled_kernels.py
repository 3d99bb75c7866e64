"""Run as a child: compile the Triton kernels for Ada (sm_89) with no GPU at hand."""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from trainer.precision import int8_triton

ADA = GPUTarget("cuda", 89, 32)
#: bytes of shared memory that one block may use on compute capability 8.6 and 8.9
SHARED_BYTES = 99 * 1024
#: int8 times int8, summed in int32, on tensor cores
INT8_MMA = "s32.s8.s8.s32"


def _compile(
    function: Any, pointers: dict[str, str], constants: dict[str, int], **options: int
) -> Any:
    names = function.arg_names
    signature = {name: pointers.get(name, "i32") for name in names}
    signature |= dict.fromkeys(constants, "constexpr")
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(names)
        if name not in constants
    }
    places = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=function, signature=signature, constexprs=places, attrs=aligned)
    return triton.compile(source, target=ADA, options=options)


def main() -> None:
    """Compile every tile of the matmul, and the quantisation of both layouts."""
    product = int8_triton._product_kernel.fn
    pointers = {"left": "*i8", "right": "*i8", "result": "*bf16"}
    pointers |= {"left_scales": "*fp32", "right_scales": "*fp32"}
    for tile in int8_triton.TILES:
        options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
        made = _compile(product, pointers, {**tile.kwargs, "BAND": 8, "inner": 2048}, **options)
        assert INT8_MMA in made.asm["ptx"]
        assert made.metadata.shared <= SHARED_BYTES
        assert made.asm["cubin"]
    pointers = {"matrix": "*bf16", "codes": "*i8", "scales": "*fp32"}
    for along in ("matrix_column", "matrix_row"):
        made = _compile(
            int8_triton._quantize_kernel,
            pointers,
            {along: 1, "columns": 2048, "ROWS": 32, "COLUMNS": 128},
        )
        assert made.asm["cubin"]
    print("all compiled")


if __name__ == "__main__":
    main()
