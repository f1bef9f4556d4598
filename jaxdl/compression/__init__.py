# SPDX-License-Identifier: Apache-2.0
"""Making messages small.

Compressors of whole messages, for methods with a `compress` slot
(`decentralized.choco_sgd`, `decentralized.gossip_sgd`):

- `make_compressor`: a `Compressor(compress, bits, delta, unbiased, name)` of
  trees from a spec such as 'top_k(keep=0.1)', a part of `COMPRESSORS`. It says
  how many bits a message takes and how much of it is lost at most:
  E|C(x) - x|² <= (1 - δ)|x|².
- Its parts, on one array: `top_k`, `random_k`, `stochastic_quantize` (QSGD),
  `scaled_sign`, `ternary_quantize` (TernGrad), `uniform_quantize`, and after a
  random rotation (`rotate`, `rotate_back`, `hadamard_transform`) `rotated_sign`
  (DRIVE).

Messages of clients with a memory:

- `as_messenger`: a `Messenger(init, send, bits, name)` of one client from a
  spec, a part of `MESSENGERS`: any compressor, or 'powersgd(rank=2)', whose
  factors start from the last ones; 'ef+top_k(keep=0.01)' adds to each message
  what the ones before have lost (error feedback).
- `power_sgd` on one matrix.

Codes for single numbers, for methods that send one scalar per gradient
(`decentralized.one_byte_sgd`):

- `make_codec`: a `ScalarCodec(encode, decode, bits, dtype, name)` from a spec,
  a part of `SCALAR_CODECS`: `log_int8` (one byte, logarithmic, with an exact
  zero), `log9` (nine bits), `linear_int8`, `sign`, `float32`. Codes are odd and
  monotone, decoding is bitwise the same on all platforms, and what is not
  finite is sent as zero. With a key they round at random, without bias.
"""

from jaxdl.compression._arrays import (
  random_k,
  scaled_sign,
  stochastic_quantize,
  ternary_quantize,
  top_k,
  uniform_quantize,
)
from jaxdl.compression._compressors import (
  COMPRESSORS,
  Compressor,
  make_compressor,
)
from jaxdl.compression._low_rank import power_sgd
from jaxdl.compression._messengers import (
  MESSENGERS,
  FeedbackState,
  Messenger,
  as_messenger,
)
from jaxdl.compression._rotations import (
  hadamard_transform,
  rotate,
  rotate_back,
  rotated_sign,
)
from jaxdl.compression._scalar import SCALAR_CODECS, ScalarCodec, make_codec

__all__ = [
  # Messages.
  'COMPRESSORS',
  'Compressor',
  'hadamard_transform',
  'make_compressor',
  'random_k',
  'rotate',
  'rotate_back',
  'rotated_sign',
  'scaled_sign',
  'stochastic_quantize',
  'ternary_quantize',
  'top_k',
  'uniform_quantize',
  # Messages with a memory.
  'MESSENGERS',
  'FeedbackState',
  'Messenger',
  'as_messenger',
  'power_sgd',
  # Single numbers.
  'SCALAR_CODECS',
  'ScalarCodec',
  'make_codec',
]
