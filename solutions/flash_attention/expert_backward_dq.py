# course: instructor
"""dQ for Hopper in Gluon, without atomics: what the deterministic backward pass adds to dK and dV.

A program owns 128 queries, 64 for each of two warpgroups, and walks over their keys; the product
dS K of a tile runs while the exponentials of the next are taken. The structure is the forward's.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

# fmt: off


@gluon.jit
def _load(
    q_desc, do_desc, k_desc, v_desc, q_smem, do_smem, k_smem, v_smem,
    q_full, k_full, k_empty, v_full, v_empty, row_q, row_k, tiles,
    BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
):
    """Queries and dO once, then keys and values from the last tile (the diagonal) to the first."""
    for part in gl.static_range(2):
        full = q_full.index(part)
        mbarrier.expect(full, q_desc.block_type.nbytes + do_desc.block_type.nbytes)
        row = row_q + part * 64
        tma.async_copy_global_to_shared(q_desc, [row, 0], full, q_smem.index(part))
        tma.async_copy_global_to_shared(do_desc, [row, 0], full, do_smem.index(part))
    for i in range(tiles):
        row = row_k + (tiles - 1 - i) * BLOCK_K
        stage = i % STAGES
        free = (i // STAGES & 1) ^ 1
        mbarrier.wait(k_empty.index(stage), free)
        mbarrier.expect(k_full.index(stage), k_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(k_desc, [row, 0], k_full.index(stage), k_smem.index(stage))
        mbarrier.wait(v_empty.index(stage), free)
        mbarrier.expect(v_full.index(stage), v_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(v_desc, [row, 0], v_full.index(stage), v_smem.index(stage))


@gluon.jit
def _probabilities(
    s, i, l2, tiles, start_q, masked, scale_log2,
    S: gl.constexpr, IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr,
):
    p = gl.exp2(s * scale_log2 + l2[:, None])
    if IS_CAUSAL:  # noqa: SIM102  (known when compiling, what follows is not)
        if i < masked:
            rows = start_q + gl.arange(0, 64, gl.SliceLayout(1, S))
            keys = (tiles - 1 - i) * BLOCK_K + gl.arange(0, BLOCK_K, gl.SliceLayout(0, S))
            p = gl.where(keys[None, :] <= rows[:, None], p, 0.0)
    return p


@gluon.jit
def _add_keys(
    dq_desc, l_ptr, delta_ptr, q_smem, do_smem, k_smem, v_smem,
    q_full, k_full, k_empty, v_full, v_empty, row_q, start_q, tiles, masked, scale, scale_log2,
    PART: gl.constexpr, IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr,
    STAGES: gl.constexpr,
):
    """dQ of 64 queries."""
    S: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_K, 16])
    DQ: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    A: gl.constexpr = gl.DotOperandLayout(0, DQ, 2)
    dtype: gl.constexpr = q_smem.dtype
    q = q_smem.index(PART)
    do = do_smem.index(PART)
    start = start_q + PART * 64
    rows = row_q + PART * 64 + gl.arange(0, 64, gl.SliceLayout(1, S))
    l2 = gl.load(l_ptr + rows) * scale_log2
    delta = gl.load(delta_ptr + rows)
    dq = gl.zeros([64, D], gl.float32, DQ)

    mbarrier.wait(q_full.index(PART), 0)
    zero = gl.zeros([64, BLOCK_K], gl.float32, S)
    mbarrier.wait(k_full.index(0), 0)
    s = warpgroup_mma(q, k_smem.index(0).permute((1, 0)), zero, use_acc=False, is_async=True)
    mbarrier.wait(v_full.index(0), 0)
    dp = warpgroup_mma(do, v_smem.index(0).permute((1, 0)), zero, use_acc=False, is_async=True)
    s = warpgroup_mma_wait(1, deps=[s])
    p = _probabilities(s, 0, l2, tiles, start, masked, scale_log2, S, IS_CAUSAL, BLOCK_K)
    dp = warpgroup_mma_wait(0, deps=[dp])
    mbarrier.arrive(v_empty.index(0))
    ds = gl.convert_layout((p * (dp + delta[:, None])).to(dtype), A)
    for i in range(1, tiles):
        stage = i % STAGES
        before = (i - 1) % STAGES
        phase = i // STAGES & 1
        mbarrier.wait(k_full.index(stage), phase)
        s = warpgroup_mma(
            q, k_smem.index(stage).permute((1, 0)), zero, use_acc=False, is_async=True)
        mbarrier.wait(v_full.index(stage), phase)
        dp = warpgroup_mma(
            do, v_smem.index(stage).permute((1, 0)), zero, use_acc=False, is_async=True)
        dq = warpgroup_mma(ds, k_smem.index(before), dq, is_async=True)
        s = warpgroup_mma_wait(2, deps=[s])
        p = _probabilities(s, i, l2, tiles, start, masked, scale_log2, S, IS_CAUSAL, BLOCK_K)
        dp = warpgroup_mma_wait(1, deps=[dp])
        mbarrier.arrive(v_empty.index(stage))
        x = p * (dp + delta[:, None])
        dq, ds = warpgroup_mma_wait(0, deps=[dq, ds])
        mbarrier.arrive(k_empty.index(before))
        ds = gl.convert_layout(x.to(dtype), A)
    dq = warpgroup_mma(ds, k_smem.index((tiles - 1) % STAGES), dq, is_async=True)
    dq, ds = warpgroup_mma_wait(0, deps=[dq, ds])
    # nothing reads the queries any more
    q.store((dq * scale).to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(dq_desc, [row_q + PART * 64, 0], q)
    tma.store_wait(0)


@gluon.jit
def expert_dq_kernel(
    q_desc, k_desc, v_desc, do_desc, dq_desc,  # of (batch * seq, D)
    l_ptr, delta_ptr,  # (batch * seq_q,): -L / scale, -rowsum(O dO)
    batches, group, seq_q, seq_k,  # multiples of 128
    scale, scale_log2,
    IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr, STAGES: gl.constexpr,
    num_warps: gl.constexpr,
):
    BLOCK_Q: gl.constexpr = 128
    dtype: gl.constexpr = q_desc.dtype
    q_smem = gl.allocate_shared_memory(dtype, [2, 64, D], q_desc.layout)
    do_smem = gl.allocate_shared_memory(dtype, [2, 64, D], do_desc.layout)
    k_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_K, D], k_desc.layout)
    v_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_K, D], v_desc.layout)
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    q_full = gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER)
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    for part in gl.static_range(2):
        mbarrier.init(q_full.index(part), count=1)
    for stage in gl.static_range(STAGES):
        mbarrier.init(k_full.index(stage), count=1)
        mbarrier.init(v_full.index(stage), count=1)
        mbarrier.init(k_empty.index(stage), count=2)
        mbarrier.init(v_empty.index(stage), count=2)
    fence_async_shared()

    tiles_q = seq_q // BLOCK_Q
    pid = gl.program_id(0)
    first = pid // (group * tiles_q) * group
    size = min(batches - first, group)
    within = pid % (group * tiles_q)
    batch = first + within % size
    start_q = (tiles_q - 1 - within // size) * BLOCK_Q
    end = seq_k
    masked = 0
    if IS_CAUSAL:
        end = min(seq_k, start_q + BLOCK_Q)
        masked = BLOCK_Q // BLOCK_K
    tiles = end // BLOCK_K
    row_q = batch * seq_q + start_q
    row_k = batch * seq_k
    gl.warp_specialize([
        (_add_keys, (dq_desc, l_ptr, delta_ptr, q_smem, do_smem, k_smem, v_smem,
                     q_full, k_full, k_empty, v_full, v_empty, row_q, start_q, tiles, masked, scale,
                     scale_log2, 0, IS_CAUSAL, BLOCK_K, D, STAGES)),
        (_add_keys, (dq_desc, l_ptr, delta_ptr, q_smem, do_smem, k_smem, v_smem,
                     q_full, k_full, k_empty, v_full, v_empty, row_q, start_q, tiles, masked, scale,
                     scale_log2, 1, IS_CAUSAL, BLOCK_K, D, STAGES)),
        (_load, (q_desc, do_desc, k_desc, v_desc, q_smem, do_smem, k_smem, v_smem,
                 q_full, k_full, k_empty, v_full, v_empty, row_q, row_k, tiles, BLOCK_K, STAGES)),
    ], [4, 1], [240, 24])


# fmt: on
