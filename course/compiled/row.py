"""One compiled kernel, and what its numbers mean in words."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Chip:
    """A GPU architecture: the chips that have it, and the shared memory one program may use."""

    names: str
    shared_bytes: int


# CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability"
CHIPS = {
    75: Chip("T4", 64 * 1024),
    80: Chip("A100", 163 * 1024),
    86: Chip("A10, RTX 30", 99 * 1024),
    89: Chip("L4, RTX 40", 99 * 1024),
    90: Chip("H100, H200", 227 * 1024),
    100: Chip("B200", 227 * 1024),
    120: Chip("RTX 50", 99 * 1024),
}


@dataclass(frozen=True)
class Row:
    """One kernel in one configuration, compiled for one architecture.

    Attributes:
        kernel: its name; empty when none was reached.
        op: what was called ("attention forward").
        dtype: of the inputs ("float16"; "tf32" is float32 with TF32 products).
        head_dim: width of a row of the inputs.
        arch: 75 for sm_75, and so on.
        config: block sizes, warps and stages.
        registers: a thread, of 255.
        spill_bytes: a thread stores to local memory because registers ran out.
        shared_bytes: of shared memory a program uses.
        tensor_cores: the instruction used: "mma", "wgmma", "tcgen05", or "".
        serialised: ptxas waits for every wgmma before it starts the next one.
        problem: why it cannot run on this chip, in words; "" if it can.
        instructions: how often each PTX instruction stands in the kernel ("ex2.approx.f32": 32).
    """

    kernel: str
    op: str
    dtype: str
    head_dim: int
    arch: int
    config: str = ""
    registers: int = 0
    spill_bytes: int = 0
    shared_bytes: int = 0
    tensor_cores: str = ""
    serialised: bool = False
    problem: str = ""
    instructions: dict[str, int] = field(default_factory=dict, repr=False)

    def count(self, *beginnings: str) -> int:
        """How many instructions begin with one of these: ``row.count("ld.global", "ex2")``."""
        return sum(n for name, n in self.instructions.items() if name.startswith(beginnings))

    @property
    def where(self) -> str:
        """Which kernel this is about, in one phrase."""
        chip = f"{CHIPS[self.arch].names} (sm_{self.arch})"
        config = f", {self.config}" if self.config else ""
        return f"{self.kernel or self.op} on {chip}, {self.dtype}, d {self.head_dim}{config}"

    @property
    def verdict(self) -> str:
        """What the compiler said about it, in one phrase."""
        if self.problem:
            return self.problem
        spills = (
            f"spills {self.spill_bytes} bytes a thread to local memory"
            if self.spill_bytes
            else "no spills"
        )
        limit = CHIPS[self.arch].shared_bytes
        shared = f"{self.shared_bytes / 1024:.0f} of {limit // 1024} KB shared"
        cores = f"tensor cores ({self.tensor_cores})" if self.tensor_cores else "no tensor cores"
        if self.serialised:
            cores += ", serialised"
        return f"{self.registers} registers, {spills}, {shared}, {cores}"
