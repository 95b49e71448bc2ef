"""The expert attention: right wherever the readable one is, or the readable one itself.

Its kernels are Hopper's. Here they are compiled, and what takes its place elsewhere is run; on an
H100 or H200 all of this runs.
"""

import importlib
import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from course import device
from course.check import assert_matches
from course.oracle.attention import attention, attention_gradients, log_sum_exp
from course.process import ROOT, environment
from course.subject import load

MACHINE = device.prepare()
HOPPER = MACHINE.device == "cuda" and torch.cuda.get_device_capability() == (9, 0)
on_hopper = pytest.mark.skipif(not HOPPER, reason="unproven here: needs an H100 or H200")
MASKS = pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
ORDER = pytest.mark.parametrize("deterministic", [True, False], ids=["one_order", "any_order"])


@pytest.fixture(scope="module")
def expert():
    load.use(ROOT / "solutions")
    return importlib.import_module("flash_attention.expert")


def tensors(shape_q, seq_k, dtype, seed=0):
    generator = torch.Generator(device=MACHINE.device).manual_seed(seed)
    shape_k = (*shape_q[:-2], seq_k, shape_q[-1])
    return [
        torch.randn(shape, device=MACHINE.device, generator=generator).to(dtype)
        for shape in (shape_q, shape_k, shape_k, shape_q)
    ]


def assert_right(expert, inputs, causal, deterministic=True, some=slice(None)):
    """O and gradients of the batch entries ``some`` against float64."""
    Q, K, V, dO = inputs
    leaves = [t.detach().requires_grad_() for t in (Q, K, V)]
    O = expert.FlashAttentionExpert.apply(*leaves, causal, deterministic)
    gradients = torch.autograd.grad(O, leaves, dO)
    q, k, v, do, o = (t.detach()[some] for t in (Q, K, V, dO, O))
    condition = 1.0
    if q.dtype == torch.float32:
        # dP - delta cancels for a query that sees one key, and both are sums of d products
        largest = log_sum_exp(q, k, causal).abs().max().item()
        condition = max(largest, q.shape[-1] ** 0.5)
    assert_matches("O", o, partial(attention, is_causal=causal), q, k, v, condition=condition)
    exact = partial(attention_gradients, is_causal=causal)
    got = [t[some] for t in gradients]
    assert_matches("dQ dK dV", got, exact, q, k, v, do, condition=condition)
    return O, gradients


@MASKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("seq_q", "seq_k", "d"), [(1, 1, 16), (63, 63, 64), (40, 100, 80)])
def test_elsewhere_and_for_light_work_it_is_the_readable_one(
    expert, seq_q, seq_k, d, dtype, causal
):
    Q, K, V, dO = tensors((2, seq_q, d), seq_k, dtype)
    assert expert.why_not(Q, K, V)
    assert_right(expert, (Q, K, V, dO), causal)


def test_the_reasons_are_said(expert, monkeypatch):
    inputs = tensors((1, 128, 64), 128, torch.bfloat16)[:3]
    assert ("Hopper" in expert.why_not(*inputs)) is not HOPPER
    monkeypatch.setattr("triton.__version__", "3.9.0")
    assert "not of 3.9.0" in expert.why_not(*inputs)


def test_what_it_saves_is_what_the_readable_one_saves(expert):
    Q, K, V, _ = (t.requires_grad_() for t in tensors((1, 4, 32, 16), 32, torch.float32))
    O = expert.FlashAttentionExpert.apply(Q, K, V, True)
    saved = [tuple(t.shape) for t in O.grad_fn.saved_tensors]
    assert sorted(saved) == sorted([(1, 4, 32, 16)] * 4 + [(1, 4, 32)])


def test_what_its_descriptors_read_is_dense_and_aligned(expert):
    wide, packed = torch.randn(2, 128, 128).half(), torch.randn(2 * 128 * 64 + 1).half()
    for t in (
        wide[..., :64],
        wide.mT,
        wide[:1, :1, :64].expand(1, 128, 64),
        packed[1:].view(2, 128, 64),
        wide.view(2, 2, 64, 128).transpose(1, 2),
    ):
        flat = expert._flat(t)
        assert torch.equal(flat, t.reshape(-1, t.shape[-1]))
        assert flat.data_ptr() % 16 == 0 and flat.stride(1) == 1
        assert flat.stride(0) >= flat.shape[1] and flat.stride(0) % 8 == 0


@pytest.mark.parametrize("batch", [1, 2, 3, 16, 64, 500])
@MASKS
def test_programs_of_two_sizes_share_the_queries(expert, batch, causal):
    processors = 132
    for tiles in (*range(1, 70), 128, 129):
        order = {"batches": batch, "seq_q": 128 * tiles}
        small = expert._small(order, causal, processors)
        large = (order["seq_q"] - 128 * small) // 192
        assert 0 <= small <= tiles and 128 * small + 192 * large == order["seq_q"]
        fewest = tiles - tiles // 3
        if causal:
            assert small + large == fewest
        else:
            # as many programs as fill the rounds that the fewest would take
            room = -(-batch * fewest // processors) * processors
            assert batch * (small + large) <= room
            assert large == 0 or batch * (small + large + 1) > room


_COMPILE = """
import contextlib, io, json, re, sys
import torch
from course.compiled import worker
worker._pretend(90)
from triton.runtime.jit import JITFunction
import flash_attention.expert as expert
run, found = JITFunction.run, []
def compiled(self, *args, **kwargs):
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        built = run(self, *args, **{**kwargs, "warmup": True})
    spilled = sum(int(n) for n in re.findall(r"(\\d+) bytes spill stores", log.getvalue()))
    serial = "serialized" in log.getvalue()
    if "expert" in self.__name__:
        ptx = built.asm["ptx"]
        D = kwargs["D"]
        found.append([self.__name__, D, spilled, serial, built.metadata.shared, "wgmma" in ptx])
JITFunction.run = compiled
expert.why_not = lambda *inputs: ""
expert.attention_backward = lambda Q, *others: (Q, Q, Q)  # at 256 the readable one's, no expert's
for d in (64, 128, 256):
    for causal in (True, False):
        for deterministic in (True, False):
            q, k, v, do = (torch.zeros(2, 256, d, dtype=torch.bfloat16) for _ in range(4))
            leaves = [t.requires_grad_() for t in (q, k, v)]
            expert.FlashAttentionExpert.apply(*leaves, causal, deterministic).backward(do)
print(json.dumps(found))
"""


def test_its_kernels_compile_for_hopper_without_serialised_products(tmp_path):
    clean = {k: v for k, v in environment().items() if k != "TRITON_INTERPRET"}
    clean |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "solutions"), str(ROOT)])}
    clean |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE], env=clean, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {("expert_forward_kernel", D) for D in (64, 128, 256)}
    expected |= {("expert_backward_kernel", D) for D in (64, 128)}
    assert {(name, D) for name, D, *_ in found} == expected
    for name, D, spilled, serial, shared, tensor_cores in found:
        # products wait for each other where the compiler finds too few registers for them
        assert tensor_cores and not serial, (name, D)
        assert shared <= 232448, (name, D)
        # where dK, dV and half of dQ share 240 registers a few are spilled
        crowded = name == "expert_backward_kernel" and D == 128
        assert spilled <= (128 if crowded else 16), (name, D, spilled)


@on_hopper
@MASKS
@ORDER
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [64, 128, 256])
@pytest.mark.parametrize(("seq_q", "seq_k"), [(8192, 8192), (4096, 8320), (8320, 4096)])
def test_its_own_kernels(expert, seq_q, seq_k, d, dtype, causal, deterministic):
    inputs = tensors((16, seq_q, d), seq_k, dtype)
    assert not expert.why_not(*inputs[:3])
    torch.use_deterministic_algorithms(True)  # fills what is allocated with NaN
    try:
        O, gradients = assert_right(expert, inputs, causal, deterministic, slice(0, 16, 15))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(t).all() for t in (O, *gradients))


@on_hopper
@MASKS
@pytest.mark.parametrize("d", [16, 32, 64, 80, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("seq_q", "seq_k"), [(1, 1), (63, 1000), (1000, 63), (2048, 2048)])
def test_all_that_the_readable_one_takes(expert, seq_q, seq_k, d, dtype, causal):
    assert_right(expert, tensors((2, seq_q, d), seq_k, dtype), causal)


@on_hopper
@MASKS
def test_strided_inputs_and_four_dimensions(expert, causal):
    Q, K, V, dO = (t.mT.contiguous().mT for t in tensors((2, 8, 8192, 64), 8192, torch.bfloat16))
    interleaved = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (Q, K, V)]
    assert not expert.why_not(Q, K, V)
    some = (slice(0, 1), slice(0, 2))
    assert_right(expert, (Q, K, V, dO), causal, True, some)
    broadcast = dO[..., :1].expand(dO.shape)
    # as the gradient of one part of a concatenation, and of a sum over the queries
    part = torch.cat((dO, dO), -1)[..., :64]
    row = dO[:1, :1, :1].expand(dO.shape)
    for gradient in (broadcast, part, row):
        assert_right(expert, (*interleaved, gradient), causal, True, some)


@on_hopper
@ORDER
@pytest.mark.parametrize("d", [64, 128])
def test_the_error_does_not_move(expert, d, deterministic):
    for seed in range(20):
        Q, K, V, dO = tensors((16, 8192, d), 8192, torch.bfloat16, seed)
        leaves = [t.requires_grad_() for t in (Q, K, V)]
        results = []
        for _ in range(2):
            O = expert.FlashAttentionExpert.apply(*leaves, True, deterministic)
            results.append((O.detach(), *torch.autograd.grad(O, leaves, dO)))
        for name, one, again in zip(("O", "dQ", "dK", "dV"), *results, strict=True):
            if deterministic or name != "dQ":
                assert torch.equal(one, again), (name, seed)
            # float32 sums in another order: at most the last bit of the 16 moves
            moved = (one.float() - again.float()).abs() / one.float().abs().clamp(min=1e-3)
            assert moved.max() <= 2**-7, (name, seed)


@on_hopper
@ORDER
@pytest.mark.parametrize("where", ["Q", "K", "V", "dO"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_lost(expert, where, bad, deterministic):
    made = tensors((16, 1024, 64), 1024, torch.bfloat16)
    inputs = dict(zip(("Q", "K", "V", "dO"), made, strict=True))
    inputs[where][3, 700, 5] = bad
    leaves = [inputs[name].requires_grad_() for name in ("Q", "K", "V")]
    assert not expert.why_not(*leaves)
    O = expert.FlashAttentionExpert.apply(*leaves, True, deterministic)
    dQ = torch.autograd.grad(O, leaves, inputs["dO"])[0]
    # the query that meets it, and no other head
    assert not torch.isfinite(dQ[3, 700]).all()
    assert torch.isfinite(dQ[:3]).all() and torch.isfinite(dQ[4:]).all()


@pytest.mark.parametrize("small", ["nothing", "dO", "V", "K", "all of them"])
def test_no_integer_sum_overflows(expert, small):
    Q, K, V, dO = tensors((2, 128, 64), 256, torch.bfloat16)
    # as large as it gets: all keys alike but for their sign, which dO follows
    V[:, ::2], V[:, 1::2] = V[:, :1].clone(), -V[:, :1].clone()
    K[:] = K.abs().max()
    dO[:] = V[:, :1]
    for name, t in (("K", K), ("V", V), ("dO", dO)):
        if small in (name, "all of them"):
            t *= 2.0**-78  # whose squares float32 does not hold
    rows = torch.empty(3, 256, device=Q.device)
    largest = torch.zeros((2, 2), dtype=torch.int32, device=Q.device)
    sums = torch.empty((256, 64), dtype=torch.int32, device=Q.device)
    expert.largest_kernel[(4,)](K, V, largest, 64, 64, 256, 128, 64)
    O, L = torch.zeros_like(dO), torch.zeros(2, 128, device=Q.device)
    expert.prepare_kernel[(4,)](
        O, dO, L, rows[0], rows[1], sums, largest, rows[2], 0.125, 128, 64, 64
    )
    units = rows[2].double().view(2, 128, 1)
    assert torch.isfinite(units).all() and (units > 0).all() and not sums.any()
    # weights of 1 on the keys that dO agrees with are the worst a subset of them can do
    k, v, do = (t.double() for t in (K, V, dO))
    largest_sum = 2 * (do @ v.mT).abs().amax(-1, keepdim=True) * k.abs().amax()
    assert (largest_sum * units).max() < 2**31


@on_hopper
def test_integer_sums_are_exact_for_queries_of_any_weight(expert):
    Q, K, V, dO = tensors((16, 8192, 64), 8192, torch.bfloat16)
    V[:, 5] *= 100  # one value far from the others
    dO[:, :1000] *= 1e-4  # and queries of little weight
    leaves = [t.requires_grad_() for t in (Q, K, V)]
    O = expert.FlashAttentionExpert.apply(*leaves, True)
    got = torch.autograd.grad(O, leaves, dO)[0][:1]
    inputs = [t.detach()[:1] for t in (Q, K, V, dO)]
    for name, rows in (("light", slice(500, 1000)), ("heavy", slice(1000, 8192))):

        def exact(q, k, v, do, rows=rows):
            return attention_gradients(q, k, v, do, is_causal=True)[0][:, rows]

        assert_matches(name, got[:, rows], exact, *inputs)
