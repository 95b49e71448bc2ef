# course: instructor
"""The forward pass for Hopper in Gluon: one warp loads, two or three warpgroups multiply.

FlashAttention-3's structure (J. Shah et al., "FlashAttention-3", 2024, algorithms 1 and 2): the
loading warp keeps TMA copies in flight; each multiplying warpgroup owns 64 queries and starts the
scores of the next keys before it takes the exponentials of these, so that tensor cores and
exponentials work at the same time. At head dim 64 three warpgroups fit, and take turns at the
tensor cores, so that while one multiplies the others take exponentials.
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

# acc *= rescale, unless all that a warp has of it is 1: 32 values of two rows, 0 1 | 2 3 | 0 1 ...
_RESCALE = gl.constexpr(
    "{ .reg .pred p, q; setp.neu.f32 p, $64, 0f3F800000; setp.neu.or.f32 p, $66, 0f3F800000, p;\n"
    "vote.sync.any.pred q, p, 0xffffffff; @!q bra.uni KEEP;\n"
    + "".join(f"mul.f32 ${n}, ${n}, ${64 + n};\n" for n in range(32))
    + "KEEP: }")
_IN_PLACE = gl.constexpr(",".join(["=f"] * 32 + [str(n) for n in range(32)] + ["f"] * 32))


@gluon.jit
def _load(
    q_desc, k_desc, v_desc, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
    row_q, row_k, tiles,
    BLOCK_K: gl.constexpr, STAGES: gl.constexpr, WARPGROUPS: gl.constexpr,
):
    """Queries once, then keys and values from the last tile (the diagonal) to the first."""
    for part in gl.static_range(WARPGROUPS):
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
def _sum(x, LAZY: gl.constexpr):
    if LAZY:
        # (64, 8): columns 8 apart belong to one thread; threads are added up at the end
        return gl.sum(x.reshape([x.shape[0], x.shape[1] // 8, 8]), 1)
    else:
        return gl.sum(x, 1)


@gluon.jit
def _exponentials(s, m, l, scale_log2, LAZY: gl.constexpr):
    """exp2(s - m), the new m and l, and the factor for what was summed relative to the old m."""
    if LAZY:
        # a maximum that is too small by 2**8 does no harm: then nothing has to be rescaled
        parts = gl.max(s.reshape([s.shape[0], s.shape[1] // 8, 8]), 1)
        top = gl.convert_layout(gl.max(parts, 1), m.type.layout, assert_trivial=True) * scale_log2
        m_new = gl.where(top > m + 8, top, m)
        rescale = gl.exp2(m - m_new)
        x = gl.exp2(s * scale_log2 - m_new[:, None])
        rows: gl.constexpr = gl.SliceLayout(1, l.type.layout)
        l = l * gl.convert_layout(rescale, rows, assert_trivial=True)[:, None] + _sum(x, LAZY)
    else:
        m_new = gl.maximum(m, gl.max(s, 1) * scale_log2)
        rescale = gl.exp2(m - m_new)
        x = gl.exp2(s * scale_log2 - m_new[:, None])
        l = l * rescale + _sum(x, LAZY)
    return x, m_new, l, rescale


@gluon.jit
def _queries(
    o_desc, l_ptr, q, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty, my_turn, next_turn,
    row_q, start, first, tiles, scale_log2,
    PART: gl.constexpr, IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr,
    STAGES: gl.constexpr, LAZY: gl.constexpr, TURNS: gl.constexpr,
):
    """64 queries against the tiles of keys from the first that they see."""
    S: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_K, 16])
    O: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    P: gl.constexpr = gl.DotOperandLayout(0, O, 2)
    FLIP: gl.constexpr = 1 if PART == 0 else 0
    zero = gl.zeros([64, BLOCK_K], gl.float32, S)
    acc = gl.zeros([64, D], gl.float32, O)

    mbarrier.wait(q_full.index(PART), 0)
    stage = first % STAGES
    mbarrier.wait(k_full.index(stage), first // STAGES & 1)
    if TURNS:
        mbarrier.wait(my_turn, (first & 1) ^ FLIP)
    s = warpgroup_mma(q, k_smem.index(stage).permute((1, 0)), zero, use_acc=False, is_async=True)
    if TURNS:
        mbarrier.arrive(next_turn)
    s = warpgroup_mma_wait(0, deps=[s])
    mbarrier.arrive(k_empty.index(stage))
    if IS_CAUSAL:
        # 64 queries have their diagonal in one tile
        rows = start + gl.arange(0, 64, gl.SliceLayout(1, S))
        keys = (tiles - 1 - first) * BLOCK_K + gl.arange(0, BLOCK_K, gl.SliceLayout(0, S))
        s = gl.where(keys[None, :] <= rows[:, None], s, float("-inf"))
    m = gl.max(s, 1) * scale_log2
    x = gl.exp2(s * scale_log2 - m[:, None])
    l = _sum(x, LAZY)
    p = gl.convert_layout(x.to(q.dtype), P)
    for i in range(first + 1, tiles):
        stage = i % STAGES
        before = (i - 1) % STAGES
        mbarrier.wait(k_full.index(stage), i // STAGES & 1)
        if TURNS:
            mbarrier.wait(my_turn, (i & 1) ^ FLIP)
        s = warpgroup_mma(
            q, k_smem.index(stage).permute((1, 0)), zero, use_acc=False, is_async=True)
        mbarrier.wait(v_full.index(before), (i - 1) // STAGES & 1)
        acc = warpgroup_mma(p, v_smem.index(before), acc, is_async=True)
        if TURNS:
            mbarrier.arrive(next_turn)
        s = warpgroup_mma_wait(1, deps=[s])
        mbarrier.arrive(k_empty.index(stage))
        x, m, l, rescale = _exponentials(s, m, l, scale_log2, LAZY)
        if LAZY:
            # long since full: but a branch, and ptxas moves no wait for products across one, which
            # it else does, and takes the exponentials after the products
            mbarrier.wait(v_full.index(before), (i - 1) // STAGES & 1)
            acc, p, p_new = warpgroup_mma_wait(0, deps=[acc, p, x.to(q.dtype)])
        else:
            acc, p = warpgroup_mma_wait(0, deps=[acc, p])
            p_new = x.to(q.dtype)
        mbarrier.arrive(v_empty.index(before))
        factor = gl.convert_layout(rescale, gl.SliceLayout(1, O))[:, None]
        if LAZY:
            acc = gl.inline_asm_elementwise(
                _RESCALE, _IN_PLACE, [acc, factor], gl.float32, is_pure=True, pack=32)
        else:
            acc = acc * factor
        p = gl.convert_layout(p_new, P)
    last = (tiles - 1) % STAGES
    mbarrier.wait(v_full.index(last), (tiles - 1) // STAGES & 1)
    acc = warpgroup_mma(p, v_smem.index(last), acc, is_async=True)
    if LAZY:
        l = gl.convert_layout(gl.sum(l, 1), gl.SliceLayout(1, S))
    acc, p = warpgroup_mma_wait(0, deps=[acc, p])

    LN_2: gl.constexpr = 0.6931471805599453
    gl.store(l_ptr + row_q + gl.arange(0, 64, gl.SliceLayout(1, S)), (m + gl.log2(l)) * LN_2)
    o = acc * gl.convert_layout(1.0 / l, gl.SliceLayout(1, O))[:, None]
    # nothing reads the queries any more
    q.store(o.to(q.dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(o_desc, [row_q, 0], q)
    tma.store_wait(0)


@gluon.jit
def _attend(
    o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty, turn,
    row_q, start_q, end_q, tiles, scale_log2,
    PART: gl.constexpr, IS_CAUSAL: gl.constexpr, BLOCK_K: gl.constexpr, D: gl.constexpr,
    STAGES: gl.constexpr, WARPGROUPS: gl.constexpr, LAZY: gl.constexpr, TURNS: gl.constexpr,
):
    """What one warpgroup does: it lets pass the tiles that only others see, then its queries."""
    NEXT: gl.constexpr = (PART + 1) % WARPGROUPS
    FLIP: gl.constexpr = 1 if PART == 0 else 0
    start = start_q + PART * 64
    first = 0
    if IS_CAUSAL:
        first = gl.maximum(tiles - (start + 64 + BLOCK_K - 1) // BLOCK_K, 0)
    if WARPGROUPS == 3:
        # a small program has no queries for the third
        first = gl.where(start < end_q, first, tiles)
    if WARPGROUPS == 3 or (IS_CAUSAL and BLOCK_K == 64):
        for i in range(first):
            stage = i % STAGES
            if TURNS:
                mbarrier.wait(turn.index(PART), (i & 1) ^ FLIP)
                mbarrier.arrive(turn.index(NEXT))
            mbarrier.wait(k_full.index(stage), i // STAGES & 1)
            mbarrier.arrive(k_empty.index(stage))
            mbarrier.wait(v_full.index(stage), i // STAGES & 1)
            mbarrier.arrive(v_empty.index(stage))
    if first < tiles:
        _queries(
            o_desc, l_ptr, q_smem.index(PART), k_smem, v_smem, q_full, k_full, k_empty, v_full,
            v_empty, turn.index(PART), turn.index(NEXT), row_q + PART * 64, start, first, tiles,
            scale_log2, PART, IS_CAUSAL, BLOCK_K, D, STAGES, LAZY, TURNS)
    else:
        # a program must not end while a copy into its memory is on its way
        mbarrier.wait(q_full.index(PART), 0)


@gluon.jit
def expert_forward_kernel(
    q_desc, k_desc, v_desc, o_desc,  # of (batch * seq, D)
    l_ptr,  # (batch, seq_q), contiguous: log-sum-exp
    batches, group, seq_q, seq_k,  # multiples of 128
    small,  # so many programs of each batch entry have 128 queries, the others 64 * WARPGROUPS
    scale_log2,
    IS_CAUSAL: gl.constexpr, D: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
    WARPGROUPS: gl.constexpr,  # of 64 queries each
    LAZY: gl.constexpr,  # rescale only where a maximum has grown much, after the exponentials
    TURNS: gl.constexpr,  # at the tensor cores
    num_warps: gl.constexpr,
):
    BLOCK_Q: gl.constexpr = 64 * WARPGROUPS
    dtype: gl.constexpr = q_desc.dtype
    # shapes are powers of two
    PARTS: gl.constexpr = 4 if WARPGROUPS == 3 else 2
    q_smem = gl.allocate_shared_memory(dtype, [PARTS, 64, D], q_desc.layout)
    k_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_K, D], k_desc.layout)
    v_smem = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_K, D], v_desc.layout)
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    q_full = gl.allocate_shared_memory(gl.int64, [PARTS, 1], BARRIER)
    turn = gl.allocate_shared_memory(gl.int64, [PARTS, 1], BARRIER)
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    for part in gl.static_range(WARPGROUPS):
        mbarrier.init(q_full.index(part), count=1)
        mbarrier.init(turn.index(part), count=1)
    for stage in gl.static_range(STAGES):
        mbarrier.init(k_full.index(stage), count=1)
        mbarrier.init(v_full.index(stage), count=1)
        mbarrier.init(k_empty.index(stage), count=WARPGROUPS)
        mbarrier.init(v_empty.index(stage), count=WARPGROUPS)
    fence_async_shared()

    tiles_q = small + (seq_q - 128 * small) // BLOCK_Q
    pid = gl.program_id(0)
    head = pid // (group * tiles_q) * group
    size = min(batches - head, group)
    within = pid % (group * tiles_q)
    batch = head + within % size
    # the longest first: of causal programs the last, of others the large
    rank = tiles_q - 1 - within // size
    start_q = min(rank, small) * 128 + max(rank - small, 0) * BLOCK_Q
    end_q = start_q + gl.where(rank < small, 128, BLOCK_Q)
    end = seq_k
    if IS_CAUSAL:
        end = min(seq_k, end_q)
    tiles = (end + BLOCK_K - 1) // BLOCK_K
    row_q = batch * seq_q + start_q
    row_k = batch * seq_k
    # written out: constants in a tuple with a name, or in a sum of tuples, are constants no more
    if WARPGROUPS == 2:
        gl.warp_specialize([
            (_attend, (
                o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                turn, row_q, start_q, end_q, tiles, scale_log2,
                0, IS_CAUSAL, BLOCK_K, D, STAGES, WARPGROUPS, LAZY, TURNS)),
            (_attend, (
                o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                turn, row_q, start_q, end_q, tiles, scale_log2,
                1, IS_CAUSAL, BLOCK_K, D, STAGES, WARPGROUPS, LAZY, TURNS)),
            (_load, (
                q_desc, k_desc, v_desc, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full,
                v_empty, row_q, row_k, tiles, BLOCK_K, STAGES, WARPGROUPS)),
        ], [4, 1], [240, 24])
    else:
        gl.warp_specialize([
            (_attend, (
                o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                turn, row_q, start_q, end_q, tiles, scale_log2,
                0, IS_CAUSAL, BLOCK_K, D, STAGES, WARPGROUPS, LAZY, TURNS)),
            (_attend, (
                o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                turn, row_q, start_q, end_q, tiles, scale_log2,
                1, IS_CAUSAL, BLOCK_K, D, STAGES, WARPGROUPS, LAZY, TURNS)),
            (_attend, (
                o_desc, l_ptr, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full, v_empty,
                turn, row_q, start_q, end_q, tiles, scale_log2,
                2, IS_CAUSAL, BLOCK_K, D, STAGES, WARPGROUPS, LAZY, TURNS)),
            (_load, (
                q_desc, k_desc, v_desc, q_smem, k_smem, v_smem, q_full, k_full, k_empty, v_full,
                v_empty, row_q, row_k, tiles, BLOCK_K, STAGES, WARPGROUPS)),
        ], [4, 4, 1], [160, 160, 24])


# fmt: on
