# course: instructor
"""The forward pass for Hopper in Gluon: one warp loads, two warpgroups multiply.

FlashAttention-3's structure (J. Shah et al., "FlashAttention-3", 2024, algorithms 1 and 2): the
loading warp keeps TMA copies in flight; each of the two multiplying warpgroups owns 64 queries and
starts the scores of the next keys before it takes the exponentials of these, so that tensor cores
and exponentials work at the same time.
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
    q_desc, k_desc, v_desc, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
    row_q, row_k, tiles,
    BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
):
    """Queries once, then keys and values from the last tile (the diagonal) to the first."""
    for part in gl.static_range(2):
        mbarrier.expect(q_full.index(part), q_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(
            q_desc, [row_q + part * 64, 0], q_full.index(part), q_smem.index(part))
    for i in range(tiles):
        row = row_k + (tiles - 1 - i) * BLOCK_K
        stage = i % STAGES
        free = (i // STAGES & 1) ^ 1
        mbarrier.wait(k_empty.index(stage), free)
        mbarrier.expect(k_full.index(stage), k_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(
            k_desc, [row, 0], k_full.index(stage), k_smem.index(stage))
        mbarrier.wait(v_empty.index(stage), free)
        mbarrier.expect(v_full.index(stage), v_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(
            v_desc, [row, 0], v_full.index(stage), v_smem.index(stage))


@gluon.jit
def _attend(
    o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
    row_q, start_q, tiles, scale_log2,
    PART: gl.constexpr, IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr,
    STAGES: gl.constexpr,
):
    """64 queries against all their keys."""
    S: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_K, 16])
    O: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    P: gl.constexpr = gl.DotOperandLayout(0, O, 2)
    dtype: gl.constexpr = q_smem.dtype
    q = q_smem.index(PART)
    zero = gl.zeros([64, BLOCK_K], gl.float32, S)
    acc = gl.zeros([64, D], gl.float32, O)

    mbarrier.wait(q_full.index(PART), 0)
    mbarrier.wait(k_full.index(0), 0)
    s = warpgroup_mma(q, k_smem.index(0).permute((1, 0)), zero, use_acc=False, is_async=True)
    s = warpgroup_mma_wait(0, deps=[s])
    mbarrier.arrive(k_empty.index(0))
    if IS_CAUSAL:
        rows = start_q + PART * 64 + gl.arange(0, 64, gl.SliceLayout(1, S))
        keys = (tiles - 1) * BLOCK_K + gl.arange(0, BLOCK_K, gl.SliceLayout(0, S))
        s = gl.where(keys[None, :] <= rows[:, None], s, float("-inf"))
    m = gl.max(s, 1) * scale_log2
    p = gl.exp2(s * scale_log2 - m[:, None])
    l = gl.sum(p, 1)
    p = gl.convert_layout(p.to(dtype), P)
    for i in range(1, tiles):
        stage = i % STAGES
        before = (i - 1) % STAGES
        mbarrier.wait(k_full.index(stage), i // STAGES & 1)
        s = warpgroup_mma(
            q, k_smem.index(stage).permute((1, 0)), zero, use_acc=False, is_async=True)
        mbarrier.wait(v_full.index(before), (i - 1) // STAGES & 1)
        acc = warpgroup_mma(p, v_smem.index(before), acc, is_async=True)
        s = warpgroup_mma_wait(1, deps=[s])
        mbarrier.arrive(k_empty.index(stage))
        m_new = gl.maximum(m, gl.max(s, 1) * scale_log2)
        rescale = gl.exp2(m - m_new)
        x = gl.exp2(s * scale_log2 - m_new[:, None])
        l = l * rescale + gl.sum(x, 1)
        m = m_new
        acc, p = warpgroup_mma_wait(0, deps=[acc, p])
        mbarrier.arrive(v_empty.index(before))
        acc = acc * gl.convert_layout(rescale, gl.SliceLayout(1, O))[:, None]
        p = gl.convert_layout(x.to(dtype), P)
    last = (tiles - 1) % STAGES
    mbarrier.wait(v_full.index(last), (tiles - 1) // STAGES & 1)
    acc = warpgroup_mma(p, v_smem.index(last), acc, is_async=True)
    acc, p = warpgroup_mma_wait(0, deps=[acc, p])

    LN_2: gl.constexpr = 0.6931471805599453
    rows = row_q + PART * 64 + gl.arange(0, 64, gl.SliceLayout(1, S))
    gl.store(l_ptr + rows, (m + gl.log2(l)) * LN_2)
    o = acc / gl.convert_layout(l, gl.SliceLayout(1, O))[:, None]
    # nothing reads the queries any more
    q.store(o.to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(o_desc, [row_q + PART * 64, 0], q)
    tma.store_wait(0)


@gluon.jit
def expert_forward_kernel(
    q_desc, k_desc, v_desc, o_desc,  # of (batch * seq, D)
    l_ptr,  # (batch, seq_q), contiguous: log-sum-exp
    batches, group, seq_q, seq_k,  # multiples of 128, and of BLOCK_K
    scale_log2,
    IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr, STAGES: gl.constexpr,
    num_warps: gl.constexpr,
):
    # _attend() masks one tile, the last
    gl.static_assert(BLOCK_K == 128 or not IS_CAUSAL)
    BLOCK_Q: gl.constexpr = 128
    dtype: gl.constexpr = q_desc.dtype
    q_smem = gl.allocate_shared_memory(dtype, [2, 64, D], q_desc.layout)
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
    if IS_CAUSAL:
        end = min(seq_k, start_q + BLOCK_Q)
    tiles = (end + BLOCK_K - 1) // BLOCK_K
    row_q = batch * seq_q + start_q
    row_k = batch * seq_k
    gl.warp_specialize([
        (_attend, (o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                   row_q, start_q, tiles, scale_log2, 0, IS_CAUSAL, BLOCK_K, D, STAGES)),
        (_attend, (o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                   row_q, start_q, tiles, scale_log2, 1, IS_CAUSAL, BLOCK_K, D, STAGES)),
        (_load, (q_desc, k_desc, v_desc, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full,
                 v_empty, row_q, row_k, tiles, BLOCK_K, STAGES)),
    ], [4, 1], [240, 24])


# fmt: on
