from collections.abc import Sequence

def available() -> bool:
    """Whether processor, compiler and system let `attention` be computed."""

def attention(
    inputs: Sequence[int],
    strides: Sequence[Sequence[int]],
    out: int,
    shape: tuple[int, ...],
    scale: float,
    threads: int,
) -> None:
    """Write softmax(scale · q kᵀ) v, (batch, tokens, heads, depth) bfloat16, to the address `out`.

    Args:
        inputs: addresses of q, k and v in bfloat16.
        strides: for each, values between batches, heads and tokens; channels lie side by side.
        shape: batch, heads, tokens, depth.
        threads: at most as many as batch · heads.

    Raises:
        ValueError: it is not available.
    """
