# SPDX-License-Identifier: Apache-2.0
"""Making messages small.

Codes for single numbers, for methods that send one scalar per gradient
(`decentralized.one_byte`):

- `scalar_codec`: a `ScalarCodec(encode, decode, bits, dtype, name)` by name,
  one of `SCALAR_CODECS`: `log_int8` (one byte, logarithmic, with an exact
  zero), `log9` (nine bits), `linear_int8`, `sign`, `float32`. Codes are odd and
  monotone, decoding is bitwise the same on all platforms, and what is not
  finite is sent as zero. With a key they round at random, without bias.
"""

from jaxdl.compression._scalar import (
  SCALAR_CODECS,
  ScalarCodec,
  scalar_codec,
)

__all__ = ['SCALAR_CODECS', 'ScalarCodec', 'scalar_codec']
