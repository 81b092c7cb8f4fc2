"""The processor the kernels are compiled for, and the tile sizes that follow from it.

Nothing but BATCH_BLOCK and PRODUCTS decides a result: every tile size and vector width gives the
same bits (each output element is a fixed sequence of fused multiply-adds). Imports no Numba, so
that finding a cached kernel does not cost Numba's import; and llvmlite only when asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

# Rows of the batch whose contribution to a weight or bias gradient is summed as one chain;
# the blocks' sums are then added in order. Part of the definition of the result: never tune it.
BATCH_BLOCK = 256
# Products of one chain; longer sums are those of blocks, added in order. Never tune it, either:
# at 256 the RMS error stays within 1.2 times a BLAS's at every length, in one chain it was up to
# ten times as large.
PRODUCTS = 256
# Multiply-adds that one output of an activation counts as, where work is estimated.
ACTIVATION_COST = 16
# From this many bytes on, no L2 holds an operand: it is better read along its lines.
BEYOND_L2 = 2 * 1024 * 1024

_WITHOUT_AVX = ("generic", "x86-64", "x86-64-v2", "nehalem", "core2")
_WITH_AVX512 = ("x86-64-v4", "skylake-avx512", "icelake-server", "sapphirerapids", "znver4")


@dataclass(frozen=True)
class Target:
    """A processor as LLVM names it, and the width of its vector registers."""

    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int


@dataclass(frozen=True)
class Tile:
    """Block sizes of the matrix product for one dtype: MR x NR in registers, MC x KC in L2."""

    lanes: int
    mr: int
    nv: int  # vectors per tile row
    kc: int
    mc: int
    itemsize: int

    # B is used unpacked up to this many bytes per column panel: in a larger one its rows, a power
    # of two apart, evict each other from L1.
    direct_b = 16 * 1024

    @property
    def few(self) -> int:
        """Rows of A, a tile or two, for which B is used unpacked: packing would cost more."""
        return 2 * self.mr

    @property
    def pack_a_columns(self) -> int:
        """From this many columns of a product on, packing blocks of A may pay."""
        return 8 * self.nr

    @property
    def nr(self) -> int:
        """Columns of the register tile."""
        return self.lanes * self.nv

    @property
    def prefetch(self) -> int:
        """Steps of k for each row of the next panel of B that a tile asks for.

        A power of two, such that the tiles of MC x NR after the first ask for the whole panel.
        """
        return 1 << (self.mc // self.mr - 1).bit_length() - 1

    @property
    def ar(self) -> int:
        """Elements per step of k in a packed group of MR rows of A: whole vectors."""
        return -(-self.mr // self.lanes) * self.lanes

    @property
    def a_pack(self) -> int:
        """Bytes of a packed block of A."""
        return (self.mc + self.mr) // self.mr * self.ar * self.kc * self.itemsize


def _vector_bytes(cpu: str, features: dict[str, bool]) -> int:
    if features:
        return 64 if features.get("avx512f") else 32 if features.get("avx") else 16
    if cpu in _WITHOUT_AVX:
        return 16
    return 64 if cpu in _WITH_AVX512 else 32


@lru_cache(maxsize=1)
def host() -> Target:
    """The processor to compile for: this one, or what Numba's own variables ask for."""
    import llvmlite.binding as llvm

    cpu = os.environ.get("NUMBA_CPU_NAME", "")
    asked = os.environ.get("NUMBA_CPU_FEATURES")
    features: dict[str, bool] = {}
    if asked is not None:
        features = {f[1:]: f[0] == "+" for f in asked.split(",") if f}
    elif not cpu:
        features = dict(llvm.get_host_cpu_features())
    return target_of(cpu or llvm.get_host_cpu_name(), features)


def target_of(cpu: str, features: dict[str, bool]) -> Target:
    """Return the target of a processor's name and, if any are given, its features."""
    import llvmlite.binding as llvm

    features = dict(features)
    width = _vector_bytes(cpu, features)
    if width == 64:
        # LLVM uses half a register for many of these processors, because early ones lowered their
        # clock for whole ones (Sapphire Rapids, with whole ones: row kernels take 0.67 to 0.92 of
        # the time, only relu alone, which waits for memory, up to 1.1).
        features["prefer-256-bit"] = False
    flat = ",".join(("+" if on else "-") + name for name, on in sorted(features.items()))
    arm = llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return Target(cpu, flat, width, 32 if width == 64 or arm else 16)


def tile(dtype: str) -> Tile:
    """Return the block sizes for one dtype.

    Sixteen registers hold 6 x 2 accumulators, two vectors of B and one broadcast of A
    (12 + 2 + 1 = 15); thirty-two hold 12 x 2. KC and MC are the best of 256 to 1024 and 72 to 240
    on a processor with 32 KiB of L1 and 1 MiB of L2, with AVX2 and with AVX-512 (512x1024x1024:
    98 % of the multiply-add peak in float32, 97 % in float64; KC 512 and MC 144: 2 % less).
    """
    target, itemsize = host(), 4 if dtype == "float32" else 8
    lanes = target.vector_bytes // itemsize
    kc = 1024
    assert kc >= BATCH_BLOCK  # a block of the batch is one k-block, added to grad_w once
    mr = 6 if target.vector_registers == 16 else 12
    return Tile(lanes=lanes, mr=mr, nv=2, kc=kc, mc=72, itemsize=itemsize)
