# course: instructor
"""The backward pass for Hopper in Gluon: dK, dV and dQ in one walk over the scores.

A program owns 128 keys, 64 for each of two warpgroups, and keeps dK and dV in registers; a third
warpgroup loads. Its part of dQ it adds to memory by TMA reduction: 5 products and 1 exponential a
score, where a kernel of its own for dQ would make it 7 and 2. In which order the parts come changes
from run to run, so they are added as integers, whose sum does not depend on it (expert_sums.py has
the unit); float32 sums would change in the last bits.
Who multiplies dS K depends on the registers: at head dim 64 the third warpgroup has room for it,
at 128 dK and dV leave it none, and the two take half of it each.
Structure: J. Shah et al., "FlashAttention-3" (2024), appendix B.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language._core import builtin, ir
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

# fmt: off

BLOCK_Q = gl.constexpr(64)
BLOCK_K = gl.constexpr(128)


@builtin
def _add_to_global(desc, coord, src, _semantic=None):
    """TMA reduction: adds a tile in shared memory to one in global memory."""
    coord = _semantic._convert_to_ir_values(coord, require_i64=False)
    kind = ir.DESCRIPTOR_REDUCE_KIND.ADD
    _semantic.builder.create_async_tma_reduce(kind, desc.handle, coord, src.handle)


@gluon.jit
def _add_up(dq, units, dq_desc, row, col, smem):
    """Adds a tile of dQ, 64 x 64, to what other programs found."""
    if dq_desc.dtype == gl.int32:
        # not .to(): it cuts off, always towards 0
        dq = gl.inline_asm_elementwise(
            "cvt.rni.s32.f32 $0, $1;", "=r,f", [dq * units[:, None]], gl.int32, True, 1)
    # the tile before may still be on its way, from the other buffer
    tma.store_wait(1)
    smem.store(dq)
    fence_async_shared()
    _add_to_global(dq_desc, [row, col], smem)


@gluon.jit
def _fetch(
    i, row_q, q_desc, do_desc, l_desc, delta_desc, units_desc,
    q_smem, do_smem, l_smem, delta_smem, units_smem, q_full, do_full,
    STAGES: gl.constexpr,
):
    """Starts the copies of one tile of queries, of dO, and of what belongs to them."""
    row = row_q + i * BLOCK_Q
    stage = i % STAGES
    full = q_full.index(stage)
    mbarrier.expect(full, q_desc.block_type.nbytes + 2 * l_desc.block_type.nbytes)
    tma.async_copy_global_to_shared(q_desc, [row, 0], full, q_smem.index(stage))
    tma.async_copy_global_to_shared(l_desc, [row], full, l_smem.index(stage))
    tma.async_copy_global_to_shared(units_desc, [row], full, units_smem.index(stage))
    full = do_full.index(stage)
    mbarrier.expect(full, do_desc.block_type.nbytes + delta_desc.block_type.nbytes)
    tma.async_copy_global_to_shared(do_desc, [row, 0], full, do_smem.index(stage))
    tma.async_copy_global_to_shared(delta_desc, [row], full, delta_smem.index(stage))


@gluon.jit
def _serve(
    q_desc, k_desc, v_desc, do_desc, l_desc, delta_desc, units_desc, dq_desc,
    q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem, dq_smem,
    kv_full, q_full, q_empty, do_full, do_empty, ds_full, ds_empty, row_k, row_q, tiles,
    D: gl.constexpr, STAGES: gl.constexpr,
):
    """Loads for the two others, and at head dim 64 turns their dS into dQ while they go on."""
    DQ: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 64, 16])
    mbarrier.expect(kv_full, k_desc.block_type.nbytes + v_desc.block_type.nbytes)
    tma.async_copy_global_to_shared(k_desc, [row_k, 0], kv_full, k_smem)
    tma.async_copy_global_to_shared(v_desc, [row_k, 0], kv_full, v_smem)
    for i in range(min(STAGES, tiles)):
        _fetch(i, row_q, q_desc, do_desc, l_desc, delta_desc, units_desc,
               q_smem, do_smem, l_smem, delta_smem, units_smem, q_full, do_full, STAGES)
    if D == 64:
        mbarrier.wait(kv_full, 0)
    for i in range(tiles):
        if D == 64:
            row = row_q + i * BLOCK_Q
            mbarrier.wait(q_full.index(i % STAGES), i // STAGES & 1)
            units = units_smem.index(i % STAGES).load(gl.SliceLayout(1, DQ))
            mbarrier.wait(ds_full.index(i % 2), i // 2 & 1)
            dq = warpgroup_mma(
                ds_smem.index(i % 2).permute((1, 0)), k_smem, gl.zeros([64, 64], gl.float32, DQ),
                use_acc=False, is_async=True)
            dq = warpgroup_mma_wait(0, deps=[dq])
            mbarrier.arrive(ds_empty.index(i % 2))
            _add_up(dq, units, dq_desc, row, 0, dq_smem.index(i % 2))
        if i + STAGES < tiles:
            mbarrier.wait(q_empty.index(i % STAGES), i // STAGES & 1)
            mbarrier.wait(do_empty.index(i % STAGES), i // STAGES & 1)
            _fetch(i + STAGES, row_q, q_desc, do_desc, l_desc, delta_desc, units_desc,
                   q_smem, do_smem, l_smem, delta_smem, units_smem, q_full, do_full, STAGES)
    tma.store_wait(0)


@gluon.jit
def _rows_of(vector, layout: gl.constexpr):
    """(64, BLOCK_Q), each row the vector."""
    tile = vector.load(gl.SliceLayout(0, layout))[None, :].broadcast_to([64, BLOCK_Q])
    # a register for each element now: copies made after the first product has begun wait for it
    return gl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [tile], gl.float32, False, 1)


@gluon.jit
def _step(
    dk, dv, i, dq_desc, dq_smem, row_q,
    q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem,
    q_full, q_empty, do_full, do_empty, ds_full, ds_empty, start_q, start_k, masked, scale_log2,
    IS_CAUSAL: gl.constexpr, PART: gl.constexpr, D: gl.constexpr, STAGES: gl.constexpr,
):
    """One tile of queries against 64 keys, everything transposed: (keys, queries)."""
    S: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_Q, 16])
    KV: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    A: gl.constexpr = gl.DotOperandLayout(0, KV, 2)
    DQ: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 64, 16])
    dtype: gl.constexpr = q_smem.dtype
    stage = i % STAGES
    phase = i // STAGES & 1
    q = q_smem.index(stage)
    do = do_smem.index(stage)

    # the scores start from what would be subtracted from them: no work, and fewer registers; for
    # dP the same would need more, all at once
    mbarrier.wait(q_full.index(stage), phase)
    mbarrier.wait(do_full.index(stage), phase)
    s = _rows_of(l_smem.index(stage), S)
    zero = gl.zeros([64, BLOCK_Q], gl.float32, S)
    s = warpgroup_mma(k_smem.slice(PART * 64, 64), q.permute((1, 0)), s, is_async=True)
    dp = warpgroup_mma(v_smem.slice(PART * 64, 64), do.permute((1, 0)), zero, use_acc=False,
                       is_async=True)
    s = warpgroup_mma_wait(1, deps=[s])
    p = gl.exp2(s * scale_log2)
    if IS_CAUSAL:  # noqa: SIM102  (known when compiling, what follows is not)
        if i < masked:
            keys = start_k + PART * 64 + gl.arange(0, 64, gl.SliceLayout(1, S))
            rows = start_q + i * BLOCK_Q + gl.arange(0, BLOCK_Q, gl.SliceLayout(0, S))
            p = gl.where(keys[:, None] <= rows[None, :], p, 0.0)
    p_a = gl.convert_layout(p.to(dtype), A)
    dv = warpgroup_mma(p_a, do, dv, is_async=True)
    dp = warpgroup_mma_wait(1, deps=[dp])
    delta = delta_smem.index(stage).load(gl.SliceLayout(0, S))
    ds = (p * (dp + delta[None, :])).to(dtype)
    ds_a = gl.convert_layout(ds, A)
    dk = warpgroup_mma(ds_a, q, dk, is_async=True)
    if D == 128:
        # the buffer is free: who has stored the dS of the last tile has read the one before
        ds_both = ds_smem.index(i % 2)
        ds_both.slice(PART * 64, 64).store(ds)
        fence_async_shared()
        mbarrier.arrive(ds_full.index(i % 2))
        dv, p_a = warpgroup_mma_wait(1, deps=[dv, p_a])
        mbarrier.arrive(do_empty.index(stage))
        row = row_q + i * BLOCK_Q
        units = units_smem.index(stage).load(gl.SliceLayout(1, DQ))
        mbarrier.wait(ds_full.index(i % 2), i // 2 & 1)
        dq = warpgroup_mma(
            ds_both.permute((1, 0)), k_smem.slice(PART * 64, 64, dim=1),
            gl.zeros([64, 64], gl.float32, DQ), use_acc=False, is_async=True)
        dk, ds_a = warpgroup_mma_wait(1, deps=[dk, ds_a])
        mbarrier.arrive(q_empty.index(stage))
        dq = warpgroup_mma_wait(0, deps=[dq])
        _add_up(dq, units, dq_desc, row, PART * 64, dq_smem.index(2 * PART + i % 2))
    else:
        mbarrier.wait(ds_empty.index(i % 2), (i // 2 & 1) ^ 1)
        ds_smem.index(i % 2).slice(PART * 64, 64).store(ds)
        fence_async_shared()
        mbarrier.arrive(ds_full.index(i % 2))
        dv, p_a = warpgroup_mma_wait(1, deps=[dv, p_a])
        mbarrier.arrive(do_empty.index(stage))
        dk, ds_a = warpgroup_mma_wait(0, deps=[dk, ds_a])
        mbarrier.arrive(q_empty.index(stage))
    return dk, dv


@gluon.jit
def _accumulate(
    dk_desc, dv_desc, dq_desc, dq_smem, row_q,
    q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem,
    kv_full, q_full, q_empty, do_full, do_empty, ds_full, ds_empty,
    row_k, start_q, start_k, masked, tiles, scale, scale_log2,
    IS_CAUSAL: gl.constexpr, PART: gl.constexpr, D: gl.constexpr, STAGES: gl.constexpr,
):
    """dK and dV of 64 keys."""
    KV: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    dtype: gl.constexpr = q_smem.dtype
    dk = gl.zeros([64, D], gl.float32, KV)
    dv = gl.zeros([64, D], gl.float32, KV)
    mbarrier.wait(kv_full, 0)
    for i in range(tiles):
        dk, dv = _step(
            dk, dv, i, dq_desc, dq_smem, row_q,
            q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem,
            q_full, q_empty, do_full, do_empty, ds_full, ds_empty, start_q, start_k, masked,
            scale_log2, IS_CAUSAL, PART, D, STAGES)
    # nobody reads these values any more; dQ may still read the keys
    out = v_smem.slice(PART * 64, 64)
    out.store(dv.to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(dv_desc, [row_k + PART * 64, 0], out)
    tma.store_wait(0)
    out.store((dk * scale).to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(dk_desc, [row_k + PART * 64, 0], out)
    tma.store_wait(0)


@gluon.jit
def expert_backward_kernel(
    q_desc, k_desc, v_desc, do_desc, dk_desc, dv_desc,  # of (batch * seq, D)
    l_desc, delta_desc,  # of (batch * seq_q,): -L / scale, -rowsum(O dO)
    units_desc,  # of (batch * seq_q,): as an integer dQ is counted in 1 / units
    dq_desc,  # of (batch * seq_q, D), int32 or float32: without the factor 1 / sqrt(D)
    batches, group, seq_q, seq_k,  # multiples of 128
    scale, scale_log2,
    IS_CAUSAL: gl.constexpr, D: gl.constexpr, STAGES: gl.constexpr,
    REGISTERS: gl.constexpr, num_warps: gl.constexpr,
):
    dtype: gl.constexpr = q_desc.dtype
    k_smem = gl.allocate_shared_memory(dtype, [BLOCK_K, D], k_desc.layout)
    v_smem = gl.allocate_shared_memory(dtype, [BLOCK_K, D], v_desc.layout)
    q_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_Q, D], q_desc.layout)
    do_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_Q, D], do_desc.layout)
    l_smem = gl.allocate_shared_memory(gl.float32, [STAGES, BLOCK_Q], l_desc.layout)
    units_smem = gl.allocate_shared_memory(gl.float32, [STAGES, BLOCK_Q], l_desc.layout)
    delta_smem = gl.allocate_shared_memory(gl.float32, [STAGES, BLOCK_Q], l_desc.layout)
    DS: gl.constexpr = gl.NVMMASharedLayout.get_default_for([BLOCK_K, BLOCK_Q], dtype)
    ds_smem = gl.allocate_shared_memory(dtype, [2, BLOCK_K, BLOCK_Q], DS)
    dq_smem = gl.allocate_shared_memory(dq_desc.dtype, [D // 32, 64, 64], dq_desc.layout)
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    kv_full = gl.allocate_shared_memory(gl.int64, [1, 1], BARRIER).index(0)
    q_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    q_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    do_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    do_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    ds_full = gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER)
    ds_empty = gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER)
    mbarrier.init(kv_full, count=1)
    for stage in gl.static_range(STAGES):
        mbarrier.init(q_full.index(stage), count=1)
        mbarrier.init(do_full.index(stage), count=1)
        mbarrier.init(q_empty.index(stage), count=2)
        mbarrier.init(do_empty.index(stage), count=2)
    for buffer in gl.static_range(2):
        mbarrier.init(ds_full.index(buffer), count=2)
        mbarrier.init(ds_empty.index(buffer), count=1)
    fence_async_shared()

    tiles_k = seq_k // BLOCK_K
    pid = gl.program_id(0)
    first = pid // (group * tiles_k) * group
    size = min(batches - first, group)
    within = pid % (group * tiles_k)
    batch = first + within % size
    start_k = within // size * BLOCK_K
    start_q = 0
    masked = 0
    if IS_CAUSAL:
        # at most the last keys, which no query may see
        start_q = min(start_k, seq_q)
        masked = min(BLOCK_K, seq_q - start_q) // BLOCK_Q
    tiles = (seq_q - start_q) // BLOCK_Q
    row_k = batch * seq_k + start_k
    row_q = batch * seq_q + start_q
    gl.warp_specialize([
        (_accumulate, (
            dk_desc, dv_desc, dq_desc, dq_smem, row_q,
            q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem,
            kv_full, q_full, q_empty, do_full, do_empty, ds_full, ds_empty,
            row_k, start_q, start_k, masked, tiles, scale, scale_log2,
            IS_CAUSAL, 0, D, STAGES)),
        (_accumulate, (
            dk_desc, dv_desc, dq_desc, dq_smem, row_q,
            q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem,
            kv_full, q_full, q_empty, do_full, do_empty, ds_full, ds_empty,
            row_k, start_q, start_k, masked, tiles, scale, scale_log2,
            IS_CAUSAL, 1, D, STAGES)),
        (_serve, (
            q_desc, k_desc, v_desc, do_desc, l_desc, delta_desc, units_desc, dq_desc,
            q_smem, k_smem, v_smem, do_smem, l_smem, delta_smem, units_smem, ds_smem, dq_smem,
            kv_full, q_full, q_empty, do_full, do_empty, ds_full, ds_empty, row_k, row_q, tiles,
            D, STAGES)),
    ], [4, 4], [REGISTERS, 504 - 2 * REGISTERS])


# fmt: on
